"""Networks side by side: the deep ensemble behind SiBraR and MuBraR."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from recbole_sibrar.data.modalities import INTERACTIONS, OTHER_SIDE, SIDES, Modalities
from recbole_sibrar.data.sparse import SparseRows
from recbole_sibrar.kinds.id import Id
from recbole_sibrar.models.attribution import Part, beside_zeros
from recbole_sibrar.models.core import ROWS, InnerProductModel
from recbole_sibrar.models.entity import EntityEncoder
from recbole_sibrar.models.network import Network
from recbole_sibrar.models.training_step import TrainingStep

SEEDS_APART = 1000
"""The networks' draws of modalities have seeds so far from each other."""


class Ensemble(InnerProductModel):
    r"""``ensemble_size`` networks K, whose scores are added (deep ensembles, Lakshminarayanan et al., NeurIPS 2017).

    .. math:: s_{ui} = \sum_{k=1}^K \langle e_u^k, e_i^k \rangle

    Each has parameters, draws and a loss of its own, and all see the same batches. A sum of inner products is that of
    the embeddings side by side, so that everything around the networks deals with one embedding, K times as wide.

    Attributes:
        networks: they read the first one's features, which are held once.

    Args:
        first: the first network, of whose kind the others are.
    """

    networks: nn.ModuleList

    def __init__(self, first: Network):
        super().__init__(first.options, first.seed)
        completed = {side: first.entities(side).in_training for side in SIDES}
        others = [
            Network(
                first.encoder_class,
                replace(first.options, impute="none"),
                completed,
                first.training_rows("user"),
                first.seed + SEEDS_APART * n,
            )
            for n in range(1, first.options.ensemble_size)
        ]
        for other in others:
            for side in SIDES:
                other.entities(side).imputer = first.entities(side).imputer
        self.networks, self.modalities = nn.ModuleList([first, *others]), first.modalities
        self._share_features()

    def entities(self, side: str) -> EntityEncoder:
        """Of the first network; what evaluation is left of its entities, all read."""
        return self.networks[0].entities(side)

    def training_rows(self, side: str) -> SparseRows:
        return self.networks[0].training_rows(side)

    def _share_features(self) -> None:
        """The others hold the first one's features, and not copies that a move to a device has made."""
        first, *others = self.networks
        for other in others:
            persistent = other.state_dict().keys()
            for name, _ in list(other.named_buffers()):
                if name not in persistent:
                    owner, _, attribute = name.rpartition(".")
                    setattr(other.get_submodule(owner), attribute, first.get_buffer(name))

    def _apply(self, *arguments: Any, **settings: Any) -> "Ensemble":
        super()._apply(*arguments, **settings)
        self._share_features()
        return self

    def _of_each(self, function: Callable[..., Any], *arguments: Any) -> list[Any]:
        """``function``, a method of ``Network``, of each, which read of the entities what evaluation left the first."""
        first, *others = self.networks
        for other in others:
            for side in SIDES:
                own, left = other.entities(side), first.entities(side)
                own.evaluated, own.kept = left.evaluated, left.kept
        return [function(network, *arguments) for network in self.networks]

    def _side_by_side(self, function: Callable[..., Tensor], *arguments: Any) -> Tensor:
        embeddings = self._of_each(function, *arguments)
        return embeddings[0] if len(embeddings) == 1 else torch.cat(embeddings, -1)

    def pretrain(self, folder: Path, show_progress: bool) -> None:
        """Priors are solved once: they are the same for all networks."""
        first, *others = self.networks
        first.pretrain(folder, show_progress)
        for other in others:
            other.priors.load_state_dict(first.priors.state_dict())

    def loss(self, batch: Any) -> tuple[Tensor, ...]:
        """The terms, each the mean over the networks."""
        self.step += 1
        for network in self.networks:
            network.share_rows = self.share_rows
        terms = [TrainingStep(network).terms(batch) for network in self.networks]
        return terms[0] if len(terms) == 1 else tuple(torch.stack(values).mean() for values in zip(*terms))

    def calibrate(self, positives: SparseRows, items: Tensor) -> None:
        """Each network by itself."""
        self._of_each(Network.calibrate, positives, items)

    def modality_embeddings(self, side: str, ids: Tensor) -> Tensor:
        return self._side_by_side(Network.modality_embeddings, side, ids)

    def embed_modalities(self, features: Modalities, used: Tensor) -> Tensor:
        return self._side_by_side(Network.embed_modalities, features, used)

    def embeddings(self, side: str, ids: Tensor) -> Tensor:
        return self._side_by_side(Network.embeddings, side, ids)

    def embed_read(self, features: Modalities, used: Tensor) -> Tensor:
        """(N, D) of new entities, from what ``Entities.readable`` returns."""
        return self._side_by_side(Network.embed_read, features, used)

    def with_modalities(self, side: str, entity: int | Modalities, used: Tensor) -> Tensor:
        return self._side_by_side(Network.with_read, side, self.networks[0].read_of(side, entity)[0], used)

    def fused_in_training(self, side: str, ids: Tensor, used: Tensor, profiles: SparseRows | None = None) -> Tensor:
        """(N, D), as ``Network.fused_in_training``; zero without any modality."""
        read = Network.fused_in_training
        parts = [
            self._side_by_side(read, side, ids[part], used[part], profiles and profiles.select(part))
            for part in torch.arange(len(ids), device=ids.device).split(ROWS)
        ]
        return torch.cat(parts)

    def fused_as_new(self, side: str, ids: Tensor, used: Tensor) -> Tensor:
        """(N, D), as ``Network.fused_as_new``."""
        return self._side_by_side(Network.fused_as_new, side, ids, used)

    def parts(self, side: str, entity: int | Modalities) -> list[Part]:
        """What a modality adds to the embeddings of all networks, side by side."""
        networks = self._of_each(Network.parts_read, side, *self.networks[0].read_of(side, entity))
        widths = [len(parts[0].vector) for parts in networks]
        together: dict[tuple[str, str], Tensor] = {}
        for n, parts in enumerate(networks):
            for source, name, vector in parts:
                together[source, name] = together.get((source, name), 0) + beside_zeros(vector, widths, n)
        return [Part(source, name, vector) for (source, name), vector in together.items()]

    # the interactions that evaluation reads

    def profiles(self, side: str, ids: Tensor) -> SparseRows:
        """The interactions of known entities (N,), where evaluation reads them, or an id in their place."""
        encoder = self.entities(side)
        if encoder.names == (Id.name,):
            return self.training_rows(side).select(ids)
        if INTERACTIONS not in encoder.names:
            return self._no_profiles(side, len(ids))
        place = encoder.names.index(INTERACTIONS)
        rows = encoder.projections[place].stored(ids)
        return rows.keep(rows.spread(encoder.read[ids, place]))

    def profiles_of(self, features: Modalities) -> SparseRows:
        """As ``profiles``, of N entities that the training data do not have."""
        encoder, n = self.entities(features.side), len(features.available)
        if INTERACTIONS not in encoder.names:
            return self._no_profiles(features.side, n)
        place = encoder.names.index(INTERACTIONS)
        entry = features.entries[place]
        rows = entry.features(torch.arange(n, device=entry.available.device))
        return rows.keep(rows.spread(entry.available & encoder.kept[place]))

    def profile_of(self, side: str, entity: int | Modalities) -> SparseRows:
        """As ``profiles``, of an id, or as ``profiles_of``."""
        return self.profiles(side, self._ids(entity)) if isinstance(entity, int) else self.profiles_of(entity)

    def profile_name(self, side: str) -> str:
        """The modality that stands for an entity's interactions."""
        return INTERACTIONS if INTERACTIONS in self.entities(side).names else Id.name

    def _no_profiles(self, side: str, n: int) -> SparseRows:
        return SparseRows.from_pairs([], [], n, len(self.entities(OTHER_SIDE[side]).trained)).to(self.step.device)
