"""What the closed forms share: an epoch is a penalty, from the largest to the smallest, and validation chooses."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from recbole_sibrar.data.sparse import SparseRows
from recbole_sibrar.models.core import InnerProductModel


class PenaltyPath(InnerProductModel):
    """A model whose epochs solve for one penalty after the other.

    Attributes:
        solved_for: (), the penalty of the last epoch.
    """

    closed_form = True

    def _hold(self, matrix: SparseRows) -> None:
        """Keep what is solved from."""
        self.register_buffer("indptr", matrix.indptr, persistent=False)
        self.register_buffer("columns", matrix.columns, persistent=False)
        self._n_columns = matrix.n_columns
        self.solved_for = nn.Parameter(torch.zeros(()))

    @property
    def matrix(self) -> SparseRows:
        """The training interactions, as ``_hold`` was given them."""
        return SparseRows(self.indptr, self.columns, self._n_columns)

    def _next_penalty(self, largest: float, factor: float) -> float:
        """``largest * factor ** k`` in the epoch k, from 0."""
        penalty = largest * factor ** int(self.step)
        self.step += 1
        with torch.no_grad():
            self.solved_for.fill_(penalty)
        return penalty

    @contextmanager
    def as_of(self, step: int) -> Iterator[None]:
        """The model as it was after so many epochs."""
        now = int(self.step)
        self._solve_again(step)
        try:
            yield
        finally:
            self._solve_again(now)

    def _solve_again(self, step: int) -> None:
        if int(self.step) != step:
            self.step.fill_(step - 1)
            self.loss(None)
