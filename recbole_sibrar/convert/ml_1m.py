"""MovieLens 1M: ``ratings.dat``, ``users.dat``, ``movies.dat`` (``::``-separated, latin-1) and item vectors."""

import re
from pathlib import Path

import numpy as np
import pandas as pd

from recbole_sibrar.convert.atomic import AtomicDataset, checksum
from recbole_sibrar.convert.filters import StepLog, first_of_each_pair, k_core
from recbole_sibrar.convert.vectors import read_embeddings
from recbole_sibrar.errors import DataError, OptionError, nearest

TYPES = {
    "user_id": "token", "item_id": "token", "rating": "float", "timestamp": "float", "gender": "token", "age": "token",
    "occupation": "token", "title": "token_seq", "year": "float", "genres": "token_seq",
}  # fmt: skip
USER_MODALITIES = {"gender": "category", "age": "category", "occupation": "category"}
ITEM_MODALITIES = {"genres": "tags", "year": "number"}
YEAR = re.compile(r"^(.*?)\s*\((\d{4})\)\s*$")
NO_GENRES = "(no genres listed)"


def convert(raw, output, min_rating=3, k=5, require=(), plots=None, item_vectors=None, name="ml-1m") -> Path:
    """Write MovieLens 1M as atomic files.

    Args:
        raw: the folder with the official files.
        output: RecBole's data_path.
        min_rating: keep ratings of at least this (the papers' 3); 0 keeps all.
        k: of the k-core (the papers' 5); 0 turns it off.
        require: drop items without these of genres, year, plot, or a name in ``item_vectors``.
        plots: a table ``movie_id, plot``; by default ``plots.tsv`` in ``raw`` if it is there. Only which movies have a
            plot is read: the text itself becomes a modality as a vector.
        item_vectors: {modality: file with ids and values}; relative paths also below ``raw``.
        name: of the data set.

    Raises:
        OptionError, DataError: naming option, file and line.
    """
    raw = Path(raw)
    if not raw.is_dir():
        raise DataError(f"{raw}: no such folder; --raw is where ratings.dat, users.dat and movies.dat are.")
    plots = Path(plots) if plots else raw / "plots.tsv"
    paths = {modality: _find(path, raw) for modality, path in (item_vectors or {}).items()}
    clash = [modality for modality in paths if modality in (*TYPES, "interactions", "inter", "user", "item", "yaml")]
    if clash:
        raise OptionError(f"--item-vectors: {clash[0]!r} is taken; give the vectors another name, such as plot.")
    files = [raw / "ratings.dat", raw / "users.dat", raw / "movies.dat"]
    ratings = _read(files[0], ["user_id", "item_id", "rating", "timestamp"])
    users = _read(files[1], ["user_id", "gender", "age", "occupation", "zip"], text=("gender", "zip"))
    items = _read_movies(files[2])
    vectors = {modality: read_embeddings(path) for modality, path in paths.items()}
    having = {"genres": set(items.item_id[items.genres != ""]), "year": set(items.item_id[items.year.notna()])}
    having.update({modality: set(ids) for modality, (ids, _) in vectors.items()})
    if plots.is_file():
        having.setdefault("plot", _movies_with_plot(plots))
        files.append(plots)
    for wanted in require:
        if wanted not in having:
            raise OptionError(f"--require {wanted!r} is not known here. {nearest(wanted, having)}")

    log = StepLog()
    ratings = log.record("read", ratings)
    if min_rating:
        ratings = log.record(f"rating >= {min_rating:g}", ratings[ratings.rating >= min_rating])
    ratings = log.record("one per user and item", first_of_each_pair(ratings))
    ratings = log.record("users and movies known", _known(ratings, users, items))
    for wanted in require:
        ratings = log.record(f"items with {wanted}", ratings[ratings.item_id.isin(having[wanted])])
    if k > 1:
        ratings = log.record(f"{k}-core", k_core(ratings, k))
    if ratings.empty:
        raise DataError("No interaction is left after the filters; lower --min-rating or --k-core, or drop --require.")

    users = users[users.user_id.isin(ratings.user_id.unique())].drop(columns="zip")
    items = items[items.item_id.isin(ratings.item_id.unique())].reset_index(drop=True)
    kept = {}
    for modality, (ids, values) in vectors.items():
        chosen = np.isin(ids, items.item_id.to_numpy().astype(str))
        kept[modality] = ids[chosen], values[chosen]
        if not chosen.all():
            print(f"{modality}: {(~chosen).sum():,} vectors belong to no item that was kept")
    n_users, n_items = len(users), len(items)
    print(f"{n_users:,} users, {n_items:,} items, sparsity {1 - len(ratings) / n_users / n_items:.5f}")
    for modality in having:
        n = int(items.item_id.isin(having[modality]).sum())
        print(f"  {modality:<12} {n:,} of {n_items:,} items ({n / n_items:.1%})")
    record = {
        "converter": "ml-1m",
        "options": {"min_rating": min_rating, "k_core": k, "require": list(require)},
        "steps": log.steps,
        "inputs": {str(path.name): checksum(path) for path in [*files, *paths.values()]},
    }
    modalities = {"user": USER_MODALITIES, "item": {**ITEM_MODALITIES, **dict.fromkeys(kept, "vector")}}
    return AtomicDataset(name, ratings, users, items, TYPES, kept, modalities, record).write(output)


def _find(path, raw):
    path = Path(path)
    return path if path.is_file() or path.is_absolute() or not (raw / path).is_file() else raw / path


def _lines(path):
    """The ``::``-separated cells of each line, with the line's number."""
    if not path.is_file():
        raise DataError(f"{path}: no such file; it is part of the official ml-1m.zip.")
    empty = True
    with open(path, encoding="latin-1") as file:
        for number, line in enumerate(file, start=1):
            empty = False
            yield number, line.rstrip("\r\n").split("::")
    if empty:
        raise DataError(f"{path}: the file is empty.")


def _read(path, columns, text=()):
    """A file of numbers: parsed by pandas, which splits ``::`` as two separators, after a check of every line."""
    for number, cells in _lines(path):
        if len(cells) != len(columns):
            raise DataError(f"{path}, line {number}: {len(cells)} cells between '::', expected {len(columns)}.")
    frame = pd.read_csv(
        path, sep=":", header=None, usecols=range(0, 2 * len(columns), 2), dtype=str, encoding="latin-1",
        na_filter=False, quoting=3,
    )  # fmt: skip
    frame.columns = columns
    for column in columns:
        if column in text:
            continue
        numbers = pd.to_numeric(frame[column], errors="coerce")
        if numbers.isna().any():
            line = int(numbers.isna().to_numpy().argmax())
            raise DataError(f"{path}, line {line + 1}: {frame[column].iloc[line]!r} in {column} is not a number.")
        if column in ("rating", "timestamp"):
            frame[column] = numbers
    if "item_id" not in frame:
        _refuse_duplicates(path, frame["user_id"])
    return frame


def _read_movies(path):
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
    _refuse_duplicates(path, frame["item_id"])
    return frame


def _refuse_duplicates(path, ids):
    duplicate = ids.duplicated().to_numpy()
    if duplicate.any():
        line = int(duplicate.argmax())
        raise DataError(f"{path}, line {line + 1}: id {ids.iloc[line]!r} occurs twice.")


def _movies_with_plot(path):
    try:
        frame = pd.read_csv(path, sep="\t", dtype=str, encoding="utf-8", keep_default_na=False)
    except (ValueError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: {error}; expected tab-separated UTF-8 with the columns movie_id and plot.") from None
    if not {"movie_id", "plot"} <= set(frame):
        raise DataError(f"{path}, line 1: columns {list(frame)}, expected movie_id and plot.")
    return set(frame.movie_id[frame["plot"].str.strip() != ""])


def _known(ratings, users, items):
    """Ratings whose user and movie have a line of their own."""
    return ratings[ratings.user_id.isin(users.user_id) & ratings.item_id.isin(items.item_id)]
