"""How the tables were written that a model's data set was made of, so that serving takes the same."""

import math
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
import pandas as pd

from recbole_sibrar.data.cells import is_marker, is_number
from recbole_sibrar.data.dates import is_date, seconds
from recbole_sibrar.data.encoders import LOADERS
from recbole_sibrar.data.frames import Frame, is_list, plain_frame
from recbole_sibrar.data.modalities import SIDES, Modalities, Modality
from recbole_sibrar.errors import DataError, OptionError, nearest
from recbole_sibrar.kinds import KINDS
from recbole_sibrar.kinds.kind import wrong_value
from recbole_sibrar.kinds.reading import parse_declarations
from recbole_sibrar.serving.features import is_missing

ID = {"user": "user_id", "item": "item_id"}


@dataclass(frozen=True)
class Vocabulary:
    """The block ``tables`` of a data set's YAML, which ``convert table`` writes.

    Attributes:
        columns: {side: name of the id's column}.
        tag_separator: between the tags of a cell; None for a data set that was no table.
        missing: texts that stand for a missing value; those of ``data.cells.MISSING`` by default.
        others: {side: columns that became no modality}.
        encoders: {modality: {kind: text | image, model: name}}.
        dates: columns of dates, which are numbers: seconds since 1970.
    """

    columns: dict[str, str] = field(default_factory=dict)
    tag_separator: str | None = None
    missing: tuple[str, ...] | None = None
    others: dict[str, list[str]] = field(default_factory=dict)
    encoders: dict[str, dict[str, str]] = field(default_factory=dict)
    dates: Collection[str] = ()
    _seq_separator: str = field(default=" ", repr=False)
    _declared: dict[str, dict[str, tuple[str, ...]]] = field(default_factory=dict, repr=False)  # texts for no value
    _loaded: dict[str, Callable[[list[Any]], Any]] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, config: dict[str, Any]) -> "Vocabulary":
        """From a run's configuration.

        Raises:
            OptionError: the block has a key that means nothing.
        """
        tables = config.get("tables") or {}
        known = [entry.name for entry in fields(cls) if entry.init and not entry.name.startswith("_")]
        for key in tables:
            if key not in known:
                raise OptionError(f"tables has the key {key!r}. {nearest(key, known)}")
        declared = {side: parse_declarations(config.get("modalities"), side) for side in SIDES}
        missing = {side: {entry.name: entry.missing for entry in own} for side, own in declared.items()}
        named = {side: config.get(f"{side.upper()}_ID_FIELD") or ID[side] for side in SIDES}
        separator = config.get("seq_separator") or " "
        return cls(**{"columns": named, **tables}, _seq_separator=separator, _declared=missing)

    def id_column(self, side: str, columns: Collection[str]) -> str | None:
        """Which of the columns holds the ids."""
        names = (ID[side], self.columns.get(side))
        return next((name for name in names if name in columns), None)

    @property
    def user_keys(self) -> tuple[str, ...]:
        """What the name of a user can be called beside ``id``."""
        return tuple(dict.fromkeys([ID["user"], self.columns.get("user") or ID["user"]]))

    def no_modality(self, side: str) -> set[str]:
        """Columns of the data set's table that are neither modalities nor ids."""
        kept = {"id", "history", ID[side], self.columns.get(side), *self._declared.get(side, ())}
        return {*self.others.get(side, ())} - kept

    def unread(self, side: str, known: Iterable[str]) -> set[str]:
        """Columns of the data set's table that a model with the modalities ``known`` leaves out."""
        return self.no_modality(side) | {*self._declared.get(side, ())}.difference(known)

    def _id_named(self, side: str) -> str:
        return " or ".join(map(repr, dict.fromkeys([self.columns.get(side, ID[side]), ID[side]])))

    def entities(self, table: Frame, side: str, known: Modalities, what: str) -> tuple[list[Any], pd.DataFrame]:
        """A table of entities to their ids, as they are, and their modalities as ``features_of`` takes them, without
        those of the data set that the model does not read.

        Args:
            table: a data frame of pandas, Polars or Arrow.
            known: the modalities of the model.

        Raises:
            OptionError: it is no data frame. DataError: it has no column of ids, or a column occurs twice.
        """
        if isinstance(table, (str, bytes, dict, list)) or not hasattr(table, "columns"):
            raise OptionError(
                f"{what} is {type(table).__name__}; expected a data frame (pandas, Polars, Arrow) with a column "
                f"{self._id_named(side)}."
            )
        frame = plain_frame(table, what)
        column, ids = self.ids(frame, side, what)
        unread = self.unread(side, known.names).intersection(frame.columns)
        return ids, self.features(frame.drop(columns=[column, *unread]), side, known, ids)

    def ids(self, frame: pd.DataFrame, side: str, what: str) -> tuple[str, list[Any]]:
        """The column of a table that holds ids, and these, as they are.

        Raises:
            DataError: there is none.
        """
        column = self.id_column(side, frame.columns)
        if column is None:
            raise DataError(f"{what}: the columns are {list(frame.columns)}; one must be {self._id_named(side)}.")
        return column, [token.strip() if isinstance(token, str) else token for token in frame[column]]

    def features(self, frame: pd.DataFrame, side: str, known: Modalities, tokens: Sequence[object]) -> pd.DataFrame:
        """The columns of modalities, with cells as ``features_of`` takes them.

        Args:
            tokens: what the rows are called in messages.
        """
        others = [name for name in self.others.get(side, ()) if name in frame and name not in known.names]
        frame = frame.drop(columns=others)
        readers = {entry.name: self._reader(entry, side) for entry in known.entries if entry.name in frame}
        columns = {name: _column(read(tokens, frame[name].tolist()), frame) for name, read in readers.items()}
        return pd.DataFrame({**dict(frame.items()), **columns}, frame.index)

    def _reader(self, entry: Modality, side: str) -> Callable[[Sequence[object], list[Any]], list[Any]]:
        if entry.name in self.encoders and KINDS[entry.kind].is_encoded:
            return lambda tokens, cells: self._encoded(entry, cells)
        missing = self._declared.get(side, {}).get(entry.name, ())
        return lambda tokens, cells: [self._cell(entry, *pair, missing) for pair in zip(tokens, cells)]

    def _cell(self, entry: Modality, token: object, cell: object, missing: Collection[str]) -> object:
        if KINDS[entry.kind].says_none(cell, (*missing, *(self.missing or ()))):
            return None
        if self.tag_separator is None:
            is_text = isinstance(cell, str) and not is_missing(cell, entry.vocabulary)
            return KINDS[entry.kind].from_cell(cell, self._seq_separator) if is_text else cell
        if isinstance(cell, str) and self._is_missing(cell):
            return None
        if entry.kind == "number" and entry.name in self.dates:
            if is_date(cell):
                with suppress(ValueError):  # no such day
                    return seconds(cell)
            if isinstance(cell, str) and not is_number(cell):
                expected = "a date such as 2024-05-31 10:15:00, seconds since 1970, or nothing"
                raise wrong_value(entry, token, cell, expected)
        return KINDS[entry.kind].from_table(entry, cell, self.tag_separator)

    def _is_missing(self, text: str) -> bool:
        return is_marker(text) if self.missing is None else text.strip() in ("", *self.missing)

    def _encoded(self, entry: Modality, cells: list[Any]) -> list[Any]:
        """Vectors of the cells that are texts or paths of pictures."""
        raw = [row for row, cell in enumerate(cells) if _is_raw(cell, entry.width) and not self._is_missing(str(cell))]
        cells = [None if isinstance(cell, str) and self._is_missing(cell) else cell for cell in cells]
        if raw:
            if entry.name not in self._loaded:
                how = self.encoders[entry.name]
                self._loaded[entry.name] = LOADERS[how["kind"]](how["model"])
            for row, vector in zip(raw, self._loaded[entry.name]([cells[row] for row in raw])):
                cells[row] = vector
        return cells


def _is_raw(cell: object, width: int) -> bool:
    """Whether a cell is what a vector is to be made of, and not the vector, which may be written as a text."""
    if cell is None or is_list(cell) or isinstance(cell, float) and math.isnan(cell):
        return False
    words = str(cell).split()
    try:
        return len(words) != width or not np.isfinite([float(word) for word in words]).all()
    except ValueError:
        return True


def _column(cells: list[Any], frame: pd.DataFrame) -> pd.Series:
    return pd.Series(cells, frame.index, dtype=object)
