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

FEW = 20  # users or items, of which one may well have most interactions
TRUTH = {"false": 0, "true": 1}


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
        if numbers.isna().all() and (truths := texts.str.lower().map(TRUTH)).notna().all():
            numbers = truths
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
        counts = frame[id_field].value_counts()
        strange = list(filter(is_marker, counts.index))
        if len(counts) >= FEW and 2 * counts.iloc[0] > len(frame):
            strange = [counts.index[0]]
        if strange:
            print(
                f"  {counts[strange].sum():,} of {len(frame):,} rows are of the {side} {strange[0]!r}, an id like "
                "others; remove them if it says that there is none, as of who was not signed in"
            )
    return frame


def tell_of_dislikes(frame: pd.DataFrame) -> None:
    """Say which interactions may be none: ratings that are not positive, what was not clicked, what was given back."""
    for column in frame.select_dtypes("number").columns.drop("timestamp", errors="ignore"):
        numbers = frame[column]
        is_judgement = column == "rating" or numbers.isin((0, 1)).all()
        n, positive = int((numbers <= 0 if is_judgement else numbers < 0).sum()), numbers[numbers > 0]
        if n and len(positive) > (0 if is_judgement else n):
            print(
                f"  {n:,} of {len(frame):,} interactions have {'0 or less' if is_judgement else 'less than 0'} in "
                f"{column}, and count as the others do; --min {column}={positive.min():.15g} (minimum) drops them"
            )
