"""Which modality adds what to an embedding, and so to a score."""

from collections.abc import Callable
from itertools import product
from math import factorial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

EXACT_UP_TO = 10
ORDERS = 200


class Part(NamedTuple):
    """What a modality adds to an embedding: (D,), by ``source``, the model or what is added to it."""

    source: str
    modality: str
    vector: Tensor


def beside_zeros(vector: Tensor, widths: list[int], n: int) -> Tensor:
    """The ``n``-th of embeddings of these widths that are side by side, zeros in the place of the others.

    >>> beside_zeros(torch.tensor([2.0]), [1, 1, 2], 1)
    tensor([0., 2., 0., 0.])
    """
    return F.pad(vector, (sum(widths[:n]), sum(widths[n + 1 :])))


def shapley_parts(embed: Callable[[Tensor], Tensor], has: Tensor) -> tuple[Tensor, Tensor]:
    """The Shapley values of an entity's modalities, vector by vector.

    Up to ``EXACT_UP_TO`` modalities from all subsets, else from random orders; they add up exactly in both cases.

    Args:
        embed: (S, M) bool subsets -> (S, D) embeddings.
        has: (M,) bool, the modalities that there are.

    Returns:
        (M, D), zero for modalities that are not there, and (D,) the embedding without any; together they add up to the
        embedding of all.

    >>> values, base = shapley_parts(lambda used: used.float().cumprod(1), torch.tensor([True, True]))
    >>> values.tolist(), base.tolist()
    ([[1.0, 0.5], [0.0, 0.5]], [0.0, 0.0])
    """
    places = has.nonzero().squeeze(1).tolist()
    subsets, weights = _by_subsets(places) if len(places) <= EXACT_UP_TO else _by_orders(places)
    used = torch.zeros(len(subsets), len(has), dtype=torch.bool)
    for row, subset in enumerate(subsets):
        used[row, list(subset)] = True
    embeddings = embed(used.to(has.device))
    index = {subset: row for row, subset in enumerate(subsets)}
    values = embeddings.new_zeros(len(has), embeddings.shape[1])
    for (subset, place), weight in weights.items():
        values[place] += weight * (embeddings[index[subset | {place}]] - embeddings[index[subset]])
    return values, embeddings[index[frozenset()]]


def _by_subsets(places: list[int]) -> tuple[list[frozenset[int]], dict[tuple[frozenset[int], int], float]]:
    """All subsets, and the weight of adding each place to each of them."""
    n = len(places)
    subsets = [frozenset(p for p, kept in zip(places, bits) if kept) for bits in product((False, True), repeat=n)]
    weights = {
        (subset, place): factorial(len(subset)) * factorial(n - len(subset) - 1) / factorial(n)
        for subset in subsets
        for place in places
        if place not in subset
    }
    return subsets, weights


def _by_orders(places: list[int]) -> tuple[list[frozenset[int]], dict[tuple[frozenset[int], int], float]]:
    generator = torch.Generator().manual_seed(0)
    weights: dict[tuple[frozenset[int], int], float] = {}
    for _ in range(ORDERS):
        order = [places[n] for n in torch.randperm(len(places), generator=generator).tolist()]
        for n, place in enumerate(order):
            step = frozenset(order[:n]), place
            weights[step] = weights.get(step, 0.0) + 1 / ORDERS
    subsets = {subset for subset, _ in weights} | {subset | {place} for subset, place in weights}
    return sorted(subsets, key=sorted), weights
