"""How far entities that share a value, such as a tag, agree in their interactions."""

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor

from recbole_sibrar.data.sparse import SparseRows

ENTRIES = 1 << 24
"""About so many entries of interaction rows are added up at a time, 200 MB."""

ENTITIES = 5
TINY = 1e-9


def agreement(values: SparseRows, interactions: SparseRows) -> Tensor:
    r"""How well the mean interactions of a value's entities stand for those of any entity with it.

    Interactions are rows of length one, centred by their mean, c, of variance s^2. Two entities with value v have
    :math:`\tau_v` in common in the mean, the inner product of their rows. The mean row of n_v entities is to be shrunk
    towards that of all (James and Stein, 1961) by

    .. math:: w_v = \frac{n_v \tau_v}{n_v \tau_v + s^2}, \quad
        \tau_v = \max\Big(0, \frac{\sum_{i \neq j} c_i^\top c_j + P \tau}{n_v (n_v - 1) + P}\Big)

    Few entities make few pairs: beside them P more, as many as those of ``ENTITIES`` entities, agree as pairs do in the
    mean of all values, by tau. So a word that falls on films at random counts next to nothing, and a genre more the
    more films have it.

    Args:
        values: (N, V), of N entities.
        interactions: (N, W), theirs.

    Returns:
        (V,) float32, 0 to 1.
    """
    rows = interactions.to_scipy().astype(np.float64)
    lengths = rows.sum(1)
    rows.data /= np.repeat(np.sqrt(lengths), lengths.astype(np.int64))
    mean = rows.sum(0) / max(1, len(lengths))
    own = (lengths > 0) - 2 * (rows @ mean) + mean @ mean
    by_value = values.to_scipy().T.tocsr()
    n = by_value.sum(1)
    n_parts = 1 + int((by_value @ lengths).sum()) // ENTRIES
    squared = np.concatenate([_squared_lengths(part, rows, mean) for part in _parts(by_value, n_parts)])
    pairs = squared - by_value @ own
    typical = max(0.0, (pairs / n.clip(1)).sum() / max(1, (n - 1).clip(0).sum()))
    n_more = ENTITIES * (ENTITIES - 1)
    common = n * np.maximum(0, (pairs + n_more * typical) / (n * (n - 1) + n_more))
    variance = own.sum() / max(1, len(own))
    return torch.from_numpy(common / (common + variance).clip(TINY)).float()


def _squared_lengths(by_value: csr_array, rows: csr_array, mean: np.ndarray) -> np.ndarray:
    """(V,) of the sums of the rows (N, W), less the mean, of the entities of each value (V, N)."""
    sums, n = by_value @ rows, by_value.sum(1)
    return sums.multiply(sums).sum(1) - 2 * n * (sums @ mean) + n**2 * (mean @ mean)


def _parts(matrix: csr_array, n: int) -> list[csr_array]:
    """The rows of a matrix, in ``n`` parts."""
    edges = np.linspace(0, matrix.shape[0], n + 1).astype(int)
    return [matrix[start:end] for start, end in zip(edges, edges[1:])]
