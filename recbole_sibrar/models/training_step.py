"""A training step: from a batch to the terms of a network's loss.

Ids -> (distinct entities encoded once, ``EntityEncoder``) -> modality embeddings -> sampled modalities (``sampling``)
-> fused embeddings (``fusion``) -> beside them what is known in closed form (``priors``) -> recommendation and
contrastive loss (``losses``).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from recbole_sibrar.data.modalities import INTERACTIONS
from recbole_sibrar.data.sparse import SparseRows, gather_rows
from recbole_sibrar.layers import unit_rows
from recbole_sibrar.models import losses
from recbole_sibrar.models.batches import DistinctPairs, PairBatch, UserBatch
from recbole_sibrar.models.drawn import drawn_products
from recbole_sibrar.models.entity import EntityEncoder
from recbole_sibrar.models.network import Network, beside
from recbole_sibrar.models.pairs import pair_scores, set_products
from recbole_sibrar.models.sampling import Draw, chosen_mask, draw_fixed, draw_subsets, hide_entries, uniform

WHOLE_CATALOGUE = 20_000
"""With more training items the softmax loss draws ``NEGATIVES`` for a batch, unless their number is given."""

NEGATIVES = 4096

TARGETS = 8192
"""Where negatives are drawn, so many of a batch's targets are predicted at most: a step costs what a batch does."""


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


class TrainingStep:
    """A step of one network; it draws what it needs when it is made.

    Args:
        network: of which the loss is to be.
    """

    def __init__(self, network: Network):
        self.network, self.options, self.generator = network, network.options, network.begin_step()

    def terms(self, batch: PairBatch | UserBatch) -> tuple[Tensor, ...]:
        """(recommendation loss, weighted contrastive loss or none)."""
        return self._of_pairs(batch) if isinstance(batch, PairBatch) else self._of_users(batch)

    def _of_pairs(self, batch: PairBatch) -> tuple[Tensor, ...]:
        pairs = DistinctPairs.of(batch)
        users, owner = self._drawn("user", pairs.users, pairs.owner)
        score = self._score_by_rows if self._sums_rows("item") else self._score_by_views
        scores, contrast_of_items = score(pairs, users, owner)
        terms = [losses.bpr(scores[:, 0], scores[:, 1:])]
        if self.options.contrasts:
            contrast = self._contrast(users) + contrast_of_items()
            terms.append(self.options.contrastive_weight * contrast)
        return tuple(terms)

    def _score_by_views(self, pairs: DistinctPairs, users: Views, owner: Tensor) -> tuple[Tensor, Callable[[], Tensor]]:
        """(B, 1 + N) scores of the pairs, and what makes the contrast of their items."""
        items, place = self._drawn("item", pairs.items, pairs.place)
        return pair_scores(users.fused, items.fused, owner, place), partial(self._contrast, items, place)

    def _sums_rows(self, side: str) -> bool:
        """Whether an occurrence is a sum of rows of the modalities' embeddings, with weights known beforehand."""
        options, encoder = self.options, self.network.entities(side)
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

    def _score_by_rows(self, pairs: DistinctPairs, users: Views, owner: Tensor) -> tuple[Tensor, Callable[[], Tensor]]:
        """As ``_score_by_views``, where ``_sums_rows``: no embedding of an occurrence of an item is made."""
        encoder, place = self.network.entities("item"), pairs.place
        draw = self._draw(encoder, encoder.available[pairs.items][place.flatten()])
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
        priors = [prior.of_trained("item", pairs.items) for prior in self.network.priors.values() if prior.in_training]
        if priors:
            scores = scores + pair_scores(users.fused[:, encoder.width :], torch.cat(priors, 1), owner, place)
        if logits is None:
            return scores, lambda: scores.new_zeros(())
        paired = shown[..., :2].all(-1)
        return scores, lambda: losses.symmetric_info_nce_of(logits / self.options.temperature, paired)

    def _of_users(self, batch: UserBatch) -> tuple[Tensor, ...]:
        network = self.network
        own = SparseRows(network.indptr, network.targets, len(network.catalogue)).select(batch.users)
        shown, targets, profiles = None, own, None
        if self.options.hides_targets and INTERACTIONS in network.entities("user").names:
            shown, targets = hide_entries(own, self.options.interaction_dropout, self.generator)
            profiles = SparseRows(shown.indptr, network.catalogue[shown.columns], len(network.entities("item").trained))
        users = self._views("user", batch.users, profiles=profiles)
        n_negatives, items, weights = self._n_negatives(), network.catalogue, None
        if n_negatives is not None:
            targets = self._some(targets)
            drawn, weights = self._softmax_items(targets, n_negatives)
            items, targets = network.catalogue[drawn], targets.among(drawn)
            shown = None if shown is None else shown.among(drawn)
        views = self._views("item", items, profiles=self._without(targets, batch.users, items))
        terms = [losses.softmax_over_items(users.fused, views.fused, targets, shown, weights)]
        if self.options.contrasts:
            contrast = self._contrast(users) + self._contrast(views)
            terms.append(self.options.contrastive_weight * contrast)
        return tuple(terms)

    def _without(self, targets: SparseRows, users: Tensor, items: Tensor) -> SparseRows | None:
        """The profiles of ``items`` (I,) without a step's ``targets`` (B, I) of ``users`` (B,), where those are hidden.

        An item of few users would else be learned by heart: its profile names them.
        """
        encoder = self.network.entities("item")
        if not self.options.hides_targets or INTERACTIONS not in encoder.names:
            return None
        rows = encoder.projections[encoder.names.index(INTERACTIONS)].stored(items)
        return rows.without(targets.columns, users[targets.row_of_entry()])

    def _n_negatives(self) -> int | None:
        """How many a batch of the softmax loss shares; None for the whole catalogue."""
        n_items = len(self.network.catalogue)
        wanted = self.options.softmax_negatives or (NEGATIVES if n_items > WHOLE_CATALOGUE else n_items)
        return wanted if wanted < n_items else None

    def _some(self, targets: SparseRows) -> SparseRows:
        """As many of a step's targets as ``TARGETS`` allows."""
        n = len(targets.columns)
        if n <= TARGETS:
            return targets
        return targets.keep(uniform((n,), self.generator, targets.columns.device) * n < TARGETS)

    def _softmax_items(self, targets: SparseRows, n_negatives: int) -> tuple[Tensor, Tensor]:
        """(I,) the targets' items and negatives, each once, and for how many of the catalogue a negative stands.

        Negatives are drawn in equal parts from the catalogue and from the training interactions, by popularity.
        """
        every, n_items, n_popular = self.network.targets, len(self.network.catalogue), n_negatives // 2
        popular = every[self._integers(len(every), n_popular)]
        anywhere = self._integers(n_items, n_negatives - n_popular)
        items, place = torch.cat([anywhere, popular, targets.columns]).unique(return_inverse=True)
        times = torch.bincount(place[:n_negatives], minlength=len(items))
        counts = self.network.until_changed("counts", lambda: torch.bincount(every, minlength=n_items), every)
        expected = len(anywhere) / n_items + n_popular * counts[items] / len(every)
        return items, times / expected

    def _integers(self, below: int, n: int) -> Tensor:
        """(n,) from 0 to ``below`` - 1."""
        drawn = torch.randint(below, (n,), generator=self.generator, device=self.generator.device)
        return drawn.to(self.network.targets.device)

    def _drawn(self, side: str, ids: Tensor, rows: Tensor) -> tuple[Views, Tensor]:
        """Views of the occurrences ``rows`` (...) of distinct entities ``ids``, and where each occurrence is in them.

        The authors draw modalities for each occurrence. A draw that all occurrences of an entity in the step share
        saves gathering embeddings for each.
        """
        if self.options.modality_draw == "entity" or not self._samples(side):
            return self._views(side, ids), rows
        places = torch.arange(rows.numel(), device=rows.device).view(rows.shape)
        return self._views(side, ids, rows.flatten()), places

    def _samples(self, side: str) -> bool:
        return self.options.samples and len(self.network.entities(side).names) > 1

    def _views(self, side: str, ids: Tensor, rows: Tensor | None = None, profiles: SparseRows | None = None) -> Views:
        """Each entity once, or the occurrences ``rows`` (R,) of them, with a draw of modalities for each.

        ``profiles`` are interaction rows to read in place of the entities' own.
        """
        encoder = self.network.entities(side)
        fuse = partial(encoder.fuse, self.network.fusion[side])
        available = encoder.available[ids]
        priors = [prior.of_trained(side, ids) for prior in self.network.priors.values() if prior.in_training]
        if not self._samples(side):
            fused = fuse(self._encoded(encoder, ids, available, profiles), available)
            return Views(beside(fused, priors))
        draw = self._draw(encoder, available if rows is None else available[rows])
        if rows is None:
            masks = torch.stack([chosen_mask(choice, len(encoder.names)) for choice in draw.views])
            views = encoder.views(self.network.fusion[side], self._encoded(encoder, ids, masks.any(0), profiles), masks)
        else:
            table, where = self._drawn_rows(encoder, ids, rows, draw)
            views = [self._gathered(fuse, table, where[rows], choice) for choice in draw.views]
            priors = [gather_rows(prior, rows) for prior in priors]
        fused, *contrasted = views
        fused = beside(fused, priors)
        if not contrasted:
            return Views(fused)
        return Views(fused, *contrasted, (draw.first >= 0).any(1) & (draw.second >= 0).any(1))

    def _encoded(self, encoder: EntityEncoder, ids: Tensor, used: Tensor, profiles: SparseRows | None) -> Tensor:
        """The embeddings of entities, with ``profiles`` in place of their interaction rows if they are given."""
        if profiles is None:
            return self.network.rowwise(encoder, ids, used)
        places = torch.arange(len(ids), device=ids.device)
        return self.network.rowwise(lambda ids, used, own: encoder(ids, used, profiles.select(own)), ids, used, places)

    def _draw(self, encoder: EntityEncoder, available: Tensor) -> Draw:
        sampling, contrasts = self.options.modality_sampling, self.options.contrasts
        if sampling == "subset":
            return draw_subsets(available, contrasts, self.generator)
        always = encoder.names.index(INTERACTIONS) if sampling == "interactions" else None
        return draw_fixed(available, self.options.n_sampled, contrasts, self.generator, always)

    def _drawn_rows(self, encoder: EntityEncoder, ids: Tensor, rows: Tensor, draw: Draw) -> tuple[Tensor, Tensor]:
        """The modalities of entities ``ids`` (N,) that were drawn for an occurrence ``rows`` (R,) of them.

        Returns:
            a row for each, and (N, M) where among them it is.
        """
        drawn = torch.zeros(len(ids), len(encoder.names) + 1, dtype=torch.bool, device=ids.device)
        for choice in draw.views:
            drawn.index_put_((rows.unsqueeze(1), choice), drawn.new_ones(()))  # the last column is that of -1, none
        drawn = drawn[:, :-1]
        if self.network.share_rows is None:
            return encoder.rows(ids, drawn)
        where = torch.arange(drawn.numel(), device=ids.device).view(drawn.shape)
        return self.network.rowwise(encoder, ids, drawn).flatten(0, 1), where

    @staticmethod
    def _gathered(fuse: Callable[..., Tensor], table: Tensor, where: Tensor, choice: Tensor) -> Tensor:
        """(R, D): for each occurrence the fusion of its ``choice`` (R, K) of the rows ``where`` (R, M) of a table."""
        index = choice.clamp(min=0)
        rows = gather_rows(table, where.gather(1, index).flatten())
        return fuse(rows.view(*choice.shape, -1), choice >= 0, index)

    def _contrast(self, views: Views, sets: Tensor | None = None) -> Tensor:
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
        order = torch.randperm(len(views.fused), generator=self.generator, device=self.generator.device)
        kept = order[: options.contrastive_batch_size].to(views.fused.device)
        kept = kept[views.paired[kept]]
        first, second = (view[kept] for view in views_of_two)
        return losses.symmetric_info_nce(first, second, options.temperature, cosine=is_cosine)
