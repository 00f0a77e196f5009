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

    def _factor(self, variance: Tensor, n_trained: int) -> Tensor:
        """() of v and of w, by which scores are in units of ``strength``; ``variance``: see ``variation``."""
        deviation = (variance / (n_trained * len(self.of_other))).sqrt()
        return (self.strength / deviation).sqrt()

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


def principal(gram: Tensor, limit: int) -> tuple:
    """The largest eigenvalues (P,) of a matrix, ascending and none of them next to zero, and their vectors (N, P)."""
    values, vectors = torch.linalg.eigh(gram)
    kept = (values > values[-1] * 1e-6).nonzero().squeeze(1)[-limit:]
    return values[kept], vectors[:, kept]


class ContentPrior(Prior):
    r"""Kernel ridge regression from content to interactions; a model is trained on top of it and learns what it leaves.

    With x_j the features of an entity (``features``), m their mean squared length and K the kernel of the training
    entities, centred,

    .. math:: v_j^\top w_k = \sum_{l \in \mathcal{I}_k} \big( k(x_j, \cdot) (K + \lambda)^{-1} \big)_l, \qquad
              k(x, y) = m \, e^{-\gamma \lVert x - y \rVert^2 / m}

    ``ContentRidge`` but for the kernel, which sees modalities together (an old film of this genre), and for the mean of
    each k. It is cut to ``RANK`` by reduced-rank regression, the first eigenvectors of the predictions. lambda is what
    generalised cross-validation chooses (Golub, Heath and Wahba, Technometrics 1979), which needs the training data
    alone. From ``ANCHORS`` entities on the kernel is that of Nystroem (Williams and Seeger, NIPS 2000).

    v is zero without content, and both are where there is nothing to explain.

    Args:
        modalities: M modalities of the N entities of the side; interactions are no content.
        trained: (N,) bool, the entities that occur in training.
        n_other, profile, strength: see ``Prior``.
    """

    RANK = 64  # on ml-100k and ml-1m a regression of this rank ranks as the full one
    GAMMA = 0.5
    PENALTIES = tuple(1000.0 * 0.6**step for step in range(20))
    ANCHORS = 2048
    DIRECTIONS = 512  # principal components of the kernel that are looked at
    ROWS = 4096  # entities at a time

    def __init__(self, modalities: Modalities, trained: Tensor, n_other: int, profile: int | None, strength: float):
        super().__init__(modalities.side, len(trained), n_other, self.RANK, profile, strength)
        self.content = [m for m, name in enumerate(modalities.names) if name != INTERACTIONS]
        self.features = LinearFeatures(modalities.content, trained, WEIGHTS)
        self.register_buffer("available", modalities.content.available, persistent=False)
        self.register_buffer("trained", trained, persistent=False)
        known = self._known()
        places = torch.linspace(0, len(known) - 1, min(self.ANCHORS, len(known)), device=known.device)
        anchors = known[places.long()]
        self.register_buffer("anchors", self.features(anchors, self.available[anchors]), persistent=False)
        square = self.anchors.square().sum(1).mean().clamp(min=1e-6) if len(anchors) else torch.ones(())
        self.register_buffer("square", square, persistent=False)
        self.register_buffer("coefficients", torch.zeros(len(anchors), self.RANK))
        self.register_buffer("offset", torch.zeros(self.RANK))

    def _known(self):
        """The training entities that have content."""
        return (self.trained & self.available.any(1)).nonzero().squeeze(1)

    def _kernel(self, features):
        """(R, F) -> (R, A), with the anchors."""
        return self.square * torch.exp(-self.GAMMA / self.square * torch.cdist(features, self.anchors).square())

    @torch.no_grad()
    def fit(self, matrix, show_progress=False):
        known, n_trained = self._known(), int(self.trained.sum())
        others = torch.arange(len(self.of_other), device=known.device)

        def blocks(ids):
            return tqdm(ids.split(self.ROWS), desc="Content prior", leave=False, disable=not show_progress)

        variance = variation(matrix, n_trained)
        if not len(known) or not variance > 0:
            return
        basis = self._basis()
        rows = basis.new_zeros(len(self.trained), basis.shape[1])
        for ids in blocks(known):
            rows[ids] = self._kernel(self.features(ids, self.available[ids])) @ basis
        mean = rows[known].mean(0)
        rows[known] -= mean
        values, directions = principal(rows.T @ rows, self.DIRECTIONS)
        if not len(values):
            return
        rows = rows @ directions
        spread = values.new_zeros(len(values), len(values))
        for ids in blocks(others):
            profiles = weighted_row_sum(matrix.select(ids), rows)
            spread += profiles.T @ profiles
        penalty = self._penalty(values, spread, variance, n_trained)
        scale = (values + penalty).rsqrt()
        _, vectors = torch.linalg.eigh(scale.unsqueeze(1) * spread * scale)
        turn = scale.unsqueeze(1) * vectors[:, -self.RANK :] * self._factor(variance, n_trained)
        self.coefficients.zero_()[:, : turn.shape[1]] = basis @ directions @ turn
        self.offset.zero_()[: turn.shape[1]] = mean @ directions @ turn
        self.of_side.zero_()[:, : turn.shape[1]] = rows @ turn
        self.of_other.copy_(weighted_row_sum(matrix, self.of_side))

    def _basis(self):
        """(A, P), by which rows of the kernel become features whose inner products are the kernel."""
        values, vectors = principal(self._kernel(self.anchors).double(), self.DIRECTIONS)
        return (vectors * values.rsqrt()).float()

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
        used = used[:, self.content]
        return self._vectors(self.features(ids, used), used)

    def own_of(self, features, used):
        used = used[:, self.content]
        return self._vectors(self.features.embed(features.content, used), used)

    def _vectors(self, features, used):
        return (self._kernel(features) @ self.coefficients - self.offset) * used.any(1, keepdim=True)


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
        kept = (squares / (squares + penalty)).sqrt() * self._factor(variance, n_trained)
        self.of_side.zero_()[:, : len(squares)] = vectors * kept
        self.of_other.copy_(weighted_row_sum(matrix, self.of_side))
        self.folding.zero_()[: len(squares)] = squares.reciprocal()

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
        squares, turn = principal(directions.T @ gram(directions), self.rank)
        return squares, directions @ turn

    def own(self, ids, used):
        return masked(self.of_side[ids], used, self.interactions)

    def own_of(self, features, used):
        """v of items by their users, w_k / S^2 in sum: for an item of the training data what it has."""
        if self.interactions is None:
            return self.of_side.new_zeros(len(used), self.rank)
        users = features.entries[self.interactions].values
        return masked(weighted_row_sum(users, self.of_other) * self.folding, used, self.interactions)
