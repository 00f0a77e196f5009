"""The one writer of RecBole atomic files."""

import hashlib
import json
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from tqdm import tqdm

from recbole_sibrar.errors import DataError
from recbole_sibrar.files import atomic_directory


@dataclass
class AtomicDataset:
    """A data set ready to be written.

    Attributes:
        name: of the data set and its folder.
        interactions: columns user_id, item_id and others.
        users, items: one row per entity, the id first; NaN or "" is missing, tags are joined by spaces.
        types: {column of any table: token | token_seq | float}.
        vectors: {modality: (ids (N,), values (N, D))}, item vectors.
        modalities: {"user": {name: kind}, "item": {name: kind}}.
        record: what ``conversion.json`` tells of the conversion.
    """

    name: str
    interactions: pd.DataFrame
    users: pd.DataFrame
    items: pd.DataFrame
    types: dict
    vectors: dict
    modalities: dict
    record: dict = field(default_factory=dict)

    def write(self, output) -> Path:
        """Write ``<output>/<name>/``, whole or not at all; an existing one is replaced.

        Beside the atomic files it holds ``<name>.yaml`` (the modalities) and ``conversion.json`` (what was done).
        """
        target = Path(output) / self.name
        with atomic_directory(target) as folder:
            for suffix, frame in (("inter", self.interactions), ("user", self.users), ("item", self.items)):
                self._write_table(folder / f"{self.name}.{suffix}", frame)
            for modality, (ids, values) in self.vectors.items():
                write_vectors(folder / f"{self.name}.{modality}", modality, ids, values)
            text = yaml.safe_dump({"modalities": self.modalities}, sort_keys=False, default_flow_style=None)
            (folder / f"{self.name}.yaml").write_text(text, encoding="utf-8")
            versions = {package: version(package) for package in ("recbole-sibrar", "numpy", "pandas")}
            record = json.dumps({**self.record, "versions": versions}, indent=2)
            (folder / "conversion.json").write_text(record + "\n", encoding="utf-8")
        return target

    def _write_table(self, path, frame):
        for column in frame.columns:
            if self.types[column] != "float":
                wrong = frame[column].astype(str).str.contains(r"[\t\r\n]", regex=True)
                if wrong.any():
                    raise DataError(
                        f"{path.name}: {frame[column][wrong].iloc[0]!r} in column {column!r} holds a tab or a line "
                        "break, which an atomic file cannot."
                    )
        header = [f"{column}:{self.types[column]}" for column in frame.columns]
        with open(path, "w", encoding="utf-8", newline="\n") as file:
            file.write("\t".join(header) + "\n")
            frame.to_csv(file, sep="\t", index=False, header=False, na_rep="", quoting=3, lineterminator="\n")


def write_vectors(path, name: str, ids, values, chunk: int = 256) -> None:
    """A vector file with as many digits as float32 needs to come back the same."""
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        file.write(f"item_id:token\t{name}:float_seq\n")
        for start in tqdm(range(0, len(ids), chunk), desc=f"writing {name}", unit_scale=chunk, leave=False):
            block = values[start : start + chunk].astype(np.float32)
            for token, row in zip(ids[start : start + chunk], block):
                file.write(f"{token}\t{' '.join(format(value, '.9g') for value in row.tolist())}\n")


def checksum(path) -> str:
    """SHA-256 of a file."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()
