"""The ``recommend``, ``serve`` and ``export`` commands."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from recbole_sibrar.data.cells import is_empty
from recbole_sibrar.data.lists import list_in
from recbole_sibrar.data.modalities import SIDES
from recbole_sibrar.data.tables import read_values
from recbole_sibrar.errors import DataError, OptionError, not_installed
from recbole_sibrar.files import atomic_directory, atomic_file, write_json
from recbole_sibrar.progress import steps
from recbole_sibrar.serving.content import by_content
from recbole_sibrar.serving.directory import User
from recbole_sibrar.serving.features import is_missing
from recbole_sibrar.serving.interface import AnyRecommender
from recbole_sibrar.serving.kept import KeptCatalogue
from recbole_sibrar.serving.recommender import Recommender

if TYPE_CHECKING:
    import pyarrow

TABLES = (".csv", ".tsv", ".parquet")
USERS_AT_A_TIME = 4096

RECOMMEND_DESCRIPTION = """\
Recommend items from a checkpoint (model.pth of a run).

  recbole-sibrar recommend --checkpoint results/RUN/model.pth --users 1 2 3
  recbole-sibrar recommend --checkpoint results/RUN/model.pth --history 10 20 --new-items items.csv
  recbole-sibrar recommend --checkpoint results/RUN/model.pth --all-users --output recs.parquet
  recbole-sibrar recommend --dataset atomic_data/shop --history 10 20      # before anything was bought

Tables are csv, tsv, jsonl or parquet. A table of users has the columns user_id, history (item ids between spaces, or
["Item 1", "Item 2"] where ids hold spaces) and modalities, each of them optional; a row with nothing but a user_id is
a known user. A table of new items has item_id and modalities; of items that are known already it changes the columns
that it has. Tags and vectors are written with spaces between tags or numbers; an empty cell is missing, and so is one
with NULL, NaN, None, N/A or a dash. For a data set that 'convert table' made, they are written as in its tables.
"""


def add_serving_parsers(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the commands."""
    recommend = commands.add_parser(
        "recommend",
        help="recommend for known and new users, with new items, from a checkpoint",
        description=RECOMMEND_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_source(recommend)
    users = recommend.add_mutually_exclusive_group(required=True)
    users.add_argument("--users", nargs="+", metavar="ID", help="known users")
    users.add_argument("--users-file", metavar="TABLE", help="known and new users")
    users.add_argument("--history", nargs="+", metavar="ITEM", help="one new user who likes these items")
    users.add_argument("--all-users", action="store_true", help="every known user")
    recommend.add_argument("--new-items", metavar="TABLE", help="items that were not in the training data")
    only = recommend.add_mutually_exclusive_group()
    only.add_argument("--candidates", nargs="+", metavar="ITEM", help="rank these items only")
    only.add_argument("--candidates-file", metavar="TABLE", help="rank the items of this table only")
    recommend.add_argument("--k", type=int, default=10, help="length of the lists (default: %(default)s)")
    recommend.add_argument("--include-seen", action="store_true", help="rank items of a user's history too")
    recommend.add_argument("--output", metavar="TABLE", help="write there (csv, tsv, parquet), do not print")
    recommend.set_defaults(handler=_recommend)

    serve = commands.add_parser(
        "serve",
        help="answer over HTTP: recommend, similar, explain, and change the catalogue",
        description="Serve a checkpoint over HTTP (pip install 'recbole-sibrar[serve]'); /docs says what it answers. "
        "Without --writable, items cannot be changed. It does not check who asks: put it behind something that does.",
    )
    _add_source(serve)
    serve.add_argument(
        "--new-items",
        metavar="TABLE",
        help="items that were not in the training data; what --save has of an item stays as clients have changed it",
    )
    serve.add_argument("--host", default="127.0.0.1", help="default: %(default)s")
    serve.add_argument("--port", type=int, default=8000, help="default: %(default)s")
    serve.add_argument("--writable", action="store_true", help="clients may add, change and remove items")
    serve.add_argument(
        "--save",
        metavar="FILE",
        help="where changes are kept as they come, and the changed model when the service ends; the same command goes "
        "on from there",
    )
    serve.set_defaults(handler=_serve)

    export = commands.add_parser(
        "export",
        help="write user and item embeddings, fused and per modality",
        description="Write embeddings for an index of your choice: for users and items a text file of ids, an array of "
        "fused embeddings (N, D), whose inner products are the scores, and one per modality, NaN where the modality is "
        "missing (modality_fused for one that is called fused, %2F for a slash in a name); user_seen.npz says which "
        "items (their places) each user has had: those of user n are items[indptr[n] : indptr[n + 1]].",
    )
    export.add_argument("--checkpoint", required=True, metavar="FILE", help="model.pth of a run")
    export.add_argument("--output", required=True, metavar="DIR", help="a new folder, or one that export made before")
    export.add_argument("--format", choices=("npy", "parquet"), default="npy", help="default: %(default)s")
    export.add_argument("--new-items", metavar="TABLE", help="items that were not in the training data")
    export.set_defaults(handler=_export)


def _add_source(parser: argparse.ArgumentParser) -> None:
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--checkpoint", metavar="FILE", help="model.pth or model-all.pth of a run, or a saved one")
    source.add_argument(
        "--dataset", metavar="DIR", help="a converted data set: recommend by the items' content alone, untrained"
    )


def write_tables(tables: Iterable[pd.DataFrame], path: str | Path) -> int:
    """Write tables with the same columns one after the other as one, csv, tsv or parquet, whole or not at all.

    Returns:
        the number of rows.
    """
    path, n_rows = Path(path), 0
    if path.suffix == ".parquet":
        import pyarrow
        from pyarrow import parquet

        with atomic_file(path, "wb") as file, ExitStack() as stack:
            writer = None
            for table in tables:
                block = pyarrow.Table.from_pandas(table, preserve_index=False)
                if writer is None:
                    writer = stack.enter_context(parquet.ParquetWriter(file, _schema(block)))
                writer.write_table(block.cast(writer.schema))
                n_rows += len(table)
        return n_rows
    with atomic_file(path, newline="") as file:
        for number, table in enumerate(tables):
            table.to_csv(file, sep="," if path.suffix == ".csv" else "\t", index=False, header=number == 0)
            n_rows += len(table)
    return n_rows


def _schema(block: pyarrow.Table) -> pyarrow.Schema:
    """Of a table, where a block without rows does not say that its columns are texts."""
    import pyarrow

    fields = [
        pyarrow.field(f.name, pyarrow.string() if pyarrow.types.is_null(f.type) else f.type) for f in block.schema
    ]
    return pyarrow.schema(fields)


def users_of(table: pd.DataFrame, id_column: str = "user_id") -> list[str | dict[str, Any]]:
    """The rows of a table of users, as ``Recommender.recommend`` takes them."""
    users: list[str | dict[str, Any]] = []
    for position, row in enumerate(table.to_dict("records")):
        values = {name: cell for name, cell in row.items() if not is_empty(cell)}
        name = str(values.pop(id_column, f"#{position}")).strip()
        history = values.pop("history", None)
        history = None if is_missing(history) else history
        if history is None and id_column in table and all(map(is_missing, values.values())):
            users.append(name)
            continue
        users.append({"id": name, "history": _history(history), **values})
    return users


def _history(cell: Any) -> list[str]:
    """Item ids of a cell: a list, ``i1 i2``, or ``["item 1", "item 2"]``."""
    if not isinstance(cell, str):
        return [] if cell is None else list(cell) if isinstance(cell, (list, tuple, np.ndarray)) else [cell]
    written = list_in(cell)
    return cell.split() if written is None else list(map(str, written))


def _load(arguments: argparse.Namespace, kept: KeptCatalogue | None = None) -> AnyRecommender:
    """The recommender, newest of what ``kept`` has of it."""
    by_dataset = getattr(arguments, "dataset", None)
    recommender = by_content(by_dataset) if by_dataset else Recommender.load(arguments.checkpoint)
    newest = recommender if kept is None else kept.newest(recommender)
    if arguments.new_items:
        items = read_values(arguments.new_items)
        newest.add_items(items if newest is recommender else without_known(items, newest))
    return newest


def without_known(items: pd.DataFrame, saved: AnyRecommender) -> pd.DataFrame:
    """The rows of items that were not saved; the others may have been changed since they were added."""
    column = saved.vocabulary.id_column("item", items.columns)
    if column is None:
        return items
    directory = saved.directory
    return items[[not directory.is_known("item", directory.token("item", token).strip()) for token in items[column]]]


def _recommend(arguments: argparse.Namespace) -> int:
    if arguments.output and Path(arguments.output).suffix not in TABLES:
        raise OptionError(f"--output {arguments.output}: a table is one of {', '.join(TABLES)}.")
    recommender = _load(arguments)
    users = arguments.users
    if arguments.users_file:
        table = read_values(arguments.users_file)
        unread = recommender.vocabulary.unread("user", recommender.reads("user")).intersection(table.columns)
        id_column = recommender.vocabulary.id_column("user", table.columns) or "user_id"
        users = users_of(table.drop(columns=[*unread]), id_column)
        strangers = [
            user for user in users if isinstance(user, str) and not recommender.directory.is_known("user", user)
        ]
        if strangers and len(unread):
            raise DataError(
                f"{arguments.users_file}: {strangers[0]!r} is no known user, and {recommender.name} reads nothing of "
                f"{', '.join(unread)}; give such a user a history."
            )
    elif arguments.history:
        users = [arguments.history]
    candidates = arguments.candidates
    if arguments.candidates_file:
        table = read_values(arguments.candidates_file)
        candidates = recommender.vocabulary.ids(table, "item", f"{arguments.candidates_file}, line 1")[1]
    tables = _blocks(recommender, users, candidates, arguments)
    if arguments.output:
        print(f"{write_tables(tables, arguments.output):,} recommendations written to {arguments.output}")
    else:
        table = pd.concat(tables)
        print(
            table.to_string(index=False) if len(table) else "nothing to recommend: no user, or no item is left for one"
        )
    return 0


def _blocks(
    recommender: AnyRecommender,
    users: Sequence[User] | None,
    candidates: Sequence[Any] | None,
    arguments: argparse.Namespace,
) -> Iterator[pd.DataFrame]:
    """Yield the recommendations of some users at a time; all known users by default."""
    users = recommender.directory.tokens["user"][1:] if users is None else users
    for start in steps(range(0, max(1, len(users)), USERS_AT_A_TIME), "recommending"):
        some = users[start : start + USERS_AT_A_TIME]
        yield recommender.recommend(some, arguments.k, candidates, not arguments.include_seen)


def _serve(arguments: argparse.Namespace) -> int:
    if arguments.save and not arguments.writable:
        raise OptionError("--save has nothing to save: without --writable no item is changed.")
    try:
        from recbole_sibrar.service import bound, serve
    except ModuleNotFoundError as error:
        if error.name not in ("fastapi", "uvicorn", "pydantic"):
            raise
        raise OptionError(not_installed("serve", error.name, "serve")) from None
    own = bound(arguments.host, arguments.port)
    kept = KeptCatalogue(arguments.save) if arguments.save else None
    try:
        recommender = _load(arguments, kept)
        if kept is not None and (n := kept.replay(recommender)):
            print(f"changes that {kept.journal} holds, made again: {n:,}", flush=True)
    except BaseException:
        if kept is not None:
            kept.release()
        raise
    own.listen()  # who reads the line below and asks at once waits, and is not turned away
    print(f"{recommender.name} answers on http://{arguments.host}:{own.getsockname()[1]} (/docs says what)", flush=True)
    serve(own, recommender, arguments.writable, kept)
    return 0


def _export(arguments: argparse.Namespace) -> int:
    target = Path(arguments.output)
    if target.exists() and not (target / "item_ids.txt").is_file():
        raise OptionError(f"--output {target} exists and was not made by export; name a new folder.")
    recommender = _load(arguments)
    with atomic_directory(target) as folder:
        seen = recommender.seen()
        np.savez(folder / "user_seen.npz", indptr=seen.indptr.numpy(), items=seen.columns.numpy())
        write_json(folder / "data.json", {"checkpoint": arguments.checkpoint, "data": recommender.data})
        for side in SIDES:
            ids, fused, modalities = recommender.embeddings(side)
            (folder / f"{side}_ids.txt").write_text("".join(f"{token}\n" for token in ids), encoding="utf-8")
            own = {"modality_fused" if name == "fused" else name: values for name, values in modalities.items()}
            for name, values in {"fused": fused, **own}.items():
                path = folder / f"{side}_{name.replace('/', '%2F')}.{arguments.format}"
                if arguments.format == "npy":
                    _save_array(path, values.numpy())
                else:
                    pd.DataFrame({f"{side}_id": ids, name: list(values.numpy())}).to_parquet(path, index=False)
    print(f"embeddings written to {target}")
    return 0


def _save_array(path: Path, values: np.ndarray) -> None:
    """As ``np.save``, whose error for a full disk does not say so."""
    with open(path, "wb") as file:
        values = np.ascontiguousarray(values)
        np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(values))
        file.write(values.data)
