"""What interactions say of an entity, read off the other side's learned embeddings by a ridge regression."""

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

from recbole_sibrar.data.modalities import INTERACTIONS, OTHER_SIDE, Modalities, rows_of
from recbole_sibrar.data.sparse import SparseRows, weighted_row_sum
from recbole_sibrar.kinds.id import Id
from recbole_sibrar.layers import differ
from recbole_sibrar.models.attribution import Part
from recbole_sibrar.models.ensemble import EnsembleRecommender
from recbole_sibrar.models.recommender import BranchRecommender, sample_of

RIDGE = "interaction_ridge"

PENALTY = 0.2
"""On the regression's coefficients, in units of the embeddings' mean squared distance from their mean."""

ROWS = 8192


def ridge_table(views: Tensor, there: Tensor, penalty: float = PENALTY) -> tuple[Tensor, Tensor]:
    r"""Rows whose sum over an entity's interactions is the ridge regression of these on the other side's embeddings.

    With :math:`z_i` the mean of the views of i around the mean of all, and C their covariance,

    .. math:: w_k = \sum_{i \in \mathcal{I}_k} (N C + \lambda \operatorname{tr}(C) I)^{-1} z_i,
              \qquad \lambda = \texttt{penalty}

    Args:
        views: (V, N, D) embeddings of N entities that occur in training.
        there: (V, N) bool, which views there are.

    Returns:
        (N, D) and (D, D) C; zero where all embeddings are the same.

    >>> table, _ = ridge_table(torch.tensor([[[1.0], [-1.0]]]), torch.tensor([[True, True]]))
    >>> table.tolist()  # z / (N C + 0.2 C) with C = 1
    [[0.4545454680919647], [-0.4545454680919647]]
    """
    mean, covariance = moments(views, there)
    length = covariance.diagonal().sum()
    if not differ(length.sqrt(), mean):
        return views.new_zeros(views.shape[1:]), covariance.to(views)
    penalised = covariance * there.any(0).sum()
    penalised.diagonal().add_(penalty * length)
    inverse, centre = torch.linalg.inv(penalised).to(views), mean.to(views)
    shares = (there / there.sum(0).clamp(min=1)).unsqueeze(2)
    parts = zip(views.split(ROWS, dim=1), shares.split(ROWS, dim=1))
    return torch.cat([((part - centre) * share).sum(0) @ inverse for part, share in parts]), covariance.to(views)


def moments(views: Tensor, there: Tensor) -> tuple[Tensor, Tensor]:
    """(D,) the mean and (D, D) the covariance of the views, as in ``ridge_table``, in double precision."""
    n_views, width, exact = there.sum().clamp(min=1), views.shape[2], torch.double

    def known_rows() -> Iterator[Tensor]:
        for view, has in zip(views, there):
            for part, has_part in zip(view.split(ROWS), has.split(ROWS)):
                yield part[has_part].to(exact)

    mean = sum((rows.sum(0) for rows in known_rows()), views.new_zeros(width, dtype=exact)) / n_views
    covariance = views.new_zeros(width, width, dtype=exact)
    for rows in known_rows():
        covariance += (rows - mean).T @ (rows - mean) / n_views
    return mean, covariance


def spread(vectors: Tensor, covariance: Tensor) -> Tensor:
    """() how far the scores of vectors (N, D) spread over entities whose embeddings have this covariance (D, D)."""
    return ((vectors @ covariance) * vectors).sum(1).clamp(min=0).mean().sqrt()


class RidgeRecommender(EnsembleRecommender):
    r"""With ``interaction_ridge``, scores are those of the networks and two ridge regressions on their embeddings.

    .. math:: s_{ui} = \langle e_u, e_i \rangle + \beta \langle w_u, e_i \rangle + \beta \langle e_u, w_i \rangle

    :math:`w_u` regresses the user's interactions on the embeddings of the training items, each by all it has and by its
    content alone, as a cold item has it; :math:`w_i` the item's on those of the users, and counts for users with
    interactions only. Both are zero without interactions, and scaled so that their scores spread as the networks' do.
    They join in evaluation; training knows nothing of them.

    A network learns popularity by heart sooner than who likes what; the regression weighs what it has learned anew
    (docs/experiments.md). The scores are inner products of embeddings twice as wide:
    :math:`[e_u + \beta w_u, e_u]` and :math:`[e_i, \beta w_i]`.
    """

    def embeddings(self, side: str, ids: Tensor, chunk: int = 8192) -> Tensor:
        fused = super().embeddings(side, ids, chunk)
        return self._extended(fused, side, self._profiles(side, ids)) if self._extends else fused

    def embed(self, features: Modalities) -> Tensor:
        fused = super().embed(features)
        return self._extended(fused, features.side, self._profiles_of(features)) if self._extends else fused

    @property
    def _extends(self) -> bool:
        """Whether anything stands beside the networks' embeddings."""
        return bool(self.options.interaction_ridge)

    def _extended(self, fused: Tensor, side: str, profiles: SparseRows) -> Tensor:
        """The networks' embeddings (N, D) of entities with these interactions, with what stands beside them."""
        if not self.options.interaction_ridge:
            return fused
        return _widened(fused, side, profiles) + self._ridge_rows(side, profiles)

    def compared(self, embeddings: Tensor) -> Tensor:
        """Without the second half, which only entities with interactions have."""
        return embeddings[:, : embeddings.shape[1] // 2] if self.options.interaction_ridge else embeddings

    def parts(self, side: str, entity: int | Modalities) -> list[Part]:
        parts = super().parts(side, entity)
        if not self.options.interaction_ridge:
            return parts
        profile = self._profile_of(side, entity)
        widened = [part._replace(vector=_widened(part.vector.unsqueeze(0), side, profile)[0]) for part in parts]
        if not profile.lengths.any():
            return widened
        return [*widened, Part(RIDGE, self._profile_name(side), self._ridge_rows(side, profile)[0])]

    def _profile_name(self, side: str) -> str:
        """The modality that stands for an entity's interactions."""
        return INTERACTIONS if INTERACTIONS in self.entities(side).names else Id.name

    def _ridge_rows(self, side: str, profiles: SparseRows) -> Tensor:
        """(N, 2 D), where the embeddings have them."""
        sums = weighted_row_sum(profiles, self._once(f"{RIDGE} {side}", partial(self._solve, side)))
        nothing = torch.zeros_like(sums)
        return torch.cat([sums, nothing] if side == "user" else [nothing, sums], dim=1)

    def _embeddings_without(self, side: str, ids: Tensor, hidden: SparseRows) -> Tensor:
        """As ``embeddings``, of known entities (N,) without the interactions ``hidden``, users x items."""
        own = rows_of(side, hidden).select(ids)
        profiles = self._profiles(side, ids).without(own.row_of_entry(), own.columns)
        used = self.entities(side).read[ids]
        fused = self._side_by_side(BranchRecommender.fused_in_training, side, ids, used, profiles)
        return self._extended(fused, side, profiles)

    def _profile_of(self, side: str, entity: int | Modalities) -> SparseRows:
        """As ``_profiles``, of an id, or as ``_profiles_of``."""
        return self._profiles(side, self._ids(entity)) if isinstance(entity, int) else self._profiles_of(entity)

    def _profiles(self, side: str, ids: Tensor) -> SparseRows:
        """The interactions of known entities (N,), where evaluation reads them, or an id in their place."""
        encoder = self.entities(side)
        if encoder.names == (Id.name,):
            return self.training_rows(side).select(ids)
        if INTERACTIONS not in encoder.names:
            return self._no_profiles(side, len(ids))
        place = encoder.names.index(INTERACTIONS)
        rows = encoder.projections[place].stored(ids)
        return rows.keep(rows.spread(encoder.read[ids, place]))

    def _profiles_of(self, features: Modalities) -> SparseRows:
        """As ``_profiles``, of N entities that the training data do not have."""
        encoder, n = self.entities(features.side), len(features.available)
        if INTERACTIONS not in encoder.names:
            return self._no_profiles(features.side, n)
        place = encoder.names.index(INTERACTIONS)
        entry = features.entries[place]
        rows = entry.features(torch.arange(n, device=entry.available.device))
        return rows.keep(rows.spread(entry.available & encoder.kept[place]))

    def _no_profiles(self, side: str, n: int) -> SparseRows:
        return SparseRows.from_pairs([], [], n, len(self.entities(OTHER_SIDE[side]).trained)).to(self.step.device)

    @torch.no_grad()
    def _solve(self, side: str) -> Tensor:
        """(N, D) what an interaction with each entity of the other side adds to an entity's vector."""
        ids, used = self._used_in_training(OTHER_SIDE[side])
        views = torch.stack([self._in_training(OTHER_SIDE[side], ids, of_view) for of_view in used])
        rows, covariance = ridge_table(views, used.any(2))
        wanted = self.options.interaction_ridge * self._spread_of_networks(side, covariance)
        return self._table(side, ids, rows, covariance, wanted)

    def _used_in_training(self, side: str) -> tuple[Tensor, Tensor]:
        """(T,) the entities of training, and (V, T, M) bool all that they have, and their content if there is any."""
        encoder = self.entities(side)
        ids = encoder.trained.nonzero().squeeze(1)
        everything = encoder.available[ids]
        is_content = torch.tensor([name != INTERACTIONS for name in encoder.names], device=ids.device)
        content = everything & is_content
        return ids, torch.stack([everything, content] if content.any() else [everything])

    def _spread_of_networks(self, side: str, covariance: Tensor) -> Tensor:
        own = self.entities(side)
        sample = sample_of(own.trained.nonzero().squeeze(1))
        return spread(self._in_training(side, sample, own.available[sample]), covariance)

    def _table(self, side: str, ids: Tensor, rows: Tensor, covariance: Tensor, wanted: Tensor) -> Tensor:
        """The rows (T, D) in the places ``ids`` of all entities of the other side, such that the scores of a side's
        training entities spread as wanted over embeddings with this covariance."""
        own = self.entities(side)
        table = rows.new_zeros(len(self.entities(OTHER_SIDE[side]).trained), rows.shape[1])
        table[ids] = rows
        sample = sample_of(own.trained.nonzero().squeeze(1))
        vectors = weighted_row_sum(self.training_rows(side).select(sample), table)
        return table * (wanted / spread(vectors, covariance)).nan_to_num(0, 0, 0)

    def _in_training(self, side: str, ids: Tensor, used: Tensor) -> Tensor:
        """(N, D) the networks' embeddings of known entities from the modalities ``used`` (N, M) of what training reads,
        zero without any."""
        parts = zip(ids.split(ROWS), used.split(ROWS))
        return torch.cat([self._side_by_side(BranchRecommender.fused_in_training, side, *part) for part in parts])


def _widened(fused: Tensor, side: str, profiles: SparseRows) -> Tensor:
    """(N, D) -> (N, 2 D) with the networks' embeddings in the second half of users with interactions."""
    again = fused * (profiles.lengths > 0).unsqueeze(1) if side == "user" else torch.zeros_like(fused)
    return torch.cat([fused, again], dim=1)
