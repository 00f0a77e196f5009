"""Lists in tables, as texts: as JSON, Python and numpy write them."""

import ast
import json
import re
from contextlib import suppress
from typing import Any

import pandas as pd

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
    """
    text = text.strip()
    if text[:1] + text[-1:] not in ("[]", "()", "{}"):
        return None
    with suppress(ValueError, RecursionError):
        found = json.loads(text)
        return None if isinstance(found, dict) or any(isinstance(entry, (list, dict)) for entry in found) else found
    with suppress(ValueError, SyntaxError):
        if TEXTS.fullmatch(text):
            return [ast.literal_eval(entry) for entry in re.findall(f"{TEXT}|None", text, re.DOTALL)]
        if text[0] == "[":  # in round brackets a number is below zero
            numbers = text[1:-1].replace(",", " ").split()
            return [int(number) if number.lstrip("-").isdecimal() else float(number) for number in numbers]
    return None


def as_lists(column: pd.Series) -> pd.Series | None:
    """A column of texts that are lists, but those that are empty, as these lists; else None."""
    texts = column[column != ""]
    if not len(texts) or list_in(texts.iloc[0]) is None:
        return None
    lists = texts.map(list_in)
    return None if lists.isna().any() else lists.reindex(column.index, fill_value="")
