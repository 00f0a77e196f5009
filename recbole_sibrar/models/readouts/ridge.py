"""What interactions say of an entity, read off the other side's learned embeddings by a ridge regression."""

from functools import partial

import torch
from torch import Tensor

from recbole_sibrar.data.modalities import OTHER_SIDE, Modalities
from recbole_sibrar.data.sparse import SparseRows, weighted_row_sum
from recbole_sibrar.models.attribution import Part
from recbole_sibrar.models.readouts.readout import Readout, Seen, ridge_table

RIDGE = "interaction_ridge"

PENALTY = 0.2
"""On the coefficients, see ``ridge_table``."""


class InteractionRidge(Readout):
    r"""Scores are those of the networks and two ridge regressions on their embeddings.

    .. math:: s_{ui} = \langle e_u, e_i \rangle + \beta \langle w_u, e_i \rangle + \beta \langle e_u, w_i \rangle

    :math:`w_u` regresses the user's interactions on the embeddings of the training items, each by all it has and by its
    content alone, as a cold item has it; :math:`w_i` the item's on those of the users, and counts for users with
    interactions only.

    A network learns popularity by heart sooner than who likes what; the regression weighs what it has learned anew
    (docs/experiments.md). The scores are inner products of embeddings twice as wide:
    :math:`[e_u + \beta w_u, e_u]` and :math:`[e_i, \beta w_i]`.
    """

    def extend(self, embeddings: Tensor, seen: Seen) -> Tensor:
        return _widened(embeddings, seen.side, seen.profiles) + self._rows(seen.side, seen.profiles)

    def shorten(self, embeddings: Tensor) -> Tensor:
        return embeddings[:, : embeddings.shape[1] // 2]

    def extend_parts(self, parts: list[Part], side: str, entity: int | Modalities, profile: SparseRows) -> list[Part]:
        widened = [part._replace(vector=_widened(part.vector.unsqueeze(0), side, profile)[0]) for part in parts]
        if not profile.lengths.any():
            return widened
        return [*widened, Part(RIDGE, self.ensemble.profile_name(side), self._rows(side, profile)[0])]

    def _rows(self, side: str, profiles: SparseRows) -> Tensor:
        """(N, 2 D), where the embeddings have them."""
        sums = weighted_row_sum(profiles, self.ensemble.once(f"{RIDGE} {side}", partial(self._solve, side)))
        nothing = torch.zeros_like(sums)
        return torch.cat([sums, nothing] if side == "user" else [nothing, sums], dim=1)

    @torch.no_grad()
    def _solve(self, side: str) -> Tensor:
        """(N, D) what an interaction with each entity of the other side adds to an entity's vector."""
        other = OTHER_SIDE[side]
        ids, used = self._views_in_training(other)
        views = torch.stack([self.ensemble.fused_in_training(other, ids, of_view) for of_view in used])
        rows, covariance = ridge_table(views, used.any(2), PENALTY)
        return self._table(side, ids, rows, covariance, covariance)


def _widened(embeddings: Tensor, side: str, profiles: SparseRows) -> Tensor:
    """(N, D) -> (N, 2 D) with the embeddings in the second half of users with interactions."""
    has_profile = (profiles.lengths > 0).unsqueeze(1)
    return torch.cat([embeddings, embeddings * has_profile if side == "user" else torch.zeros_like(embeddings)], dim=1)
