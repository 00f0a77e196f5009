"""The k best items of many users without ever holding all scores."""

import torch
from torch import Tensor

from recbole_sibrar.data.sparse import SparseRows

USERS_AT_A_TIME, ITEMS_AT_A_TIME, TIED_AT_A_TIME = 1024, 8192, 16


def top_k(
    users: Tensor, items: Tensor, k: int, excluded: SparseRows | None = None, allowed: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The k items with the largest inner product for each user, in blocks of users and items with a running top-k.

    Memory beyond the inputs and the result is one block of scores (1024 x 8192 floats, 34 MB).

    Args:
        users: (U, D). items: (I, D).
        k: length of the lists; fewer items give shorter lists.
        excluded: U x I, items left out for a user.
        allowed: (I,) bool, the candidates; all by default.

    Returns:
        scores (U, min(k, I)), -inf where no candidate is left, and item indices of the same shape, best first; of
        equal scores the lower index comes first.
    """
    k = min(k, len(items))
    blocks = []
    for rows in torch.arange(len(users)).split(USERS_AT_A_TIME):
        best_scores = users.new_full((len(rows), k), -torch.inf)
        best_items = torch.zeros(len(rows), k, dtype=torch.long)
        own = excluded.select(rows) if excluded is not None else None
        owner = own.row_of_entry() if own is not None else None
        for start in range(0, len(items), ITEMS_AT_A_TIME):
            stop = min(start + ITEMS_AT_A_TIME, len(items))
            scores = users[rows] @ items[start:stop].T
            if allowed is not None:
                scores[:, ~allowed[start:stop]] = -torch.inf
            if own is not None:
                inside = (own.columns >= start) & (own.columns < stop)
                scores[owner[inside], own.columns[inside] - start] = -torch.inf
            values, places = best(scores, min(k, stop - start))
            merged = torch.cat([best_scores, values], dim=1)
            order = merged.argsort(dim=1, descending=True, stable=True)[:, :k]
            best_items = torch.cat([best_items, places + start], dim=1).gather(1, order)
            best_scores = merged.gather(1, order)
        blocks.append((best_scores, best_items))
    if not blocks:
        return users.new_zeros(0, k), torch.zeros(0, k, dtype=torch.long)
    scores, items = (torch.cat(parts) for parts in zip(*blocks))
    return scores, items


def best(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """``scores.topk(k)`` (U, k) of each row of (U, I), but that of equal scores the lower index comes first.

    Rows with equal scores among their best, or behind the last of them, are looked through once more.
    """
    values, places = scores.topk(min(k + 1, scores.shape[1]), dim=1)
    tied = ((values[:, 1:] == values[:, :-1]) & (values[:, 1:] > -torch.inf)).any(1).nonzero().squeeze(1)
    values, places = values[:, :k], places[:, :k]
    for rows in tied.split(TIED_AT_A_TIME):
        own, least = scores[rows], values[rows, -1:]
        larger, equal = ~(own <= least), own == least
        taken = larger | (equal & (equal.cumsum(1) <= k - larger.sum(1, keepdim=True)))
        columns = taken.nonzero()[:, 1].view(-1, k)
        values[rows], order = own.gather(1, columns).sort(dim=1, descending=True, stable=True)
        places[rows] = columns.gather(1, order)
    return values, places
