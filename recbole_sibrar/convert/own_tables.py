"""Any data set: tables of interactions, users and items, and vectors with ids."""

from argparse import ArgumentParser, Namespace
from collections.abc import Collection, Iterable
from pathlib import Path

import pandas as pd

from recbole_sibrar.convert.arguments import check_arguments
from recbole_sibrar.convert.assemble import ID, TYPES, Job, Side, check_modality_names, rename_shared
from recbole_sibrar.convert.atomic import prepare
from recbole_sibrar.convert.corpus import Corpus, add_encoders, add_item_vectors, encoders, named_values
from recbole_sibrar.convert.encoders import Encode
from recbole_sibrar.convert.filters import StepLog, first_of_each_pair
from recbole_sibrar.convert.own_interactions import read_interactions, tell_of_dislikes
from recbole_sibrar.convert.own_sides import Reading, add_embedded, read_side
from recbole_sibrar.convert.vectors import Embedded, embeddings_of, located
from recbole_sibrar.data.cells import MISSING
from recbole_sibrar.data.frames import Table, is_file
from recbole_sibrar.errors import OptionError, nearest
from recbole_sibrar.kinds.guess import TEXT


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
            ``data.cells.MISSING``.
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
    pairs = none if interactions is None else read_interactions(interactions, user_column, item_column)
    reading = Reading(kinds, tag_separator, missing, half, output)
    user_side, user_texts = read_side("user", users, user_column, pairs, user_modalities, reading)
    item_side, item_texts = read_side("item", items, item_column, pairs, item_modalities, reading)
    columns = [*user_side.table, *item_side.table, *user_side.vectors, *item_side.vectors]
    for column in kinds:
        if column not in columns:
            raise OptionError(f"kinds: {column!r} is no column of users or items. {nearest(column, columns)}")
    rename_shared(user_side, item_side, pairs.columns)
    vectors = {"--user-vectors": located(user_vectors), "--item-vectors (vectors)": located(item_vectors)}
    names = encode.new_names(item_texts, item_vectors) if encode else []
    in_columns = {"a column of lists": [*user_side.vectors, *item_side.vectors]}
    check_modality_names(user_side, item_side, {**vectors, **in_columns, "--encode": names})
    for side, table, given in zip((user_side, item_side), (users, items), vectors.values()):
        rows = None if table is None else side.table[side.id_field].iloc[: side.n_rows]
        for modality, source in given.items():
            side.vectors[modality] = embeddings_of(source, modality, rows, half, output)
        if table is None:
            add_embedded(side)

    log = StepLog()
    pairs = _filtered(pairs, minimum, log)
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


def _filtered(pairs: pd.DataFrame, minimum: dict[str, float], log: StepLog) -> pd.DataFrame:
    """The interactions of at least ``minimum``, the first of each pair of user and item."""
    pairs = log.record("read", pairs)
    for column, value in minimum.items():
        if column not in pairs or not pd.api.types.is_numeric_dtype(pairs[column]):
            numeric = pairs.select_dtypes("number").columns
            raise OptionError(
                f"--min (minimum) {column!r} is no numeric column of the interactions. {nearest(column, numeric)}"
            )
        pairs = log.record(f"{column} >= {value:g}", pairs[pairs[column] >= value])
    tell_of_dislikes(pairs)
    return log.record("one per user and item", first_of_each_pair(pairs))


def _texts_of(side: Side, encoded: Iterable[str]) -> list[str]:
    return [column for column, kind in side.kinds.items() if kind == TEXT and column not in {*encoded, *side.vectors}]


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
