"""The largest eigenvalues and vectors, exactly or by subspace iteration."""

from collections.abc import Callable

import torch
from torch import Tensor

from recbole_sibrar.progress import steps

OVERSAMPLING = 10
SMALLEST = 1e-6
"""Eigenvalues below this share of the largest are taken for zero."""

EXACT = 6144
"""Matrices of so many rows are decomposed exactly (5,000 rows: 5 s on 2 cores); of larger ones a part is."""

DOUBLE = 2048
"""Smaller ones are in double precision."""

DEPENDENT = 1e-5
ROWS = 4096
"""Rows of a table at a time."""


def precise(matrix: Tensor) -> Tensor:
    """In double precision if it is small."""
    return matrix.double() if len(matrix) <= DOUBLE else matrix


def principal(gram: Tensor, limit: int) -> tuple[Tensor, Tensor]:
    """The largest eigenvalues (P,) of a matrix, ascending and none of them next to zero, and their vectors (N, P)."""
    values, vectors = torch.linalg.eigh(precise(gram))
    kept = (values > values[-1] * SMALLEST).nonzero().squeeze(1)[-limit:]
    return values[kept].to(gram), vectors[:, kept].to(gram)


def iterated_principal(
    gram: Callable[[Tensor], Tensor],
    width: int,
    limit: int,
    iterations: int,
    generator: torch.Generator,
    like: Tensor,
    progress: str | None = None,
) -> tuple[Tensor, Tensor]:
    """As ``principal``, nearly, of a matrix of which only products are known (Halko, Martinsson and Tropp, 2011).

    Args:
        gram: (width, K) -> (width, K), the product with the matrix.
        like: of the device and type wanted.
        progress: the title of a progress bar; none by default.
    """
    directions = torch.randn(width, min(limit + OVERSAMPLING, width), generator=generator).to(like)
    for _ in steps(range(iterations), progress or "", quiet=progress is None):
        directions = orthonormal(gram(directions))
    values, turn = principal(directions.T @ gram(directions), limit)
    return values, directions @ turn


def orthonormal(table: Tensor) -> Tensor:
    """(N, K), N >= K -> a basis (N, K) of the columns' span, by two Cholesky decompositions of their inner products.

    It takes a third of the time of a QR decomposition, which stands in where the columns are next to dependent
    (Yamamoto et al., ETNA 2015).
    """
    for _ in range(2):
        inner = table.new_zeros(table.shape[1], table.shape[1], dtype=torch.double)
        for rows in table.split(ROWS):
            rows = rows.double()
            inner += rows.T @ rows
        factor, failed = torch.linalg.cholesky_ex(inner)
        if failed or not factor.diagonal().min() > DEPENDENT * factor.diagonal().max():
            return torch.linalg.qr(table).Q
        table = torch.linalg.solve_triangular(factor.T.to(table), table, upper=True, left=False)
    return table
