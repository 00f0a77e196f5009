"""Scores and contrasts of sets of entities with a draw of modalities for each occurrence, and no embedding of each."""

from typing import Any

import torch
from torch import Tensor

from recbole_sibrar.data.sparse import sum_of_rows

CACHED_NUMBERS = 1 << 18
"""So many numbers of gathered rows stay in a processor's cache."""


def drawn_products(
    users: Tensor, table: Tensor, owner: Tensor, index: Tensor, weights: Tensor, contrasts: bool
) -> tuple[Tensor, Tensor | None]:
    r"""The inner products that a step needs, with the fused embedding of an occurrence a weighted sum of K rows.

    .. math:: s_{bn} = u_b^\top \sum_k w_{bnk} t_{bnk}, \qquad l_{bnm} = t_{bn1}^\top t_{bm2}

    Rows are gathered for some sets at a time, again for the gradients, and none of the sums is made.

    Args:
        users: (U, D). table: (T, D), embeddings of modalities.
        owner: (B,) which user each set belongs to.
        index: (B, S, K) rows of the table. weights: (B, S, K), without gradient.
        contrasts: whether l is wanted, of the first two of the K.

    Returns:
        (B, S) s, and (B, S, S) l or None.
    """
    by_draw = (part.movedim(-1, 0).contiguous() for part in (index, weights))
    scores, logits = _DrawnProducts.apply(users, table, owner, *by_draw, contrasts)
    return scores, logits if contrasts else None


class _DrawnProducts(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, users: Tensor, table: Tensor, owner: Tensor, index: Tensor, weights: Tensor, contrasts: bool
    ) -> tuple[Tensor, Tensor]:
        ctx.contrasts = contrasts
        ctx.save_for_backward(users, table, owner, index, weights)
        _, n_sets, size = index.shape
        scores = table.new_zeros(n_sets, size)
        logits = table.new_empty(n_sets if contrasts else 0, size, size)
        for part in _parts(index, table):
            user = users[owner[part]].unsqueeze(2)
            rows = [_gathered(table, of_draw[part]) for of_draw in index]
            for own, weight in zip(rows, weights):
                scores[part].addcmul_((own @ user).squeeze(2), weight[part])
            if contrasts:
                torch.bmm(rows[0], rows[1].transpose(1, 2), out=logits[part])
        return scores, logits

    @staticmethod
    def backward(ctx: Any, of_scores: Tensor, of_logits: Tensor) -> tuple[Tensor, Tensor, None, None, None, None]:
        users, table, owner, index, weights = ctx.saved_tensors
        n_sets = index.shape[1]
        of_rows = table.new_empty(*index.shape, table.shape[1])
        of_users = users.new_zeros(n_sets, 1, table.shape[1])
        for part in _parts(index, table):
            user = users[owner[part]].unsqueeze(1)
            rows = [_gathered(table, of_draw[part]) for of_draw in index]
            if ctx.contrasts:
                torch.bmm(of_logits[part], rows[1], out=of_rows[0, part])
                torch.bmm(of_logits[part].transpose(1, 2).contiguous(), rows[0], out=of_rows[1, part])
            for n, own in enumerate(rows):
                factor = of_scores[part] * weights[n, part]
                of_users[part].baddbmm_(factor.unsqueeze(1), own)
                if ctx.contrasts and n < 2:
                    of_rows[n, part].addcmul_(factor.unsqueeze(2), user)
                else:
                    torch.mul(factor.unsqueeze(2), user, out=of_rows[n, part])
        of_table = sum_of_rows(of_rows.flatten(0, 2), index.flatten(), len(table))
        return sum_of_rows(of_users.squeeze(1), owner, len(users)), of_table, None, None, None, None


def _gathered(table: Tensor, index: Tensor) -> Tensor:
    """(T, D), (B, S) -> (B, S, D)."""
    return table.index_select(0, index.flatten()).view(*index.shape, -1)


def _parts(index: Tensor, table: Tensor) -> list[slice]:
    """Slices of the sets (K, B, S)."""
    n_drawn, n_sets, size = index.shape
    is_cached = table.device.type == "cpu"
    step = max(1, CACHED_NUMBERS // (n_drawn * size * table.shape[1])) if is_cached else n_sets
    return [slice(start, start + step) for start in range(0, n_sets, step)]
