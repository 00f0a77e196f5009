"""What a training step is given."""

from dataclasses import dataclass

from torch import Tensor


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
