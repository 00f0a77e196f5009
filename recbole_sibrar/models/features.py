"""Features for linear models: each modality as a block of centred columns; a missing one is a block of zeros."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recbole_sibrar.data.modalities import Modality
from recbole_sibrar.data.sparse import SparseRows
from recbole_sibrar.models.layers import centre, hold_values
from recbole_sibrar.models.projections import piecewise_linear, quantile_edges


class Block(nn.Module):
    """One modality's columns, centred by the training entities that have it and scaled.

    Centring makes zero the value of the average training entity, so that a missing block says nothing. Scaling gives
    the centred rows of the training entities a root mean square length of ``weight``.

    Args:
        modality: of N entities.
        trained: (N,) bool, the entities that occur in training.
        weight: how much the block counts; a ridge penalises its coefficients by 1 / weight^2.
    """

    def __init__(self, modality: Modality, trained: Tensor, weight: float):
        super().__init__()
        known = (modality.available & trained).nonzero().squeeze(1)
        self.build(modality, known)
        mean, lengths = centre(self.columns_of, known)
        self.register_buffer("mean", mean, persistent=False)
        length = lengths.square().mean().sqrt() if len(known) else torch.ones(())
        self.register_buffer("factor", weight / length.clamp(min=1e-6), persistent=False)

    @property
    def width(self) -> int:
        return len(self.mean)

    def build(self, modality, known):
        hold_values(self, modality.values)

    def columns_of(self, ids: Tensor) -> Tensor:
        """(R,) entities that have the modality -> (R, F)."""
        raise NotImplementedError

    def forward(self, ids: Tensor, used: Tensor) -> Tensor:
        """(R,) entities, (R,) bool whether to read them -> (R, F), zero where not."""
        place = used.nonzero().squeeze(1)
        rows = (self.columns_of(ids[place]) - self.mean) * self.factor
        return rows.new_zeros(len(ids), self.width).index_copy(0, place, rows)


class VectorBlock(Block):
    """The vector."""

    def columns_of(self, ids):
        return self.values[ids].float()


class CategoryBlock(Block):
    """One column for each category."""

    def build(self, modality, known):
        super().build(modality, known)
        self.n_values = modality.width

    def columns_of(self, ids):
        return F.one_hot(self.values[ids], self.n_values).float()


class NumberBlock(Block):
    """Piecewise linear over quantile bins, as in ``NumberProjection``."""

    def build(self, modality, known):
        super().build(modality, known)
        self.register_buffer("edges", quantile_edges(modality.values[known]), persistent=False)

    def columns_of(self, ids):
        return piecewise_linear(self.values[ids], self.edges)


class TagsBlock(Block):
    """One column for each tag."""

    def build(self, modality, known):
        self.register_buffer("indptr", modality.values.indptr, persistent=False)
        self.register_buffer("columns", modality.values.columns, persistent=False)
        self.n_values = modality.width

    def columns_of(self, ids):
        tags = SparseRows(self.indptr, self.columns, self.n_values).select(ids)
        return tags.mark(torch.zeros(len(ids), self.n_values, device=ids.device), 1.0)


class TagPairsBlock(TagsBlock):
    """One column for each pair of tags that occurs together in training: the ``MAX_PAIRS`` most frequent ones.

    A linear model of single tags cannot tell a romantic comedy from a romance and a comedy.
    """

    MAX_PAIRS = 2000

    def build(self, modality, known):
        super().build(modality, known)
        rows = TagsBlock.columns_of(self, known)
        count = (rows.T @ rows).triu(1).flatten()
        found = count.topk(min(self.MAX_PAIRS, len(count)))
        pairs = found.indices[found.values > 0]
        first, second = pairs // self.n_values, pairs % self.n_values
        self.register_buffer("first", first, persistent=False)
        self.register_buffer("second", second, persistent=False)

    def columns_of(self, ids):
        rows = super().columns_of(ids)
        return rows[:, self.first] * rows[:, self.second]


BLOCKS = {"vector": VectorBlock, "category": CategoryBlock, "number": NumberBlock, "tags": TagsBlock}
