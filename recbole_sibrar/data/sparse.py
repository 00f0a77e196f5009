"""A boolean sparse matrix in CSR form and the one product the models need of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy.sparse import csr_array
from torch import Tensor

Numbers = Sequence[int] | np.ndarray | Tensor


@dataclass(frozen=True)
class SparseRows:
    """The non-zero columns of each row.

    Attributes:
        indptr: (R + 1,) int64, where each row's columns begin and end in ``columns``.
        columns: (nnz,) int64.
        n_columns: the width of the matrix.
    """

    indptr: Tensor
    columns: Tensor
    n_columns: int

    @classmethod
    def from_pairs(cls, rows: Numbers, columns: Numbers, n_rows: int, n_columns: int) -> "SparseRows":
        """From coordinates; a pair that occurs several times counts once.

        >>> SparseRows.from_pairs([2, 0, 2, 2], [1, 0, 0, 1], n_rows=3, n_columns=2).columns.tolist()
        [0, 0, 1]
        """
        keys = torch.as_tensor(rows, dtype=torch.long) * n_columns + torch.as_tensor(columns, dtype=torch.long)
        keys = torch.unique(keys)
        indptr = torch.zeros(n_rows + 1, dtype=torch.long)
        indptr[1:] = torch.bincount(keys // n_columns, minlength=n_rows).cumsum(0)
        return cls(indptr, keys % n_columns, n_columns)

    @classmethod
    def one_each(cls, columns: Tensor, n_columns: int) -> "SparseRows":
        """One column for each row, -1 for none: (R,).

        >>> SparseRows.one_each(torch.tensor([2, -1, 0]), 3).indptr.tolist()
        [0, 1, 1, 2]
        """
        every = torch.arange(len(columns) + 1, device=columns.device)
        return cls(every, columns, n_columns).keep(columns >= 0)

    @classmethod
    def stacked(cls, parts: "Sequence[SparseRows]") -> "SparseRows":
        """The rows of several matrices of one width, one after the other.

        >>> SparseRows.stacked([SparseRows.from_pairs([0], [2], 1, 3), SparseRows.from_pairs([1], [0], 2, 3)]).indptr
        tensor([0, 1, 1, 2])
        """
        lengths = torch.cat([rows.lengths for rows in parts])
        columns = torch.cat([rows.columns for rows in parts])
        return cls(F.pad(lengths.cumsum(0), (1, 0)), columns, parts[0].n_columns)

    def to_scipy(self) -> csr_array:
        """The matrix of zeros and ones."""
        ones, shape = np.ones(len(self.columns), dtype=np.float32), (len(self.lengths), self.n_columns)
        return csr_array((ones, self.columns.cpu().numpy(), self.indptr.cpu().numpy()), shape=shape)

    @property
    def lengths(self) -> Tensor:
        """(R,) the number of non-zero columns of each row."""
        return self.indptr.diff()

    @property
    def n_entries(self) -> int:
        return len(self.columns)

    def to(self, device: torch.device | str) -> "SparseRows":
        return SparseRows(self.indptr.to(device), self.columns.to(device), self.n_columns)

    def select(self, rows: Tensor) -> "SparseRows":
        """The matrix of these rows, in this order."""
        return SelectedRows(self, rows)

    def keep(self, entries: Tensor) -> "SparseRows":
        """The matrix with those of its entries for which ``entries`` (nnz,) is True.

        >>> SparseRows.from_pairs([0, 0, 1], [3, 4, 4], 2, 5).keep(torch.tensor([False, True, True])).indptr.tolist()
        [0, 1, 2]
        """
        indptr = F.pad(entries.cumsum(0), (1, 0))[self.indptr]
        return SparseRows(indptr, self.columns[entries], self.n_columns)

    def without(self, rows: Tensor, columns: Tensor) -> "SparseRows":
        """The matrix, as ``from_pairs`` or ``select`` made it, without its entries at the places (N,), (N,).

        >>> matrix = SparseRows.from_pairs([0, 0, 1], [3, 4, 4], 2, 5)
        >>> matrix.without(torch.tensor([0, 1]), torch.tensor([4, 3])).columns.tolist()
        [3, 4]
        """
        kept = torch.ones_like(self.columns, dtype=torch.bool)
        if len(kept):
            keys, wanted = self._keys(), rows * self.n_columns + columns
            place = torch.searchsorted(keys, wanted).clamp(max=len(keys) - 1)
            kept[place[keys[place] == wanted]] = False
        return self.keep(kept)

    def union(self, other: "SparseRows") -> "SparseRows":
        """The entries of two matrices of one shape.

        >>> SparseRows.from_pairs([0], [3], 2, 5).union(SparseRows.from_pairs([0, 1], [1, 4], 2, 5)).columns.tolist()
        [1, 3, 4]
        """
        rows = torch.cat([self.row_of_entry(), other.row_of_entry()]).cpu()
        columns = torch.cat([self.columns, other.columns]).cpu()
        return SparseRows.from_pairs(rows, columns, len(self.lengths), self.n_columns).to(self.columns.device)

    def among(self, columns: Tensor) -> "SparseRows":
        """The matrix of some of its columns (K,), which are sorted.

        >>> SparseRows.from_pairs([0, 0, 1], [3, 4, 4], 2, 5).among(torch.tensor([1, 4])).columns.tolist()
        [1, 1]
        """
        place = torch.searchsorted(columns, self.columns).clamp(max=len(columns) - 1)
        there = columns[place] == self.columns
        return SparseRows(self.keep(there).indptr, place[there], len(columns))

    def transposed(self) -> "SparseRows":
        """The matrix with rows and columns exchanged."""
        rows, indptr, _ = by_column(self, self.n_columns)
        return SparseRows(indptr.long(), rows.long(), len(self.lengths))

    @cached_property
    def _by_column(self) -> tuple[Tensor, Tensor, Tensor | None]:
        return by_column(self, self.n_columns)

    def row_of_entry(self) -> Tensor:
        """(nnz,) the row that each entry of ``columns`` belongs to."""
        return self.spread(torch.arange(len(self.lengths), device=self.indptr.device))

    def spread(self, values: Tensor) -> Tensor:
        """(R,) values of the rows -> (nnz,), of the entries of each row."""
        return torch.repeat_interleave(values, self.lengths, output_size=self.n_entries)  # else a GPU is waited for

    def contains(self, columns: Tensor) -> Tensor:
        """(R, K) columns -> (R, K) bool, whether each row has them; the matrix as ``from_pairs`` or ``select`` made it.

        >>> SparseRows.from_pairs([0, 0, 1], [3, 4, 4], 2, 5).contains(torch.tensor([[4, 1], [0, 3]])).tolist()
        [[True, False], [False, False]]
        """
        if not len(self.columns):
            return torch.zeros_like(columns, dtype=torch.bool)
        keys = self._keys()
        wanted = torch.arange(len(columns), device=columns.device).unsqueeze(1) * self.n_columns + columns
        place = torch.searchsorted(keys, wanted).clamp(max=len(keys) - 1)
        return keys[place] == wanted

    def _keys(self) -> Tensor:
        """(nnz,) a number for the place of each entry, in ascending order where columns are."""
        return self.row_of_entry() * self.n_columns + self.columns

    def has(self, rows: Tensor, columns: Tensor) -> Tensor:
        """(N,) rows, (N,) columns -> (N,) bool, whether each place is non-zero; the matrix as ``from_pairs`` made it.

        >>> matrix = SparseRows.from_pairs([0, 0, 1], [3, 4, 4], 3, 5)
        >>> matrix.has(torch.tensor([0, 1, 2]), torch.tensor([4, 3, 0])).tolist()
        [True, False, False]
        """
        if not len(self.columns):
            return torch.zeros_like(rows, dtype=torch.bool)
        low, high = self.indptr[rows], self.indptr[rows + 1]
        end, last = high, len(self.columns) - 1
        while (low < high).any():
            middle = (low + high) // 2
            before = self.columns[middle.clamp(max=last)] < columns
            is_open = low < high
            low, high = torch.where(is_open & before, middle + 1, low), torch.where(is_open & ~before, middle, high)
        return (low < end) & (self.columns[low.clamp(max=last)] == columns)

    def mark(self, target: Tensor, value: float | bool = True) -> Tensor:
        """Set ``target`` (R, n_columns) to ``value`` at the non-zero places, in place."""
        return target.index_put_((self.row_of_entry(), self.columns), target.new_full((), value))


class SelectedRows(SparseRows):
    """Rows of a matrix; their columns are copied when they are asked for.

    Attributes:
        matrix, rows: what was selected from, (R,) which of its rows.
    """

    MOST = 0.75
    matrix: SparseRows
    rows: Tensor

    def __init__(self, matrix: SparseRows, rows: Tensor):
        lengths = matrix.indptr[rows + 1] - matrix.indptr[rows]
        vars(self).update(matrix=matrix, rows=rows, indptr=F.pad(lengths.cumsum(0), (1, 0)), n_columns=matrix.n_columns)

    @cached_property
    def n_entries(self) -> int:  # type: ignore[override]
        return int(self.indptr[-1])

    @cached_property
    def columns(self) -> Tensor:  # type: ignore[override]
        entries = torch.arange(self.n_entries, device=self.rows.device)
        entries = entries + self.spread(self.matrix.indptr[self.rows] - self.indptr[:-1])
        return self.matrix.columns[entries]

    @property
    def is_most(self) -> bool:
        """Whether summing all rows of the matrix, whose transposed is known, costs less than copying and transposing
        these (measured with 800,000 entries and widths of 64 to 256)."""
        return self.n_entries >= self.MOST * self.matrix.n_entries


class _WeightedRowSum(torch.autograd.Function):
    """``embedding_bag``'s sum with a backward pass that is a sum over the transposed matrix.

    PyTorch's own backward pass scatters entry by entry (79 ms against 2 ms forward for 800,000 entries of width 64 on
    2 cores); sorting the entries by column turns it into one more forward-like pass, deterministic as well. A table
    that lies column by column, as LAPACK leaves it, would be read 30 times as slowly.
    """

    @staticmethod
    def forward(ctx: Any, table: Tensor, matrix: SparseRows, weights: Tensor | None) -> Tensor:
        ctx.matrix, ctx.weights = matrix, weights
        rows = table.contiguous()
        weights = None if weights is None else weights.to(rows.dtype)
        return F.embedding_bag(matrix.columns, rows, matrix.indptr[:-1], mode="sum", per_sample_weights=weights)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        if ctx.weights is None:
            rows, indptr, weights = ctx.matrix._by_column
        else:
            rows, indptr, weights = by_column(ctx.matrix, ctx.matrix.n_columns, ctx.weights)
        weights = None if weights is None else weights.to(gradient.dtype)
        return (
            F.embedding_bag(rows, gradient.contiguous(), indptr[:-1], mode="sum", per_sample_weights=weights),
            None,
            None,
        )


def by_column(
    matrix: SparseRows, n_columns: int, weights: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """The row of each entry, in the order of the columns, where each column begins and ends, and each entry's weight.

    Counted, not sorted, where the matrix is in main memory; row numbers are then int32 where they fit.
    """
    if matrix.columns.device.type == "cpu":
        values = np.ones(len(matrix.columns), dtype=np.float32) if weights is None else weights.numpy()
        parts = values, matrix.columns.numpy(), matrix.indptr.numpy()
        by_column = csr_array(parts, shape=(len(matrix.indptr) - 1, n_columns)).tocsc()
        indptr, rows = torch.from_numpy(by_column.indptr), torch.from_numpy(by_column.indices)
        return rows, indptr, None if weights is None else torch.from_numpy(by_column.data)
    columns, order = matrix.columns.sort(stable=True)
    indptr = torch.searchsorted(columns, torch.arange(n_columns + 1, device=columns.device))
    return matrix.row_of_entry()[order], indptr, None if weights is None else weights[order]


def weighted_row_sum(matrix: SparseRows, table: Tensor, weights: Tensor | None = None) -> Tensor:
    """``(matrix * weights) @ table``: for each row the weighted sum of the table's rows at its columns.

    Of most of a matrix' rows (``SelectedRows``) all are summed, with the transposed matrix made once, and these taken.
    A table to which an optimizer has given a function ``read`` (``models.optimizer.TableAdamW``) is read by it.

    Args:
        matrix: R x C.
        table: (C, D).
        weights: (nnz,) the values of the matrix; ones by default. They get no gradient.

    Returns:
        (R, D); an empty row is zero.
    """
    if hasattr(table, "read") and torch.is_grad_enabled():
        table, columns = table.read(matrix.columns)
        matrix = SparseRows(matrix.indptr, columns, len(table))
    if weights is None and isinstance(matrix, SelectedRows) and matrix.is_most:
        return _WeightedRowSum.apply(table, matrix.matrix, None).index_select(0, matrix.rows)
    return _WeightedRowSum.apply(table, matrix, weights)


def co_occurrences(matrix: SparseRows) -> Tensor:
    """(C, C) float32, in how many rows two columns occur together.

    >>> co_occurrences(SparseRows.from_pairs([0, 0, 1], [0, 1, 1], 2, 2)).tolist()
    [[1.0, 1.0], [1.0, 2.0]]
    """
    rows = matrix.to_scipy()
    return torch.from_numpy((rows.T @ rows).toarray())


def sum_of_rows(rows: Tensor, index: Tensor, n: int) -> Tensor:
    """The sum of the rows (N, D) with each index: (N,) -> (n, D), the gradient of ``gather_rows``.

    >>> sum_of_rows(torch.tensor([[1.0], [2.0], [4.0]]), torch.tensor([2, 0, 2]), 3).tolist()
    [[2.0], [0.0], [5.0]]
    """
    entries = torch.arange(len(index) + 1, device=index.device)
    places, indptr, _ = by_column(SparseRows(entries, index, n), n)
    return F.embedding_bag(places, rows, indptr[:-1], mode="sum")


def add_rows(target: Tensor, index: Tensor, rows: Tensor) -> None:
    """Add each of the rows (..., D) to the one of ``target`` (n, D) with its index (...), in place and reproducibly."""
    rows, index = rows.flatten(0, -2), index.flatten()
    if target.device.type == "cpu":
        target.index_add_(0, index, rows)
    else:
        target += sum_of_rows(rows, index, len(target))


def gather_rows(table: Tensor, index: Tensor) -> Tensor:
    """``table[index]`` with the fast backward pass: (C, D), (N,) -> (N, D)."""
    indptr = torch.arange(len(index) + 1, device=index.device)
    return weighted_row_sum(SparseRows(indptr, index, len(table)), table)
