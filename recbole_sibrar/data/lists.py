"""Lists in tables, as texts: as JSON, Python, numpy and Postgres write them."""

import ast
import csv
import json
import re
from contextlib import suppress
from typing import Any

import pandas as pd

from recbole_sibrar.errors import DataError

MOSTLY = 0.9
"""A larger share of a column's cells says what the column holds."""

TEXT = r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\""""
TEXTS = re.compile(rf"[\[({{]\s*(?:(?:{TEXT}|None)[\s,]*)*[\])}}]", re.DOTALL)


def list_in(text: str) -> list[Any] | None:
    """The list of texts or numbers that a text is; None if it is none.

    >>> list_in("['Sci Fi', \\"Rock'n'Roll\\"]"), list_in("['Sci Fi' 'War']"), list_in('["Sci Fi"]')
    (['Sci Fi', "Rock'n'Roll"], ['Sci Fi', 'War'], ['Sci Fi'])
    >>> list_in("('Sci Fi',)"), list_in("['War', None]"), list_in("(5)")
    (['Sci Fi'], ['War', None], None)
    >>> list_in("[1, 2.5]"), list_in("[1  -2]"), list_in("[1. nan]"), list_in("[REC]"), list_in("[0.1 ... 0.2]")
    ([1, 2.5], [1, -2], [1.0, nan], None, None)
    >>> list_in('{tea,"Sci, Fi",NULL}'), list_in("{0.5,1}"), list_in("{}"), list_in('{"a": 1}')
    (['tea', 'Sci, Fi', None], [0.5, 1], [], None)
    """
    text = text.strip()
    if text[:1] + text[-1:] not in ("[]", "()", "{}"):
        return None
    if text == "{}":
        return []
    with suppress(ValueError, RecursionError):
        found = json.loads(text)
        return None if isinstance(found, dict) or any(isinstance(entry, (list, dict)) for entry in found) else found
    with suppress(ValueError, SyntaxError):
        if TEXTS.fullmatch(text):
            return [ast.literal_eval(entry) for entry in re.findall(f"{TEXT}|None", text, re.DOTALL)]
        if text[0] == "[":  # in round brackets a number is below zero
            return _numbers(text[1:-1].replace(",", " ").split())
    if text[0] == "{" and not set(text[1:-1]) & set("{}"):
        entries = next(csv.reader([text[1:-1]], escapechar="\\", skipinitialspace=True), [])
        with suppress(ValueError):
            return _numbers(entries)
        return [None if entry == "NULL" else entry for entry in entries]
    return None


def _numbers(texts: list[str]) -> list[int | float]:
    return [int(text) if text.lstrip("-").isdecimal() else float(text) for text in texts]


def as_lists(path: object, column: pd.Series) -> pd.Series | None:
    """A column of texts that are lists, but those that are empty, as these lists; None if it is none.

    Raises:
        DataError: nearly all of the texts are lists, but not this one.
    """
    texts = column[column != ""]
    if not texts.str.match(r"\s*[\[({]").mean() > MOSTLY:
        return None
    lists = texts.map(list_in)
    wrong = lists.isna()
    if not wrong.any():
        return lists.reindex(column.index, fill_value="")
    if wrong.mean() < 1 - MOSTLY:
        line = wrong.idxmax()
        raise DataError(
            f"{path}, line {line}: {column.name} is {column[line]!r:.100}, which is no list, as the others are; leave "
            "the cell empty where the value is missing, or say that the column is a text."
        )
    return None
