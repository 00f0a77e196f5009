"""Training steps that the processes share: rows, losses and gradients."""

from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from recbole.data.interaction import Interaction
from recbole.model.abstract_recommender import AbstractRecommender
from torch import Tensor, nn

from recbole_sibrar.recbole_plugin.distributed.exchange import gather, rank, share, size


class _GatherRows(torch.autograd.Function):
    """The rows of all processes; a row's gradient is the sum of its gradients in all of them."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, lengths: list[int]) -> Tensor:
        ctx.lengths = lengths
        padded = rows.new_zeros(max(lengths), *rows.shape[1:])
        padded[: len(rows)] = rows
        parts = [torch.empty_like(padded) for _ in lengths]
        dist.all_gather(parts, padded)
        return torch.cat([part[:length] for part, length in zip(parts, lengths)])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        gradient = gradient.contiguous()
        dist.all_reduce(gradient)
        return _own(gradient, ctx.lengths), None


def _own(rows: Tensor, lengths: list[int]) -> Tensor:
    """This process's of the gathered rows of all, which have these numbers of them."""
    return rows.split(lengths)[rank()]


def shared_rows(function: Callable[..., Tensor], *rows: Tensor) -> Tensor:
    """``function(*rows)``, each process doing its share.

    Args:
        function: of tensors (N, ...), each row by itself, to (N, D...). rows: the same in all processes.

    Returns:
        (N, D...), the same in all processes.
    """
    n = len(rows[0])
    result = function(*(entry[share(n)] for entry in rows))
    bounds = [share(n, process) for process in range(size())]
    return _GatherRows.apply(result, [bound.stop - bound.start for bound in bounds])


def _normalise_by_all_rows(layer: nn.BatchNorm1d) -> None:
    """Let a batch normalisation see the rows of all processes while it is trained."""

    def whole(layer: nn.BatchNorm1d, inputs: tuple[Tensor, ...]) -> tuple[Tensor] | None:
        if layer.training:
            layer.lengths = gather(len(inputs[0]))
            return (_GatherRows.apply(inputs[0], layer.lengths),)
        return None

    def own(layer: nn.BatchNorm1d, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
        if layer.training:
            return _own(output, layer.lengths)
        return None

    layer.register_forward_pre_hook(whole)
    layer.register_forward_hook(own)


class SharedLoss(nn.Module):
    """The loss of a step as a module for ``DistributedDataParallel``, with the parameters of the model but no buffers.

    Buffers, the features of all entities among them, are the same in all processes; nothing has to send them around.

    Args:
        model: one of RecBole's or of our adapters.
    """

    def __init__(self, model: AbstractRecommender):
        super().__init__()
        self.calculate_loss = model.calculate_loss
        self.shared_parameters = nn.ParameterList(model.parameters())
        self.splits_batch = not hasattr(model, "core")
        if not self.splits_batch:
            model.core.share_rows = shared_rows
            for layer in model.modules():
                if isinstance(layer, nn.BatchNorm1d):
                    _normalise_by_all_rows(layer)

    def forward(self, interaction: Interaction) -> Any:
        """RecBole's batch, the same in all processes, to the loss or its terms, the mean of which is the batch's."""
        if not self.splits_batch:
            return self.calculate_loss(interaction)
        n = len(interaction)
        own = share(n)
        weight = size() * (own.stop - own.start) / n
        losses = self.calculate_loss(interaction[own if weight else slice(0, 1)])
        return tuple(loss * weight for loss in losses) if isinstance(losses, tuple) else losses * weight


def shared_loss(model: AbstractRecommender) -> nn.Module | None:
    """The ``loss_func`` of RecBole's trainers, with gradients averaged over the processes; None for one process."""
    if size() == 1:
        return None
    loss = SharedLoss(model)
    return nn.parallel.DistributedDataParallel(loss, find_unused_parameters=loss.splits_batch)
