"""The modalities of atomic files that no YAML declares, guessed as the converter guesses columns."""

from functools import lru_cache
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from recbole_sibrar.convert.assemble import RESERVED, SPECIAL
from recbole_sibrar.data.atomic import find_dataset_file, read_atomic, read_header
from recbole_sibrar.data.cells import is_marker
from recbole_sibrar.errors import DataError
from recbole_sibrar.kinds.guess import guess_kind
from recbole_sibrar.kinds.tags import other_separator
from recbole_sibrar.recbole_plugin import distributed

NO_SEPARATOR = "\0"


def guessed_modalities(
    folder: Path, id_fields: dict[str, str], separators: tuple[str, str], load: dict[str, Any], unload: dict[str, Any]
) -> dict[str, Any] | None:
    """The block ``modalities`` for the ``.user`` and ``.item`` files and the vector files of a data set, also printed.

    A column of numbers (or ``float``) is a number, a ``token_seq`` tags, another a category, unless it is a text by
    the converter's rules. Texts that stand for a missing value become ``missing: [...]``.

    Args:
        folder: of the data set. id_fields: {side: name}. separators: of cells, and within them.
        load, unload: {side: columns}, RecBole's ``load_col`` and ``unload_col``: of a side in ``load`` no others are
            looked at ("*": all are).

    Returns:
        None if nothing is there.
    """
    files = tuple(sorted((path.name, path.stat().st_mtime_ns) for path in folder.glob(f"{folder.name}.*")))
    sides = tuple(
        (side, field, None if load.get(side, "*") == "*" else frozenset(load[side]), frozenset(unload.get(side, ())))
        for side, field in id_fields.items()
    )
    return _guessed(folder, files, sides, separators)


@lru_cache(maxsize=16)
def _guessed(
    folder: Path,
    files: tuple[tuple[str, int], ...],
    sides: tuple[tuple[str, str, frozenset[str] | None, frozenset[str]], ...],
    separators: tuple[str, str],
) -> dict[str, Any] | None:
    modalities, unread = {}, []
    for side, field, loaded, unloaded in sides:
        columns = _of_columns(folder, side, field, separators, loaded, unloaded)
        own = {name: guess for name, guess in columns.items() if guess is not None}
        own.update(_of_vectors(folder, files, field, separators))
        unread += [f"{name} of {side}s" for name, guess in columns.items() if guess is None]
        if own:
            modalities[side] = own
    if modalities and distributed.is_main():
        text = yaml.safe_dump({"modalities": modalities}, sort_keys=False, default_flow_style=None, allow_unicode=True)
        print(f"{folder / folder.name}.yaml declares no modalities; these are guessed. Paste them there to change one:")
        if unread:
            text += f"# not read, being texts, empty, or vectors that have no file of their own: {', '.join(unread)}\n"
        print(text)
    return modalities or None


def _of_columns(
    folder: Path,
    side: str,
    field: str,
    separators: tuple[str, str],
    loaded: frozenset[str] | None,
    unloaded: frozenset[str],
) -> dict[str, Any]:
    """{column: its kind, None for one that is not read}."""
    path = find_dataset_file(folder, folder.name, side)
    if path is None:
        return {}
    header = read_header(path, separators[0])
    left_out = {field, *SPECIAL, *unloaded}
    columns = [name for name in header if name not in left_out and (loaded is None or name in loaded)]
    if not columns:
        return {}
    frame = read_atomic(path, columns, separators[0])
    return {name: _kind(frame[name], header[name], separators[1]) for name in columns}


def _kind(column: pd.Series, declared: str, separator: str) -> str | dict[str, Any] | None:
    """The kind, with the texts for a missing value if there are some; None for a text."""
    if declared == "float_seq":
        return None
    found = [text for text in column.unique() if text and is_marker(text)]
    column = column.mask(column.isin(found), "")
    if not (column != "").any():
        return None
    if declared == "token_seq":
        is_text = guess_kind(column, separator) == "text" and not other_separator(column)
        kind = "text" if is_text else "tags"
    else:
        kind = guess_kind(column, NO_SEPARATOR) if declared == "token" else "number"
    if kind == "text":
        return None
    return {"kind": kind, "missing": found} if found else kind


def _of_vectors(
    folder: Path, files: tuple[tuple[str, int], ...], field: str, separators: tuple[str, str]
) -> dict[str, str]:
    found = {}
    for name, _ in files:
        suffix = name.removeprefix(f"{folder.name}.")
        if suffix in RESERVED or name.endswith((".yaml", ".json")):
            continue
        try:
            header = read_header(folder / name, separators[0])
        except DataError:
            continue
        if list(header.items())[:1] == [(field, "token")] and list(header.values())[1:] == ["float_seq"]:
            found[suffix] = "vector"
    return found
