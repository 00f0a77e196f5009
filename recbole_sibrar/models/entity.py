"""One side of the model: from the ids of users or items to the embeddings of their modalities."""

import warnings

import torch
from torch import Tensor, nn

from recbole_sibrar.data.modalities import INTERACTIONS, Features, Modalities
from recbole_sibrar.data.sparse import SparseRows
from recbole_sibrar.kinds import KINDS
from recbole_sibrar.kinds.projection import Projection
from recbole_sibrar.layers import unit_rows
from recbole_sibrar.models.core import Entities
from recbole_sibrar.models.encoders import Encoder, NoEncoder
from recbole_sibrar.models.fusion import Fusion, sum_over_modalities
from recbole_sibrar.models.imputation import Imputer
from recbole_sibrar.models.options import ModelOptions


class EntityEncoder(Entities):
    """Projections per modality, then an encoder.

    Args:
        modalities: M modalities of N entities.
        interactions: (N, V) those of training.
        encoder_class: ``SharedEncoder``, ``EncoderPerModality`` or ``NoEncoder``.
        options: widths, layers, dropout.
        kept, imputer: see ``Entities``.
    """

    def __init__(
        self,
        modalities: Modalities,
        interactions: SparseRows,
        encoder_class: type[Encoder],
        options: ModelOptions,
        kept: list[str] | None = None,
        imputer: Imputer | None = None,
    ):
        super().__init__(modalities, interactions.lengths > 0, kept, imputer)
        self.width, self.has_joint = options.embedding_size, options.joint_modality and len(self.names) > 1
        if encoder_class is NoEncoder:
            common, self.encoder = self.width, NoEncoder()
        else:
            common = options.projection_size or self.width
            sizes = [common, *options.encoder_hidden_sizes, self.width]
            self.encoder = encoder_class(
                len(self.names),
                self.has_joint,
                sizes,
                options.activation,
                batch_norm=options.batch_norm,
                activate_input=options.activate_input,
                activate_output=options.activate_output,
            )
        self.projections = nn.ModuleList(
            KINDS[modality.kind].projection(modality, interactions, [*options.projection_hidden_sizes, common], options)
            for modality in self.in_training.entries
        )
        if encoder_class is not NoEncoder and self._is_linear(options):
            warnings.warn(
                f"The encoder of the {self.side}s is linear (no hidden layer, and no activation around it): SiBraR and "
                "MuBraR can then represent exactly the same functions, so that comparing the two says nothing.",
                stacklevel=2,
            )
        self.normalize_input = options.normalize_input
        self.dropout = nn.Dropout(options.input_dropout)

    def _is_linear(self, options: ModelOptions) -> bool:
        """Whether every modality's embedding is a linear function of its projection."""
        return (
            not options.encoder_hidden_sizes
            and not options.activate_input
            and not options.activate_output
            and not any(projection.activates for projection in self.projections)
        )

    def forward(self, ids: Tensor, used: Tensor, profiles: SparseRows | None = None) -> Tensor:
        """Embed the modalities in use.

        Args:
            ids: (N,) entities.
            used: (N, M) bool, a subset of what is available; nothing else is read.
            profiles: N interaction rows to read in place of the entities' own.

        Returns:
            (N, M, D), zero where not used; with a joint modality (N, M, D + d_c), the projections behind them.
        """
        places = self._places(used)
        return self._table(self._rows(ids, places, profiles), places, used)

    def rows(self, ids: Tensor, used: Tensor) -> tuple[Tensor, Tensor]:
        """As ``forward``, without rows for what is not used.

        Returns:
            (R, D) or (R, D + d_c), at least one row, and (N, M) int64, where among them each modality is, any row for
            one that is not used.
        """
        rows = self._rows(ids, self._places(used))
        where = (used.T.flatten().cumsum(0) - 1).clamp(min=0).view(used.T.shape).T
        return rows if len(rows) else rows.new_zeros(1, rows.shape[1]), where

    def _rows(self, ids: Tensor, places: list[Tensor], profiles: SparseRows | None = None) -> Tensor:
        features = [
            projection.stored(ids[place]) if profiles is None or name != INTERACTIONS else profiles.select(place)
            for name, projection, place in zip(self.names, self.projections, places)
        ]
        return self._encode(features)

    def in_use(self, ids: Tensor, used: Tensor) -> Tensor:
        """As ``forward``, of what evaluation reads."""
        features = self.features_in_evaluation(ids)
        return self(ids, used) if features is None else self.embed(features, used)

    def embed(self, modalities: Modalities, used: Tensor) -> Tensor:
        """Embed entities that are not among those of the training data, from their features.

        Args:
            modalities: the same modalities as the encoder's, of N new entities.
            used: (N, M) bool, a subset of what is available.

        Returns:
            (N, M, D), zero where not used; with a joint modality (N, M, D + d_c), the projections behind them.
        """
        places = self._places(used)
        features = [entry.features(place) for entry, place in zip(modalities.entries, places)]
        return self._table(self._encode(features), places, used)

    def _places(self, used: Tensor) -> list[Tensor]:
        return [used[:, m].nonzero().squeeze(1) for m in range(len(self.names))]

    def fuse(self, fusion: Fusion, rows: Tensor, used: Tensor, index: Tensor | None = None) -> Tensor:
        """As ``views``, of one choice of modalities: (N, K) bool -> (N, D)."""
        return self.views(fusion, rows, used.unsqueeze(0), index)[0]

    def views(self, fusion: Fusion, rows: Tensor, used: Tensor, index: Tensor | None = None) -> list[Tensor]:
        """From what ``forward`` returns, of K of the M modalities, to the embeddings of the entities.

        A joint modality is the encoding of the sum of the projections, and counts as much as all others together:
        ``g(x)`` of an entity with one modality, and beyond it a function that sees the modalities together.

        Args:
            fusion: of the modalities' embeddings.
            rows: (N, K, D) or (N, K, D + d_c). used: (V, N, K) bool, V choices. index: (N, K), see ``Fusion``.

        Returns:
            (N, D) for each choice.
        """
        if not self.has_joint:
            return list(fusion(rows, used, index))
        embeddings, projections = rows.split([self.width, rows.shape[-1] - self.width], dim=-1)
        totals = sum_over_modalities(used.to(rows.dtype), projections)
        return [
            (fused + self.encoder.together(total) * one.any(1, keepdim=True)) / 2
            for fused, total, one in zip(fusion(embeddings, used, index), totals, used)
        ]

    def _encode(self, features: list[Features]) -> Tensor:
        """The rows of all modalities, one modality after the other."""
        blocks = [self._project(projection, values) for projection, values in zip(self.projections, features)]
        projected = torch.cat(blocks) if len(blocks) > 1 else blocks[0]
        rows = self.encoder(projected, [len(block) for block in blocks])
        return torch.cat([rows, projected], dim=1) if self.has_joint else rows

    def _table(self, rows: Tensor, places: list[Tensor], used: Tensor) -> Tensor:
        """(N, M, D), the rows where they belong, zero elsewhere."""
        if len(rows) == len(used) and len(places) == 1:
            return rows.unsqueeze(1)
        index = torch.cat([place * len(places) + m for m, place in enumerate(places)])
        table = rows.new_zeros(used.numel(), rows.shape[1])
        return table.index_copy_(0, index, rows).view(*used.shape, rows.shape[1])

    def _project(self, projection: Projection, features: Features) -> Tensor:
        block = projection(features)
        if self.normalize_input:
            block = unit_rows(block)
        return self.dropout(block)
