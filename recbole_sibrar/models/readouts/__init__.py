"""What joins the networks' scores in evaluation: regressions of interactions on their embeddings."""

from collections.abc import Iterator

from recbole_sibrar.models.ensemble import Ensemble
from recbole_sibrar.models.options import ModelOptions
from recbole_sibrar.models.readouts.kernel import KERNELS, InteractionKernel
from recbole_sibrar.models.readouts.new_users import NewUserKernel
from recbole_sibrar.models.readouts.readout import Readout, Seen
from recbole_sibrar.models.readouts.ridge import InteractionRidge


def readouts(options: ModelOptions, ensemble: Ensemble) -> Iterator[Readout]:
    """Those that the options switch on, in the order of their columns."""
    if options.interaction_ridge:
        yield InteractionRidge(ensemble, options.interaction_ridge)
    for of, option in KERNELS.items():
        if getattr(options, option):
            yield InteractionKernel(ensemble, getattr(options, option), of)
    if options.new_user_kernel:
        yield NewUserKernel(ensemble, options.new_user_kernel)


__all__ = ["InteractionKernel", "InteractionRidge", "NewUserKernel", "Readout", "Seen", "readouts"]
