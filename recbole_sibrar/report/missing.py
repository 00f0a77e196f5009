"""The files of a study of missing modalities."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from recbole_sibrar.data.missing import MissingOptions
from recbole_sibrar.evaluation.missing import rate_study, subset_study, subset_values
from recbole_sibrar.evaluation.subsets import contributions, quality_curve
from recbole_sibrar.evaluation.trained import Trained
from recbole_sibrar.report import figures
from recbole_sibrar.report.tables import write_csv, write_markdown, write_sources


def write_subset_study(
    models: Sequence[Trained],
    side: str | None,
    phase: str,
    limit: int,
    seed: int,
    output: Path | str,
    metric: str,
    progress: bool = True,
) -> dict[str, pd.DataFrame]:
    """Evaluate models on subsets of their modalities and write what comes out.

    Writes ``subsets.csv`` (a row per model and subset, every metric with its spread over the users), ``curve.csv`` and
    ``curve.pdf``/``.svg``/``.png`` (quality against the number of modalities left), ``contributions.csv``,
    ``missing.md`` and ``data.json``.

    Args:
        models: ``TrainedModel`` objects with distinct names.
        side: ``user``, ``item``, or None for each model's own.
        metric: of the curve and the contributions, such as ``ndcg@10``.

    Returns:
        {"subsets" | "curve" | "contributions": table}.
    """
    tables = [subset_study(model, model.side(side), phase, limit, seed, progress) for model in models]
    subsets = pd.concat(tables, ignore_index=True)
    values = {model.name: subset_values(subsets, model.name, metric) for model in models}
    curves = {name: quality_curve(own) for name, own in values.items()}
    gains = {
        model.name: contributions(values[model.name], model.modalities(model.side(side), phase)) for model in models
    }
    curve, gain = (pd.concat(parts, names=["model"]).reset_index(level=0) for parts in (curves, gains))
    curve.insert(1, "metric", metric)
    output = Path(output)
    write_sources(models, output)
    for name, table in (("subsets", subsets), ("curve", curve), ("contributions", gain)):
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


def write_rate_study(
    models: Sequence[Trained],
    side: str | None,
    phase: str,
    rates: Sequence[float],
    options: MissingOptions,
    output: Path | str,
    metric: str,
    retrain: bool = False,
    progress: bool = True,
) -> pd.DataFrame:
    """Evaluate models at rising rates of loss; with ``retrain`` train them at each rate too, below ``output/runs``.

    Writes ``rates.csv`` and ``rates.pdf``/``.svg``/``.png``, with the lines ``<model>`` (loss in evaluation only) and
    ``<model>, trained so`` (loss in both).
    """
    tables = [rate_study(model, model.side(side), phase, rates, options, progress) for model in models]
    if retrain:
        tables += [_trained_at_rates(model, rates, options, Path(output) / "runs") for model in models]
    table = pd.concat(tables, ignore_index=True)
    write_sources(models, output)
    write_csv(table, Path(output) / "rates.csv")
    figures.save(figures.degradation_curves(table, metric), Path(output) / "rates")
    return table


def _trained_at_rates(
    model: Trained, rates: Sequence[float], options: MissingOptions, folder: Path | str
) -> pd.DataFrame:
    rows = []
    for rate in rates:
        name = f"{model.name}-{model.dataset}-{model.scenario}-{options.pattern}{rate:g}-seed{options.seed}"
        metrics = model.train_again(options.at(rate), folder, name)
        rows.append({"model": f"{model.name}, trained so", "rate": rate, **metrics})
    return pd.DataFrame(rows)
