"""The Gaussian kernel, the components of content that it makes, and the ridge regression with it."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from recbole_sibrar.data.modalities import Modalities
from recbole_sibrar.kinds.feature_rows import FeatureRows
from recbole_sibrar.models.components import Components, blocks, predictive, predictive_turn, solution
from recbole_sibrar.models.decomposition import EXACT, precise, principal
from recbole_sibrar.models.features import LinearFeatures

GAMMA = 0.5
PENALTY = 0.1


@dataclass(frozen=True)
class GaussianKernel:
    r"""With A anchors, :math:`k(x, y) = m \, e^{-\gamma \lVert x - y \rVert^2 / m}`, m their mean squared length.

    What an entity lacks is as far from the mean as that of others, in a direction of its own, so that two entities are
    no more alike for lacking the same. Its squared length, ``lacking``, is zero for a complete entity.

    Attributes:
        anchors: (F, A). lengths: (A,) their squared lengths. square: (), m, 1 if there are none.
    """

    anchors: Tensor
    lengths: Tensor
    square: Tensor
    gamma: float = GAMMA

    @classmethod
    def of(cls, anchors: FeatureRows, lacking: Tensor, gamma: float = GAMMA) -> "GaussianKernel":
        lengths = anchors.squared_lengths() + lacking
        square = lengths.mean().clamp(min=1e-6) if len(lengths) else lengths.new_ones(())
        return cls(anchors.dense().T.contiguous(), lengths, square, gamma)

    def __call__(self, features: FeatureRows, lacking: Tensor | float = 0.0) -> Tensor:
        """(R, F), (R,) -> (R, A)."""
        distances = features.times(self.anchors).mul_(-2)
        distances.add_((features.squared_lengths() + lacking).unsqueeze(1)).add_(self.lengths)
        return distances.clamp_(min=0).mul_(-self.gamma / self.square).exp_().mul_(self.square)


class KernelRegression:
    r"""Kernel ridge regression with an intercept, penalised by ``PENALTY`` times the mean squared length.

    Args:
        anchors: (A, F), what is regressed from.
        lacking: (A,) as in ``GaussianKernel``.
        targets: (A, P), what is regressed to.
    """

    def __init__(self, anchors: FeatureRows, lacking: Tensor, targets: Tensor):
        self.kernel = GaussianKernel.of(anchors, lacking)
        similar = precise(self.kernel(anchors, lacking))
        similar.fill_diagonal_(self.kernel.square)
        self.mean = similar.mean(0)
        similar -= self.mean
        similar -= similar.mean(1, keepdim=True)
        similar.diagonal().add_(PENALTY * self.kernel.square)
        self.factor = torch.linalg.cholesky(similar)
        self.average = targets.mean(0)
        self.targets = targets - self.average
        self._coefficients: Tensor | None = None
        self._asked = 0

    @property
    def n_numbers(self) -> int:
        """How many numbers it holds, before it is asked."""
        return self.kernel.anchors.numel() + self.factor.numel() + self.targets.numel()

    def __call__(self, features: FeatureRows) -> Tensor:
        """(R, F), complete -> (R, P); solved for these R, until as many were asked for as there are columns."""
        centred = self.kernel(features).to(self.mean).sub_(self.mean)
        centred -= centred.mean(1, keepdim=True)
        self._asked += len(centred)
        if self._coefficients is None and self._asked < self.targets.shape[1]:
            solved = torch.cholesky_solve(centred.T, self.factor).T.to(self.targets)
            return solved @ self.targets + self.average
        if self._coefficients is None:
            self._coefficients = torch.cholesky_solve(self.targets.to(self.factor), self.factor).to(self.targets)
        return centred.to(self.targets) @ self._coefficients + self.average


class KernelComponents(Components):
    r"""Of the Gaussian kernel, centred: :math:`(k(x, \cdot) - \bar k) B`.

    Up to ``EXACT`` training entities all of them are anchors, and B decomposes their kernel; of more, ``n_anchors``
    are, and the kernel is that of Nystroem (Williams and Seeger, NIPS 2000).

    An entity that lacks some of the content has the components that a second regression expects from what is left, from
    these modalities of the anchors to the anchors' components (``KernelRegression``): of all that have them, and of
    those that have most of them, up to ``n_partial``, which falls with the number of kinds, so that many take no longer
    than eight regressions from all. It is solved when such an entity is first met. (By the kernel itself, the entity
    would be far from all that are like it in what is left.) What no entity of training has, ``absent``, is nothing to
    lack.
    """

    LEAST = 10  # anchors that a regression from a part of the content needs; with fewer, the kernel itself is taken
    KEPT = 1 << 26  # numbers in the regressions that are kept

    def __init__(
        self,
        modalities: Modalities,
        trained: Tensor,
        features: LinearFeatures,
        limit: int,
        seed: int,
        n_anchors: int = EXACT,
        gamma: float = GAMMA,
    ):
        self.n_anchors = n_anchors
        super().__init__(modalities, trained, features, limit, seed)
        n = min(n_anchors, len(self.known))
        places = torch.linspace(0, len(self.known) - 1, n, dtype=torch.double, device=self.known.device)
        anchors = self.known[places.long()]
        having = self.available[anchors]
        rows = features(anchors, having)
        self.gamma = gamma
        self.n_partial = int(2 * EXACT / max(1, len(self.available[self.known].unique(dim=0))) ** (1 / 3))
        self.register_buffer("absent", ~self.available[self.known].any(0), persistent=False)
        self.register_buffer("anchors", anchors, persistent=False)
        self.register_buffer("usual", features.squared_lengths(rows).sum(0) / having.sum(0).clamp(min=1))
        kernel = GaussianKernel.of(rows, self._lacking(having), gamma)
        self.register_buffer("anchor_features", kernel.anchors, persistent=False)
        self.register_buffer("anchor_lengths", kernel.lengths, persistent=False)
        self.register_buffer("square", kernel.square, persistent=False)
        self.register_buffer("basis", torch.zeros(n, self.rank))
        self.register_buffer("offset", torch.zeros(self.rank))
        self._partial: dict = {}
        self.register_load_state_dict_post_hook(self._forget_partial)

    def most(self) -> int:
        return min(len(self.known), self.n_anchors)

    @property
    def n_numbers(self) -> int:
        return self.basis.numel()

    def _forget_partial(self, *_: object) -> None:
        """The regressions from a part of the content, when the one from all of it changes."""
        self._partial.clear()

    @property
    def _kernel(self) -> GaussianKernel:
        return GaussianKernel(self.anchor_features, self.anchor_lengths, self.square, self.gamma)

    def _lacking(self, having: Tensor) -> Tensor:
        """(R, M) bool -> (R,) the squared length that what is not there has on average."""
        return (~having).to(self.usual) @ self.usual

    def _similar(self, ids: Tensor) -> Tensor:
        """(R,) entities of training -> (R, A)."""
        rows = self._kernel(self._whole(ids), self._lacking(self.available[ids]))
        return rows.masked_fill_(ids.unsqueeze(1).eq(self.anchors), self.square)

    def decompose(self, show_progress: bool, targets: Tensor | None) -> Tensor:
        rows = torch.cat([self._similar(ids) for ids in blocks(self.anchors, show_progress)])
        if len(self.anchors) == len(self.known):
            mean = rows.mean(0)
            rows -= mean
            rows -= rows.mean(1, keepdim=True)
            values, basis, components = self._of_all(rows, targets)
            basis -= basis.mean(0)  # as it is, but for rounding, which the mean of a kernel's row would blow up
            offset = mean @ basis
        else:
            values, vectors = principal(rows, self.rank if targets is None else len(rows))
            basis = vectors * values.rsqrt()
            components = torch.cat([self._similar(ids) @ basis for ids in blocks(self.known, show_progress)])
            mean = components.mean(0)
            components -= mean
            gram = components.T @ components
            values, turn = (
                principal(gram, self.rank) if targets is None else predictive(gram, components.T @ targets, self.rank)
            )
            basis, components, offset = basis @ turn, components @ turn, mean @ turn
        self.squares.zero_()[: len(values)] = values
        self.basis.zero_()[:, : len(values)] = basis
        self.offset.zero_()[: len(values)] = offset
        self._forget_partial()
        return F.pad(components, (0, self.rank - len(values)))

    def _of_all(self, gram: Tensor, targets: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """(K, K) -> (P,) squares, (K, P) basis, (K, P) components."""
        if targets is None:
            values, vectors = principal(gram, self.rank)
            return values, vectors * values.rsqrt(), vectors * values.sqrt()
        solved, product = solution(gram, targets)
        values, turn = predictive_turn(solved, product, self.rank)
        return values, solved @ turn, product @ turn

    def decomposed(self, ids: Tensor) -> Tensor:
        return self._similar(ids) @ self.basis - self.offset

    def is_plain(self, used: Tensor) -> Tensor:
        return (used | self.absent).all(1)

    def forward(self, ids: Tensor, used: Tensor) -> Tensor:
        return self._by_kind(used, lambda place: self.features(ids[place], used[place]))

    def embed(self, modalities: Modalities, used: Tensor) -> Tensor:
        return self._by_kind(used, lambda place: self.features.embed(modalities.rows(place), used[place]))

    def _by_kind(self, used: Tensor, read: Callable[[Tensor], FeatureRows]) -> Tensor:
        """(R, M) bool which modalities to read, and what gives the features of some of the R -> (R, P)."""
        rows = self.squares.new_zeros(len(used), self.rank)
        kinds, kind_of = used.unique(dim=0, return_inverse=True)
        for n, kind in enumerate(kinds):
            if kind.any():
                place = (kind_of == n).nonzero().squeeze(1)
                rows[place] = self._of_kind(kind, read(place))
        return rows

    def _of_kind(self, kind: Tensor, features: FeatureRows) -> Tensor:
        """(M,) bool, (R, F) features of entities that have these modalities -> (R, P)."""
        kind = kind | self.absent
        key = tuple(kind.tolist())
        regression = None if all(key) else self._recalled(key, kind)
        if regression is None:
            return self._kernel(features, self._lacking(kind)) @ self.basis - self.offset
        return regression(self.features.part(features, key))

    def _recalled(self, key: tuple[bool, ...], kind: Tensor) -> KernelRegression | None:
        """The regression from a kind, of which those asked for last are kept."""
        if key in self._partial:
            self._partial[key] = self._partial.pop(key)
            return self._partial[key]
        self._partial[key] = regression = self._regression(kind)
        while len(self._partial) > 1 and sum(each.n_numbers for each in self._partial.values() if each) > self.KEPT:
            del self._partial[next(iter(self._partial))]
        return regression

    def _regression(self, kind: Tensor) -> KernelRegression | None:
        """From these modalities to the components, or None where too few anchors have some of them."""
        having = self.available[self.anchors] & kind
        n_whole = int((having | ~kind | self.absent).all(1).sum())
        n = max(n_whole, min(self.n_partial, int(having.any(1).sum())))
        if n < self.LEAST:
            return None
        fullest = (having.to(self.usual) @ self.usual).argsort(descending=True, stable=True)[:n]
        shown, having = self.anchors[fullest], having[fullest]
        if self._decomposed is None:
            targets = torch.cat([self.decomposed(ids) for ids in blocks(shown, False)])
        else:
            targets = self._decomposed[torch.searchsorted(self.known, shown)]
        part = self.features.part(self.features(shown, having), tuple(kind.tolist()))
        return KernelRegression(part, self._lacking(having | ~kind), targets)
