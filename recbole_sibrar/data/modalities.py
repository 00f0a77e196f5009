"""Modalities: the features of users or items together with the mask that says which entity has which.

A missing value is a False in the mask and nothing else. What stands in the feature arrays at such a place is never
read; a test perturbs it and asserts that no output changes.
"""

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from recbole_sibrar.data.atomic import align, check_id_type, find_dataset_file, parse_numbers, read_atomic, read_header
from recbole_sibrar.data.sparse import SparseRows
from recbole_sibrar.data.vectors import DiskVectors, read_vectors, row_blocks
from recbole_sibrar.errors import DataError, OptionError, nearest

KINDS = ("vector", "tags", "category", "number")
INTERACTIONS = "interactions"
SIDES = ("user", "item")


@dataclass(frozen=True)
class Declaration:
    """What the data set's YAML says of a modality: its name and kind, its column, the texts that mean missing there."""

    name: str
    kind: str
    field: str
    missing: tuple = ()


@dataclass(frozen=True)
class Modality:
    """The features of N entities for one modality; row i belongs to the entity with internal id i (0 is padding).

    Attributes:
        name: as declared.
        kind: one of ``KINDS`` or ``interactions``.
        available: (N,) bool, whether the entity has the modality.
        values: by kind. vector: (N, D) float32, or float16 as the file, or ``DiskVectors``. category: (N,) int64.
            number: (N,) float64, as float32 cannot tell times apart. tags and interactions: ``SparseRows`` N x V.
        width: D for vectors, the number of distinct values V otherwise, 1 for numbers.
        vocabulary: the texts behind the numbers of a category or of tags, sorted.
        available_in_evaluation: (N,) bool, where that differs from ``available`` (see ``data.missing``).
    """

    name: str
    kind: str
    available: Tensor
    values: object
    width: int
    vocabulary: tuple = ()
    available_in_evaluation: Tensor | None = None

    @property
    def evaluated(self) -> Tensor:
        """(N,) bool, whether the entity has the modality in evaluation."""
        return self.available if self.available_in_evaluation is None else self.available_in_evaluation

    def features(self, rows: Tensor):
        """The values of some entities."""
        return self.values.select(rows) if isinstance(self.values, SparseRows) else self.values[rows]

    def known_to(self, trained: Tensor) -> "Modality":
        """Without the categories and tags that no training entity has: their embeddings would stay untrained.

        An entity whose category is unknown lacks the modality; one with unknown tags alone has it, and no tag, as the
        tags of a sum that were rarer and rarer would weigh less and less.

        Args:
            trained: (N,) bool.
        """
        if self.kind == "category":
            known = self.values[self.available & trained].unique()
            position = torch.full((self.width,), -1).index_copy_(0, known, torch.arange(len(known)))
            values = position[self.values]
            has_known = values >= 0
            values = values.clamp(min=0)
        elif self.kind == "tags":
            known = self.values.select((self.available & trained).nonzero().squeeze(1)).columns.unique()
            position = torch.full((self.width,), -1).index_copy_(0, known, torch.arange(len(known)))
            columns, rows = position[self.values.columns], self.values.row_of_entry()
            kept = columns >= 0
            values = SparseRows.from_pairs(rows[kept], columns[kept], len(self.available), max(len(known), 1))
            has_known = torch.full_like(self.available, len(known) > 0)
        else:
            return self
        return replace(
            self,
            available=self.available & has_known,
            values=values,
            width=max(len(known), 1),
            vocabulary=tuple(self.vocabulary[index] for index in known.tolist()) if self.vocabulary else (),
            available_in_evaluation=None if self.available_in_evaluation is None else self.evaluated & has_known,
        )

    def to_plain(self) -> dict:
        """Tensors and plain data, for a checkpoint, which is to hold all that serving needs.

        Vectors on disk are there as the whole file, memory-mapped, and the row of each entity: writing a checkpoint
        goes through pages that the system takes back when it needs them, and makes no copy in memory. The file's rows
        for entities that the data set has not are in it, too.
        """
        values = self.values
        if isinstance(values, SparseRows):
            values = {"indptr": values.indptr, "columns": values.columns}
        elif isinstance(values, DiskVectors):
            values = {"table": values.table(), "rows": values.rows}
        return {**vars(self), "values": values, "vocabulary": list(self.vocabulary)}

    @classmethod
    def from_plain(cls, state: dict) -> "Modality":
        """The inverse of ``to_plain``, copied from the file; vectors are in memory."""
        copied = {name: value.clone() if isinstance(value, Tensor) else value for name, value in state.items()}
        values = copied["values"]
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
    """

    side: str
    entries: tuple

    @property
    def names(self) -> tuple:
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

    def known_to(self, trained: Tensor) -> "Modalities":
        """See ``Modality.known_to``."""
        return replace(self, entries=tuple(entry.known_to(trained) for entry in self.entries))

    def rows(self, rows: Tensor) -> "Modalities":
        """The modalities of the entities ``rows``, in this order; what evaluation may read is what there is."""
        entries = tuple(
            replace(entry, available=entry.available[rows], values=entry.features(rows), available_in_evaluation=None)
            for entry in self.entries
        )
        return replace(self, entries=entries)

    def select(self, names) -> "Modalities":
        """Only these modalities, in this order.

        Raises:
            OptionError: a name is not declared.
        """
        by_name = {entry.name: entry for entry in self.entries}
        for name in names:
            if name not in by_name:
                raise OptionError(f"Unknown {self.side} modality {name!r}. {nearest(name, by_name)}")
        return replace(self, entries=tuple(by_name[name] for name in names))


def parse_declarations(declared, side: str) -> tuple:
    """The ``modalities: {user: {name: kind}, item: {name: kind}}`` block of a data set's YAML, for one side.

    ``name: {kind: tags, field: class, missing: [unknown]}`` reads the modality from a column of another name, in which
    the given texts stand for a missing value, as the empty cell does anywhere.

    Raises:
        OptionError: the block is malformed or a kind is unknown.
    """
    if not isinstance(declared or {}, dict):
        raise OptionError(f"modalities is {declared!r}; expected {{user: {{name: kind}}, item: {{name: kind}}}}.")
    for key in declared or {}:
        if key not in SIDES:
            raise OptionError(f"modalities has the key {key!r}. {nearest(key, SIDES)}")
        if not isinstance(declared[key] or {}, dict):
            raise OptionError(f"modalities.{key} is {declared[key]!r}; expected {{name: kind}}.")
    declarations = []
    for name, entry in ((declared or {}).get(side) or {}).items():
        entry = entry if isinstance(entry, dict) else {"kind": entry}
        unknown = set(entry) - {"kind", "field", "missing"}
        if unknown or entry.get("kind") not in KINDS:
            raise OptionError(
                f"modalities.{side}.{name} is {entry!r}; expected a kind ({', '.join(KINDS)}) "
                "or {kind: ..., field: <column>, missing: [<text>, ...]}."
            )
        if name == INTERACTIONS:
            raise OptionError(f"modalities.{side}.{INTERACTIONS}: interactions are a modality undeclared.")
        missing = entry.get("missing", ())
        missing = tuple(map(str, missing if isinstance(missing, (list, tuple)) else [missing]))
        declarations.append(Declaration(str(name), entry["kind"], str(entry.get("field", name)), missing))
    return tuple(declarations)


def load_modalities(
    folder, dataset: str, side: str, id_field: str, tokens, declarations, vector_storage: str = "memory",
    separators: tuple = ("\t", " "),
) -> Modalities:  # fmt: skip
    """Read the declared side information of the entities ``tokens`` from the data set's atomic files.

    Args:
        folder: where ``<dataset>.user``, ``<dataset>.item`` and one ``<dataset>.<name>`` per vector modality are.
        tokens: (N,) original ids in the order of the internal ids; position 0 is padding and has no modality.
        declarations: what to read.
        vector_storage: ``memory``, or ``disk`` to leave vectors in their binary copies (see ``data.vectors``) and read
            those that a batch asks for; where no copy can be written they are in memory after all, with a warning.
        separators: of cells, and of tags and numbers inside one.

    Raises:
        DataError: a file or column is absent or malformed.
    """
    tokens = np.asarray(tokens).astype(str)
    columns = [d.field for d in declarations if d.kind != "vector"]
    frame, path = None, None
    if columns:
        path = find_dataset_file(folder, dataset, side)
        if path is None:
            raise DataError(
                f"{Path(folder) / f'{dataset}.{side}'}: no such file, but the {side} modalities {', '.join(columns)} "
                "are declared. Add the file or remove the declaration."
            )
        between = separators[0]
        if id_field in (header := read_header(path, between)):
            check_id_type(path, id_field, header[id_field])
        frame = read_atomic(path, dict.fromkeys([id_field, *columns]), between)
        for declaration in declarations:
            if declaration.kind != "vector":
                column = frame[declaration.field]
                column = column.mask(column.isin(declaration.missing), "")
                is_number = declaration.kind == "number"
                frame[declaration.field] = parse_numbers(column, path, declaration.field) if is_number else column
        frame = align(frame, id_field, tokens, path)
    readers = {"tags": partial(_tags, separator=separators[1]), "category": _category, "number": _number}
    entries = []
    for declaration in declarations:
        if declaration.kind == "vector":
            entry = _vector(declaration, folder, dataset, tokens, vector_storage, separators)
        else:
            entry = readers[declaration.kind](declaration, frame[declaration.field])
        entry.available[0] = False
        entries.append(entry)
    return Modalities(side, tuple(entries))


def interaction_modality(rows, columns, n_rows: int, n_columns: int) -> Modality:
    """The interaction profile as a modality: the row of the *training* matrix; an entity without any is without it."""
    matrix = SparseRows.from_pairs(rows, columns, n_rows, n_columns)
    return Modality(INTERACTIONS, INTERACTIONS, matrix.lengths > 0, matrix, n_columns)


def _vector(declaration, folder, dataset, tokens, storage, separators):
    path = find_dataset_file(folder, dataset, declaration.field)
    if path is None:
        raise DataError(
            f"{Path(folder) / f'{dataset}.{declaration.field}'}: no such file, but the vector modality "
            f"{declaration.name!r} is declared. Convert the data set with its vectors, or remove the declaration."
        )
    ids, values = read_vectors(path, separators)
    entity = {token: index for index, token in enumerate(tokens)}
    target = np.array([entity.get(token, -1) for token in ids])
    available = np.zeros(len(tokens), dtype=bool)
    available[target[target >= 0]] = True
    on_disk = storage == "disk" and isinstance(values, np.memmap)
    held = _on_disk(values, target, len(tokens)) if on_disk else _in_memory(values, target, len(tokens))
    return Modality(declaration.name, "vector", torch.from_numpy(available), held, int(values.shape[1]))


def _in_memory(values, target, n):
    """Rows (R, D) by their entities ``target`` (R,), -1 for those of none, to (N, D)."""
    aligned = np.zeros((n, values.shape[1]), dtype=values.dtype)
    for start, block in row_blocks(values):
        rows = target[start : start + len(block)]
        aligned[rows[rows >= 0]] = block[rows >= 0]
    return torch.from_numpy(aligned)


def _on_disk(values, target, n):
    rows = torch.zeros(n, dtype=torch.long)
    rows[target[target >= 0]] = torch.from_numpy(np.flatnonzero(target >= 0))
    return DiskVectors(values, rows)


def _category(declaration, column):
    texts = column.fillna("").to_numpy().astype(str)
    return category_modality(declaration.name, texts, np.unique(texts[texts != ""]))


def _number(declaration, column):
    return number_modality(declaration.name, column.to_numpy(dtype=np.float64))


def _tags(declaration, column, separator):
    lists = [[tag for tag in cell.split(separator) if tag] for cell in column.fillna("")]
    return tags_modality(declaration.name, lists, sorted({tag for tags in lists for tag in tags}))


def category_modality(name: str, texts, vocabulary) -> Modality:
    """From one text per entity; a text outside of the vocabulary, such as "", is missing."""
    number = {text: index for index, text in enumerate(vocabulary)}
    values = torch.tensor([number.get(text, -1) for text in texts], dtype=torch.long)
    width = max(len(number), 1)
    return Modality(name, "category", values >= 0, values.clamp(min=0), width, tuple(map(str, vocabulary)))


def number_modality(name: str, numbers: np.ndarray) -> Modality:
    """From one number per entity; NaN is missing."""
    available = torch.from_numpy(~np.isnan(numbers))
    return Modality(name, "number", available, torch.from_numpy(np.nan_to_num(numbers)), 1)


def tags_modality(name: str, lists, vocabulary) -> Modality:
    """From a list of tags per entity; tags outside of the vocabulary do not count, no tag is missing."""
    number = {tag: index for index, tag in enumerate(vocabulary)}
    lists = [[number[tag] for tag in tags if tag in number] for tags in lists]
    rows = np.repeat(np.arange(len(lists)), [len(tags) for tags in lists])
    columns = np.array([tag for tags in lists for tag in tags], dtype=np.int64)
    matrix = SparseRows.from_pairs(rows, columns, len(lists), max(len(number), 1))
    return Modality(name, "tags", matrix.lengths > 0, matrix, matrix.n_columns, tuple(vocabulary))


def parse_names(value, option: str) -> list | None:
    """An option that lists modalities: None (all), a list, or a comma-separated string."""
    if value is None:
        return None
    if not isinstance(value, (str, list, tuple, set)):
        raise OptionError(f"{option} is {value!r}; expected a list of names such as [genres, plot].")
    names = value.split(",") if isinstance(value, str) else list(value)
    names = [str(name).strip() for name in names if str(name).strip()]
    if not names:
        raise OptionError(f"{option} is empty; name at least one modality, or leave the option out to use all.")
    return list(dict.fromkeys(names))
