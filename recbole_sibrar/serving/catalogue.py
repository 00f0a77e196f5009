"""What is served beyond what a model was trained with: entities without interactions, new ones, changed ones."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

import torch

from recbole_sibrar.data.modalities import Modalities, Modality
from recbole_sibrar.data.sparse import SparseRows


class Catalogue:
    """The features of some entities of one side, by their numbers; those given last count.

    Args:
        known: the modalities that the model was trained with.
    """

    def __init__(self, known: Modalities):
        self.known = known
        self._blocks: list[Modalities] = []
        self._place: dict[int, tuple[int, int]] = {}
        self._n_rows = 0  # of all blocks

    def __contains__(self, number: int) -> bool:
        return number in self._place

    @property
    def numbers(self) -> list[int]:
        """Of the entities, ascending."""
        return sorted(self._place)

    def put(self, numbers: Sequence[int], features: Modalities) -> None:
        """Add entities, or change them; at most half of what is held was replaced."""
        self._place.update({number: (len(self._blocks), row) for row, number in enumerate(numbers)})
        self._blocks.append(features)
        self._n_rows += len(numbers)
        if self._n_rows > 2 * len(self._place):
            numbers, features = self.numbers, self.rows(self.numbers)
            self._blocks, self._n_rows = [], 0
            self.put(numbers, features)

    def rows(self, numbers: Sequence[int]) -> Modalities:
        """The features of these entities, in this order; all of them are here."""
        parts: list[tuple[int, list[int]]] = []
        for number in numbers:
            block, row = self._place[number]
            if parts and parts[-1][0] == block:
                parts[-1][1].append(row)
            else:
                parts.append((block, [row]))
        found = concatenated([self._blocks[block].rows(torch.tensor(rows)) for block, rows in parts])
        return replace(found, numbers=torch.tensor(numbers))


def concatenated(parts: Sequence[Modalities]) -> Modalities:
    """The entities of several ``Modalities`` with the same modalities, one after the other."""
    first = parts[0]
    if len(parts) == 1:
        return first
    columns = zip(*(part.entries for part in parts))
    return Modalities(first.side, tuple(_concatenated(entries) for entries in columns))


def _concatenated(entries: Sequence[Modality]) -> Modality:
    values = [entry.values for entry in entries]
    if isinstance(values[0], SparseRows):
        together = SparseRows.stacked(values)
    else:
        wide = torch.float32 if len({rows.dtype for rows in values}) > 1 else values[0].dtype
        together = torch.cat([rows.to(wide) for rows in values])
    return replace(entries[0], available=torch.cat([entry.available for entry in entries]), values=together)


def merged(old: Modalities, new: Modalities, given: Iterable[str]) -> Modalities:
    """The entities with the modalities ``given`` from ``new`` and the others as they were."""
    entries = tuple(b if b.name in given else a for a, b in zip(old.entries, new.entries))
    return replace(old, entries=entries)
