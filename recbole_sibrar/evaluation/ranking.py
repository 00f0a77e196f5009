"""The lists of an evaluation from embeddings, without a table of all scores."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from recbole_sibrar.evaluation.protocol import Phase

# Scores at a time: so few that they stay in the processor's cache, but never fewer than those of 64 users, which take
# as much memory as the items' embeddings.
SCORES_AT_A_TIME, LEAST_USERS = 1 << 19, 64


@dataclass(frozen=True)
class Lists:
    """The lists of U users.

    Attributes:
        items: (U, K) long, best first, 0 = empty place. hits: (U, K) bool. n_relevant: (U,) long.
        undefined: whether a score was NaN.
    """

    items: Tensor
    hits: Tensor
    n_relevant: Tensor
    undefined: bool = False


class Ranking:
    """Ranks the candidates of a phase for its users by inner products.

    Only candidates are scored, and seen items are taken out by their index. The lists are those of ``topk`` over the
    scores of all items in the order ``order``, with -inf for what is not ranked; that decides ties.

    Args:
        phase: the protocol of the evaluation.
        items: (I, D) embeddings.
        order: (I,) a permutation of the items.
        k: length of the lists.
    """

    def __init__(self, phase: Phase, items: Tensor, order: Tensor, k: int):
        self.phase, self.order, self.k = phase, order, k
        self.places = phase.candidates[order].nonzero().squeeze(1)
        self.ranked = order[self.places]
        self.items = items[self.ranked.to(items.device)]
        self.position = torch.full((len(order),), -1).index_copy_(0, self.ranked, torch.arange(len(self.ranked)))

    def lists(self, users: Tensor, embeddings: Tensor) -> Lists:
        """The lists of some users.

        Args:
            users: (U,) ids. embeddings: (U, D).
        """
        rows = max(SCORES_AT_A_TIME // len(self.ranked), LEAST_USERS)
        found = zip(*(self._block(*block) for block in zip(users.split(rows), embeddings.split(rows))))
        values, items = (torch.cat(part) for part in found)
        positives = self.phase.positives.select(users)
        items = items.masked_fill(values == -torch.inf, 0)
        return Lists(items, positives.contains(items), positives.lengths, bool(values.isnan().any()))

    def _block(self, users: torch.Tensor, embeddings: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The best scores and their items (B, K); ties are decided by a second pass over the scores of all items."""
        scores = embeddings @ self.items.T
        seen = self.phase.seen.select(users)
        position = self.position[seen.columns]
        index = (seen.row_of_entry() * scores.shape[1] + position)[position >= 0]
        scores.view(-1).index_fill_(0, index.to(scores.device), -torch.inf)
        values, places = (found.cpu() for found in scores.topk(min(self.k + 1, scores.shape[1])))
        tied = ((values[:, 1:] == values[:, :-1]) & (values[:, 1:] > -torch.inf)).any(1).nonzero().squeeze(1)
        values, items = self._cut(values, self.ranked[places])
        if len(tied):
            every = values.new_full((len(tied), len(self.order)), -torch.inf)
            every[:, self.places] = scores[tied.to(scores.device)].cpu()
            best, places = every.topk(min(self.k, len(self.order)))
            values[tied], items[tied] = self._cut(best, self.order[places])
        return values, items

    def _cut(self, values: torch.Tensor, items: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Scores and items (B, any length) to (B, K)."""
        missing = (0, self.k - values.shape[1])
        return pad(values, missing, value=-torch.inf), pad(items, missing)
