"""The ``download`` command: a corpus's official files, with resume and checksum."""

import argparse
import json
import shutil
import zipfile
import zlib
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from tqdm import tqdm

from recbole_sibrar.convert.atomic import checksum
from recbole_sibrar.convert.onion import COUNTS, EVENTS, FEATURES, GENRES
from recbole_sibrar.errors import DataError, as_typed
from recbole_sibrar.files import atomic_file, make_folder, remove_leftovers

TIMEOUT = 30
BLOCK_BYTES = 1 << 20
ZENODO_RECORD = "https://zenodo.org/api/records/6609677"
ZENODO_FILES = "https://zenodo.org/records/6609677/files"
AMAZON = "https://mcauleylab.ucsd.edu/public_datasets/data/amazon_2023/raw"


@dataclass(frozen=True)
class Source:
    """The files of a corpus.

    Attributes:
        addresses: of the files.
        md5: {file name: checksum}, where the source gives it.
        record: the address of a Zenodo record with the checksums, or "".
        by_hand: what no address is known for.
    """

    addresses: tuple
    md5: dict
    record: str = ""
    by_hand: str = ""


SOURCES = {
    "ml-1m": Source(
        ("https://files.grouplens.org/datasets/movielens/ml-1m.zip",),
        {"ml-1m.zip": "c4d9eecfca2ab87c1945afe126590906"},
    ),
    "onion": Source(
        tuple(f"{ZENODO_FILES}/{name}.bz2" for name in (EVENTS, COUNTS, GENRES[0], *FEATURES.values())),
        {},
        ZENODO_RECORD,
        "users.tsv(.bz2) of LFM-2b, with gender and country: see http://www.cp.jku.at/datasets/LFM-2b/",
    ),
    "amazon-vg": Source(
        (f"{AMAZON}/review_categories/Video_Games.jsonl.gz", f"{AMAZON}/meta_categories/meta_Video_Games.jsonl.gz"), {}
    ),
}


def add_download_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add ``download`` to the command line."""
    parser = commands.add_parser(
        "download",
        help="fetch a corpus's official files",
        description="Fetch a corpus's official files; an interrupted download goes on where it stopped. Mind the "
        "licences of the data.",
    )
    parser.add_argument("corpus", choices=list(SOURCES))
    parser.add_argument("--raw", metavar="DIR", help="where the files go (default: the corpus's name)")
    parser.set_defaults(handler=lambda arguments: download(arguments.corpus, arguments.raw or arguments.corpus))


def download(corpus: str, folder: str | Path) -> int:
    """Fetch what is not there yet and unpack zip archives; 0 when all files are there.

    Raises:
        DataError: no connection, an HTTP error, or a wrong checksum; with the addresses and where to put the files.
    """
    source, folder = SOURCES[corpus], Path(folder)
    make_folder(folder)
    try:
        wanted = [address for address in source.addresses if not (folder / _name(address)).is_file()]
        md5 = {**source.md5, **(_zenodo_checksums(source.record) if source.record and wanted else {})}
        for address in wanted:
            fetch(address, folder / _name(address), md5.get(_name(address)))
    except (OSError, HTTPException, ValueError) as error:
        lines = "\n  ".join([*source.addresses, *filter(None, [source.by_hand])])
        raise DataError(
            f"The download failed ({error}). Run the command again to go on, or put into {folder} by hand:\n  {lines}"
        ) from None
    for address in source.addresses:
        if _name(address).endswith(".zip"):
            _unpack(folder / _name(address), folder)
    if source.by_hand:
        print(f"not among the official files: {source.by_hand}")
    print(f"{corpus} is in {folder}; next: {as_typed('convert', corpus, '--raw', folder)}")
    return 0


def fetch(address: str, target: Path, md5: str | None = None) -> None:
    """Download to ``<target>.part``, going on where that ends, and rename when complete and right.

    Raises:
        OSError: of the connection.
        DataError: the checksum is another; the part is deleted.
    """
    part = target.with_name(f"{target.name}.part")
    start = part.stat().st_size if part.is_file() else 0
    request = Request(address, headers={"Range": f"bytes={start}-"} if start else {})
    try:
        with urlopen(request, timeout=TIMEOUT) as answer:
            goes_on = start and answer.status == 206
            length = answer.headers.get("Content-Length")
            total = int(length) + (start if goes_on else 0) if length else None
            _store(answer, part, "ab" if goes_on else "wb", total)
    except HTTPError as error:
        if not (start and error.code == 416):  # 416: nothing lies behind what is there already
            raise
    if md5 and checksum(part, "md5") != md5:
        part.unlink()
        raise DataError(f"{target}: the checksum is not {md5}, which {urlsplit(address).netloc} gives; download again.")
    part.rename(target)


def _store(answer: HTTPResponse, part: Path, mode: str, total: int | None) -> None:
    with (
        open(part, mode) as file,
        tqdm(
            total=total, initial=file.tell(), desc=part.stem, unit="B", unit_scale=True, leave=False, disable=None
        ) as bar,
    ):
        while block := answer.read(BLOCK_BYTES):
            file.write(block)
            bar.update(len(block))
        if total is not None and file.tell() < total:
            raise OSError(f"{part.stem}: {file.tell():,} of {total:,} bytes came")


def _name(address: str) -> str:
    return Path(urlsplit(address).path).name


def _zenodo_checksums(record: str) -> dict[str, str]:
    with urlopen(record, timeout=TIMEOUT) as answer:
        files = json.load(answer)["files"]
    return {entry["key"]: entry["checksum"].removeprefix("md5:") for entry in files}


def _unpack(path: Path, folder: Path) -> None:
    """The files of an archive, without their folders, each whole or not at all; what is there stays as it is."""
    try:
        with zipfile.ZipFile(path) as archive:
            for entry in archive.infolist():
                target = folder / Path(entry.filename).name
                remove_leftovers(folder, [target.name])
                if not entry.is_dir() and not target.exists():
                    with archive.open(entry) as packed, atomic_file(target, "wb") as file:
                        shutil.copyfileobj(packed, file)
    except (zipfile.BadZipFile, EOFError, zlib.error) as error:
        raise DataError(f"{path} is no whole archive ({error}); delete it and download again.") from None
