"""A table of one's own as it is read: a file, a folder of its parts, or a data frame; its cells as texts."""

from pathlib import Path
from typing import Any

import pandas as pd

from recbole_sibrar.convert.arguments import check_cells
from recbole_sibrar.convert.assemble import ID
from recbole_sibrar.data.frames import is_file, is_list, plain_frame, texts_of
from recbole_sibrar.data.lines import parts_of
from recbole_sibrar.data.tables import SEPARATORS, checked, read_table, read_values, table_format
from recbole_sibrar.errors import DataError, nearest


def read_cells(source: Any, name: str, ids: dict[str, str]) -> tuple[str | Path, pd.DataFrame]:
    """The name of a table in messages, and its cells as texts; lists in a frame stay lists.

    Args:
        ids: {column: the side whose ids it holds}; in the result it is called as in atomic files.
    """
    path = source if is_file(source) else name
    frame = _joined(Path(source)) if is_file(source) and Path(source).is_dir() else _cells(path, source)
    for column, side in ids.items():
        if column not in frame:
            raise DataError(
                f"{path}, line 1: no column {column!r}. {nearest(column, frame.columns)} --{side}-column (in Python "
                f"{side}_column) says what the {side}s' ids are called."
            )
    for column, side in ids.items():
        if ID[side] in frame and ID[side] not in ids:
            raise DataError(
                f"{path}, line 1: a column {ID[side]!r} stands beside {column!r}, the --{side}-column; rename or "
                "remove it."
            )
    return path, frame.rename(columns={column: ID[side] for column, side in ids.items()})


def _cells(path: str | Path, source: Any) -> pd.DataFrame:
    if is_file(source) and table_format(source) in SEPARATORS:
        return read_table(source)
    plain = plain_frame(read_values(source) if is_file(source) else source, str(path))
    check_cells(str(path), plain)
    return checked(path, texts_of(plain))


def _joined(folder: Path) -> pd.DataFrame:
    """The table that a folder holds in parts; the index says which line of which part."""
    tables: list[pd.DataFrame] = []
    for part in parts_of(folder):
        table = _cells(part, part)
        other = set(table).symmetric_difference(tables[0] if tables else table)
        if other:
            raise DataError(
                f"{folder}: not all of its files have a column {min(other)!r}, {part} for one; they hold "
                "parts of one table."
            )
        tables.append(table.set_axis([f"{line} of {part.relative_to(folder)}" for line in table.index]))
    return pd.concat(tables)


def ids_of(path: str | Path, column: pd.Series) -> pd.Series:
    """Ids without blanks around them; "" where there is none."""
    lists = column.map(is_list)
    if lists.any():
        line = lists.idxmax()
        raise DataError(f"{path}, line {line}: {column.name} is {column[line]!r:.100}; expected one id.")
    ids = column.str.strip()
    wrong = ids.str.contains(r"[\t\r\n]")
    if wrong.any():
        raise DataError(f"{path}, line {wrong.idxmax()}: {column.name} holds a tab or a line break.")
    return ids
