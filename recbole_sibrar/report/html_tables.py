"""Tables of the page as plain data: what is shown in a cell, and what it is sorted by and downloaded as."""

from typing import Any

import pandas as pd

from recbole_sibrar.report.comparison import DIGITS
from recbole_sibrar.report.glossary import explain, heading_of

STD = "_std"  # behind the name of a column


def table_of(name: str, frame: pd.DataFrame, heading: str = "") -> dict[str, Any]:
    """A table of the page: columns with heading and explanation, rows of cells with text and the value to sort by.

    A deviation, ``ndcg@10_std``, stands below the value that it belongs to.
    """
    beside = {f"{key}{STD}": key for key in frame if f"{key}{STD}" in frame}
    shown = frame.drop(columns=list(beside))
    columns = [
        {"key": key, "heading": heading_of(key), "tip": explain(key), "is_text": _is_text(shown[key])} for key in shown
    ]
    rows = [[cell(value) for value in row] for row in shown.astype(object).to_numpy()]
    for deviations, key in beside.items():
        place = list(shown).index(key)
        for row, deviation in zip(rows, frame[deviations]):
            row[place]["deviation"] = "" if pd.isna(deviation) else f"± {deviation:.{DIGITS}f}"
    return {"name": name, "heading": heading, "columns": columns, "rows": rows}


def _is_text(values: pd.Series) -> bool:
    return not pd.api.types.is_numeric_dtype(values)


USUAL = {"place": 0, "deviation": "", "notes": (), "details": "", "bar": "", "curve": "", "pale": False}


def cell(value: object, text: str | None = None, **extra: object) -> dict[str, Any]:
    """A cell: what is shown, what it is sorted by and downloaded as, and what the page may show beside it.

    Args:
        extra: some of ``USUAL``: 1 or 2 for the best or second best value, what is written below it, the length of a
            bar, a drawing in place of the text, whether the row is pale.
    """
    if value is None or (isinstance(value, float) and pd.isna(value)):
        return {**USUAL, "text": text or "", "value": "", **extra}
    if text is None:
        text = f"{value:.{DIGITS}f}" if isinstance(value, float) else str(value)
    return {**USUAL, "text": text, "value": value, **extra}
