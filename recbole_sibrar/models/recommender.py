"""The recommender behind SiBraR and MuBraR: two entity encoders, fusion, scores, and the training loss.

How a batch becomes a loss: ids -> (distinct entities encoded once, ``EntityEncoder``) -> modality embeddings ->
sampled modalities (``sampling``) -> fused embeddings (``fusion``) -> beside them what is known in closed form
(``priors``) -> recommendation and contrastive loss (``losses``).
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recbole_sibrar.data.modalities import INTERACTIONS, SIDES, Modalities
from recbole_sibrar.data.sparse import SparseRows, gather_rows
from recbole_sibrar.data.splits import COLD_SIDE
from recbole_sibrar.errors import OptionError
from recbole_sibrar.models import losses
from recbole_sibrar.models.batches import DistinctPairs, PairBatch, UserBatch
from recbole_sibrar.models.core import Capabilities, InnerProductModel, trained_entities
from recbole_sibrar.models.encoders import NoEncoder
from recbole_sibrar.models.entity import EntityEncoder, id_modality
from recbole_sibrar.models.fusion import FUSIONS, MeanFusion
from recbole_sibrar.models.options import ModelOptions
from recbole_sibrar.models.pairs import set_products
from recbole_sibrar.models.priors import ContentPrior, InteractionPrior
from recbole_sibrar.models.sampling import chosen_mask, sample_modalities


@dataclass(frozen=True)
class Views:
    """Embeddings of a step's entities.

    Attributes:
        fused: (N, D + P), the priors' columns among them.
        first, second: (N, D) embeddings of the first two sampled modalities; None without sampling of two.
        paired: (N,) bool, whether the entity has two.
    """

    fused: Tensor
    first: Tensor | None = None
    second: Tensor | None = None
    paired: Tensor | None = None


class BranchRecommender(InnerProductModel):
    """Scores are inner products of fused user and item embeddings, those of the content priors among them.

    Priors (``priors``) add columns to the fused embeddings of both sides: with ``content_prior`` one of each
    single-branch side that has content, with ``interaction_prior`` one of the interactions. The papers have none.

    An entity without any modality in use has the mean embedding of the training entities when scores are made: such
    a user gets the average user's list, such an item the average item's score, never NaN.

    Attributes:
        modalities: {side: what its encoder reads}.

    Args:
        options: see ``ModelOptions``.
        modalities: {side: the modalities in use}, ``interactions`` (training interactions only) among them.
        interactions: users x items, the training interactions.
        seed: of the modality sampling.
    """

    options_class = ModelOptions
    capabilities = Capabilities(cold_items=True, cold_users=True, missing_modalities=True, new_entities=True)
    encoder_class = None

    def __init__(self, options: ModelOptions, modalities: dict, interactions: SparseRows, seed: int):
        super().__init__(options, seed)
        trained = trained_entities(interactions)
        self.sides = nn.ModuleDict({side: self._side(side, modalities[side], trained[side]) for side in SIDES})
        self.fusion = nn.ModuleDict({side: self._fusion(encoder) for side, encoder in self.sides.items()})
        self.priors = nn.ModuleDict(self._priors())
        self.register_buffer("catalogue", trained["item"].nonzero().squeeze(1), persistent=False)
        self.register_buffer("indptr", interactions.indptr, persistent=False)
        position = torch.full((interactions.n_columns,), -1)
        position[self.catalogue] = torch.arange(len(self.catalogue))
        self.register_buffer("targets", position[interactions.columns], persistent=False)

    def _side(self, side, modalities: Modalities, trained):
        options = self.options
        if options.is_single_branch(side):
            self.modalities[side] = modalities = modalities.known_to(trained)
            names = options.eval_modalities(side)
            if names is not None:
                modalities.select(names)
            return EntityEncoder(modalities, trained, self.encoder_class, options, names)
        is_id = options.plain_side == "embedding"
        self.modalities[side] = id_modality(side, trained) if is_id else modalities.select([INTERACTIONS])
        return EntityEncoder(self.modalities[side], trained, NoEncoder, options)

    def _fusion(self, encoder):
        fusion_class = FUSIONS[self.options.fusion] if len(encoder.names) > 1 else MeanFusion
        return fusion_class(len(encoder.names), self.options.embedding_size)

    def _priors(self):
        options, sides = self.options, self.sides
        n = {side: len(encoder.trained) for side, encoder in sides.items()}
        profile = {
            side: encoder.names.index(INTERACTIONS) if INTERACTIONS in encoder.names else None
            for side, encoder in sides.items()
        }
        priors = {}
        for side, other in zip(SIDES, reversed(SIDES)):
            has_content = options.is_single_branch(side) and self.modalities[side].content.entries
            if options.content_prior and has_content:
                priors[f"{side}_content_prior"] = ContentPrior(
                    self.modalities[side], sides[side].trained, n[other], profile[other], options.content_prior
                )
        if options.interaction_prior:
            priors["interaction_prior"] = InteractionPrior(
                n["item"], n["user"], profile["item"], profile["user"], options.interaction_prior, self.seed
            )
        return priors

    # training

    def pretrain(self, folder, show_progress):
        users = SparseRows(self.indptr, self.catalogue[self.targets], len(self.sides["item"].trained))
        for prior in self.priors.values():
            matrix = users if prior.side == "item" else users.transposed()
            prior.fit(matrix, show_progress)

    def loss(self, batch) -> tuple:
        """(recommendation loss, weighted contrastive loss or none) of a ``PairBatch`` or ``UserBatch``."""
        generator = self._next_step()
        if isinstance(batch, PairBatch):
            return self._pair_loss(batch, generator)
        return self._user_loss(batch, generator)

    def _pair_loss(self, batch: PairBatch, generator):
        pairs = DistinctPairs.of(batch)
        users = self._entities("user", pairs.users, generator)
        items = self._entities("item", pairs.items, generator)
        scores = pairs.scores(users.fused, items.fused)
        terms = [losses.bpr(scores[:, 0], scores[:, 1:])]
        if self.options.contrasts:
            contrast = self._contrast(users, generator) + self._contrast(items, generator, pairs.place)
            terms.append(self.options.contrastive_weight * contrast)
        return tuple(terms)

    def _user_loss(self, batch: UserBatch, generator):
        users = self._entities("user", batch.users, generator)
        items, targets, known = self._softmax_items(batch, generator)
        views = self._entities("item", items, generator)
        if known is None:
            terms = [losses.softmax_over_catalogue(users.fused, views.fused, targets)]
        else:
            n = len(batch.users)
            terms = [losses.sampled_softmax(users.fused, views.fused[:n], views.fused[n:], known)]
        if self.options.contrasts:
            contrast = self._contrast(users, generator) + self._contrast(views, generator)
            terms.append(self.options.contrastive_weight * contrast)
        return tuple(terms)

    def _softmax_items(self, batch, generator):
        """The items of a step, and either the users' targets among them or which of them are the users' own."""
        own = SparseRows(self.indptr, self.targets, len(self.catalogue)).select(batch.users)
        n_negatives = self.options.softmax_negatives
        if not n_negatives or n_negatives >= len(self.catalogue):
            return self.catalogue, own, None
        lengths = own.lengths
        drawn = (torch.rand(len(lengths), generator=generator).to(lengths.device) * lengths).long()
        positives = own.columns[own.indptr[:-1] + drawn]
        negatives = torch.randint(len(self.catalogue), (n_negatives,), generator=generator).to(lengths.device)
        known = own.contains(negatives.expand(len(lengths), -1))
        return self.catalogue[torch.cat([positives, negatives])], None, known

    def _entities(self, side: str, ids: Tensor, generator) -> Views:
        """Each entity once, with a draw of modalities that all of its occurrences in the step share.

        The authors draw for each occurrence; sharing the draw saves encoding and gathering an embedding for each.
        """
        encoder = self.sides[side]
        available = encoder.available[ids]
        priors = [prior.of_trained(side, ids) for prior in self.priors.values() if prior.in_training]
        if not self.options.samples:
            fused = self.fusion[side](self.rowwise(encoder, ids, available), available)
            return Views(torch.cat([fused, *priors], dim=1))
        choice = sample_modalities(available, self.options.n_sampled, generator)
        used = chosen_mask(choice, len(encoder.names))
        embeddings = self.rowwise(encoder, ids, used)
        fused = torch.cat([self.fusion[side](embeddings, used), *priors], dim=1)
        if choice.shape[1] < 2:
            return Views(fused)
        flat = embeddings.flatten(0, 1)
        offset = torch.arange(len(ids), device=ids.device) * len(encoder.names)
        first, second = (gather_rows(flat, offset + choice[:, n].clamp(min=0)) for n in (0, 1))
        return Views(fused, first, second, choice[:, 1] >= 0)

    def _contrast(self, views: Views, generator, sets=None) -> Tensor:
        """InfoNCE over the entities of the step, or over each user's positive and negatives, ``sets`` (B, 1 + N)."""
        if views.second is None:
            return views.fused.new_zeros(())
        temperature = self.options.temperature
        if sets is not None and self.options.contrastive_set == "negatives":
            first, second = (F.normalize(view, dim=-1) for view in (views.first, views.second))
            logits = set_products(first, second, sets) / temperature
            return losses.symmetric_info_nce_of(logits, views.paired[sets])
        limit = self.options.contrastive_batch_size
        kept = torch.randperm(len(views.fused), generator=generator)[:limit].to(views.fused.device)
        kept = kept[views.paired[kept]]
        return losses.symmetric_info_nce(views.first[kept], views.second[kept], temperature)

    # scoring

    def used_in_evaluation(self, side: str) -> Tensor:
        """(N, M) bool: what every entity has, restricted to the modalities left in evaluation."""
        encoder = self.sides[side]
        return encoder.evaluated & encoder.in_evaluation

    @torch.no_grad()
    def modality_embeddings(self, side: str, ids: Tensor, chunk: int = 8192) -> Tensor:
        """(N,) ids -> (N, M, D), zero where a modality is missing or left out."""
        used = self.used_in_evaluation(side)
        return torch.cat([self.sides[side](part, used[part]) for part in ids.split(chunk)])

    @torch.no_grad()
    def embeddings(self, side: str, ids: Tensor, chunk: int = 8192) -> Tensor:
        """(N,) ids -> (N, D + P) fused embeddings, with the training entities' mean where no modality is left."""
        used = self.used_in_evaluation(side)
        fused = torch.cat([self._fused(side, part, used[part]) for part in ids.split(chunk)])
        return self._fill_empty(side, fused, used[ids])

    def _fused(self, side, ids, used):
        encoder = self.sides[side]
        priors = [prior(side, ids, used) for prior in self.priors.values()]
        return torch.cat([self.fusion[side](encoder(ids, used), used), *priors], dim=1)

    @torch.no_grad()
    def embed(self, features: Modalities) -> Tensor:
        """(N, D + P) fused embeddings of entities that the training data do not have, from their features."""
        encoder = self.sides[features.side]
        used = features.available & encoder.in_evaluation
        fused = self.fusion[features.side](encoder.embed(features, used), used)
        priors = [prior.embed(features, used) for prior in self.priors.values()]
        return self._fill_empty(features.side, torch.cat([fused, *priors], dim=1), used)

    def _fill_empty(self, side, fused, used):
        empty = ~used.any(1)
        if empty.any():
            encoder = self.sides[side]
            read = encoder.trained, encoder.evaluated, encoder.in_evaluation
            fused[empty] = self._once(side, lambda: self._mean(side), *read)
        return fused

    def _mean(self, side):
        """(D,) of the training entities that have a modality left; zero if none has."""
        known = (self.sides[side].trained & self.used_in_evaluation(side).any(1)).nonzero().squeeze(1)
        return self.embeddings(side, known).mean(0) if len(known) else 0.0

    def requirements(self, scenario: str) -> None:
        """Check before training that the cold side has content to be scored by.

        Raises:
            OptionError: the scenario's cold side is not single-branch, or has no modality but its interactions.
        """
        side = COLD_SIDE.get(scenario)
        if side is None:
            return
        encoder = self.sides[side]
        content = [name for name, kept in zip(encoder.names, encoder.in_evaluation) if kept and name != INTERACTIONS]
        if not self.options.is_single_branch(side):
            raise OptionError(
                f"scenario {scenario} needs the {side} side to be single-branch, but single_branch is "
                f"{self.options.single_branch!r}; use --single_branch={side} or both."
            )
        if not content:
            raise OptionError(
                f"scenario {scenario} needs a {side} modality beside the interactions, which a cold {side} has not; "
                f"declare one under 'modalities: {side}:' in the data set's YAML, or name it in --{side}_modalities."
            )
