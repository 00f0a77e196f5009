"""Any data set: tables of interactions, users and items, and vectors with ids."""

from pathlib import Path

import pandas as pd

from recbole_sibrar.convert.assemble import ID, TYPES, Job, Side, check_modality_names
from recbole_sibrar.convert.atomic import prepare
from recbole_sibrar.convert.filters import StepLog, first_of_each_pair
from recbole_sibrar.convert.tables import clean, join_tags, read_table, refuse_duplicates
from recbole_sibrar.convert.vectors import read_embeddings
from recbole_sibrar.errors import DataError, OptionError, nearest

MAX_CATEGORY_SHARE = 0.5
MAX_CATEGORY_LENGTH = 40


def convert(
    name,
    output,
    interactions,
    users=None,
    items=None,
    user_column="user_id",
    item_column="item_id",
    user_modalities=None,
    item_modalities=None,
    user_vectors=None,
    item_vectors=None,
    tag_separator="|",
    minimum=None,
    k=0,
    require=(),
    half=False,
    encode=None,
) -> Path:
    """Write a data set of one's own as atomic files.

    Args:
        name: of the data set.
        output: RecBole's data_path.
        interactions: a table with a column for the user and one for the item; ``rating`` and ``timestamp`` are taken
            along, and other columns too.
        users, items: tables with the same id column, and features in the others.
        user_column, item_column: the id columns.
        user_modalities, item_modalities: {column: tags | category | number | text}, where ``guess_kind`` is wrong.
        user_vectors, item_vectors: {modality: file with ids and values}.
        tag_separator: between the tags of one cell.
        minimum: {column of the interactions: smallest value to keep}.
        k: of the k-core; 0 turns it off.
        require: drop users and items without these features.
        half: store vectors as float16.
        encode: an ``encoders.Encode``, which makes vectors of texts or pictures.

    Raises:
        OptionError, DataError: naming option, file and line.
    """
    prepare(output, name)
    pairs = _read_interactions(interactions, user_column, item_column)
    user_side, user_texts = _side("user", users, user_column, pairs, user_modalities, tag_separator)
    item_side, item_texts = _side("item", items, item_column, pairs, item_modalities, tag_separator)
    clash = [column for column in user_side.kinds if column in {*item_side.kinds, *pairs}]
    clash += [column for column in item_side.kinds if column in pairs]
    if clash:
        raise OptionError(f"Column {clash[0]!r} stands in two tables; rename one.")
    vectors = {"--user-vectors": user_vectors or {}, "--item-vectors": item_vectors or {}}
    names = encode.new_names(item_texts, item_vectors or {}) if encode else []
    check_modality_names(user_side, item_side, {**vectors, "--encode": names})
    for side, files in zip((user_side, item_side), vectors.values()):
        side.vectors = {modality: read_embeddings(path, None, half, output) for modality, path in files.items()}

    log = StepLog()
    pairs = log.record("read", pairs)
    for column, value in (minimum or {}).items():
        if column not in pairs or not pd.api.types.is_numeric_dtype(pairs[column]):
            numeric = pairs.select_dtypes("number").columns
            raise OptionError(f"--min {column!r} is no numeric column of {interactions}. {nearest(column, numeric)}")
        pairs = log.record(f"{column} >= {value:g}", pairs[pairs[column] >= value])
    pairs = log.record("one per user and item", first_of_each_pair(pairs))
    options = {
        "user_column": user_column, "item_column": item_column, "user_modalities": user_side.kinds,
        "item_modalities": item_side.kinds, "tag_separator": tag_separator, "min": minimum or {}, "k_core": k,
        "require": list(require), "float16": half,
    }  # fmt: skip
    files = [path for path in (interactions, users, items) if path]
    files += [path for paths in vectors.values() for path in paths.values()]
    job = Job("table", name, output, options, files, k)
    return job.finish(pairs, user_side, item_side, require, log, encode and encode.on_items(item_texts))


def _read_interactions(path, user_column, item_column):
    frame = read_table(path, [user_column, item_column])
    frame = frame.rename(columns={user_column: ID["user"], item_column: ID["item"]})
    for column in ID.values():
        empty = (frame[column] == "").to_numpy()
        if empty.any():
            raise DataError(f"{path}, line {int(empty.argmax()) + 2}: {column} is empty.")
    for column in frame.columns.difference(list(ID.values())):
        numbers = pd.to_numeric(frame[column], errors="coerce")
        if numbers.notna().all():
            frame[column] = numbers
        elif column in ("rating", "timestamp"):
            line = int(numbers.isna().to_numpy().argmax()) + 2
            raise DataError(f"{path}, line {line}: {frame[column].iloc[line - 2]!r} in {column} is not a number.")
    return frame[[*ID.values(), *(column for column in frame if column not in ID.values())]]


def _side(name, path, id_column, pairs, given, tag_separator):
    """The side, and the unchanged texts of its columns for the encoders: {column: {id: text}}."""
    id_field, given = ID[name], given or {}
    if path is None:
        if given:
            raise OptionError(f"--{name}-modalities needs --{name}s FILE, the table with the columns.")
        return Side(name, pd.DataFrame({id_field: pairs[id_field].unique()})), {}
    table = read_table(path, [id_column]).rename(columns={id_column: id_field})
    refuse_duplicates(path, table[id_field])
    columns = [column for column in table if column != id_field]
    for column, kind in given.items():
        if column not in columns:
            raise OptionError(f"--{name}-modalities: {path} has no column {column!r}. {nearest(column, columns)}")
        if kind not in TYPES:
            raise OptionError(f"--{name}-modalities {column}={kind}: unknown kind. {nearest(kind, TYPES)}")
    kinds = {column: given.get(column) or guess_kind(table[column], tag_separator) for column in columns}
    texts = {column: dict(zip(table[id_field], table[column])) for column in columns if kinds[column] == "text"}
    for column, kind in kinds.items():
        print(f"  {name} column {column!r}: {kind}{'' if column in given else ' (guessed)'}")
        table[column] = _parse(table[column], kind, tag_separator, path)
    return Side(name, table, kinds), texts


def guess_kind(column: pd.Series, tag_separator: str) -> str:
    """number if all cells are numbers; tags if a cell has the separator; a text if it is long or mostly unique.

    >>> guess_kind(pd.Series(["1994", "", "2001"]), "|"), guess_kind(pd.Series(["a|b", "a"]), "|")
    ('number', 'tags')
    >>> guess_kind(pd.Series(["F", "M", "F", "F"]), "|"), guess_kind(pd.Series(["Heat", "Leon", "Toy Story"]), "|")
    ('category', 'text')
    """
    values = column[column != ""]
    if pd.to_numeric(values, errors="coerce").notna().all():
        return "number"
    is_long = values.str.len().max() > MAX_CATEGORY_LENGTH
    if values.str.contains(tag_separator, regex=False).any() and values.str.split(tag_separator).explode().nunique() < (
        values.str.split(tag_separator).str.len().sum()
    ):
        return "tags"
    return "text" if is_long or values.nunique() > MAX_CATEGORY_SHARE * len(values) else "category"


def _parse(column, kind, tag_separator, path):
    if kind == "number":
        numbers = pd.to_numeric(column.where(column != "", None), errors="coerce").astype(float)
        wrong = ((numbers.isna() & (column != "")) | numbers.abs().eq(float("inf"))).to_numpy()
        if wrong.any():
            line = int(wrong.argmax())
            raise DataError(
                f"{path}, line {line + 2}: {column.iloc[line]!r} in {column.name} is not a finite number; leave the "
                "cell empty where the value is missing."
            )
        return numbers
    if kind == "tags":
        return column.map(lambda cell: join_tags(cell.split(tag_separator)))
    return clean(column)
