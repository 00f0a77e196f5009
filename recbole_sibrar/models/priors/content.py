"""A kernel ridge regression from content to interactions, also where some of the content is missing."""

import torch
from torch import Tensor
from tqdm import tqdm

from recbole_sibrar.data.modalities import INTERACTIONS, Modalities
from recbole_sibrar.data.sparse import SparseRows, weighted_row_sum
from recbole_sibrar.models.decomposition import principal
from recbole_sibrar.models.features import WEIGHTS, LinearFeatures
from recbole_sibrar.models.priors.kernel import GAMMA, KernelRegression, gaussian, mean_square
from recbole_sibrar.models.priors.prior import Prior, variation


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

    An entity that lacks some of the content has the v that a second regression expects from what is left, from these
    modalities of the anchors to the anchors' v (``KernelRegression``). It is solved when such an entity is first met.
    (With a missing modality put at its mean, the entity would be far from all that are like it in the others.)
    The users' w stay as they are. v is zero without content, and both are where there is nothing to explain.

    Args:
        modalities: M modalities of the N entities of the side; interactions are no content.
        trained: (N,) bool, the entities that occur in training.
        n_other, profile, rank, strength: see ``Prior``.
        gamma: of the kernel.
    """

    model = "KernelRidge"
    RANK = 64  # on ml-100k and ml-1m a regression of this rank ranks as the full one
    PENALTIES = tuple(1000.0 * 0.6**step for step in range(20))
    ANCHORS = 2048
    DIRECTIONS = 512  # principal components of the kernel that are looked at
    ROWS = 4096  # entities at a time
    LEAST = 10  # anchors that a regression from a part of the content needs; with fewer, what is missing is its mean

    def __init__(
        self,
        modalities: Modalities,
        trained: Tensor,
        n_other: int,
        profile: int | None,
        strength: float,
        rank: int = RANK,
        gamma: float = GAMMA,
    ):
        super().__init__(modalities.side, len(trained), n_other, rank, profile, strength)
        self.gamma, self.n_directions = gamma, max(self.DIRECTIONS, rank)
        self._decomposition: tuple | None = None
        self.content = [m for m, name in enumerate(modalities.names) if name != INTERACTIONS]
        self.features = LinearFeatures(modalities.content, trained, WEIGHTS)
        self.register_buffer("available", modalities.content.available, persistent=False)
        self.register_buffer("trained", trained, persistent=False)
        known = self._known()
        places = torch.linspace(0, len(known) - 1, min(self.ANCHORS, len(known)), device=known.device)
        anchors = known[places.long()]
        self.register_buffer("anchors", self.features(anchors, self.available[anchors]), persistent=False)
        self.register_buffer("anchor_available", self.available[anchors], persistent=False)
        self.register_buffer("square", mean_square(self.anchors), persistent=False)
        self.register_buffer("coefficients", torch.zeros(len(anchors), rank))
        self.register_buffer("offset", torch.zeros(rank))
        self.register_buffer("targets", torch.zeros(len(anchors), rank))
        self._systems, self._partial = {}, {}
        self.register_load_state_dict_post_hook(self._forget)

    def _known(self):
        """The training entities that have content."""
        return (self.trained & self.available.any(1)).nonzero().squeeze(1)

    def _forget(self, *_):
        """The regressions from a part of the content, when the one from all of it changes."""
        self._partial.clear()

    def _kernel(self, features):
        """(R, F) -> (R, A), with the anchors."""
        return gaussian(features, self.anchors, self.square, self.gamma)

    @torch.no_grad()
    def fit(self, matrix, show_progress=False):
        self.solve(matrix, show_progress=show_progress)
        self._decomposition = None

    @torch.no_grad()
    def solve(self, matrix: SparseRows, penalty: float = None, show_progress: bool = False) -> Tensor:
        """As ``fit``, with a lambda of one's own, and quickly for the next one.

        Returns:
            () the share of the interactions' variance that full rank leaves unexplained; 0 if there is none.
        """
        known, n_trained = self._known(), int(self.trained.sum())
        variance = variation(matrix, n_trained)
        if not len(known) or not variance > 0:
            return torch.zeros(())
        if self._decomposition is None:
            self._decomposition = self._decompose(matrix, known, show_progress)
        map_to, mean, rows, values, spread = self._decomposition
        if not len(values):
            return torch.ones(())
        if penalty is None:
            penalty = self._penalty(values, spread, variance, n_trained)
        scale = (values + penalty).rsqrt()
        _, vectors = torch.linalg.eigh(scale.unsqueeze(1) * spread * scale)
        turn = scale.unsqueeze(1) * vectors[:, -self.rank :] * self._factor(variance, n_trained)
        self.coefficients.zero_()[:, : turn.shape[1]] = map_to @ turn
        self.offset.zero_()[: turn.shape[1]] = mean @ turn
        self.of_side.zero_()[:, : turn.shape[1]] = rows @ turn
        self.targets.copy_(self._kernel(self.anchors) @ self.coefficients - self.offset)
        self._forget()
        for ids in self._blocks(known[~self.available[known].all(1)], show_progress):
            self.of_side[ids] = self._vectors(self.features(ids, self.available[ids]), self.available[ids])
        self.of_other.copy_(weighted_row_sum(matrix, self.of_side))
        return self._left(values, spread, variance, penalty) / variance

    @staticmethod
    def _left(values, spread, variance, penalty):
        """() the variance that is left unexplained."""
        kept = values / (values + penalty)
        return variance - (spread.diagonal() / values * (1 - (1 - kept).square())).sum()

    def _blocks(self, ids, show_progress):
        return tqdm(ids.split(self.ROWS), desc="Content", leave=False, disable=not show_progress)

    def _decompose(self, matrix, known, show_progress):
        """The principal components of the training entities' kernel features.

        Returns:
            (A, P) from the kernel with the anchors to the components; (P,) their mean; (N, P) the centred components of
            the training entities; (P,) their squared lengths; (P, P) their products with the interactions, squared.
        """
        basis = self._basis()
        rows = basis.new_zeros(len(self.trained), basis.shape[1])
        for ids in self._blocks(known, show_progress):
            rows[ids] = self._kernel(self.features(ids, self.available[ids])) @ basis
        mean = rows[known].mean(0)
        rows[known] -= mean
        values, directions = principal(rows.T @ rows, self.n_directions)
        rows = rows @ directions
        spread = values.new_zeros(len(values), len(values))
        for ids in self._blocks(torch.arange(len(self.of_other), device=known.device), show_progress):
            profiles = weighted_row_sum(matrix.select(ids), rows)
            spread += profiles.T @ profiles
        return basis @ directions, mean @ directions, rows, values, spread

    def _basis(self):
        """(A, P), by which rows of the kernel become features whose inner products are the kernel."""
        values, vectors = principal(self._kernel(self.anchors).double(), self.n_directions)
        return (vectors * values.rsqrt()).float()

    def _penalty(self, values, spread, variance, n_trained):
        """lambda by generalised cross-validation."""
        scores = []
        for penalty in self.PENALTIES:
            freedom = n_trained - 1 - (values / (values + penalty)).sum()
            scores.append(self._left(values, spread, variance, penalty) / freedom.square())
        return self.PENALTIES[int(torch.stack(scores).argmin())]

    def own(self, ids, used):
        used = used[:, self.content]
        return self._vectors(self.features(ids, used), used)

    def own_of(self, features, used):
        used = used[:, self.content]
        return self._vectors(self.features.embed(features.content, used), used)

    def _vectors(self, features, used):
        """(R, F) features, zero where missing, and (R, M) bool which modalities they are of -> (R, P)."""
        rows = features.new_zeros(len(features), self.rank)
        kinds, kind_of = used.unique(dim=0, return_inverse=True)
        for n, kind in enumerate(kinds):
            if kind.any():
                place = (kind_of == n).nonzero().squeeze(1)
                rows[place] = self._vectors_of_kind(kind, features[place])
        return rows

    def _vectors_of_kind(self, kind, features):
        """(M,) bool, (R, F) features of entities that have these modalities -> (R, P)."""
        shown = self.anchor_available[:, kind].all(1)
        if kind.all() or shown.sum() < self.LEAST:
            return self._kernel(features) @ self.coefficients - self.offset
        columns, key = self.features.columns_of(kind), tuple(kind.tolist())
        if key not in self._partial:
            if key not in self._systems:
                self._systems[key] = KernelRegression(self.anchors[shown][:, columns])
            self._partial[key] = self._systems[key].fit(self.targets[shown])
        return self._partial[key](features[:, columns])
