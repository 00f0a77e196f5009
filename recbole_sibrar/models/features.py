"""Features for linear models: each modality as a block of centred columns; a missing one is a block of zeros."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from recbole_sibrar.data.modalities import Features, Modalities
from recbole_sibrar.kinds import KINDS
from recbole_sibrar.kinds.feature_rows import FeatureRows


class LinearFeatures(nn.Module):
    """The blocks of several modalities side by side.

    Args:
        modalities: M of them, of N entities.
        trained: (N,) bool, the entities that occur in training.
        weights: as ``kinds.WEIGHTS``.
    """

    def __init__(self, modalities: Modalities, trained: Tensor, weights: dict[str, float]):
        super().__init__()
        self.blocks, self.block_of = nn.ModuleList(), []
        self.n_modalities = len(modalities.entries)
        for index, entry in enumerate(modalities.entries):
            blocks = KINDS[entry.kind].blocks(entry, trained, weights)
            self.blocks.extend(blocks)
            self.block_of += [index] * len(blocks)

    @property
    def width(self) -> int:
        return sum(block.width for block in self.blocks)

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

    def part(self, rows: FeatureRows, kind: Sequence[bool]) -> FeatureRows:
        """The blocks of some of the modalities, ``kind`` (M,)."""
        return FeatureRows(tuple(block for block, m in zip(rows.blocks, self.block_of) if kind[m]))

    def squared_lengths(self, rows: FeatureRows) -> Tensor:
        """(R, M), of each modality's blocks."""
        lengths = torch.stack([block.squared_lengths() for block in rows.blocks], dim=1)
        places = torch.tensor(self.block_of, device=lengths.device)
        return lengths.new_zeros(len(lengths), self.n_modalities).index_add_(1, places, lengths)

    def _places(self, used: Tensor) -> list[Tensor]:
        return [used[:, m].nonzero().squeeze(1) for m in self.block_of]

    def _rows(self, features: list[Features], places: list[Tensor], n: int) -> FeatureRows:
        return FeatureRows(tuple(block(*given, n) for block, *given in zip(self.blocks, features, places)))
