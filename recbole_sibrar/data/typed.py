"""Parquet and JSON lines in blocks: tables whose cells are numbers, texts and lists."""

import json
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pandas as pd

from recbole_sibrar.data.frames import named_range, with_index
from recbole_sibrar.data.lines import line_blocks
from recbole_sibrar.errors import DataError


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
