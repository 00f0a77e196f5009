"""What the content-based baselines share: one side with content, and a linear layer on all of its modalities."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from recbole_sibrar.checked import option
from recbole_sibrar.data.modalities import INTERACTIONS, OTHER_SIDE, SIDES, Modalities, rows_of
from recbole_sibrar.data.sparse import SparseRows
from recbole_sibrar.errors import OptionError
from recbole_sibrar.kinds import KINDS, LINEAR_INPUTS, known_to
from recbole_sibrar.models.attribution import Part
from recbole_sibrar.models.core import ROWS, Capabilities, Entities, InnerProductModel, trained_entities
from recbole_sibrar.models.imputation import ImputeOptions, imputer_of
from recbole_sibrar.scenarios import SCENARIOS


@dataclass(frozen=True)
class ContentOptions(ImputeOptions):
    """The options of every content-based baseline."""

    content_side: str = option("the side whose content is used", SIDES, default="item")

    def read_modalities(self, side: str) -> list[str] | None:
        return self.modalities(side) if side == self.content_side else [INTERACTIONS]

    @property
    def batches(self) -> str:
        return "pairs"


class ContentModel(InnerProductModel):
    """One side has content, the other is known by its interactions alone. Interactions are never content.

    An entity that can be scored neither by its training nor by content has the mean embedding of the training entities.

    Args:
        options: a ``ContentOptions``.
        modalities: {side: the modalities}, ``interactions`` among them; those of the other side are not read.
        interactions: users x items, the training interactions.
        seed: of the training steps.

    Raises:
        OptionError: the content side has no modality beside the interactions, or they were asked for as content.
    """

    capabilities = Capabilities(cold_items=True, cold_users=True, missing_modalities=True)

    def __init__(self, options: ContentOptions, modalities: dict[str, Modalities], interactions: SparseRows, seed: int):
        super().__init__(options, seed)
        side = self.content_side = options.content_side
        self.other_side = OTHER_SIDE[side]
        trained = trained_entities(interactions)
        content = known_to(self._content(modalities[side], options), trained[side])
        self.modalities = {side: content, self.other_side: modalities[self.other_side].select([INTERACTIONS])}
        rows = rows_of(side, interactions)
        self.sides = nn.ModuleDict()
        for name in SIDES:
            left, imputer = None, None
            if name == side:
                left, imputer = options.eval_modalities(side), imputer_of(options, content, trained[side], rows)
            self.sides[name] = Entities(self.modalities[name], trained[name], left, imputer)

    @staticmethod
    def _content(modalities: Modalities, options: ContentOptions) -> Modalities:
        side, name = modalities.side, type(options).__name__.removesuffix("Options")
        if INTERACTIONS in (options.modalities(side) or ()):
            raise OptionError(
                f"{side}_modalities names {INTERACTIONS!r}, which are no content to {name}; leave it out."
            )
        content = modalities.content
        if not content.entries:
            raise OptionError(
                f"{name} needs a modality of the {side}s beside the interactions; declare one under 'modalities: "
                f"{side}:' in the data set's YAML, or use the content of the other side with --content_side."
            )
        return content

    def trained(self, side: str) -> Tensor:
        """(N,) bool, which entities occur in training."""
        return self.entities(side).trained

    @property
    def content_in_training(self) -> Modalities:
        """The content that training reads."""
        return self.entities(self.content_side).in_training

    def content_in_evaluation(self, ids: Tensor) -> Modalities | None:
        """See ``Entities.features_in_evaluation``."""
        return self.entities(self.content_side).features_in_evaluation(ids)

    @property
    def available(self) -> Tensor:
        """(N, M) bool, the content that training reads."""
        return self.entities(self.content_side).available

    @property
    def read(self) -> Tensor:
        """(N, M) bool, the content that evaluation reads."""
        return self.entities(self.content_side).read

    def scorable(self, side: str) -> Tensor:
        """(N,) bool, which entities have an embedding of their own in evaluation."""
        trained = self.trained(side)
        return trained | self.read.any(1) if side == self.content_side else trained

    def own_embeddings(self, side: str, ids: Tensor) -> Tensor:
        """(N,) ids -> (N, D), for scoring; whatever stands there for entities that are not ``scorable``."""
        raise NotImplementedError

    def content_embeddings(self, features: Modalities, used: Tensor) -> Tensor:
        """(N, D) of entities without training interactions; (N, M) bool says which of their modalities to read."""
        raise NotImplementedError

    def content_of(self, entity: int, used: Tensor) -> Tensor:
        """(S, D) of an entity of the content side, (S, M) bool which modalities to read."""
        raise NotImplementedError

    @torch.no_grad()
    def embeddings(self, side: str, ids: Tensor) -> Tensor:
        return self._filled(side, self._own_in_parts(side, ids), ~self.scorable(side)[ids])

    def _filled(self, side: str, embeddings: Tensor, empty: Tensor) -> Tensor:
        """(N, D), with the average where there is nothing to go by, ``empty`` (N,) bool."""
        if empty.any():
            embeddings[empty] = self._average(side)
        return embeddings

    def _own_in_parts(self, side: str, ids: Tensor) -> Tensor:
        parts = [self.own_embeddings(side, part) for part in ids.split(ROWS)]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _average(self, side: str) -> Tensor:
        """(D,) the mean embedding of the training entities, made once until something changes."""
        content, known = self.entities(self.content_side), self.trained(side).nonzero().squeeze(1)
        read = self.trained(side), content.evaluated, content.kept
        return self.once(side, lambda: self._own_in_parts(side, known).mean(0), *read)

    @torch.no_grad()
    def with_modalities(self, side: str, entity: int | Modalities, used: Tensor) -> Tensor:
        if side == self.other_side:
            return self.embedding_of(side, entity) * used
        if isinstance(entity, Modalities):
            return self.content_embeddings(entity.rows(torch.zeros(len(used), dtype=torch.long)), used)
        return self.content_of(entity, used)

    def requirements(self, scenario: str) -> None:
        """Check before training that a cold side is the one with content.

        Raises:
            OptionError: it is not, or ``eval_item_modalities`` or ``eval_user_modalities`` leave it none.
        """
        cold = SCENARIOS[scenario].cold_sides
        if cold and self.content_side not in cold:
            side = cold[0]
            raise OptionError(
                f"scenario {scenario} needs the content of the {side}s, but content_side is {self.content_side!r}; use "
                f"--content_side={side}."
            )


class ContentNetwork(ContentModel):
    """A ``ContentModel`` that learns an embedding of the content, beside what it learns of trained entities."""

    capabilities = Capabilities(cold_items=True, cold_users=True, missing_modalities=True, new_content=True)

    @torch.no_grad()
    def embed(self, features: Modalities) -> Tensor:
        """
        Raises:
            OptionError: the entities are of the other side.
        """
        side, name = features.side, type(self).__name__
        if side != self.content_side:
            raise OptionError(
                f"{name} has an embedding for the id of each {side} of its training, and takes these ids only; new "
                f"{side}s are served by SiBraR, MuBraR, DropoutNet, ContentRidge or KernelRidge."
            )
        features, used = self.entities(side).readable(features)
        return self._filled(side, self.content_embeddings(features, used), ~used.any(1))

    def parts(self, side: str, entity: int | Modalities) -> list[Part]:
        """What a trained entity has without its modalities comes from its interactions."""
        is_trained = isinstance(entity, int) and bool(self.trained(side)[entity])
        rest = INTERACTIONS if is_trained else "(mean)"
        found = super().parts(side, entity)
        return [part._replace(modality=rest) if part.modality == "(mean)" else part for part in found]


class ContentLayer(nn.Module):
    """A linear layer on the concatenated modalities, as the sum of one layer for each; a missing one adds nothing.

    Args:
        modalities: M modalities of N entities.
        interactions: (N, V) those of training; statistics are taken from the entities that have some.
        width: D of the output.
    """

    def __init__(self, modalities: Modalities, interactions: SparseRows, width: int):
        super().__init__()
        self.width = width
        self.projections = nn.ModuleList(
            KINDS[entry.kind].projection(entry, interactions, [width], LINEAR_INPUTS) for entry in modalities.entries
        )

    def forward(self, ids: Tensor, used: Tensor, features: Modalities | None = None) -> Tensor:
        """(N,) ids, (N, M) bool which modalities to read, and features to read in place of their own -> (N, D)."""
        places = [column.nonzero().squeeze(1) for column in used.T]
        if features is None:
            read = [projection.stored(ids[place]) for projection, place in zip(self.projections, places)]
        else:
            read = [entry.features(place) for entry, place in zip(features.entries, places)]
        blocks = [projection(values) for projection, values in zip(self.projections, read)]
        rows = torch.cat(blocks)
        return rows.new_zeros(len(ids), self.width).index_add(0, torch.cat(places), rows)
