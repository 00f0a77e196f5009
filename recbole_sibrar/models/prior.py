"""The priors: closed-form recommendations from content and from interactions, beside what a model learns."""

import torch
from torch import Tensor, nn
from tqdm import tqdm

from recbole_sibrar.data.modalities import INTERACTIONS, Modalities
from recbole_sibrar.data.sparse import SparseRows, weighted_row_sum
from recbole_sibrar.models.features import WEIGHTS, LinearFeatures


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
        in_training: whether a model is trained on top of it, to learn what it leaves, or it joins in evaluation alone.
    """

    in_training = True

    def __init__(self, side: str, n: int, n_other: int, rank: int, profile: int | None, strength: float):
        super().__init__()
        self.side, self.rank, self.profile, self.strength = side, rank, profile, strength
        self.register_buffer("of_side", torch.zeros(n, rank))
        self.register_buffer("of_other", torch.zeros(n_other, rank))

    def fit(self, matrix: SparseRows, show_progress: bool = False) -> None:
        """Solve, with progress bars if they are wanted; ``matrix``: other side x this side, training interactions."""
        raise NotImplementedError

    def own(self, ids: Tensor, used: Tensor) -> Tensor:
        """(R,) ids, (R, M) bool which modalities of ``side`` to read -> (R, P), v."""
        raise NotImplementedError

    def own_of(self, features: Modalities, used: Tensor) -> Tensor:
        """As ``own``, of entities that are not among those of the training data."""
        raise NotImplementedError

    def of_trained(self, side: str, ids: Tensor) -> Tensor:
        """(R,) ids -> (R, P), as in training: of all content, and of all training interactions."""
        return (self.of_side if side == self.side else self.of_other)[ids]

    def forward(self, side: str, ids: Tensor, used: Tensor) -> Tensor:
        """(R,) ids, (R, M) bool which of the side's modalities to read -> (R, P)."""
        if side == self.side:
            return self.own(ids, used)
        return masked(self.of_other[ids], used, self.profile)

    def embed(self, features: Modalities, used: Tensor) -> Tensor:
        """As ``forward``, of entities that are not among those of the training data."""
        if features.side == self.side:
            return self.own_of(features, used)
        if self.profile is None:
            return self.of_other.new_zeros(len(used), self.rank)
        return masked(weighted_row_sum(features.entries[self.profile].values, self.of_side), used, self.profile)


def masked(rows: Tensor, used: Tensor, modality: int | None) -> Tensor:
    """(R, P) rows, zero where the modality is not used; as they are if there is none."""
    return rows if modality is None else rows * used[:, modality, None]


def variation(matrix: SparseRows, n_columns: int) -> Tensor:
    """() the sum of squares of the interactions around the mean of their row, over ``n_columns`` of the columns."""
    lengths = matrix.lengths.float()
    return (lengths - lengths.square() / max(n_columns, 1)).sum()


class ContentPrior(Prior):
    r"""Ridge regression from content to interactions; a model is trained on top of it and learns what it leaves.

    With x_j the features of an entity (``features``) and X those of the training entities,

    .. math:: v_j^\top w_k = \sum_{l \in \mathcal{I}_k} x_j^\top (X^\top X + \lambda)^{-1} x_l

    the prediction of ``ContentRidge`` but for the mean of each k. It is cut to ``RANK`` by reduced-rank regression, the
    first eigenvectors of the predictions. lambda is what generalised cross-validation chooses (Golub, Heath and Wahba,
    Technometrics 1979), which needs the training data alone.

    v is zero without content, and both are where there is nothing to explain.

    Args:
        modalities: M modalities of the N entities of the side; interactions are no content.
        trained: (N,) bool, the entities that occur in training.
        n_other, profile, strength: see ``Prior``.
    """

    RANK = 64  # on ml-100k and ml-1m a ridge of this rank ranks as the full one
    PENALTIES = tuple(1000.0 * 0.6**step for step in range(20))
    DIRECTIONS = 512  # principal components of the features that are looked at
    ROWS = 4096  # entities at a time

    def __init__(self, modalities: Modalities, trained: Tensor, n_other: int, profile: int | None, strength: float):
        super().__init__(modalities.side, len(trained), n_other, self.RANK, profile, strength)
        self.content = [m for m, name in enumerate(modalities.names) if name != INTERACTIONS]
        self.features = LinearFeatures(modalities.content, trained, WEIGHTS)
        self.register_buffer("available", modalities.content.available, persistent=False)
        self.register_buffer("trained", trained, persistent=False)
        self.register_buffer("coefficients", torch.zeros(self.features.width, self.RANK))

    @torch.no_grad()
    def fit(self, matrix, show_progress=False):
        entities = self.trained.nonzero().squeeze(1)
        others = torch.arange(len(self.of_other), device=entities.device)

        def blocks(ids):
            return tqdm(ids.split(self.ROWS), desc="Content prior", leave=False, disable=not show_progress)

        n_trained, variance = max(len(entities), 1), variation(matrix, len(entities))
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
        turn = scale.unsqueeze(1) * vectors[:, -self.RANK :] * (self.strength / deviation).sqrt()
        self.coefficients.zero_()[:, : turn.shape[1]] = directions @ turn
        self.of_side.zero_()[:, : turn.shape[1]] = rows @ turn
        self.of_other.copy_(weighted_row_sum(matrix, self.of_side))

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

    def own(self, ids, used):
        return self.features(ids, used[:, self.content]) @ self.coefficients

    def own_of(self, features, used):
        return self.features.embed(features.content, used[:, self.content]) @ self.coefficients


class InteractionPrior(Prior):
    r"""A linear autoencoder of the users' interactions; it joins a trained model in evaluation.

    With :math:`U S V^\top` the singular value decomposition of the training interactions, users x items, cut to
    ``RANK``,

    .. math:: v = V \Big(\frac{S^2}{S^2 + \lambda}\Big)^{1/2}, \qquad
              w v^\top = X (X^\top X + \lambda)^{-1} X^\top X.

    EASE (Steck, WWW 2019) differs, for items that a user does not know, by a factor for each item, which keeps an item
    from predicting itself. lambda is ``SHRINKAGE`` times the mean number of an item's interactions, which is Steck's
    denoising (NeurIPS 2020) with a dropout of 10 in 11, the same for every item.

    Training does not see it: an interaction is both what it predicts and what it predicts from, so that it leaves
    less of a training interaction than of a new one (docs/experiments.md).

    Args:
        n_items, n_users: entities of both sides.
        own: which of the items' modalities are their interactions; None if they have another one in their place.
        profile, strength: see ``Prior``.
        seed: of the decomposition's random directions.
    """

    RANK = 512
    SHRINKAGE = 10.0
    ITERATIONS, OVERSAMPLING = 5, 10
    in_training = False

    def __init__(self, n_items: int, n_users: int, own: int | None, profile: int | None, strength: float, seed: int):
        super().__init__("item", n_items, n_users, min(self.RANK, n_items, n_users), profile, strength)
        self.interactions, self.seed = own, seed
        self.register_buffer("folding", torch.zeros(self.rank))

    @torch.no_grad()
    def fit(self, matrix, show_progress=False):
        n_trained = len(matrix.columns.unique())
        variance = variation(matrix, n_trained)
        if not variance > 0:
            return
        squares, vectors = self._principal(matrix, show_progress)
        penalty = self.SHRINKAGE * len(matrix.columns) / n_trained
        deviation = (variance / (n_trained * len(self.of_other))).sqrt()
        self.of_side.copy_(vectors * (squares / (squares + penalty) * self.strength / deviation).sqrt())
        self.of_other.copy_(weighted_row_sum(matrix, self.of_side))
        self.folding.copy_(squares.reciprocal().where(squares > 0, 0.0))

    def _principal(self, matrix, show_progress):
        """The largest S^2, (P,), and V, (n_items, P), by subspace iteration (Halko, Martinsson and Tropp, 2011)."""
        by_item, n_items = matrix.transposed(), matrix.n_columns

        def gram(table):
            return weighted_row_sum(by_item, weighted_row_sum(matrix, table))

        generator = torch.Generator().manual_seed(self.seed)
        width = min(self.rank + self.OVERSAMPLING, n_items)
        directions = torch.randn(n_items, width, generator=generator).to(self.of_side)
        for _ in tqdm(range(self.ITERATIONS), desc="Interaction prior", leave=False, disable=not show_progress):
            directions = torch.linalg.qr(gram(directions)).Q
        values, turn = torch.linalg.eigh(directions.T @ gram(directions))
        values = values[-self.rank :]
        return values.where(values > values[-1] * 1e-6, 0.0), directions @ turn[:, -self.rank :]

    def own(self, ids, used):
        return masked(self.of_side[ids], used, self.interactions)

    def own_of(self, features, used):
        """v of items by their users, w_k / S^2 in sum: for an item of the training data what it has."""
        if self.interactions is None:
            return self.of_side.new_zeros(len(used), self.rank)
        users = features.entries[self.interactions].values
        return masked(weighted_row_sum(users, self.of_other) * self.folding, used, self.interactions)
