"""What the priors share: vectors of both sides, whose inner products are the recommendations."""

import torch
from torch import Tensor, nn

from recbole_sibrar.data.modalities import Modalities
from recbole_sibrar.data.sparse import SparseRows, weighted_row_sum
from recbole_sibrar.models.attribution import shapley_parts


class Prior(nn.Module):
    r"""A closed-form recommendation as inner products of vectors of both sides.

    The entities j of one side have vectors v_j; an entity k of the other side has the sum of those it interacted with:

    .. math:: \hat y_{kj} = v_j^\top w_k, \qquad w_k = \sum_{l \in \mathcal{I}_k} v_l

    w is zero without interactions, and both are before ``fit``.

    Args:
        side: which one has v.
        n, n_other: entities of this side and of the other one.
        rank: width of the vectors.
        profile: which of the other side's modalities are the interactions; None if it has another one in their place.
        strength: the score of a prediction that is one standard deviation of the interactions above their mean.

    Attributes:
        model: the name of the model that it is by itself.
        in_training: whether a model is trained on top of it, to learn what it leaves, or it joins in evaluation alone.
    """

    model = None
    in_training = True

    def __init__(self, side: str, n: int, n_other: int, rank: int, profile: int | None, strength: float):
        super().__init__()
        self.side, self.rank, self.profile, self.strength = side, rank, profile, strength
        self.register_buffer("of_side", torch.zeros(n, rank))
        self.register_buffer("of_other", torch.zeros(n_other, rank))

    def fit(self, matrix: SparseRows, show_progress: bool = False) -> None:
        """Solve, with progress bars if they are wanted; ``matrix``: other side x this side, training interactions."""
        raise NotImplementedError

    def _factor(self, variance: Tensor, n_trained: int) -> Tensor:
        """() of v and of w, by which scores are in units of ``strength``; ``variance``: see ``variation``."""
        deviation = (variance / (n_trained * len(self.of_other))).sqrt()
        return (self.strength / deviation).sqrt()

    def own(self, ids: Tensor, used: Tensor, profiles: SparseRows | None = None) -> Tensor:
        """(R,) ids, (R, M) bool which modalities of ``side`` to read -> (R, P), v; ``profiles``: see ``forward``."""
        raise NotImplementedError

    def own_of(self, features: Modalities, used: Tensor) -> Tensor:
        """As ``own``, of entities that are not among those of the training data."""
        raise NotImplementedError

    def of_trained(self, side: str, ids: Tensor) -> Tensor:
        """(R,) ids -> (R, P), as in training: of all content, and of all training interactions."""
        return (self.of_side if side == self.side else self.of_other)[ids]

    def forward(self, side: str, ids: Tensor, used: Tensor, profiles: SparseRows | None = None) -> Tensor:
        """(R,) ids, (R, M) bool which of the side's modalities to read -> (R, P).

        ``profiles`` are R interaction rows to read in place of the entities' own.
        """
        if side == self.side:
            return self.own(ids, used, profiles)
        rows = self.of_other[ids] if profiles is None else weighted_row_sum(profiles, self.of_side)
        return masked(rows, used, self.profile)

    def parts(self, side: str, entity: int | Modalities, used: Tensor) -> Tensor:
        """(M, P) the Shapley values of one entity's modalities ``used`` (M,); see ``InnerProductModel.parts``."""

        def choices(masks: Tensor) -> Tensor:
            rows = torch.zeros(len(masks), dtype=torch.long)
            if isinstance(entity, int):
                return self(side, rows + entity, masks)
            return self.embed(entity.rows(rows), masks)

        return shapley_parts(choices, used)[0]

    def embed(self, features: Modalities, used: Tensor) -> Tensor:
        """As ``forward``, of entities that are not among those of the training data."""
        if features.side == self.side:
            return self.own_of(features, used)
        if self.profile is None:
            return self.of_other.new_zeros(len(used), self.rank)
        return masked(weighted_row_sum(features.entries[self.profile].values, self.of_side), used, self.profile)


def masked(rows: Tensor, used: Tensor, modality: int | None) -> Tensor:
    """(R, P) rows, zero where the modality is not used, or nothing is if there is none."""
    return rows * (used.any(1) if modality is None else used[:, modality]).unsqueeze(1)


def variation(matrix: SparseRows, n_columns: int) -> Tensor:
    """() the sum of squares of the interactions around the mean of their row, over ``n_columns`` of the columns."""
    lengths = matrix.lengths.float()
    return (lengths - lengths.square() / max(n_columns, 1)).sum()
