"""Precomputed embeddings with ids, from npz, npy, tsv, csv, JSON lines or Parquet, copied to disk block by block."""

import re
import tempfile
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import compress
from pathlib import Path
from typing import IO, Any, TypeVar

import numpy as np
import pandas as pd
from scipy.sparse import issparse

from recbole_sibrar import hub
from recbole_sibrar.data.cells import is_number
from recbole_sibrar.data.delimited import Lines, read_blocks
from recbole_sibrar.data.frames import Frame, is_file, is_list, of_numpy, plain_frame
from recbole_sibrar.data.lines import below, check_file, suffix_of
from recbole_sibrar.data.lists import list_in
from recbole_sibrar.data.tables import SEPARATORS, separator_of
from recbole_sibrar.data.typed import TYPED
from recbole_sibrar.data.vectors import LARGEST, check_columns, check_repeats, check_scale, check_size
from recbole_sibrar.errors import DataError, OptionError

Embedded = Path | str | Mapping[Any, object] | tuple[Iterable[object], object] | Frame | Sequence[Any] | np.ndarray
"""Vectors as a person has them: see ``embeddings_of``."""
Source = TypeVar("Source", bound=Embedded)

FORMATS = "npz (ids, values), npy with <name>.ids.txt beside it, tsv, csv, jsonl (also .gz, .bz2) or parquet"
ONE_LENGTH = "vectors of another length are another modality, in a file of their own"
ROW_NUMBERS = ("", "Unnamed: 0", "index", "level_0")
ID_NAME = re.compile(r"(^|[\W_])id$|[a-z]Id$|ID$", re.ASCII)
BLOCK_NUMBERS = 1 << 22
Blocks = Iterator[tuple[np.ndarray, ...]]  # ids, values, and the numbers of their lines in a table
Reader = Callable[[Path, pd.Index | None], Blocks]


@dataclass(frozen=True)
class Vectors:
    """A vector for each of some entities.

    Attributes:
        ids: (N,) str, distinct.
        rows: (N,) the row of each in ``values``.
        values: (R, D) float16 or float32, usually memory-mapped.
    """

    ids: np.ndarray
    rows: np.ndarray
    values: np.ndarray

    @classmethod
    def of(cls, ids: Sequence[str] | np.ndarray, values: np.ndarray) -> "Vectors":
        """All rows of an array."""
        return cls(np.asarray(ids, dtype=str), np.arange(len(ids)), values)

    @property
    def width(self) -> int:
        return self.values.shape[1]

    def select(self, wanted: Iterable[str]) -> "Vectors":
        """Those of the ids ``wanted``."""
        kept = pd.Index(self.ids).isin(wanted)
        return Vectors(self.ids[kept], self.rows[kept], self.values)

    def blocks(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield (ids, values) of up to 16 MB."""
        size = max(1, BLOCK_NUMBERS // self.width)
        for start in range(0, len(self.ids), size):
            yield self.ids[start : start + size], self.values[self.rows[start : start + size]]


class Spool:
    """Collects blocks of vectors in an unnamed temporary file, which vanishes with the last reference to it.

    Args:
        source: for messages.
        wanted: ids to keep; all of them by default.
        half: round to float16. Otherwise float16 stays float16 and all else becomes float32.
        folder: of the temporary file.
    """

    def __init__(
        self, source: object, wanted: Iterable[str] | None = None, half: bool = False, folder: str | Path | None = None
    ):
        self.source, self.half = source, half
        self.wanted = None if wanted is None else pd.Index(wanted)
        self.file = tempfile.TemporaryFile(dir=folder)
        self.ids: list[np.ndarray] = []
        self.width: int | None = None
        self.dtype: np.dtype | None = None
        self.sizes: list[np.ndarray] = []

    def add(
        self, ids: Sequence[str] | np.ndarray, values: np.ndarray, lines: Sequence[int] | np.ndarray | None = None
    ) -> None:
        """
        Args:
            ids: (B,) texts.
            values: (B, D) numbers.
            lines: (B,) the rows' lines in a text file.

        Raises:
            DataError: another width than before, NaN, infinity, a number too large to count or for float16, an id
                that is none.
        """
        ids = np.char.strip(np.asarray(ids).astype(str))
        if values.ndim != 2 or not values.shape[1] or len(values) != len(ids):
            raise DataError(f"{self.source}: {len(ids)} ids for values of shape {values.shape}; expected (ids, width).")
        if self.width is None:
            self.width = values.shape[1]
            self.dtype = np.dtype("float16" if self.half or values.dtype == np.float16 else "float32")
        if values.shape[1] != self.width:
            raise DataError(
                f"{self.source}: {values.shape[1]} numbers for id {str(ids[0])!r}, expected {self.width}; {ONE_LENGTH}."
            )
        is_kept = ~np.isnan(values).all(axis=1)  # a row of NaN says that there is no vector
        if self.wanted is not None:
            is_kept &= self.wanted.get_indexer_for(ids) >= 0
        kept = np.flatnonzero(is_kept)
        chosen = values[kept]
        sizes = np.abs(chosen).max(axis=1)
        wrong = ~(sizes <= (np.finfo(np.float16).max if self.half else LARGEST))
        if wrong.any():
            self._refuse(ids, values, kept[wrong.argmax()], lines)
        self.sizes.append(sizes)
        self._check_ids(ids[kept], kept if lines is None else np.asarray(lines)[kept])
        self.ids.append(ids[kept])
        try:
            self.file.write(np.ascontiguousarray(chosen, self.dtype).data)
        except OSError as error:
            raise DataError(f"{self.source}: no room for a temporary copy ({error.strerror}).") from None

    def _refuse(
        self, ids: Sequence[str] | np.ndarray, values: np.ndarray, row: int, lines: Sequence[int] | np.ndarray | None
    ) -> None:
        place = f"{self.source}" if lines is None else f"{self.source}, line {lines[row]}"
        if self.half and np.isfinite(values[row]).all():
            raise DataError(f"{place}: a number of id {str(ids[row])!r} is too large for float16; leave out --float16.")
        check_size(f"{place}: the vector of id {str(ids[row])!r}", values[row])

    def _check_ids(self, ids: np.ndarray, numbers: np.ndarray) -> None:
        for number, token in zip(numbers.tolist(), ids.tolist()):
            if not token or set(token) & set("\t\r\n"):
                raise DataError(
                    f"{self.source}, row {number}: the id {token!r} is empty, or holds a tab or a line break."
                )

    def finish(self) -> Vectors:
        """
        Raises:
            DataError: no vector at all, an id that occurs twice, or numbers too small to count.
        """
        if self.width is None or self.dtype is None:
            raise DataError(f"{self.source}: no vector in the file; expected {FORMATS}.")
        ids = np.concatenate(self.ids)
        duplicates = pd.Index(ids).duplicated()
        if duplicates.any():
            raise DataError(f"{self.source}: id {str(ids[duplicates.argmax()])!r} occurs twice; keep one row.")
        check_scale(self.source, ids, np.concatenate(self.sizes))
        if not len(ids):
            return Vectors.of(ids, np.zeros((0, self.width), self.dtype))
        self.file.flush()
        values = np.memmap(self.file, self.dtype, "r", shape=(len(ids), self.width))
        check_columns(self.source, values)
        check_repeats(self.source, ids, values)
        return Vectors.of(ids, values)


def located(vectors: Mapping[str, Source] | None, folder: str | Path = ".") -> dict[str, Source | Path]:
    """{modality: source} with files by where they lie: those on the Hub are fetched, relative paths may be below
    ``folder``; what is in memory is as it was.

    Raises:
        OptionError, DataError: as ``hub.local``.
    """
    return {
        modality: below(hub.local(source, "dataset"), Path(folder)) if is_file(source) else source
        for modality, source in (vectors or {}).items()
    }


def embeddings_of(
    source: Embedded,
    name: str,
    rows: Sequence[object] | pd.Series | None = None,
    half: bool = False,
    folder: str | Path | None = None,
) -> Vectors:
    """Vectors that are in memory, or in a file.

    Args:
        source: a file; {id: vector}; (ids, array); an array with a row for each of ``rows``; a data frame with the id
            in its first column, or in pandas' index, where that has a name or is of texts; a column of pandas with such
            an index. An array may be a sparse matrix of scipy. None, and a row of NaN or of masked numbers, say that
            there is no vector.
        name: of the modality, for messages.
        rows: ids of the table that the array stands beside.
        half, folder: see ``Spool``.

    Raises:
        OptionError: it is none of these. DataError: as ``read_embeddings``.
    """
    ids: Sequence[object]
    if is_file(source):
        return read_embeddings(source, None, half, folder)
    source = _with_ids(name, source)
    if isinstance(source, Mapping):
        pairs = [(token, vector) for token, vector in source.items() if vector is not None]
        ids = [token for token, _ in pairs]
        values = _matrix(name, [vector for _, vector in pairs], ids)
    elif isinstance(source, tuple) and len(source) == 2:
        ids = list(source[0])
        values = _matrix(name, source[1], ids)
    elif hasattr(source, "columns"):
        frame = plain_frame(source, name)
        _check_first(f"the vectors {name!r}", frame.columns)
        token, *numbers = frame.columns
        if len(numbers) == 1:
            frame = frame[frame[numbers[0]].map(is_list)]
        cells = frame[numbers[0]].tolist() if len(numbers) == 1 else frame[numbers]
        ids = frame[token].tolist()
        values = _matrix(name, cells, ids)
    else:
        ids, values = list[object]() if rows is None else list(rows), _matrix(name, source)
        if rows is None or len(ids) != values.shape[0]:
            beside = "there is no table" if rows is None else f"its table has {len(ids):,} rows"
            raise OptionError(
                f"The vectors {name!r} are an array of {values.shape[0]:,} rows, but {beside}; give {{id: vector}} or "
                "(ids, array)."
            )
    if pd.isna(pd.Series(ids, dtype=object)).any():
        raise DataError(f"The vectors {name!r} have a row without an id; name it or leave it out.")
    spool = Spool(f"the vectors {name!r}", None, half, folder)
    for start in range(0, values.shape[0], size := max(1, BLOCK_NUMBERS // max(1, values.shape[1]))):
        block = values[start : start + size]
        spool.add([str(token) for token in ids[start : start + size]], block.toarray() if issparse(block) else block)
    return spool.finish()


def _with_ids(name: str, source: Any) -> Any:
    """What is of pandas as a frame whose index has a name, if it holds ids.

    Raises:
        OptionError: a column whose index does not.
    """
    if not isinstance(source, (pd.Series, pd.DataFrame)):
        return source
    if source.index.name is None and source.index.nlevels == 1 and not pd.api.types.is_numeric_dtype(source.index):
        source = source.rename_axis("index")
    if isinstance(source, pd.DataFrame):
        return source
    if source.index.name is None:
        raise OptionError(
            f"The vectors {name!r} are a column whose index, such as {source.index[:1].tolist()}, has no name to say "
            "that it holds the ids; name it, or give {id: vector}."
        )
    return source.to_frame(name)


def _matrix(name: str, rows: Any, ids: Sequence[object] = ()) -> Any:
    """(R, D) numbers, as an array or, if they are, a sparse matrix; ``ids`` of the rows are for messages."""
    if issparse(rows) and rows.ndim == 2 and rows.dtype.kind in "biuf":
        return rows.tocsr()
    matrix: np.ndarray | None = None
    with suppress(TypeError, ValueError):
        rows = [of_numpy(row) for row in rows] if isinstance(rows, (list, tuple)) else of_numpy(rows)
        found = np.asarray(rows)
        if not np.iscomplexobj(found):
            matrix = found if found.dtype in (np.float16, np.float32) else np.asarray(rows, dtype=np.float64)
    if matrix is None or matrix.ndim != 2:
        wrong = f"The vectors {name!r} are no table of numbers with a row for each id, all of one length"
        shape = f"; their shape is {matrix.shape}" if matrix is not None else ""
        raise OptionError(f"{wrong}{shape}{_other_length(rows, ids)}.")
    return matrix


def _other_length(rows: Any, ids: Sequence[object]) -> str:
    """Words on the first of several rows that has another length than most."""
    lengths = [len(row) if is_list(row) else 0 for row in rows] if isinstance(rows, (list, tuple)) else []
    if len(lengths) != len(ids) or len(set(lengths)) < 2:
        return ""
    (usual, _), *_ = Counter(lengths).most_common(1)
    row = next(row for row, length in enumerate(lengths) if length != usual)
    return f": that of {str(ids[row])!r} holds {lengths[row]}, most hold {usual}"


def read_embeddings(
    path: str | Path, wanted: Iterable[str] | None = None, half: bool = False, folder: str | Path | None = None
) -> Vectors:
    """The vectors of a file; tables have a header and the id in the first column. A row of empty cells is no vector.

    Args:
        path: the file.
        wanted, half, folder: see ``Spool``; only the wanted rows are parsed and kept.

    Raises:
        DataError: no such file, an unknown format, ids and values that do not match, a duplicate id, NaN or infinity.
    """
    path = Path(path)
    check_file(path)
    reader = _READERS.get(suffix_of(path))
    if reader is None:
        raise DataError(f"{path}: unknown format; expected {FORMATS}.")
    spool = Spool(path, wanted, half, folder)
    try:
        for block in reader(path, spool.wanted):
            spool.add(*block)
    except (OSError, ValueError, TypeError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} cannot be read as {FORMATS}: {error}") from None
    return spool.finish()


def _npz(path: Path, wanted: pd.Index | None) -> Blocks:
    with zipfile.ZipFile(path) as archive:
        members = {name.removesuffix(".npy") for name in archive.namelist()}
        for name in ("ids", "values"):
            if name not in members:
                raise KeyError(f"no array {name!r}, only {', '.join(sorted(members))}")
        with archive.open("ids.npy") as file:
            try:
                ids = np.lib.format.read_array(file, allow_pickle=False)
            except ValueError as error:
                raise ValueError(f"ids: {error}; save ids.astype(str)") from None
        with archive.open("values.npy") as file:
            yield from _array_blocks(ids, *_array_header(file), file)


def _npy(path: Path, wanted: pd.Index | None) -> Blocks:
    names = path.with_name(f"{path.stem}.ids.txt")
    if not names.is_file():
        raise DataError(f"{path}: needs {names.name} beside it, one id on each line.")
    ids = names.read_text(encoding="utf-8-sig").removesuffix("\n").split("\n")
    with open(path, "rb") as file:
        yield from _array_blocks(ids, *_array_header(file), file)


def _array_header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype]:
    version = np.lib.format.read_magic(file)
    read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}.get(version)
    if read is None:
        raise ValueError(f"npy version {version} is not known")
    shape, fortran, dtype = read(file)
    if fortran and len(shape) > 1:
        raise ValueError("the array is stored by columns; save np.ascontiguousarray(values)")
    if dtype.kind not in "fiu":
        raise ValueError(f"the values are {dtype}, expected floats")
    return shape, dtype


def _array_blocks(ids: Sequence[str] | np.ndarray, shape: tuple[int, ...], dtype: np.dtype, file: IO[bytes]) -> Blocks:
    n_ids = np.shape(ids)
    if len(shape) != 2 or n_ids != shape[:1]:
        raise ValueError(f"ids of shape {n_ids} and values of shape {shape}; expected (ids,) and (ids, dimensions)")
    size = max(1, BLOCK_NUMBERS // max(shape[1], 1))
    for start in range(0, shape[0], size):
        n_rows = min(size, shape[0] - start)
        data = file.read(n_rows * shape[1] * dtype.itemsize)
        if len(data) < n_rows * shape[1] * dtype.itemsize:
            raise ValueError(f"cut off between row {start} and {start + n_rows}")
        yield np.asarray(ids[start : start + n_rows]), np.frombuffer(data, dtype).reshape(n_rows, shape[1])


def _table(path: Path, wanted: pd.Index | None) -> Blocks:
    lines: Sequence[int]
    width = 0
    for block in read_blocks(path, separator_of(path), n_rows=1024):
        if isinstance(block, list):
            width = len(block) - 1
            _check_first(path, block)
            if not _is_header(block):
                raise DataError(
                    f"{path}, line 1: {', '.join(block[:4])} where a header is expected; put one with words above "
                    "the numbers."
                )
            continue
        if isinstance(block, Lines):
            lines, tokens = range(block.number, block.number + len(block)), block.texts(0)
        else:
            lines, tokens = block[0], [row[0] for row in block[1]]
        ids = np.array([token.strip() for token in tokens])
        kept = np.ones(len(ids), bool) if wanted is None else wanted.get_indexer_for(ids) >= 0
        if kept.any():
            numbers = np.asarray(lines)[kept]
            rows = block.rows(kept) if isinstance(block, Lines) else compress(block[1], kept)
            cells = [_numbers_in(row[1:]) for row in rows]
            if width > 1 or any(cells):
                yield ids[kept], _parse_numbers(path, cells, numbers, width), numbers


def _check_first(source: object, columns: Iterable[object]) -> None:
    """
    Raises:
        DataError: pandas' numbers of rows stand where the ids are expected, before a column of ids.
    """
    first, *others = (str(column).strip() for column in columns)
    ids = [column for column in others if ID_NAME.search(column)]
    if first in ROW_NUMBERS and ids:
        raise DataError(
            f"{source}, line 1: the first column, which holds the ids, is {first!r}, and {ids[0]!r} comes later. Put "
            f"{ids[0]!r} first; to_csv with index=False writes no numbers of rows."
        )


def _is_header(cells: Sequence[str]) -> bool:
    """Whether a table's first line names its columns: in words, or, as pandas does, by their places.

    >>> [_is_header(line.split(",")) for line in ("sku,x,y", "id,0,1", "sku,0,1,2", "7,0,1", "7,5,1", "7,,")]
    [True, True, True, False, False, False]
    """
    token, *names = (cell.strip() for cell in cells)
    if not names or any(name and not is_number(name) for name in names):
        return True
    is_counted = any(names == [str(first + place) for place in range(len(names))] for first in (0, 1))
    return is_counted and (len(names) > 2 or not token or token.casefold().endswith("id"))


def _parse_numbers(path: Path, rows: list[list[Any] | None], lines: np.ndarray, width: int) -> np.ndarray:
    width = next((len(numbers) for numbers in rows if numbers is not None), width)
    values = np.full((len(lines), width), np.nan, dtype=np.float32)
    for index, numbers in enumerate(rows):
        if numbers is None:
            continue
        if len(numbers) != width:
            raise DataError(f"{path}, line {lines[index]}: {len(numbers)} numbers, expected {width}; {ONE_LENGTH}.")
        try:
            with np.errstate(over="ignore"):
                values[index] = np.array(numbers, dtype=np.float32)
        except (TypeError, ValueError) as error:
            raise DataError(f"{path}, line {lines[index]}: {error}; expected numbers.") from None
    return values


def _numbers_in(cells: list[str]) -> list[Any] | None:
    """The cells, or the numbers of the list in the only cell; None if there are none."""
    if not any(map(str.strip, cells)):
        return None
    written = list_in(cells[0]) if len(cells) == 1 else None
    return cells if written is None else written or None


def _typed(path: Path, wanted: pd.Index | None) -> Blocks:
    for frame in TYPED[suffix_of(path)](path, n_rows=1024):
        _check_first(path, frame.columns)
        if frame.iloc[:, 0].isna().any():
            raise ValueError("an id is missing")
        if frame.iloc[:, 0].map(is_list).any():
            raise ValueError(
                f"{frame.columns[0]}, which comes first and so holds the ids, is a list; put the ids first"
            )
        ids, rest = frame.iloc[:, 0].astype(str).to_numpy(), frame.iloc[:, 1:]
        cells = rest.iloc[:, 0].dropna() if rest.shape[1] == 1 else None
        if cells is not None and cells.map(is_list).all():
            if len(cells):
                ids = ids[rest.iloc[:, 0].notna()]
                yield ids, _stack(path, ids, cells)
        else:
            yield ids, _numbers_of(path, ids, rest)


def _numbers_of(path: Path, ids: np.ndarray, cells: pd.DataFrame) -> np.ndarray:
    """
    Raises:
        DataError: a cell is no number, such as one of a column that stands beside that of the vectors.
    """
    try:
        return cells.to_numpy(dtype=np.float32, na_value=np.nan)
    except (TypeError, ValueError):
        found = ((column, row, cell) for column in cells for row, cell in enumerate(cells[column]))
        strange = [at for at in found if is_list(at[2]) or isinstance(at[2], str) and not is_number(at[2])]
        if not strange:
            raise
    column, row, cell = min(strange, key=lambda at: is_list(at[2]))  # a text beside the vectors, not these
    raise DataError(
        f"{path}: {column} of id {str(ids[row])!r} is {cell!r:.100}; expected nothing but an id and numbers, or one "
        "list of them. Leave the column out."
    )


def _stack(path: Path, ids: np.ndarray, cells: pd.Series) -> np.ndarray:
    widths = cells.map(len)
    wrong = (widths != widths.iloc[0]).to_numpy()
    if wrong.any():
        row = wrong.argmax()
        raise DataError(
            f"{path}: {widths.iloc[row]} numbers for id {str(ids[row])!r}, expected {widths.iloc[0]} as before; "
            f"{ONE_LENGTH}."
        )
    rows = np.stack(cells.to_numpy())
    return rows if rows.dtype.kind in "fiu" else rows.astype(np.float64)  # integers and gaps are objects


_READERS = {
    ".npz": _npz, ".npy": _npy, **dict.fromkeys(TYPED, _typed),
    **dict.fromkeys(SEPARATORS, _table),
}  # fmt: skip
