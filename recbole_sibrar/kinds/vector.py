"""Dense vectors, such as embeddings of texts, pictures or sounds; each modality has a file of its own."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from recbole_sibrar.checked import option
from recbole_sibrar.data.atomic import check_known, find_dataset_file
from recbole_sibrar.data.lists import list_in
from recbole_sibrar.data.modalities import Declaration, Features, Modality
from recbole_sibrar.data.vectors import DiskVectors, check_size, read_vectors, row_blocks
from recbole_sibrar.errors import DataError
from recbole_sibrar.kinds.block import Block
from recbole_sibrar.kinds.kind import Files, Kind, wrong_value
from recbole_sibrar.kinds.projection import Projection
from recbole_sibrar.layers import centre, differ, hold_values, mlp


@dataclass(frozen=True)
class VectorInputs:
    vector_scaling: str = option(
        "vectors as they are (raw), or centred and brought to a small mean length (short)",
        ("raw", "short"),
        default="raw",
    )


class VectorProjection(Projection):
    """A linear layer on the vector.

    ``vector_scaling: short`` centres vectors by the training entities' mean and scales them to a mean length of 0.1
    after it, or the mean to it if they are all the same. Features such as pooled convolutional maps are all positive
    and share one large component. And the longer a vector of many dimensions, the sooner it is learned by heart: a step
    of Adam moves all of its weights alike, and thus the output by far more than that of a modality with few values.
    """

    LENGTH = 0.1

    def build(self, modality: Modality, trained: Tensor, sizes: list[int]) -> None:
        hold_values(self, modality.values)
        if self.options.vector_scaling == "short":
            known = trained.nonzero().squeeze(1)
            mean, lengths = centre(lambda entities: self.stored(entities).float(), known)
            length = lengths.sum() / max(len(known), 1)
            scale = torch.where(differ(length, mean), length, mean.norm()).clamp(min=1e-6) / self.LENGTH
        else:
            mean, scale = torch.zeros(modality.width), torch.ones(())
        self.register_buffer("mean", mean)
        self.register_buffer("scale", scale)
        self.network = mlp([modality.width, *sizes], self.activation)

    def project(self, features: Features) -> Tensor:
        values = features.float()
        if self.options.vector_scaling == "short":
            values = (values - self.mean).div_(self.scale)
        return self.network(values)


class VectorBlock(Block):
    """The vector."""

    def columns_of(self, features: Features) -> Tensor:
        return features.float()


class Vector(Kind):
    """(N, D) float32, or float16 as the file, or ``DiskVectors``; of width D."""

    name = "vector"
    is_encoded = True
    projection = VectorProjection
    weights = {"vector": (1.0, "weight of a vector modality")}
    inputs, linear_inputs = VectorInputs, {"vector_scaling": "short"}

    def from_file(self, declaration: Declaration, files: Files, tokens: Sequence[str]) -> Modality:
        path = find_dataset_file(files.folder, files.dataset, declaration.field)
        if path is None:
            raise DataError(
                f"{files.folder / f'{files.dataset}.{declaration.field}'}: no such file, but the vector modality "
                f"{declaration.name!r} is declared. Write the vectors there (ids and a float_seq, which is not read in "
                "the file of users or items), convert the data set with them, or remove the declaration."
            )
        ids, values = read_vectors(path, files.separators)
        check_known(path, ids, tokens, files.described)
        entity = {token: index for index, token in enumerate(tokens)}
        target = np.array([entity.get(token, -1) for token in ids])
        available = np.zeros(len(tokens), dtype=bool)
        available[target[target >= 0]] = True
        on_disk = files.vector_storage == "disk" and isinstance(values, np.memmap)
        held = _on_disk(values, target, len(tokens)) if on_disk else _in_memory(values, target, len(tokens))
        return Modality(declaration.name, self.name, torch.from_numpy(available), held, int(values.shape[1]))

    def blocks(self, entry: Modality, trained: Tensor, weights: dict[str, float]) -> list[Block]:
        return [VectorBlock(entry, trained, weights[self.name])]

    def columns(self, features: Tensor, entry: Modality) -> Tensor:
        return features.float()

    def from_columns(self, columns: Tensor, entry: Modality) -> Tensor:
        return columns.float()

    def from_cell(self, cell: str, separator: str) -> object:
        return cell.replace(separator, " ").split()

    def from_table(self, entry: Modality, cell: object, separator: str) -> object:
        written = list_in(cell) if isinstance(cell, str) else None
        return cell if written is None else written

    def parse(self, entry: Modality, cells: list[Any], tokens: Sequence[str], told: set[tuple[str, str]]) -> Modality:
        values = np.zeros((len(cells), entry.width), dtype=np.float32)
        available = np.array([cell is not None for cell in cells], dtype=bool)
        for row in np.flatnonzero(available):
            cell = cells[row].split() if isinstance(cells[row], str) else cells[row]
            try:
                vector = np.asarray(cell, dtype=np.float64)
            except (TypeError, ValueError, OverflowError):
                raise wrong_value(entry, tokens[row], cell, f"{entry.width} numbers") from None
            if vector.shape == (entry.width,) and np.isnan(vector).all():
                available[row] = False  # as in the tables that a data set is made of
                continue
            if vector.shape != (entry.width,):
                raise DataError(f"{tokens[row]!r}: {entry.name} holds {vector.size} numbers; expected {entry.width}.")
            check_size(f"{tokens[row]!r}: {entry.name}", vector)
            values[row] = vector
        return Modality(entry.name, self.name, torch.from_numpy(available), torch.from_numpy(values), entry.width)


def _in_memory(values: np.ndarray, target: np.ndarray, n: int) -> torch.Tensor:
    """Rows (R, D) by their entities ``target`` (R,), -1 for those of none, to (N, D)."""
    aligned = np.zeros((n, values.shape[1]), dtype=values.dtype)
    for start, block in row_blocks(values):
        rows = target[start : start + len(block)]
        aligned[rows[rows >= 0]] = block[rows >= 0]
    return torch.from_numpy(aligned)


def _on_disk(values: np.ndarray, target: np.ndarray, n: int) -> DiskVectors:
    rows = torch.zeros(n, dtype=torch.long)
    rows[target[target >= 0]] = torch.from_numpy(np.flatnonzero(target >= 0))
    return DiskVectors(values, rows)
