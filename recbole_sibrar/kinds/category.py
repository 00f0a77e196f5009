"""One of a fixed set of values, such as a country."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor

from recbole_sibrar.data.cells import clean
from recbole_sibrar.data.modalities import Declaration, Features, Modality
from recbole_sibrar.data.sparse import SparseRows, gather_rows
from recbole_sibrar.kinds.agreement import agreement
from recbole_sibrar.kinds.block import Block, SparseBlock, most_frequent, with_columns
from recbole_sibrar.kinds.kind import Kind, wrong_value
from recbole_sibrar.kinds.projection import Projection, table_of
from recbole_sibrar.kinds.vocabulary import shortened, warn_of_unknown
from recbole_sibrar.layers import further_layers


class CategoryProjection(Projection):
    """An embedding of the category; with ``tag_weighting: shrunk`` times its weight, as if it were a tag."""

    is_dense = False

    def build(self, modality: Modality, trained: Tensor, sizes: list[int]) -> None:
        self.register_buffer("values", modality.values, persistent=False)
        self.table = table_of(modality.width, sizes[0])
        self.network = further_layers(sizes, self.activation)

    def weigh(self, modality: Modality, known: Tensor, interactions: SparseRows) -> None:
        if self.options.tag_weighting == "shrunk":
            values = SparseRows.one_each(modality.values[known], modality.width)
            self.register_buffer("importance", agreement(values, interactions.select(known)))

    def project(self, features: Features) -> Tensor:
        places = features.clamp(min=0)
        rows, weights = gather_rows(self.table.weight, places), (features >= 0).float()
        if self.options.tag_weighting == "shrunk":
            weights = weights * self.importance[places]
        return self.network(rows * weights.unsqueeze(1))


class CategoryBlock(SparseBlock):
    """One column for each category."""

    def build(self, modality: Modality, known: Tensor) -> None:
        super().build(modality, known)
        values = modality.values[known]
        self.register_buffer("column", most_frequent(values[values >= 0], modality.width), persistent=False)

    @property
    def n_columns(self) -> int:
        return int(self.column.max()) + 1

    def shown(self, features: Features) -> SparseRows:
        return with_columns(SparseRows.one_each(features, len(self.column)), self.column)


class Category(Kind):
    """(N,) int64, places in the vocabulary, which is sorted; -1 for none of them, which only an imputer gives."""

    name = "category"
    column_type = "token"
    projection = CategoryProjection
    weights = {"category": (1.0, "weight of a category modality")}

    def checked(self, column: pd.Series, path: Path, declaration: Declaration) -> pd.Series:
        return clean(column)

    def from_column(self, name: str, column: pd.Series, separator: str) -> Modality:
        texts = column.fillna("").to_numpy().astype(str)
        return category_modality(name, texts, np.unique(texts[texts != ""]))

    def known_to(self, entry: Modality, trained: Tensor) -> Modality:
        """An entity whose category is unknown lacks the modality."""
        known = entry.values[entry.available & trained & (entry.values >= 0)].unique()
        position = torch.full((entry.width + 1,), -1).index_copy_(0, known, torch.arange(len(known)))
        values = position[entry.values]  # the last for -1, which stays
        return shortened(entry, values, known, (values >= 0) | (entry.values < 0))

    def blocks(self, entry: Modality, trained: Tensor, weights: dict[str, float]) -> list[Block]:
        return [CategoryBlock(entry, trained, weights[self.name])]

    def columns(self, features: Tensor, entry: Modality) -> Tensor:
        return F.one_hot(features, entry.width).float()

    def from_columns(self, columns: Tensor, entry: Modality) -> Tensor:
        return torch.where(columns.any(1), columns.argmax(1), -1)

    def parse(self, entry: Modality, cells: list[Any], tokens: Sequence[str], told: set[tuple[str, str]]) -> Modality:
        for row, cell in enumerate(cells):
            if not np.isscalar(cell) and cell is not None:
                raise wrong_value(entry, tokens[row], cell, "a category, or nothing")
        known = set(entry.vocabulary)
        texts = ["" if cell is None else _text(cell, known) for cell in cells]
        warn_of_unknown(entry, {text for text in texts if text}, told)
        return category_modality(entry.name, texts, entry.vocabulary)

    def fits(self, cells: pd.Series, separator: str) -> float:
        return 0.4

    def written(self, column: pd.Series, separator: str, path: str | Path) -> pd.Series:
        return clean(column)


def _text(cell: Any, known: set[str]) -> str:
    """As the vocabulary has it: gaps in a column decide whether pandas and files write a whole number 7 or 7.0."""
    texts = [str(cell)]
    is_number = isinstance(cell, (int, float, np.integer, np.floating)) and not isinstance(cell, bool)
    if is_number and abs(cell) < 2**53 and cell % 1 == 0:
        texts += [str(int(cell)), str(float(cell))]
    return next((text for text in texts if text in known), " ".join(texts[0].split()))


def category_modality(name: str, texts: Iterable[str], vocabulary: Sequence[str]) -> Modality:
    """From one text per entity; a text outside of the vocabulary, such as "", is missing."""
    number = {text: index for index, text in enumerate(vocabulary)}
    values = torch.tensor([number.get(text, -1) for text in texts], dtype=torch.long)
    width = max(len(number), 1)
    return Modality(name, "category", values >= 0, values.clamp(min=0), width, tuple(map(str, vocabulary)))
