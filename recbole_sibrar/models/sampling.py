"""Modality sampling: which modalities of an entity a training step looks at."""

import torch
from torch import Tensor


def sample_modalities(available: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """Draw for each entity ``n`` of the modalities that it has, uniformly and without replacement.

    Args:
        available: (N, M) bool.
        n: N_mod; more than M counts as M.
        generator: a CPU generator.

    Returns:
        (N, min(n, M)) int64 indices of modalities in the order drawn; -1 where the entity has fewer.
    """
    keys = torch.rand(available.shape, generator=generator).to(available.device).masked_fill(~available, -1)
    drawn = keys.topk(min(n, available.shape[1]), dim=1)
    return drawn.indices.masked_fill(drawn.values < 0, -1)


def chosen_mask(choice: Tensor, n_modalities: int) -> Tensor:
    """(N, n) indices with -1 for none -> (N, n_modalities) bool."""
    mask = torch.zeros(len(choice), n_modalities + 1, dtype=torch.bool, device=choice.device)
    return mask.scatter_(1, choice % (n_modalities + 1), True)[:, :n_modalities]
