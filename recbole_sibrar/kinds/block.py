"""The base of the blocks: one modality as columns for linear models; a missing one is a block of zeros."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recbole_sibrar.data.modalities import Features, Modality
from recbole_sibrar.data.sparse import SparseRows
from recbole_sibrar.kinds.feature_rows import CentredRows, DenseRows
from recbole_sibrar.layers import centre, differ, hold_values

ROWS_COUNTED = 4096

MAX_VALUES = 2000
"""Of a modality's categories, tags or pairs of tags so many have a column of their own, the most frequent ones."""


class Block(nn.Module):
    """One modality's columns, centred by the training entities that have it and scaled.

    Centring makes zero the value of the average training entity, so that a missing block says nothing. Scaling gives
    the centred rows of the training entities a root mean square length of ``weight``. Where these are all the same,
    the block says nothing of others.

    Args:
        modality: of N entities.
        trained: (N,) bool, the entities that occur in training.
        weight: how much the block counts; a ridge penalises its coefficients by 1 / weight^2.
    """

    def __init__(self, modality: Modality, trained: Tensor, weight: float):
        super().__init__()
        known = (modality.available & trained).nonzero().squeeze(1)
        self.build(modality, known)
        mean, square = self.statistics(known) if len(known) else (self.columns_of(self.stored(known)).sum(0), 1.0)
        self.register_buffer("mean", mean, persistent=False)
        length = torch.as_tensor(square, dtype=torch.float).sqrt()
        self.register_buffer("factor", weight * differ(length, mean) / length.clamp(min=1e-6), persistent=False)

    @property
    def width(self) -> int:
        return len(self.mean)

    def build(self, modality: Modality, known: Tensor) -> None:
        hold_values(self, modality.values)

    def stored(self, ids: Tensor) -> Features:
        """The features of entities (R,) that have the modality."""
        return self.values[ids]

    def statistics(self, known: Tensor) -> tuple[Tensor, Tensor | float]:
        """The mean (F,) of the columns of these entities (K,), and their mean squared distance from it."""
        mean, lengths = centre(lambda entities: self.columns_of(self.stored(entities)), known)
        return mean, lengths.square().mean()

    def columns_of(self, features: Features) -> Tensor:
        """Features of R entities, as ``stored`` gives them -> (R, F)."""
        raise NotImplementedError

    def forward(self, features: Features, place: Tensor, n: int) -> DenseRows | CentredRows:
        """Features of the entities at ``place`` (R,) among ``n`` -> (n, F), zero for the others."""
        rows = (self.columns_of(features) - self.mean) * self.factor
        return DenseRows(rows.new_zeros(n, self.width).index_copy(0, place, rows))


class SparseBlock(Block):
    """Columns of zeros and ones, of which an entity has few."""

    def statistics(self, known: Tensor) -> tuple[Tensor, Tensor | float]:
        count = torch.zeros(self.n_columns, dtype=torch.double)
        for ids in known.split(ROWS_COUNTED):
            count += torch.bincount(self.shown(self.stored(ids)).columns, minlength=self.n_columns)
        mean = count / len(known)
        return mean.float(), (mean * (1 - mean)).sum()

    @property
    def n_columns(self) -> int:
        raise NotImplementedError

    def shown(self, features: Features) -> SparseRows:
        """Features of R entities, as ``stored`` gives them -> R x F, the ones."""
        raise NotImplementedError

    def columns_of(self, features: Features) -> Tensor:
        shown = self.shown(features)
        return shown.mark(torch.zeros(len(shown.lengths), shown.n_columns, device=shown.columns.device), 1.0)

    def forward(self, features: Features, place: Tensor, n: int) -> CentredRows:
        shown = self.shown(features)
        lengths, present = place.new_zeros(n), self.mean.new_zeros(n)
        lengths[place], present[place] = shown.lengths, 1.0
        spread = SparseRows(F.pad(lengths.cumsum(0), (1, 0)), shown.columns, shown.n_columns)
        return CentredRows(spread, present, self.mean, self.factor)


def with_columns(features: SparseRows, column: Tensor) -> SparseRows:
    """The values (nnz,) that have a column, by its number; ``column``: (n_values,), -1 for those that have none."""
    columns = column[features.columns]
    kept = columns >= 0
    return SparseRows(features.keep(kept).indptr, columns[kept], int(column.max()) + 1)


def most_frequent(values: Tensor, n_values: int) -> Tensor:
    """(n_values,) the column of each value: the ``MAX_VALUES`` most frequent ones in their order, -1 for the others.

    >>> most_frequent(torch.tensor([2, 2, 0]), 4).tolist()
    [0, -1, 1, -1]
    """
    count = torch.bincount(values, minlength=n_values)
    kept = count.topk(min(MAX_VALUES, n_values)).indices
    kept = kept[count[kept] > 0].sort().values
    return torch.full((n_values,), -1).index_copy_(0, kept, torch.arange(len(kept)))
