"""Vectors of texts and pictures, by pretrained encoders (optional: ``pip install 'recbole-sibrar[encoders]'``)."""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from recbole_sibrar.convert.assemble import Side
from recbole_sibrar.convert.vectors import Spool, Vectors
from recbole_sibrar.data.encoders import LOADERS, MODELS
from recbole_sibrar.errors import DataError, OptionError, nearest
from recbole_sibrar.files import atomic_file, remove_leftovers
from recbole_sibrar.progress import steps

KINDS = ("text", "image")
PICTURES = (".jpg", ".jpeg", ".png", ".webp")


@dataclass(frozen=True)
class Encode:
    """Which modalities of the items are to be encoded, and how.

    Attributes:
        kinds: {modality: text | image}.
        output: RecBole's data_path; finished batches are kept below it, in ``.encoded``, for the next time.
        text_model, image_model: a name on the Hugging Face hub, or a local folder.
        images: the folder of pictures, ``<item id>.jpg``, .png or .webp.
        batch_size: items encoded at a time.
        half: store float16.
    """

    kinds: dict
    output: Path
    text_model: str = MODELS["text"]
    image_model: str = MODELS["image"]
    images: Path | None = None
    batch_size: int = 32
    half: bool = False

    def __post_init__(self) -> None:
        for modality, kind in self.kinds.items():
            if kind not in KINDS:
                raise OptionError(f"--encode {modality}={kind}: unknown kind. {nearest(kind, KINDS)}")
            if kind == "image" and (self.images is None or not Path(self.images).is_dir()):
                raise OptionError(
                    f"--encode {modality}=image: --images is {str(self.images)!r}; give the folder with <item id>.jpg."
                )
        if self.batch_size < 1:
            raise OptionError(f"--encode-batch-size is {self.batch_size}; expected at least 1.")

    def new_names(self, *known: Iterable[str]) -> list[str]:
        """The modalities whose names none of these dictionaries has."""
        return [modality for modality in self.kinds if not any(modality in names for names in known)]

    def recipes(self) -> dict[str, dict[str, str]]:
        """{modality: {kind, model}}, so that serving can make vectors of the same kind."""
        models = {modality: str(getattr(self, f"{kind}_model")) for modality, kind in self.kinds.items()}
        places = {name: str(Path(name).resolve()) if Path(name).is_dir() else name for name in models.values()}
        return {modality: {"kind": self.kinds[modality], "model": places[name]} for modality, name in models.items()}

    def on_items(self, texts: dict[str, dict[str, str]]) -> Callable[[Side, Side], None]:
        """The function that ``Job.finish`` calls with users and items.

        Args:
            texts: {modality: {id: text}}.

        Raises:
            OptionError: a text modality that the corpus has not.
        """
        for modality, kind in self.kinds.items():
            if kind == "text" and modality not in texts:
                known = nearest(modality, texts) if texts else "This corpus has none."
                raise OptionError(f"--encode {modality}=text: there is no such text. {known}")

        def encode(_: Side, items: Side) -> None:
            ids = items.table[items.id_field].tolist()
            for modality, kind in self.kinds.items():
                found: Mapping[str, str | Path] = texts[modality] if kind == "text" else _pictures(self.images, ids)
                contents = {token: found[token] for token in ids if found.get(token)}
                given = items.vectors.get(modality)
                items.vectors[modality] = self.vectors(modality, kind, contents, given)

        return encode

    def vectors(
        self, modality: str, kind: str, contents: Mapping[str, str | Path], given: Vectors | None = None
    ) -> Vectors:
        """The vectors given, and new ones for the other ids in ``contents``.

        Args:
            contents: {id: text or path of a picture}.
            given: vectors that need not be made.

        Raises:
            DataError: nothing to encode; a picture cannot be read; the model's width is not that of ``given``.
        """
        model = getattr(self, f"{kind}_model")
        store = Store(Path(self.output) / ".encoded" / _digest(f"{kind} {_identity(model)}".encode()))
        known = set() if given is None else set(given.ids.tolist())
        keys = {token: _key(content) for token, content in contents.items() if token not in known}
        missing = [token for token, key in keys.items() if key not in store.rows]
        if missing:
            encoder = LOADERS[kind](model)
            for start in steps(range(0, len(missing), self.batch_size), f"encoding {modality}"):
                batch = missing[start : start + self.batch_size]
                store.add([keys[token] for token in batch], encoder([contents[token] for token in batch]))
        spool = Spool(f"--encode {modality}", None, self.half, self.output)
        for ids, values in () if given is None else given.blocks():
            spool.add(ids, values)
        tokens = list(keys)
        for start in range(0, len(tokens), 1024):
            chunk = tokens[start : start + 1024]
            spool.add(chunk, store.values([keys[token] for token in chunk]))
        print(
            f"{modality}: {len(known):,} given, {len(keys) - len(missing):,} kept from before, {len(missing):,} encoded"
        )
        return spool.finish()


@dataclass
class Store:
    """Finished batches on disk, so that an interruption loses one batch at most; keyed by what was encoded.

    Attributes:
        folder: one npz for each batch; it belongs to one model.
        rows: {key of a content: (file number, row)}.
    """

    folder: Path
    rows: dict[str, tuple[int, int]] = field(default_factory=dict)
    parts: list[np.ndarray] = field(default_factory=list)

    def __post_init__(self) -> None:
        remove_leftovers(self.folder, ["*.npz"])
        for path in sorted(self.folder.glob("*.npz")):
            try:
                with np.load(path) as file:
                    self._register(file["keys"], file["values"])
            except (OSError, ValueError, KeyError) as error:
                raise DataError(f"{path} cannot be read ({error}); delete it, and its batch is encoded anew.") from None

    def _register(self, keys: Iterable[str], values: np.ndarray) -> None:
        for row, key in enumerate(keys):
            self.rows[str(key)] = (len(self.parts), row)
        self.parts.append(values)

    def add(self, keys: Sequence[str], values: np.ndarray) -> None:
        """(B,) keys and their (B, D) vectors."""
        with atomic_file(self.folder / f"{_digest(''.join(keys).encode())}.npz", "wb") as file:
            np.savez(file, keys=keys, values=values)
        self._register(keys, values)

    def values(self, keys: Iterable[str]) -> np.ndarray:
        """(len(keys), D)"""
        return np.stack([self.parts[part][row] for part, row in map(self.rows.__getitem__, keys)])


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:32]


def _identity(model: str) -> str:
    """A local model is another one when its files have changed."""
    files = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in sorted(Path(model).rglob("*.*"))]
    return f"{model} {files}"


def _key(content: str | Path) -> str:
    return _digest(content.read_bytes() if isinstance(content, Path) else content.encode())


def _pictures(folder: str | Path | None, ids: Iterable[str]) -> dict[str, Path]:
    there = {path.name: path for path in Path(str(folder)).iterdir() if path.suffix.lower() in PICTURES}
    found = {token: [there[f"{token}{suffix}"] for suffix in PICTURES if f"{token}{suffix}" in there] for token in ids}
    return {token: paths[0] for token, paths in found.items() if paths}
