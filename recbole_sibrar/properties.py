"""Property files: where they are, and how they and typed values are read, without ``eval``."""

import ast
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from recbole_sibrar.errors import OptionError, nearest

PACKAGE = Path(__file__).resolve().parent

QUIET = {"state": "ERROR", "show_progress": False}
"""Options of a run that says nothing."""

# Options whose values are text, whatever they look like: a run can be called 2020, a column 1e3.
TEXTS = {
    "model", "dataset", "data_path", "output_dir", "checkpoint_dir", "wandb_project", "field_separator",
    "seq_separator", "USER_ID_FIELD", "ITEM_ID_FIELD", "RATING_FIELD", "TIME_FIELD", "LABEL_FIELD", "NEG_PREFIX",
    "inter_matrix_type",
}  # fmt: skip
OPTIONAL_TEXTS = {"run_name", "user_inter_num_interval", "item_inter_num_interval"}
# Options that list names, ``genres,plot`` or ``[genres, plot]``.
NAME_LISTS = {
    "item_modalities", "user_modalities", "eval_item_modalities", "eval_user_modalities", "metrics",
    "benchmark_filename", "normalize_field",
}  # fmt: skip


def props_folder() -> Path:
    """The property files: inside the installed package, or at the top of the repository in a checkout."""
    installed = PACKAGE / "props"
    return installed if installed.is_dir() else PACKAGE.parent / "props"


def parse_value(text: object) -> Any:
    """A value typed on the command line: a Python literal, else YAML, else the text itself. Nothing is evaluated.

    >>> [parse_value(text) for text in ("1e-3", "[64, 32]", "genres,plot", "true", "None", "{RS: [8, 1, 1]}")]
    [0.001, [64, 32], 'genres,plot', True, None, {'RS': [8, 1, 1]}]
    """
    if not isinstance(text, str) or re.fullmatch(r"0\d+", text):  # DMF's inter_matrix_type is '01', no octal number
        return text
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        pass
    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError):  # 2020-13-45 is a date for YAML, and none
        return text
    return value if isinstance(value, (bool, int, float, list, dict)) else text


def parse_option(name: str, text: object) -> Any:
    """The value of an option; text and names stay as they are written.

    >>> parse_option("run_name", "2020"), parse_option("item_modalities", "2020,plot"), parse_option("seed", "2020")
    ('2020', ['2020', 'plot'], 2020)
    """
    if not isinstance(text, str) or name in TEXTS:
        return text
    if name in OPTIONAL_TEXTS:
        return None if text in ("None", "~", "null") else text
    if name in NAME_LISTS:
        value = _names(text)
        return None if value in (["None"], ["~"], ["null"]) else value
    return parse_value(text)


def _names(text: str) -> list[str]:
    """``genres,plot``, ``[genres, 'my plot', 2020]`` and ``('genres', 'plot')`` to texts."""
    inner = text.strip()
    if inner[:1] + inner[-1:] in ("[]", "()"):
        try:
            values = yaml.load(f"[{inner[1:-1]}]", Loader=yaml.BaseLoader)
        except yaml.YAMLError:
            values = None
        if isinstance(values, list) and all(isinstance(value, str) for value in values):
            return values
    return [name.strip() for name in text.split(",")]


class _EachKeyOnce(yaml.SafeLoader):
    """YAML's safe loader, which takes the last of a key that is there twice; this one takes neither."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise yaml.MarkedYAMLError(problem=f"{key.value} is given twice", problem_mark=key.start_mark)
            seen.add(key.value if isinstance(key, yaml.ScalarNode) else None)
        return super().construct_mapping(node, deep)


def read_property_file(path: str | Path) -> dict[str, Any]:
    """A YAML property file.

    Raises:
        OptionError: it is absent, malformed (also where a key is there twice), or no mapping.
    """
    path = Path(path)
    if not path.is_file():
        raise OptionError(f"{path}: no such property file.")
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), _EachKeyOnce)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise OptionError(f"{path} is not YAML: {error}") from None
    except OSError as error:
        raise OptionError(f"{path} cannot be read: {error.strerror}.") from None
    if not isinstance(values or {}, dict):
        raise OptionError(f"{path}: expected 'option: value' lines, got {type(values).__name__}.")
    return {key: parse_option(key, value) for key, value in (values or {}).items()}


def read_layers(root: Path, folders: Sequence[str], model: str) -> dict[str, Any]:
    """A model's options that add up over a folder and the folders in it, the later ones winning.

    In each they stand in ``all.yaml``, of all models, and in the files with the model's name, such as ``BPR.yaml``,
    ``SiBraR+MuBraR.yaml``.

    Args:
        root: the outermost folder. folders: the names of those below it, each in the one before.

    Returns:
        {option: value}, empty where no file has the model's name.
    """
    found: dict[str, Any] = {}
    is_named = False
    for depth in range(len(folders) + 1):
        place = root.joinpath(*folders[:depth])
        own = [path for path in sorted(place.glob("*.yaml")) if model in path.stem.split("+")]
        is_named = is_named or bool(own)
        for path in [*place.glob("all.yaml"), *own]:
            found.update(read_property_file(path))
    return found if is_named else {}


PAPER = "paper"


def names_paper(name: str | Path) -> bool:
    """Whether ``paper`` or ``paper/<data set>`` is named, and not a file."""
    return Path(name).parts[:1] == (PAPER,) and not Path(name).is_file()


def read_paper(root: Path, name: str | Path, model: str, dataset: str, scenario: str) -> dict[str, Any]:
    """What the papers have for a model, below one of the folders of ``props/``.

    Args:
        root: a folder with one for each of the papers' data sets.
        name: ``paper``, of the data set that is used, or ``paper/<data set>``.

    Raises:
        OptionError: the papers do not have the data set or the model.
    """
    known = sorted(path.name for path in root.iterdir() if path.is_dir())
    wanted = "/".join(Path(name).parts[1:]) or dataset
    if wanted not in known:
        raise OptionError(
            f"{name}: the papers have no data set {wanted!r}; name one of theirs, such as {PAPER}/{known[0]}. "
            f"{nearest(wanted, known)}"
        )
    found = read_layers(root, (wanted, scenario), model)
    if not found:
        raise OptionError(f"{name}: the papers have nothing to set for {model}; leave it out.")
    return found
