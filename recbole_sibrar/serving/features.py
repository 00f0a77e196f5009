"""Side information of new entities, given as a table, to modalities that a trained model can embed."""

import warnings
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import torch

from recbole_sibrar.data.atomic import LARGEST
from recbole_sibrar.data.modalities import (
    INTERACTIONS,
    Modalities,
    Modality,
    category_modality,
    number_modality,
    tags_modality,
)
from recbole_sibrar.data.sparse import SparseRows
from recbole_sibrar.data.tables import is_marker
from recbole_sibrar.errors import DataError, OptionError, nearest

MOST_NAMED = 20


def features_of(rows: pd.DataFrame, known: Modalities, histories=None, tokens=None, told=None) -> Modalities:
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
    names = [entry.name for entry in known.entries if entry.kind not in (INTERACTIONS, "id")]
    if "id" in known.names and any(histories or ()):
        raise OptionError(f"This model has an id embedding for each {known.side}; it cannot use histories.")
    for column in rows.columns:
        if not names:
            raise OptionError(f"This model uses no side information of {known.side}s; got {column!r}.")
        if column not in names:
            raise OptionError(f"Unknown {known.side} modality {column!r}. {nearest(column, names)}")
    tokens = list(tokens) if tokens is not None else list(range(len(rows)))
    histories = histories or [[] for _ in range(len(rows))]
    told = set() if told is None else told
    readers = {
        "category": partial(_category, told=told),
        "tags": partial(_tags, told=told),
        "number": _number,
        "vector": _vector,
    }
    entries = []
    for entry in known.entries:
        if entry.name == INTERACTIONS:
            entries.append(_history(entry, histories))
        elif entry.kind == "id":
            entries.append(
                Modality(
                    "id", "id", torch.zeros(len(rows), dtype=torch.bool), torch.zeros(len(rows), dtype=torch.long), 1
                )
            )
        else:
            column = rows[entry.name] if entry.name in rows else pd.Series([None] * len(rows))
            cells = [None if is_missing(cell, entry.vocabulary) else cell for cell in column]
            entries.append(readers[entry.kind](entry, cells, tokens))
    return Modalities(known.side, tuple(entries))


def is_empty(cell) -> bool:
    """Whether a cell of a table is empty."""
    return cell is None or (np.isscalar(cell) and (cell == "" or pd.isna(cell)))


def is_missing(cell, vocabulary=()) -> bool:
    """Whether it is empty or, as the converter reads it, says so in words that are in no vocabulary."""
    return is_empty(cell) or (isinstance(cell, str) and cell not in vocabulary and is_marker(cell))


def _history(entry, histories):
    owners = np.repeat(np.arange(len(histories)), [len(history) for history in histories])
    columns = np.array([column for history in histories for column in history], dtype=np.int64)
    matrix = SparseRows.from_pairs(owners, columns, len(histories), entry.width)
    return Modality(INTERACTIONS, INTERACTIONS, matrix.lengths > 0, matrix, entry.width)


def _category(entry, cells, tokens, told):
    for row, cell in enumerate(cells):
        if not np.isscalar(cell) and cell is not None:
            raise _wrong(entry, tokens[row], cell, "a category, or nothing")
    texts = ["" if cell is None else str(cell) for cell in cells]
    texts = [text if text in entry.vocabulary else " ".join(text.split()) for text in texts]
    _warn_of_unknown(entry, {text for text in texts if text}, told)
    return category_modality(entry.name, texts, entry.vocabulary)


def _tags(entry, cells, tokens, told):
    lists = [_tags_of(entry, cell, token) for cell, token in zip(cells, tokens)]
    _warn_of_unknown(entry, {tag for tags in lists for tag in tags}, told)
    has_tags = torch.tensor([bool(tags and entry.vocabulary) for tags in lists], dtype=torch.bool)
    return replace(tags_modality(entry.name, lists, entry.vocabulary), available=has_tags)


def _tags_of(entry, cell, token) -> list:
    tags = cell.split() if isinstance(cell, str) else () if cell is None else cell
    if not isinstance(tags, (list, tuple, set, np.ndarray)) or any(
        not np.isscalar(tag) or is_empty(tag) for tag in tags
    ):
        raise _wrong(entry, token, cell, "tags in a list, or as a text with blanks between them")
    return list(map(str, tags))


def _wrong(entry, token, cell, expected):
    return DataError(f"{token!r}: {entry.name} is {str(cell)[:100]!r}; expected {expected}.")


def _warn_of_unknown(entry, found, told):
    """Name the values that training never saw, each of them once."""
    unknown = sorted(value for value in found - set(entry.vocabulary) if (entry.name, value) not in told)
    told.update((entry.name, value) for value in unknown)
    if unknown:
        more = f" and {len(unknown) - MOST_NAMED:,} others" if len(unknown) > MOST_NAMED else ""
        warnings.warn(
            f"{entry.name}: {', '.join(unknown[:MOST_NAMED])}{more} did not occur in training and cannot be used.",
            stacklevel=5,
        )


def _number(entry, cells, tokens):
    numbers = np.full(len(cells), np.nan)
    for row, cell in enumerate(cells):
        if cell is not None:
            try:
                numbers[row] = float(None if isinstance(cell, (bool, np.bool_)) else cell)
            except (TypeError, ValueError, OverflowError):
                raise _wrong(entry, tokens[row], cell, "a number, or nothing") from None
            if abs(numbers[row]) > LARGEST:
                raise DataError(
                    f"{tokens[row]!r}: {entry.name} is {cell!r}; expected a finite number below {LARGEST:.1e}."
                )
    return number_modality(entry.name, numbers)


def _vector(entry, cells, tokens):
    values = np.zeros((len(cells), entry.width), dtype=np.float32)
    available = np.array([cell is not None for cell in cells], dtype=bool)
    for row in np.flatnonzero(available):
        cell = cells[row].split() if isinstance(cells[row], str) else cells[row]
        try:
            vector = np.asarray(cell, dtype=np.float32)
        except (TypeError, ValueError, OverflowError):
            raise _wrong(entry, tokens[row], cell, f"{entry.width} numbers") from None
        if vector.shape != (entry.width,) or not np.isfinite(vector).all():
            raise DataError(
                f"{tokens[row]!r}: {entry.name} holds {vector.size} numbers; expected {entry.width} finite ones."
            )
        values[row] = vector
    return Modality(entry.name, "vector", torch.from_numpy(available), torch.from_numpy(values), entry.width)
