"""What the kinds with a vocabulary share."""

import warnings
from dataclasses import replace

from torch import Tensor

from recbole_sibrar.data.modalities import Features, Modality

MOST_NAMED = 20


def shortened(entry: Modality, values: Features, known: Tensor, has_known: Tensor) -> Modality:
    """The modality with the values ``known`` (V,), places in its vocabulary, alone.

    Args:
        values: of the N entities, by places in ``known``.
        has_known: (N,) bool, who keeps it.
    """
    return replace(
        entry,
        available=entry.available & has_known,
        values=values,
        width=max(len(known), 1),
        vocabulary=tuple(entry.vocabulary[index] for index in known.tolist()) if entry.vocabulary else (),
        available_in_evaluation=None if entry.available_in_evaluation is None else entry.evaluated & has_known,
    )


def warn_of_unknown(entry: Modality, found: set[str], told: set[tuple[str, str]]) -> None:
    """Values of new entities that the model has never seen are left out, which is said once of each.

    Args:
        found: the values. told: {(modality, value)} that were named already; those named now are added.
    """
    unknown = sorted(value for value in found - set(entry.vocabulary) if (entry.name, value) not in told)
    told.update((entry.name, value) for value in unknown)
    if unknown:
        more = f" and {len(unknown) - MOST_NAMED:,} others" if len(unknown) > MOST_NAMED else ""
        spelled = {value.casefold(): value for value in entry.vocabulary}
        other = next((f"; {spelled[value.casefold()]} did" for value in unknown if value.casefold() in spelled), "")
        named = ", ".join(unknown[:MOST_NAMED])
        warnings.warn(f"{entry.name}: {named}{more} did not occur in training and cannot be used{other}.", stacklevel=5)
