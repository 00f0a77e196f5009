"""The contract between a model and everything around it: training, evaluation, result files, the table of models."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from recbole_sibrar.data.modalities import SIDES
from recbole_sibrar.data.sparse import SparseRows


@dataclass(frozen=True)
class Capabilities:
    """What a model supports and needs.

    Attributes:
        cold_items, cold_users: it scores such entities by their content; without, a fallback stands in.
        missing_modalities: it takes entities that lack some of their modalities.
        new_entities: a trained model takes users and items that the data set does not have.
        pretraining: it needs another model's vectors, which are made and cached before it is trained.
    """

    cold_items: bool = False
    cold_users: bool = False
    missing_modalities: bool = False
    new_entities: bool = False
    pretraining: bool = False

    @property
    def cold_sides(self) -> frozenset:
        return frozenset(side for side in SIDES if getattr(self, f"cold_{side}s"))


class InnerProductModel(nn.Module):
    """A model whose scores are inner products of user and item embeddings.

    A new model is a subclass in a file of this folder, a line in ``models/__init__.py``, two lines in
    ``recbole_plugin/models.py`` and a property file.

    Attributes:
        options_class: a subclass of ``CheckedOptions``.
        capabilities: what the model supports.
        every_epoch_counts: whether the epochs are a grid of settings, so that training must not stop early.
        closed_form: whether a step solves for the parameters, so that there are no gradients.
        modalities: {side: what is read of it}.
        step: () int64, how many steps it has been trained for.

    Args:
        options: of ``options_class``.
        seed: of whatever a training step draws.
    """

    options_class = None
    capabilities = Capabilities()
    every_epoch_counts = False
    closed_form = False

    def __init__(self, options, seed: int):
        super().__init__()
        self.options, self.seed = options, seed
        self.modalities = {}
        self._kept = {}
        self.register_buffer("step", torch.zeros((), dtype=torch.long))

    @property
    def n_parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.parameters() if parameter.requires_grad)

    def pretrain(self, folder: Path, show_progress: bool) -> None:
        """What has to be done once, before training; ``folder`` is for what is worth keeping."""

    def loss(self, batch) -> tuple:
        """The terms of the loss of a ``PairBatch`` or ``UserBatch``; ``options.batches`` says which."""
        raise NotImplementedError

    def rowwise(self, function, *rows: Tensor) -> Tensor:
        """``function(*rows)`` of a training step's entities, (N, ...) each, to (N, ...): each row by itself.

        The costly part of ``loss`` goes through here, so that several processes can share it
        (``recbole_plugin.distributed``).
        """
        return function(*rows)

    def embeddings(self, side: str, ids: Tensor) -> Tensor:
        """(N,) ids -> (N, D), for scoring: defined for every entity, whatever it lacks, and never untrained."""
        raise NotImplementedError

    def requirements(self, scenario: str) -> None:
        """Check before training that the model can serve the scenario.

        Raises:
            OptionError: it cannot.
        """

    def _once(self, name: str, function: Callable, *read: Tensor) -> Tensor:
        """``function()``, kept until a tensor of the state dict or of ``read`` is changed or replaced."""
        tensors = [*self.state_dict(keep_vars=True).values(), *read]
        versions = [tensor._version for tensor in tensors]
        kept = self._kept.get(name)
        if kept is None or kept[1] != versions or any(old is not new for old, new in zip(kept[0], tensors)):
            self._kept[name] = kept = tensors, versions, function()
        return kept[2]

    def _next_step(self) -> torch.Generator:
        """The generator of a training step; a resumed run draws as an uninterrupted one."""
        generator = torch.Generator().manual_seed((self.seed * 1_000_003 + int(self.step)) % 2**63)
        self.step += 1
        return generator


def trained_entities(interactions: SparseRows) -> dict:
    """{side: (N,) bool, which entities occur in training}, of the training interactions, users x items."""
    items = torch.zeros(interactions.n_columns, dtype=torch.bool)
    return {"user": interactions.lengths > 0, "item": items.index_fill_(0, interactions.columns, True)}
