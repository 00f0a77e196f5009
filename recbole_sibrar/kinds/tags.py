"""A set of tags, such as genres."""

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor

from recbole_sibrar.checked import option
from recbole_sibrar.data.cells import is_empty, join_tags
from recbole_sibrar.data.frames import is_list
from recbole_sibrar.data.lists import MOSTLY, list_in
from recbole_sibrar.data.modalities import Features, Modality
from recbole_sibrar.data.sparse import SparseRows, weighted_row_sum
from recbole_sibrar.kinds import block
from recbole_sibrar.kinds.agreement import agreement
from recbole_sibrar.kinds.block import ROWS_COUNTED, Block, SparseBlock, most_frequent, with_columns
from recbole_sibrar.kinds.kind import Kind, wrong_value
from recbole_sibrar.kinds.projection import RowsProjection
from recbole_sibrar.kinds.vocabulary import shortened, warn_of_unknown

SEPARATORS = ("|", ",", ";", "/")
"""What else usually stands between tags, beside a blank."""


@dataclass(frozen=True)
class TagInputs:
    tag_weighting: str = option(
        "the mean of an entity's tags, or their sum, each shrunk by how far its entities agree (shrunk), as categories "
        "and bins of numbers are, too",
        ("mean", "shrunk"),
        default="mean",
    )


class TagsProjection(RowsProjection):
    """A linear layer on the entity's tags: the mean of their embeddings (torch's embedding bag, as the authors have).

    ``tag_weighting: shrunk`` is a sum in which a tag counts as far as the training entities that have it agree in their
    interactions (``kinds.agreement``). Without it a word that falls on titles at random is learned by heart: Adam moves
    the weight of such a tag as fast as that of a genre. A sum, not a mean, says how many tags there are: films of many
    genres are seen by more people.
    """

    is_dense = False

    def weigh(self, modality: Modality, known: Tensor, interactions: SparseRows) -> None:
        if self.options.tag_weighting == "shrunk":
            weights = agreement(modality.values.select(known), interactions.select(known))
            self.register_buffer("importance", weights)

    def project(self, features: Features) -> Tensor:
        if self.options.tag_weighting == "shrunk":
            weights = self.importance[features.columns]
        else:
            weights = features.spread(features.lengths.clamp(min=1).float().reciprocal())
        return self.network(weighted_row_sum(features, self.table.weight, weights))


class TagsBlock(SparseBlock):
    """One column for each tag."""

    def build(self, modality: Modality, known: Tensor) -> None:
        self.register_buffer("indptr", modality.values.indptr, persistent=False)
        self.register_buffer("columns", modality.values.columns, persistent=False)
        self.n_values = modality.width
        self.register_buffer("column", most_frequent(self.stored(known).columns, modality.width), persistent=False)

    @property
    def n_columns(self) -> int:
        return int(self.column.max()) + 1

    def stored(self, ids: Tensor) -> Features:
        return SparseRows(self.indptr, self.columns, self.n_values).select(ids)

    def shown(self, features: Features) -> SparseRows:
        return with_columns(features, self.column)


class TagPairsBlock(TagsBlock):
    """One column for each pair of tags that occurs together in training.

    A linear model of single tags cannot tell a romantic comedy from a romance and a comedy.
    """

    def build(self, modality: Modality, known: Tensor) -> None:
        super().build(modality, known)
        width = int(self.column.max()) + 1
        together = torch.zeros(width, width)
        for ids in known.split(ROWS_COUNTED):
            rows = self._tags(self.stored(ids)).float()
            together += rows.T @ rows
        count = together.triu(1).flatten()
        found = count.topk(min(block.MAX_VALUES, len(count)))
        pairs = found.indices[found.values > 0]
        self.register_buffer("first", pairs // width, persistent=False)
        self.register_buffer("second", pairs % width, persistent=False)

    @property
    def n_columns(self) -> int:
        return len(self.first)

    def _tags(self, features: SparseRows) -> torch.Tensor:
        """(R, number of tags with a column) bool."""
        tags = with_columns(features, self.column)
        return tags.mark(torch.zeros(len(tags.lengths), tags.n_columns, dtype=torch.bool, device=tags.columns.device))

    def shown(self, features: Features) -> SparseRows:
        found, n = [], 0
        for ids in torch.arange(len(features.lengths), device=features.columns.device).split(ROWS_COUNTED):
            tags = self._tags(features.select(ids))
            found.append((tags[:, self.first] & tags[:, self.second]).nonzero())
            found[-1][:, 0] += n
            n += len(ids)
        rows, columns = torch.cat(found or [torch.zeros(0, 2, dtype=torch.long)]).unbind(1)
        indptr = F.pad(torch.bincount(rows, minlength=n).cumsum(0), (1, 0))
        return SparseRows(indptr, columns, self.n_columns)


class ValueSets(Kind):
    """``SparseRows`` N x V, places in the vocabulary, which is sorted."""

    column_type = "token_seq"

    def known_to(self, entry: Modality, trained: Tensor) -> Modality:
        """An entity with unknown values alone has the modality, and no value: as if they were rarer and rarer."""
        known = entry.values.select((entry.available & trained).nonzero().squeeze(1)).columns.unique()
        position = torch.full((entry.width,), -1).index_copy_(0, known, torch.arange(len(known)))
        columns, rows = position[entry.values.columns], entry.values.row_of_entry()
        kept = columns >= 0
        values = SparseRows.from_pairs(rows[kept], columns[kept], len(entry.available), max(len(known), 1))
        return shortened(entry, values, known, torch.full_like(entry.available, len(known) > 0))

    def columns(self, features: SparseRows, entry: Modality) -> Tensor:
        return features.mark(torch.zeros(len(features.lengths), entry.width), 1.0)

    def from_columns(self, columns: Tensor, entry: Modality) -> SparseRows:
        """As many values as there are in the mean, the most frequent ones."""
        places = columns.argsort(dim=1, descending=True, stable=True)
        n_values = columns.sum(1).round().long()
        rows, nth = (torch.arange(columns.shape[1]) < n_values.unsqueeze(1)).nonzero().unbind(1)
        return SparseRows.from_pairs(rows, places[rows, nth], len(columns), entry.width)


class Tags(ValueSets):
    """A set of tags."""

    name = "tags"
    projection = TagsProjection
    weights = {
        "tags": (1.0, "weight of a tags modality"),
        "pairs": (0.7, "weight of the pairs of tags of a tags modality; 0: none"),
    }
    inputs, linear_inputs = TagInputs, {"tag_weighting": "shrunk"}

    def from_column(self, name: str, column: pd.Series, separator: str) -> Modality:
        column = column.fillna("")
        _warn_of_other_separator(column, separator, name, f"write {separator!r} there, or seq_separator is {{!r}}")
        lists = [self.from_cell(cell, separator) for cell in column]
        return tags_modality(name, lists, sorted({tag for tags in lists for tag in tags}))

    def blocks(self, entry: Modality, trained: Tensor, weights: dict[str, float]) -> list[Block]:
        blocks: list[Block] = [TagsBlock(entry, trained, weights["tags"])]
        return [*blocks, TagPairsBlock(entry, trained, weights["pairs"])] if weights["pairs"] else blocks

    def parse(self, entry: Modality, cells: list[Any], tokens: Sequence[str], told: set[tuple[str, str]]) -> Modality:
        lists = [_tags_of(entry, cell, token) for cell, token in zip(cells, tokens)]
        warn_of_unknown(entry, {tag for tags in lists for tag in tags}, told)
        has_tags = torch.tensor([bool(tags and entry.vocabulary) for tags in lists], dtype=torch.bool)
        return replace(tags_modality(entry.name, lists, entry.vocabulary), available=has_tags)

    def from_cell(self, cell: str, separator: str) -> object:
        return [tag for tag in cell.split(separator) if tag]

    def from_table(self, entry: Modality, cell: object, separator: str) -> object:
        if isinstance(cell, str):
            tags, written = join_tags(cell.split(separator)).split(), list_in(cell)
            is_written = written is not None and any(tag not in entry.vocabulary for tag in tags)
            return join_tags(map(str, written)).split() if is_written else tags
        return [join_tags([tag]) if isinstance(tag, str) else tag for tag in cell] if is_list(cell) else cell

    def fits(self, cells: pd.Series, separator: str) -> float:
        share = cells.str.contains(separator, regex=False).mean()
        if not share > 0:
            return 0.0
        if share < 0.05 and other_separator(cells):
            return 0.0
        tags = cells.str.split(separator, regex=False).explode()
        most = 1.0 if share > 0.05 else 0.5  # a few titles may hold it, too
        return 0.8 if tags.nunique() < most * len(tags) else 0.0

    def written(self, column: pd.Series, separator: str, path: str | Path) -> pd.Series:
        _warn_of_other_separator(column, separator, f"{path}: {column.name}", "--tag-separator (tag_separator) is {!r}")
        return column.map(lambda cell: join_tags(cell if is_list(cell) else cell.split(separator)))

    def n_values(self, column: pd.Series) -> int:
        return len({tag for cell in column for tag in cell.split(" ")})


def tags_modality(name: str, lists: Iterable[Iterable[str]], vocabulary: Sequence[str]) -> Modality:
    """From a list of tags per entity; tags outside of the vocabulary do not count, no tag is missing."""
    number = {tag: index for index, tag in enumerate(vocabulary)}
    lists = [[number[tag] for tag in tags if tag in number] for tags in lists]
    rows = np.repeat(np.arange(len(lists)), [len(tags) for tags in lists])
    columns = np.array([tag for tags in lists for tag in tags], dtype=np.int64)
    matrix = SparseRows.from_pairs(rows, columns, len(lists), max(len(number), 1))
    return Modality(name, "tags", matrix.lengths > 0, matrix, matrix.n_columns, tuple(vocabulary))


def _warn_of_other_separator(column: pd.Series, separator: str, name: str, advice: str) -> None:
    """Of cells none of which holds the ``separator``, say what else probably stands between their tags.

    Tags occur again and again, while hardly two entities have the same ones.
    """
    cells = column[column.map(lambda cell: isinstance(cell, str) and cell != "")]
    if not len(cells) or cells.str.contains(separator, regex=False).any():
        return
    counts = cells.value_counts()
    is_unique = (counts == 1).mean() > MOSTLY
    for other in (*SEPARATORS, " "):
        parts = _tags_between(cells, other)
        if parts is not None and (is_unique or other != " " and parts.nunique() < len(counts)):
            text = cells[cells.str.contains(other, regex=False)].iloc[0]
            warnings.warn(
                f"{name}: no cell holds {separator!r}, so that {text!r:.100} is one tag; if {other!r} stands between "
                f"tags, {advice.format(other)}.",
                stacklevel=2,
            )
            return


def other_separator(column: pd.Series) -> str:
    """What stands between the parts of texts, "" if missing, that are probably tags; "" if nothing does."""
    cells = column[column != ""]
    if cells.str.match(r"[\[({]").mean() > MOSTLY:  # lists of what is no tag
        return ""
    return next((separator for separator in SEPARATORS if _tags_between(cells, separator) is not None), "")


def _tags_between(cells: pd.Series, separator: str) -> pd.Series | None:
    """The parts of present texts, if they are probably tags, as they occur again and again."""
    if not cells.str.contains(separator, regex=False).mean() > 0.3:
        return None
    lists = cells.str.split(separator, regex=False)
    parts = lists.explode().str.strip()
    if parts.str.fullmatch(r"\d+([.,]\d+)?").all() and lists.str.len().nunique() == 1:
        return None  # dates, such as 31/5/2024, or 4.5/5
    return parts if 3 * parts.nunique() <= len(parts) else None


def _tags_of(entry: Modality, cell: object, token: str) -> list[str]:
    tags = cell.split() if isinstance(cell, str) else () if cell is None else cell
    if not isinstance(tags, (list, tuple, set, np.ndarray)) or any(
        not np.isscalar(tag) or is_empty(tag) for tag in tags
    ):
        raise wrong_value(entry, token, cell, "tags in a list, or as a text with blanks between them")
    return list(map(str, tags))
