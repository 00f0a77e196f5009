"""CSV and TSV read strictly and in blocks: each line with as many cells as the header, quotes as they are meant."""

import csv
import io
import warnings
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np

from recbole_sibrar.data.cells import is_marker, is_number
from recbole_sibrar.data.lines import NEWLINE, line_blocks
from recbole_sibrar.errors import DataError, nearest

CARRIAGE_RETURN = "\udc0d"  # in place of one inside a line, which the csv module refuses; no UTF-8 text has it


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
        for cells in reader:
            text = "".join(taken)
            row = [cell.replace(CARRIAGE_RETURN, " ") for cell in cells] if CARRIAGE_RETURN in text else cells
            number = reader.line_num - len(taken) + 1
            if header is not None and len(row) != len(header):
                raise DataError(
                    f"{path}, line {number}: {len(row)} cells, expected {len(header)} as in the first line."
                )
            if as_written:
                found = _styles(cells, text, separator)
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
    special = {'"', separator, CARRIAGE_RETURN, "\n"}
    for name, needs_quotes in (("needed", special), ("commas", special | {","})):
        if count == sum(n for n, cell in zip(quoted, row) if needs_quotes & set(cell)):
            styles.add(name)
    texts = [(n, is_marker(cell)) for n, cell in zip(quoted, row) if not is_number(cell)]
    if sum(n for n, missing in texts if not missing) <= count <= sum(n for n, _ in texts):
        styles.add("texts")
    return styles


def _text_lines(path: str | Path) -> Iterator[str]:
    for _, block in line_blocks(path, b"\r"):
        yield from io.StringIO(block.decode().replace("\r", CARRIAGE_RETURN), newline="\n")
