"""The one writer of RecBole atomic files."""

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from tqdm import tqdm

import recbole_sibrar
from recbole_sibrar.convert.vectors import Vectors
from recbole_sibrar.data.vectors import write_cache
from recbole_sibrar.errors import DataError, OptionError
from recbole_sibrar.files import atomic_directory, make_folder, remove_unfinished

RECORD = "conversion.json"
NAME = re.compile(r"[^\W_][\w.+=-]*")
MAX_NAME_BYTES = 100


def prepare(output: str | Path, name: str) -> Path:
    """Make RecBole's data_path and check, before anything is read, that the data set ``name`` may be written there.

    What a killed conversion left of the same data set is removed.

    Raises:
        OptionError: a name that is no plain one, or a folder that no conversion made. WriteError: no such place.
    """
    name = str(name)
    if not NAME.fullmatch(name) or len(name.encode()) > MAX_NAME_BYTES:
        raise OptionError(
            f"--name (folder) {name!r}: expected a plain name of up to {MAX_NAME_BYTES} letters, digits and . _ - + = "
            "that begins with a letter or digit; --output says where the data set goes."
        )
    target = make_folder(output) / name
    remove_unfinished(target)
    refuse_foreign(target)
    return target


def refuse_foreign(target: Path) -> None:
    """
    Raises:
        OptionError: ``target`` is there, and a conversion did not make it or not all of it, such as what a person
            has written into its YAML.
    """
    if not os.path.lexists(target):
        return
    advice = "choose another --name or --output (folder), or move it away."
    try:
        record = json.loads((target / RECORD).read_text(encoding="utf-8"))
        record["converter"]
    except (OSError, ValueError, TypeError, KeyError):
        raise OptionError(f"{target} was not made by a conversion, and is not replaced; {advice}") from None
    foreign = [path.name for path in sorted(target.iterdir()) if not _is_own(path.name, target.name, record)]
    if foreign:
        raise OptionError(f"{target} holds {foreign[0]!r}, which no conversion made, and is not replaced; {advice}")
    declared = target / f"{target.name}.yaml"
    if declared.is_file() and checksum(declared) != record.get("declared", checksum(declared)):
        raise OptionError(f"{declared} was changed by hand, and is not replaced; {advice}")


def _is_own(file: str, name: str, record: Mapping[str, Any]) -> bool:
    """Whether a conversion made the file, or a run its binary copy; earlier conversions did not note their files."""
    if file == RECORD or file.startswith((f".{name}.", f"..{name}.")):
        return True
    return file in record["files"] if "files" in record else file.startswith(f"{name}.")


@dataclass
class AtomicDataset:
    """A data set ready to be written.

    Attributes:
        name: of the data set and its folder.
        interactions: columns user_id, item_id and others.
        users, items: one row per entity, the id first; NaN or "" is missing, tags are joined by spaces.
        types: {column of any table: token | token_seq | float}.
        vectors: {modality: (id column, Vectors)}.
        modalities: {"user": {name: kind}, "item": {name: kind}}, as ``kinds.reading.parse_declarations`` takes them.
        record: what ``conversion.json`` tells of the conversion.
        tables: how the tables were written that this was made of, for serving (``serving.vocabulary``).
    """

    name: str
    interactions: pd.DataFrame
    users: pd.DataFrame
    items: pd.DataFrame
    types: dict
    vectors: dict
    modalities: dict
    record: dict = field(default_factory=dict)
    tables: dict = field(default_factory=dict)

    def write(self, output: str | Path) -> Path:
        """Write ``<output>/<name>/``, whole or not at all; an existing one is replaced.

        Beside the atomic files it holds ``<name>.yaml`` (the modalities) and ``conversion.json`` (what was done).

        Raises:
            DataError: a cell holds a tab or a line break.
            OptionError: see ``prepare``.
            WriteError: the disk is full or cannot be written to.
        """
        target = prepare(output, self.name)
        with atomic_directory(target) as folder:
            self._write_into(folder)
            refuse_foreign(target)
        return target

    def _write_into(self, folder: Path) -> None:
        for suffix, frame in (("inter", self.interactions), ("user", self.users), ("item", self.items)):
            self._write_table(folder / f"{self.name}.{suffix}", frame)
        for modality, (id_field, vectors) in self.vectors.items():
            write_vectors(folder / f"{self.name}.{modality}", modality, id_field, vectors)
        blocks = {"modalities": self.modalities, **({"tables": self.tables} if self.tables else {})}
        text = _as_yaml(blocks)
        declared = folder / f"{self.name}.yaml"
        declared.write_text(text, encoding="utf-8")
        versions = {package.__name__: package.__version__ for package in (recbole_sibrar, np, pd)}
        files = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
        record = {**self.record, "files": files, "declared": checksum(declared), "versions": versions}
        (folder / RECORD).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")

    def _write_table(self, path: Path, frame: pd.DataFrame) -> None:
        for column in frame.columns:
            if self.types[column] != "float":
                wrong = frame[column].astype(str).str.contains(r"[\t\r\n]", regex=True)
                if wrong.any():
                    raise DataError(
                        f"{path.name}: {frame[column][wrong].iloc[0]!r:.80} in column {column!r} holds a tab or a line "
                        "break, which an atomic file cannot."
                    )
        header = [f"{column}:{self.types[column]}" for column in frame.columns]
        with open(path, "w", encoding="utf-8", newline="\n") as file:
            file.write("\t".join(header) + "\n")
            frame.to_csv(file, sep="\t", index=False, header=False, na_rep="", quoting=3, lineterminator="\n")


def write_vectors(path: str | Path, name: str, id_field: str, vectors: Vectors) -> None:
    """A vector file with as many digits as float32 needs to come back the same, and its binary copy."""
    with (
        open(path, "w", encoding="utf-8", newline="\n") as file,
        tqdm(total=len(vectors.ids), desc=f"writing {name}", leave=False, disable=None) as bar,
    ):
        file.write(f"{id_field}:token\t{name}:float_seq\n")
        row_format = " ".join(["%.9g"] * vectors.width)
        for ids, values in vectors.blocks():
            for token, row in zip(ids, values):
                file.write(f"{token}\t{row_format % tuple(row.tolist())}\n")
            bar.update(len(ids))
    blocks = (values for _, values in vectors.blocks())
    write_cache(path, vectors.ids, blocks, (len(vectors.ids), vectors.width), vectors.values.dtype)


def checksum(path: str | Path, algorithm: str = "sha256") -> str:
    """Of a file, in hexadecimal digits."""
    digest = hashlib.new(algorithm)
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def _as_yaml(blocks: dict[str, Any]) -> str:
    """In its own letters, unless one ends a line in Unicode alone: PyYAML reads a blank in its place."""
    dumped = partial(yaml.safe_dump, blocks, sort_keys=False, default_flow_style=None)
    text = dumped(allow_unicode=True)
    return dumped(allow_unicode=False) if re.search("[\x85\u2028\u2029]", text) else text
