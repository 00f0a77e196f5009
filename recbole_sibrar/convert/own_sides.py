"""The users or the items of a data set of one's own: what each column of their table holds."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from numbers import Real
from pathlib import Path

import pandas as pd

from recbole_sibrar.convert.arguments import check_cells
from recbole_sibrar.convert.assemble import ID, MANY, TYPES, Side, check_column_names
from recbole_sibrar.convert.own_cells import ids_of, read_cells
from recbole_sibrar.convert.vectors import Vectors, embeddings_of
from recbole_sibrar.data.cells import clean, is_marker, refuse_duplicates
from recbole_sibrar.data.dates import as_seconds
from recbole_sibrar.data.frames import Table, is_list
from recbole_sibrar.data.lists import as_lists
from recbole_sibrar.errors import DataError, OptionError, nearest
from recbole_sibrar.kinds import KINDS
from recbole_sibrar.kinds.guess import TEXT, doubts, guess_kind, spelled_in_two_ways


@dataclass(frozen=True)
class Reading:
    """How the tables of both sides are read; the attributes as the arguments of ``own_tables.convert``."""

    kinds: Mapping[str, str]
    tag_separator: str
    missing: Collection[str] | None
    half: bool
    output: str | Path


def read_side(
    name: str,
    source: Table | None,
    id_column: str,
    pairs: pd.DataFrame,
    given: dict[str, str],
    reading: Reading,
) -> tuple[Side, dict[str, dict[str, str]]]:
    """The side, and the unchanged texts of its columns for the encoders: {column: {id: text}}."""
    id_field = ID[name]
    if source is None:
        if given:
            raise OptionError(f"--{name}-modalities needs --{name}s FILE, the table with the columns.")
        return Side(name, pd.DataFrame({id_field: pairs[id_field].unique()})), {}
    path, table = read_cells(source, f"{name}s", {id_column: name})
    table[id_field] = ids_of(path, table[id_field])
    refuse_duplicates(path, table[id_field])
    columns = [column for column in table if column != id_field]
    given = {**{column: kind for column, kind in reading.kinds.items() if column in columns}, **given}
    for column, kind in given.items():
        if column not in columns:
            raise OptionError(f"--{name}-modalities: {path} has no column {column!r}. {nearest(column, columns)}")
        if kind not in TYPES:
            raise OptionError(f"--{name}-modalities {column}={kind}: unknown kind. {nearest(kind, TYPES)}")
    for column in columns:
        if given.get(column, "tags") == "tags" and not table[column].map(is_list).any():
            written = as_lists(path, _without_markers(table[column], reading.missing)[0])
            table[column] = table[column] if written is None else written
    lists = [column for column in columns if table[column].map(is_list).any()]
    check_cells(str(path), table[lists])
    table, vectors = _without_vectors(name, path, table, id_field, given, reading)
    check_column_names(path, table.columns)
    side = Side(name, table, vectors=vectors, n_rows=len(table))
    found: dict[str, str] = {}
    for column in table.columns.drop(id_field):
        if column in lists:
            table[column] = _tags(path, table[column], given.get(column))
            side.kinds[column], said = "tags", "tags (lists)"
        else:
            said = _read_column(side, column, given.get(column), reading)
        found[column] = said
    _tell_kinds(name, found)
    texts = {column: dict(zip(table[id_field], table[column])) for column, kind in side.kinds.items() if kind == TEXT}
    check_column_names(path, table.columns, [column for column, kind in side.kinds.items() if kind != TEXT])
    for column, kind in side.kinds.items():
        cells = table[column]
        table[column] = clean(cells) if kind == TEXT else KINDS[kind].written(cells, reading.tag_separator, path)
    side.table = table.reset_index(drop=True)
    _match(side, path, pairs[id_field])
    return side, texts


def _tell_kinds(name: str, found: dict[str, str]) -> None:
    """{column: what was found}, a line for each, or one for more than ``MANY`` of which the same is said."""
    alike: dict[str, list[str]] = {}
    for column, said in found.items():
        alike.setdefault(said, []).append(column)
    for column, said in found.items():
        columns = alike[said]
        if len(columns) <= MANY:
            print(f"  {name} column {column!r}: {said}")
        elif column == columns[0]:
            print(f"  {len(columns)} {name} columns, {columns[0]!r}, {columns[1]!r}, ... {columns[-1]!r}: {said}")


def _read_column(side: Side, column: str, given: str | None, reading: Reading) -> str:
    """Find out the kind of a column of texts, and empty what stands for a missing value; what was found, in words."""
    cells, said = _without_markers(side.table[column], reading.missing)
    numbers = as_seconds(cells) if given in (None, "number") else None
    if numbers is not None:
        cells, said = numbers, f", dates as seconds since 1970{said}"
        side.dates.append(column)
    kind = given or guess_kind(cells, reading.tag_separator)
    if kind == "number" and reading.missing:
        none = cells.map(lambda cell: KINDS["number"].says_none(cell, reading.missing))
        said += f"; missing: {none.sum():,} of these numbers" if none.any() else ""
        cells = cells.mask(none, "")
    if kind == TEXT:
        said += "; read by no model unless its kind is ngrams or it is encoded"
    if given is None and kind in ("category", TEXT):
        said += doubts(cells)
    if kind in ("category", "tags"):
        said += spelled_in_two_ways(cells, reading.tag_separator if kind == "tags" else None)
    side.table[column], side.kinds[column] = cells, kind
    return f"{kind}{'' if given else ' (guessed)'}{said}"


def add_embedded(side: Side) -> None:
    """Where no table says what there is, the entities that have a vector are there, too.

    Raises:
        DataError: there are interactions, and vectors of other entities alone.
    """
    ids = pd.Series([token for vectors in side.vectors.values() for token in vectors.ids], dtype=str).drop_duplicates()
    known = side.table[side.id_field]
    new = ids[~ids.isin(known)]
    if len(known) and len(ids) and len(new) == len(ids):
        raise DataError(
            f"None of the {len(known):,} {side.name}s with interactions, such as {known.iloc[0]!r}, has a vector; the "
            f"ids of the vectors are like {ids.iloc[0]!r}. Write them in the same way."
        )
    side.cold, side.described = new.tolist(), ids.tolist()
    side.table = pd.concat([side.table, pd.DataFrame({side.id_field: new})], ignore_index=True)


def _without_vectors(
    name: str, path: str | Path, table: pd.DataFrame, id_field: str, given: Collection[str], reading: Reading
) -> tuple[pd.DataFrame, dict[str, Vectors]]:
    """The table without the columns that hold lists of numbers, and these as vectors; not those ``given`` a kind.

    Raises:
        DataError: lists of several lengths, or beside what is none.
    """
    vectors = {}
    for column in table.columns.drop([id_field, *given]):
        cells = table[column][table[column].map(len) > 0]
        lists = cells[cells.map(is_list)]
        if not len(lists) or any(isinstance(entry, str) for cell in lists for entry in cell):
            continue
        sizes = cells.map(lambda cell: len(cell) if is_list(cell) else 0)
        if sizes.nunique() > 1:
            first, n = lists.index[0], len(lists.iloc[0])
            row = (sizes != n).idxmax()
            raise DataError(
                f"{path}, line {row}: {column} is {cells[row]!r:.100}; expected {n} numbers, as in line {first}. "
                f"If they are tags, --{name}-modalities {column}=tags (kinds) says so."
            )
        rows = table.loc[lists.index, [id_field, column]]
        vectors[column] = embeddings_of(rows, column, None, reading.half, reading.output)
        print(f"  {name} column {column!r}: vector (lists)")
    return table.drop(columns=list(vectors)), vectors


def _tags(path: str | Path, column: pd.Series, given: str | None) -> pd.Series:
    """The column with lists of texts; numbers in lists are tags where ``given`` says so."""

    def is_tag(tag: object) -> bool:
        return isinstance(tag, str) or given == "tags" and isinstance(tag, Real) and bool(pd.notna(tag))

    for row, cell in column.items():
        if given not in (None, "tags") or (not all(map(is_tag, cell)) if is_list(cell) else cell):
            kind = given or "tags"
            raise DataError(f"{path}, line {row}: {column.name} is {cell!r:.100}, {kind}; expected a list of tags.")
    return column.map(lambda cell: [str(tag) for tag in cell] if is_list(cell) else cell)


def _match(side: Side, path: str | Path, ids: pd.Series) -> None:
    """Give the entities that have interactions and no row a row without features; note those with a row alone.

    Raises:
        DataError: no row is of an entity that has interactions.
    """
    rows, ids = side.table[side.id_field], pd.Series(ids.unique())
    absent, cold = ids[~ids.isin(rows)], rows[~rows.isin(ids)]
    if len(ids) and len(absent) == len(ids):
        raise DataError(
            f"{path}: none of the {len(ids):,} {side.name}s with interactions, such as {ids[0]!r}, has a row; the ids "
            f"of this table are like {rows[0]!r}. Write them in the same way."
        )
    if len(absent):
        print(
            f"{len(absent):,} of {len(ids):,} {side.name}s have no row in {path}, such as {absent.iloc[0]!r}: kept "
            "without its features, unless --require asks for one"
        )
    side.cold, side.described = cold.tolist(), rows.tolist()
    side.table = pd.concat([side.table, pd.DataFrame({side.id_field: absent})], ignore_index=True)


def _without_markers(column: pd.Series, missing: Collection[str] | None) -> tuple[pd.Series, str]:
    """The column with "" where the text stands for a missing value, and words that count them.

    Args:
        missing: the texts; those of ``cells.MISSING`` by default.
    """
    stripped = column.str.strip()
    marked = stripped.map(is_marker) if missing is None else stripped.isin(missing)
    found = stripped[marked & (stripped != "")].value_counts()
    said = ", ".join(f"{count:,} {text!r}" for text, count in found.items())
    return column.mask(marked | (stripped == ""), ""), f"; missing: {said}" if said else ""
