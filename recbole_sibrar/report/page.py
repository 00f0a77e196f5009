"""One self-contained HTML page from a folder of results."""

import base64
import io
import json
from collections import defaultdict
from pathlib import Path

import jinja2
import pandas as pd
import yaml

from recbole_sibrar.errors import DataError
from recbole_sibrar.files import atomic_file
from recbole_sibrar.report import figures
from recbole_sibrar.report.comparison import goodness
from recbole_sibrar.report.result import RESULT

TEMPLATE = "page.html"
# Pictures that other commands write, and what they show; each with the tables beside it.
PICTURES = {
    "curve": ("Quality against the modalities left", ("curve", "contributions", "subsets")),
    "rates": ("Quality against the share of entities that lose modalities", ("rates",)),
    "tsne": ("Embeddings by modality (t-SNE)", ("gap", "pairs")),
}


def write_page(folder, path) -> Path:
    """Gather every ``result.json`` below ``folder``, and the tables and pictures of the other commands, in one file.

    The page loads nothing from anywhere: styles are inside, pictures are data URIs.

    Raises:
        DataError: the folder is absent or holds no result; a ``result.json`` is not ours.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder of results.")
    results = [_read(file) for file in sorted(folder.rglob(RESULT)) if not _belongs_to_a_study(file)]
    studies = [study for file in sorted(folder.rglob("*.png")) if (study := _study(file, folder))]
    if not results and not studies:
        raise DataError(f"{folder} holds no result.json; run a model first, or name the folder given as --output_dir.")
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("recbole_sibrar.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template(TEMPLATE).render(
        title=folder.resolve().name, groups=_groups(results), runs=[_run(result) for result in results], studies=studies
    )
    with atomic_file(path) as file:
        file.write(page)
    return Path(path)


def _belongs_to_a_study(path):
    """Runs of ``missing --retrain``: data taken away on purpose, drawn as a curve."""
    return path.parents[1].name == "runs" and (path.parents[2] / "rates.csv").is_file()


def _read(path):
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
        usual = {"label": result["name"], "history": [], "cold_fallback": {}}
        return {**usual, **{key: result[key] for key in (*_KEYS, "valid_result")}, **result}
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} is not a result of a run ({type(error).__name__}: {error}); remove it.") from None


_KEYS = (
    "name", "dataset", "scenario", "n_parameters", "test_result", "seconds", "config", "versions",
)  # fmt: skip


def _groups(results) -> list:
    """A table for each data set and scenario, best values marked."""
    groups = defaultdict(list)
    for result in results:
        groups[result["dataset"], result["scenario"]].append(result)
    return [_group(f"{dataset}, {scenario}", members) for (dataset, scenario), members in sorted(groups.items())]


def _group(title, members):
    metrics = list(dict.fromkeys(metric for result in members for metric in result["test_result"]))
    values = pd.DataFrame([result["test_result"] for result in members], columns=metrics, dtype=float)
    best = {metric: _best(metric, values[metric]) for metric in metrics}
    rows = [
        {
            "name": result["name"],
            "note": "; ".join(f"cold {side}s: {what}" for side, what in result["cold_fallback"].items()),
            "cells": [
                {"text": "" if pd.isna(value) else f"{value:.4f}", "best": value == best[metric]}
                for metric, value in values.iloc[position].items()
            ],
            "label": result["label"],
            "parameters": f"{result['n_parameters']:,}",
            "seconds": f"{result['seconds']['training']:.0f}",
        }
        for position, result in enumerate(members)
    ]
    return {"title": title, "metrics": metrics, "rows": rows}


def _best(metric, values):
    return values.loc[goodness(metric, values).idxmax()] if values.notna().any() else None


def _run(result):
    picture = None
    if result["history"]:
        figure = figures.training_curves(result["history"], str(result["config"].get("valid_metric", "")))
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=110)
        picture = _data_uri(buffer.getvalue())
    return {
        "name": result["name"],
        "curve": picture,
        "config": yaml.safe_dump(result["config"], sort_keys=True, allow_unicode=True),
        "versions": result["versions"],
    }


def _study(file, folder):
    if file.parent.name in ("comparison", "reproduction"):
        title, tables = f"Comparison {file.stem}", (file.stem, f"{file.stem}-significance")
    elif file.stem in PICTURES:
        title, tables = PICTURES[file.stem]
    else:
        return None
    found = [(name, file.with_name(f"{name}.csv")) for name in tables]
    return {
        "title": f"{title} ({file.parent.relative_to(folder)})",
        "picture": _data_uri(file.read_bytes()),
        "tables": [(name, _table(path)) for name, path in found if path.is_file()],
    }


def _table(path):
    table = pd.read_csv(path)
    shown = table.astype(object).where(table.notna(), "")
    return {
        "columns": list(table.columns),
        "rows": [[f"{cell:.4f}" if isinstance(cell, float) else str(cell) for cell in row] for row in shown.to_numpy()],
    }


def _data_uri(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode()
