"""Matrix factorisation of implicit feedback by alternating least squares."""

import torch
from torch import Tensor

from recbole_sibrar.data.sparse import SparseRows, weighted_row_sum
from recbole_sibrar.progress import steps

ENTRIES_AT_A_TIME = 200_000


def implicit_als(
    interactions: SparseRows,
    width: int,
    regularization: float,
    confidence: float,
    n_iterations: int,
    seed: int,
    show_progress: bool = False,
) -> tuple[Tensor, Tensor]:
    r"""Weighted matrix factorisation (Hu, Koren and Volinsky, ICDM 2008).

    .. math:: \min_{U, V} \sum_{u,i} c_{ui} (p_{ui} - u_u^\top v_i)^2
              + \lambda \Big(\sum_u \|u_u\|^2 + \sum_i \|v_i\|^2\Big)

    with p = 1 and c = 1 + alpha for an interaction, p = 0 and c = 1 for every other pair.

    Args:
        interactions: users x items.
        width: D.
        regularization: lambda. confidence: alpha.
        n_iterations: times that users and items are solved for in turn.
        seed: of the items' first vectors.

    Returns:
        (users, D), (items, D); an entity without interactions has the zero vector.
    """
    generator = torch.Generator().manual_seed(seed)
    items = torch.randn(interactions.n_columns, width, generator=generator) * 0.1
    by_item = interactions.transposed()
    for _ in steps(range(n_iterations), "Implicit ALS", quiet=not show_progress):
        users = solve_side(interactions, items, regularization, confidence)
        items = solve_side(by_item, users, regularization, confidence)
    return users, items


def solve_side(matrix: SparseRows, fixed: Tensor, regularization: float, confidence: float) -> Tensor:
    r"""One half of an iteration, with sums over the interactions of a row:

    .. math:: u = \Big(V^\top V + \alpha \sum_i v_i v_i^\top + \lambda I\Big)^{-1} (1 + \alpha) \sum_i v_i

    Rows are solved together in groups of like length, padded to the longest.

    Args:
        matrix: R x C, the interactions. fixed: (C, D), V.

    Returns:
        (R, D).
    """
    width = fixed.shape[1]
    shared = fixed.T @ fixed + regularization * torch.eye(width)
    sums = (1 + confidence) * weighted_row_sum(matrix, fixed)
    lengths, order = matrix.lengths.sort(descending=True)
    padded = torch.cat([fixed, fixed.new_zeros(1, width)])
    solved = fixed.new_zeros(len(lengths), width)
    start, end = 0, int((lengths > 0).sum())
    while start < end:
        longest = int(lengths[start])
        rows = order[start : min(end, start + max(1, ENTRIES_AT_A_TIME // longest))]
        start += len(rows)
        part = matrix.select(rows)
        columns = torch.full((len(rows), longest), len(fixed))
        column_of_entry = torch.arange(len(part.columns)) - part.indptr[part.row_of_entry()]
        columns[part.row_of_entry(), column_of_entry] = part.columns
        vectors = padded[columns]
        systems = shared + confidence * vectors.transpose(1, 2) @ vectors
        solved[rows] = torch.linalg.solve(systems, sums[rows])
    return solved
