"""The files of tables: where one is, and its lines in blocks, plain or compressed, checked for what is no text."""

import bz2
import gzip
import lzma
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tqdm import tqdm

from recbole_sibrar.errors import DataError

BLOCK_BYTES = 1 << 24
NEWLINE = 10
OPENERS: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".bz2": bz2.open}
DAMAGE = (EOFError, OSError, zlib.error, lzma.LZMAError)


def find_file(folder: str | Path, name: str) -> Path | None:
    """``<folder>/<name>``, or the same with .bz2 or .gz, whichever is there."""
    candidates = [Path(folder) / f"{name}{suffix}" for suffix in ("", *OPENERS)]
    return next((path for path in candidates if path.is_file()), None)


def below(path: str | Path, raw: str | Path) -> Path:
    """The file itself, or the one of this name in ``raw``."""
    path = Path(path)
    return path if path.is_file() or path.is_absolute() or not (raw / path).is_file() else raw / path


def check_file(path: Path) -> None:
    """
    Raises:
        DataError: there is no such file.
    """
    if not path.is_file():
        raise DataError(f"{path} is a folder; give one file." if path.is_dir() else f"{path}: there is no such file.")


def parts_of(path: str | Path) -> list[Path]:
    """A file, or those of a folder that holds a table in parts, without marks such as ``_SUCCESS`` and ``.part.crc``.

    Raises:
        DataError: there is none in the folder.
    """
    path = Path(path)
    files = sorted(part for part in path.rglob("*") if part.is_file()) if path.is_dir() else [path]
    parts = [part for part in files if not any(name[0] in "._" for name in part.relative_to(path).parts)]
    if not parts:
        raise DataError(f"{path} is a folder without a table in it.")
    return parts


def suffix_of(path: Path) -> str:
    """What the name of a file ends in, in small letters, before .gz or .bz2.

    >>> suffix_of(Path("a.tsv/b.CSV.gz")), suffix_of(Path("a"))
    ('.csv', '')
    """
    suffixes = [suffix for suffix in map(str.lower, path.suffixes) if suffix not in OPENERS]
    return suffixes[-1] if suffixes else ""


def line_blocks(path: str | Path, carriage_return: bytes = b" ") -> Iterator[tuple[int, bytes]]:
    """Yield (number of the first line, whole lines as bytes) of a UTF-8 file, about 16 MB at a time, with a bar.

    Line ends are made ``\\n``, also behind the last line; a byte order mark is dropped.

    Args:
        carriage_return: what one becomes that ends no line.

    Raises:
        DataError: no such file, an empty one, a truncated or damaged archive, text that is not UTF-8.
    """
    path = Path(path)
    check_file(path)
    number, rest = 1, b""
    with (
        open(path, "rb") as raw,
        tqdm(
            total=path.stat().st_size, desc=path.name, unit="B", unit_scale=True, leave=False, delay=1, disable=None
        ) as bar,
    ):
        file = OPENERS.get(path.suffix.lower(), lambda raw: raw)(raw)
        while True:
            try:
                block = file.read(BLOCK_BYTES)
            except DAMAGE as error:
                line = number + rest.count(b"\n")
                raise DataError(f"{path}: damaged or cut off near line {line} ({error}); download it again.") from None
            bar.update(raw.tell() - bar.n)
            if number == 1 and not rest and b"\r" in block[:-1] and b"\n" not in block:
                raise DataError(f"{path}: its lines end in carriage returns alone; save it with line feeds.")
            if not block and not rest:
                break
            lines, rest = _whole_lines(rest + block, carriage_return, last=not block)
            if lines:
                if number == 1:
                    lines = lines.removeprefix(b"\xef\xbb\xbf")
                _check_text(path, number, lines)
                yield number, lines
                number += lines.count(b"\n")
    if number == 1:
        raise DataError(f"{path}: the file is empty.")


def _whole_lines(data: bytes, carriage_return: bytes, last: bool) -> tuple[bytes, bytes]:
    if last:
        data = data if data.endswith(b"\n") else data + b"\n"
    cut = data.rfind(b"\n") + 1
    lines, rest = data[:cut], data[cut:]
    if b"\r" in lines:
        lines = lines.replace(b"\r\n", b"\n").replace(b"\r", carriage_return)
    return lines, rest


def _check_text(path: str | Path, number: int, lines: bytes) -> None:
    wrong = lines.find(b"\0")
    if wrong >= 0:
        line = number + lines.count(b"\n", 0, wrong)
        raise DataError(f"{path}, line {line}: a zero byte; save the file as UTF-8 text.")
    if lines.isascii():
        return
    try:
        lines.decode("utf-8")
    except UnicodeDecodeError as error:
        line = number + lines.count(b"\n", 0, error.start)
        raise DataError(f"{path}, line {line}: not UTF-8 text ({error.reason}). Re-encode the file as UTF-8.") from None
