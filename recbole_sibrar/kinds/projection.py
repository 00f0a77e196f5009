"""The base of the projections: from the raw features of one modality to the common width d_c."""

from dataclasses import dataclass

from torch import Tensor, nn

from recbole_sibrar.checked import option
from recbole_sibrar.data.modalities import Features, Modality
from recbole_sibrar.data.sparse import SparseRows
from recbole_sibrar.layers import ACTIVATION_LAYERS, further_layers


@dataclass(frozen=True)
class CommonInputs:
    """How features of every kind enter a network. The defaults are the papers'."""

    activation: str = option("between the layers", tuple(ACTIVATION_LAYERS), default="relu")
    activate_projections: str = option(
        "activation after the projections of vectors, numbers and interactions (dense), or none",
        ("dense", "none"),
        default="dense",
    )


class Projection(nn.Module):
    """Holds one modality's features (not part of the state dict) and projects the rows asked for.

    Args:
        modality: the features.
        interactions: (N, V) those of training; statistics are taken from the entities that have some.
        sizes: hidden widths and d_c.
        options: how the features are read: ``CommonInputs`` and those of the kind.
    """

    is_dense = True

    def __init__(self, modality: Modality, interactions: SparseRows, sizes: list[int], options: CommonInputs):
        super().__init__()
        self.options, self.activation = options, options.activation
        known = modality.available & (interactions.lengths > 0)
        self.build(modality, known, list(sizes))
        self.weigh(modality, known.nonzero().squeeze(1), interactions)
        self.activates = options.activate_projections == "dense" and self.is_dense
        self.output = ACTIVATION_LAYERS[options.activation]() if self.activates else nn.Identity()

    def build(self, modality: Modality, trained: Tensor, sizes: list[int]) -> None:
        raise NotImplementedError

    def weigh(self, modality: Modality, known: Tensor, interactions: SparseRows) -> None:
        """Say how much each value counts, from the entities ``known`` (K,) of training that have the modality."""

    def stored(self, rows: Tensor) -> Features:
        """The features of the entities ``rows`` (R,), which must have the modality."""
        return self.values[rows]

    def forward(self, features: Features) -> Tensor:
        """Features of R entities, as ``stored`` gives them -> (R, d_c)."""
        return self.output(self.project(features))

    def project(self, features: Features) -> Tensor:
        """As ``forward``, without the activation that may follow."""
        raise NotImplementedError


class RowsProjection(Projection):
    """The base for kinds whose values are ``SparseRows``."""

    def build(self, modality: Modality, trained: Tensor, sizes: list[int]) -> None:
        self.register_buffer("indptr", modality.values.indptr, persistent=False)
        self.register_buffer("columns", modality.values.columns, persistent=False)
        self.table = table_of(modality.width, sizes[0])
        self.network = further_layers(sizes, self.activation)
        self._matrix: SparseRows | None = None

    def stored(self, rows: Tensor) -> SparseRows:
        if self._matrix is None or self._matrix.columns is not self.columns:  # they were moved to a device
            self._matrix = SparseRows(self.indptr, self.columns, self.table.num_embeddings)
        return self._matrix.select(rows)


def table_of(n_values: int, width: int) -> nn.Embedding:
    """An embedding of each value."""
    table = nn.Embedding(n_values, width)
    nn.init.xavier_normal_(table.weight)
    return table
