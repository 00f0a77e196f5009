"""Vector modalities: parsed from text once, then read from a binary copy beside the atomic file."""

import fcntl
import json
import os
import warnings
import weakref
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from recbole_sibrar.data.atomic import check_cells, read_header
from recbole_sibrar.errors import DataError, WriteError
from recbole_sibrar.files import atomic_directory

CHUNK_ROWS = 2048
BLOCK_ROWS = 256
STORAGES = ("memory", "disk")


SMALLEST, LARGEST = 1e-6, 1e12
"""The largest number of a modality is between them in size: lengths of others are lost in single precision."""


FAR, MOST = 100, 0.9


def check_scale(source: object, ids: np.ndarray, sizes: np.ndarray) -> None:
    """Warn of vectors ``FAR`` above the others that make up ``MOST`` of what all are together: they hide the others.

    Args:
        ids: (R,) of a modality's vectors.
        sizes: (R,) the largest number of each, without its sign.

    Raises:
        DataError: the numbers are so small that they would count for nothing.
    """
    sizes = sizes.astype(np.float64)
    largest = sizes.max(initial=0)
    if 0 < largest < SMALLEST:
        raise DataError(
            f"{source}: no number of a vector is larger than {largest:.1e}, which counts for nothing; multiply them "
            f"by {1 / largest:.0e}."
        )
    usual = np.median(sizes[sizes > 0]) if largest else 0
    far, squares = sizes > FAR * usual, sizes**2
    if squares[far].sum() > MOST * squares.sum():
        warnings.warn(
            f"{source}: numbers up to {largest:.1e} in {far.sum():,} of {len(ids):,} vectors, such as that of "
            f"{str(ids[sizes.argmax()])!r}, are over {FAR} times as large as in most, which count for nothing beside "
            "them; leave those out that stand for a missing one, or scale them.",
            stacklevel=3,
        )


ALMOST_ALL = 0.99
AT_LEAST = 8
LOOKED_AT = 4096


def check_columns(source: object, values: np.ndarray) -> None:
    """Warn where one of the numbers, ``AT_LEAST`` so many, of (R, D) vectors has ``ALMOST_ALL`` of their variance."""
    if values.shape[1] < AT_LEAST or not len(values):
        return
    variances = values[:: max(1, len(values) // LOOKED_AT)].astype(np.float64).var(axis=0)
    place, total = variances.argmax(), variances.sum()
    if ALMOST_ALL * total < variances[place] < total:
        warnings.warn(
            f"{source}: of the {len(variances):,} numbers of a vector, number {place + 1} has "
            f"{variances[place] / total:.2%} of the variance, so that the others count for nothing beside it; scale "
            "them alike, or make it a modality of its own.",
            stacklevel=3,
        )


OFTEN, DIFFERENT = 0.05, 0.9


def check_repeats(source: object, ids: np.ndarray, values: np.ndarray) -> None:
    """Warn of one vector that ``OFTEN`` of the (R, D) have while of the others ``DIFFERENT`` are so: it may stand for
    none, such as zeros, or that of a picture that says that there is none."""
    step = max(1, len(values) // LOOKED_AT)
    rows = [row.tobytes() for row in values[::step]]
    vector, n = Counter(rows).most_common(1)[0] if rows else (b"", 0)
    if n < max(AT_LEAST, OFTEN * len(rows)) or len(set(rows)) - 1 < DIFFERENT * (len(rows) - n):
        return
    first = str(ids[rows.index(vector) * step])
    warnings.warn(
        f"{source}: {n / len(rows):.0%} of the vectors are one and the same, that of {first!r}; where it stands for a "
        "missing one, leave it out.",
        stacklevel=3,
    )


def check_size(what: str, vector: np.ndarray) -> None:
    """
    Args:
        what: whose vector it is, and where it stands.

    Raises:
        DataError: it holds what is no number, or one too large to count.
    """
    if not (np.abs(vector) <= LARGEST).all():
        raise DataError(
            f"{what} holds NaN, infinity or a number above {LARGEST:.0e}; leave it out where there is no vector, or "
            "scale all vectors."
        )


class DiskVectors:
    """The vectors of N entities, left in the file; indexed as the (N, D) tensor that they stand for.

    Every run of consecutive rows is read with a call of its own and not through the memory map: the system maps whole
    stretches of a file around what is touched, so that 200 of 20,000 rows of 16 KiB make 140 MiB resident.

    Args:
        values: (R, D) float16 or float32, memory-mapped from a file.
        rows: (N,) int64, the row of each entity; any for one without a vector, which nobody asks for.
    """

    def __init__(self, values: np.memmap, rows: Tensor):
        self.rows = rows
        self._offset, self._shape, self._dtype = values.offset, values.shape, values.dtype
        self._file = open(str(values.filename), "rb", buffering=0)
        weakref.finalize(self, self._file.close)

    def __getitem__(self, entities: Tensor) -> Tensor:
        """(B,) entities that have a vector -> (B, D) in the file's type, on the entities' device.

        Raises:
            DataError: the file was cut off.
        """
        rows = self.rows[entities.cpu()].numpy()
        order = rows.argsort()
        ordered = rows[order]
        read = np.empty((len(rows), self._shape[1]), self._dtype)
        begins = np.flatnonzero(np.diff(ordered, prepend=-2) != 1)
        ends = np.append(begins[1:], len(rows))
        offsets = self._offset + ordered[begins] * read.itemsize * self._shape[1]
        for begin, end, offset in zip(begins.tolist(), ends.tolist(), offsets.tolist()):
            run = read[begin:end]
            if os.preadv(self._file.fileno(), [run], offset) != run.nbytes:  # type: ignore[list-item]
                raise DataError(f"{self._file.name} ends early; remove its folder, and it is made from the text again.")
        result = np.empty_like(read)
        result[order] = read
        return torch.from_numpy(result).to(entities.device)

    def table(self) -> Tensor:
        """(R, D), all rows of the file in its order, memory-mapped: read as it is used, and never written to."""
        return torch.from_numpy(np.memmap(self._file, self._dtype, "c", self._offset, self._shape))


def read_vectors(path: str | Path, separators: tuple[str, str] = ("\t", " ")) -> tuple[np.ndarray, np.ndarray]:
    """The ids (R,) and the memory-mapped values (R, D) of an atomic file ``<id>:token  <name>:float_seq``.

    The values are float32, or float16 where the converter wrote it.

    The converter, or the first read by parsing the text, leaves ``.<name>.cache/`` with the values in binary form; it
    is used as long as the size and the modification time of the text stay the same. Rows without numbers are left
    out: no vector is missing, not zero.

    Raises:
        DataError: the file is malformed, two vectors differ in length, or a value is not finite.
    """
    path = Path(path)
    found = _cached(path)
    if found is None:
        read_header(path, separators[0])
        with _locked(path):
            found = _cached(path) or _parse_and_cache(path, separators)
    return found


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the file, so that one of several processes that need the binary copy makes it."""
    with open(path, "rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError:
            pass  # some network file systems have no locks
        yield


def _cached(path: Path) -> tuple[np.ndarray, np.ndarray] | None:
    cache = _cache_of(path)
    try:
        if json.loads((cache / "source.json").read_text()) == _stamp(path):
            return np.load(cache / "ids.npy"), np.load(cache / "values.npy", mmap_mode="r")
    except (OSError, ValueError):
        pass
    return None


def _parse_and_cache(path: Path, separators: tuple[str, str]) -> tuple[np.ndarray, np.ndarray]:
    cache = _cache_of(path)
    ids, values = _parse(path, separators)
    try:
        write_cache(path, ids, [values], values.shape, values.dtype)
    except (OSError, WriteError) as error:
        warnings.warn(
            f"{cache} cannot be written ({error}); {path.name} is parsed anew by every run and held in memory.",
            stacklevel=3,
        )
        return ids, values
    return ids, np.load(cache / "values.npy", mmap_mode="r")


def row_blocks(values: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Yield (first row, rows) of an array; a memory-mapped one is read as a file, so that its pages do not stay.

    Args:
        values: (R, D).
    """
    if not isinstance(values, np.memmap):
        yield 0, values
        return
    with open(str(values.filename), "rb") as file:
        file.seek(values.offset)
        for start in range(0, len(values), BLOCK_ROWS):
            block = np.fromfile(file, values.dtype, min(BLOCK_ROWS, len(values) - start) * values.shape[1])
            yield start, block.reshape(-1, values.shape[1])


def write_cache(
    path: str | Path, ids: np.ndarray, blocks: Iterable[np.ndarray], shape: tuple[int, ...], dtype: np.dtype | type
) -> None:
    """The binary copy of the vector file ``path``.

    Args:
        path: the text, complete.
        ids: (R,) in its order.
        blocks: arrays that together are its R x D numbers; in float16 only if they are exact in it.
        shape: (R, D).
        dtype: float16 or float32.
    """
    with atomic_directory(_cache_of(path)) as folder:
        np.save(folder / "ids.npy", ids)
        with open(folder / "values.npy", "wb") as file:
            header = {"descr": np.lib.format.dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)
            for block in blocks:
                file.write(np.ascontiguousarray(block, dtype=dtype).data)
        (folder / "source.json").write_text(json.dumps(_stamp(path)))


def _cache_of(path: str | Path) -> Path:
    return Path(path).with_name(f".{Path(path).name}.cache")


def _stamp(path: str | Path) -> dict[str, int]:
    stat = Path(path).stat()
    return {"size": stat.st_size, "mtime_ns": stat.st_mtime_ns}


def _parse(path: Path, separators: tuple[str, str]) -> tuple[np.ndarray, np.ndarray]:
    separator, within = separators
    header = read_header(path, separator)
    if len(header) != 2 or list(header.values()) != ["token", "float_seq"]:
        raise DataError(f"{path}: a vector file has two columns, '<id>:token' and '<name>:float_seq'; got {header}.")
    check_cells(path, 2, separator)
    ids, blocks, width, first_line = [], [], None, 2
    reader = pd.read_csv(
        path, sep=separator, header=None, skiprows=1, names=["id", "vector"], dtype=str,
        keep_default_na=False, na_filter=False, quoting=3, chunksize=CHUNK_ROWS,
    )  # fmt: skip
    for chunk in reader:
        rows = []
        for offset, (token, text) in enumerate(zip(chunk["id"], chunk["vector"])):
            if not text.strip():
                continue
            try:
                row = np.array([number for number in text.split(within) if number], dtype=np.float32)
            except ValueError as error:
                raise DataError(
                    f"{path}, line {first_line + offset}: {error}; expected numbers with {within!r} between them."
                ) from None
            width = width or len(row)
            if len(row) != width:
                raise DataError(
                    f"{path}, line {first_line + offset}: {len(row)} numbers for id {token!r}, expected {width}."
                )
            check_size(f"{path}, line {first_line + offset}: the vector of id {token!r}", row)
            ids.append(token)
            rows.append(row)
        if rows:
            blocks.append(np.stack(rows))
        first_line += len(chunk)
    if not blocks:
        raise DataError(f"{path}: no vector in the file.")
    tokens = np.array(ids, dtype=str)
    if len(np.unique(tokens)) < len(tokens):
        duplicate = pd.Series(tokens)[pd.Series(tokens).duplicated()].iloc[0]
        raise DataError(f"{path}: id {duplicate!r} occurs twice; keep one row.")
    check_scale(path, tokens, np.concatenate([np.abs(block).max(1) for block in blocks]))
    values = np.concatenate(blocks)
    check_columns(path, values)
    check_repeats(path, tokens, values)
    return tokens, values
