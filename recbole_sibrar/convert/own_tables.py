"""Any data set: tables of interactions, users and items, and vectors with ids."""

from argparse import ArgumentParser, Namespace
from collections.abc import Collection, Iterable
from numbers import Real
from pathlib import Path
from typing import Any

import pandas as pd

from recbole_sibrar.convert.arguments import check_arguments, check_cells
from recbole_sibrar.convert.assemble import (
    ID,
    TEXT,
    TYPES,
    Job,
    Side,
    check_column_names,
    check_modality_names,
    rename_shared,
)
from recbole_sibrar.convert.atomic import prepare
from recbole_sibrar.convert.corpus import Corpus, add_encoders, add_item_vectors, encoders, named_values
from recbole_sibrar.convert.encoders import Encode
from recbole_sibrar.convert.filters import StepLog, first_of_each_pair
from recbole_sibrar.convert.vectors import Embedded, Vectors, embeddings_of, located
from recbole_sibrar.data.atomic import LARGEST
from recbole_sibrar.data.dates import as_seconds, is_moment
from recbole_sibrar.data.frames import Table, is_file, is_list, plain_frame, texts_of
from recbole_sibrar.data.lists import as_lists
from recbole_sibrar.data.tables import (
    MISSING,
    SEPARATORS,
    checked,
    clean,
    is_marker,
    parts_of,
    read_table,
    read_values,
    refuse_duplicates,
    table_format,
)
from recbole_sibrar.errors import DataError, OptionError, nearest
from recbole_sibrar.kinds import KINDS
from recbole_sibrar.kinds.number import written_otherwise
from recbole_sibrar.kinds.tags import other_separator

MAX_CATEGORY_SHARE = 0.5
MAX_CATEGORY_LENGTH = 40


def convert(
    name: str,
    output: str | Path,
    interactions: Table | None,
    *,
    users: Table | None = None,
    items: Table | None = None,
    user_column: str = "user_id",
    item_column: str = "item_id",
    user_modalities: dict[str, str] | None = None,
    item_modalities: dict[str, str] | None = None,
    user_vectors: dict[str, Embedded] | None = None,
    item_vectors: dict[str, Embedded] | None = None,
    tag_separator: str = "|",
    minimum: dict[str, float] | None = None,
    k: int = 0,
    require: Iterable[str] = (),
    half: bool = False,
    encode: Encode | None = None,
    missing: Collection[str] | None = None,
    kinds: dict[str, str] | None = None,
) -> Path:
    """Write a data set of one's own as atomic files.

    Args:
        name: of the data set.
        output: RecBole's data_path.
        interactions: a table with a column for the user and one for the item; ``rating`` and ``timestamp`` are taken
            along, and other columns too. None where there are none yet.
        users, items: tables with the same id column, and features in the others. A table is a file, a folder of files
            that are parts of it, or a data frame of pandas, Polars or Arrow; a column of lists holds tags, or vectors.
        user_column, item_column: the id columns.
        user_modalities, item_modalities: {column: a kind in ``assemble.TYPES``}, where ``guess_kind`` is wrong.
        user_vectors, item_vectors: {modality: file with ids and values, or what ``vectors.embeddings_of`` takes}.
        tag_separator: between the tags of one cell.
        minimum: {column of the interactions: smallest value to keep}.
        k: of the k-core; 0 turns it off.
        require: drop users and items without these features.
        half: store vectors as float16.
        encode: an ``encoders.Encode``, which makes vectors of texts or pictures.
        missing: texts in features that stand for a missing value, as the empty cell does; by default
            ``data.tables.MISSING``.
        kinds: {column: kind} of either table, as ``user_modalities`` and ``item_modalities``.

    Raises:
        OptionError, DataError: naming option, file and line.
    """
    check_arguments(
        texts={"user_column": user_column, "item_column": item_column, "tag_separator": tag_separator},
        named={"vectors": item_vectors, "user_vectors": user_vectors},
        kinds={"kinds": kinds, "user_modalities": user_modalities, "item_modalities": item_modalities},
        minimum=minimum,
        k_core=k,
        lists={"require": require, "missing": missing},
    )
    # plain texts and numbers, as files have them
    user_column, item_column, tag_separator, k = str(user_column), str(item_column), str(tag_separator), int(k)
    kinds, user_modalities, item_modalities = (
        {str(column): str(kind) for column, kind in (own or {}).items()}
        for own in (kinds, user_modalities, item_modalities)
    )
    user_vectors, item_vectors = (
        {str(name): source for name, source in (own or {}).items()} for own in (user_vectors, item_vectors)
    )
    minimum = {str(column): float(value) for column, value in (minimum or {}).items()}
    require, missing = sorted(map(str, require or ())), None if missing is None else sorted(map(str, missing))
    if encode is not None and not isinstance(encode, Encode):
        raise OptionError(f"encode is {encode!r:.100}; expected {{text column: 'text'}}, or an Encode.")
    if user_column == item_column:
        raise OptionError(f"--user-column and --item-column are both {user_column!r}; expected two columns.")
    prepare(output, name)
    if interactions is None and items is None and not item_vectors:
        raise OptionError("Neither interactions nor items are given; expected at least one of the tables.")
    none = pd.DataFrame({field: pd.Series(dtype=str) for field in ID.values()})
    pairs = none if interactions is None else _read_interactions(interactions, user_column, item_column)
    reading = kinds, tag_separator, missing, half, output
    user_side, user_texts = _side("user", users, user_column, pairs, user_modalities, *reading)
    item_side, item_texts = _side("item", items, item_column, pairs, item_modalities, *reading)
    columns = [*user_side.table, *item_side.table, *user_side.vectors, *item_side.vectors]
    for column in kinds:
        if column not in columns:
            raise OptionError(f"kinds: {column!r} is no column of users or items. {nearest(column, columns)}")
    rename_shared(user_side, item_side, pairs.columns)
    vectors = {"--user-vectors": located(user_vectors), "--item-vectors": located(item_vectors)}
    names = encode.new_names(item_texts, item_vectors) if encode else []
    in_columns = {"a column of lists": [*user_side.vectors, *item_side.vectors]}
    check_modality_names(user_side, item_side, {**vectors, **in_columns, "--encode": names})
    for side, table, given in zip((user_side, item_side), (users, items), vectors.values()):
        rows = None if table is None else side.table[side.id_field].iloc[: side.n_rows]
        for modality, source in given.items():
            side.vectors[modality] = embeddings_of(source, modality, rows, half, output)
        if table is None:
            _add_embedded(side)

    log = StepLog()
    pairs = log.record("read", pairs)
    for column, value in minimum.items():
        if column not in pairs or not pd.api.types.is_numeric_dtype(pairs[column]):
            numeric = pairs.select_dtypes("number").columns
            raise OptionError(f"--min {column!r} is no numeric column of the interactions. {nearest(column, numeric)}")
        pairs = log.record(f"{column} >= {value:g}", pairs[pairs[column] >= value])
    pairs = log.record("one per user and item", first_of_each_pair(pairs))
    options = {
        "user_column": user_column, "item_column": item_column, "user_modalities": user_side.kinds,
        "item_modalities": item_side.kinds, "tag_separator": tag_separator, "min": minimum, "k_core": k,
        "require": require, "float16": half, "missing": missing,
    }  # fmt: skip
    sources = [interactions, users, items, *(source for given in vectors.values() for source in given.values())]
    files = [source for source in sources if is_file(source)]
    made = encode.recipes() if encode else {}
    tables = {
        "columns": {"user": user_column, "item": item_column},
        "tag_separator": tag_separator,
        "missing": missing,
        "others": {side.name: _texts_of(side, made) for side in (user_side, item_side)},
        "encoders": made,
        "dates": [*user_side.dates, *item_side.dates],
    }
    job = Job("table", name, Path(output), options, files, k, tables=tables)
    return job.finish(pairs, user_side, item_side, require, log, encode.on_items(item_texts) if encode else None)


def _texts_of(side: Side, encoded: Iterable[str]) -> list[str]:
    return [column for column, kind in side.kinds.items() if kind == TEXT and column not in {*encoded, *side.vectors}]


def _read(source: Any, name: str, ids: dict[str, str]) -> tuple[str | Path, pd.DataFrame]:
    """The name of a table in messages, and its cells as texts; lists in a frame stay lists.

    Args:
        ids: {column: the side whose ids it holds}.
    """
    path = source if is_file(source) else name
    frame = _joined(Path(source)) if is_file(source) and Path(source).is_dir() else _cells(path, source)
    for column, side in ids.items():
        if column not in frame:
            raise DataError(
                f"{path}, line 1: no column {column!r}. {nearest(column, frame.columns)} --{side}-column (in Python "
                f"{side}_column) says what the {side}s' ids are called."
            )
    return path, frame


def _cells(path: str | Path, source: Any) -> pd.DataFrame:
    if is_file(source) and table_format(source) in SEPARATORS:
        return read_table(source)
    plain = plain_frame(read_values(source) if is_file(source) else source, str(path))
    check_cells(str(path), plain)
    return checked(path, texts_of(plain))


def _joined(folder: Path) -> pd.DataFrame:
    """The table that a folder holds in parts; the index says which line of which part."""
    tables: list[pd.DataFrame] = []
    for part in parts_of(folder):
        table = _cells(part, part)
        other = set(table).symmetric_difference(tables[0] if tables else table)
        if other:
            raise DataError(
                f"{folder}: not all of its files have a column {min(other)!r}, {part} for one; they hold "
                "parts of one table."
            )
        tables.append(table.set_axis([f"{line} of {part.relative_to(folder)}" for line in table.index]))
    return pd.concat(tables)


def _read_interactions(source: Table, user_column: str, item_column: str) -> pd.DataFrame:
    path, frame = _read(source, "interactions", {user_column: "user", item_column: "item"})
    frame = _renamed(path, frame, {user_column: "user", item_column: "item"})
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
    _tell_of_dislikes(frame)
    frame = frame[[*ID.values(), *(column for column in frame if column not in ID.values())]]
    return frame.reset_index(drop=True)


def _with_ids(path: str | Path, frame: pd.DataFrame) -> pd.DataFrame:
    """The interactions that have a user and an item.

    Raises:
        DataError: none has, or an id is a list or holds a line break.
    """
    for id_field in ID.values():
        frame[id_field] = _ids(path, frame[id_field])
    has_ids = (frame[[*ID.values()]] != "").all(axis=1)
    lines = frame.index[~has_ids]
    if len(lines) == len(frame):
        raise DataError(f"{path}, line {lines[0]}: user_id or item_id is empty, as on all lines.")
    if len(lines):
        print(f"  {len(lines):,} of {len(frame):,} rows without a user or an item, such as line {lines[0]}: left out")
        frame = frame[has_ids].copy()
    for side, id_field in ID.items():
        marked = frame[id_field][frame[id_field].isin(list(filter(is_marker, frame[id_field].unique())))]
        if len(marked):
            print(
                f"  {len(marked):,} interactions are those of the {side} {marked.iloc[0]!r}, an id like others; "
                "remove the rows if it says that there is none"
            )
    return frame


def _tell_of_dislikes(frame: pd.DataFrame) -> None:
    """Say which interactions may be none: ratings that are not positive, and what was given back."""
    for column in frame.select_dtypes("number").columns.drop("timestamp", errors="ignore"):
        numbers, is_rating = frame[column], column == "rating"
        n, positive = int((numbers <= 0 if is_rating else numbers < 0).sum()), numbers[numbers > 0]
        if n and len(positive) > (0 if is_rating else n):
            print(
                f"  {n:,} of {len(frame):,} interactions have {'0 or less' if is_rating else 'less than 0'} in "
                f"{column}, and count as the others do; --min {column}={positive.min():.15g} (minimum) drops them"
            )


def _renamed(path: str | Path, frame: pd.DataFrame, sides: dict[str, str]) -> pd.DataFrame:
    """The table with its id columns called as in atomic files; ``sides`` is {column: user | item}."""
    names = {column: ID[side] for column, side in sides.items()}
    for column, id_field in names.items():
        if id_field in frame and id_field not in names:
            side = sides[column]
            raise DataError(
                f"{path}, line 1: a column {id_field!r} stands beside {column!r}, the --{side}-column; rename or "
                "remove it."
            )
    return frame.rename(columns=names)


def _ids(path: str | Path, column: pd.Series) -> pd.Series:
    """Ids without blanks around them; "" where there is none."""
    lists = column.map(is_list)
    if lists.any():
        line = lists.idxmax()
        raise DataError(f"{path}, line {line}: {column.name} is {column[line]!r:.100}; expected one id.")
    ids = column.str.strip()
    wrong = ids.str.contains(r"[\t\r\n]")
    if wrong.any():
        raise DataError(f"{path}, line {wrong.idxmax()}: {column.name} holds a tab or a line break.")
    return ids


def _side(
    name: str,
    source: Table | None,
    id_column: str,
    pairs: pd.DataFrame,
    given: dict[str, str] | None,
    kinds: dict[str, str],
    tag_separator: str,
    missing: Collection[str] | None,
    half: bool,
    folder: str | Path,
) -> tuple[Side, dict[str, dict[str, str]]]:
    """The side, and the unchanged texts of its columns for the encoders: {column: {id: text}}."""
    id_field, given = ID[name], given or {}
    if source is None:
        if given:
            raise OptionError(f"--{name}-modalities needs --{name}s FILE, the table with the columns.")
        return Side(name, pd.DataFrame({id_field: pairs[id_field].unique()})), {}
    path, table = _read(source, f"{name}s", {id_column: name})
    table = _renamed(path, table, {id_column: name})
    table[id_field] = _ids(path, table[id_field])
    refuse_duplicates(path, table[id_field])
    columns = [column for column in table if column != id_field]
    given = {**{column: kind for column, kind in kinds.items() if column in columns}, **given}
    for column, kind in given.items():
        if column not in columns:
            raise OptionError(f"--{name}-modalities: {path} has no column {column!r}. {nearest(column, columns)}")
        if kind not in TYPES:
            raise OptionError(f"--{name}-modalities {column}={kind}: unknown kind. {nearest(kind, TYPES)}")
    for column in columns:
        if given.get(column, "tags") == "tags" and not table[column].map(is_list).any():
            written = as_lists(path, _without_markers(table[column], missing)[0])
            table[column] = table[column] if written is None else written
    lists = [column for column in columns if table[column].map(is_list).any()]
    check_cells(str(path), table[lists])
    table, vectors = _without_vectors(name, path, table, id_field, given, half, folder)
    check_column_names(path, table.columns)
    kinds, texts, dates = {}, {}, []
    for column in table.columns.drop(id_field):
        if column in lists:
            table[column] = _tags(path, table[column], given.get(column))
            kinds[column] = "tags"
            print(f"  {name} column {column!r}: tags (lists)")
            continue
        table[column], said = _without_markers(table[column], missing)
        numbers = as_seconds(table[column]) if given.get(column, "number") == "number" else None
        if numbers is not None:
            table[column], said = numbers, f", dates as seconds since 1970{said}"
            dates.append(column)
        kinds[column] = kind = given.get(column) or guess_kind(table[column], tag_separator)
        if kind == "number" and missing:
            none = table[column].map(lambda cell: KINDS["number"].says_none(cell, missing))
            said += f"; missing: {none.sum():,} of these numbers" if none.any() else ""
            table[column] = table[column].mask(none, "")
        guessed = "" if column in given else " (guessed)"
        unread = "; read by no model unless its kind is ngrams or it is encoded" if kind == TEXT else ""
        if guessed and kind in ("category", TEXT):
            unread += _doubts(table[column])
        if kind in ("category", "tags"):
            unread += _spelled_in_two_ways(table[column], tag_separator if kind == "tags" else None)
        print(f"  {name} column {column!r}: {kind}{guessed}{said}{unread}")
        if kind == TEXT:
            texts[column] = dict(zip(table[id_field], table[column]))
    check_column_names(path, table.columns, [column for column, kind in kinds.items() if kind != TEXT])
    for column, kind in kinds.items():
        table[column] = _parse(table[column], kind, tag_separator, path)
    side = Side(name, table.reset_index(drop=True), kinds, vectors, n_rows=len(table), dates=dates)
    _match(side, path, pairs[id_field])
    return side, texts


def _add_embedded(side: Side) -> None:
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
    name: str, path: str | Path, table: pd.DataFrame, id_field: str, given: Collection[str], half: bool,
    folder: str | Path,
) -> tuple[pd.DataFrame, dict[str, Vectors]]:  # fmt: skip
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
        vectors[column] = embeddings_of(table.loc[lists.index, [id_field, column]], column, None, half, folder)
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
        missing: the texts; those of ``tables.MISSING`` by default.
    """
    stripped = column.str.strip()
    marked = stripped.map(is_marker) if missing is None else stripped.isin(missing)
    found = stripped[marked & (stripped != "")].value_counts()
    said = ", ".join(f"{count:,} {text!r}" for text, count in found.items())
    return column.mask(marked | (stripped == ""), ""), f"; missing: {said}" if said else ""


def guess_kind(column: pd.Series, tag_separator: str) -> str:
    """The kind that a column of texts, "" if missing, looks most like; a text if it is long or mostly unique.

    >>> guess_kind(pd.Series(["1994", "", "2001"]), "|"), guess_kind(pd.Series(["a|b", "a"]), "|")
    ('number', 'tags')
    >>> guess_kind(pd.Series(["F", "M", "F", "F"]), "|"), guess_kind(pd.Series(["Heat", "Leon", "Toy Story"]), "|")
    ('category', 'text')
    """
    values = column[column != ""]
    fits = {name: kind.fits(values, tag_separator) for name, kind in KINDS.items()}
    is_long = values.str.len().max() > MAX_CATEGORY_LENGTH
    fits[TEXT] = 0.6 if is_long or values.nunique() > MAX_CATEGORY_SHARE * len(values) else 0.0
    return max(fits, key=lambda name: fits[name])


def _doubts(column: pd.Series) -> str:
    """What else the texts of a column, "" if missing, may be, and how to say so."""
    if otherwise := written_otherwise(column):
        return f"; {otherwise}"
    if separator := other_separator(column):
        return f"; tags with {separator!r} between them? Then --tag-separator (tag_separator) is {separator!r}"
    return ""


def _spelled_in_two_ways(column: pd.Series, separator: str | None) -> str:
    """Words on two values that differ in case alone.

    Args:
        separator: of tags; None for categories.
    """
    values = column if separator is None else column.str.split(separator, regex=False).explode()
    texts, seen = values.drop_duplicates().str.split().str.join(" "), dict[str, str]()
    for text in texts.drop_duplicates():
        if (other := seen.setdefault(text.casefold(), text)) != text:
            what = "categories" if separator is None else "tags"
            return f"; {other!r:.40} and {text!r:.40} are two {what}"
    return ""


def _parse(column: pd.Series, kind: str, tag_separator: str, path: str | Path) -> pd.Series:
    return clean(column) if kind == TEXT else KINDS[kind].written(column, tag_separator, path)


def _add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--name", required=True, help="of the data set")
    parser.add_argument(
        "--interactions",
        metavar="FILE",
        help="a user and an item in each row; left out where there are none yet. A "
        "folder of files is taken for one table, as Spark writes it; so it is of users and items",
    )
    parser.add_argument("--users", metavar="FILE", help="a user in each row, with features")
    parser.add_argument("--items", metavar="FILE", help="an item in each row, with features")
    for side, example in (("user", "age=number"), ("item", "genres=tags")):
        parser.add_argument(f"--{side}-column", default=f"{side}_id", metavar="COLUMN", help="default: %(default)s")
        parser.add_argument(
            f"--{side}-modalities", nargs="+", default=[], metavar="COLUMN=KIND",
            help=f"{', '.join(list(TYPES)[:-1])} or {list(TYPES)[-1]}, where the guess is wrong, e.g. {example}",
        )  # fmt: skip
    parser.add_argument("--tag-separator", default="|", metavar="TEXT", help="in a cell of tags (default: %(default)s)")
    parser.add_argument(
        "--missing", nargs="*", metavar="TEXT", help="in features, beside the empty cell (default: "
        f"{' '.join(MISSING)}; empty: none)",
    )  # fmt: skip
    parser.add_argument("--min", nargs="+", default=[], metavar="COLUMN=NUMBER", help="keep interactions from here on")
    parser.add_argument(
        "--require", nargs="+", default=[], metavar="FEATURE", help="drop users and items without these"
    )
    parser.add_argument(
        "--user-vectors", nargs="+", default=[], metavar="NAME=FILE", help="embeddings with ids, of the users"
    )
    add_item_vectors(parser)
    add_encoders(parser)


def _convert(arguments: Namespace) -> Path:
    minimum = named_values(arguments.min, "--min", "rating=3", "number")
    try:
        minimum = {column: float(value) for column, value in minimum.items()}
    except ValueError as error:
        raise OptionError(f"--min: {error}; expected a number, for example rating=3.") from None
    return convert(
        arguments.name,
        arguments.output,
        arguments.interactions,
        users=arguments.users,
        items=arguments.items,
        user_column=arguments.user_column,
        item_column=arguments.item_column,
        user_modalities=named_values(arguments.user_modalities, "--user-modalities", "age=number", "kind"),
        item_modalities=named_values(arguments.item_modalities, "--item-modalities", "genres=tags", "kind"),
        user_vectors=named_values(arguments.user_vectors, "--user-vectors", "face=face.npz"),
        item_vectors=named_values(arguments.item_vectors, "--item-vectors", "text=text.npz"),
        tag_separator=arguments.tag_separator,
        minimum=minimum,
        k=arguments.k_core,
        require=arguments.require,
        half=arguments.float16,
        encode=encoders(arguments),
        missing=arguments.missing,
    )


CORPUS = Corpus(
    "table",
    "any data set",
    "Convert tables of your own: csv, tsv, jsonl (also .gz, .bz2) or parquet, with names of columns.",
    _add_arguments,
    _convert,
    k_core=0,
    has_folder=False,
)
