"""What a training step looks at: which modalities of an entity, and which interactions of a profile.

A draw of modalities is a table of indices (N, K), for each entity the modalities drawn in random order, -1 where there
are fewer.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from recbole_sibrar.data.sparse import SparseRows


@dataclass(frozen=True)
class Draw:
    """What is drawn for N entities: the modalities to fuse, and two views to contrast, None without contrast.

    Each is (N, number drawn) int64, indices of modalities and -1 in the places that stay empty.
    """

    fused: Tensor
    first: Tensor | None = None
    second: Tensor | None = None

    @property
    def views(self) -> tuple[Tensor, ...]:
        return tuple(view for view in (self.fused, self.first, self.second) if view is not None)


def uniform(shape: tuple[int, ...], generator: torch.Generator, device: torch.device) -> Tensor:
    """Numbers from 0 to 1, drawn where the generator is."""
    return torch.rand(shape, generator=generator, device=generator.device).to(device)


def draw_fixed(
    available: Tensor, n: int, contrasts: bool, generator: torch.Generator, always: int | None = None
) -> Draw:
    """The papers' draw: N_mod = ``n`` of the modalities ``available`` (N, M), of which the first two are contrasted.

    ``always`` is the index of one that is the first of them wherever it is available.
    """
    choice = sample_modalities(available, n, generator, always)
    if not contrasts or choice.shape[1] < 2:
        return Draw(choice)
    return Draw(choice, choice[:, :1], choice[:, 1:2])


def draw_subsets(available: Tensor, contrasts: bool, generator: torch.Generator) -> Draw:
    """A random subset of what is ``available`` (N, M), of any size from 1; contrasted are two others, disjoint."""
    fused, n = _ordered(available, generator)
    fused = _first(fused, 1 + _below(n, generator))
    if not contrasts or available.shape[1] < 2:
        return Draw(fused)
    order, n = _ordered(available, generator)
    first = _first(order, 1 + _below(n - 1, generator))
    return Draw(fused, first, order.masked_fill(first >= 0, -1))


def sample_modalities(available: Tensor, n: int, generator: torch.Generator, always: int | None = None) -> Tensor:
    """Draw for each entity ``n`` of the modalities that it has, uniformly and without replacement.

    Args:
        available: (N, M) bool.
        n: N_mod; more than M counts as M.
        generator: of any device.
        always: the index of a modality that is drawn first, by all that have it.

    Returns:
        (N, min(n, M)) int64 indices of modalities in the order drawn; -1 where the entity has fewer.
    """
    keys = uniform(available.shape, generator, available.device)
    if always is not None:
        keys[:, always] = 1
    keys = keys.masked_fill(~available, -1)
    drawn = keys.topk(min(n, available.shape[1]), dim=1)
    return drawn.indices.masked_fill(drawn.values < 0, -1)


def chosen_mask(choice: Tensor, n_modalities: int) -> Tensor:
    """(N, n) indices with -1 for none -> (N, n_modalities) bool."""
    mask = torch.zeros(len(choice), n_modalities + 1, dtype=torch.bool, device=choice.device)
    return mask.scatter_(1, choice % (n_modalities + 1), True)[:, :n_modalities]


def hide_entries(rows: SparseRows, share: float, generator: torch.Generator) -> tuple[SparseRows, SparseRows]:
    """What is shown and what is hidden of each row: each entry is hidden with probability ``share``.

    The entry with a row's smallest draw is always hidden, so that every row that is not empty has something to predict.
    """
    draws = uniform((len(rows.columns),), generator, rows.columns.device)
    owner = rows.row_of_entry()
    smallest = draws.new_ones(len(rows.lengths)).scatter_reduce(0, owner, draws, "amin")
    hidden = (draws < share) | (draws == smallest[owner])
    return rows.keep(~hidden), rows.keep(hidden)


def _ordered(available: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """All available modalities in random order (N, M), and how many there are (N,)."""
    return sample_modalities(available, available.shape[1], generator), available.sum(1)


def _below(n: Tensor, generator: torch.Generator) -> Tensor:
    """(N,) uniform integers from 0 to n - 1, 0 for an n below 1."""
    return (uniform((len(n),), generator, n.device) * n.clamp(min=1)).long()


def _first(order: Tensor, size: Tensor) -> Tensor:
    """The first ``size`` (N,) of each row."""
    return order.masked_fill(torch.arange(order.shape[1], device=order.device) >= size.unsqueeze(1), -1)
