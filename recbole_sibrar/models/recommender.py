"""The recommender behind SiBraR and MuBraR: networks, and what joins their scores in evaluation."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from recbole_sibrar.data.modalities import INTERACTIONS, Modalities, rows_of
from recbole_sibrar.data.sparse import SparseRows
from recbole_sibrar.errors import OptionError
from recbole_sibrar.models.attribution import Part
from recbole_sibrar.models.core import Capabilities, InnerProductModel
from recbole_sibrar.models.encoders import Encoder
from recbole_sibrar.models.ensemble import Ensemble
from recbole_sibrar.models.entity import EntityEncoder
from recbole_sibrar.models.network import NETWORK, Network, sample_of
from recbole_sibrar.models.new_items import Level
from recbole_sibrar.models.options import ModelOptions
from recbole_sibrar.models.readouts import Seen, readouts
from recbole_sibrar.scenarios import SCENARIOS

USERS = 1024
"""So many users, and fewer than twice as many, tell at which level new items are."""


class BranchRecommender(InnerProductModel):
    """Users and items as their modalities, each through an encoder, and fused.

    Training is that of the networks (``ensemble``). When scores are made, their embeddings are calibrated, extended by
    regressions of the interactions on them (``readouts``), and those of new items brought to the others' level: each
    is an option, and the papers have none.

    Attributes:
        encoder_class: of a single-branch side, what SiBraR and MuBraR differ in.
        modalities: {side: what its encoder reads}.

    Args:
        options: see ``ModelOptions``.
        modalities: {side: the modalities in use}, ``interactions`` (training interactions only) among them.
        interactions: users x items, the training interactions.
        seed: of the modality sampling.
    """

    options_class = ModelOptions
    options: ModelOptions
    capabilities = Capabilities(
        cold_items=True,
        cold_users=True,
        missing_modalities=True,
        missing_interactions=True,
        new_content=True,
        new_entities=True,
    )
    encoder_class: type[Encoder]

    def __init__(self, options: ModelOptions, modalities: dict[str, Modalities], interactions: SparseRows, seed: int):
        super().__init__(options, seed)
        self.ensemble = Ensemble(Network(self.encoder_class, options, modalities, interactions, seed))
        self.modalities = self.ensemble.modalities
        self.readouts = list(readouts(options, self.ensemble))
        self.level = Level() if options.calibration else None

    def entities(self, side: str) -> EntityEncoder:
        return self.ensemble.entities(side)

    def described(self, side: str) -> bool:
        return self.options.is_single_branch(side) and super().described(side)

    # training

    def pretrain(self, folder: Path, show_progress: bool) -> None:
        self.ensemble.pretrain(folder, show_progress)

    def loss(self, batch: Any) -> tuple[Tensor, ...]:
        """(recommendation loss, weighted contrastive loss or none) of a ``PairBatch`` or ``UserBatch``."""
        self.step += 1
        if self.level is not None:
            self.level.reset()  # until it is fitted to the new parameters
        self.ensemble.share_rows = self.share_rows
        return self.ensemble.loss(batch)

    @property
    def calibrates(self) -> bool:
        return self.options.calibration

    @torch.no_grad()
    def calibrate(self, positives: SparseRows, items: Tensor) -> None:
        self.ensemble.calibrate(positives, items)
        if self.level is None or not len(items):
            return
        known = self.entities("item").trained.nonzero().squeeze(1)
        known = sample_of(known[self.ensemble.profiles("item", known).lengths > 0])
        if not len(known):
            return
        items = sample_of(items)
        self.level.fit(
            self._embeddings_without,
            sample_of(self.entities("user").trained.nonzero().squeeze(1), USERS),
            {"known": known, "new": items},
            self.ensemble.training_rows("user"),
            positives.keep(torch.isin(positives.columns, items)),
            self.seed,
        )

    # scoring

    @torch.no_grad()
    def embeddings(self, side: str, ids: Tensor) -> Tensor:
        fused = self.ensemble.embeddings(side, ids)
        if not self._extends:
            return fused
        return self._extended(Seen(side, fused, self.entities(side).read[ids], self.ensemble.profiles(side, ids)))

    @torch.no_grad()
    def embed(self, features: Modalities) -> Tensor:
        read, used = self.entities(features.side).readable(features)
        fused = self.ensemble.embed_read(read, used)
        if not self._extends:
            return fused
        return self._extended(Seen(features.side, fused, used, self.ensemble.profiles_of(features)))

    @property
    def _extends(self) -> bool:
        return bool(self.readouts) or self.level is not None

    def _extended(self, seen: Seen) -> Tensor:
        """The networks' embeddings with what stands beside them."""
        embeddings = seen.fused
        for readout in self.readouts:
            embeddings = readout.extend(embeddings, seen)
        return embeddings if self.level is None else self.level.extend(embeddings, seen.side, seen.profiles)

    def _embeddings_without(self, side: str, ids: Tensor, hidden: SparseRows | None) -> Tensor:
        """As ``embeddings``, of known entities (N,) without the interactions ``hidden``, users x items."""
        if hidden is None:
            return self.embeddings(side, ids)
        own = rows_of(side, hidden).select(ids)
        profiles = self.ensemble.profiles(side, ids).without(own.row_of_entry(), own.columns)
        used = self.entities(side).read[ids]
        fused = self.ensemble.fused_in_training(side, ids, used, profiles)
        return self._extended(Seen(side, fused, used, profiles))

    def compared(self, embeddings: Tensor) -> Tensor:
        """Without what only entities with interactions have, or only those without."""
        if self.level is not None:
            embeddings = self.level.shorten(embeddings)
        for readout in reversed(self.readouts):
            embeddings = readout.shorten(embeddings)
        return embeddings

    def modality_embeddings(self, side: str, ids: Tensor) -> Tensor:
        """(N,) ids -> (N, M, D), zero where a modality is missing or left out."""
        return self.ensemble.modality_embeddings(side, ids)

    def embed_modalities(self, features: Modalities, used: Tensor) -> Tensor:
        """As ``modality_embeddings``, of N new entities, of which ``used`` (N, M) may be read."""
        return self.ensemble.embed_modalities(features, used)

    @torch.no_grad()
    def parts(self, side: str, entity: int | Modalities) -> list[Part]:
        """Of the networks the terms of the fusion where it is a sum; of a joint modality and priors Shapley values."""
        parts = [
            part._replace(source=type(self).__name__) if part.source == NETWORK else part
            for part in self.ensemble.parts(side, entity)
        ]
        if not self._extends:
            return parts
        profile = self.ensemble.profile_of(side, entity)
        for readout in self.readouts:
            parts = readout.extend_parts(parts, side, entity, profile)
        return parts if self.level is None else self.level.extend_parts(parts, side, profile)

    def requirements(self, scenario: str) -> None:
        """Check before training that each cold side has content to be scored by.

        Raises:
            OptionError: the scenario's cold side is not single-branch, or has no modality but its interactions.
        """
        for side in SCENARIOS[scenario].cold_sides:
            self._require_content(scenario, side)

    def _require_content(self, scenario: str, side: str) -> None:
        left = self.options.eval_modalities(side)
        content = [
            name for name in self.entities(side).names if name != INTERACTIONS and (left is None or name in left)
        ]
        if not self.options.is_single_branch(side):
            raise OptionError(
                f"scenario {scenario} needs the {side} side to be single-branch, but single_branch is "
                f"{self.options.single_branch!r}; use --single_branch={side} or both."
            )
        if not content:
            raise OptionError(
                f"scenario {scenario} needs a modality of the {side}s beside the interactions, which a cold {side} has "
                f"not; declare one under 'modalities: {side}:' in the data set's YAML, or name it in "
                f"--{side}_modalities."
            )
