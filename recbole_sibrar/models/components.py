"""Components of entities' content: one decomposition, from which a ridge of any penalty is a scaling."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from recbole_sibrar.data.modalities import Modalities
from recbole_sibrar.data.sparse import SparseRows, weighted_row_sum
from recbole_sibrar.kinds.feature_rows import FeatureRows
from recbole_sibrar.models.decomposition import (
    EXACT,
    ROWS,
    conjugate_gradients,
    diagonal_in_both,
    inner_products,
    principal,
)
from recbole_sibrar.models.features import LinearFeatures
from recbole_sibrar.progress import steps

SOLVED_AT = 3.0

CHOSEN = 1536
"""So many components are chosen where there are at least twice as many."""


class Components(nn.Module):
    r"""Vectors c_j (P,) of entities, whose inner products are those of their centred content, or of its kernel.

    Over the training entities the P columns are orthogonal, with squared lengths s^2 (``squares``), so that the ridge
    regression with a penalty of lambda is :math:`\hat y_{kj} = \sum_p c_{jp} c_{lp} / (s_p^2 + \lambda)`, summed over
    the history l of k. Without content c is zero.

    They are all that the content has, if these are fewer than twice ``CHOSEN`` and no more than the limit. If not, and
    the interactions are known to ``fit``, they span what a ridge regression from the content predicts of P random
    mixtures of the interactions, which ranks as more than twice as many principal components do (docs/speed.md). It has
    the penalty ``SOLVED_AT``, below those that validation chooses: directions that a larger one hides are there.

    Args:
        modalities: M modalities of N entities, all of them content.
        trained: (N,) bool, the entities that occur in training.
        features: the modalities' columns.
        limit: P, at most.
        seed: of random mixtures.
    """

    def __init__(self, modalities: Modalities, trained: Tensor, features: LinearFeatures, limit: int, seed: int):
        super().__init__()
        self.features, self.seed = features, seed
        self.register_buffer("available", modalities.available, persistent=False)
        self.register_buffer("known", (trained & self.available.any(1)).nonzero().squeeze(1), persistent=False)
        self.rank = max(1, min(limit, self.most() if self.most() < 2 * CHOSEN else CHOSEN))
        self.register_buffer("squares", torch.zeros(self.rank))
        self._decomposed: Tensor | None = None

    def most(self) -> int:
        """How many components there are at most."""
        raise NotImplementedError

    @property
    def n_numbers(self) -> int:
        """How many numbers lead from an entity's features to its components."""
        raise NotImplementedError

    @torch.no_grad()
    def fit(self, show_progress: bool = False, matrix: SparseRows | None = None) -> None:
        """Decompose, unless that has been done; ``matrix``: other side x entities, the training interactions."""
        if not self.squares.any() and len(self.known):
            is_whole = matrix is None or self.rank >= self.most()
            self._decomposed = self.decompose(show_progress, None if is_whole else self._mixtures(matrix))

    def _mixtures(self, matrix: SparseRows) -> Tensor:
        """(K, P) what is to be predicted of the training entities that have content, around its mean."""
        generator = torch.Generator().manual_seed(self.seed)
        n = min(self.rank, len(matrix.lengths))
        mixing = torch.randn(len(matrix.lengths), n, generator=generator).to(self.squares)
        mixed = weighted_row_sum(matrix.transposed(), mixing)[self.known]
        return mixed - mixed.mean(0)

    def forget(self) -> None:
        """Free what ``fit`` keeps for the tables of the training entities."""
        self._decomposed = None

    def decompose(self, show_progress: bool, targets: Tensor | None) -> Tensor:
        """Find what leads to the components; (K, P) the components of the training entities that have content.

        Args:
            targets: (K, T) what directions are chosen by; None for the principal ones.
        """
        raise NotImplementedError

    def forward(self, ids: Tensor, used: Tensor) -> Tensor:
        """(R,) entities, (R, M) bool which modalities to read -> (R, P)."""
        raise NotImplementedError

    def embed(self, modalities: Modalities, used: Tensor) -> Tensor:
        """As ``forward``, of entities that are not among those of the training data."""
        raise NotImplementedError

    def _whole(self, ids: Tensor) -> FeatureRows:
        """(R,) entities -> (R, F), of all they have."""
        return self.features(ids, self.available[ids])

    def decomposed(self, ids: Tensor) -> Tensor:
        """(R,) entities -> (R, P), as in the decomposition."""
        return self(ids, self.available[ids])

    @torch.no_grad()
    def table(self, used: Tensor, features: Callable[[Tensor], Modalities] | None = None) -> Tensor:
        """(N, M) bool -> (N, P), of all entities; ``features``: what to read in place of their own, if anything."""
        result, open_ = self.squares.new_zeros(len(used), self.rank), used.any(1)
        if self._decomposed is not None and features is None:
            done = (used[self.known] == self.available[self.known]).all(1) & self.is_plain(used[self.known])
            result[self.known[done]] = self._decomposed[done]
            open_[self.known[done]] = False
        left = open_.nonzero().squeeze(1)
        if len(left):  # those that have the same come together
            left = left[used[left].unique(dim=0, return_inverse=True)[1].argsort(stable=True)]
        for ids in left.split(ROWS):
            result[ids] = self(ids, used[ids]) if features is None else self.embed(features(ids), used[ids])
        return result

    def is_plain(self, used: Tensor) -> Tensor:
        """(R, M) -> (R,) bool, whose components are those of the decomposition."""
        return torch.ones_like(used[:, 0])

    @torch.no_grad()
    def decomposed_table(self) -> Tensor:
        """(N, P), of the training entities as they are in the decomposition; zero for the others."""
        result = self.squares.new_zeros(len(self.available), self.rank)
        if self._decomposed is not None:
            result[self.known] = self._decomposed
            return result
        for ids in self.known.split(ROWS):
            result[ids] = self.decomposed(ids)
        return result


class LinearComponents(Components):
    """Of the features themselves: ``X V``, with X = U s V^T over the training entities."""

    SOLVING = 10
    """Iterations of conjugate gradients."""

    def __init__(self, modalities: Modalities, trained: Tensor, features: LinearFeatures, limit: int, seed: int):
        super().__init__(modalities, trained, features, limit, seed)
        self.register_buffer("directions", torch.zeros(features.width, self.rank))

    def most(self) -> int:
        return min(len(self.known), self.features.width)

    @property
    def n_numbers(self) -> int:
        return self.directions.numel()

    def decompose(self, show_progress: bool, targets: Tensor | None) -> Tensor:
        n, width = len(self.known), self.features.width
        if width <= min(n, EXACT):
            gram = self._gram(show_progress)
            values, vectors = (
                principal(gram, self.rank)
                if targets is None
                else predictive(gram, self._transposed_times(targets), self.rank)
            )
        elif targets is None:
            rows = self._whole(self.known)
            values, vectors = principal(symmetric_product(rows), self.rank)
            vectors = rows.transposed_times(vectors * values.rsqrt())
        else:
            values, vectors = self._predictive_of_rows(targets, show_progress)
        self.squares.zero_()[: len(values)] = values
        self.directions.zero_()[:, : len(values)] = vectors
        return self._times(self.directions)

    def _predictive_of_rows(self, targets: Tensor, show_progress: bool) -> tuple[Tensor, Tensor]:
        """As ``predictive``, by the inner products of the entities in place of the features'."""
        if len(targets) <= EXACT:
            solved, product = solution(symmetric_product(self._whole(self.known)), targets)
        else:
            progress = "Content" if show_progress else None

            def times_gram(table: Tensor) -> Tensor:
                return self._times(self._transposed_times(table))

            solved = conjugate_gradients(times_gram, targets, SOLVED_AT, self.SOLVING, progress)
            product = times_gram(solved)
        values, turn = predictive_turn(solved, product, self.rank)
        return values, self._transposed_times(solved @ turn)

    def _gram(self, show_progress: bool) -> Tensor:
        """(F, F)."""
        gram = self.squares.new_zeros(self.features.width, self.features.width)
        for ids in blocks(self.known, show_progress):
            rows = self._whole(ids)
            gram += rows.transposed_times(rows.dense())
        return gram

    def _times(self, table: Tensor) -> Tensor:
        """(F, L) -> (K, L), of the training entities that have content."""
        return torch.cat([self._whole(ids).times(table) for ids in self.known.split(ROWS)])

    def _transposed_times(self, table: Tensor) -> Tensor:
        """(K, L) -> (F, L)."""
        parts = zip(self.known.split(ROWS), table.split(ROWS))
        first, *others = (self._whole(ids).transposed_times(part) for ids, part in parts)
        for other in others:
            first += other
        return first

    def forward(self, ids: Tensor, used: Tensor) -> Tensor:
        return self.features(ids, used).times(self.directions)

    def embed(self, modalities: Modalities, used: Tensor) -> Tensor:
        return self.features.embed(modalities, used).times(self.directions)


def solution(gram: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """(N, N), (N, T) -> (N, T) S, the ridge regression's coefficients of ``targets``, and the matrix times S."""
    penalised = gram.clone()
    penalised.diagonal().add_(SOLVED_AT)
    solved = torch.cholesky_solve(targets, torch.linalg.cholesky(penalised))
    return solved, gram @ solved


def predictive(gram: Tensor, targets: Tensor, limit: int) -> tuple[Tensor, Tensor]:
    """As ``principal``, descending, in the span of a regression's coefficients.

    Args:
        gram: (F, F) X^T X. targets: (F, T) X^T Y.
    """
    solved, product = solution(gram, targets)
    values, turn = diagonal_in_both(inner_products(solved, solved), inner_products(solved, product), limit)
    return values.to(gram), solved @ turn.to(gram)


def predictive_turn(solved: Tensor, product: Tensor, limit: int) -> tuple[Tensor, Tensor]:
    """(N, T) S and a matrix of inner products times S, (N, T) -> (P,) values, descending, and (T, P) what turns S into
    coefficients of directions."""
    values, turn = diagonal_in_both(inner_products(solved, product), inner_products(product, product), limit)
    return values.to(solved), turn.to(solved)


def symmetric_product(rows: FeatureRows) -> Tensor:
    """(R, R), the inner products of ``FeatureRows``."""
    return rows.times(rows.dense().T.contiguous())


def sums_by_rows(matrix: SparseRows, table: Tensor, show_progress: bool = False) -> Iterator[Tensor]:
    """Yield (R, P) for some of the matrix' rows at a time, the sums of the table's rows at their columns."""
    ids = torch.arange(len(matrix.lengths), device=table.device)
    return (weighted_row_sum(matrix.select(part), table) for part in blocks(ids, show_progress))


def blocks(ids: Tensor, show_progress: bool) -> Iterator[Tensor]:
    """Some of the entities at a time, with a progress bar if it is wanted."""
    return steps(ids.split(ROWS), "Content", quiet=not show_progress)
