"""The id itself, an ordinary embedding: the one modality of a side that is not single-branch."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from recbole_sibrar.data.modalities import Features, Modalities, Modality
from recbole_sibrar.data.sparse import gather_rows
from recbole_sibrar.kinds.kind import Kind
from recbole_sibrar.kinds.projection import Projection, table_of


class IdProjection(Projection):
    """The ordinary id embedding, as a modality that only the entities of the training data have."""

    is_dense = False

    def build(self, modality: Modality, trained: Tensor, sizes: list[int]) -> None:
        self.table = table_of(len(modality.available), sizes[0])

    def stored(self, rows: Tensor) -> Features:
        return rows

    def project(self, features: Features) -> Tensor:
        return gather_rows(self.table.weight, features)


class Id(Kind):
    """No values; new entities have none."""

    name = "id"
    is_declared = False
    projection = IdProjection

    def parse(self, entry: Modality, cells: list[Any], tokens: Sequence[str], told: set[tuple[str, str]]) -> Modality:
        absent = torch.zeros(len(tokens), dtype=torch.bool)
        return Modality(entry.name, self.name, absent, absent.long(), 1)


def id_modality(side: str, trained: Tensor) -> Modalities:
    """The id as the one modality of a side; only the entities of the training data, ``trained`` (N,), have it."""
    return Modalities(side, (Modality("id", "id", trained.clone(), None, len(trained)),))
