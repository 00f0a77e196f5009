"""Features for linear models: each modality as a block of centred columns; a missing one is a block of zeros."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recbole_sibrar.data.modalities import Modalities, Modality
from recbole_sibrar.data.sparse import SparseRows
from recbole_sibrar.models.feature_rows import CentredRows, DenseRows, FeatureRows
from recbole_sibrar.models.layers import centre, hold_values
from recbole_sibrar.models.projections import piecewise_linear, quantile_edges

ROWS_COUNTED = 4096

MAX_VALUES = 2000
"""Of a modality's categories, tags or pairs of tags so many have a column of their own, the most frequent ones."""


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
        mean, square = self.statistics(known) if len(known) else (self.columns_of(self.stored(known)).sum(0), 1.0)
        self.register_buffer("mean", mean, persistent=False)
        length = torch.as_tensor(square, dtype=torch.float).sqrt().clamp(min=1e-6)
        self.register_buffer("factor", weight / length, persistent=False)

    @property
    def width(self) -> int:
        return len(self.mean)

    def build(self, modality, known):
        hold_values(self, modality.values)

    def stored(self, ids: Tensor):
        """The features of entities (R,) that have the modality."""
        return self.values[ids]

    def statistics(self, known: Tensor) -> tuple:
        """The mean (F,) of the columns of these entities (K,), and their mean squared distance from it."""
        mean, lengths = centre(lambda entities: self.columns_of(self.stored(entities)), known)
        return mean, lengths.square().mean()

    def columns_of(self, features) -> Tensor:
        """Features of R entities, as ``stored`` gives them -> (R, F)."""
        raise NotImplementedError

    def forward(self, features, place: Tensor, n: int) -> DenseRows | CentredRows:
        """Features of the entities at ``place`` (R,) among ``n`` -> (n, F), zero for the others."""
        rows = (self.columns_of(features) - self.mean) * self.factor
        return DenseRows(rows.new_zeros(n, self.width).index_copy(0, place, rows))


class SparseBlock(Block):
    """Columns of zeros and ones, of which an entity has few."""

    def statistics(self, known):
        count = torch.zeros(self.n_columns, dtype=torch.double)
        for ids in known.split(ROWS_COUNTED):
            count += torch.bincount(self.shown(self.stored(ids)).columns, minlength=self.n_columns)
        mean = count / len(known)
        return mean.float(), (mean * (1 - mean)).sum()

    @property
    def n_columns(self) -> int:
        raise NotImplementedError

    def shown(self, features) -> SparseRows:
        """Features of R entities, as ``stored`` gives them -> R x F, the ones."""
        raise NotImplementedError

    def columns_of(self, features):
        shown = self.shown(features)
        return shown.mark(torch.zeros(len(shown.lengths), shown.n_columns, device=shown.columns.device), 1.0)

    def forward(self, features, place, n):
        shown = self.shown(features)
        lengths, present = place.new_zeros(n), self.mean.new_zeros(n)
        lengths[place], present[place] = shown.lengths, 1.0
        spread = SparseRows(F.pad(lengths.cumsum(0), (1, 0)), shown.columns, shown.n_columns)
        return CentredRows(spread, present, self.mean, self.factor)


class VectorBlock(Block):
    """The vector."""

    def columns_of(self, features):
        return features.float()


class CategoryBlock(SparseBlock):
    """One column for each category."""

    def build(self, modality, known):
        super().build(modality, known)
        self.register_buffer("column", most_frequent(modality.values[known], modality.width), persistent=False)

    @property
    def n_columns(self):
        return int(self.column.max()) + 1

    def shown(self, features):
        every = torch.arange(len(features) + 1, device=features.device)
        return _with_columns(SparseRows(every, features, len(self.column)), self.column)


class NumberBlock(Block):
    """Piecewise linear over quantile bins, as in ``NumberProjection``."""

    def build(self, modality, known):
        super().build(modality, known)
        self.register_buffer("edges", quantile_edges(modality.values[known]), persistent=False)

    def columns_of(self, features):
        return piecewise_linear(features, self.edges)


class TagsBlock(SparseBlock):
    """One column for each tag."""

    def build(self, modality, known):
        self.register_buffer("indptr", modality.values.indptr, persistent=False)
        self.register_buffer("columns", modality.values.columns, persistent=False)
        self.n_values = modality.width
        self.register_buffer("column", most_frequent(self.stored(known).columns, modality.width), persistent=False)

    @property
    def n_columns(self):
        return int(self.column.max()) + 1

    def stored(self, ids):
        return SparseRows(self.indptr, self.columns, self.n_values).select(ids)

    def shown(self, features):
        return _with_columns(features, self.column)


class TagPairsBlock(TagsBlock):
    """One column for each pair of tags that occurs together in training.

    A linear model of single tags cannot tell a romantic comedy from a romance and a comedy.
    """

    def build(self, modality, known):
        super().build(modality, known)
        width = int(self.column.max()) + 1
        together = torch.zeros(width, width)
        for ids in known.split(ROWS_COUNTED):
            rows = self._tags(self.stored(ids)).float()
            together += rows.T @ rows
        count = together.triu(1).flatten()
        found = count.topk(min(MAX_VALUES, len(count)))
        pairs = found.indices[found.values > 0]
        self.register_buffer("first", pairs // width, persistent=False)
        self.register_buffer("second", pairs % width, persistent=False)

    @property
    def n_columns(self):
        return len(self.first)

    def _tags(self, features):
        """(R, number of tags with a column) bool."""
        tags = _with_columns(features, self.column)
        return tags.mark(torch.zeros(len(tags.lengths), tags.n_columns, dtype=torch.bool, device=tags.columns.device))

    def shown(self, features):
        found, n = [], 0
        for ids in torch.arange(len(features.lengths), device=features.columns.device).split(ROWS_COUNTED):
            tags = self._tags(features.select(ids))
            found.append((tags[:, self.first] & tags[:, self.second]).nonzero())
            found[-1][:, 0] += n
            n += len(ids)
        rows, columns = torch.cat(found or [torch.zeros(0, 2, dtype=torch.long)]).unbind(1)
        indptr = F.pad(torch.bincount(rows, minlength=n).cumsum(0), (1, 0))
        return SparseRows(indptr, columns, self.n_columns)


def _with_columns(features: SparseRows, column: Tensor) -> SparseRows:
    """The values (nnz,) that have a column, by its number; ``column``: (n_values,), -1 for those that have none."""
    columns = column[features.columns]
    kept = columns >= 0
    return SparseRows(features.keep(kept).indptr, columns[kept], int(column.max()) + 1)


def most_frequent(values: Tensor, n_values: int) -> Tensor:
    """(n_values,) the column of each value: the ``MAX_VALUES`` most frequent ones in their order, -1 for the others.

    >>> most_frequent(torch.tensor([2, 2, 0]), 4).tolist()
    [0, -1, 1, -1]
    """
    count = torch.bincount(values, minlength=n_values)
    kept = count.topk(min(MAX_VALUES, n_values)).indices
    kept = kept[count[kept] > 0].sort().values
    return torch.full((n_values,), -1).index_copy_(0, kept, torch.arange(len(kept)))


BLOCKS = {"vector": VectorBlock, "category": CategoryBlock, "number": NumberBlock, "tags": TagsBlock}

WEIGHTS = {"vector": 1.0, "category": 1.0, "number": 4.0, "tags": 1.0, "pairs": 0.7}
"""How much each kind's block counts, and that of the pairs of a modality of tags."""


class LinearFeatures(nn.Module):
    """The blocks of several modalities side by side.

    Args:
        modalities: M of them, of N entities.
        trained: (N,) bool, the entities that occur in training.
        weights: as ``WEIGHTS``; without pairs if these weigh nothing.
    """

    def __init__(self, modalities: Modalities, trained: Tensor, weights: dict):
        super().__init__()
        self.blocks, self.block_of = nn.ModuleList(), []
        for index, entry in enumerate(modalities.entries):
            self._add(BLOCKS[entry.kind](entry, trained, weights[entry.kind]), index)
            if entry.kind == "tags" and weights["pairs"]:
                self._add(TagPairsBlock(entry, trained, weights["pairs"]), index)

    def _add(self, block, index):
        self.blocks.append(block)
        self.block_of.append(index)

    @property
    def width(self) -> int:
        return sum(block.width for block in self.blocks)

    def columns_of(self, modalities: Tensor) -> Tensor:
        """(M,) bool -> (F,) bool, the columns of these modalities."""
        return torch.cat([modalities[m].expand(block.width) for m, block in zip(self.block_of, self.blocks)])

    def forward(self, ids: Tensor, used: Tensor) -> FeatureRows:
        """(R,) entities, (R, M) bool which modalities to read -> (R, F), zero where missing."""
        places = self._places(used)
        features = [block.stored(ids[place]) for block, place in zip(self.blocks, places)]
        return self._rows(features, places, len(ids))

    def embed(self, modalities: Modalities, used: Tensor) -> FeatureRows:
        """As ``forward``, of R entities that are not among those of the training data."""
        places = self._places(used)
        features = [modalities.entries[m].features(place) for m, place in zip(self.block_of, places)]
        return self._rows(features, places, len(used))

    def _places(self, used):
        return [used[:, m].nonzero().squeeze(1) for m in self.block_of]

    def _rows(self, features, places, n):
        return FeatureRows(tuple(block(*given, n) for block, *given in zip(self.blocks, features, places)))
