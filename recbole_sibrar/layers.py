"""What projections, encoders and linear features are made of."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ACTIVATION_LAYERS = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "gelu": nn.GELU,
    "selu": nn.SELU,
}


STATISTICS_ROWS = 256

ROUNDING = 1e-6
"""Of a mean's length: rows that are nearer to it do not differ."""


class _UnitRows(torch.autograd.Function):
    """Three passes over the rows for the gradient, and not the dozen of ``F.normalize``; none for a row of zeros, where
    that of ``F.normalize`` is a trillion times what arrives."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        lengths = rows.norm(dim=-1, keepdim=True)
        lengths = lengths.masked_fill(lengths == 0, torch.inf)
        unit = rows / lengths
        ctx.save_for_backward(unit, lengths)
        return unit

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        unit, lengths = ctx.saved_tensors
        along = (gradient * unit).sum(-1, keepdim=True)
        return torch.addcmul(gradient, unit, along, value=-1).div_(lengths)


def unit_rows(rows: Tensor) -> Tensor:
    """(N, D) rows at length one; one of zeros stays.

    >>> unit_rows(torch.tensor([[3.0, 4.0], [0.0, 0.0]]))
    tensor([[0.6000, 0.8000],
            [0.0000, 0.0000]])
    """
    return _UnitRows.apply(rows)


def single(values: Tensor) -> Tensor:
    """At least in single precision, where mixed precision has made them half of it."""
    return values.to(torch.promote_types(values.dtype, torch.float))


class BatchNorm(nn.BatchNorm1d):
    """Batch normalisation that falls back to its running statistics for fewer than two rows."""

    def forward(self, rows: Tensor) -> Tensor:
        if len(rows) > 1:
            return super().forward(rows)
        return F.batch_norm(rows, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)


def mlp(
    sizes: list[int],
    activation: str,
    batch_norm: bool = False,
    activate_input: bool = False,
    activate_output: bool = False,
) -> nn.Sequential:
    """Linear layers of these sizes with an activation between them.

    Args:
        sizes: input, hidden ..., output.
        batch_norm: normalise after every second linear layer, as the authors do.
        activate_input, activate_output: activation before the first and after the last layer, too.
    """
    layers = [ACTIVATION_LAYERS[activation]()] if activate_input else []
    last = len(sizes) - 2
    for position, (n_in, n_out) in enumerate(zip(sizes, sizes[1:])):
        is_normalised = batch_norm and position % 2 == 1
        linear = nn.Linear(n_in, n_out, bias=not is_normalised)  # which the normalisation would take out again
        nn.init.xavier_normal_(linear.weight)
        if linear.bias is not None:
            nn.init.zeros_(linear.bias)
        layers.append(linear)
        if is_normalised:
            layers.append(BatchNorm(n_out))
        if position < last or activate_output:
            layers.append(ACTIVATION_LAYERS[activation]())
    return nn.Sequential(*layers)


def further_layers(sizes: list[int], activation: str) -> nn.Module:
    """What follows an embedding or linear layer of width ``sizes[0]``: activation and layers; nothing if it was the
    last."""
    if len(sizes) == 1:
        return nn.Identity()
    return nn.Sequential(ACTIVATION_LAYERS[activation](), mlp(sizes, activation))


def hold_values(module: nn.Module, values: Any) -> None:
    """Make ``module.values`` a modality's: a buffer outside of the state dict, or the ``DiskVectors`` as they are."""
    if isinstance(values, Tensor):
        module.register_buffer("values", values, persistent=False)
    else:
        module.values = values


def differ(distance: Tensor, mean: Tensor) -> Tensor:
    """() bool, whether rows at this mean distance () from their ``mean`` (F,) differ by more than rounding."""
    return distance > ROUNDING * mean.norm()


def centre(read: Callable[[Tensor], Tensor], entities: Tensor) -> tuple[Tensor, Tensor]:
    """The mean of entities' features and the distance of each from it, in blocks: no copy of all is made.

    Args:
        read: (B,) entities -> (B, F) float.
        entities: (K,); for none the mean is zero.

    Returns:
        (F,), (K,).

    >>> centre(lambda entities: torch.tensor([[3.0, 0.0], [-3.0, 8.0]])[entities], torch.tensor([0, 1]))
    (tensor([0., 4.]), tensor([5., 5.]))
    """
    total = torch.zeros(read(entities[:0]).shape[1], dtype=torch.double)
    for block in entities.split(STATISTICS_ROWS):
        total += read(block).sum(0, dtype=torch.double)
    mean, distances = (total / max(len(entities), 1)).float(), torch.empty(len(entities))
    # Filled in place: what outlives a block would keep the allocator from giving its memory to the next one.
    for place, block in zip(distances.split(STATISTICS_ROWS), entities.split(STATISTICS_ROWS)):
        place.copy_((read(block) - mean).norm(dim=1))
    return mean, distances
