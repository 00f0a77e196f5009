"""Numbers and fingerprints of data that depend on what the data are, and not on the order of lines or files."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import torch

from recbole_sibrar.data.modalities import Modality
from recbole_sibrar.data.sparse import SparseRows

ROWS_AT_A_TIME = 1024


def sorted_numbers(tokens: Sequence[str]) -> np.ndarray:
    """(N,) ids, all different -> (N,) the place of each when they are sorted.

    >>> sorted_numbers(["u2", "u10", "u1"]).tolist()
    [2, 1, 0]
    """
    order = np.argsort(np.asarray(tokens, dtype=object), kind="stable")
    places = np.empty(len(order), dtype=np.int64)
    places[order] = np.arange(len(order))
    return places


def interactions_digest(tokens: dict[str, Sequence[str]], parts: Iterable[Mapping[str, object]]) -> str:
    """The fingerprint of interactions.

    Args:
        tokens: {side: (N,) ids by number}.
        parts: for each file of interactions {column: (n,) values}, users and items by number, rows and columns in an
            order that depends on the content alone.
    """
    digest = _Digest()
    for side, ids in tokens.items():
        digest.texts(side, ids)
    for part in parts:
        for name, values in part.items():
            digest.array(name, np.asarray(values))
    return digest.result


def combined(digests: dict[str, str]) -> str:
    """One fingerprint of all that was read, {what: fingerprint}.

    >>> combined({"interactions": "05574cc6d2b4d90e", "item year": "dbb00886b2f73f26"})
    '0d062a73ae59ab0d'
    """
    digest = _Digest()
    for name in sorted(digests):
        digest.texts(name, [digests[name]])
    return digest.result


def modality_digest(entry: Modality) -> str:
    """The fingerprint of a modality: which entities have it, and their values; vectors are read in blocks."""
    digest = _Digest()
    digest.texts(f"{entry.kind} {entry.width}", entry.vocabulary)
    digest.array("available", entry.available.numpy())
    if isinstance(entry.values, SparseRows):
        digest.array("lengths", entry.values.lengths.numpy())
        digest.array("columns", entry.values.columns.numpy())
    else:
        for rows in entry.available.nonzero().squeeze(1).split(ROWS_AT_A_TIME):
            values = entry.values[rows]
            digest.array("values", (values.float() if values.dtype == torch.half else values).numpy())
    return digest.result


def tensors_digest(tensors: Mapping[str, torch.Tensor]) -> str:
    """The fingerprint of tensors, by name."""
    digest = _Digest()
    for name, values in sorted(tensors.items()):
        digest.array(name, values.detach().cpu().numpy())
    return digest.result


class _Digest:
    def __init__(self):
        self._hash = hashlib.blake2b(digest_size=8)

    @property
    def result(self) -> str:
        return self._hash.hexdigest()

    def texts(self, name: str, texts: Sequence[str]) -> None:
        self._hash.update("\0".join([name, str(len(texts)), *map(str, texts), ""]).encode())

    def array(self, name: str, values: np.ndarray) -> None:
        values = np.ascontiguousarray(values)
        self._hash.update(f"{name}\0{values.dtype}\0{values.shape}\0".encode())
        self._hash.update(values.data if values.size else b"")
