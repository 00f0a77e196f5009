"""What a kind of modality has to say: how it is read, stored, projected, made linear, and parsed from a request."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from torch import Tensor

from recbole_sibrar.checked import option
from recbole_sibrar.data.atomic import find_dataset_file, read_atomic, read_header
from recbole_sibrar.data.modalities import Declaration, Modality
from recbole_sibrar.errors import DataError
from recbole_sibrar.kinds.block import Block
from recbole_sibrar.kinds.projection import Projection


@dataclass(frozen=True)
class Files:
    """Where the atomic files of a data set are, and how they are read.

    Attributes:
        folder, dataset: the files are ``<folder>/<dataset>.<suffix>``.
        side, id_field: whose features are read, and the column of their ids.
        vector_storage: ``memory`` or ``disk``, see ``data.vectors``.
        separators: of cells, and of tags and numbers inside one.
    """

    folder: Path
    dataset: str
    side: str
    id_field: str
    vector_storage: str = "memory"
    separators: tuple[str, str] = ("\t", " ")

    def described(self) -> Sequence[str]:
        """The ids that the side's table lists, with interactions or without; none where there is no such table."""
        path = find_dataset_file(self.folder, self.dataset, self.side)
        if path is None or self.id_field not in read_header(path, self.separators[0]):
            return []
        return read_atomic(path, [self.id_field], self.separators[0])[self.id_field].tolist()


class Kind:
    """One kind of modality. The names in ``kinds.KINDS`` are what a data set declares.

    Missing is a False in ``Modality.available``; nothing here makes up a value for it, but for ``columns`` and
    ``from_columns``, with which an imputer does where it is asked for (``models.imputation``).

    Attributes:
        name: as in ``Modality.kind``.
        is_declared: whether a data set's YAML declares it; the others are there undeclared.
        is_encoded: whether its values may be what an encoder makes of a text or a picture.
        column_type: of its column in the file of users or items; None if it has a file of its own.
        projection: from features to the common width.
        weights: {name: (default, help)} of the blocks for linear models; options of ``ContentRidge``.
        inputs: a frozen dataclass of options of how features enter a network, None without.
        linear_inputs: {option: value} of ``inputs`` that serve a linear layer best.
        zero_is_mean: whether its zero, as an imputer has it, is the mean.
    """

    name: ClassVar[str]
    is_declared: ClassVar[bool] = True
    is_encoded: ClassVar[bool] = False
    column_type: ClassVar[str | None] = None
    projection: ClassVar[type[Projection]]
    weights: ClassVar[dict[str, tuple[float, str]]] = {}
    inputs: ClassVar[type | None] = None
    linear_inputs: ClassVar[dict[str, Any]] = {}
    zero_is_mean: ClassVar[bool] = False

    def checked(self, column: pd.Series, path: Path, declaration: Declaration) -> pd.Series:
        """The cells of an atomic file, texts with the numbers of their lines as the index, "" if missing.

        Raises:
            DataError: a cell is not of the kind.
        """
        return column

    def says_none(self, cell: object, missing: Collection[str]) -> bool:
        """Whether a cell is among the texts ``missing`` that stand for no value."""
        return np.isscalar(cell) and str(cell).strip() in missing

    def from_column(self, name: str, column: pd.Series, separator: str) -> Modality:
        """From what ``checked`` returns, one cell per entity; NaN for an entity that the file does not list."""
        raise NotImplementedError

    def from_file(self, declaration: Declaration, files: Files, tokens: Sequence[str]) -> Modality:
        """As ``from_column``, for a kind with a file of its own; ``tokens``: (N,) ids of the entities.

        Raises:
            DataError: it is absent or malformed.
        """
        raise NotImplementedError

    def known_to(self, entry: Modality, trained: Tensor) -> Modality:
        """Without the values that no entity of ``trained`` (N,) has: their embeddings would stay untrained."""
        return entry

    def blocks(self, entry: Modality, trained: Tensor, weights: dict[str, float]) -> list[Block]:
        """Its columns for linear models; ``weights``: see the class."""
        raise NotImplementedError

    def columns(self, features: Any, entry: Modality) -> Tensor:
        """(R, F) what an imputer averages, of ``Modality.features`` of R entities."""
        raise NotImplementedError

    def from_columns(self, columns: Tensor, entry: Modality) -> Any:
        """(R, F) averages of ``columns`` -> the values of R entities that come nearest to them."""
        raise NotImplementedError

    def parse(self, entry: Modality, cells: list[Any], tokens: Sequence[str], told: set[tuple[str, str]]) -> Modality:
        """New entities' values as a caller gives them, with the vocabulary of the known ``entry``.

        Args:
            cells: one per entity, None if missing; histories, lists of columns, for the interactions.
            tokens: names of the entities for messages.
            told: see ``vocabulary.warn_of_unknown``.

        Raises:
            DataError: a value is not of the kind.
        """
        raise NotImplementedError

    def from_cell(self, cell: str, separator: str) -> object:
        """A present cell of an atomic file, as ``parse`` takes it."""
        return cell

    def from_table(self, entry: Modality, cell: object, separator: str) -> object:
        """A present cell, written as in the table that the data set was made of, as ``parse`` takes it."""
        return cell

    def fits(self, cells: pd.Series, separator: str) -> float:
        """How well the texts of a table's column look like this kind, 0 to 1; ``convert table`` takes the best."""
        return 0.0

    def written(self, column: pd.Series, separator: str, path: str | Path) -> pd.Series:
        """A table's column, "" if missing, as an atomic file has it; ``separator``: of tags in the table.

        Raises:
            DataError: a cell is not of the kind.
        """
        raise NotImplementedError

    def n_values(self, column: pd.Series) -> int:
        """How many distinct values a column of present values, as ``written``, has."""
        return int(column.nunique())


def weight_options(kinds: list[Kind]) -> list[tuple[str, type, Any]]:
    """The kinds' weights as fields of an options class."""
    return [
        (f"{name}_weight", float, option(help, low=0, default=default))
        for kind in kinds
        for name, (default, help) in kind.weights.items()
    ]


def wrong_value(entry: Modality, token: object, cell: object, expected: str) -> DataError:
    """The error of a request whose ``cell`` is not what the modality takes."""
    return DataError(f"{token!r}: {entry.name} is {str(cell)[:100]!r}; expected {expected}.")
