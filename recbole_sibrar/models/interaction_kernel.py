"""What interactions say of an entity, read off the other side's learned embeddings by a kernel ridge regression."""

from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from recbole_sibrar.data.modalities import OTHER_SIDE, Modalities
from recbole_sibrar.data.sparse import SparseRows, weighted_row_sum
from recbole_sibrar.layers import differ
from recbole_sibrar.models.attribution import Part, beside_zeros, shapley_parts
from recbole_sibrar.models.interaction_ridge import ROWS, RidgeRecommender, moments, ridge_table

KERNELS = {"item": "interaction_kernel", "user": "user_kernel"}
"""{side whose embeddings a kernel sees: the option with its weight}."""

LANDMARKS = 512
"""As many entities, or fewer, from which a kernel is seen."""

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
    r"""With ``interaction_kernel`` and ``user_kernel``, regressions join the scores that see what goes together.

    .. math:: s'_{ui} = s_{ui} + \beta \langle v_u, \phi(e_i) \rangle + \gamma \langle \psi(e_u), v_i \rangle

    :math:`v_u` regresses the user's interactions on features of the networks' embeddings of the training items, of
    their content as a cold item has it (of all they have where none has content), :math:`v_i` the item's on those of
    the training users, for users with interactions only: a deep kernel (Wilson et al., AISTATS 2016) on embeddings that
    were learned without it. As the linear regressions they join in evaluation, are zero without interactions, and their
    scores spread as the networks' do. The features are columns beside the embeddings.
    """

    def compared(self, embeddings: Tensor) -> Tensor:
        """Without the kernels' features."""
        n_features = sum(len(self._kernel(of)[0].landmarks) for of in self._kernels)
        return super().compared(embeddings[:, : embeddings.shape[1] - n_features])

    def parts(self, side: str, entity: int | Modalities) -> list[Part]:
        parts = super().parts(side, entity)
        for of in self._kernels:
            found = self._kernel_parts(of, side, entity)
            widths = [len(parts[0].vector), len(self._kernel(of)[0].landmarks)]
            parts = [part._replace(vector=beside_zeros(part.vector, widths, 0)) for part in parts]
            parts += [Part(KERNELS[of], name, beside_zeros(vector, widths, 1)) for name, vector in found.items()]
        return parts

    def _kernel_parts(self, of: str, side: str, entity: int | Modalities) -> dict[str, Tensor]:
        """{modality: (L,)} of one entity, without those that are zero."""
        features, table = self._kernel(of)
        encoder, profile = self.entities(side), self._profile_of(side, entity)
        found = {}
        if side != of:
            found[self._profile_name(side)] = weighted_row_sum(profile, table)[0]
        elif side == "item" or profile.lengths.any():
            has = encoder.read[entity] if isinstance(entity, int) else encoder.readable(entity)[1][0]
            values, mean = shapley_parts(lambda used: features(self.with_modalities(side, entity, used)), has)
            found = {**dict(zip(encoder.names, values)), "(mean)": mean}
        return {name: vector for name, vector in found.items() if vector.any()}

    @property
    def _kernels(self) -> dict[str, str]:
        """Of ``KERNELS`` those with a weight."""
        return {of: option for of, option in KERNELS.items() if getattr(self.options, option)}

    @property
    def _extends(self) -> bool:
        return super()._extends or bool(self._kernels)

    def _extended(self, fused: Tensor, side: str, profiles: SparseRows) -> Tensor:
        columns, has_profile = [super()._extended(fused, side, profiles)], (profiles.lengths > 0).unsqueeze(1)
        for of in self._kernels:
            features, table = self._kernel(of)
            if side != of:
                columns.append(weighted_row_sum(profiles, table))
            else:
                columns.append(features(fused) if side == "item" else features(fused) * has_profile)
        return torch.cat(columns, dim=1) if len(columns) > 1 else columns[0]

    def _kernel(self, of: str) -> tuple[KernelFeatures, Tensor]:
        """The features of a side, and (N, L) what an interaction with each of its N entities adds to v."""
        return self._once(KERNELS[of], partial(self._solve_kernel, of))

    @torch.no_grad()
    def _solve_kernel(self, of: str) -> tuple[KernelFeatures, Tensor]:
        ids, used = self._used_in_training(of)
        used = used[-1] if of == "item" else used[0]
        view, there = self._in_training(of, ids, used), used.any(1)
        known = view[there]
        features = KernelFeatures.of(known[torch.linspace(0, len(known) - 1, min(LANDMARKS, len(known))).long()])
        rows, covariance = ridge_table(features(view).unsqueeze(0), there.unsqueeze(0), PENALTY)
        _, of_view = moments(view.unsqueeze(0), there.unsqueeze(0))
        weight = getattr(self.options, KERNELS[of])
        wanted = weight * self._spread_of_networks(OTHER_SIDE[of], of_view.to(view))
        return features, self._table(OTHER_SIDE[of], ids, rows, covariance, wanted)
