"""MovieLens 1M: ``ratings.dat``, ``users.dat``, ``movies.dat`` (``::``-separated, latin-1) and item vectors."""

import re
from argparse import ArgumentParser, Namespace
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from recbole_sibrar.convert.assemble import Job, Papers, Side, check_modality_names
from recbole_sibrar.convert.atomic import prepare
from recbole_sibrar.convert.corpus import Corpus, add_ages, add_encoders, add_item_vectors, encoders, named_values
from recbole_sibrar.convert.encoders import Encode
from recbole_sibrar.convert.filters import StepLog, first_of_each_pair, of_ages
from recbole_sibrar.convert.vectors import located, read_embeddings
from recbole_sibrar.data.cells import finite_numbers, refuse_duplicates
from recbole_sibrar.data.tables import read_table
from recbole_sibrar.errors import DataError

USER_KINDS = {"gender": "category", "age": "category", "occupation": "category"}
ITEM_KINDS = {"title": "text", "year": "number", "genres": "tags"}
PAPERS = Papers(
    {
        "users": 5816, "items": 3299, "interactions": 813_792, "gender": 2, "occupation": 21, "genres": 18, "plot": 768,
    },
    {"min_rating": 3, "ages": [10, 80], "require": ["genres", "plot"], "k_core": 5},
)  # fmt: skip
"""Their table counts 7 ages, which are those of the raw files: 10 to 80 leaves out the code 1, "under 18"."""

N_RATINGS = 1_000_209
YEAR = re.compile(r"^(.*?)\s*\((\d{4})\)\s*$")
NO_GENRES = "(no genres listed)"


def convert(
    raw: str | Path,
    output: str | Path,
    *,
    min_rating: float = 3,
    ages: tuple[int, int] | None = None,
    k: int = 5,
    require: Iterable[str] = (),
    plots: str | Path | None = None,
    item_vectors: dict[str, str | Path] | None = None,
    name: str = "ml-1m",
    half: bool = False,
    encode: Encode | None = None,
) -> Path:
    """Write MovieLens 1M as atomic files.

    Args:
        raw: the folder with the official files.
        output: RecBole's data_path.
        min_rating: keep ratings of at least this (the papers' 3); 0 keeps all.
        ages: keep users whose age, the first year of its group (1, 18, 25, 35, 45, 50, 56), is from the first of two
            numbers to the second; None keeps all.
        k: of the k-core (the papers' 5); 0 turns it off.
        require: drop items without these of genres, year, plot, or a name in ``item_vectors``.
        plots: a table ``movie_id, plot``; by default ``plots.tsv`` in ``raw`` if it is there. The text itself becomes
            a modality as a vector only.
        item_vectors: {modality: file with ids and values}; relative paths also below ``raw``.
        name: of the data set.
        half: store vectors as float16.
        encode: an ``encoders.Encode``, which makes vectors of plots or pictures.

    Raises:
        OptionError, DataError: naming option, file and line.
    """
    raw = Path(raw)
    if not raw.is_dir():
        raise DataError(f"{raw}: no such folder; --raw is where ratings.dat, users.dat and movies.dat are.")
    prepare(output, name)
    plots = Path(plots) if plots else raw / "plots.tsv"
    paths = located(item_vectors, raw)
    files = [raw / "ratings.dat", raw / "users.dat", raw / "movies.dat"]
    ratings = _read(files[0], ["user_id", "item_id", "rating", "timestamp"])
    users = _read(files[1], ["user_id", "gender", "age", "occupation", "zip"], text=("gender", "zip"))
    users, items = Side("user", users, USER_KINDS), Side("item", _read_movies(files[2]), ITEM_KINDS)
    names = encode.new_names(paths, ["plot"]) if encode else []
    check_modality_names(users, items, {"--item-vectors": paths, "--encode": names})
    items.vectors = {modality: read_embeddings(path, None, half, output) for modality, path in paths.items()}
    texts = {}
    if plots.is_file():
        texts["plot"] = _plots(plots)
        items.having = {"plot": list(texts["plot"])}
        files.append(plots)
    elif "plot" in require and "plot" not in paths:
        raise DataError(
            f"{plots}: no such file, but items are to have a plot; give --plots or --item-vectors plot=FILE."
        )

    log, reasons = StepLog(), _reasons(ratings)
    ratings = log.record("read", ratings)
    if min_rating:
        ratings = log.record(f"rating >= {min_rating:g}", ratings[ratings.rating >= min_rating])
    if ages:
        ratings = log.record("users of age {} to {}".format(*ages), of_ages(ratings, users.table, ages))
    ratings = log.record("one per user and item", first_of_each_pair(ratings))
    options = {
        "min_rating": min_rating, "ages": ages and list(ages), "k_core": k, "require": list(require), "float16": half,
    }  # fmt: skip
    job = Job("ml-1m", name, Path(output), options, [*files, *paths.values()], k, replace(PAPERS, reasons=reasons))
    return job.finish(ratings, users, items, require, log, encode.on_items(texts) if encode else None)


def _reasons(ratings: pd.DataFrame) -> tuple[str, ...]:
    """Why the papers' filters may leave other users and items than theirs."""
    reasons = ["which movies have a plot decides on the items, and the papers do not say where theirs are from"]
    if (ratings["rating"] >= PAPERS.filters["min_rating"]).all():
        low, high = ratings["rating"].min(), ratings["rating"].max()
        reasons.insert(0, f"ratings.dat has ratings from {low:g} to {high:g}, and not 1 to 5, so that none was dropped")
    if len(ratings) != N_RATINGS:
        reasons.insert(0, f"ratings.dat has {len(ratings):,} ratings, and the official file {N_RATINGS:,}")
    return tuple(reasons)


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """The ``::``-separated cells of each line, with the line's number."""
    if not path.is_file():
        raise DataError(f"{path}: no such file; it is part of the official ml-1m.zip.")
    empty = True
    with open(path, encoding="latin-1") as file:
        for number, line in enumerate(file, start=1):
            empty = False
            if not line.isascii() and _is_utf8(line):
                raise DataError(
                    f"{path}, line {number}: UTF-8, and the official file is latin-1; iconv -f UTF-8 -t ISO-8859-1 "
                    "writes it as that."
                )
            yield number, line.rstrip("\r\n").split("::")
    if empty:
        raise DataError(f"{path}: the file is empty.")


def _is_utf8(line: str) -> bool:
    """Whether a line that was read as latin-1 is UTF-8, which latin-1 beyond ASCII hardly ever is by chance."""
    try:
        line.encode("latin-1").decode()
    except UnicodeDecodeError:
        return False
    return True


def _read(path: Path, columns: Sequence[str], text: Collection[str] = ()) -> pd.DataFrame:
    """A file of numbers: parsed by pandas, which splits ``::`` as two separators, after a check of every line."""
    for number, cells in _lines(path):
        if len(cells) != len(columns):
            raise DataError(f"{path}, line {number}: {len(cells)} cells between '::', expected {len(columns)}.")
    frame = pd.read_csv(
        path, sep=":", header=None, usecols=range(0, 2 * len(columns), 2), dtype=str, encoding="latin-1",
        na_filter=False, quoting=3,
    )  # fmt: skip
    frame.columns = columns
    frame.index += 1
    for column in columns:
        if column in text:
            continue
        numbers = finite_numbers(path, frame, column)
        if column in ("rating", "timestamp"):
            frame[column] = numbers
    if "item_id" not in frame:
        refuse_duplicates(path, frame["user_id"])
    return frame


def _read_movies(path: Path) -> pd.DataFrame:
    rows = []
    for number, cells in _lines(path):
        if len(cells) < 3:
            raise DataError(f"{path}, line {number}: {len(cells)} cells between '::', expected id::title::genres.")
        token, title, genres = cells[0], "::".join(cells[1:-1]), cells[-1]
        match = YEAR.match(title)
        tags = "" if genres in ("", NO_GENRES) else " ".join(tag.replace(" ", "_") for tag in genres.split("|"))
        title, year = match.groups() if match else (title, None)
        rows.append((token, title.strip(), float(year) if year else np.nan, tags))
    frame = pd.DataFrame(rows, columns=["item_id", "title", "year", "genres"])
    frame.index += 1
    refuse_duplicates(path, frame["item_id"])
    return frame


def _plots(path: Path) -> dict[str, str]:
    frame = read_table(path, ["movie_id", "plot"])
    frame = frame[frame["plot"].str.strip() != ""]
    ids = frame["movie_id"].str.strip()
    refuse_duplicates(path, ids)
    return dict(zip(ids, frame["plot"]))


def _add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--min-rating", type=float, default=3, help="keep ratings from here on (default: %(default)s)")
    parser.add_argument(
        "--require", nargs="+", default=[], metavar="FEATURE", help="drop items without genres, year, plot or a vector"
    )
    add_ages(parser, "drop users of other ages; an age is the first year of its group: 1 18 25 35 45 50 56")
    parser.add_argument("--plots", metavar="FILE", help="table movie_id, plot (default: plots.tsv in --raw)")
    add_item_vectors(parser)
    add_encoders(parser)


def _convert(arguments: Namespace) -> Path:
    return convert(
        arguments.raw,
        arguments.output,
        min_rating=arguments.min_rating,
        ages=arguments.ages,
        k=arguments.k_core,
        require=arguments.require,
        plots=arguments.plots,
        item_vectors=named_values(arguments.item_vectors, "--item-vectors", "plot=plot_minilm.npz"),
        name=arguments.name,
        half=arguments.float16,
        encode=encoders(arguments),
    )


CORPUS = Corpus(
    "ml-1m",
    "MovieLens 1M",
    "Convert the official ratings.dat, users.dat and movies.dat.",
    _add_arguments,
    _convert,
    filters=PAPERS.filters,
)
