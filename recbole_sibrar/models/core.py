"""The contract between a model and everything around it: training, evaluation, result files, the table of models."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn

from recbole_sibrar.checked import CheckedOptions
from recbole_sibrar.data.modalities import INTERACTIONS, SIDES, Modalities
from recbole_sibrar.data.sparse import SparseRows
from recbole_sibrar.models.attribution import Part, shapley_parts
from recbole_sibrar.models.imputation import Imputer

T = TypeVar("T")

ROWS = 8192
"""So many entities are embedded at a time."""


@dataclass(frozen=True)
class Capabilities:
    """What a model supports and needs.

    Attributes:
        cold_items, cold_users: it scores such entities by their content; without, a fallback stands in.
        missing_modalities: it takes entities that lack some of their content.
        missing_interactions: it reads the interactions of an entity as one of its modalities, which may be missing;
            without, an entity of training is what was learned of its id.
        new_content: a trained model takes entities of the side with content that the data set does not have.
        new_entities: it takes such users and items.
        pretraining: it needs another model's vectors, which are made and cached before it is trained.
    """

    cold_items: bool = False
    cold_users: bool = False
    missing_modalities: bool = False
    missing_interactions: bool = False
    new_content: bool = False
    new_entities: bool = False
    pretraining: bool = False

    @property
    def cold_sides(self) -> frozenset[str]:
        return frozenset(side for side in SIDES if getattr(self, f"cold_{side}s"))


class Entities(nn.Module):
    """One side: which entities occur in training, which modalities each has, and which of those evaluation may read.

    Attributes:
        names: of the M modalities.
        trained: (N,) bool. available: (N, M) bool, what training reads.
        evaluated: (N, M) bool, what there is in evaluation. kept: (M,) bool, the modalities that evaluation keeps, of
            those that an entity of training has: nothing was learned of others.
        in_training: the features that training reads: the modalities, completed by the imputer if there is one.

    Args:
        modalities: M modalities of N entities.
        trained: (N,) bool.
        kept: names of the modalities that evaluation keeps; all by default.
        imputer: what stands in for what is missing.
    """

    trained: Tensor
    available: Tensor
    evaluated: Tensor
    kept: Tensor

    def __init__(
        self,
        modalities: Modalities,
        trained: Tensor,
        kept: list[str] | None = None,
        imputer: Imputer | None = None,
    ):
        super().__init__()
        self.side, self.names = modalities.side, modalities.names
        if kept is not None:
            modalities.select(kept)
        is_kept = torch.tensor([kept is None or name in kept for name in self.names])
        self.register_buffer("trained", trained, persistent=False)
        self.imputer = imputer
        self.in_training = modalities if imputer is None else imputer.complete(modalities.available)
        self.register_buffer("available", self.in_training.available, persistent=False)
        self.register_buffer("evaluated", modalities.evaluated, persistent=False)
        self.register_buffer("kept", is_kept & self.available[trained].any(0), persistent=False)

    @property
    def read(self) -> Tensor:
        """(N, M) bool: what evaluation reads of each entity."""
        left = self.evaluated & self.kept
        return left if self.imputer is None else self.imputer.filled(left)

    @property
    def is_imputed_anew(self) -> bool:
        """Whether evaluation lacks other content than training, so that something else stands in for it."""
        if self.imputer is None:
            return False
        return not torch.equal((self.evaluated & self.kept).cpu(), self.imputer.modalities.available)

    def features_in_evaluation(self, ids: Tensor) -> Modalities | None:
        """What evaluation reads of the entities ``ids`` (R,), where it is imputed anew; None if training reads the
        same."""
        if self.imputer is None or not self.is_imputed_anew:
            return None
        completed = self.imputer.complete((self.evaluated & self.kept).cpu())
        return completed.rows(ids.cpu()).to(ids.device)

    def readable(self, features: Modalities) -> tuple[Modalities, Tensor]:
        """R entities that the training data do not have, and (R, M) bool, what evaluation reads of them."""
        left = features.available & self.kept
        if self.imputer is None:
            return features, left
        features = self.imputer.complete_new(features.to("cpu"), left.cpu()).to(left.device)
        return features, features.available


class InnerProductModel(nn.Module):
    """A model whose scores are inner products of user and item embeddings.

    A new model is a subclass in a file of this folder and its name in ``models/__init__.py``.

    Attributes:
        options_class: a subclass of ``CheckedOptions``.
        capabilities: what the model supports.
        closed_form: whether a step solves for the parameters, so that there are no gradients.
        modalities: {side: what is read of it}.
        sides: {side: its ``Entities``}, where they are the model's own.
        step: () int64, how many steps it has been trained for.
        share_rows: how several processes share the rows of a step, see ``rowwise``; None where one does all of them.

    Args:
        options: of ``options_class``.
        seed: of whatever a training step draws.
    """

    options_class = None
    capabilities = Capabilities()
    closed_form = False

    def __init__(self, options: CheckedOptions, seed: int):
        super().__init__()
        self.options, self.seed = options, seed
        self.modalities: dict[str, Modalities] = {}
        self._kept: dict[str, tuple[tuple[Tensor, ...], list[int], Any]] = {}
        self.share_rows: Callable[..., Tensor] | None = None
        self.register_buffer("step", torch.zeros((), dtype=torch.long))

    def _read_interactions(self, modalities: dict[str, Modalities], trained: dict[str, Tensor]) -> None:
        """Both sides are known by their interactions alone."""
        self.modalities = {side: modalities[side].select([INTERACTIONS]) for side in SIDES}
        self.sides = nn.ModuleDict({side: Entities(self.modalities[side], trained[side]) for side in SIDES})

    @property
    def n_parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.parameters() if parameter.requires_grad)

    def pretrain(self, folder: Path, show_progress: bool) -> None:
        """What has to be done once, before training; ``folder`` is for what is worth keeping."""

    def loss(self, batch: Any) -> tuple[Tensor, ...]:
        """The terms of the loss of a ``PairBatch`` or ``UserBatch``; ``options.batches`` says which."""
        raise NotImplementedError

    def rowwise(self, function: Callable[..., Tensor], *rows: Tensor) -> Tensor:
        """``function(*rows)`` of a training step's entities, (N, ...) each, to (N, ...): each row by itself.

        The costly part of ``loss`` goes through here, so that several processes can share it
        (``recbole_plugin.distributed``).
        """
        return function(*rows) if self.share_rows is None else self.share_rows(function, *rows)

    @property
    def calibrates(self) -> bool:
        """Whether ``calibrate`` changes anything."""
        return False

    def calibrate(self, positives: SparseRows, items: Tensor) -> None:
        """Once after training: adapt what ``embeddings`` makes of what was learned to held-out interactions.

        Args:
            positives: users x items, those of validation. items: (V,) of its candidates those without training
                interactions.
        """

    def embeddings(self, side: str, ids: Tensor) -> Tensor:
        """(N,) ids -> (N, D), for scoring: defined for every entity, whatever it lacks, and never untrained."""
        raise NotImplementedError

    def compared(self, embeddings: Tensor) -> Tensor:
        """(N, D) embeddings -> (N, D'), by which entities of one side are alike."""
        return embeddings

    def entities(self, side: str) -> Entities:
        return cast(Entities, self.sides[side])

    def described(self, side: str) -> bool:
        """Whether the model reads side information of a side, so that it can embed new entities of it by that."""
        return bool(self.modalities[side].content.entries)

    def embed(self, features: Modalities) -> Tensor:
        """(N, D) embeddings, for scoring, of entities that the training data do not have, from their features."""
        raise NotImplementedError

    def embedding_of(self, side: str, entity: int | Modalities) -> Tensor:
        """(1, D), of an id, or of the ``Modalities`` of one entity that the training data do not have."""
        return self.embeddings(side, self._ids(entity)) if isinstance(entity, int) else self.embed(entity)

    def _ids(self, entity: int) -> Tensor:
        """(1,), where the model is."""
        return torch.tensor([entity], device=self.step.device)

    def with_modalities(self, side: str, entity: int | Modalities, used: Tensor) -> Tensor:
        """One entity's embedding from parts of what it has.

        Args:
            entity: an id, or the ``Modalities`` of one entity that the training data do not have.
            used: (S, M) bool, S choices among its modalities.

        Returns:
            (S, D).
        """
        raise NotImplementedError

    def parts(self, side: str, entity: int | Modalities) -> list[Part]:
        """What each modality adds to one entity's embedding: ``Part``s, whose vectors add up to it.

        Their Shapley values (Shapley, 1953): the mean over all orders, in which modalities could be added one by one,
        of the change that adding it makes. What is there without any modality is a part of its own, if it is not zero.
        """
        encoder = self.entities(side)
        if isinstance(entity, int):
            has = encoder.read[entity]
        else:
            entity, used = encoder.readable(entity)
            has = used[0]
        source = type(self).__name__
        if not has.any():
            return [Part(source, "(mean)", self.embedding_of(side, entity)[0])]
        values, base = shapley_parts(lambda used: self.with_modalities(side, entity, used), has)
        found = [Part(source, name, vector) for name, vector, there in zip(encoder.names, values, has) if there]
        return found + ([Part(source, "(mean)", base)] if base.any() else [])

    def requirements(self, scenario: str) -> None:
        """Check before training that the model can serve the scenario.

        Raises:
            OptionError: it cannot.
        """

    def once(self, name: str, function: Callable[[], T], *read: Tensor) -> T:
        """``function()``, kept until a tensor of the state dict or of ``read`` is changed or replaced."""
        return self.until_changed(name, function, *self.state_dict(keep_vars=True).values(), *read)

    def until_changed(self, name: str, function: Callable[[], T], *tensors: Tensor) -> T:
        """``function()``, kept until one of the tensors is changed or replaced."""
        versions = [tensor._version for tensor in tensors]
        kept = self._kept.get(name)
        if kept is None or kept[1] != versions or any(old is not new for old, new in zip(kept[0], tensors)):
            self._kept[name] = kept = tensors, versions, function()
        return kept[2]

    def _next_step(self) -> torch.Generator:
        """The generator of a training step; a resumed run draws as an uninterrupted one."""
        generator = torch.Generator(self.step.device).manual_seed((self.seed * 1_000_003 + int(self.step)) % 2**63)
        self.step += 1
        return generator


def trained_entities(interactions: SparseRows) -> dict[str, Tensor]:
    """{side: (N,) bool, which entities occur in training}, of the training interactions, users x items."""
    items = torch.zeros(interactions.n_columns, dtype=torch.bool)
    return {"user": interactions.lengths > 0, "item": items.index_fill_(0, interactions.columns, True)}
