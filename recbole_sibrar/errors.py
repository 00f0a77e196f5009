"""The errors a user can cause; the command line prints them without a traceback and exits with code 2.

Every message names the value that was found, what was expected, and what to do about it.
"""

import shlex
from collections.abc import Iterable
from difflib import get_close_matches
from itertools import islice

MANY_NAMES, LONGEST_NAME = 10_000, 500  # names, and letters of one, among which a similar one is found at once


class SibrarError(Exception):
    """Base class of every error that is the input's fault and not the program's."""


class OptionError(SibrarError):
    """An option (command line, YAML file, dictionary) is unknown, missing or out of range."""


class DataError(SibrarError):
    """A data file is absent, malformed, or does not hold what the configuration asks for."""


class CheckpointError(SibrarError):
    """A checkpoint cannot be read: not ours, truncated, or made by an incompatible version."""


class WriteError(SibrarError):
    """A file or folder cannot be written: no space, no permission, no such device."""


class BusyError(SibrarError):
    """Another process is writing the same folder."""


class TrainingError(SibrarError):
    """Training came to a loss or to scores that are no numbers."""


class RecBoleMissing(SibrarError, ImportError):
    """Something needs RecBole, which is not installed."""


class WorkerError(Exception):
    """A process of a run of several was killed or lost the others; the command line exits with code 1."""


def not_installed(what: str, package: str | None, extra: str) -> str:
    """A sentence on a package of one of the project's extras.

    >>> not_installed("serve", "fastapi", "serve")
    "serve needs fastapi, which is not installed: pip install 'recbole-sibrar[serve]'."
    """
    return f"{what} needs {package}, which is not installed: pip install 'recbole-sibrar[{extra}]'."


def as_typed(*arguments: object) -> str:
    """A command of ours as it is typed in a shell; paths and names among its arguments may hold blanks.

    >>> as_typed("report", "my results")
    "recbole-sibrar report 'my results'"
    """
    return shlex.join(["recbole-sibrar", *map(str, arguments)])


def nearest(value: object, valid: Iterable[object]) -> str:
    """A sentence that suggests the valid name most like ``value``, or lists them all.

    >>> nearest("item_clod", ["warm", "item_cold"])
    "Did you mean 'item_cold'? Valid: item_cold, warm."
    >>> nearest("item_clod", [])
    'There is none.'
    """
    names = sorted(str(name) for name in valid)
    if not names:
        return "There is none."
    return f"{suggestion(value, names)} Valid: {', '.join(names)}.".lstrip()


def suggestion(value: object, valid: Iterable[object]) -> str:
    """The question alone, where the valid names are too many to list; empty if none is similar.

    A name that is the same but for case and leading zeros comes first. Among very many names a similar one is looked
    for in the first ``MANY_NAMES`` that begin as the first half of the value does.

    >>> suggestion("item_clod", ["warm", "item_cold"])
    "Did you mean 'item_cold'?"
    >>> suggestion(37, ["0000036", "0000037"])
    "Did you mean '0000037'?"
    """
    value, names = str(value), [str(name) for name in valid]
    if len(value) > LONGEST_NAME:
        return ""
    plain = _plain(value)
    same = next((name for name in names if _plain(name) == plain), None)
    if same is not None:
        return f"Did you mean {same!r}?"
    if len(names) > MANY_NAMES:
        begin = value[: len(value) // 2]
        names = list(islice((name for name in names if name.startswith(begin)), MANY_NAMES))
    close = get_close_matches(value, sorted(names), n=1)
    return f"Did you mean {close[0]!r}?" if close else ""


def _plain(name: str) -> str:
    return name.casefold().lstrip("0")
