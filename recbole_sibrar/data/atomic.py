"""Reading RecBole atomic files: tab-separated text whose header cells are ``field:type``."""

import csv
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd

from recbole_sibrar.errors import DataError, nearest

FIELD_TYPES = ("token", "token_seq", "float", "float_seq")


def read_header(path: str | Path, separator: str = "\t") -> dict[str, str]:
    """The fields of an atomic file, ``{field: type}`` in file order.

    Raises:
        DataError: the file is absent or empty, is not UTF-8, or a header cell is not ``field:type``.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path}: no such file.")
    try:
        with open(path, encoding="utf-8-sig", newline="\n") as file:
            header = file.readline().rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: not UTF-8 text ({error.reason} at byte {error.start}). Re-encode it as UTF-8."
        ) from None
    if not header:
        raise DataError(f"{path}: the file is empty; expected a header such as 'user_id:token<TAB>item_id:token'.")
    fields = {}
    for cell in header.split(separator):
        name, colon, kind = cell.partition(":")
        if not colon or kind not in FIELD_TYPES:
            raise DataError(
                f"{path}, line 1: header cell {cell!r} is not 'field:type' with a type among {', '.join(FIELD_TYPES)} "
                f"(field_separator is {separator!r})."
            )
        fields[name] = kind
    return fields


def check_id_type(path: str | Path, field: str, kind: str) -> None:
    """Ids are compared as texts: as numbers 7 and 7.0 would be one, and 007 too.

    Raises:
        DataError: a column of ids is not of the type ``token``.
    """
    if kind != "token":
        raise DataError(f"{path}: {field} is {kind}; ids are token: write '{field}:token' in the header.")


def read_atomic(path: str | Path, fields: Iterable[str] | None = None, separator: str = "\t") -> pd.DataFrame:
    """Some columns of an atomic file as strings; an empty cell is ``""``; the index is the number of the line.

    Args:
        path: the file.
        fields: the fields to read, all of them by default.

    Raises:
        DataError: a field is absent, or a line has too many or too few cells.
    """
    path = Path(path)
    header = read_header(path, separator)
    fields = list(header) if fields is None else list(fields)
    for field in fields:
        if field not in header:
            raise DataError(f"{path}: no column {field!r}. {nearest(field, header)}")
    check_cells(path, len(header), separator)
    try:
        frame = pd.read_csv(
            path, sep=separator, header=None, skiprows=1, names=list(header), usecols=fields, dtype=str,
            na_filter=False, quoting=csv.QUOTE_NONE, encoding="utf-8", skip_blank_lines=False,
        )  # fmt: skip
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 text ({error.reason}). Re-encode it as UTF-8.") from None
    if frame.empty:
        raise DataError(f"{path}: no line below the header.")
    frame.index += 2
    return frame[fields]


def check_cells(path: str | Path, n_cells: int, separator: str = "\t") -> None:
    """Every line has as many cells as the header; pandas would silently pad short lines, and end one at a lone CR.

    Raises:
        DataError: naming the first line that has not.
    """
    mark = separator.encode()
    with open(path, "rb") as file:
        for number, line in enumerate(file, start=1):
            if line.count(mark) != n_cells - 1:
                found = line.count(mark) + 1 if line.strip() else 0
                raise DataError(f"{path}, line {number}: {found} cells, expected {n_cells} as in the header.")
            if b"\r" in line.rstrip(b"\r\n") or b"\0" in line:
                raise DataError(f"{path}, line {number}: a carriage return or zero byte within the line; remove it.")


LARGEST = float(np.finfo(np.float32).max)


def parse_numbers(
    values: pd.Series, path: str | Path, field: str, advice: Callable[[str], str] = lambda text: ""
) -> pd.Series:
    """Strings to float64; the empty string is NaN (missing).

    Args:
        values: with the numbers of their lines as the index.
        advice: what else can be done about a text that stands for a missing value, in words.

    Raises:
        DataError: a value is neither empty nor a finite number that float32 holds.
    """
    numbers = pd.to_numeric(values.where(values != "", None), errors="coerce").astype("float64")
    wrong = (numbers.isna() & (values != "")) | (numbers.abs() > LARGEST)
    if wrong.any():
        line = wrong.idxmax()
        raise DataError(
            f"{path}, line {line}: {values[line]!r} in column {field!r} is not a finite number below {LARGEST:.1e}, "
            f"such as 12.5; leave the cell empty where the value is missing{advice(values[line])}."
        )
    return numbers


def exact_integers(values: pd.Series, numbers: pd.Series) -> pd.Series:
    """The ``numbers`` that ``parse_numbers`` made of ``values``, as int64 if all are integers that float64 would round.

    >>> exact_integers(pd.Series(["9007199254740993"]), pd.Series([9007199254740992.0])).tolist()
    [9007199254740993]
    """
    integers = pd.to_numeric(values, errors="coerce")
    rounds = integers.dtype == np.int64 and (numbers.astype(np.int64) != integers).any()
    return integers if rounds else numbers


def align(frame: pd.DataFrame, id_field: str, tokens: Sequence[str], path: str | Path) -> pd.DataFrame:
    """One row per token, in the order of ``tokens``; tokens that the file does not list get NaN.

    Raises:
        DataError: an id occurs twice.
    """
    duplicate = frame[id_field].duplicated()
    if duplicate.any():
        line = duplicate.idxmax()
        raise DataError(f"{path}, line {line}: {id_field} {frame[id_field][line]!r} occurs twice; keep one row.")
    return frame.set_index(id_field).reindex(tokens)


def check_known(
    path: str | Path, ids: Sequence[str], tokens: Sequence[str], others: Callable[[], Iterable[str]] = tuple
) -> None:
    """
    Args:
        ids: that a file of features lists. tokens: of the entities, after the padding.
        others: makes the ids of a table of such entities, which may be without interactions.

    Raises:
        DataError: they have none in common: nothing would be known of any entity.
    """
    known = set(tokens[1:])
    if not known.isdisjoint(ids):
        return
    listed = set(others())
    if listed.isdisjoint(ids) or listed.isdisjoint(known):
        raise DataError(
            f"{path}: none of its {len(ids):,} ids, such as {str(ids[0])!r}, is among the {len(tokens) - 1:,} with "
            f"interactions, such as {str(tokens[-1])!r}. Write them in the same way, or leave out what is declared of "
            "this file."
        )


def has_rows(path: str | Path) -> bool:
    """Whether there is a line below the header of an atomic file."""
    with open(path, "rb") as file:
        return len(list(islice(file, 2))) == 2


def find_dataset_file(folder: str | Path, dataset: str, suffix: str) -> Path | None:
    """``<folder>/<dataset>.<suffix>`` if it exists."""
    path = Path(folder) / f"{dataset}.{suffix}"
    return path if path.is_file() else None
