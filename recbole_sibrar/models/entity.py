"""One side of the model: from the ids of users or items to the embeddings of their modalities."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recbole_sibrar.data.modalities import Modalities, Modality
from recbole_sibrar.models.encoders import NoEncoder
from recbole_sibrar.models.options import ModelOptions
from recbole_sibrar.models.projections import PROJECTIONS


class EntityEncoder(nn.Module):
    """Projections per modality, then an encoder.

    Args:
        modalities: M modalities of N entities.
        trained: (N,) bool, the entities that occur in training.
        encoder_class: ``SharedEncoder``, ``EncoderPerModality`` or ``NoEncoder``.
        options: widths, layers, dropout.
        in_evaluation: names of the modalities left in evaluation; all by default.
    """

    def __init__(
        self, modalities: Modalities, trained: Tensor, encoder_class, options: ModelOptions, in_evaluation=None
    ):
        super().__init__()
        self.side = modalities.side
        self.names = modalities.names
        self.width = options.embedding_size
        self.register_buffer("trained", trained, persistent=False)
        self.register_buffer("available", modalities.available, persistent=False)
        self.register_buffer("evaluated", modalities.evaluated, persistent=False)
        kept = [in_evaluation is None or name in in_evaluation for name in self.names]
        self.register_buffer("in_evaluation", torch.tensor(kept), persistent=False)
        if encoder_class is NoEncoder:
            common, self.encoder = self.width, NoEncoder()
        else:
            common = options.projection_size or self.width
            sizes = [common, *options.encoder_hidden_sizes, self.width]
            self.encoder = encoder_class(len(self.names), sizes, options.activation, options.batch_norm)
        self.projections = nn.ModuleList(
            PROJECTIONS[modality.kind](
                modality,
                trained,
                [*options.projection_hidden_sizes, common],
                options.activation,
                options.interaction_dropout,
            )
            for modality in modalities.entries
        )
        self.normalize_input = options.normalize_input
        self.dropout = nn.Dropout(options.input_dropout)

    def forward(self, ids: Tensor, used: Tensor) -> Tensor:
        """Embed the modalities in use.

        Args:
            ids: (N,) entities.
            used: (N, M) bool, a subset of what is available; nothing else is read.

        Returns:
            (N, M, D), zero where not used.
        """
        places = self._places(used)
        features = [projection.stored(ids[place]) for projection, place in zip(self.projections, places)]
        return self._encode(features, places, used)

    def embed(self, modalities: Modalities, used: Tensor) -> Tensor:
        """Embed entities that are not among those of the training data, from their features.

        Args:
            modalities: the same modalities as the encoder's, of N new entities.
            used: (N, M) bool, a subset of what is available.

        Returns:
            (N, M, D), zero where not used.
        """
        places = self._places(used)
        features = [entry.features(place) for entry, place in zip(modalities.entries, places)]
        return self._encode(features, places, used)

    def _places(self, used):
        return [used[:, m].nonzero().squeeze(1) for m in range(len(self.names))]

    def _encode(self, features, places, used):
        blocks = [self._project(projection, values) for projection, values in zip(self.projections, features)]
        embeddings = torch.cat(self.encoder(blocks))
        index = torch.cat([place * len(self.names) + m for m, place in enumerate(places)])
        table = embeddings.new_zeros(used.numel(), self.width)
        return table.index_copy(0, index, embeddings).view(*used.shape, self.width)

    def _project(self, projection, features):
        block = projection(features)
        if self.normalize_input:
            block = F.normalize(block, dim=-1)
        return self.dropout(block)


def id_modality(side: str, trained: Tensor) -> Modalities:
    """The id as the one modality of a side that is not single-branch."""
    return Modalities(side, (Modality("id", "id", trained.clone(), None, len(trained)),))
