"""Scores and contrasts of sets of entities with a draw of modalities for each occurrence, and no embedding of each."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from recbole_sibrar.data.sparse import add_rows
from recbole_sibrar.layers import single

CACHED_NUMBERS = 1 << 18
"""So many numbers of gathered rows stay in a processor's cache."""


def drawn_products(
    users: Tensor, table: Tensor, owner: Tensor, index: Tensor, weights: Tensor, contrasts: bool
) -> tuple[Tensor, Tensor | None]:
    r"""The inner products that a step needs, with the fused embedding of an occurrence a weighted sum of K rows.

    .. math:: s_{bn} = u_b^\top \sum_k w_{bnk} t_{bnk}, \qquad l_{bnm} = t_{bn1}^\top t_{bm2}

    Rows are gathered for some sets at a time, again for the gradients, and none of the sums is made. A user counts as
    one more member of the set, so that scores and contrast are parts of one product.

    Args:
        users: (U, D). table: (T, D), embeddings of modalities.
        owner: (B,) which user each set belongs to.
        index: (B, S, K) rows of the table. weights: (B, S, K), without gradient.
        contrasts: whether l is wanted, of the first two of the K.

    Returns:
        (B, S) s, and (B, S, S) l or None.
    """
    user = (len(table) + owner).expand(index.shape[2], 1, -1)
    members = torch.cat([index.permute(2, 1, 0), user], dim=1).transpose(1, 2).contiguous()
    weights = weights.movedim(-1, 0).contiguous()
    with torch.autocast(table.device.type, enabled=False):
        scores, logits = _DrawnProducts.apply(single(torch.cat([table, users])), members, weights, contrasts)
    return scores, logits if contrasts else None


class _DrawnProducts(torch.autograd.Function):
    """Of ``table`` (T + U, D), ``members`` (K, B, S + 1) and ``weights`` (K, B, S)."""

    @staticmethod
    def forward(ctx: Any, table: Tensor, members: Tensor, weights: Tensor, contrasts: bool) -> tuple[Tensor, Tensor]:
        ctx.contrasts = contrasts
        ctx.save_for_backward(table, members, weights)
        _, n_sets, size = weights.shape
        scores = table.new_zeros(n_sets, size)
        logits = table.new_empty(n_sets if contrasts else 0, size, size)
        for part in _parts(members, table):
            rows = [_gathered(table, of_draw[part]) for of_draw in members]
            if contrasts:
                products = rows[0] @ rows[1].transpose(1, 2)
                logits[part] = products[:, :-1, :-1]
                scores[part].addcmul_(products[:, :-1, -1], weights[0, part])
                scores[part].addcmul_(products[:, -1, :-1], weights[1, part])
            for n in range(2 if contrasts else 0, len(rows)):
                products = rows[n][:, :-1] @ rows[n][:, -1:].transpose(1, 2)
                scores[part].addcmul_(products.squeeze(2), weights[n, part])
        return scores, logits

    @staticmethod
    def backward(ctx: Any, of_scores: Tensor, of_logits: Tensor) -> tuple[Tensor, None, None, None]:
        table, members, weights = ctx.saved_tensors
        of_table = torch.zeros_like(table)
        for part in _parts(members, table):
            rows = [_gathered(table, of_draw[part]) for of_draw in members]
            factors = of_scores[part] * weights[:, part]
            if ctx.contrasts:
                of_products = F.pad(of_logits[part], (0, 1, 0, 1))
                of_products[:, :-1, -1], of_products[:, -1, :-1] = factors[0], factors[1]
                add_rows(of_table, members[0, part], of_products @ rows[1])
                add_rows(of_table, members[1, part], of_products.transpose(1, 2) @ rows[0])
            for n in range(2 if ctx.contrasts else 0, len(rows)):
                of_items = factors[n].unsqueeze(2) * rows[n][:, -1:]
                of_users = factors[n].unsqueeze(1) @ rows[n][:, :-1]
                add_rows(of_table, members[n, part], torch.cat([of_items, of_users], dim=1))
        return of_table, None, None, None


def _gathered(table: Tensor, index: Tensor) -> Tensor:
    """(T, D), (B, S) -> (B, S, D)."""
    return table.index_select(0, index.flatten()).view(*index.shape, -1)


def _parts(members: Tensor, table: Tensor) -> list[slice]:
    """Slices of the sets (K, B, S)."""
    n_drawn, n_sets, size = members.shape
    is_cached = table.device.type == "cpu"
    step = max(1, CACHED_NUMBERS // (n_drawn * size * table.shape[1])) if is_cached else n_sets
    return [slice(start, start + step) for start in range(0, n_sets, step)]
