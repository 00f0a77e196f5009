"""A kernel ridge regression from content to interactions, also where some of the content is missing."""

import torch
from torch import Tensor

from recbole_sibrar.data.modalities import INTERACTIONS, Modalities
from recbole_sibrar.data.sparse import SparseRows, weighted_row_sum
from recbole_sibrar.kinds import WEIGHTS
from recbole_sibrar.models.components import sums_by_rows
from recbole_sibrar.models.features import LinearFeatures
from recbole_sibrar.models.priors.kernel import KernelComponents
from recbole_sibrar.models.priors.prior import Prior, variation


class ContentPrior(Prior):
    r"""Kernel ridge regression from content to interactions; a model is trained on top of it and learns what it leaves.

    With c_j the first ``DIRECTIONS`` components of an entity's content (``KernelComponents``, of ``ANCHORS`` anchors)
    and s^2 their squared lengths,

    .. math:: v_j^\top w_k = \sum_{l \in \mathcal{I}_k} c_j^\top \operatorname{diag}(s^2 + \lambda)^{-1} c_l

    ``ContentRidge`` but for the kernel, which sees modalities together (an old film of this genre), and for the mean of
    each k. It is cut to ``RANK`` by reduced-rank regression, the first eigenvectors of the predictions. lambda is what
    generalised cross-validation chooses (Golub, Heath and Wahba, Technometrics 1979), which needs the training data
    alone.

    The users' w are the sums of what the entities of training have, from all of their content. v is zero without
    content, and both are where there is nothing to explain.

    Args:
        modalities: M modalities of the N entities of the side; interactions are no content.
        trained: (N,) bool, the entities that occur in training.
        n_other, profile, strength: see ``Prior``.
    """

    model = "KernelRidge"
    RANK = 64  # on ml-100k and ml-1m a regression of this rank ranks as the full one
    PENALTIES = tuple(1000.0 * 0.6**step for step in range(20))
    ANCHORS = 2048
    DIRECTIONS = 512

    def __init__(self, modalities: Modalities, trained: Tensor, n_other: int, profile: int | None, strength: float):
        super().__init__(modalities.side, len(trained), n_other, self.RANK, profile, strength)
        self.content = [m for m, name in enumerate(modalities.names) if name != INTERACTIONS]
        self.n_trained = int(trained.sum())
        content = modalities.content
        features = LinearFeatures(content, trained, WEIGHTS)
        self.components = KernelComponents(content, trained, features, self.DIRECTIONS, 0, n_anchors=self.ANCHORS)
        self.register_buffer("turn", torch.zeros(self.components.rank, self.rank))

    @torch.no_grad()
    def fit(self, matrix: SparseRows, show_progress: bool = False) -> None:
        variance = variation(matrix, self.n_trained)
        if not len(self.components.known) or not variance > 0:
            return
        self.components.fit(show_progress)
        values = self.components.squares
        is_there = values > 0
        if not is_there.any():
            return
        values = values[is_there]
        spread = self._spread(matrix, show_progress)[is_there][:, is_there]
        penalty = self._penalty(values, spread, variance)
        scale = (values + penalty).rsqrt()
        _, vectors = torch.linalg.eigh(scale.unsqueeze(1) * spread * scale)
        turn = scale.unsqueeze(1) * vectors[:, -self.rank :] * self._factor(variance, self.n_trained)
        self.turn.zero_()[is_there.nonzero(), torch.arange(turn.shape[1], device=turn.device)] = turn
        known = torch.zeros_like(self.components.available)
        known[self.components.known] = self.components.available[self.components.known]
        self.of_side.copy_(self.components.table(known) @ self.turn)
        self.of_other.copy_(weighted_row_sum(matrix, self.of_side))
        self.components.forget()

    def _spread(self, matrix: SparseRows, show_progress: bool) -> Tensor:
        """(P, P), the products of the components with the interactions, squared."""
        rows = self.components.decomposed_table()
        spread = rows.new_zeros(rows.shape[1], rows.shape[1])
        for profiles in sums_by_rows(matrix, rows, show_progress):
            spread += profiles.T @ profiles
        return spread

    def _penalty(self, values: Tensor, spread: Tensor, variance: Tensor) -> float:
        """lambda by generalised cross-validation."""
        scores = []
        for penalty in self.PENALTIES:
            kept = values / (values + penalty)
            left = variance - (spread.diagonal() / values * (1 - (1 - kept).square())).sum()
            scores.append(left / (self.n_trained - 1 - kept.sum()).square())
        return self.PENALTIES[int(torch.stack(scores).argmin())]

    def own(self, ids: Tensor, used: Tensor, profiles: SparseRows | None = None) -> Tensor:
        return self.components(ids, used[:, self.content]) @ self.turn

    def own_of(self, features: Modalities, used: Tensor) -> Tensor:
        return self.components.embed(features.content, used[:, self.content]) @ self.turn
