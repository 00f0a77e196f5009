"""The files of a study of missing modalities."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from recbole_sibrar.data.missing import MissingOptions
from recbole_sibrar.evaluation.missing import over_seeds, rate_study, retrained_study, subset_study, subset_values
from recbole_sibrar.evaluation.subsets import contributions, quality_curve
from recbole_sibrar.evaluation.trained import Trained
from recbole_sibrar.report import figures
from recbole_sibrar.report.tables import escape_markdown, write_csv, write_markdown, write_sources


def write_subset_study(
    models: Sequence[Trained],
    rows: Sequence[str],
    side: str | None,
    phase: str,
    limit: int,
    seed: int,
    output: Path | str,
    metric: str,
) -> dict[str, pd.DataFrame]:
    """Evaluate models on subsets of their modalities and write what comes out.

    Writes ``subsets.csv`` (a row per run and subset, every metric with its spread over the users), ``curve.csv`` and
    ``curve.pdf``/``.svg``/``.png`` (quality against the number of modalities left, over the seeds of a model),
    ``contributions.csv`` (likewise), ``missing.md`` and ``data.json``.

    Args:
        models: ``TrainedModel`` objects with distinct names.
        rows: the name of each in what is over seeds, which those of a model share.
        side: ``user``, ``item``, or None for each model's own.
        metric: of the curve and the contributions, such as ``ndcg@10``.

    Returns:
        {"subsets" | "curve" | "contributions": table}.
    """
    tables = [subset_study(model, model.side(side), phase, limit, seed) for model in models]
    subsets = pd.concat(tables, ignore_index=True)
    runs = {row: [model.name for model, own in zip(models, rows) if own == row] for row in rows}
    values = {row: subset_values(subsets, names, metric) for row, names in runs.items()}
    curves = {row: quality_curve(own) for row, own in values.items()}
    gains = {row: contributions(own, max(own, key=len)) for row, own in values.items()}
    curve, gain = (pd.concat(parts, names=["model"]).reset_index(level=0) for parts in (curves, gains))
    for table in (curve, gain):
        table.insert(1, "n_seeds", table["model"].map({row: len(names) for row, names in runs.items()}))
    curve.insert(1, "metric", metric)
    output = Path(output)
    write_sources(models, output / "data.json", [{"side": model.side(side), "phase": phase} for model in models])
    for name, table in (("subsets", subsets.drop(columns="subset")), ("curve", curve), ("contributions", gain)):
        write_csv(table, output / f"{name}.csv")
    figures.save(figures.quality_curves(curves, metric), output / "curve")
    shown = ["model", "modalities", "n_modalities", metric, f"{metric}_std", "n_users"]
    write_markdown(
        {
            f"{metric.upper()} by number of modalities left ({phase} split)": curve,
            "What each modality adds": gain,
            "Every subset": subsets[shown],
        },
        output / "missing.md",
    )
    return {"subsets": subsets, "curve": curve, "contributions": gain}


@dataclass(frozen=True)
class Studied:
    """What is kept of a model that was studied: see ``Trained``."""

    name: str
    path: Path
    data: dict[str, str]
    config: Any


def write_rate_study(
    models: Iterable[Trained],
    side: str | None,
    phase: str,
    rates: Sequence[float],
    grid: Sequence[MissingOptions],
    output: Path | str,
    metric: str,
) -> tuple[pd.DataFrame, list[Studied]]:
    """Evaluate models, one after the other, at rising rates of loss; train them at each, too, below ``output/runs``,
    where content is to be missing in training.

    Writes ``rates.csv`` (a row for each run), ``rates-mean.csv`` (over the seeds of a model), ``rates.md``, which says
    what was measured, ``rates.pdf``/``.svg``/``.png``, a panel for each pattern and each place of the loss, and
    ``rates.json``.

    Args:
        models: those of one name are seeds of one model.
        grid: the patterns, the phases in which content is missing, and the seed of the draws.

    Returns:
        what ``rates.csv`` holds, and what was studied.
    """
    output, tables, studied = Path(output), [], []
    sides: dict[str, str] = {}
    for model in models:
        own = model.side(side)
        sides[own] = list(dict.fromkeys([*sides.get(own, ()), *model.core.modalities[own].content.names]))
        for options in grid:
            if options.phase == "evaluation":
                tables.append(rate_study(model, own, phase, rates, options))
            else:
                tables.append(retrained_study(model, own, phase, rates, options, output / "runs"))
        studied.append(Studied(model.name, model.path, model.data, model.config))
    table = pd.concat(tables, ignore_index=True)
    means = over_seeds(table, metric)
    write_sources(studied, output / "rates.json")
    write_csv(table, output / "rates.csv")
    write_csv(means, output / "rates-mean.csv")
    write_markdown(
        {"What was measured": _measured(studied, sides, phase, grid, metric), "Over seeds": means}, output / "rates.md"
    )
    figures.save(figures.degradation_panels(means, metric), output / "rates")
    return table, studied


def _measured(
    studied: Sequence[Studied], sides: dict[str, list[str]], phase: str, grid: Sequence[MissingOptions], metric: str
) -> str:
    """In sentences."""
    seeds = {name: sorted(own.config["seed"] for own in studied if own.name == name) for name in _names(studied)}
    config = studied[0].config
    content = "; ".join(f"{side}s: {', '.join(map(escape_markdown, names))}" for side, names in sides.items())
    lines = [
        f"{metric.upper()} on the {phase} split of {escape_markdown(config['dataset'])}, {config['scenario']}. At rate "
        f"r a share r of the entities that have a modality lose it, each modality by itself ({content}); interactions "
        "stay.",
        f"Draws: seed {grid[0].seed}; a higher rate takes the same and more.",
        "`evaluation`: models trained on everything; `train`, `both`: trained again at each rate.",
        "Intervals: 95 % over the splits of a model's runs; none of one split.",
        *(f"- {escape_markdown(name)}: seeds {', '.join(map(str, own))}" for name, own in seeds.items()),
    ]
    return "\n".join(lines)


def _names(studied: Sequence[Studied]) -> list[str]:
    return list(dict.fromkeys(own.name for own in studied))
