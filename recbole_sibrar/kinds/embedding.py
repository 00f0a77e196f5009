"""Embedding tables, of which a training step reads some rows."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from recbole_sibrar.data.sparse import SparseRows, gather_rows, weighted_row_sum


class EmbeddingTable(nn.Embedding):
    """An embedding of each value, (V, D), read by rows and by sums of rows.

    Attributes:
        reader: how an optimizer that leaves alone what a step does not read (``models.optimizer.TableAdamW``) has the
            table read while gradients are wanted: numbers (N,) to rows (R, D) and which of them each number is (N,).
    """

    reader: Callable[[Tensor], tuple[Tensor, Tensor]] | None = None

    def rows(self, index: Tensor) -> Tensor:
        """(N,) -> (N, D)."""
        return gather_rows(*self._read(index))

    def sums(self, matrix: SparseRows, weights: Tensor | None = None) -> Tensor:
        """R x V, (nnz,) weights without gradient, ones by default -> (R, D), see ``weighted_row_sum``."""
        table, columns = self._read(matrix.columns)
        return weighted_row_sum(SparseRows(matrix.indptr, columns, len(table)), table, weights)

    def _read(self, index: Tensor) -> tuple[Tensor, Tensor]:
        if self.reader is None or not torch.is_grad_enabled():
            return self.weight, index
        return self.reader(index)


def table_of(n_values: int, width: int) -> EmbeddingTable:
    """An embedding of each value."""
    table = EmbeddingTable(n_values, width)
    nn.init.xavier_normal_(table.weight)
    return table
