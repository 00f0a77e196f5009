"""The largest eigenvalues and vectors, exactly or by subspace iteration."""

from collections.abc import Callable

import torch
from torch import Tensor
from tqdm import tqdm

OVERSAMPLING = 10
SMALLEST = 1e-6
"""Eigenvalues below this share of the largest are taken for zero."""


def principal(gram: Tensor, limit: int) -> tuple:
    """The largest eigenvalues (P,) of a matrix, ascending and none of them next to zero, and their vectors (N, P)."""
    values, vectors = torch.linalg.eigh(gram)
    kept = (values > values[-1] * SMALLEST).nonzero().squeeze(1)[-limit:]
    return values[kept], vectors[:, kept]


def iterated_principal(
    gram: Callable, width: int, limit: int, iterations: int, generator: torch.Generator, like: Tensor, progress=None
) -> tuple:
    """As ``principal``, nearly, of a matrix of which only products are known (Halko, Martinsson and Tropp, 2011).

    Args:
        gram: (width, K) -> (width, K), the product with the matrix.
        like: of the device and type wanted.
        progress: the title of a progress bar; none by default.
    """
    directions = torch.randn(width, min(limit + OVERSAMPLING, width), generator=generator).to(like)
    for _ in tqdm(range(iterations), desc=progress, leave=False, disable=progress is None):
        directions = torch.linalg.qr(gram(directions)).Q
    values, turn = principal(directions.T @ gram(directions), limit)
    return values, directions @ turn
