"""Property files: where they are, and how they and typed values are read, without ``eval``."""

import ast
import re
from pathlib import Path

import yaml

from recbole_sibrar.errors import OptionError

PACKAGE = Path(__file__).resolve().parent


def props_folder() -> Path:
    """The property files: inside the installed package, or at the top of the repository in a checkout."""
    installed = PACKAGE / "props"
    return installed if installed.is_dir() else PACKAGE.parent / "props"


def parse_value(text):
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
    except yaml.YAMLError:
        return text
    return value if isinstance(value, (bool, int, float, list, dict)) else text


def read_property_file(path) -> dict:
    """A YAML property file.

    Raises:
        OptionError: it is absent, malformed, or no mapping.
    """
    path = Path(path)
    if not path.is_file():
        raise OptionError(f"{path}: no such property file.")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise OptionError(f"{path} is not YAML: {error}") from None
    if not isinstance(values or {}, dict):
        raise OptionError(f"{path}: expected 'option: value' lines, got {type(values).__name__}.")
    return {key: parse_value(value) for key, value in (values or {}).items()}
