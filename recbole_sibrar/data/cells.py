"""What cells of tables say: numbers, tags, texts, and that there is no value."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from recbole_sibrar.data.atomic import LARGEST
from recbole_sibrar.errors import DataError

MISSING = ("NULL", "NaN", "None", "NA", "N/A", "#N/A", "<NA>", "NaT", "\\N", "-", "\u2013", "\u2014")
"""Texts that tables write for a value that is not there, in any case, beside the empty cell."""
_FOLDED = frozenset(text.casefold() for text in MISSING)


def is_empty(cell: object) -> bool:
    """Whether a cell of a table is empty."""
    return cell is None or (np.isscalar(cell) and (cell == "" or pd.isna(cell)))


def is_marker(text: str) -> bool:
    """Whether a text says that there is no value.

    >>> [is_marker(text) for text in ("", " ", "null", "N/A", " - ", "Nullify")]
    [True, True, True, True, True, False]
    """
    text = text.strip()
    return not text or text.casefold() in _FOLDED


def is_number(cell: str) -> bool:
    """Whether a text is a number, NaN and infinity among them."""
    try:
        float(cell)
    except ValueError:
        return False
    return True


def join_tags(tags: Iterable[str]) -> str:
    """Tags as an atomic file has them, spaces between them and none within.

    >>> join_tags(["Sci Fi", " ", "Drama "])
    'Sci_Fi Drama'
    """
    return " ".join("_".join(tag.split()) for tag in tags if tag.strip())


def clean(column: pd.Series) -> pd.Series:
    """Texts on one line."""
    return column.str.replace(r"\s+", " ", regex=True).str.strip()


def finite_numbers(path: str | Path, frame: pd.DataFrame, column: str) -> pd.Series:
    """A column of numbers.

    Args:
        frame: of texts, with the numbers of its lines as the index.

    Raises:
        DataError: a cell is no number that float32 holds.
    """
    numbers = pd.to_numeric(frame[column], errors="coerce")
    wrong = ~(numbers.abs() <= LARGEST)
    if wrong.any():
        line = wrong.idxmax()
        raise DataError(f"{path}, line {line}: {frame[column][line]!r} in {column} is not a finite number.")
    return numbers


def refuse_duplicates(path: str | Path, ids: pd.Series) -> None:
    """
    Args:
        ids: with the numbers of their lines as the index.

    Raises:
        DataError: an id is empty or occurs twice.
    """
    for wrong, what in ((ids == "", "the id is empty"), (ids.duplicated(), "occurs twice; keep one row")):
        if wrong.any():
            line = wrong.idxmax()
            text = what if ids[line] == "" else f"id {ids[line]!r} {what}"
            raise DataError(f"{path}, line {line}: {text}.")
