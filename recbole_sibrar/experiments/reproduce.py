"""The papers' tables: their settings run on their data sets, our figures beside theirs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from recbole_sibrar.errors import OptionError, nearest
from recbole_sibrar.experiments.compare import write_comparisons
from recbole_sibrar.experiments.execute import Outcome, execute
from recbole_sibrar.experiments.plan import ModelSpec, Plan
from recbole_sibrar.experiments.runs import Run, check_options_used, known_options, plan_run
from recbole_sibrar.properties import props_folder, read_layers, read_property_file
from recbole_sibrar.recbole_plugin.run import make_config
from recbole_sibrar.report.comparison import Comparison
from recbole_sibrar.report.tables import write_csv, write_markdown

REFERENCE = "SiBraR_SC"
PREFIX = "paper-"  # of the folders of runs, which are not those of our own settings


def paper_folder() -> Path:
    return props_folder() / "paper"


def paper_datasets() -> list[str]:
    return sorted(_tables())


def paper_scenarios(dataset: str) -> list[str]:
    return sorted(_tables()[dataset])


def _tables() -> dict[str, list[str]]:
    return read_property_file(paper_folder() / "scenarios.yaml")


def paper_models() -> dict[str, ModelSpec]:
    """{the papers' name: our ``ModelSpec``}."""
    names = read_property_file(paper_folder() / "models.yaml")
    return {name: ModelSpec.parse(given) for name, given in names.items()}


def published(dataset: str) -> pd.DataFrame:
    """The papers' figures for a data set: ``scenario``, ``model``, ``metric``, ``value``, ``source``."""
    table = pd.read_csv(paper_folder() / "results.csv", comment="#")
    return table[table["dataset"] == dataset].drop(columns="dataset").reset_index(drop=True)


def settings(dataset: str, scenario: str, model: str) -> dict[str, Any]:
    """The papers' settings of a model; empty for one that has none, such as Pop."""
    return read_layers(paper_folder(), (dataset, scenario), model)


def plan_paper_runs(plan: Plan) -> list[Run]:
    """The runs of a plan, whose models are the papers' names, with the papers' settings.

    Raises:
        SibrarError: the papers have no such model or scenario for the data set, or an option is wrong.
    """
    known_models, runs, used = paper_models(), [], set()
    (dataset,) = plan.datasets
    for scenario in plan.scenarios:
        if scenario not in paper_scenarios(dataset):
            raise OptionError(
                f"The papers have no {scenario} table for {dataset}. {nearest(scenario, paper_scenarios(dataset))}"
            )
        for name in (spec.model for spec in plan.models):
            if name not in known_models:
                raise OptionError(f"{name!r} is no model of the papers. {nearest(name, known_models)}")
            spec = known_models[name]
            own = {**plan.common_options, **settings(dataset, scenario, spec.model), **spec.given}
            config = make_config(spec.model, dataset, options={**own, "scenario": scenario})
            common = known_options(plan.options, config)
            used |= set(common)
            for seed in plan.all_seeds:
                runs.append(plan_run(name, spec.model, dataset, scenario, seed, {**own, **common}, PREFIX, own))
    check_options_used(plan.options, used)
    return runs


def beside_the_paper(dataset: str, comparisons: Sequence[Comparison]) -> pd.DataFrame:
    """The papers' figures and ours: ``paper``, ``ours`` (mean over seeds, NaN if not run), ``std``, ``difference``."""
    tables = {comparison.scenario: comparison.table.set_index("model") for comparison in comparisons}
    rows = []
    for figure in published(dataset).itertuples():
        if figure.scenario not in tables:
            continue
        ours = tables[figure.scenario].reindex([figure.model])
        value, deviation = (
            float(ours[name].iloc[0]) if name in ours else float("nan")
            for name in (figure.metric.lower(), f"{figure.metric.lower()}_std")
        )
        rows.append(
            {
                "scenario": figure.scenario,
                "model": figure.model,
                "metric": figure.metric,
                "paper": figure.value,
                "ours": value,
                "std": deviation,
                "difference": value - figure.value,
                "source": figure.source,
            }
        )
    return pd.DataFrame(rows)


def reproduce(plan: Plan) -> tuple[pd.DataFrame, list[Comparison], list[Outcome]]:
    """Run the papers' table for one data set and write ``<output_dir>/reproduction/``.

    Returns:
        the table of ``beside_the_paper``, the comparisons, and the outcomes of runs that failed.
    """
    outcomes = execute(plan_paper_runs(plan), plan.jobs)
    folder = Path(plan.output_dir) / "reproduction"
    labels = [spec.model for spec in plan.models]
    reference = REFERENCE if REFERENCE in labels else labels[0]
    comparisons, failed = write_comparisons(outcomes, reference, plan.columns, folder)
    (dataset,) = plan.datasets
    table = beside_the_paper(dataset, comparisons)
    write_csv(table, folder / f"{dataset}-paper.csv")
    write_markdown({f"{dataset}: the papers' figures and ours": table}, folder / f"{dataset}-paper.md")
    return table, comparisons, failed
