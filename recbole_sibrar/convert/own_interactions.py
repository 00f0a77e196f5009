"""The interactions of a data set of one's own: who, what, and the columns beside."""

from pathlib import Path

import pandas as pd

from recbole_sibrar.convert.assemble import ID, check_column_names
from recbole_sibrar.convert.own_cells import ids_of, read_cells
from recbole_sibrar.data.atomic import LARGEST
from recbole_sibrar.data.cells import clean, is_marker
from recbole_sibrar.data.dates import as_seconds, is_moment
from recbole_sibrar.data.frames import Table, is_list
from recbole_sibrar.errors import DataError


def read_interactions(source: Table, user_column: str, item_column: str) -> pd.DataFrame:
    path, frame = read_cells(source, "interactions", {user_column: "user", item_column: "item"})
    lists = [column for column in frame.columns.drop([*ID.values()]) if frame[column].map(is_list).any()]
    if lists:
        print(f"  columns of interactions that hold lists are left out: {', '.join(lists)}")
        frame = frame.drop(columns=lists)
    check_column_names(path, frame.columns)
    frame = _with_ids(path, frame)
    others = []
    for column in [column for column in frame if column not in ID.values()]:
        texts = frame[column].str.strip()
        dates = as_seconds(texts)
        if column not in ("rating", "timestamp"):
            is_time = dates is not None and "timestamp" not in frame
            others.append(f"{column} (for splits by time call it timestamp)" if is_time else column)
        numbers = pd.to_numeric(texts if dates is None else dates, errors="coerce")
        wrong = numbers.isna() | (numbers.abs() > LARGEST)
        if not wrong.any():
            frame[column] = numbers
        elif column in ("rating", "timestamp"):
            neither = wrong & ~texts.map(is_moment)
            line = (neither if neither.any() else wrong).idxmax()
            date = " nor, as all of its cells, a date such as 2024-05-31 10:15:00" if column == "timestamp" else ""
            raise DataError(
                f"{path}, line {line}: {frame[column][line]!r} in {column} is no finite number{date}; remove rows "
                "without one, or the column."
            )
        else:
            frame[column] = clean(frame[column])
    if others:
        print(f"  other columns of interactions are kept, and read by no model: {', '.join(others)}")
    frame = frame[[*ID.values(), *(column for column in frame if column not in ID.values())]]
    return frame.reset_index(drop=True)


def _with_ids(path: str | Path, frame: pd.DataFrame) -> pd.DataFrame:
    """The interactions that have a user and an item.

    Raises:
        DataError: none has, or an id is a list or holds a line break.
    """
    for id_field in ID.values():
        frame[id_field] = ids_of(path, frame[id_field])
    has_ids = (frame[[*ID.values()]] != "").all(axis=1)
    lines = frame.index[~has_ids]
    if len(lines) == len(frame):
        raise DataError(f"{path}, line {lines[0]}: user_id or item_id is empty, as on all lines.")
    if len(lines):
        print(f"  {len(lines):,} of {len(frame):,} rows without a user or an item, such as line {lines[0]}: left out")
        frame = frame[has_ids].copy()
    for side, id_field in ID.items():
        marked = frame[id_field][frame[id_field].isin(list(filter(is_marker, frame[id_field].unique())))]
        if len(marked):
            print(
                f"  {len(marked):,} interactions are those of the {side} {marked.iloc[0]!r}, an id like others; "
                "remove the rows if it says that there is none"
            )
    return frame


def tell_of_dislikes(frame: pd.DataFrame) -> None:
    """Say which interactions may be none: ratings that are not positive, and what was given back."""
    for column in frame.select_dtypes("number").columns.drop("timestamp", errors="ignore"):
        numbers, is_rating = frame[column], column == "rating"
        n, positive = int((numbers <= 0 if is_rating else numbers < 0).sum()), numbers[numbers > 0]
        if n and len(positive) > (0 if is_rating else n):
            print(
                f"  {n:,} of {len(frame):,} interactions have {'0 or less' if is_rating else 'less than 0'} in "
                f"{column}, and count as the others do; --min {column}={positive.min():.15g} (minimum) drops them"
            )
