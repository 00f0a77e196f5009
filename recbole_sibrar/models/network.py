"""A network of SiBraR or MuBraR: two entity encoders, fusion, and the embeddings that scores are made of."""

from dataclasses import replace
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from recbole_sibrar.data.modalities import INTERACTIONS, OTHER_SIDE, SIDES, Modalities, rows_of
from recbole_sibrar.data.sparse import SparseRows, weighted_row_sum
from recbole_sibrar.kinds import known_to
from recbole_sibrar.kinds.id import id_modality
from recbole_sibrar.models.attribution import Part, beside_zeros, shapley_parts
from recbole_sibrar.models.calibration import Calibration
from recbole_sibrar.models.core import ROWS, InnerProductModel
from recbole_sibrar.models.encoders import Encoder, NoEncoder
from recbole_sibrar.models.entity import EntityEncoder
from recbole_sibrar.models.fusion import FUSIONS, Fusion, MeanFusion
from recbole_sibrar.models.imputation import imputer_of
from recbole_sibrar.models.options import ModelOptions
from recbole_sibrar.models.priors import ContentPrior, InteractionPrior
from recbole_sibrar.models.priors.prior import Prior

SAMPLE = 4096
"""So many entities tell what holds of all: a mean embedding, how far scores spread, what modalities are worth."""

NETWORK = "network"
"""The source of what the encoders and the fusion add to an embedding (``Part``)."""


class Network(InnerProductModel):
    """Scores are inner products of fused user and item embeddings, those of the content priors among them.

    It embeds; a ``TrainingStep`` says what its loss is.

    Priors (``priors``) add columns to the fused embeddings of both sides: with ``content_prior`` one of each
    single-branch side that has content, with ``interaction_prior`` one of the interactions. The papers have none.

    An entity without any modality in use has the mean embedding of the training entities when scores are made: such
    a user gets the average user's list, such an item the average item's score, never NaN.

    Attributes:
        modalities: {side: what its encoder reads}.

    Args:
        encoder_class: of a single-branch side.
        options: see ``ModelOptions``.
        modalities: {side: the modalities in use}, ``interactions`` (training interactions only) among them.
        interactions: users x items, the training interactions.
        seed: of the modality sampling.
    """

    def __init__(
        self,
        encoder_class: type[Encoder],
        options: ModelOptions,
        modalities: dict[str, Modalities],
        interactions: SparseRows,
        seed: int,
    ):
        super().__init__(options, seed)
        self.encoder_class = encoder_class
        rows = {side: rows_of(side, interactions) for side in SIDES}
        self.sides = nn.ModuleDict({side: self._side(side, modalities[side], rows[side]) for side in SIDES})
        self.fusion = nn.ModuleDict({side: self._fusion(encoder) for side, encoder in self.sides.items()})
        self.priors = nn.ModuleDict(self._priors())
        calibrated = self.entities("item").names, options.embedding_size
        self.calibration = Calibration(*calibrated) if options.calibration else None
        self.register_buffer("catalogue", self.entities("item").trained.nonzero().squeeze(1), persistent=False)
        self.register_buffer("indptr", interactions.indptr, persistent=False)
        position = torch.full((interactions.n_columns,), -1)
        position[self.catalogue] = torch.arange(len(self.catalogue))
        self.register_buffer("targets", position[interactions.columns], persistent=False)

    def _side(self, side: str, modalities: Modalities, interactions: SparseRows) -> EntityEncoder:
        options, imputer, trained = self.options, None, interactions.lengths > 0
        if options.is_single_branch(side):
            self.modalities[side] = modalities = known_to(modalities, trained)
            encoder_class, kept = self.encoder_class, options.eval_modalities(side)
            imputer = imputer_of(options, modalities, trained, interactions)
        else:
            is_id = options.plain_side == "embedding"
            self.modalities[side] = id_modality(side, trained) if is_id else modalities.select([INTERACTIONS])
            encoder_class, kept, options = NoEncoder, None, options.of_plain_side()
        if side == "user" and options.hides_targets:
            options = replace(options, softmax_targets="all", interaction_dropout=0.0)
        return EntityEncoder(self.modalities[side], interactions, encoder_class, options, kept, imputer)

    def _fusion(self, encoder: EntityEncoder) -> Fusion:
        fusion_class = FUSIONS[self.options.fusion] if len(encoder.names) > 1 else MeanFusion
        return fusion_class(len(encoder.names), self.options.embedding_size)

    def _priors(self) -> dict[str, Prior]:
        options, sides = self.options, self.sides
        n = {side: len(encoder.trained) for side, encoder in sides.items()}
        profile = {
            side: encoder.names.index(INTERACTIONS) if INTERACTIONS in encoder.names else None
            for side, encoder in sides.items()
        }
        priors: dict[str, Prior] = {}
        for side, other in OTHER_SIDE.items():
            has_content = options.is_single_branch(side) and self.modalities[side].content.entries
            if options.content_prior and has_content:
                priors[f"{side}_content_prior"] = ContentPrior(
                    sides[side].in_training, sides[side].trained, n[other], profile[other], options.content_prior
                )
        if options.interaction_prior:
            priors["interaction_prior"] = InteractionPrior(
                n["item"], n["user"], profile["item"], profile["user"], options.interaction_prior, self.seed
            )
        return priors

    def entities(self, side: str) -> EntityEncoder:
        return cast(EntityEncoder, self.sides[side])

    # training

    def pretrain(self, folder: Path, show_progress: bool) -> None:
        for prior in self.priors.values():
            prior.fit(self.training_rows(OTHER_SIDE[prior.side]), show_progress)

    def training_rows(self, side: str) -> SparseRows:
        """Entities of a side x those of the other one, the training interactions."""
        users = SparseRows(self.indptr, self.catalogue[self.targets], len(self.entities("item").trained))
        return rows_of(side, users)

    @torch.no_grad()
    def calibrate(self, positives: SparseRows, items: Tensor) -> None:
        encoder, items = self.entities("item"), sample_of(items)
        users = positives.lengths.nonzero().squeeze(1)
        if self.calibration is None or not len(items) or not len(users):
            return
        of_users = self.embeddings("user", users)[:, : encoder.width]
        interactions = weighted_row_sum(positives.select(users).transposed().select(items), of_users)
        self.calibration.fit(
            lambda places, used: self._from_modalities("item", items[places], used),
            encoder.available[items] & encoder.kept,
            interactions,
            of_users.T @ of_users,
        )

    def begin_step(self) -> torch.Generator:
        """What a training step draws from; the calibration is that of other parameters from here on."""
        if self.calibration is not None:
            self.calibration.factors.fill_(1)
        return self._next_step()

    # scoring

    @torch.no_grad()
    def modality_embeddings(self, side: str, ids: Tensor) -> Tensor:
        """(N,) ids -> (N, M, D), zero where a modality is missing or left out."""
        encoder, used = self.entities(side), self.entities(side).read
        return torch.cat([encoder.in_use(part, used[part])[..., : encoder.width] for part in ids.split(ROWS)])

    @torch.no_grad()
    def embed_modalities(self, features: Modalities, used: Tensor) -> Tensor:
        """As ``modality_embeddings``, of N new entities, of which ``used`` (N, M) may be read."""
        encoder = self.entities(features.side)
        return encoder.embed(features, used)[..., : encoder.width]

    @torch.no_grad()
    def embeddings(self, side: str, ids: Tensor) -> Tensor:
        """(N,) ids -> (N, D + P) fused embeddings, with the training entities' mean where no modality is left."""
        used = self.entities(side).read
        fused = torch.cat([self._fused(side, part, used[part]) for part in ids.split(ROWS)])
        return self._fill_empty(side, self._calibrated(side, fused, used[ids]), used[ids])

    def _fused(self, side: str, ids: Tensor, used: Tensor) -> Tensor:
        features = self.entities(side).features_in_evaluation(ids)
        return self.fused_in_training(side, ids, used) if features is None else self._fused_of(features, used)

    def fused_in_training(self, side: str, ids: Tensor, used: Tensor, profiles: SparseRows | None = None) -> Tensor:
        """(N, D + P) of known entities, from the modalities ``used`` (N, M) of what training reads of them.

        ``profiles`` are interaction rows to read in place of the entities' own.
        """
        priors = [prior(side, ids, used, profiles) for prior in self.priors.values()]
        return beside(self._from_modalities(side, ids, used, profiles), priors)

    def fused_as_new(self, side: str, ids: Tensor, used: Tensor) -> Tensor:
        """As ``fused_in_training``, of entities as if they were new and had just the content ``used`` (N, M)."""
        return self._calibrated(side, self.fused_in_training(side, ids, used), used)

    def _from_modalities(self, side: str, ids: Tensor, used: Tensor, profiles: SparseRows | None = None) -> Tensor:
        """(N, D), as ``fused_in_training`` without priors."""
        encoder = self.entities(side)
        return encoder.fuse(self.fusion[side], encoder(ids, used, profiles), used)

    def _fused_of(self, features: Modalities, used: Tensor) -> Tensor:
        encoder = self.entities(features.side)
        fused = encoder.fuse(self.fusion[features.side], encoder.embed(features, used), used)
        return beside(fused, [prior.embed(features, used) for prior in self.priors.values()])

    @torch.no_grad()
    def embed(self, features: Modalities) -> Tensor:
        """(N, D + P) fused embeddings of entities that the training data do not have, from their features."""
        return self.embed_read(*self.entities(features.side).readable(features))

    @torch.no_grad()
    def embed_read(self, features: Modalities, used: Tensor) -> Tensor:
        """As ``embed``, from what ``Entities.readable`` returns."""
        fused = self._calibrated(features.side, self._fused_of(features, used), used)
        return self._fill_empty(features.side, fused, used)

    @torch.no_grad()
    def with_read(self, side: str, entity: int | Modalities, used: Tensor) -> Tensor:
        """As ``Ensemble.with_modalities``, from what ``read_of`` returns."""
        if isinstance(entity, int):
            fused = self.fused_in_training(side, self._ids(entity).expand(len(used)), used)
        else:
            fused = self._fused_of(entity.rows(torch.zeros(len(used), dtype=torch.long)), used)
        return self._fill_empty(side, self._calibrated(side, fused, used), used)

    def read_of(self, side: str, entity: int | Modalities) -> tuple[int | Modalities, Tensor]:
        """What evaluation reads of an entity, an id where training reads the same; (1, M) bool, which modalities."""
        encoder = self.entities(side)
        if not isinstance(entity, int):
            return encoder.readable(entity)
        ids = self._ids(entity)
        features = encoder.features_in_evaluation(ids)
        return entity if features is None else features, encoder.read[ids]

    def _calibrated(self, side: str, fused: Tensor, used: Tensor) -> Tensor:
        """(N, D + P) embeddings from the modalities ``used`` (N, M), those of items as validation shows to be right."""
        if self.calibration is None or side != "item":
            return fused
        factors, added = self.calibration(used, self._mean_from)
        networks, priors = fused.tensor_split([added.shape[1]], dim=1)
        return beside(factors * networks + added, [priors])

    def _mean_from(self, number: int) -> Tensor:
        """(D,) the mean embedding of training items from the modalities of the number, zero if none has them."""
        return self.once(f"items from {number}", lambda: self._mean_of(self.calibration.choice(number)))

    def _mean_of(self, used: Tensor) -> Tensor:
        encoder = self.entities("item")
        ids = sample_of((encoder.trained & (encoder.available | ~used).all(1)).nonzero().squeeze(1))
        return self._from_modalities("item", ids, used.expand(len(ids), -1)).sum(0) / max(1, len(ids))

    @torch.no_grad()
    def parts_read(self, side: str, entity: int | Modalities, used: Tensor) -> list[Part]:
        """Of what ``read_of`` returns, the terms of the fusion where it is a sum; of a joint modality and priors their
        Shapley values."""
        encoder = self.entities(side)
        if not used.any():
            return [Part(NETWORK, "(mean)", self.with_read(side, entity, used)[0])]
        rows = encoder(self._ids(entity), used) if isinstance(entity, int) else encoder.embed(entity, used)
        values, mean = self._network_parts(side, rows, used), None
        if self.calibration is not None and side == "item":
            (factor,), (mean,) = self.calibration(used, self._mean_from)
            values = factor * values
        blocks = [(NETWORK, values)]
        blocks += [(prior.model, prior.parts(side, entity, used[0])) for prior in self.priors.values()]
        widths = [values.shape[1] for _, values in blocks]
        parts = [
            Part(source, modality, beside_zeros(row, widths, n))
            for n, (source, values) in enumerate(blocks)
            for modality, row, there in zip(encoder.names, values, used[0])
            if there and (n == 0 or row.any())
        ]
        if mean is not None and mean.any():
            parts.append(Part(NETWORK, "(mean)", beside_zeros(mean, widths, 0)))
        return parts

    def _network_parts(self, side: str, rows: Tensor, used: Tensor) -> Tensor:
        """(M, D) of one entity, from what its encoder returns (1, M, ...)."""
        encoder, fusion = self.entities(side), self.fusion[side]
        if not encoder.has_joint:
            return fusion.parts(rows, used)[0]
        return shapley_parts(lambda masks: encoder.fuse(fusion, rows.expand(len(masks), -1, -1), masks), used[0])[0]

    def _fill_empty(self, side: str, fused: Tensor, used: Tensor) -> Tensor:
        empty = ~used.any(1)
        if empty.any():
            encoder = self.entities(side)
            read = encoder.trained, encoder.evaluated, encoder.kept
            fused[empty] = self.once(side, lambda: self._mean(side), *read)
        return fused

    def _mean(self, side: str) -> Tensor:
        """(D,) of the training entities that have a modality left; if none has, of all as training reads them."""
        encoder = self.entities(side)
        known = (encoder.trained & encoder.read.any(1)).nonzero().squeeze(1)
        if len(known):
            return self.embeddings(side, known).mean(0)
        known = (encoder.trained & encoder.available.any(1)).nonzero().squeeze(1)
        if not len(known):
            return torch.zeros((), device=known.device)
        parts = [self.fused_in_training(side, ids, encoder.available[ids]) for ids in known.split(ROWS)]
        return torch.cat(parts).mean(0)


def sample_of(ids: Tensor, n: int = SAMPLE) -> Tensor:
    """Of many ids n at least and fewer than twice as many, of fewer all."""
    return ids[:: max(1, len(ids) // n)]


def beside(fused: Tensor, priors: list[Tensor]) -> Tensor:
    """(N, D), and (N, P) of each prior -> (N, D + P)."""
    return torch.cat([fused, *priors], dim=1) if priors else fused
