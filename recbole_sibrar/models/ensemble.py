"""Networks side by side: the deep ensemble behind SiBraR and MuBraR."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from recbole_sibrar.data.modalities import SIDES, Modalities
from recbole_sibrar.data.sparse import SparseRows
from recbole_sibrar.models.attribution import Part, beside_zeros
from recbole_sibrar.models.options import ModelOptions
from recbole_sibrar.models.recommender import BranchRecommender

SEEDS_APART = 1000
"""The networks' draws of modalities have seeds so far from each other."""


class EnsembleRecommender(BranchRecommender):
    r"""``ensemble_size`` networks K, whose scores are added (deep ensembles, Lakshminarayanan et al., NeurIPS 2017).

    .. math:: s_{ui} = \sum_{k=1}^K \langle e_u^k, e_i^k \rangle

    Each has parameters, draws and a loss of its own, and all see the same batches. A sum of inner products is that of
    the embeddings side by side, so that everything around the model deals with one embedding, K times as wide. The
    model itself is the first network. With one there is nothing else.

    Attributes:
        others: the K - 1 other networks. They read the first one's features, which are held once.
    """

    def __init__(self, options: ModelOptions, modalities: dict[str, Modalities], interactions: SparseRows, seed: int):
        super().__init__(options, modalities, interactions, seed)
        beside = {"interaction_ridge": 0.0, "interaction_kernel": 0.0, "user_kernel": 0.0}
        alone = replace(options, ensemble_size=1, impute="none", **beside)
        completed = {side: self.entities(side).in_training for side in SIDES}
        self.others = nn.ModuleList(
            type(self)(alone, completed, interactions, seed + SEEDS_APART * n) for n in range(1, options.ensemble_size)
        )
        for other in self.others:
            for side in SIDES:
                other.entities(side).imputer = self.entities(side).imputer
        self._share_features()

    def _share_features(self) -> None:
        """The others hold the first one's features, and not copies that a move to a device has made."""
        for other in self.others:
            persistent = other.state_dict().keys()
            for name, _ in list(other.named_buffers()):
                if name not in persistent:
                    owner, _, attribute = name.rpartition(".")
                    setattr(other.get_submodule(owner), attribute, self.get_buffer(name))

    def _apply(self, *arguments: Any, **settings: Any) -> "EnsembleRecommender":
        super()._apply(*arguments, **settings)
        self._share_features()
        return self

    def _of_each(self, function: Callable[..., Any], *arguments: Any) -> list[Any]:
        """``function``, a method of ``BranchRecommender``, of each network."""
        return [function(network, *arguments) for network in (self, *self.others)]

    def _scoring(self, function: Callable[..., Any], *arguments: Any) -> list[Any]:
        """As ``_of_each``; all read of the entities what evaluation has left the first."""
        for other in self.others:
            for side in SIDES:
                own, first = other.entities(side), self.entities(side)
                own.evaluated, own.kept = first.evaluated, first.kept
        return self._of_each(function, *arguments)

    def _side_by_side(self, function: Callable[..., Tensor], *arguments: Any) -> Tensor:
        embeddings = self._scoring(function, *arguments)
        return embeddings[0] if len(embeddings) == 1 else torch.cat(embeddings, -1)

    def pretrain(self, folder: Path, show_progress: bool) -> None:
        """Priors are solved once: they are the same for all networks."""
        super().pretrain(folder, show_progress)
        for other in self.others:
            other.priors.load_state_dict(self.priors.state_dict())

    def loss(self, batch: Any) -> tuple[Tensor, ...]:
        """The terms, each the mean over the networks."""
        for other in self.others:
            other.share_rows = self.share_rows
        terms = self._of_each(BranchRecommender.loss, batch)
        return terms[0] if len(terms) == 1 else tuple(torch.stack(values).mean() for values in zip(*terms))

    def calibrate(self, positives: SparseRows, items: Tensor) -> None:
        """Each network by itself."""
        self._scoring(BranchRecommender.calibrate, positives, items)

    def modality_embeddings(self, side: str, ids: Tensor, chunk: int = 8192) -> Tensor:
        return self._side_by_side(BranchRecommender.modality_embeddings, side, ids, chunk)

    def embed_modalities(self, features: Modalities, used: Tensor) -> Tensor:
        return self._side_by_side(BranchRecommender.embed_modalities, features, used)

    def embeddings(self, side: str, ids: Tensor, chunk: int = 8192) -> Tensor:
        return self._side_by_side(BranchRecommender.embeddings, side, ids, chunk)

    def embed(self, features: Modalities) -> Tensor:
        return self._side_by_side(BranchRecommender.embed, features)

    def with_modalities(self, side: str, entity: int | Modalities, used: Tensor) -> Tensor:
        return self._side_by_side(BranchRecommender.with_modalities, side, entity, used)

    def parts(self, side: str, entity: int | Modalities) -> list[Part]:
        """What a modality adds to the embeddings of all networks, side by side."""
        networks = self._scoring(BranchRecommender.parts, side, entity)
        widths = [len(parts[0].vector) for parts in networks]
        together: dict[tuple[str, str], Tensor] = {}
        for n, parts in enumerate(networks):
            for source, name, vector in parts:
                together[source, name] = together.get((source, name), 0) + beside_zeros(vector, widths, n)
        return [Part(source, name, vector) for (source, name), vector in together.items()]
