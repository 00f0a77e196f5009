"""Centred features of entities in blocks of columns, of which those that are mostly zeros are kept sparse."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from recbole_sibrar.data.sparse import SparseRows, weighted_row_sum


@dataclass(frozen=True)
class CentredRows:
    r"""(R, F), :math:`f \, (x_r - \mu)` for x_r of zeros and ones; zero where the entity has no such features.

    Attributes:
        shown: R x F, the ones; an entity without features has none.
        present: (R,) float, 1 for an entity with features and 0 without.
        mean: (F,), \mu. factor: (), f.
    """

    shown: SparseRows
    present: Tensor
    mean: Tensor
    factor: Tensor

    @property
    def width(self) -> int:
        return len(self.mean)

    @cached_property
    def _by_column(self) -> SparseRows:
        return self.shown.transposed()

    def times(self, table: Tensor) -> Tensor:
        """(F, K) -> (R, K)."""
        product = weighted_row_sum(self.shown, table)
        return product.sub_(torch.outer(self.present, self.mean @ table)).mul_(self.factor)

    def transposed_times(self, table: Tensor) -> Tensor:
        """(R, K) -> (F, K)."""
        product = weighted_row_sum(self._by_column, table)
        return product.sub_(torch.outer(self.mean, self.present @ table)).mul_(self.factor)

    def squared_lengths(self) -> Tensor:
        """(R,)."""
        own = weighted_row_sum(self.shown, (1 - 2 * self.mean).unsqueeze(1)).squeeze(1)
        return (own + self.present * self.mean.square().sum()).clamp(min=0) * self.factor**2

    def dense(self) -> Tensor:
        rows = torch.outer(self.present, -self.mean)
        rows[self.shown.row_of_entry(), self.shown.columns] += 1
        return rows.mul_(self.factor)


@dataclass(frozen=True)
class DenseRows:
    """(R, F) as they are."""

    rows: Tensor

    @property
    def width(self) -> int:
        return self.rows.shape[1]

    def times(self, table: Tensor) -> Tensor:
        return self.rows @ table

    def transposed_times(self, table: Tensor) -> Tensor:
        return self.rows.T @ table

    def squared_lengths(self) -> Tensor:
        return self.rows.square().sum(1)

    def dense(self) -> Tensor:
        return self.rows


@dataclass(frozen=True)
class FeatureRows:
    """(R, F), blocks of columns side by side.

    >>> ones = SparseRows.from_pairs([0, 1, 1], [0, 0, 2], 2, 3)
    >>> sparse = CentredRows(ones, torch.ones(2), torch.tensor([1.0, 0.0, 0.5]), torch.tensor(2.0))
    >>> rows = FeatureRows((DenseRows(torch.tensor([[5.0], [7.0]])), sparse))
    >>> rows.dense().tolist()
    [[5.0, 0.0, -0.0, -1.0], [7.0, 0.0, -0.0, 1.0]]
    >>> rows.times(torch.eye(4)).equal(rows.dense()), rows.transposed_times(torch.eye(2)).equal(rows.dense().T)
    (True, True)
    >>> rows.squared_lengths().tolist()
    [26.0, 50.0]
    """

    blocks: tuple

    def times(self, table: Tensor) -> Tensor:
        """(F, K) -> (R, K)."""
        tables = table.split([block.width for block in self.blocks])
        first, *others = (block.times(part) for block, part in zip(self.blocks, tables))
        for other in others:
            first += other
        return first

    def transposed_times(self, table: Tensor) -> Tensor:
        """(R, K) -> (F, K)."""
        return torch.cat([block.transposed_times(table) for block in self.blocks])

    def squared_lengths(self) -> Tensor:
        """(R,)."""
        return torch.stack([block.squared_lengths() for block in self.blocks]).sum(0)

    def dense(self) -> Tensor:
        return torch.cat([block.dense() for block in self.blocks], dim=1)
