"""Tables read strictly and in blocks: texts, each line with as many cells as the header, JSON lines and Parquet."""

import bz2
import csv
import gzip
import io
import json
import lzma
import warnings
import zlib
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from recbole_sibrar.data.atomic import LARGEST
from recbole_sibrar.data.frames import is_list, named_range, with_index
from recbole_sibrar.errors import DataError, nearest

BLOCK_BYTES = 1 << 24
NEWLINE = 10
SEPARATORS = {".tsv": "\t", ".csv": ","}
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


def line_blocks(path: str | Path) -> Iterator[tuple[int, bytes]]:
    """Yield (number of the first line, whole lines as bytes) of a UTF-8 file, about 16 MB at a time, with a bar.

    Line ends are made ``\\n``, also behind the last line; a carriage return elsewhere is a blank; a byte order mark is
    dropped.

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
            lines, rest = _whole_lines(rest + block, last=not block)
            if lines:
                if number == 1:
                    lines = lines.removeprefix(b"\xef\xbb\xbf")
                _check_text(path, number, lines)
                yield number, lines
                number += lines.count(b"\n")
    if number == 1:
        raise DataError(f"{path}: the file is empty.")


def _whole_lines(data: bytes, last: bool) -> tuple[bytes, bytes]:
    if last:
        data = data if data.endswith(b"\n") else data + b"\n"
    cut = data.rfind(b"\n") + 1
    lines, rest = data[:cut], data[cut:]
    return lines.replace(b"\r\n", b"\n").replace(b"\r", b" ") if b"\r" in lines else lines, rest


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


class Lines:
    """A block of lines split into cells, all with the same number of them; the cells stay bytes.

    Args:
        path, number: the file and the number of the first line, for messages.
        block: whole lines.
        n_cells: expected in every line.
        separator: one character.

    Raises:
        DataError: naming the first line with another number of cells.
    """

    def __init__(self, path: str | Path, number: int, block: bytes, n_cells: int, separator: str):
        self.path, self.number, self.block, self.separator = path, number, block, separator
        self.data = np.frombuffer(block, dtype=np.uint8)
        ends = np.flatnonzero((self.data == ord(separator)) | (self.data == NEWLINE))
        last = np.flatnonzero(self.data[ends] == NEWLINE)
        found = np.diff(last, prepend=-1)
        wrong = found != n_cells
        if wrong.any():
            line = int(wrong.argmax())
            start = 0 if line == 0 else ends[last[line - 1]] + 1
            n_found = 0 if self.data[start] == NEWLINE else found[line]
            raise DataError(f"{path}, line {number + line}: {n_found} cells, expected {n_cells} as in the first line.")
        self.ends = ends.reshape(-1, n_cells)
        self.line_starts = np.concatenate([[0], self.ends[:-1, -1] + 1])

    def __len__(self) -> int:
        return len(self.ends)

    def span(self, column: int) -> tuple[np.ndarray, np.ndarray]:
        """(start, end) of the cells of one column, two int arrays."""
        starts = self.line_starts if column == 0 else self.ends[:, column - 1] + 1
        return starts, self.ends[:, column]

    def texts(self, column: int) -> list[str]:
        """The cells of one column."""
        return [self.block[start:end].decode() for start, end in zip(*(edge.tolist() for edge in self.span(column)))]

    def rows(self, keep: np.ndarray) -> Iterator[list[str]]:
        """The cells of the lines for which ``keep`` is true."""
        return (line.split(self.separator) for line in self.select(keep).decode().split("\n")[:-1])

    def select(self, keep: np.ndarray) -> bytes:
        """The lines for which ``keep`` is true."""
        if keep.all():
            return self.block
        return self.data[np.repeat(keep, self.ends[:, -1] + 1 - self.line_starts)].tobytes()


Rows = tuple[list[int], list[list[str]]]  # numbers of lines, and their cells
Block = list[str] | Lines | Rows  # the header comes first


class _QuotesFound(Exception):
    """The table is one for the csv module."""


def read_lines(
    path: str | Path, separator: str, columns: Sequence[str] = (), quotes_allowed: bool = True
) -> Iterator[list[str] | Lines]:
    """Yield the header (a list of names) and then ``Lines`` of a table whose quotes, if any, mean nothing.

    Raises:
        DataError: see ``line_blocks`` and ``Lines``; a column is absent.
    """
    header = None
    for number, block in line_blocks(path):
        if not quotes_allowed and b'"' in block:
            raise _QuotesFound
        if header is None:
            line, _, block = block.partition(b"\n")
            header = line.decode().split(separator)
            _check_separator(path, header, separator)
            for column in columns:
                if column not in header:
                    raise DataError(f"{path}, line 1: no column {column!r}. {nearest(column, header)}")
            yield header
            number += 1
        if block:
            yield Lines(path, number, block, len(header), separator)


def _check_separator(path: str | Path, header: list[str], separator: str) -> None:
    """
    Raises:
        DataError: the only column is called as if another separator stood between several.
    """
    other = next((mark for mark in (";", "\t", ",", "|") if mark in header[0]), "")
    if len(header) == 1 and other:
        raise DataError(
            f"{path}, line 1: one column, {header[0]!r:.100}, as {separator!r} stands between cells; {other!r} stands "
            "between those of this file. Save it with the separator of its name, .csv or .tsv."
        )


def suffix_of(path: Path) -> str:
    """What the name of a file ends in, in small letters, before .gz or .bz2.

    >>> suffix_of(Path("a.tsv/b.CSV.gz")), suffix_of(Path("a"))
    ('.csv', '')
    """
    suffixes = [suffix for suffix in map(str.lower, path.suffixes) if suffix not in OPENERS]
    return suffixes[-1] if suffixes else ""


def table_format(path: str | Path) -> str:
    """One of ``SEPARATORS`` and ``TYPED``.

    Raises:
        DataError: no such file, or a name that ends otherwise.
    """
    path = Path(path)
    check_file(path)
    suffix = suffix_of(path)
    if suffix not in {**SEPARATORS, **TYPED}:
        raise DataError(
            f"{path}: unknown format; expected a table named .tsv, .csv, .jsonl (also .gz, .bz2) or .parquet."
        )
    return suffix


def separator_of(path: str | Path) -> str:
    """Between the cells of a text table: that of its name; or in a .csv with ; and no comma in its first line this, as
    spreadsheets write it where numbers have a comma."""
    separator = SEPARATORS[suffix_of(Path(path))]
    header = next(line_blocks(path))[1].partition(b"\n")[0]
    return ";" if separator == "," and b";" in header and b"," not in header else separator


def read_table(path: str | Path, required: Iterable[str] = ()) -> pd.DataFrame:
    """A whole table as texts; a missing cell is ``""``; the index is the number of the line, or of a Parquet's row.

    Quotes are those of the csv module. In a TSV where they cannot be, they are part of the text.

    Raises:
        DataError: the file cannot be read, a column is absent or twice there, a line has too many or too few cells, or
            no line stands below the header.
    """
    suffix = table_format(path)
    frame = _gather(path, separator_of(path)) if suffix in SEPARATORS else _texts(path, _read_typed(path, suffix))
    return checked(path, frame, required)


def read_values(path: str | Path) -> pd.DataFrame:
    """As ``read_table``, but the cells of a ``TYPED`` table stay what they are: numbers, lists, None."""
    suffix = table_format(path)
    return checked(path, _read_typed(path, suffix)) if suffix in TYPED else read_table(path)


def checked(path: str | Path, frame: pd.DataFrame, required: Iterable[str] = ()) -> pd.DataFrame:
    """The table, if it has rows, the columns ``required``, and none of them twice.

    Blanks around names do not count, and columns without a name that are empty or number the rows, as pandas writes
    them, are left out.

    Args:
        path: its name in messages.
    """
    frame = frame.set_axis([str(name).strip() for name in frame.columns], axis=1)
    frame = frame.loc[:, [not _is_nothing(name, frame.iloc[:, place]) for place, name in enumerate(frame.columns)]]
    duplicate = frame.columns[frame.columns.duplicated()]
    if len(duplicate):
        raise DataError(f"{path}, line 1: column {duplicate[0]!r} occurs twice; rename one.")
    for column in required:
        if column not in frame:
            raise DataError(f"{path}, line 1: no column {column!r}. {nearest(column, frame.columns)}")
    if frame.empty:
        raise DataError(f"{path}: no line below the header.")
    return frame


def _is_nothing(name: str, column: pd.Series) -> bool:
    """Whether a column is what a separator at the end of each line, or pandas' index, leaves in a file."""
    if name not in ("", "Unnamed: 0"):
        return False
    numbers = pd.to_numeric(column, errors="coerce")
    return bool((column == "").all() or (numbers.diff().iloc[1:] > 0).all() and (numbers % 1 == 0).all())


def read_blocks(path: str | Path, separator: str, n_rows: int = 100_000) -> Iterator[Block]:
    """Yield the header and then blocks of a text table with quotes as in ``read_table``.

    Args:
        n_rows: of a block with quotes.

    Raises:
        DataError: as ``read_table``.
    """
    last = 0  # of the lines before any quote
    try:
        for plain in read_lines(path, separator, quotes_allowed=False):
            yield plain
            last = plain.number + len(plain) - 1 if isinstance(plain, Lines) else 1
        return
    except _QuotesFound:
        pass
    for block in _reader_of_quotes(path, separator, n_rows)():
        if isinstance(block, tuple):
            n_known = bisect_right(block[0], last)
            yield block[0][n_known:], block[1][n_known:]
        elif (block.number if isinstance(block, Lines) else 1) > last:
            yield block


def _reader_of_quotes(path: str | Path, separator: str, n_rows: int) -> Callable[[], Iterator[Block]]:
    """In a TSV quotes are tried as those of a csv writer, then as text, then as any csv quotes."""
    quoted = partial(_quoted_rows, path, separator, n_rows=n_rows)
    if separator == "\t":
        readers: list[Callable[[], Iterator[Block]]] = [
            partial(quoted, as_written=True),
            partial(read_lines, path, separator),
        ]
        for reader in readers:
            with suppress(DataError):
                deque(reader(), maxlen=0)
                return reader
    return quoted


def _gather(path: str | Path, separator: str) -> pd.DataFrame:
    """The text table."""
    blocks, header = [], list[str]()
    for item in read_blocks(path, separator):
        if isinstance(item, list):
            header = item
        elif isinstance(item, Lines):
            blocks.append(_parse(item, separator, header))
        else:
            blocks.append(pd.DataFrame(item[1], item[0], header, dtype=str))
    return pd.concat(blocks) if blocks else pd.DataFrame(columns=header)


def _parse(lines: Lines, separator: str, header: list[str]) -> pd.DataFrame:
    frame = pd.read_csv(
        io.BytesIO(lines.block), sep=separator, header=None, names=range(len(header)), dtype=str, na_filter=False,
        quoting=csv.QUOTE_NONE, skip_blank_lines=False, encoding="utf-8", lineterminator="\n",
    )  # fmt: skip
    frame.columns, frame.index = header, range(lines.number, lines.number + len(lines))
    return frame


def _quoted_rows(path: str | Path, separator: str, as_written: bool = False, n_rows: int = 100_000) -> Iterator[Block]:
    """The header and then (lines, rows), by the csv module.

    A quote that belongs to the text may swallow lines, up to the next one. Where the line in which a cell ends is a row
    by itself, and no cell of the file ends in a line that is none, that is what has happened.

    Args:
        as_written: refuse a file whose quotes no csv writer writes, such as those around a word here and there.
    """
    taken: list[str] = []
    reader = csv.reader(_taking(_text_lines(path), taken), delimiter=separator, strict=True)
    header, styles, suspect, sure = None, None, None, False
    numbers: list[int] = []
    rows: list[list[str]] = []
    try:
        for row in reader:
            number = reader.line_num - len(taken) + 1
            if header is not None and len(row) != len(header):
                raise DataError(
                    f"{path}, line {number}: {len(row)} cells, expected {len(header)} as in the first line."
                )
            if as_written:
                found = _styles(row, "".join(taken), separator)
                styles = found if styles is None else styles & found
                if not styles:
                    raise DataError(f"{path}, line {number}: quotes that no csv writer writes.")
            if header is None:
                header = row
                _check_separator(path, header, separator)
                yield header
            else:
                if len(taken) > 1:
                    swallows = _is_row(taken[-1], separator, len(header))
                    suspect, sure = suspect or (swallows and (number, reader.line_num)), sure or not swallows
                numbers.append(number)
                rows.append(row)
            taken.clear()
            if len(rows) == n_rows:
                yield numbers, rows
                numbers, rows = [], []
    except csv.Error as error:
        number = reader.line_num - len(taken) + 1
        raise DataError(f"{path}, line {number}: {error}; check the quotes.") from None
    if suspect:
        swallowed = f"{path}, line {suspect[0]}: a cell in quotes goes on to line {suspect[1]}"
        if not sure:
            raise DataError(f"{swallowed}, which is a row by itself; double the quotes that belong to a text.")
        warnings.warn(f"{swallowed}; check its quotes if these are rows of their own.", stacklevel=2)
    if rows:
        yield numbers, rows


def _taking(lines: Iterable[str], taken: list[str]) -> Iterator[str]:
    for line in lines:
        taken.append(line)
        yield line


def _is_row(line: str, separator: str, n_cells: int) -> bool:
    try:
        return len(next(csv.reader([line], delimiter=separator, strict=True))) == n_cells
    except csv.Error:
        return line.count(separator) == n_cells - 1


def _styles(row: list[str], text: str, separator: str) -> set[str]:
    """The ways to quote in which a csv writer could have written the row: what needs it, all, or all but numbers."""
    count, quoted = text.count('"'), [2 + 2 * cell.count('"') for cell in row]
    styles = {"all"} if count == sum(quoted) else set()
    for name, special in (("needed", f'"{separator}\r\n'), ("commas", f'"{separator}\r\n,')):
        if count == sum(n for n, cell in zip(quoted, row) if set(cell) & set(special)):
            styles.add(name)
    texts = [(n, is_marker(cell)) for n, cell in zip(quoted, row) if not is_number(cell)]
    if sum(n for n, missing in texts if not missing) <= count <= sum(n for n, _ in texts):
        styles.add("texts")
    return styles


def is_number(cell: str) -> bool:
    """Whether a text is a number, NaN and infinity among them."""
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _text_lines(path: str | Path) -> Iterator[str]:
    for _, block in line_blocks(path):
        yield from io.StringIO(block.decode(), newline="\n")


def _read_typed(path: str | Path, suffix: str) -> pd.DataFrame:
    frame = pd.concat(TYPED[suffix](path)).rename(columns=str)
    return frame.set_axis(range(1, len(frame) + 1))


def _texts(path: str | Path, frame: pd.DataFrame) -> pd.DataFrame:
    for column in frame.columns[~frame.columns.duplicated()]:
        if frame[column].map(lambda cell: is_list(cell) or isinstance(cell, dict)).any():
            raise DataError(
                f"{path}: column {column!r} holds lists or objects; write each as one text with separators, or vectors "
                "as a file of their own."
            )
        frame[column] = frame[column].astype(str).mask(frame[column].isna(), "")
    return frame


def parquet_blocks(path: str | Path, n_rows: int = 4096) -> Iterator[pd.DataFrame]:
    """Data frames of up to ``n_rows`` rows; an index with a name is the first column.

    Raises:
        DataError: pyarrow is absent, or the file is no Parquet.
    """
    try:
        import pyarrow
        import pyarrow.parquet as parquet
    except ImportError:
        raise DataError(f"{path}: Parquet needs pyarrow; pip install 'pyarrow<=20', or use csv, tsv or npz.") from None
    try:
        with parquet.ParquetFile(path) as file:
            index, start = named_range(file.schema_arrow.pandas_metadata, file.metadata.num_rows), 0
            for batch in file.iter_batches(n_rows):
                frame = batch.to_pandas(integer_object_nulls=True)
                if index is not None:
                    frame.index = index[start : start + len(frame)]
                start += len(frame)
                yield with_index(frame)
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{path}: not a readable Parquet file ({str(error):.200}).") from None


def json_objects(path: str | Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (number of the line, object) of a file of JSON lines, or (place, object) of one JSON list of objects.

    Raises:
        DataError: see ``line_blocks``; a line or an entry of the list is no object.
    """
    blocks = line_blocks(path)
    for number, block in blocks:
        if number == 1 and block.lstrip().startswith(b"["):
            yield from _entries(path, block + b"".join(later for _, later in blocks))
            return
        for line, text in enumerate(block.split(b"\n")[:-1], start=number):
            try:
                found = json.loads(text)
            except (ValueError, RecursionError) as error:
                raise DataError(f"{path}, line {line}: no JSON object ({error}); expected one on each line.") from None
            if not isinstance(found, dict):
                raise DataError(f"{path}, line {line}: {type(found).__name__}, expected an object on each line.")
            yield line, found


def _entries(path: str | Path, text: bytes) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        entries = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"{path}: no JSON list ({error}); expected one of objects, or an object on each line."
        ) from None
    for place, found in enumerate(entries, start=1):
        if not isinstance(found, dict):
            raise DataError(f"{path}, entry {place}: {type(found).__name__}, expected a list of objects.")
        yield place, found


def json_blocks(path: str | Path, n_rows: int = 4096) -> Iterator[pd.DataFrame]:
    """Data frames of up to ``n_rows`` lines; the columns are in the order in which they come.

    Raises:
        DataError: as ``json_objects``.
    """
    names: dict[str, None] = {}
    rows = (row for _, row in json_objects(path))
    while block := list(islice(rows, n_rows)):
        names.update(dict.fromkeys(name for row in block for name in row))
        yield pd.DataFrame(block, columns=list(names), dtype=object)


TYPED: dict[str, Callable[..., Iterator[pd.DataFrame]]] = {
    ".parquet": parquet_blocks,
    ".jsonl": json_blocks,
    ".json": json_blocks,
}
"""What reads tables whose cells are numbers, texts and lists."""


def finite_numbers(path: str | Path, frame: pd.DataFrame, column: str) -> pd.Series:
    """A column of numbers.

    Args:
        frame: of texts, with the numbers of its lines as the index.

    Raises:
        DataError: a cell is no number that float32 holds.
    """
    numbers = pd.to_numeric(frame[column], errors="coerce")
    wrong = ~(numbers.abs() <= LARGEST)
    if wrong.any():
        line = wrong.idxmax()
        raise DataError(f"{path}, line {line}: {frame[column][line]!r} in {column} is not a finite number.")
    return numbers


def refuse_duplicates(path: str | Path, ids: pd.Series) -> None:
    """
    Args:
        ids: with the numbers of their lines as the index.

    Raises:
        DataError: an id is empty or occurs twice.
    """
    for wrong, what in ((ids == "", "the id is empty"), (ids.duplicated(), "occurs twice; keep one row")):
        if wrong.any():
            line = wrong.idxmax()
            text = what if ids[line] == "" else f"id {ids[line]!r} {what}"
            raise DataError(f"{path}, line {line}: {text}.")


MISSING = ("NULL", "NaN", "None", "NA", "N/A", "#N/A", "<NA>", "NaT", "\\N", "-", "\u2013", "\u2014")
"""Texts that tables write for a value that is not there, in any case, beside the empty cell."""
_FOLDED = frozenset(text.casefold() for text in MISSING)


def is_empty(cell: object) -> bool:
    """Whether a cell of a table is empty."""
    return cell is None or (np.isscalar(cell) and (cell == "" or pd.isna(cell)))


def is_marker(text: str) -> bool:
    """Whether a text says that there is no value.

    >>> [is_marker(text) for text in ("", " ", "null", "N/A", " - ", "Nullify")]
    [True, True, True, True, True, False]
    """
    text = text.strip()
    return not text or text.casefold() in _FOLDED


def join_tags(tags: Iterable[str]) -> str:
    """Tags as an atomic file has them, spaces between them and none within.

    >>> join_tags(["Sci Fi", " ", "Drama "])
    'Sci_Fi Drama'
    """
    return " ".join("_".join(tag.split()) for tag in tags if tag.strip())


def clean(column: pd.Series) -> pd.Series:
    """Texts on one line."""
    return column.str.replace(r"\s+", " ", regex=True).str.strip()
