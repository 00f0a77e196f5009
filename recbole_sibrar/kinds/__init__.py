"""What a modality can be: a file for each kind, and a name in this list."""

from dataclasses import make_dataclass

from torch import Tensor

from recbole_sibrar.data.modalities import Modalities
from recbole_sibrar.kinds.category import Category
from recbole_sibrar.kinds.id import Id
from recbole_sibrar.kinds.interactions import Interactions
from recbole_sibrar.kinds.kind import Kind, weight_options
from recbole_sibrar.kinds.ngrams import NGrams
from recbole_sibrar.kinds.number import Number
from recbole_sibrar.kinds.projection import CommonInputs
from recbole_sibrar.kinds.tags import Tags
from recbole_sibrar.kinds.vector import Vector

ALL: list[Kind] = [Vector(), Category(), Number(), Tags(), NGrams(), Interactions(), Id()]

KINDS = {kind.name: kind for kind in ALL}
DECLARED = tuple(kind.name for kind in ALL if kind.is_declared)
"""The kinds that a data set's YAML names."""

WEIGHTS = {name: default for kind in ALL for name, (default, _) in kind.weights.items()}
"""How much the block of each kind counts in linear models, and that of the pairs of a modality of tags."""

Inputs = make_dataclass(
    "Inputs",
    [],
    bases=(*(kind.inputs for kind in reversed(ALL) if kind.inputs is not None), CommonInputs),
    frozen=True,
    namespace={"__doc__": "How raw features enter a network: the options that all kinds have, and those of each."},
)
LINEAR_INPUTS = Inputs(activate_projections="none", **{n: v for kind in ALL for n, v in kind.linear_inputs.items()})
"""What the baselines read: the inputs that serve a linear layer best, with no activation after it."""

BlockWeights = make_dataclass(
    "BlockWeights", weight_options(ALL), frozen=True, namespace={"__doc__": "``WEIGHTS`` as options."}
)


def known_to(modalities: Modalities, trained: Tensor) -> Modalities:
    """See ``Kind.known_to``."""
    return modalities.map(lambda entry: KINDS[entry.kind].known_to(entry, trained))
