"""Amazon Reviews, category Video Games: JSON lines of reviews and metadata, editions 2023 and 2018."""

import math
from argparse import ArgumentParser, Namespace
from array import array
from collections.abc import Collection, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pandas as pd

from recbole_sibrar.convert.assemble import Job, Papers, Side, check_modality_names
from recbole_sibrar.convert.atomic import prepare
from recbole_sibrar.convert.corpus import Corpus, add_encoders, add_item_vectors, encoders, named_values
from recbole_sibrar.convert.encoders import Encode
from recbole_sibrar.convert.filters import StepLog, first_of_each_pair, k_core
from recbole_sibrar.convert.vectors import located, read_embeddings
from recbole_sibrar.data.cells import clean
from recbole_sibrar.data.lines import find_file
from recbole_sibrar.data.typed import json_objects
from recbole_sibrar.errors import DataError

ITEM_KINDS = {"title": "text", "description": "text", "image_url": "text"}
DEFAULT_REQUIRE = ("title", "description", "image_url")
PAPERS = Papers(
    {"users": 11_454, "items": 4177, "interactions": 87_098, "title": 768, "description": 768, "image": 2048},
    {"years": [2016, 2019], "unverified": False, "k_core": 5, "require": list(DEFAULT_REQUIRE)},
)


@dataclass(frozen=True)
class Edition:
    """File and field names of one edition.

    Attributes:
        reviews, meta: files, of which the first that is there is read.
        user, item, rating, time, verified: fields of a review.
        per_second: of the time's unit.
        images: fields of the metadata with pictures, the best first.
    """

    reviews: tuple
    meta: str
    user: str
    item: str
    rating: str
    time: str
    verified: str
    per_second: int
    images: tuple


EDITIONS = {
    2023: Edition(
        ("Video_Games.jsonl",), "meta_Video_Games.jsonl", "user_id", "parent_asin", "rating", "timestamp",
        "verified_purchase", 1000, ("images",),
    ),
    2018: Edition(
        ("Video_Games_5.json", "Video_Games.json"), "meta_Video_Games.json", "reviewerID", "asin", "overall",
        "unixReviewTime", "verified", 1, ("imageURLHighRes", "imageURL", "image"),
    ),
}  # fmt: skip


def convert(
    raw: str | Path,
    output: str | Path,
    *,
    years: tuple[int, int] = (2016, 2019),
    verified: bool = True,
    k: int = 5,
    require: Iterable[str] | None = None,
    item_vectors: dict[str, str | Path] | None = None,
    name: str = "amazon-vg",
    half: bool = False,
    encode: Encode | None = None,
) -> Path:
    """Write Amazon Video Games as atomic files.

    Args:
        raw: the folder with the reviews and the metadata of one edition, plain, .gz or .bz2.
        output: RecBole's data_path.
        years: the first and the last to keep (the papers' 2016 to 2019).
        verified: keep verified purchases only.
        k: of the k-core (the papers' 5); 0 turns it off.
        require: drop items without these of title, description, image_url, or a name in ``item_vectors``; by default
            without one of the first three, as in the papers.
        item_vectors: {modality: file with ids and values}; relative paths also below ``raw``.
        name: of the data set.
        half: store vectors as float16.
        encode: an ``encoders.Encode``, which makes vectors of ``title``, ``description``, both together (``text``) or
            pictures.

    Raises:
        OptionError, DataError: naming option, file and line.
    """
    raw = Path(raw)
    edition, reviews_path, meta_path = _find(raw)
    prepare(output, name)
    paths = located(item_vectors, raw)
    log = StepLog()
    reviews = _read_reviews(reviews_path, edition, years, verified, log)
    reviews = log.record("first per user and item", first_of_each_pair(reviews))
    if k > 1:
        reviews = log.record(f"{k}-core", k_core(reviews, k))
    if reviews.empty:
        raise DataError(f"{reviews_path}: no review is left; widen --years, lower --k-core or try --unverified.")
    users = Side("user", pd.DataFrame({"user_id": reviews["user_id"].unique()}))
    items = Side("item", _read_meta(meta_path, edition, set(reviews["item_id"])), ITEM_KINDS)
    names = encode.new_names(paths) if encode else []
    check_modality_names(users, items, {"--item-vectors": paths, "--encode": names})
    wanted = items.table["item_id"]
    items.vectors = {modality: read_embeddings(path, wanted, half, output) for modality, path in paths.items()}
    require = DEFAULT_REQUIRE if require is None else require
    options = {
        "years": list(years), "unverified": not verified, "k_core": k, "require": list(require), "float16": half,
    }  # fmt: skip
    both = items.table["title"].str.cat(items.table["description"], sep=" ").str.strip()
    columns = {"title": items.table["title"], "description": items.table["description"], "text": both}
    texts = {name: {token: text for token, text in zip(wanted, column) if text} for name, column in columns.items()}
    items.having = {"text": list(texts["text"])}
    job = Job("amazon-vg", name, Path(output), options, [reviews_path, meta_path, *paths.values()], k, PAPERS)
    return job.finish(reviews, users, items, require, log, encode.on_items(texts) if encode else None)


def _find(raw: Path) -> tuple[Edition, Path, Path]:
    if not raw.is_dir():
        raise DataError(f"{raw}: no such folder; --raw is where the reviews and the metadata are.")
    for edition in EDITIONS.values():
        reviews = next(filter(None, (find_file(raw, file) for file in edition.reviews)), None)
        if reviews:
            meta = find_file(raw, edition.meta)
            if meta is None:
                raise DataError(
                    f"{raw / edition.meta}: no such file (plain, .gz or .bz2), but {reviews.name} is there."
                )
            return edition, reviews, meta
    names = " or ".join(edition.reviews[0] for edition in EDITIONS.values())
    raise DataError(f"{raw}: neither {names} (plain, .gz or .bz2); see recbole-sibrar download amazon-vg.")


def _objects(path: Path, fields: Collection[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the JSON object of each line, which has all ``fields``."""
    for line, item in json_objects(path):
        for name in fields:
            if name not in item:
                raise DataError(f"{path}, line {line}: no field {name!r}; expected {', '.join(fields)}.")
        yield line, item


def _read_reviews(path: Path, edition: Edition, years: tuple[int, int], verified: bool, log: StepLog) -> pd.DataFrame:
    """The reviews of these years; ids become numbers while they are read, so that memory grows with what is kept."""
    start, end = (datetime(year, 1, 1, tzinfo=timezone.utc).timestamp() for year in (years[0], years[1] + 1))
    codes: dict[str, dict[str, int]] = {"user_id": {}, "item_id": {}}
    columns: dict[str, array] = {
        "user_id": array("l"),
        "item_id": array("l"),
        "rating": array("d"),
        "timestamp": array("q"),
    }
    n_read = n_unverified = n_other_years = 0
    fields = (edition.user, edition.item, edition.rating, edition.time, edition.verified)
    for line, review in _objects(path, fields):
        user, item, rating, time, is_verified = (review[name] for name in fields)
        n_read += 1
        if not (_is_finite(time) and _is_finite(rating) and isinstance(is_verified, bool) and user and item):
            raise DataError(
                f"{path}, line {line}: {edition.user} {user!r}, {edition.item} {item!r}, {edition.rating} {rating!r}, "
                f"{edition.time} {time!r}, {edition.verified} {is_verified!r}; expected two ids, two numbers, and true "
                "or false."
            )
        if verified and not is_verified:
            n_unverified += 1
            continue
        if not start <= time / edition.per_second < end:
            n_other_years += 1
            continue
        for name, token in (("user_id", user), ("item_id", item)):
            columns[name].append(codes[name].setdefault(str(token), len(codes[name])))
        columns["rating"].append(rating)
        columns["timestamp"].append(int(time / edition.per_second))
    dropped = f"{n_unverified:,} that are no verified purchase, then {n_other_years:,} of other years"
    print(f"{'read':<28} {n_read:,} reviews (dropped {dropped})")
    frame = pd.DataFrame(columns)
    for name, numbers in codes.items():
        frame[name] = pd.Categorical.from_codes(frame[name], list(numbers)).astype(object)
    kind = "verified, " if verified else ""
    return log.record(f"{kind}{years[0]} to {years[1]}", frame)


def _is_finite(value: object) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)


def _read_meta(path: Path, edition: Edition, wanted: Container[str]) -> pd.DataFrame:
    """The wanted items; of an item that occurs twice, as in the edition of 2018, the first is taken."""
    rows, n_double = {}, 0
    for _, meta in _objects(path, (edition.item, "title")):
        token = str(meta[edition.item])
        if token not in wanted:
            continue
        if token in rows:
            n_double += 1
            continue
        rows[token] = (token, _text(meta["title"]), _text(meta.get("description")), _image(meta, edition))
    if n_double:
        print(f"{path.name}: {n_double:,} items occur again; the first was taken")
    frame = pd.DataFrame(list(rows.values()), columns=["item_id", *ITEM_KINDS], dtype=str)
    return frame.assign(**{column: clean(frame[column]) for column in ITEM_KINDS})


def _text(value: object) -> str:
    parts = value if isinstance(value, list) else [value]
    return " ".join(part for part in parts if isinstance(part, str))


SIZES = ("hi_res", "large", "thumb")


def _image(meta: Mapping[str, object], edition: Edition) -> str:
    """The address of the first picture, the largest there is.

    A picture is an address, or a mapping from sizes to addresses; pictures are a list, or, as data sets on the Hugging
    Face hub have them, a mapping from sizes to lists.
    """
    for name in edition.images:
        for picture in _pictures(meta.get(name)):
            sizes = [picture] if isinstance(picture, str) else [picture.get(size) for size in SIZES]
            address = next((size.strip() for size in sizes if isinstance(size, str) and size.strip()), "")
            if address:
                return address
    return ""


def _pictures(value: object) -> list[str | dict[str, object]]:
    """Texts and mappings from sizes to addresses."""
    if isinstance(value, dict) and any(isinstance(addresses, list) for addresses in value.values()):
        lists = {size: addresses if isinstance(addresses, list) else [] for size, addresses in value.items()}
        n = max(map(len, lists.values()))
        return [
            {size: addresses[position] for size, addresses in lists.items() if position < len(addresses)}
            for position in range(n)
        ]
    pictures = value if isinstance(value, list) else [value]
    return [picture for picture in pictures if isinstance(picture, (str, dict))]


def _add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--years", type=int, nargs=2, default=(2016, 2019), metavar=("FIRST", "LAST"), help="default: 2016 2019"
    )
    parser.add_argument("--unverified", action="store_true", help="keep reviews that are no verified purchase too")
    parser.add_argument(
        "--require", nargs="*", metavar="FEATURE",
        help="drop items without these (default: title description image_url; empty: none)",
    )  # fmt: skip
    add_item_vectors(parser)
    add_encoders(parser)


def _convert(arguments: Namespace) -> Path:
    return convert(
        arguments.raw,
        arguments.output,
        years=arguments.years,
        verified=not arguments.unverified,
        k=arguments.k_core,
        require=arguments.require,
        item_vectors=named_values(arguments.item_vectors, "--item-vectors", "text=text.npz"),
        name=arguments.name,
        half=arguments.float16,
        encode=encoders(arguments),
    )


CORPUS = Corpus(
    "amazon-vg",
    "Amazon Video Games",
    "Convert the reviews and the metadata of the edition 2023 or 2018, plain, gzip or bzip2.",
    _add_arguments,
    _convert,
    filters=PAPERS.filters,
)
