"""Music4All-Onion with the users of LFM-2b: listening events, one table for each feature, genres as tags."""

import io
from argparse import ArgumentParser, Namespace
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from recbole_sibrar.convert.assemble import Job, Papers, Side, check_modality_names
from recbole_sibrar.convert.atomic import prepare
from recbole_sibrar.convert.corpus import Corpus, add_ages, named_values
from recbole_sibrar.convert.filters import StepLog, k_core, of_ages
from recbole_sibrar.convert.vectors import located, read_embeddings
from recbole_sibrar.data.cells import clean, finite_numbers, is_marker, join_tags, refuse_duplicates
from recbole_sibrar.data.delimited import Lines, read_lines
from recbole_sibrar.data.lines import below, find_file
from recbole_sibrar.data.tables import read_table
from recbole_sibrar.errors import DataError

EVENTS = "userid_trackid_timestamp.tsv"
COUNTS = "userid_trackid_count.tsv"
GENRES = ("id_genres.tsv", "id_genres_tf-idf.tsv")
FEATURES = {
    "musicnn": "id_musicnn.tsv", "ivec256": "id_ivec256.tsv", "jukebox": "id_jukebox.tsv", "image": "id_resnet.tsv",
    "lyrics": "id_lyrics_bert.tsv",
}  # fmt: skip
USER_KINDS = {"gender": "category", "country": "category", "age": "number"}
GENDERS = {"m": "m", "f": "f"}
PAPERS = Papers(
    {
        "users": 5192, "items": 13_610, "interactions": 407_653, "gender": 2, "country": 152, "genres": 853,
        "musicnn": 50, "ivec256": 100, "jukebox": 4800, "image": 4096, "lyrics": 768,
    },
    {
        "year": 2018, "min_plays": 2, "ages": [10, 80], "k_core": 5,
        "require": ["gender", "country", "genres", "musicnn", "ivec256", "jukebox", "image", "lyrics"],
    },
)  # fmt: skip
"""One configuration of theirs keeps the ten most frequent countries, which contradicts their table's 152: left out."""

SOURCE = "it is part of Zenodo record 6609677 (recbole-sibrar download onion)"


def convert(
    raw: str | Path,
    output: str | Path,
    *,
    year: int = 2018,
    min_plays: int = 2,
    k: int = 5,
    features: dict[str, str | Path] | None = None,
    users: str | Path | None = None,
    ages: tuple[int, int] | None = None,
    require: Iterable[str] | None = None,
    name: str = "onion",
    half: bool = False,
) -> Path:
    """Write Music4All-Onion as atomic files.

    Args:
        raw: the folder with the files, plain, .bz2 or .gz.
        output: RecBole's data_path.
        year: of the events (the papers' 2018); 0 takes all, from the smaller file of counts if it is there.
        min_plays: keep a pair of user and track from so many plays in that year (the papers' 2).
        k: of the k-core (the papers' 5); 0 turns it off.
        features: {modality: table of vectors}; by default those of ``FEATURES`` that ``raw`` has.
        users: the table of LFM-2b (user_id, country, age, gender); by default ``users.tsv`` in ``raw``.
        ages: keep users whose age is from the first of two numbers to the second (the papers' 10 to 80); None keeps
            all, those of an unknown age too.
        require: drop users and tracks without these features; by default without gender, country, genres or any of
            the vectors, as in the papers.
        name: of the data set.
        half: store vectors as float16.

    Raises:
        OptionError, DataError: naming option, file and line.
    """
    raw = Path(raw)
    if not raw.is_dir():
        raise DataError(f"{raw}: no such folder; --raw is where {EVENTS} and the other files are.")
    prepare(output, name)
    if features is None:
        found = {modality: find_file(raw, file) for modality, file in FEATURES.items()}
        features = {modality: path for modality, path in found.items() if path}
    features = located(features, raw)
    users_path = below(users, raw) if users else find_file(raw, "users.tsv")
    genres_path = next(filter(None, (find_file(raw, file) for file in GENRES)), None)
    described = Side("user", _read_users(users_path), USER_KINDS) if users_path else None
    absent = [name for name in require or () if name in FEATURES and name not in features]
    if absent:
        raise DataError(f"{raw / FEATURES[absent[0]]}: no such file, but tracks are to have {absent[0]}; {SOURCE}.")
    if ages and described is None:
        raise DataError(f"{raw / 'users.tsv'}: no such file; LFM-2b's users say who is of age {ages[0]} to {ages[1]}.")

    log = StepLog()
    source, plays = _read_plays(raw, year, log)
    plays = log.record(f"played {min_plays} times", plays[plays["plays"] >= min_plays])
    if ages and described:
        plays = log.record("users of age {} to {}".format(*ages), of_ages(plays, described.table, ages))
    if k > 1:
        plays = log.record(f"{k}-core", k_core(plays, k))
    if plays.empty:
        raise DataError(
            f"{source}: no pair of user and track is left; lower --min-plays or --k-core, widen --ages, or try --year."
        )

    tracks = plays["item_id"].unique()
    items = Side("item", pd.DataFrame({"item_id": tracks}))
    if genres_path:
        items.table = items.table.merge(_read_genres(genres_path, tracks), "left", "item_id")
        items.kinds = {"genres": "tags"}
    user_side = described or Side("user", pd.DataFrame({"user_id": plays["user_id"].unique()}))
    check_modality_names(user_side, items, {"--features": features})
    items.vectors = {modality: read_embeddings(path, tracks, half, output) for modality, path in features.items()}
    if require is None:
        require = [name for name in ("gender", "country") if name in user_side.kinds] + [*items.kinds, *items.vectors]
    options = {
        "year": year, "min_plays": min_plays, "ages": ages and list(ages), "k_core": k, "require": list(require),
        "float16": half,
    }  # fmt: skip
    inputs = [path for path in (source, users_path, genres_path, *features.values()) if path]
    job = Job("onion", name, Path(output), options, inputs, k, PAPERS)
    return job.finish(plays, user_side, items, require, log)


def _read_plays(raw: Path, year: int, log: StepLog) -> tuple[Path, pd.DataFrame]:
    """The file of events, or of counts where every year is wanted and there is one; and what it says was played."""
    counts = None if year else find_file(raw, COUNTS)
    source = counts or find_file(raw, EVENTS)
    if source is None:
        raise DataError(f"{raw / EVENTS}: no such file; {SOURCE}.")
    plays = _read_counts(source) if counts else count_plays(source, year)
    return source, log.record(f"pairs in {year}" if year else "pairs", plays)


@dataclass
class PairCounts:
    """How often each pair of numbers occurred, in memory that grows with the distinct pairs only.

    >>> counts = PairCounts()
    >>> counts.add(np.array([3, 1, 3]), np.array([7, 0, 7]))
    >>> [array.tolist() for array in counts.result()]
    [[1, 3], [0, 7], [1, 2]]
    """

    keys: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    counts: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    pending: list = field(default_factory=list)
    n_pending: int = 0

    MIN_MERGE = 1 << 21

    def add(self, first: np.ndarray, second: np.ndarray) -> None:
        """Two (N,) arrays of numbers below 2^31."""
        block = np.unique(first.astype(np.int64) << 32 | second, return_counts=True)
        self.pending.append(block)
        self.n_pending += len(block[0])
        if self.n_pending > max(self.MIN_MERGE, len(self.keys) // 2):
            self._merge()

    def _merge(self) -> None:
        keys = np.concatenate([self.keys, *(keys for keys, _ in self.pending)])
        counts = np.concatenate([self.counts, *(counts for _, counts in self.pending)])
        self.pending, self.n_pending = [], 0
        order = np.argsort(keys, kind="stable")
        keys, counts = keys[order], counts[order]
        starts = np.flatnonzero(np.diff(keys, prepend=-1))
        self.keys, self.counts = keys[starts], np.add.reduceat(counts, starts) if len(starts) else counts

    def result(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(first, second, count), sorted by pair."""
        self._merge()
        return self.keys >> 32, self.keys & 0xFFFFFFFF, self.counts


class Codes:
    """Numbers for texts, in the order of their first appearance."""

    def __init__(self):
        self.number = {}

    def encode(self, column: pd.Series) -> np.ndarray:
        """(N,) texts -> (N,) int64."""
        codes, texts = pd.factorize(column, sort=True)
        numbers = [self.number.setdefault(text, len(self.number)) for text in texts]
        return np.array(numbers, dtype=np.int64)[codes]

    def decode(self, numbers: np.ndarray) -> np.ndarray:
        return np.array(list(self.number), dtype=object)[numbers]


def count_plays(path: str | Path, year: int) -> pd.DataFrame:
    """Columns user_id, item_id, plays from the event file; lines of other years are dropped before they are parsed.

    Raises:
        DataError: a column is absent, or a timestamp does not begin with a date such as 2018-05-30.
    """
    pairs, users, tracks = PairCounts(), Codes(), Codes()
    n_read = n_kept = 0
    blocks = read_lines(path, "\t", ["user_id", "track_id", "timestamp"])
    header = next(blocks)
    assert isinstance(header, list)
    columns = [header.index("user_id"), header.index("track_id")]
    for lines in blocks:
        assert isinstance(lines, Lines)
        years = _years(lines, header.index("timestamp"))
        kept = years == year if year else np.ones(len(years), bool)
        n_read, n_kept = n_read + len(kept), n_kept + int(kept.sum())
        wanted = lines.select(kept)
        if not wanted:
            continue
        frame = pd.read_csv(
            io.BytesIO(wanted), sep="\t", header=None, usecols=columns, dtype=str, na_filter=False, quoting=3
        )
        pairs.add(users.encode(frame[columns[0]]), tracks.encode(frame[columns[1]]))
    print(f"{'read':<28} {n_read:,} events (dropped {n_read - n_kept:,} of other years)")
    first, second, counts = pairs.result()
    return pd.DataFrame({"user_id": users.decode(first), "item_id": tracks.decode(second), "plays": counts})


def _years(lines: Lines, column: int) -> np.ndarray:
    starts, ends = lines.span(column)
    is_date = ends - starts >= 8
    digits = lines.data[np.minimum(starts[:, None] + np.arange(5), len(lines.data) - 1)].astype(np.int32) - ord("0")
    is_date &= ((digits[:, :4] >= 0) & (digits[:, :4] <= 9)).all(axis=1) & (digits[:, 4] == ord("-") - ord("0"))
    if not is_date.all():
        row = int(is_date.argmin())
        text = lines.block[starts[row] : ends[row]].decode()
        raise DataError(
            f"{lines.path}, line {lines.number + row}: timestamp {text!r} is no date such as 2018-05-30 10:15:00."
        )
    return digits[:, :4] @ np.array([1000, 100, 10, 1], dtype=np.int32)


def _read_counts(path: Path) -> pd.DataFrame:
    frame = read_table(path, ["user_id", "track_id", "count"])
    numbers = finite_numbers(path, frame, "count")
    plays = pd.DataFrame({"user_id": frame["user_id"], "item_id": frame["track_id"], "plays": numbers})
    return plays.groupby(["user_id", "item_id"], as_index=False, sort=False)["plays"].sum()


def _read_users(path: Path) -> pd.DataFrame:
    """Gender other than m and f, a country of -1 or a marker, and an age that is no positive number are missing."""
    frame = read_table(path, ["user_id", *USER_KINDS])
    refuse_duplicates(path, frame["user_id"])
    frame["gender"] = frame["gender"].str.lower().map(GENDERS).fillna("")
    country = clean(frame["country"])
    frame["country"] = country.mask(country.map(is_marker) | (country == "-1"), "").str.replace(" ", "_")
    ages = pd.to_numeric(frame["age"], errors="coerce")
    frame["age"] = ages.where((ages > 0) & np.isfinite(ages))
    return frame[["user_id", *USER_KINDS]]


def _read_genres(path: Path, tracks: Iterable[str]) -> pd.DataFrame:
    """Tags from a list between commas, or from the columns that are not zero in a table with a column for each."""
    tracks, rows, header = set(tracks), [], list[str]()
    for item in read_lines(path, "\t"):
        if isinstance(item, list):
            header = item
            if len(header) < 2:
                raise DataError(f"{path}, line 1: {len(header)} column; expected id and genres between tabs.")
            continue
        tokens = item.texts(0)
        keep = np.array([token in tracks for token in tokens])
        for number, line in zip(item.number + np.flatnonzero(keep), item.select(keep).decode().split("\n")):
            token, *cells = line.split("\t")
            tags = cells[0].split(",") if len(header) == 2 else _used(header, cells, f"{path}, line {number}")
            rows.append((token, join_tags(tags), number))
    frame = pd.DataFrame(rows, columns=["item_id", "genres", "line"])
    duplicate = frame["item_id"].duplicated()
    if duplicate.any():
        line, token = frame[duplicate].iloc[0][["line", "item_id"]]
        raise DataError(f"{path}, line {line}: id {token!r} occurs twice; keep one row.")
    return frame.drop(columns="line")


def _used(header: Sequence[str], cells: Sequence[str], place: str) -> list[str]:
    used = []
    for name, cell in zip(header[1:], cells):
        try:
            amount = float(cell or 0)
        except ValueError:
            if not is_marker(cell):
                raise DataError(f"{place}: {cell!r} in the column {name!r}; expected a number, 0 without it.") from None
            amount = 0.0
        if abs(amount) > 0:  # NaN is not
            used.append(name)
    return used


def _add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--year", type=int, default=2018, help="of the events; 0 takes all (default: %(default)s)")
    parser.add_argument(
        "--min-plays", type=int, default=2, metavar="N", help="in that year, by one user (default: %(default)s)"
    )
    defaults = ", ".join(f"{name}={file}" for name, file in FEATURES.items())
    parser.add_argument(
        "--features", nargs="*", metavar="NAME=FILE", help=f"tables of vectors (default: those there are of {defaults})"
    )
    add_ages(parser, "drop users of other ages and of an unknown one")
    parser.add_argument("--users", metavar="FILE", help="user_id, country, age, gender (default: users.tsv in --raw)")
    parser.add_argument(
        "--require", nargs="*", metavar="FEATURE",
        help="drop users and tracks without these (default: gender, country, genres and all vectors; empty: none)",
    )  # fmt: skip


def _convert(arguments: Namespace) -> Path:
    features = arguments.features
    return convert(
        arguments.raw,
        arguments.output,
        year=arguments.year,
        min_plays=arguments.min_plays,
        k=arguments.k_core,
        features=None if features is None else named_values(features, "--features", "lyrics=id_lyrics_bert.tsv.bz2"),
        users=arguments.users,
        ages=arguments.ages,
        require=arguments.require,
        name=arguments.name,
        half=arguments.float16,
    )


CORPUS = Corpus(
    "onion",
    "Music4All-Onion",
    "Convert the listening events, the feature tables and LFM-2b's users.tsv, plain or bzip2.",
    _add_arguments,
    _convert,
    filters=PAPERS.filters,
)
