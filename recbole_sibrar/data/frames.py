"""Data frames of pandas, Polars or Arrow, as if they had been read from a file."""

import re
from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Protocol, TypeGuard

import numpy as np
import pandas as pd
import torch
from scipy.sparse import issparse

from recbole_sibrar.errors import DataError, OptionError

PANDAS_INDEX = re.compile(r"__index_level_\d+__")  # what Arrow calls a pandas index without a name


class Frame(Protocol):
    """A data frame of pandas, or of anything that Narwhals knows: Polars, Arrow, ..."""

    @property
    def columns(self) -> Any: ...


Table = Frame | Path | str
"""A data frame, or the file with one."""


def is_file(source: object) -> TypeGuard[Path | str]:
    """Whether a table is given by its path."""
    return isinstance(source, (str, Path))


def plain_frame(frame: Frame, name: str) -> pd.DataFrame:
    """A data frame whose cells are what a person means by them; the index is the number of the row, from 1.

    Cells are texts, numbers, truth values and lists; None where nothing stands. Whole numbers that pandas made
    fractional because of gaps between them are whole again, dates are texts as ISO 8601 has them, durations are
    seconds, and a pandas index with a name is a column.

    Args:
        name: for messages.

    Raises:
        OptionError: it is no data frame, or narwhals is needed and absent. DataError: a column occurs twice.
    """
    names, columns = _columns(frame, name)
    if len(set(names)) < len(names):
        twice = next(column for column in names if names.count(column) > 1)
        raise DataError(f"{name}: column {twice!r} occurs twice; rename one.")
    cells = {column: _plain(values) for column, values in zip(names, columns)}
    n = len(columns[0]) if columns else 0
    return pd.DataFrame({key: pd.Series(values, range(1, n + 1), object) for key, values in cells.items()})


def _columns(frame: Any, name: str) -> tuple[list[str], list[list[Any]]]:
    if isinstance(frame, pd.DataFrame):
        frame = with_index(frame)
        return list(map(str, frame.columns)), [frame.iloc[:, place].tolist() for place in range(frame.shape[1])]
    try:
        import narwhals
    except ImportError:
        raise OptionError(f"{name} is {type(frame).__name__}; other frames than pandas' need narwhals.") from None
    try:
        wide = narwhals.from_native(frame, eager_only=True)
    except TypeError:
        raise OptionError(
            f"{name} is {type(frame).__name__}; expected a data frame (pandas, Polars, Arrow) or a file."
        ) from None
    names = [column for column in wide.columns if not PANDAS_INDEX.fullmatch(column)]
    metadata = getattr(getattr(frame, "schema", None), "pandas_metadata", None)
    index = [column for column in (metadata or {}).get("index_columns", ()) if column in names]
    names = [*index, *(column for column in names if column not in index)]
    columns = [wide[column].to_list() for column in names]
    numbers = named_range(metadata, len(wide))
    return (names, columns) if numbers is None else ([str(numbers.name), *names], [numbers.tolist(), *columns])


def with_index(frame: pd.DataFrame) -> pd.DataFrame:
    """A frame whose index, where it has a name of its own, is a column, the first.

    >>> with_index(pd.DataFrame({"year": [1994]}, index=pd.Index([7], name="item_id"))).columns.tolist()
    ['item_id', 'year']
    """
    levels = [level for level in frame.index.names if level is not None and level not in frame]
    return frame.reset_index(levels) if levels else frame


def named_range(metadata: dict[str, Any] | None, n: int) -> pd.RangeIndex | None:
    """The numbers that were the index of ``n`` rows and had a name; pandas leaves no column of them in Arrow."""
    for index in (metadata or {}).get("index_columns", ()):
        if isinstance(index, dict) and index["name"] is not None:
            numbers = pd.RangeIndex(index["start"], index["stop"], index["step"], name=index["name"])
            return numbers if len(numbers) == n else None
    return None


def is_list(cell: object) -> bool:
    """Whether a cell holds several values."""
    return not isinstance(cell, (str, bytes, int, float)) and isinstance(
        cell, (Sequence, set, frozenset, np.ndarray, pd.Series, pd.Index)
    )


def of_numpy(values: Any) -> Any:
    """What a library has in place of an array, as one: what is masked is NaN; a tensor, the row of a sparse matrix."""
    if isinstance(values, np.ma.MaskedArray):
        dtype = values.dtype if values.dtype.kind == "f" else np.float64
        return np.ma.filled(values.astype(dtype), np.nan)
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu()
        return (values.float() if values.dtype == torch.bfloat16 else values).numpy()
    if issparse(values) and (values.ndim == 1 or values.shape[0] == 1):
        return values.toarray().ravel()
    return np.asarray(values) if isinstance(values, pd.api.extensions.ExtensionArray) else values


def _plain(values: Sequence[Any]) -> list[Any]:
    values = [value if isinstance(value, (str, int, float)) else of_numpy(value) for value in values]
    cells = [None if not is_list(value) and pd.isna(value) else _cell(value) for value in values]
    present = [cell for cell in cells if cell is not None]
    if len(present) < len(cells) and all(type(cell) is float and cell.is_integer() for cell in present):
        return [None if cell is None else int(cell) for cell in cells]
    return cells


def _cell(value: Any) -> Any:
    if isinstance(value, np.generic) or isinstance(value, np.ndarray) and value.ndim == 0:
        plain = value.item()
        is_moment = isinstance(value, np.datetime64) and isinstance(plain, int)  # in nanoseconds
        value = pd.Timestamp(value) if is_moment else plain
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, (pd.Series, pd.Index)):
        return value.tolist()
    if isinstance(value, (set, frozenset)):
        return sorted(value, key=str)  # in an order that the next process has, too
    return str(value) if isinstance(value, (pd.Period, pd.Interval)) else value


def texts_of(frame: pd.DataFrame) -> pd.DataFrame:
    """The cells of a plain frame as a text file holds them, "" where nothing stands; lists are left as they are."""
    return frame.apply(
        lambda column: pd.Series(
            ["" if cell is None else cell if is_list(cell) else str(cell) for cell in column], column.index, object
        )
    )
