"""A network of SiBraR or MuBraR: two entity encoders, fusion, and the training loss.

How a batch becomes a loss: ids -> (distinct entities encoded once, ``EntityEncoder``) -> modality embeddings ->
sampled modalities (``sampling``) -> fused embeddings (``fusion``) -> beside them what is known in closed form
(``priors``) -> recommendation and contrastive loss (``losses``).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from recbole_sibrar.data.modalities import INTERACTIONS, OTHER_SIDE, SIDES, Modalities, rows_of
from recbole_sibrar.data.sparse import SparseRows, gather_rows, weighted_row_sum
from recbole_sibrar.kinds import known_to
from recbole_sibrar.kinds.id import id_modality
from recbole_sibrar.layers import unit_rows
from recbole_sibrar.models import losses
from recbole_sibrar.models.attribution import Part, beside_zeros, shapley_parts
from recbole_sibrar.models.batches import DistinctPairs, PairBatch, UserBatch
from recbole_sibrar.models.calibration import Calibration
from recbole_sibrar.models.core import InnerProductModel
from recbole_sibrar.models.drawn import drawn_products
from recbole_sibrar.models.encoders import Encoder, NoEncoder
from recbole_sibrar.models.entity import EntityEncoder
from recbole_sibrar.models.fusion import FUSIONS, Fusion, MeanFusion
from recbole_sibrar.models.imputation import imputer_of
from recbole_sibrar.models.options import ModelOptions
from recbole_sibrar.models.pairs import pair_scores, set_products
from recbole_sibrar.models.priors import ContentPrior, InteractionPrior
from recbole_sibrar.models.priors.prior import Prior
from recbole_sibrar.models.sampling import Draw, chosen_mask, draw_fixed, draw_subsets, hide_entries, uniform

WHOLE_CATALOGUE = 20_000
"""With more training items the softmax loss draws ``NEGATIVES`` for a batch, unless their number is given."""

NEGATIVES = 4096

SAMPLE = 4096
"""So many entities tell what holds of all: a mean embedding, how far scores spread, what modalities are worth."""

TARGETS = 8192
"""Where negatives are drawn, so many of a batch's targets are predicted at most: a step costs what a batch does."""

ROWS = 8192
"""So many entities are embedded at a time."""

NETWORK = "network"
"""The source of what the encoders and the fusion add to an embedding (``Part``)."""


@dataclass(frozen=True)
class Views:
    """Embeddings of a step's entities, or of their occurrences.

    Attributes:
        fused: (N, D + P), the priors' columns among them.
        first, second: (N, D) embeddings to contrast, of two modalities or disjoint subsets; None without contrast.
        paired: (N,) bool, whether the entity has both.
    """

    fused: Tensor
    first: Tensor | None = None
    second: Tensor | None = None
    paired: Tensor | None = None


class Network(InnerProductModel):
    """Scores are inner products of fused user and item embeddings, those of the content priors among them.

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

    def loss(self, batch: Any) -> tuple[Tensor, ...]:
        """(recommendation loss, weighted contrastive loss or none) of a ``PairBatch`` or ``UserBatch``."""
        generator = self._next_step()
        if self.calibration is not None:
            self.calibration.factors.fill_(1)  # until it is fitted to the new parameters
        if isinstance(batch, PairBatch):
            return self._pair_loss(batch, generator)
        return self._user_loss(batch, generator)

    def _pair_loss(self, batch: PairBatch, generator: torch.Generator) -> tuple[Tensor, ...]:
        pairs = DistinctPairs.of(batch)
        users, owner = self._drawn("user", pairs.users, pairs.owner, generator)
        score = self._score_by_rows if self._sums_rows("item") else self._score_by_views
        scores, contrast_of_items = score(pairs, users, owner, generator)
        terms = [losses.bpr(scores[:, 0], scores[:, 1:])]
        if self.options.contrasts:
            contrast = self._contrast(users, generator) + contrast_of_items()
            terms.append(self.options.contrastive_weight * contrast)
        return tuple(terms)

    def _score_by_views(
        self, pairs: DistinctPairs, users: Views, owner: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Callable[[], Tensor]]:
        """(B, 1 + N) scores of the pairs, and what makes the contrast of their items."""
        items, place = self._drawn("item", pairs.items, pairs.place, generator)
        return pair_scores(users.fused, items.fused, owner, place), partial(self._contrast, items, generator, place)

    def _sums_rows(self, side: str) -> bool:
        """Whether an occurrence is a sum of rows of the modalities' embeddings, with weights known beforehand."""
        options, encoder = self.options, self.entities(side)
        is_contrast_of_rows = not options.contrasts or (
            options.contrastive_set == "negatives" and options.contrastive_similarity == "inner"
        )
        return (
            self._samples(side)
            and options.modality_draw == "occurrence"
            and options.modality_sampling != "subset"
            and options.fusion == "mean"
            and not encoder.has_joint
            and is_contrast_of_rows
        )

    def _score_by_rows(
        self, pairs: DistinctPairs, users: Views, owner: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Callable[[], Tensor]]:
        """As ``_score_by_views``, where ``_sums_rows``: no embedding of an occurrence of an item is made."""
        encoder, place = self.entities("item"), pairs.place
        draw = self._draw(encoder, encoder.available[pairs.items][place.flatten()], generator)
        table, where = self._drawn_rows(encoder, pairs.items, place.flatten(), draw)
        choice = draw.fused.view(*place.shape, -1)
        shown = choice >= 0
        scores, logits = drawn_products(
            users.fused[:, : encoder.width],
            table,
            owner,
            where[place.unsqueeze(-1), choice.clamp(min=0)],
            shown / shown.sum(-1, keepdim=True).clamp(min=1),
            draw.first is not None,
        )
        priors = [prior.of_trained("item", pairs.items) for prior in self.priors.values() if prior.in_training]
        if priors:
            scores = scores + pair_scores(users.fused[:, encoder.width :], torch.cat(priors, 1), owner, place)
        if logits is None:
            return scores, lambda: scores.new_zeros(())
        paired = shown[..., :2].all(-1)
        return scores, lambda: losses.symmetric_info_nce_of(logits / self.options.temperature, paired)

    def _user_loss(self, batch: UserBatch, generator: torch.Generator) -> tuple[Tensor, ...]:
        own = SparseRows(self.indptr, self.targets, len(self.catalogue)).select(batch.users)
        shown, targets, profiles = None, own, None
        if self.options.hides_targets and INTERACTIONS in self.entities("user").names:
            shown, targets = hide_entries(own, self.options.interaction_dropout, generator)
            profiles = SparseRows(shown.indptr, self.catalogue[shown.columns], len(self.entities("item").trained))
        users = self._views("user", batch.users, generator, profiles=profiles)
        n_negatives, items, weights = self._n_negatives(), self.catalogue, None
        if n_negatives is not None:
            targets = self._some(targets, generator)
            drawn, weights = self._softmax_items(targets, n_negatives, generator)
            items, targets = self.catalogue[drawn], targets.among(drawn)
            shown = None if shown is None else shown.among(drawn)
        views = self._views("item", items, generator, profiles=self._without(targets, batch.users, items))
        terms = [losses.softmax_over_items(users.fused, views.fused, targets, shown, weights)]
        if self.options.contrasts:
            contrast = self._contrast(users, generator) + self._contrast(views, generator)
            terms.append(self.options.contrastive_weight * contrast)
        return tuple(terms)

    def _without(self, targets: SparseRows, users: Tensor, items: Tensor) -> SparseRows | None:
        """The profiles of ``items`` (I,) without a step's ``targets`` (B, I) of ``users`` (B,), where those are hidden.

        An item of few users would else be learned by heart: its profile names them.
        """
        encoder = self.entities("item")
        if not self.options.hides_targets or INTERACTIONS not in encoder.names:
            return None
        rows = encoder.projections[encoder.names.index(INTERACTIONS)].stored(items)
        return rows.without(targets.columns, users[targets.row_of_entry()])

    def _n_negatives(self) -> int | None:
        """How many a batch of the softmax loss shares; None for the whole catalogue."""
        n_items = len(self.catalogue)
        wanted = self.options.softmax_negatives or (NEGATIVES if n_items > WHOLE_CATALOGUE else n_items)
        return wanted if wanted < n_items else None

    def _some(self, targets: SparseRows, generator: torch.Generator) -> SparseRows:
        """As many of a step's targets as ``TARGETS`` allows."""
        n = len(targets.columns)
        if n <= TARGETS:
            return targets
        return targets.keep(uniform((n,), generator, targets.columns.device) * n < TARGETS)

    def _softmax_items(
        self, targets: SparseRows, n_negatives: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """(I,) the targets' items and negatives, each once, and for how many of the catalogue a negative stands.

        Negatives are drawn in equal parts from the catalogue and from the training interactions, by popularity.
        """
        n_items, n_popular = len(self.catalogue), n_negatives // 2
        popular = self.targets[self._integers(len(self.targets), n_popular, generator)]
        anywhere = self._integers(n_items, n_negatives - n_popular, generator)
        items, place = torch.cat([anywhere, popular, targets.columns]).unique(return_inverse=True)
        times = torch.bincount(place[:n_negatives], minlength=len(items))
        counts = self._until_changed("counts", lambda: torch.bincount(self.targets, minlength=n_items), self.targets)
        expected = len(anywhere) / n_items + n_popular * counts[items] / len(self.targets)
        return items, times / expected

    def _integers(self, below: int, n: int, generator: torch.Generator) -> Tensor:
        """(n,) from 0 to ``below`` - 1."""
        return torch.randint(below, (n,), generator=generator, device=generator.device).to(self.targets.device)

    def _drawn(self, side: str, ids: Tensor, rows: Tensor, generator: torch.Generator) -> tuple[Views, Tensor]:
        """Views of the occurrences ``rows`` (...) of distinct entities ``ids``, and where each occurrence is in them.

        The authors draw modalities for each occurrence. A draw that all occurrences of an entity in the step share
        saves gathering embeddings for each.
        """
        if self.options.modality_draw == "entity" or not self._samples(side):
            return self._views(side, ids, generator), rows
        places = torch.arange(rows.numel(), device=rows.device).view(rows.shape)
        return self._views(side, ids, generator, rows.flatten()), places

    def _samples(self, side: str) -> bool:
        return self.options.samples and len(self.entities(side).names) > 1

    def _views(
        self,
        side: str,
        ids: Tensor,
        generator: torch.Generator,
        rows: Tensor | None = None,
        profiles: SparseRows | None = None,
    ) -> Views:
        """Each entity once, or the occurrences ``rows`` (R,) of them, with a draw of modalities for each.

        ``profiles`` are interaction rows to read in place of the entities' own.
        """
        encoder = self.entities(side)
        fuse = partial(encoder.fuse, self.fusion[side])
        available = encoder.available[ids]
        priors = [prior.of_trained(side, ids) for prior in self.priors.values() if prior.in_training]
        if not self._samples(side):
            fused = fuse(self._encoded(encoder, ids, available, profiles), available)
            return Views(_beside(fused, priors))
        draw = self._draw(encoder, available if rows is None else available[rows], generator)
        if rows is None:
            masks = torch.stack([chosen_mask(choice, len(encoder.names)) for choice in draw.views])
            views = encoder.views(self.fusion[side], self._encoded(encoder, ids, masks.any(0), profiles), masks)
        else:
            table, where = self._drawn_rows(encoder, ids, rows, draw)
            views = [self._gathered(fuse, table, where[rows], choice) for choice in draw.views]
            priors = [gather_rows(prior, rows) for prior in priors]
        fused, *contrasted = views
        fused = _beside(fused, priors)
        if not contrasted:
            return Views(fused)
        return Views(fused, *contrasted, (draw.first >= 0).any(1) & (draw.second >= 0).any(1))

    def _encoded(self, encoder: EntityEncoder, ids: Tensor, used: Tensor, profiles: SparseRows | None) -> Tensor:
        """The embeddings of entities, with ``profiles`` in place of their interaction rows if they are given."""
        if profiles is None:
            return self.rowwise(encoder, ids, used)
        places = torch.arange(len(ids), device=ids.device)
        return self.rowwise(lambda ids, used, own: encoder(ids, used, profiles.select(own)), ids, used, places)

    def _draw(self, encoder: EntityEncoder, available: Tensor, generator: torch.Generator) -> Draw:
        sampling, contrasts = self.options.modality_sampling, self.options.contrasts
        if sampling == "subset":
            return draw_subsets(available, contrasts, generator)
        always = encoder.names.index(INTERACTIONS) if sampling == "interactions" else None
        return draw_fixed(available, self.options.n_sampled, contrasts, generator, always)

    def _drawn_rows(self, encoder: EntityEncoder, ids: Tensor, rows: Tensor, draw: Draw) -> tuple[Tensor, Tensor]:
        """The modalities of entities ``ids`` (N,) that were drawn for an occurrence ``rows`` (R,) of them.

        Returns:
            a row for each, and (N, M) where among them it is.
        """
        drawn = torch.zeros(len(ids), len(encoder.names) + 1, dtype=torch.bool, device=ids.device)
        for choice in draw.views:
            drawn.index_put_((rows.unsqueeze(1), choice), drawn.new_ones(()))  # the last column is that of -1, none
        drawn = drawn[:, :-1]
        if self.share_rows is None:
            return encoder.rows(ids, drawn)
        where = torch.arange(drawn.numel(), device=ids.device).view(drawn.shape)
        return self.rowwise(encoder, ids, drawn).flatten(0, 1), where

    @staticmethod
    def _gathered(fuse: Callable[..., Tensor], table: Tensor, where: Tensor, choice: Tensor) -> Tensor:
        """(R, D): for each occurrence the fusion of its ``choice`` (R, K) of the rows ``where`` (R, M) of a table."""
        index = choice.clamp(min=0)
        rows = gather_rows(table, where.gather(1, index).flatten())
        return fuse(rows.view(*choice.shape, -1), choice >= 0, index)

    def _contrast(self, views: Views, generator: torch.Generator, sets: Tensor | None = None) -> Tensor:
        """InfoNCE over the entities of the step, or over each user's positive and negatives, ``sets`` (B, 1 + N)."""
        if views.second is None:
            return views.fused.new_zeros(())
        options, views_of_two = self.options, (views.first, views.second)
        is_cosine = options.contrastive_similarity == "cosine"
        if sets is not None and options.contrastive_set == "negatives":
            if is_cosine:
                views_of_two = [unit_rows(view) for view in views_of_two]
            logits = set_products(*views_of_two, sets) / options.temperature
            return losses.symmetric_info_nce_of(logits, views.paired[sets])
        order = torch.randperm(len(views.fused), generator=generator, device=generator.device)
        kept = order[: options.contrastive_batch_size].to(views.fused.device)
        kept = kept[views.paired[kept]]
        first, second = (view[kept] for view in views_of_two)
        return losses.symmetric_info_nce(first, second, options.temperature, cosine=is_cosine)

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
        return _beside(self._from_modalities(side, ids, used, profiles), priors)

    def _from_modalities(self, side: str, ids: Tensor, used: Tensor, profiles: SparseRows | None = None) -> Tensor:
        """(N, D), as ``fused_in_training`` without priors."""
        encoder = self.entities(side)
        return encoder.fuse(self.fusion[side], encoder(ids, used, profiles), used)

    def _fused_of(self, features: Modalities, used: Tensor) -> Tensor:
        encoder = self.entities(features.side)
        fused = encoder.fuse(self.fusion[features.side], encoder.embed(features, used), used)
        return _beside(fused, [prior.embed(features, used) for prior in self.priors.values()])

    @torch.no_grad()
    def embed(self, features: Modalities) -> Tensor:
        """(N, D + P) fused embeddings of entities that the training data do not have, from their features."""
        features, used = self.entities(features.side).readable(features)
        fused = self._calibrated(features.side, self._fused_of(features, used), used)
        return self._fill_empty(features.side, fused, used)

    @torch.no_grad()
    def with_modalities(self, side: str, entity: int | Modalities, used: Tensor) -> Tensor:
        if isinstance(entity, int):
            fused = self._fused(side, self._ids(entity).expand(len(used)), used)
        else:
            features, _ = self.entities(side).readable(entity)
            fused = self._fused_of(features.rows(torch.zeros(len(used), dtype=torch.long)), used)
        return self._fill_empty(side, self._calibrated(side, fused, used), used)

    def _calibrated(self, side: str, fused: Tensor, used: Tensor) -> Tensor:
        """(N, D + P) embeddings from the modalities ``used`` (N, M), those of items as validation shows to be right."""
        if self.calibration is None or side != "item":
            return fused
        factors, added = self.calibration(used, self._mean_from)
        networks, priors = fused.tensor_split([added.shape[1]], dim=1)
        return _beside(factors * networks + added, [priors])

    def _mean_from(self, number: int) -> Tensor:
        """(D,) the mean embedding of training items from the modalities of the number, zero if none has them."""
        return self.once(f"items from {number}", lambda: self._mean_of(self.calibration.choice(number)))

    def _mean_of(self, used: Tensor) -> Tensor:
        encoder = self.entities("item")
        ids = sample_of((encoder.trained & (encoder.available | ~used).all(1)).nonzero().squeeze(1))
        return self._from_modalities("item", ids, used.expand(len(ids), -1)).sum(0) / max(1, len(ids))

    @torch.no_grad()
    def parts(self, side: str, entity: int | Modalities) -> list[Part]:
        """Of the network the terms of the fusion where it is a sum; of a joint modality and priors Shapley values."""
        encoder = self.entities(side)
        if isinstance(entity, int):
            ids = self._ids(entity)
            used, features = encoder.read[ids], encoder.features_in_evaluation(ids)
            entity = entity if features is None else features
        else:
            entity, used = encoder.readable(entity)
        if not used.any():
            return [Part(NETWORK, "(mean)", self.embedding_of(side, entity)[0])]
        rows = encoder(ids, used) if isinstance(entity, int) else encoder.embed(entity, used)
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


def _beside(fused: Tensor, priors: list[Tensor]) -> Tensor:
    """(N, D), and (N, P) of each prior -> (N, D + P)."""
    return torch.cat([fused, *priors], dim=1) if priors else fused
