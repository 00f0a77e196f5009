"""Tables as files: CSV for programs, Markdown for people."""

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import repeat
from pathlib import Path
from typing import Any

import pandas as pd

from recbole_sibrar.errors import DataError
from recbole_sibrar.evaluation.trained import Trained
from recbole_sibrar.files import atomic_file, write_json

LATEX_ESCAPES = str.maketrans(
    {
        **{character: f"\\{character}" for character in "&%$#_{}"},
        **{"\\": "\\textbackslash{}", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}"},
        **{"<": "\\textless{}", ">": "\\textgreater{}", "±": "$\\pm$"},
    }
)


def write_csv(table: pd.DataFrame, path: Path | str) -> Path:
    """Write a table whole or not at all."""
    with atomic_file(path, newline="") as file:
        table.to_csv(file, index=False)
    return Path(path)


def read_csv(path: Path | str, **options: Any) -> pd.DataFrame:
    """A table as ``write_csv`` leaves it: an empty cell is missing, and nothing else, since a user may be called NA.

    Raises:
        DataError: it is no table.
    """
    try:
        return pd.read_csv(path, keep_default_na=False, na_values=[""], **options)
    except (ValueError, OSError) as error:
        raise DataError(f"{path} is not a table of ours ({type(error).__name__}: {error}); remove it.") from None


def markdown(table: pd.DataFrame) -> str:
    """A GitHub table with four digits; a cell without a value is empty.

    >>> print(markdown(pd.DataFrame({"model": ["BPR", "Pop"], "ndcg@10": [0.25, float("nan")]})))
    | model   |   ndcg@10 |
    |---------|-----------|
    | BPR     |    0.2500 |
    | Pop     |           |
    """
    from tabulate import tabulate

    cells = table.map(lambda cell: escape_markdown(cell) if isinstance(cell, str) else cell)
    cells = cells.astype(object).where(table.notna(), None)
    return tabulate(cells, headers="keys", showindex=False, floatfmt=".4f", tablefmt="github", missingval="")


def write_sources(
    models: Sequence[Trained], path: Path | str, studied: Iterable[Mapping[str, str]] | None = None
) -> None:
    """The checkpoint of each ``TrainedModel``, the fingerprints of its data and what was ``studied`` of it, as JSON;
    seeds that share a name have those of their folders."""
    names = [model.name for model in models]
    keys = [model.name if names.count(model.name) == 1 else model.path.parent.name for model in models]
    parts = zip(keys, models, studied or repeat({}))
    write_json(path, {key: {"checkpoint": str(own.path), "data": own.data, **about} for key, own, about in parts})


def escape_markdown(text: str) -> str:
    r"""A name as it is to be read, whatever it holds; ``_`` stands between letters where it marks nothing.

    >>> print(escape_markdown("my_data <b>|*x*, one split"))
    my_data &lt;b&gt;\|\*x\*, one split
    """
    text = re.sub(r"&(?=#?\w+;)", "&amp;", " ".join(str(text).split())).replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*\[\]|~]|(?<![^\W_])_|_(?![^\W_]))", r"\\\1", text)


def write_markdown(sections: Mapping[str, pd.DataFrame | str], path: Path | str) -> Path:
    """{heading: table or text} as one Markdown file."""
    parts = []
    for heading, content in sections.items():
        parts += [f"## {heading}", markdown(content) if isinstance(content, pd.DataFrame) else content]
    with atomic_file(path) as file:
        file.write("\n\n".join(parts) + "\n")
    return Path(path)


def escape_latex(text: str) -> str:
    """A name as it is to be read.

    >>> print(escape_latex("my_data & 5 %"))
    my\\_data \\& 5 \\%
    """
    return text.translate(LATEX_ESCAPES)


def _latex_number(value: float) -> str:
    return (f"{value:.4f}" if isinstance(value, float) else str(value)).replace("-", "$-$")


def write_latex(table: pd.DataFrame, path: Path | str, caption: str) -> Path:
    """A table that may be longer than a page, with four digits; it needs the packages booktabs and longtable."""
    cells = table.map(lambda cell: escape_latex(cell) if isinstance(cell, str) else cell).rename(columns=escape_latex)
    numbers = list(cells.select_dtypes("number"))
    text = cells.style.hide(axis="index").format(_latex_number, na_rep="", subset=numbers)
    with atomic_file(path) as file:
        file.write(text.to_latex(hrules=True, environment="longtable", caption=escape_latex(caption)))
    return Path(path)
