"""Dates in tables, as numbers: seconds since 1970, of UTC where no time zone is said."""

import re
from datetime import date, datetime, timezone

import pandas as pd

DATE = re.compile(
    r"""(?P<day>\d{4}-\d\d-\d\d)
    ([T\ ](?P<minute>\d\d:\d\d)(:(?P<second>\d\d)([.,](?P<part>\d{1,9}))?)?\ ?(?P<zone>Z|UTC|[+-]\d\d(:?\d\d)?)?)?""",
    re.VERBOSE,
)


def is_date(cell: object) -> bool:
    """Whether a cell is a date or a time, or a text such as 2024-05-31 or 2024-05-31 10:15:00+02:00."""
    return isinstance(cell, date) or isinstance(cell, str) and DATE.fullmatch(cell.strip()) is not None


def is_moment(text: str) -> bool:
    """Whether a text ``is_date``, and there is such a day and time.

    >>> [is_moment(text) for text in ("2024-02-29", "2023-02-29", "29 Feb")]
    [True, False, False]
    """
    try:
        return is_date(text) and seconds(text) is not None
    except (ValueError, OverflowError):
        return False


def seconds(cell: date | str) -> int | float:
    """Since 1970, of a cell that ``is_date``.

    >>> seconds("1970-01-02"), seconds("1970-01-01T01:00:00.5+01:00"), seconds(date(1970, 1, 2))
    (86400, 0.5, 86400)
    >>> [seconds(f"1970-01-01 02:00:00{zone}") for zone in (" UTC", "+02", "+0130")]
    [7200, 0, 1800]

    Raises:
        ValueError: there is no such day or time.
    """
    day = _read(cell.strip()) if isinstance(cell, str) else cell
    moment = day if isinstance(day, datetime) else datetime(day.year, day.month, day.day)
    moment = moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)
    since = moment.timestamp()
    return int(since) if since.is_integer() else since


def _read(text: str) -> datetime:
    parts = DATE.fullmatch(text)
    assert parts is not None
    zone = parts["zone"] if parts["zone"] not in (None, "Z", "UTC") else "+00"
    zone = zone if ":" in zone else f"{zone[:3]}:{zone[3:] or '00'}"
    fraction = (parts["part"] or "")[:6].ljust(6, "0")
    return datetime.fromisoformat(
        f"{parts['day']}T{parts['minute'] or '00:00'}:{parts['second'] or '00'}.{fraction}{zone}"
    )


def as_seconds(column: pd.Series) -> pd.Series | None:
    """A column of texts with dates as numbers, if all are dates but those that are empty; else None."""
    texts = column[column != ""]
    if not len(texts) or not is_date(texts.iloc[0]) or not texts.map(is_date).all():
        return None
    try:
        return column.where(column == "", texts.map(seconds).map(str).reindex(column.index, fill_value=""))
    except (ValueError, OverflowError):
        return None
