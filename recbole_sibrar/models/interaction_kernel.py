"""What interactions say of a user, read off the items' learned embeddings by a kernel ridge regression."""

from typing import NamedTuple

import torch
from torch import Tensor

from recbole_sibrar.data.modalities import INTERACTIONS, Modalities
from recbole_sibrar.data.sparse import SparseRows, weighted_row_sum
from recbole_sibrar.kinds.id import Id
from recbole_sibrar.layers import differ
from recbole_sibrar.models.attribution import Part, beside_zeros, shapley_parts
from recbole_sibrar.models.interaction_ridge import ROWS, RidgeRecommender, moments, ridge_table

KERNEL = "interaction_kernel"

LANDMARKS = 512
"""As many or fewer items, from which the kernel is seen."""

PENALTY = 1.0
"""On the regression's coefficients, in units of the features' mean squared distance from their mean."""

JITTER = 1e-3
"""Landmarks count as different by so much of their mean square, where they are the same."""


class KernelFeatures(NamedTuple):
    r"""Features of embeddings whose inner products are those of an arc-cosine kernel (Cho and Saul, NeurIPS 2009).

    .. math:: k(x, y) = \frac{\|x\| \|y\|}{\pi} \big( \sin \theta + (\pi - \theta) \cos \theta \big),
              \qquad \theta = \angle(x, y)

    of x and y around the landmarks' mean: a hidden layer of rectified units without end. As with inner products, and
    unlike with a Gaussian kernel, an embedding that is short because little is known of it says little. It is seen from
    landmarks (Nystroem's method), between which it is exact.

    Attributes:
        landmarks: (L, D), around the mean (D,), in units of their root mean squared length. turn: (L, L).
    """

    landmarks: Tensor
    mean: Tensor
    unit: Tensor
    turn: Tensor

    @classmethod
    def of(cls, landmarks: Tensor) -> "KernelFeatures":
        """
        >>> features = KernelFeatures.of(torch.tensor([[1.0, 0.0], [-1.0, 0.0]]))
        >>> rows = features(torch.tensor([[1.0, 0.0], [-1.0, 0.0]]))
        >>> (rows @ rows.T).round(decimals=2).abs()
        tensor([[1., 0.],
                [0., 1.]])
        """
        mean = landmarks.mean(0)
        unit = (landmarks - mean).square().sum(1).mean().sqrt()
        unit = torch.where(differ(unit, mean), unit, torch.inf)  # features of landmarks that are all the same are zero
        landmarks = (landmarks - mean) / unit
        kernel = arc_cosine(landmarks, landmarks).double()
        kernel.diagonal().add_(JITTER)
        return cls(landmarks, mean, unit, torch.linalg.inv(torch.linalg.cholesky(kernel)).T.to(landmarks))

    def __call__(self, rows: Tensor) -> Tensor:
        """(N, D) -> (N, L)."""
        parts = ((part - self.mean) / self.unit for part in rows.split(ROWS))
        return torch.cat([arc_cosine(part, self.landmarks) @ self.turn for part in parts])


def arc_cosine(rows: Tensor, others: Tensor) -> Tensor:
    """(N, D), (L, D) -> (N, L), the kernel of ``KernelFeatures``.

    >>> arc_cosine(torch.tensor([[2.0, 0.0]]), torch.tensor([[1.0, 0.0], [-1.0, 0.0]])).round(decimals=2).abs()
    tensor([[2., 0.]])
    """
    lengths = rows.norm(dim=1, keepdim=True) * others.norm(dim=1)
    cosine = (rows @ others.T / lengths).nan_to_num(0, 0, 0).clamp(-1, 1)
    angle = cosine.acos()
    return lengths * (angle.sin() + (torch.pi - angle) * cosine) / torch.pi


class KernelRecommender(RidgeRecommender):
    r"""With ``interaction_kernel``, another regression joins the scores, which sees what of the content goes together.

    .. math:: s'_{ui} = s_{ui} + \beta \langle v_u, \phi(e_i) \rangle

    :math:`v_u` regresses the user's interactions on features of the networks' embeddings of the training items, of
    their content as a cold item has it (of all they have where none has content): a deep kernel (Wilson et al., AISTATS
    2016) on embeddings that were learned without it. As the linear regressions it joins in evaluation, is zero without
    interactions, and its scores spread as the networks' do. The features are columns beside the embeddings.
    """

    def compared(self, embeddings: Tensor) -> Tensor:
        """Without the kernel's features."""
        n_features = len(self._kernel()[0].landmarks) if self.options.interaction_kernel else 0
        return super().compared(embeddings[:, : embeddings.shape[1] - n_features])

    def parts(self, side: str, entity: int | Modalities) -> list[Part]:
        parts = super().parts(side, entity)
        if not self.options.interaction_kernel:
            return parts
        features, table = self._kernel()
        widths = [len(parts[0].vector), len(features.landmarks)]
        parts = [part._replace(vector=beside_zeros(part.vector, widths, 0)) for part in parts]
        encoder = self.entities(side)
        if side == "item":
            has = encoder.read[entity] if isinstance(entity, int) else encoder.readable(entity)[1][0]
            values, mean = shapley_parts(lambda used: features(self.with_modalities(side, entity, used)), has)
            found = [*zip(encoder.names, values), ("(mean)", mean)]
        else:
            name = INTERACTIONS if INTERACTIONS in encoder.names else Id.name
            found = [(name, weighted_row_sum(self._profile_of(side, entity), table)[0])]
        return parts + [Part(KERNEL, name, beside_zeros(vector, widths, 1)) for name, vector in found if vector.any()]

    @property
    def _extends(self) -> bool:
        return super()._extends or bool(self.options.interaction_kernel)

    def _extended(self, fused: Tensor, side: str, profiles: SparseRows) -> Tensor:
        extended = super()._extended(fused, side, profiles)
        if not self.options.interaction_kernel:
            return extended
        features, table = self._kernel()
        return torch.cat([extended, features(fused) if side == "item" else weighted_row_sum(profiles, table)], dim=1)

    def _kernel(self) -> tuple[KernelFeatures, Tensor]:
        """The items' features, and (N, L) what an interaction with each item adds to a user's v."""
        return self._once(KERNEL, self._solve_kernel)

    @torch.no_grad()
    def _solve_kernel(self) -> tuple[KernelFeatures, Tensor]:
        ids, used = self._used_in_training("item")
        view, there = self._in_training("item", ids, used[-1]), used[-1].any(1)
        known = view[there]
        features = KernelFeatures.of(known[torch.linspace(0, len(known) - 1, min(LANDMARKS, len(known))).long()])
        rows, covariance = ridge_table(features(view).unsqueeze(0), there.unsqueeze(0), PENALTY)
        _, of_view = moments(view.unsqueeze(0), there.unsqueeze(0))
        wanted = self.options.interaction_kernel * self._spread_of_networks("user", of_view.to(view))
        return features, self._table("user", ids, rows, covariance, wanted)
