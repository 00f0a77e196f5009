"""Modalities: the features of users or items together with the mask that says which entity has which.

A missing value is a False in the mask and nothing else. What stands in the feature arrays at such a place is never
read; a test perturbs it and asserts that no output changes.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from recbole_sibrar.data.sparse import SparseRows
from recbole_sibrar.data.vectors import DiskVectors
from recbole_sibrar.errors import OptionError, nearest

INTERACTIONS = "interactions"
SIDES = ("user", "item")
OTHER_SIDE = dict(zip(SIDES, reversed(SIDES)))

Features = Tensor | SparseRows
"""The values of some entities for one modality."""


@dataclass(frozen=True)
class Declaration:
    """What the data set's YAML says of a modality: its name and kind, its column, the texts that mean missing there."""

    name: str
    kind: str
    field: str
    missing: tuple[str, ...] = ()


@dataclass(frozen=True)
class Modality:
    """The features of N entities for one modality; row i belongs to the entity with internal id i (0 is padding).

    Attributes:
        name: as declared.
        kind: a name in ``kinds.KINDS``.
        available: (N,) bool, whether the entity has the modality.
        values: by kind, in whose class it stands: a tensor of N rows, ``DiskVectors``, or ``SparseRows``.
        width: of a row.
        vocabulary: the texts behind values that are numbers of texts, sorted.
        available_in_evaluation: (N,) bool, where that differs from ``available`` (see ``data.missing``).
    """

    name: str
    kind: str
    available: Tensor
    values: Features | DiskVectors
    width: int
    vocabulary: tuple[str, ...] = ()
    available_in_evaluation: Tensor | None = None

    @property
    def evaluated(self) -> Tensor:
        """(N,) bool, whether the entity has the modality in evaluation."""
        return self.available if self.available_in_evaluation is None else self.available_in_evaluation

    def features(self, rows: Tensor) -> Features:
        """The values of some entities."""
        return self.values.select(rows) if isinstance(self.values, SparseRows) else self.values[rows]

    def to_plain(self) -> dict[str, Any]:
        """Tensors and plain data, for a checkpoint, which is to hold all that serving needs.

        Vectors on disk are there as the whole file, memory-mapped, and the row of each entity: writing a checkpoint
        goes through pages that the system takes back when it needs them, and makes no copy in memory. The file's rows
        for entities that the data set has not are in it, too.
        """
        values: Any = self.values
        if isinstance(values, SparseRows):
            values = {"indptr": values.indptr, "columns": values.columns}
        elif isinstance(values, DiskVectors):
            values = {"table": values.table(), "rows": values.rows}
        return {**vars(self), "values": values, "vocabulary": list(self.vocabulary)}

    @classmethod
    def from_plain(cls, state: dict[str, Any]) -> "Modality":
        """The inverse of ``to_plain``, copied from the file; vectors are in memory."""
        copied: dict[str, Any] = {
            name: value.clone() if isinstance(value, Tensor) else value for name, value in state.items()
        }
        values: Any = copied["values"]
        if isinstance(values, dict) and "table" in values:
            values = values["table"][values["rows"]]
        elif isinstance(values, dict):
            values = SparseRows(values["indptr"].clone(), values["columns"].clone(), state["width"])
        return cls(**{**copied, "values": values, "vocabulary": tuple(state["vocabulary"])})


@dataclass(frozen=True)
class Modalities:
    """All modalities of one side, in a fixed order.

    Attributes:
        side: ``user`` or ``item``.
        entries: M modalities over the same N entities.
        numbers: (N,) int64, of new features the entities of the training data that have them now, any larger number for
            an entity that the training data do not have; None if there is none of them.
    """

    side: str
    entries: tuple[Modality, ...]
    numbers: Tensor | None = None

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(entry.name for entry in self.entries)

    @property
    def available(self) -> Tensor:
        """(N, M) bool: the availability mask."""
        return torch.stack([entry.available for entry in self.entries], dim=1)

    @property
    def evaluated(self) -> Tensor:
        """(N, M) bool: the availability mask in evaluation."""
        return torch.stack([entry.evaluated for entry in self.entries], dim=1)

    @property
    def content(self) -> "Modalities":
        """Without the interactions."""
        return replace(self, entries=tuple(entry for entry in self.entries if entry.name != INTERACTIONS))

    def map(self, change: Callable[[Modality], Modality]) -> "Modalities":
        """Each of them changed."""
        return replace(self, entries=tuple(map(change, self.entries)))

    def rows(self, rows: Tensor) -> "Modalities":
        """The modalities of the entities ``rows``, in this order; what evaluation may read is what there is."""
        entries = tuple(
            replace(entry, available=entry.evaluated[rows], values=entry.features(rows), available_in_evaluation=None)
            for entry in self.entries
        )
        return replace(self, entries=entries, numbers=None if self.numbers is None else self.numbers[rows])

    def to(self, device: torch.device | str) -> "Modalities":
        """With masks and values there; vectors on disk stay."""

        def moved(entry: Modality) -> Modality:
            values = entry.values if isinstance(entry.values, DiskVectors) else entry.values.to(device)
            return replace(entry, available=entry.available.to(device), values=values)

        return self.map(moved)

    def select(self, names: Iterable[str]) -> "Modalities":
        """Only these modalities, in this order.

        Raises:
            OptionError: a name is not declared.
        """
        by_name = {entry.name: entry for entry in self.entries}
        for name in names:
            if name not in by_name:
                raise OptionError(f"Unknown {self.side} modality {name!r}. {nearest(name, by_name)}")
        return replace(self, entries=tuple(by_name[name] for name in names))


def rows_of(side: str, interactions: SparseRows) -> SparseRows:
    """Users x items -> the entities of a side x those of the other one."""
    return interactions if side == "user" else interactions.transposed()
