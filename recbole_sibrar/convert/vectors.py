"""Precomputed embeddings with ids, from npz, npy, tsv, csv or Parquet."""

from pathlib import Path

import numpy as np
import pandas as pd

from recbole_sibrar.errors import DataError

FORMATS = "npz (ids, values), npy with <name>.ids.txt beside it, tsv, csv (also .gz, .bz2) or parquet"


def read_embeddings(path) -> tuple:
    """(ids (N,) str, values (N, D)) of a file; tables have the id in the first column.

    Raises:
        DataError: no such file, an unknown format, ids and values that do not match, a duplicate id, NaN or infinity.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path}: no such file of embeddings.")
    suffixes = [suffix for suffix in path.suffixes if suffix not in (".gz", ".bz2")]
    reader = _READERS.get(suffixes[-1] if suffixes else "")
    if reader is None:
        raise DataError(f"{path}: unknown format; expected {FORMATS}.")
    try:
        ids, values = reader(path)
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise DataError(f"{path} cannot be read as {FORMATS}: {error}") from None
    ids, values = np.asarray(ids).astype(str), np.asarray(values)
    if values.ndim != 2 or len(ids) != len(values):
        raise DataError(f"{path}: {len(ids)} ids and values of shape {values.shape}; expected (ids, dimensions).")
    duplicates = pd.Series(ids).duplicated().to_numpy()
    if duplicates.any():
        raise DataError(f"{path}: id {ids[duplicates.argmax()]!r} occurs twice; keep one row.")
    wrong = ~np.isfinite(values).all(axis=1)
    if wrong.any():
        raise DataError(f"{path}: NaN or infinity for id {ids[wrong.argmax()]!r}; leave out entities without a vector.")
    return ids, values


def _npz(path):
    with np.load(path, allow_pickle=False) as file:
        for name in ("ids", "values"):
            if name not in file:
                raise KeyError(f"no array {name!r}, only {', '.join(file.files)}")
        return file["ids"], file["values"]


def _npy(path):
    ids = path.with_name(f"{path.stem}.ids.txt")
    if not ids.is_file():
        raise DataError(f"{path}: needs {ids.name} beside it, one id on each line.")
    return ids.read_text(encoding="utf-8").splitlines(), np.load(path, allow_pickle=False)


def _table(separator):
    def read(path):
        frame = pd.read_csv(path, sep=separator)
        return frame.iloc[:, 0], frame.iloc[:, 1:].to_numpy(dtype=np.float32)

    return read


def _parquet(path):
    frame = pd.read_parquet(path)
    if frame.shape[1] == 2 and pd.api.types.is_object_dtype(frame.dtypes.iloc[1]):
        return frame.iloc[:, 0], np.stack(frame.iloc[:, 1].to_numpy())
    return frame.iloc[:, 0], frame.iloc[:, 1:].to_numpy(dtype=np.float32)


_READERS = {".npz": _npz, ".npy": _npy, ".tsv": _table("\t"), ".csv": _table(","), ".parquet": _parquet}
