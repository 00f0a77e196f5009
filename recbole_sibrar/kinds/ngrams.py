"""Free text, such as a title or a description, as the set of the n-grams of its words and characters, hashed."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from zlib import crc32

import pandas as pd
import torch
from torch import Tensor

from recbole_sibrar.data.cells import clean
from recbole_sibrar.data.modalities import Modality
from recbole_sibrar.data.sparse import SparseRows
from recbole_sibrar.kinds.block import Block
from recbole_sibrar.kinds.kind import wrong_value
from recbole_sibrar.kinds.tags import TagsBlock, TagsProjection, ValueSets, tags_modality

BUCKETS = 1 << 16
CHARACTERS = 4


def hashed(text: str) -> list[str]:
    """The buckets of a text's words, pairs of neighbouring words, and ``CHARACTERS`` letters in a row.

    >>> len(hashed("Heat")), len(hashed("heat!")), set(hashed("Heat")) < set(hashed("The Heat"))
    (3, 3, True)
    """
    words = re.findall(r"\w+", text.casefold())
    grams = {*words, *map(" ".join, zip(words, words[1:]))}
    for word in words:
        padded = f"<{word}>"
        grams.update(padded[start : start + CHARACTERS] for start in range(len(padded) - CHARACTERS + 1))
    return sorted({f"{crc32(gram.encode()) % BUCKETS:05d}" for gram in grams})


class NGramsProjection(TagsProjection):
    """As of tags; with ``tag_weighting: shrunk`` divided by how many n-grams an entity of training has in the mean.

    A description has a hundred of them and more. Their sum would be that much longer than what other modalities give,
    and be learned by heart that much faster (docs/experiments.md).
    """

    def weigh(self, modality: Modality, known: Tensor, interactions: SparseRows) -> None:
        super().weigh(modality, known, interactions)
        if self.options.tag_weighting == "shrunk":
            self.importance /= modality.values.lengths[known].float().mean().nan_to_num().clamp(min=1)


class NGrams(ValueSets):
    """The vocabulary are the buckets that occur; no column is guessed to be of this kind."""

    name = "ngrams"
    projection = NGramsProjection
    weights = {"ngrams": (1.0, "weight of an ngrams modality")}

    def from_column(self, name: str, column: pd.Series, separator: str) -> Modality:
        lists = [hashed(text) for text in column.fillna("")]
        return self._modality(name, lists, sorted({bucket for buckets in lists for bucket in buckets}))

    def blocks(self, entry: Modality, trained: Tensor, weights: dict[str, float]) -> list[Block]:
        return [TagsBlock(entry, trained, weights[self.name])]

    def parse(self, entry: Modality, cells: list[Any], tokens: Sequence[str], told: set[tuple[str, str]]) -> Modality:
        for cell, token in zip(cells, tokens):
            if not isinstance(cell, str) and cell is not None:
                raise wrong_value(entry, token, cell, "a text, or nothing")
        lists = [hashed(cell or "") for cell in cells]
        has_text = torch.tensor([bool(buckets and entry.vocabulary) for buckets in lists], dtype=torch.bool)
        return replace(self._modality(entry.name, lists, entry.vocabulary), available=has_text)

    def _modality(self, name: str, lists: Sequence[Sequence[str]], vocabulary: Sequence[str]) -> Modality:
        return replace(tags_modality(name, lists, vocabulary), kind=self.name)

    def written(self, column: pd.Series, separator: str, path: str | Path) -> pd.Series:
        return clean(column)

    def n_values(self, column: pd.Series) -> int:
        return len({bucket for text in column for bucket in hashed(text)})
