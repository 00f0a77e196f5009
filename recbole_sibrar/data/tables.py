"""A whole table of any format, as texts or as the values it holds."""

import csv
import io
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from recbole_sibrar.data.delimited import Lines, read_blocks
from recbole_sibrar.data.frames import is_list
from recbole_sibrar.data.lines import check_file, line_blocks, suffix_of
from recbole_sibrar.data.typed import TYPED
from recbole_sibrar.errors import DataError, nearest

SEPARATORS = {".tsv": "\t", ".csv": ","}


def table_format(path: str | Path) -> str:
    """One of ``SEPARATORS`` and ``TYPED``.

    Raises:
        DataError: no such file, or a name that ends otherwise.
    """
    path = Path(path)
    check_file(path)
    suffix = suffix_of(path)
    if suffix not in {**SEPARATORS, **TYPED}:
        raise DataError(
            f"{path}: unknown format; expected a table named .tsv, .csv, .jsonl (also .gz, .bz2) or .parquet."
        )
    return suffix


def separator_of(path: str | Path) -> str:
    """Between the cells of a text table: that of its name; or in a .csv with ; and no comma in its first line this, as
    spreadsheets write it where numbers have a comma."""
    separator = SEPARATORS[suffix_of(Path(path))]
    header = next(line_blocks(path))[1].partition(b"\n")[0]
    return ";" if separator == "," and b";" in header and b"," not in header else separator


def read_table(path: str | Path, required: Iterable[str] = ()) -> pd.DataFrame:
    """A whole table as texts; a missing cell is ``""``; the index is the number of the line, or of a Parquet's row.

    Quotes are those of the csv module. In a TSV where they cannot be, they are part of the text.

    Raises:
        DataError: the file cannot be read, a column is absent or twice there, a line has too many or too few cells, or
            no line stands below the header.
    """
    suffix = table_format(path)
    frame = _gather(path, separator_of(path)) if suffix in SEPARATORS else _texts(path, _read_typed(path, suffix))
    return checked(path, frame, required)


def read_values(path: str | Path) -> pd.DataFrame:
    """As ``read_table``, but the cells of a ``TYPED`` table stay what they are: numbers, lists, None."""
    suffix = table_format(path)
    return checked(path, _read_typed(path, suffix)) if suffix in TYPED else read_table(path)


def checked(path: str | Path, frame: pd.DataFrame, required: Iterable[str] = ()) -> pd.DataFrame:
    """The table, if it has rows, the columns ``required``, and none of them twice.

    Blanks around names do not count, and columns without a name that are empty or number the rows, as pandas writes
    them, are left out.

    Args:
        path: its name in messages.
    """
    frame = frame.set_axis([str(name).strip() for name in frame.columns], axis=1)
    frame = frame.loc[:, [not _is_nothing(name, frame.iloc[:, place]) for place, name in enumerate(frame.columns)]]
    duplicate = frame.columns[frame.columns.duplicated()]
    if len(duplicate):
        raise DataError(f"{path}, line 1: column {duplicate[0]!r} occurs twice; rename one.")
    for column in required:
        if column not in frame:
            raise DataError(f"{path}, line 1: no column {column!r}. {nearest(column, frame.columns)}")
    if frame.empty:
        raise DataError(f"{path}: no line below the header.")
    return frame


def _is_nothing(name: str, column: pd.Series) -> bool:
    """Whether a column is what a separator at the end of each line, or pandas' index, leaves in a file."""
    if name not in ("", "Unnamed: 0"):
        return False
    numbers = pd.to_numeric(column, errors="coerce")
    return bool((column == "").all() or (numbers.diff().iloc[1:] > 0).all() and (numbers % 1 == 0).all())


def _gather(path: str | Path, separator: str) -> pd.DataFrame:
    """The text table."""
    blocks, header = [], list[str]()
    for item in read_blocks(path, separator):
        if isinstance(item, list):
            header = item
        elif isinstance(item, Lines):
            blocks.append(_parse(item, separator, header))
        else:
            blocks.append(pd.DataFrame(item[1], item[0], header, dtype=str))
    return pd.concat(blocks) if blocks else pd.DataFrame(columns=header)


def _parse(lines: Lines, separator: str, header: list[str]) -> pd.DataFrame:
    frame = pd.read_csv(
        io.BytesIO(lines.block), sep=separator, header=None, names=range(len(header)), dtype=str, na_filter=False,
        quoting=csv.QUOTE_NONE, skip_blank_lines=False, encoding="utf-8", lineterminator="\n",
    )  # fmt: skip
    frame.columns, frame.index = header, range(lines.number, lines.number + len(lines))
    return frame


def _read_typed(path: str | Path, suffix: str) -> pd.DataFrame:
    frame = pd.concat(TYPED[suffix](path)).rename(columns=str)
    return frame.set_axis(range(1, len(frame) + 1))


def _texts(path: str | Path, frame: pd.DataFrame) -> pd.DataFrame:
    for column in frame.columns[~frame.columns.duplicated()]:
        if frame[column].map(lambda cell: is_list(cell) or isinstance(cell, dict)).any():
            raise DataError(
                f"{path}: column {column!r} holds lists or objects; write each as one text with separators, or vectors "
                "as a file of their own."
            )
        frame[column] = frame[column].astype(str).mask(frame[column].isna(), "")
    return frame
