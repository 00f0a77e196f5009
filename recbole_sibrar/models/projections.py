"""Projections: from the raw features of one modality to the common width d_c, one class for each kind."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from recbole_sibrar.data.modalities import Modality
from recbole_sibrar.data.sparse import SparseRows, gather_rows, weighted_row_sum
from recbole_sibrar.models.checked import option
from recbole_sibrar.models.layers import ACTIVATION_LAYERS, centre, hold_values, mlp

N_BINS = 8


@dataclass(frozen=True)
class InputOptions:
    """How raw features enter a network. The defaults are the papers'."""

    activation: str = option("between the layers", tuple(ACTIVATION_LAYERS), default="relu")
    activate_projections: str = option(
        "activation after the projections of vectors, numbers and interactions (dense), or none",
        ("dense", "none"),
        default="dense",
    )
    vector_scaling: str = option(
        "vectors as they are (raw), or centred and brought to a small mean length (short)",
        ("raw", "short"),
        default="raw",
    )
    number_encoding: str = option(
        "a number in standard deviations (standardized), or piecewise linear over quantile bins (bins)",
        ("standardized", "bins"),
        default="standardized",
    )
    tag_weighting: str = option(
        "the mean of an entity's tags, or their sum, rare tags shrunk (shrunk)", ("mean", "shrunk"), default="mean"
    )
    interaction_scaling: str = option(
        "an interaction row of zeros and ones (raw), or of length one (unit)", ("raw", "unit"), default="raw"
    )
    interaction_dropout: float = option(
        "share of an interaction profile hidden in training", low=0, high=0.99, default=0.0
    )


LINEAR_INPUTS = InputOptions(
    activate_projections="none",
    vector_scaling="short",
    number_encoding="bins",
    tag_weighting="shrunk",
    interaction_scaling="unit",
)
"""What the baselines read: the inputs that serve a linear layer best, with no activation after it."""


class Projection(nn.Module):
    """Holds one modality's features (not part of the state dict) and projects the rows asked for.

    Args:
        modality: the features.
        trained: (N,) bool, the entities that occur in training; statistics are taken from them alone.
        sizes: hidden widths and d_c.
        options: how the features are read.
    """

    is_dense = True

    def __init__(self, modality: Modality, trained: Tensor, sizes, options: InputOptions):
        super().__init__()
        self.options, self.activation = options, options.activation
        self.build(modality, modality.available & trained, list(sizes))
        self.activates = options.activate_projections == "dense" and self.is_dense
        self.output = ACTIVATION_LAYERS[options.activation]() if self.activates else nn.Identity()

    def build(self, modality, trained, sizes):
        raise NotImplementedError

    def stored(self, rows: Tensor):
        """The features of the entities ``rows`` (R,), which must have the modality."""
        return self.values[rows]

    def forward(self, features) -> Tensor:
        """Features of R entities, as ``stored`` gives them -> (R, d_c)."""
        return self.output(self.project(features))

    def project(self, features) -> Tensor:
        """As ``forward``, without the activation that may follow."""
        raise NotImplementedError


class VectorProjection(Projection):
    """A linear layer on the vector.

    ``vector_scaling: short`` centres vectors by the training entities' mean and scales them to a mean length of 0.1
    after it. Features such as pooled convolutional maps are all positive and share one large component. And the longer
    a vector of many dimensions, the sooner it is learned by heart: a step of Adam moves all of its weights alike, and
    thus the output by far more than that of a modality with few values.
    """

    LENGTH = 0.1

    def build(self, modality, trained, sizes):
        hold_values(self, modality.values)
        if self.options.vector_scaling == "short":
            known = trained.nonzero().squeeze(1)
            mean, lengths = centre(lambda entities: self.stored(entities).float(), known)
            scale = (lengths.sum() / max(len(known), 1)).clamp(min=1e-6) / self.LENGTH
        else:
            mean, scale = torch.zeros(modality.width), torch.ones(())
        self.register_buffer("mean", mean)
        self.register_buffer("scale", scale)
        self.network = mlp([modality.width, *sizes], self.activation)

    def project(self, features):
        return self.network((features.float() - self.mean) / self.scale)


class NumberProjection(Projection):
    """A linear layer on the number.

    ``number_encoding: standardized`` gives it in standard deviations from the training entities' mean (the authors'
    code feeds it raw, years and all). ``bins`` is piecewise linear (Gorishniy et al., NeurIPS 2022): bin t of 8
    quantile bins of the training entities holds how far the number has come through it, clipped to [0, 1], so that a
    single linear layer can bend at the bins' edges.
    """

    def build(self, modality, trained, sizes):
        self.register_buffer("values", modality.values, persistent=False)
        known = modality.values[trained]
        if self.options.number_encoding == "bins":
            self.register_buffer("edges", quantile_edges(known))
            width = N_BINS
        else:
            mean, deviation = (known.mean(), known.std(correction=0)) if len(known) else (torch.zeros(()),) * 2
            self.register_buffer("mean", mean)
            self.register_buffer("deviation", torch.where(deviation > 0, deviation, 1.0))
            width = 1
        self.network = mlp([width, *sizes], self.activation)

    def project(self, features):
        if self.options.number_encoding == "bins":
            return self.network(piecewise_linear(features, self.edges))
        return self.network(((features - self.mean) / self.deviation).float().unsqueeze(1))


def quantile_edges(known: Tensor) -> Tensor:
    """The edges (N_BINS + 1,) of quantile bins, from the numbers of the training entities (K,) float64.

    Where quantiles coincide, bins of width one, or more for large numbers, follow the last: no training value reaches
    them.

    >>> quantile_edges(torch.tensor([3.0, 3.0], dtype=torch.double)).tolist()
    [3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0]
    """
    known = known.double() if len(known) else torch.zeros(1, dtype=torch.double)
    edges = known.quantile(torch.linspace(0, 1, N_BINS + 1, dtype=torch.double)).unique()
    width = (edges[-1].abs() * 1e-9).clamp(min=1)
    return torch.cat([edges, edges[-1] + width * torch.arange(1, N_BINS + 2 - len(edges))])


def piecewise_linear(numbers: Tensor, edges: Tensor) -> Tensor:
    """(N,), (B + 1,) float64 -> (N, B) float32: how far each number has come through each bin, clipped to [0, 1].

    >>> piecewise_linear(torch.tensor([1.5]), torch.tensor([0.0, 1.0, 2.0, 3.0])).tolist()
    [[1.0, 0.5, 0.0]]
    """
    low, high = edges[:-1], edges[1:]
    return ((numbers.unsqueeze(1) - low) / (high - low)).clamp(0, 1).float()


class CategoryProjection(Projection):
    """An embedding of the category."""

    is_dense = False

    def build(self, modality, trained, sizes):
        self.register_buffer("values", modality.values, persistent=False)
        self.table = _table(modality.width, sizes[0])
        self.network = _rest(sizes, self.activation)

    def project(self, features):
        return self.network(gather_rows(self.table.weight, features))


class _RowsProjection(Projection):
    """Keeps a sparse matrix."""

    def build(self, modality, trained, sizes):
        self.register_buffer("indptr", modality.values.indptr, persistent=False)
        self.register_buffer("columns", modality.values.columns, persistent=False)
        self.table = _table(modality.width, sizes[0])
        self.network = _rest(sizes, self.activation)

    def stored(self, rows):
        return SparseRows(self.indptr, self.columns, self.table.num_embeddings).select(rows)


class TagsProjection(_RowsProjection):
    """A linear layer on the entity's tags: the mean of their embeddings (torch's embedding bag, as the authors have).

    ``tag_weighting: shrunk`` is a sum in which tag t counts n_t / (n_t + 5), n_t the number of training entities that
    have it. In a ridge regression on tags that occur apart from each other, a penalty of 5 has the same effect. Without
    it a word of one title is learned by heart, since Adam moves the weight of a rare tag as fast as that of a frequent
    one. A sum, not a mean, says how many tags there are: films of many genres are seen by more people.
    """

    SHRINKAGE = 5
    is_dense = False

    def build(self, modality, trained, sizes):
        super().build(modality, trained, sizes)
        if self.options.tag_weighting == "shrunk":
            known = modality.values.select(trained.nonzero().squeeze(1)).columns
            count = torch.bincount(known, minlength=modality.width)
            self.register_buffer("importance", count / (count + self.SHRINKAGE))

    def project(self, features):
        if self.options.tag_weighting == "shrunk":
            weights = self.importance[features.columns]
        else:
            weights = features.spread(features.lengths.clamp(min=1).float().reciprocal())
        return self.network(weighted_row_sum(features, self.table.weight, weights))


class InteractionProjection(_RowsProjection):
    """A linear layer on the row of the training matrix.

    ``interaction_scaling: unit`` is the row at length one. The row holds the very interactions that are the targets of
    training; ``interaction_dropout`` hides a random share of it, as denoising autoencoders do (Liang et al., WWW 2018),
    which keeps the layer from copying. The authors' code feeds the target itself.
    """

    def build(self, modality, trained, sizes):
        super().build(modality, trained, sizes)
        self.bias = nn.Parameter(torch.zeros(sizes[0]))
        self.dropout = nn.Dropout(self.options.interaction_dropout)

    def project(self, features):
        lengths = features.lengths.clamp(min=1).float()
        is_unit = self.options.interaction_scaling == "unit"
        weights = features.spread(lengths.rsqrt() if is_unit else torch.ones_like(lengths))
        if self.training and self.dropout.p:
            weights = self.dropout(weights)
            shown = weights > 0
            features, weights = features.keep(shown), weights[shown]
        return self.network(weighted_row_sum(features, self.table.weight, weights) + self.bias)


class IdProjection(Projection):
    """The ordinary id embedding, as a modality that only the entities of the training data have."""

    is_dense = False

    def build(self, modality, trained, sizes):
        self.table = _table(len(modality.available), sizes[0])

    def stored(self, rows):
        return rows

    def project(self, features):
        return gather_rows(self.table.weight, features)


PROJECTIONS = {
    "vector": VectorProjection,
    "number": NumberProjection,
    "category": CategoryProjection,
    "tags": TagsProjection,
    "interactions": InteractionProjection,
    "id": IdProjection,
}


def _table(n_values, width):
    table = nn.Embedding(n_values, width)
    nn.init.xavier_normal_(table.weight)
    return table


def _rest(sizes, activation):
    """What follows an embedding, the first linear layer of its kind: nothing, or activation and the other layers."""
    if len(sizes) == 1:
        return nn.Identity()
    return nn.Sequential(ACTIVATION_LAYERS[activation](), mlp(sizes, activation))
