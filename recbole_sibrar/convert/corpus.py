"""A corpus as a sub-command of ``convert``: what its file declares, and the arguments that several have."""

from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recbole_sibrar.convert.assemble import agree
from recbole_sibrar.convert.encoders import MODELS, Encode
from recbole_sibrar.errors import OptionError


@dataclass(frozen=True)
class Corpus:
    """
    Attributes:
        name: of the sub-command, and of the data set where ``--name`` gives no other.
        help, description: for ``--help``.
        add_arguments: adds the arguments that only this corpus has.
        convert: writes the data set and returns its folder.
        k_core: the default of ``--k-core``.
        has_folder: whether the raw files lie in a folder, ``--raw``.
        filters: {argument: value} of ``--paper``; none for other data.
    """

    name: str
    help: str
    description: str
    add_arguments: Callable[[ArgumentParser], None]
    convert: Callable[[Namespace], Path]
    k_core: int = 5
    has_folder: bool = True
    filters: dict[str, Any] = field(default_factory=dict)

    def add_to(self, parser: ArgumentParser) -> None:
        """The arguments that all corpora have, and its own."""
        parser.add_argument("--output", default="atomic_data", metavar="DIR", help="default: %(default)s")
        if self.has_folder:
            parser.add_argument("--raw", required=True, metavar="DIR", help="the folder with the raw files")
            parser.add_argument("--name", default=self.name, help="of the data set (default: %(default)s)")
        parser.add_argument(
            "--k-core", type=int, default=self.k_core, metavar="K", help="0 turns it off (default: %(default)s)"
        )
        parser.add_argument("--float16", action="store_true", help="store vectors in half the space")
        self.add_arguments(parser)
        if self.filters:
            said = ", ".join(_as_typed(name, value) for name, value in self.filters.items())
            parser.add_argument("--paper", action="store_true", help=f"the papers' data set: {said}")
            parser.set_defaults(defaults={name: parser.get_default(name) for name in self.filters})

    def run(self, arguments: Namespace) -> Path:
        """Convert as the arguments say; ``--paper`` sets those that are not given.

        Raises:
            OptionError: an argument contradicts ``--paper``.
        """
        for name, value in self.filters.items() if getattr(arguments, "paper", False) else ():
            given = getattr(arguments, name)
            if given != arguments.defaults[name] and not agree(given, value):
                raise OptionError(
                    f"{_as_typed(name, given)} contradicts --paper, which stands for {_as_typed(name, value)}; leave "
                    "one of them out."
                )
            setattr(arguments, name, value)
        return self.convert(arguments)


def _as_typed(name: str, value: object) -> str:
    flag = f"--{name.replace('_', '-')}"
    if isinstance(value, bool):
        return flag if value else f"without {flag}"
    values = value if isinstance(value, (list, tuple)) else [value]
    return " ".join([flag, *map(str, values)])


def add_ages(parser: ArgumentParser, help: str) -> None:
    parser.add_argument("--ages", type=int, nargs=2, metavar=("FIRST", "LAST"), help=f"{help} (default: all)")


def add_item_vectors(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--item-vectors", nargs="+", default=[], metavar="NAME=FILE",
        help="embeddings with ids: npz, npy, tsv, csv, parquet",
    )  # fmt: skip


def add_encoders(parser: ArgumentParser) -> None:
    group = parser.add_argument_group("encoders", "need pip install 'recbole-sibrar[encoders]'")
    group.add_argument(
        "--encode", nargs="+", default=[], metavar="NAME=KIND",
        help="make vectors of the items' text of this name, or of pictures: plot=text poster=image; "
        "items with a vector from --item-vectors are left as they are",
    )  # fmt: skip
    for kind, model in MODELS.items():
        group.add_argument(
            f"--{kind}-model", default=model, metavar="MODEL", help="a name on the Hugging Face hub or a folder "
            "(default: %(default)s)",
        )  # fmt: skip
    group.add_argument("--images", metavar="DIR", help="the pictures, <item id>.jpg, .png or .webp")
    group.add_argument("--encode-batch-size", type=int, default=32, metavar="N", help="default: %(default)s")


def encoders(arguments: Namespace) -> Encode | None:
    """What the arguments of ``add_encoders`` ask for."""
    kinds = named_values(arguments.encode, "--encode", "plot=text", "kind")
    if not kinds:
        return None
    return Encode(
        kinds, arguments.output, arguments.text_model, arguments.image_model, arguments.images,
        arguments.encode_batch_size, arguments.float16,
    )  # fmt: skip


def named_values(arguments: list[str], option: str, example: str, what: str = "file") -> dict[str, Any]:
    """``name=value`` arguments to ``{name: value}``.

    Args:
        what: a value is, for messages.

    Raises:
        OptionError: an argument of another form, or a name given twice.
    """
    values = {}
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if not (name and equals and value):
            raise OptionError(f"{option} {argument!r}: expected name={what}, for example {example}.")
        if name in values:
            raise OptionError(f"{option}: {name!r} is given twice.")
        values[name] = value
    return values
