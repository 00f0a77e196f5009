"""Checks of what a conversion is given from Python, where the command line would have made it of the right type."""

import math
from collections.abc import Iterable, Mapping, Sequence
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd

from recbole_sibrar.data.frames import is_list
from recbole_sibrar.errors import DataError, OptionError


def check_arguments(
    texts: dict[str, object],
    named: dict[str, object],
    kinds: dict[str, object],
    minimum: object,
    k_core: object,
    lists: dict[str, object],
) -> None:
    """
    Args:
        texts: {argument: what has to be a text}. named: what has to be a dictionary, or None. kinds: of texts.
        lists: what has to be a list of texts, or None.

    Raises:
        OptionError: naming the argument, what it is and what was expected.
    """
    for argument, value in texts.items():
        _check(argument, value, isinstance(value, str) and value, "a text")
    for argument, value in {**named, **kinds, "minimum": minimum}.items():
        _check(argument, value, value is None or _is_named(value), "a dictionary with names as keys")
    for argument, own in kinds.items():
        for column, kind in own.items() if isinstance(own, Mapping) else ():
            _check(f"{argument} of {column!r}", kind, isinstance(kind, str), "the name of a kind")
    for column, value in minimum.items() if isinstance(minimum, Mapping) else ():
        is_finite = isinstance(value, Real) and not isinstance(value, (bool, np.bool_)) and math.isfinite(value)
        _check(f"minimum of {column!r}", value, is_finite, "a finite number")
    is_count = isinstance(k_core, (int, np.integer)) and not isinstance(k_core, bool) and k_core >= 0
    _check("k_core", k_core, is_count, "an integer of at least 0")
    for argument, value in lists.items():
        _check(argument, value, value is None or _is_texts(value), "a list of texts")


def _check(argument: str, value: object, is_right: object, expected: str) -> None:
    if not is_right:
        raise OptionError(f"{argument} is {value!r:.100}; expected {expected}.")


def _is_named(value: object) -> bool:
    return isinstance(value, Mapping) and all(isinstance(name, str) for name in value)


def _is_texts(value: object) -> bool:
    is_several = isinstance(value, (Sequence, set, frozenset, Mapping, np.ndarray, pd.Index, pd.Series))
    return is_several and not isinstance(value, (str, bytes)) and all(isinstance(text, str) for text in _several(value))


def _several(value: Any) -> Iterable[Any]:
    return value.tolist() if isinstance(value, np.ndarray) else value


def check_cells(name: str, frame: pd.DataFrame) -> None:
    """A frame's cells can be written into a text file, and mean something there.

    Args:
        frame: of ``plain_frame``.

    Raises:
        DataError: naming the first that cannot.
    """
    for column in frame:
        for row, cell in frame[column].items():
            for value in _values_in(cell):
                if isinstance(value, (bytes, bytearray, Mapping, complex)) or is_list(value):
                    keep = " Of an object keep what counts, such as its name." if isinstance(value, Mapping) else ""
                    raise DataError(
                        f"{name}, line {row}: {column} is {cell!r:.100}; expected a text, a number or a list of "
                        f"them.{keep}"
                    )
                if isinstance(value, str) and not _is_writable(value):
                    raise DataError(f"{name}, line {row}: {column} is {value!r:.100}, which UTF-8 text cannot hold.")


def _values_in(cell: Any) -> Iterable[Any]:
    """The cell, or what a list holds, unless that begins with a number."""
    if not is_list(cell):
        return (cell,)
    return () if not len(cell) or isinstance(cell[0], Real) else cell


def _is_writable(text: str) -> bool:
    if text.isascii():
        return "\0" not in text
    try:
        return b"\0" not in text.encode()
    except UnicodeEncodeError:  # half of a pair of surrogates
        return False
