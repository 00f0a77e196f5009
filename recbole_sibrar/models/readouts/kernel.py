"""What interactions say of an entity, read off the other side's learned embeddings by a kernel ridge regression."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from recbole_sibrar.data.modalities import INTERACTIONS, OTHER_SIDE, Modalities
from recbole_sibrar.data.sparse import SparseRows, weighted_row_sum
from recbole_sibrar.layers import differ
from recbole_sibrar.models.attribution import Part, beside_zeros, shapley_parts
from recbole_sibrar.models.ensemble import Ensemble
from recbole_sibrar.models.network import sample_of
from recbole_sibrar.models.readouts.readout import ROWS, Readout, Seen, moments, ridge_table

KERNELS = {"item": "interaction_kernel", "user": "user_kernel"}
"""{side whose embeddings a kernel sees: the option with its weight}."""

LANDMARKS = 512
"""As many entities, or fewer, from which a kernel is seen."""

PENALTY = 1.0
"""On the coefficients, see ``ridge_table``."""

COMPLETION_PENALTY = 0.3
"""The same, of a ``Completion``."""

MOST = 5
"""With more content modalities there are too many choices of them, and features are not completed."""

FEWEST = 50
"""Of fewer entities it is not known what others would have."""

JITTER = 1e-3
"""Landmarks count as different by so much of their mean square, where they are the same."""


@dataclass(frozen=True)
class KernelFeatures:
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
    def of(cls, rows: Tensor) -> "KernelFeatures":
        """Seen from ``LANDMARKS`` of the embeddings ``rows`` (N, D), or from all of fewer.

        >>> features = KernelFeatures.of(torch.tensor([[1.0, 0.0], [-1.0, 0.0]]))
        >>> rows = features(torch.tensor([[1.0, 0.0], [-1.0, 0.0]]))
        >>> (rows @ rows.T).round(decimals=2).abs()
        tensor([[1., 0.],
                [0., 1.]])
        """
        landmarks = rows[torch.linspace(0, len(rows) - 1, min(LANDMARKS, len(rows))).long()]
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


@dataclass(frozen=True)
class Completion:
    """Embeddings of entities that lack content -> the features that they would have with it, by a kernel regression.

    Attributes:
        features: of the embeddings, seen from those of training entities by what is left.
        left: (L',) the mean of these features, whole: (L,) of those with all content, among training entities.
        turn: (L', L).
    """

    features: KernelFeatures
    left: Tensor
    turn: Tensor
    whole: Tensor

    def __call__(self, rows: Tensor) -> Tensor:
        """(N, D) -> (N, L)."""
        return self.whole + (self.features(rows) - self.left) @ self.turn


class InteractionKernel(Readout):
    r"""A regression that sees what goes together joins the scores.

    .. math:: s'_{ui} = s_{ui} + \beta \langle v_u, \phi(e_i) \rangle
              \quad \text{or} \quad s_{ui} + \gamma \langle \psi(e_u), v_i \rangle

    :math:`v_u` regresses the user's interactions on features of the networks' embeddings of the training items, of
    their content as a cold item has it (of all they have where none has content), :math:`v_i` the item's on those of
    the training users, for users with interactions only: a deep kernel (Wilson et al., AISTATS 2016) on embeddings that
    were learned without it. The features are columns beside the embeddings.

    An item without interactions that lacks content would be far from everything that has it. Its features are those
    that training items have of all their content, as far as a kernel on what it has tells them (``Completion``).

    Args:
        of: the side whose embeddings the kernel sees.
    """

    def __init__(self, ensemble: Ensemble, weight: float, of: str):
        super().__init__(ensemble, weight)
        self.of, self.option = of, KERNELS[of]

    def extend(self, embeddings: Tensor, seen: Seen) -> Tensor:
        table = self.solved()[1]
        if seen.side != self.of:
            columns = weighted_row_sum(seen.profiles, table)
        else:
            columns = seen.fused.new_zeros(len(seen.fused), table.shape[1])
            for places in self._counts(seen.profiles).nonzero().squeeze(1).split(ROWS):
                columns[places] = self._features(seen.fused[places], seen.used[places])
        return torch.cat([embeddings, columns], dim=1)

    def shorten(self, embeddings: Tensor) -> Tensor:
        return embeddings[:, : embeddings.shape[1] - self.solved()[1].shape[1]]

    def extend_parts(self, parts: list[Part], side: str, entity: int | Modalities, profile: SparseRows) -> list[Part]:
        widths = [len(parts[0].vector), self.solved()[1].shape[1]]
        own = self._own_parts(side, entity, profile)
        return [
            *(part._replace(vector=beside_zeros(part.vector, widths, 0)) for part in parts),
            *(Part(self.option, name, beside_zeros(vector, widths, 1)) for name, vector in own.items()),
        ]

    def _own_parts(self, side: str, entity: int | Modalities, profile: SparseRows) -> dict[str, Tensor]:
        """{modality: (L,)} of one entity, without those that are zero."""
        ensemble, found = self.ensemble, {}
        encoder = ensemble.entities(side)
        if side != self.of:
            found[ensemble.profile_name(side)] = weighted_row_sum(profile, self.solved()[1])[0]
        elif self._counts(profile).any():
            has = encoder.read[entity] if isinstance(entity, int) else encoder.readable(entity)[1][0]
            values, mean = shapley_parts(
                lambda used: self._features(ensemble.with_modalities(side, entity, used), used), has
            )
            found = {**dict(zip(encoder.names, values)), "(mean)": mean}
        return {name: vector for name, vector in found.items() if vector.any()}

    def _counts(self, profiles: SparseRows) -> Tensor:
        """(N,) bool, whether it says something of entities of the side ``of`` with these interactions."""
        return (profiles.lengths > 0) | (self.of == "item")

    def _features(self, fused: Tensor, used: Tensor) -> Tensor:
        """(N, D) embeddings from the modalities ``used`` (N, M) -> (N, L)."""
        whole, table = self.solved()
        features = fused.new_empty(len(fused), table.shape[1])
        choices, place = used.unique(dim=0, return_inverse=True)
        for n, choice in enumerate(choices):
            features[place == n] = (self._completion(choice) or whole)(fused[place == n])
        return features

    def _completion(self, choice: Tensor) -> Completion | None:
        """For entities that have the content ``choice`` (M,) and nothing else; None if nothing is to be completed."""
        names = self.ensemble.entities(self.of).names
        has = [name for name, there in zip(names, choice.tolist()) if there]
        if not has or INTERACTIONS in has or len(names) > MOST + (INTERACTIONS in names):
            return None
        return self.ensemble.once(f"{self.option} from {has}", partial(self._solve_completion, choice))

    @torch.no_grad()
    def _solve_completion(self, choice: Tensor) -> Completion | None:
        ids, used = self._views_in_training(self.of)
        content = used[-1]
        has_more = (content | ~choice).all(1) & (content & ~choice).any(1)
        places = sample_of(has_more.nonzero().squeeze(1))
        if len(places) < FEWEST:
            return None
        ids, content = ids[places], content[places]
        embeddings = self.ensemble.fused_as_new(self.of, ids, choice.expand(len(ids), -1))
        features = KernelFeatures.of(embeddings)
        left, there = features(embeddings), torch.ones_like(places, dtype=torch.bool)
        whole = self.solved()[0](self.ensemble.fused_in_training(self.of, ids, content))
        rows, _ = ridge_table(left.unsqueeze(0), there.unsqueeze(0), COMPLETION_PENALTY)
        mean = whole.mean(0)
        return Completion(features, left.mean(0), rows.T @ (whole - mean), mean)

    def solved(self) -> tuple[Callable[[Tensor], Tensor], Tensor]:
        """The features of its side, and (N, L) what an interaction with each of the N entities there adds to v."""
        return self.ensemble.once(self.option, self._solve)

    @torch.no_grad()
    def _solve(self) -> tuple[Callable[[Tensor], Tensor], Tensor]:
        ids, used = self._views_in_training(self.of)
        used = used[-1] if self.of == "item" else used[0]
        view, there = self.ensemble.fused_in_training(self.of, ids, used), used.any(1)
        features = KernelFeatures.of(view[there])
        rows, covariance = ridge_table(features(view).unsqueeze(0), there.unsqueeze(0), PENALTY)
        _, of_view = moments(view.unsqueeze(0), there.unsqueeze(0))
        return features, self._table(OTHER_SIDE[self.of], ids, rows, covariance, of_view.to(view))
