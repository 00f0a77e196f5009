"""The interaction profile: the row of the training matrix."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from recbole_sibrar.checked import option
from recbole_sibrar.data.modalities import INTERACTIONS, Features, Modality
from recbole_sibrar.data.sparse import Numbers, SparseRows, weighted_row_sum
from recbole_sibrar.kinds.kind import Kind
from recbole_sibrar.kinds.projection import RowsProjection


@dataclass(frozen=True)
class InteractionInputs:
    interaction_scaling: str = option(
        "an interaction row of zeros and ones (raw), or of length one (unit)", ("raw", "unit"), default="raw"
    )
    interaction_dropout: float = option(
        "share of an interaction profile hidden in training", low=0, high=0.99, default=0.0
    )


class InteractionProjection(RowsProjection):
    """A linear layer on the row of the training matrix.

    ``interaction_scaling: unit`` is the row at length one. The row holds the very interactions that are the targets of
    training; ``interaction_dropout`` hides a random share of it, as denoising autoencoders do (Liang et al., WWW 2018),
    which keeps the layer from copying. The authors' code feeds the target itself.
    """

    def build(self, modality: Modality, trained: Tensor, sizes: list[int]) -> None:
        super().build(modality, trained, sizes)
        self.bias = nn.Parameter(torch.zeros(sizes[0]))
        self.hidden = self.options.interaction_dropout

    def project(self, features: Features) -> Tensor:
        is_unit = self.options.interaction_scaling == "unit"
        scale = features.lengths.clamp(min=1).float().rsqrt().unsqueeze(1) if is_unit else 1.0
        if self.training and self.hidden:
            shown = torch.empty_like(features.columns, dtype=torch.bool).bernoulli_(1 - self.hidden)
            features, scale = features.keep(shown), scale / (1 - self.hidden)
        return self.network(weighted_row_sum(features, self.table.weight) * scale + self.bias)


class Interactions(Kind):
    """``SparseRows`` N x V, V the entities of the other side."""

    name = INTERACTIONS
    is_declared = False
    projection = InteractionProjection
    inputs, linear_inputs = InteractionInputs, {"interaction_scaling": "unit"}

    def parse(self, entry: Modality, cells: list[Any], tokens: Sequence[str], told: set[tuple[str, str]]) -> Modality:
        owners = np.repeat(np.arange(len(cells)), [len(history) for history in cells])
        columns = np.array([column for history in cells for column in history], dtype=np.int64)
        return interaction_modality(owners, columns, len(cells), entry.width)


def interaction_modality(rows: Numbers, columns: Numbers, n_rows: int, n_columns: int) -> Modality:
    """The interaction profile as a modality: the row of the *training* matrix; an entity without any is without it."""
    matrix = SparseRows.from_pairs(rows, columns, n_rows, n_columns)
    return Modality(INTERACTIONS, INTERACTIONS, matrix.lengths > 0, matrix, n_columns)
