"""A linear autoencoder of the users' interactions."""

import torch
from torch import Tensor

from recbole_sibrar.data.modalities import Modalities
from recbole_sibrar.data.sparse import SparseRows, by_column, co_occurrences, weighted_row_sum
from recbole_sibrar.models.decomposition import EXACT, iterated_principal, principal
from recbole_sibrar.models.priors.prior import Prior, masked, variation


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
        rank: width of the vectors.
    """

    model = "LinearAutoencoder"
    RANK = 512
    SHRINKAGE = 10.0
    ITERATIONS = 5
    NUMBERS = 1 << 27  # of the vectors of both sides, 512 MiB
    in_training = False

    def __init__(
        self,
        n_items: int,
        n_users: int,
        own: int | None,
        profile: int | None,
        strength: float,
        seed: int,
        rank: int = RANK,
    ):
        rank = max(1, min(rank, n_items, n_users, self.NUMBERS // (n_items + n_users)))
        super().__init__("item", n_items, n_users, rank, profile, strength)
        self.interactions, self.seed = own, seed
        self._decomposition: tuple[Tensor, Tensor, Tensor] | None = None
        self.register_buffer("folding", torch.zeros(self.rank))

    @torch.no_grad()
    def fit(self, matrix: SparseRows, show_progress: bool = False) -> None:
        self.decompose(matrix, show_progress)
        self.solve(matrix, self.SHRINKAGE)
        self._decomposition = None

    @torch.no_grad()
    def decompose(self, matrix: SparseRows, show_progress: bool = False) -> None:
        """What all lambdas share, made once."""
        if self._decomposition is None and len(matrix.columns):
            squares, vectors = self._principal(matrix, show_progress)
            self._decomposition = squares, vectors, weighted_row_sum(matrix, vectors)

    @torch.no_grad()
    def solve(self, matrix: SparseRows, shrinkage: float) -> None:
        """For a lambda of ``shrinkage`` times the mean number of an item's interactions."""
        n_trained = int((torch.bincount(matrix.columns, minlength=1) > 0).sum())
        variance = variation(matrix, n_trained)
        if not variance > 0:
            return
        self.decompose(matrix)
        squares, vectors, sums = self._decomposition
        penalty = shrinkage * len(matrix.columns) / n_trained
        kept = (squares / (squares + penalty)).sqrt() * self._factor(variance, n_trained)
        for table, rows in ((self.of_side, vectors), (self.of_other, sums)):
            torch.mul(rows, kept, out=table.zero_()[:, : len(squares)])
        self.folding.zero_()[: len(squares)] = squares.reciprocal()

    def _principal(self, matrix: SparseRows, show_progress: bool) -> tuple[Tensor, Tensor]:
        """The largest S^2, (P,), and V, (n_items, P)."""
        if matrix.n_columns <= EXACT and self.rank > self.RANK:
            return principal(co_occurrences(matrix).to(self.of_side), self.rank)
        rows, indptr, _ = by_column(matrix, matrix.n_columns)
        by_item = SparseRows(indptr, rows, len(matrix.lengths))
        columns = max(1, self.NUMBERS // 4 // len(matrix.lengths))  # at a time: a table of the users is made for each

        def gram(table: Tensor) -> Tensor:
            parts = table.split(columns, dim=1)
            return torch.cat([weighted_row_sum(by_item, weighted_row_sum(matrix, part)) for part in parts], dim=1)

        return iterated_principal(
            gram,
            matrix.n_columns,
            self.rank,
            self.ITERATIONS if self.rank <= self.RANK else 2,
            torch.Generator().manual_seed(self.seed),
            like=self.of_side,
            progress="Interactions" if show_progress else None,
        )

    def own(self, ids: Tensor, used: Tensor, profiles: SparseRows | None = None) -> Tensor:
        return masked(self.of_side[ids] if profiles is None else self._by_users(profiles), used, self.interactions)

    def own_of(self, features: Modalities, used: Tensor) -> Tensor:
        if self.interactions is None:
            return self.of_side.new_zeros(len(used), self.rank)
        return masked(self._by_users(features.entries[self.interactions].values), used, self.interactions)

    def _by_users(self, profiles: SparseRows) -> Tensor:
        """v of items by their users, w_k / S^2 in sum: for an item of the training data what it has."""
        return weighted_row_sum(profiles, self.of_other) * self.folding
