"""Side information of new entities, given as a table, to modalities that a trained model can embed."""

from collections.abc import Collection, Sequence

import pandas as pd

from recbole_sibrar.data.cells import is_empty, is_marker
from recbole_sibrar.data.modalities import Modalities
from recbole_sibrar.errors import OptionError, nearest
from recbole_sibrar.kinds import KINDS


def features_of(
    rows: pd.DataFrame,
    known: Modalities,
    histories: Sequence[Sequence[int]] | None = None,
    tokens: Sequence[str] | None = None,
    told: set[tuple[str, str]] | None = None,
) -> Modalities:
    """The modalities of new entities, in the order and with the vocabulary of the known ones.

    Args:
        rows: one line per entity, one column per modality, in any order; an absent column or an empty cell is missing.
            Tags are a list or texts between spaces, vectors a sequence or numbers between spaces.
        known: the modalities that the model was trained with.
        histories: for each entity a list of column numbers of the interaction matrix; none by default.
        tokens: names of the entities for messages.
        told: {(modality, value)} that a warning has named already; those that it names now are added.

    A category that the model has never seen is taken as missing and such a tag is left out, with a warning.

    Raises:
        OptionError: a column is no modality. DataError: a value is not of the modality's kind.
    """
    names = [entry.name for entry in known.entries if KINDS[entry.kind].is_declared]
    if "id" in known.names and any(histories or ()):
        raise OptionError(f"This model has an id embedding for each {known.side}; it cannot use histories.")
    others = ("id", "history") if known.side == "user" else ()
    for column in rows.columns:
        if column not in names:
            what = (
                f"Unknown {known.side} modality" if names else f"This model uses no side information of {known.side}s:"
            )
            raise OptionError(f"{what} {column!r}. {nearest(column, [*names, *others])}")
    tokens = list(tokens) if tokens is not None else list(range(len(rows)))
    histories = histories or [[] for _ in range(len(rows))]
    told = set() if told is None else told
    entries = []
    for entry in known.entries:
        kind = KINDS[entry.kind]
        if kind.is_declared:
            column = rows[entry.name] if entry.name in rows else [None] * len(rows)
            cells = [None if is_missing(cell, entry.vocabulary) else cell for cell in column]
        else:
            cells = histories
        entries.append(kind.parse(entry, cells, tokens, told))
    return Modalities(known.side, tuple(entries))


def is_missing(cell: object, vocabulary: Collection[str] = ()) -> bool:
    """Whether it is empty or, as the converter reads it, says so in words that are in no vocabulary."""
    return is_empty(cell) or (isinstance(cell, str) and cell not in vocabulary and is_marker(cell))
