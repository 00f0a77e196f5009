"""What a data set declares, and its atomic files to modalities."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from recbole_sibrar.data.atomic import align, check_id_type, check_known, find_dataset_file, read_atomic, read_header
from recbole_sibrar.data.modalities import INTERACTIONS, SIDES, Declaration, Modalities
from recbole_sibrar.errors import DataError, OptionError, nearest
from recbole_sibrar.kinds import DECLARED, KINDS
from recbole_sibrar.kinds.kind import Files


def parse_declarations(declared: object, side: str) -> tuple[Declaration, ...]:
    """The ``modalities: {user: {name: kind}, item: {name: kind}}`` block of a data set's YAML, for one side.

    ``name: {kind: tags, field: class, missing: [unknown]}`` reads the modality from a column of another name, in which
    the given texts stand for a missing value, as the empty cell does anywhere.

    Raises:
        OptionError: the block is malformed or a kind is unknown.
    """
    if not isinstance(declared or {}, dict):
        raise OptionError(f"modalities is {declared!r}; expected {{user: {{name: kind}}, item: {{name: kind}}}}.")
    for key in declared or {}:
        if key not in SIDES:
            raise OptionError(f"modalities has the key {key!r}. {nearest(key, SIDES)}")
        if not isinstance(declared[key] or {}, dict):
            raise OptionError(f"modalities.{key} is {declared[key]!r}; expected {{name: kind}}.")
    declarations = []
    for name, entry in ((declared or {}).get(side) or {}).items():
        entry = entry if isinstance(entry, dict) else {"kind": entry}
        unknown = set(entry) - {"kind", "field", "missing"}
        if unknown or entry.get("kind") not in DECLARED:
            raise OptionError(
                f"modalities.{side}.{name} is {entry!r}; expected a kind ({', '.join(DECLARED)}) "
                "or {kind: ..., field: <column>, missing: [<text>, ...]}."
            )
        if name == INTERACTIONS:
            raise OptionError(f"modalities.{side}.{INTERACTIONS}: interactions are a modality undeclared.")
        missing = entry.get("missing", ())
        missing = tuple(map(str, missing if isinstance(missing, (list, tuple)) else [missing]))
        declarations.append(Declaration(str(name), entry["kind"], str(entry.get("field", name)), missing))
    return tuple(declarations)


def load_modalities(
    folder: Path | str, dataset: str, side: str, id_field: str, tokens: Sequence[str],
    declarations: Iterable[Declaration], vector_storage: str = "memory", separators: tuple[str, str] = ("\t", " "),
) -> Modalities:  # fmt: skip
    """Read the declared side information of the entities ``tokens`` from the data set's atomic files.

    Args:
        folder: where ``<dataset>.user``, ``<dataset>.item`` and one ``<dataset>.<name>`` per vector modality are.
        tokens: (N,) original ids in the order of the internal ids; position 0 is padding and has no modality.
        declarations: what to read.
        vector_storage: ``memory``, or ``disk`` to leave vectors in their binary copies (see ``data.vectors``) and read
            those that a batch asks for; where no copy can be written they are in memory after all, with a warning.
        separators: of cells, and of tags and numbers inside one.

    Raises:
        DataError: a file or column is absent or malformed.
    """
    tokens = np.asarray(tokens).astype(str)
    files = Files(Path(folder), dataset, side, id_field, vector_storage, separators)
    in_columns = [declaration for declaration in declarations if KINDS[declaration.kind].column_type]
    frame = _columns(files, tokens, in_columns) if in_columns else None
    entries = []
    for declaration in declarations:
        kind = KINDS[declaration.kind]
        if declaration in in_columns:
            entry = kind.from_column(declaration.name, frame[declaration], separators[1])
        else:
            entry = kind.from_file(declaration, files, tokens)
        entry.available[0] = False
        entries.append(entry)
    return Modalities(side, tuple(entries))


def _columns(files: Files, tokens: Sequence[str], declarations: Sequence[Declaration]) -> pd.DataFrame:
    """A row for each of the ``tokens``, with a column for each declaration, checked."""
    side, id_field = files.side, files.id_field
    columns, between = [declaration.field for declaration in declarations], files.separators[0]
    path = find_dataset_file(files.folder, files.dataset, side)
    if path is None:
        raise DataError(
            f"{files.folder / f'{files.dataset}.{side}'}: no such file, but the {side} modalities {', '.join(columns)} "
            "are declared. Add the file or remove the declaration."
        )
    if id_field in columns:
        raise DataError(f"{path}: {id_field!r} holds the ids; remove what modalities.{side} declares of it.")
    if id_field in (header := read_header(path, between)):
        check_id_type(path, id_field, header[id_field])
    frame = read_atomic(path, dict.fromkeys([id_field, *columns]), between)
    read = {id_field: frame[id_field]}
    for declaration in declarations:
        column = frame[declaration.field]
        column = column.mask(column.isin(declaration.missing), "")
        read[declaration] = KINDS[declaration.kind].checked(column, path, declaration)
    check_known(path, frame[id_field].tolist(), tokens)
    return align(pd.DataFrame(read), id_field, tokens, path)
