"""What a training step is given."""

from dataclasses import dataclass

import torch
from torch import Tensor

from recbole_sibrar.models.pairs import pair_scores


@dataclass(frozen=True)
class PairBatch:
    """Positives with negatives of their own: users (B,), positives (B,), negatives (B, N)."""

    users: Tensor
    positives: Tensor
    negatives: Tensor


@dataclass(frozen=True)
class UserBatch:
    """Distinct users (B,), with all their training interactions as targets."""

    users: Tensor


@dataclass(frozen=True)
class DistinctPairs:
    """A ``PairBatch`` by its distinct entities, so that each is embedded once and scores are one matrix product.

    Attributes:
        users: (U,) distinct. owner: (B,) which of them each row belongs to.
        items: (I,) distinct. place: (B, 1 + N) which of them the positive and the negatives are.
    """

    users: Tensor
    owner: Tensor
    items: Tensor
    place: Tensor

    @classmethod
    def of(cls, batch: PairBatch) -> "DistinctPairs":
        ids = torch.cat([batch.positives.unsqueeze(1), batch.negatives], dim=1)
        return cls(*batch.users.unique(return_inverse=True), *ids.unique(return_inverse=True))

    def scores(self, users: Tensor, items: Tensor) -> Tensor:
        """(U, D), (I, D) embeddings of the distinct entities -> (B, 1 + N) scores of the batch's pairs."""
        return pair_scores(users, items, self.owner, self.place)
