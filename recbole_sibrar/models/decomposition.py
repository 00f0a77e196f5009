"""The largest eigenvalues and vectors, exactly or by subspace iteration, and directions that serve a regression."""

from collections.abc import Callable

import torch
from torch import Tensor

from recbole_sibrar.progress import steps

OVERSAMPLING = 10
SMALLEST = 1e-6
"""Eigenvalues below this share of the largest are taken for zero."""

NEGLIGIBLE = 1e-8
"""As ``SMALLEST``, of inner products in double precision."""

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
        factor, failed = torch.linalg.cholesky_ex(inner_products(table, table))
        if failed or not factor.diagonal().min() > DEPENDENT * factor.diagonal().max():
            return torch.linalg.qr(table).Q
        table = torch.linalg.solve_triangular(factor.T.to(table), table, upper=True, left=False)
    return table


def inner_products(left: Tensor, right: Tensor) -> Tensor:
    """(N, K), (N, L) -> (K, L), in double precision."""
    result = left.new_zeros(left.shape[1], right.shape[1], dtype=torch.double)
    for rows, others in zip(left.split(ROWS), right.split(ROWS)):
        result += rows.double().T @ others.double()
    return result


def diagonal_in_both(lengths: Tensor, squares: Tensor, limit: int) -> tuple[Tensor, Tensor]:
    r"""(K, K) two symmetric matrices -> (P,) values, descending, and (K, P) T that turns the first into the unit matrix
    and the second into their diagonal.

    >>> values, turn = diagonal_in_both(torch.tensor([[4.0, 0.0], [0.0, 1.0]]), torch.eye(2), limit=2)
    >>> values.tolist(), turn.abs().tolist()
    ([1.0, 0.25], [[0.0, 0.5], [1.0, 0.0]])
    """
    sizes, vectors = torch.linalg.eigh((lengths + lengths.T) / 2)
    kept = sizes > sizes[-1].clamp(min=0) * NEGLIGIBLE
    whitened = vectors[:, kept] * sizes[kept].rsqrt()
    values, turn = torch.linalg.eigh(whitened.T @ ((squares + squares.T) / 2) @ whitened)
    return values.flip(0)[:limit], whitened @ turn.flip(1)[:, :limit]


def conjugate_gradients(
    gram: Callable[[Tensor], Tensor], targets: Tensor, penalty: float, iterations: int, progress: str | None = None
) -> Tensor:
    """(N, K), nearly (gram + penalty)^-1 targets, of a matrix of which only products are known; each column by itself.

    >>> matrix = torch.tensor([[2.0, 1.0], [1.0, 3.0]])
    >>> conjugate_gradients(lambda table: matrix @ table, torch.tensor([[5.0], [5.0]]), 1.0, 2).round(decimals=3).T
    tensor([[1.3640, 0.9090]])
    """
    solution, residual, direction = torch.zeros_like(targets), targets.clone(), targets.clone()
    squares = residual.square().sum(0)
    for _ in steps(range(iterations), progress or "", quiet=progress is None):
        product = gram(direction).add_(direction, alpha=penalty)
        along = (direction * product).sum(0)
        step = torch.where(along > 0, squares / along, 0.0)
        solution.addcmul_(direction, step)
        residual.addcmul_(product, -step)
        before, squares = squares, residual.square().sum(0)
        direction.mul_(torch.where(before > 0, squares / before, 0.0)).add_(residual)
    return solution
