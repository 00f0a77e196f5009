"""AdamW whose step costs what a batch reads of the large tables, and not what they hold."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from math import ceil, log
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw

# Smaller tables take a dense step: on 2 cores that of 100,000 rows of width 64 takes 7 ms, its gradient 15 ms.
LARGE_FROM = 100_000

# So many times as long as for each row of a dense step (0.2 us) takes the work for a row that is read apart (0.85 us).
COST_OF_A_ROW = 4


def large_tables(model: nn.Module) -> list[nn.Parameter]:
    """The weights of the model's embeddings with at least ``LARGE_FROM`` rows, for ``TableAdamW``."""
    layers = (layer for layer in model.modules() if isinstance(layer, nn.Embedding))
    return [layer.weight for layer in layers if layer.num_embeddings >= LARGE_FROM]


@dataclass(frozen=True)
class _Reading:
    """What a step reads of a table: numbers (R,), values, first and second moments (R, D) of rows."""

    rows: Tensor
    values: Tensor
    mean: Tensor
    square: Tensor


class TableAdamW(torch.optim.AdamW):
    r"""AdamW in which, of a large table, only the rows that a step reads take part in it if they are few.

    The steps between, which AdamW takes without gradient, are made up for when the row is read again. After the last
    gradient in step s, with :math:`\lambda = 1 - lr \cdot wd` and :math:`r = \beta_1 / \sqrt{\beta_2}`,

    .. math:: m_t = \beta_1^{t-s} m_s, \qquad v_t = \beta_2^{t-s} v_s, \qquad
              p_t = \lambda^{t-s} p_s - lr \frac{m_s}{\sqrt{v_s}} \sum_{j=s+1}^t \lambda^{t-j} r^{j-s} q_j,
              \qquad q_j = \frac{\sqrt{1 - \beta_2^j}}{1 - \beta_1^j}

    With :math:`\rho = r / \lambda` and :math:`G_s = \sum_{j \geq 1} \rho^j q_{s+j}` the sum is
    :math:`\lambda^{t-s} (G_s - \rho^{t-s} G_t)`. The result is AdamW's but for rounding, and for epsilon, which is held
    at its value in step s + 1. (Leaving the movement without gradient out, as ``SparseAdam`` does, would take away nine
    tenths of the path of a row that is seldom read.)

    A table gets the attribute ``read``, by which ``data.sparse.weighted_row_sum`` and ``gather_rows`` read it while
    gradients are wanted, once in a step; the gradient is that of the rows read, or of the whole table where they are
    many. Others read the table after ``finish``. ``state_dict`` is AdamW's.

    Args:
        parameters: all that is trained.
        tables: some of them.
        lr, weight_decay: as AdamW's; see ``suits``.
    """

    ROWS_AT_A_TIME = 2**12  # temporaries stay in the processor's cache
    PRECISION = 1e-12

    def __init__(self, parameters: Iterable[nn.Parameter], tables: list[nn.Parameter], lr: float, weight_decay: float):
        super().__init__(parameters, lr=lr, weight_decay=weight_decay, fused=True)
        self.tables = tables
        self._last_step: dict[Tensor, Tensor] = {}
        self._space: dict[Tensor, Tensor] = {}
        self._reading: dict[Tensor, _Reading | None] = {}
        self._fading = torch.zeros(0, dtype=torch.double)
        for table in tables:
            self.state[table] = {
                "step": torch.zeros((), dtype=torch.float32, device=table.device),
                "exp_avg": torch.zeros_like(table),
                "exp_avg_sq": torch.zeros_like(table),
            }
            self._last_step[table] = torch.zeros(len(table), dtype=torch.int32, device=table.device)
            self._space[table] = table.new_empty(3, 0, table.shape[1])
            table.read = partial(self._read, table)

    @staticmethod
    def suits(lr: float, weight_decay: float, betas: tuple[float, float] = (0.9, 0.999)) -> bool:
        """Whether rho is well below 1: a moment has to fade faster than the weights."""
        return lr * weight_decay < (1 - betas[0] / betas[1] ** 0.5) / 2

    def zero_grad(self, set_to_none: bool = True) -> None:
        super().zero_grad(set_to_none)
        self._reading.clear()

    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        loss = super().step(closure)
        for table, reading in self._reading.items():
            if reading is None:
                self._last_step[table].fill_(int(self.state[table]["step"]))
            elif reading.values.grad is not None:
                self._update(table, reading)
        self._reading.clear()
        return loss

    def _read(self, table: nn.Parameter, columns: Tensor) -> tuple[Tensor, Tensor]:
        """Rows of the table, up to date, and where among them the columns (N,) are: (R, D), (N,).

        They are the whole table, or a leaf with the distinct columns' rows, whose gradient ``step`` takes.
        """
        if table in self._reading:
            raise RuntimeError("A large table can be read once between zero_grad and step.")
        if len(columns) * COST_OF_A_ROW > len(table):
            self._reading[table] = None
            self._finish(table)
            return table, columns
        rows, place = columns.unique(return_inverse=True)
        self._reading[table] = reading = self._up_to_date(table, rows)
        return reading.values.requires_grad_(), place

    @torch.no_grad()
    def _update(self, table: nn.Parameter, reading: _Reading) -> None:
        state, group = self.state[table], self.param_groups[0]
        beta1, beta2 = group["betas"]
        adamw(
            [reading.values], [cast(Tensor, reading.values.grad)], [reading.mean], [reading.square], [],
            [state["step"]], fused=True, amsgrad=False, beta1=beta1, beta2=beta2, lr=group["lr"],
            weight_decay=group["weight_decay"], eps=group["eps"], maximize=False,
        )  # fmt: skip
        self._store(table, reading)

    def _store(self, table: nn.Parameter, reading: _Reading) -> None:
        state = self.state[table]
        table.index_copy_(0, reading.rows, reading.values)
        state["exp_avg"].index_copy_(0, reading.rows, reading.mean)
        state["exp_avg_sq"].index_copy_(0, reading.rows, reading.square)
        self._last_step[table][reading.rows] = int(state["step"])

    @torch.no_grad()
    def _up_to_date(self, table: nn.Parameter, rows: Tensor) -> _Reading:
        """The rows after the steps in which they were not read."""
        state = self.state[table]
        if self._space[table].shape[1] < len(rows):  # fresh memory costs more than all that is done with it
            self._space[table] = table.new_empty(3, len(rows) * 5 // 4, table.shape[1])
        copies = [space[: len(rows)] for space in self._space[table]]
        for copy, source in zip(copies, (table, state["exp_avg"], state["exp_avg_sq"])):
            torch.index_select(source, 0, rows, out=copy)
        factors = self._factors(self._last_step[table][rows].long(), int(state["step"]), table.dtype)
        for parts in zip(*(whole.split(self.ROWS_AT_A_TIME) for whole in (*copies, *factors))):
            values, mean, square, decay, path, epsilon, decay1, decay2 = parts
            values.mul_(decay).addcdiv_(mean * path, square.sqrt().add_(epsilon), value=-1)
            mean.mul_(decay1)
            square.mul_(decay2)
        return _Reading(rows, *copies)

    def _factors(self, last: Tensor, now: int, dtype: torch.dtype) -> list[Tensor]:
        """For rows whose last steps are ``last`` (R,), what is to be done in step ``now``: (R, 1) each."""
        group = self.param_groups[0]
        (beta1, beta2), lr = group["betas"], group["lr"]
        skipped, faded = (now - last).double(), self._faded(now)
        decay = (1 - lr * group["weight_decay"]) ** skipped
        path = lr * (decay * faded[last] - (beta1 / beta2**0.5) ** skipped * faded[now])
        epsilon = group["eps"] * (1 - beta2 ** (last + 1).double()).sqrt()
        return [part.to(dtype).unsqueeze(1) for part in (decay, path, epsilon, beta1**skipped, beta2**skipped)]

    def _faded(self, now: int) -> Tensor:
        """G_s for s = 0 to at least ``now``."""
        if now >= len(self._fading):
            group = self.param_groups[0]
            beta1, beta2 = group["betas"]
            rho = beta1 / beta2**0.5 / (1 - group["lr"] * group["weight_decay"])
            powers = rho ** torch.arange(1, ceil(log(self.PRECISION) / log(rho)), dtype=torch.double)
            steps = torch.arange(1, 2 * now + 1024 + len(powers), dtype=torch.double)
            quotient = (1 - beta2**steps).sqrt() / (1 - beta1**steps)
            self._fading = (quotient.unfold(0, len(powers), 1) @ powers).to(self.tables[0].device)
        return self._fading

    def finish(self) -> None:
        """Bring all rows up to date."""
        for table in self.tables:
            self._finish(table)

    @torch.no_grad()
    def _finish(self, table: nn.Parameter) -> None:
        behind = (self._last_step[table] < self.state[table]["step"]).nonzero().squeeze(1)
        for rows in behind.split(self.ROWS_AT_A_TIME):
            self._store(table, self._up_to_date(table, rows))

    def state_dict(self) -> dict[str, Any]:
        self.finish()
        return super().state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        for table in self.tables:
            self._last_step[table].fill_(int(self.state[table]["step"]))
