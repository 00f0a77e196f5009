"""The content prior: a closed-form recommendation from content, for a model to learn what it leaves."""

import torch
from torch import Tensor, nn
from tqdm import tqdm

from recbole_sibrar.data.modalities import INTERACTIONS, Modalities
from recbole_sibrar.data.sparse import SparseRows, weighted_row_sum
from recbole_sibrar.models.features import WEIGHTS, LinearFeatures

RANK = 64
"""Width of the vectors; on ml-100k and ml-1m a ridge of this rank ranks as the full one."""


class ContentPrior(nn.Module):
    r"""Ridge regression from content to interactions, as inner products of vectors of both sides.

    With x_j the features of an entity of the content side (``features``) and X those of its training entities,

    .. math:: \hat y_{kj} = \sum_{l \in \mathcal{I}_k} x_j^\top (X^\top X + \lambda)^{-1} x_l = v_j^\top w_k,
              \qquad w_k = \sum_{l \in \mathcal{I}_k} v_l

    for an entity k of the other side whose training interactions are I_k: the prediction of ``ContentRidge`` but for
    the mean of each k. It is cut to ``RANK`` by reduced-rank regression, the first eigenvectors of the predictions.
    lambda is what generalised cross-validation chooses (Golub, Heath and Wahba, Technometrics 1979), which needs the
    training data alone.

    v is zero without content, w without interactions, and both where there is nothing to explain and before ``fit``.

    Args:
        modalities: M modalities of the N entities of the content side; interactions are no content.
        trained: (N,) bool, the entities that occur in training.
        n_other: K, entities of the other side.
        profile: which of the other side's modalities are the interactions; None if it has another one in their place.
    """

    PENALTIES = tuple(1000.0 * 0.6**step for step in range(20))
    DIRECTIONS = 512  # principal components of the features that are looked at
    ROWS = 4096  # entities at a time

    def __init__(self, modalities: Modalities, trained: Tensor, n_other: int, profile: int | None):
        super().__init__()
        self.side, self.profile = modalities.side, profile
        self.content = [m for m, name in enumerate(modalities.names) if name != INTERACTIONS]
        self.features = LinearFeatures(modalities.content, trained, WEIGHTS)
        self.register_buffer("available", modalities.content.available, persistent=False)
        self.register_buffer("trained", trained, persistent=False)
        self.register_buffer("coefficients", torch.zeros(self.features.width, RANK))
        self.register_buffer("of_content", torch.zeros(len(trained), RANK))
        self.register_buffer("of_other", torch.zeros(n_other, RANK))

    @torch.no_grad()
    def fit(self, matrix: SparseRows, strength: float, show_progress: bool = False) -> None:
        """Solve.

        Args:
            matrix: other x content side, the training interactions.
            strength: the score of a prediction that is one standard deviation of the interactions above their mean.
            show_progress: draw progress bars.
        """
        entities = self.trained.nonzero().squeeze(1)
        others = torch.arange(len(self.of_other), device=entities.device)

        def blocks(ids):
            return tqdm(ids.split(self.ROWS), desc="Content prior", leave=False, disable=not show_progress)

        lengths, n_trained = matrix.lengths.float(), max(len(entities), 1)
        variance = (lengths - lengths.square() / n_trained).sum()
        values, directions = self._principal(entities, blocks)
        if not len(values) or not variance > 0:
            return
        rows = values.new_zeros(len(self.trained), len(values))
        for ids in blocks(entities):
            rows[ids] = self._features(ids) @ directions
        spread = values.new_zeros(len(values), len(values))
        for ids in blocks(others):
            profiles = weighted_row_sum(matrix.select(ids), rows)
            spread += profiles.T @ profiles
        penalty = self._penalty(values, spread, variance, n_trained)
        scale = (values + penalty).rsqrt()
        _, vectors = torch.linalg.eigh(scale.unsqueeze(1) * spread * scale)
        deviation = (variance / (n_trained * len(others))).sqrt()
        turn = scale.unsqueeze(1) * vectors[:, -RANK:] * (strength / deviation).sqrt()
        self.coefficients.zero_()[:, : turn.shape[1]] = directions @ turn
        self.of_content.zero_()[:, : turn.shape[1]] = rows @ turn
        self.of_other.copy_(weighted_row_sum(matrix, self.of_content))

    def _features(self, ids):
        return self.features(ids, self.available[ids])

    def _principal(self, entities, blocks):
        """Of the Gram matrix of the features: its largest eigenvalues (R,), ascending, and their vectors (F, R)."""
        width = self.features.width
        if len(entities) <= width:
            features = self._features(entities)
            values, left = torch.linalg.eigh(features @ features.T)
            kept = self._kept(values)
            return values[kept], features.T @ left[:, kept] * values[kept].rsqrt()
        gram = self.coefficients.new_zeros(width, width)
        for ids in blocks(entities):
            features = self._features(ids)
            gram += features.T @ features
        values, right = torch.linalg.eigh(gram)
        kept = self._kept(values)
        return values[kept], right[:, kept]

    def _kept(self, values):
        return (values > values[-1:] * 1e-6).nonzero().squeeze(1)[-self.DIRECTIONS :]

    def _penalty(self, values, spread, variance, n_trained):
        """lambda by generalised cross-validation."""
        explained = spread.diagonal() / values
        scores = []
        for penalty in self.PENALTIES:
            kept = values / (values + penalty)
            left = variance - (explained * (1 - (1 - kept).square())).sum()
            scores.append(left / (n_trained - 1 - kept.sum()).square())
        return self.PENALTIES[int(torch.stack(scores).argmin())]

    def of_trained(self, side: str, ids: Tensor) -> Tensor:
        """(R,) ids -> (R, RANK), as in training: of all content, and of all training interactions."""
        return (self.of_content if side == self.side else self.of_other)[ids]

    def forward(self, side: str, ids: Tensor, used: Tensor) -> Tensor:
        """(R,) ids, (R, M) bool which of the side's modalities to read -> (R, RANK)."""
        if side == self.side:
            return self.features(ids, used[:, self.content]) @ self.coefficients
        return self.of_other[ids] if self.profile is None else self.of_other[ids] * used[:, self.profile, None]

    def embed(self, features: Modalities, used: Tensor) -> Tensor:
        """As ``forward``, of entities that are not among those of the training data."""
        if features.side == self.side:
            return self.features.embed(features.content, used[:, self.content]) @ self.coefficients
        if self.profile is None:
            return self.of_other.new_zeros(len(used), RANK)
        history = features.entries[self.profile].values
        return weighted_row_sum(history, self.of_content) * used[:, self.profile, None]
