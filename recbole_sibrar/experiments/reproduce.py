"""The papers' tables: their settings run on their data sets, our figures beside theirs."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from recbole_sibrar.errors import OptionError, nearest
from recbole_sibrar.evaluation.protocol import described
from recbole_sibrar.experiments.compare import write_comparisons
from recbole_sibrar.experiments.execute import Outcome, execute
from recbole_sibrar.experiments.plan import ModelSpec, Plan
from recbole_sibrar.experiments.published import (
    NOISE,
    NOISE_SOURCE,
    judged,
    labels,
    our_metric,
    paper_models,
    paper_scenarios,
    protocol,
    published,
    settings,
)
from recbole_sibrar.experiments.runs import Run, check_options_used, known_options, plan_run
from recbole_sibrar.recbole_plugin.prepared import make_config
from recbole_sibrar.report.comparison import Comparison
from recbole_sibrar.report.tables import escape_markdown, markdown, write_csv, write_latex, write_markdown

REFERENCE = "SiBraR_SC"
MODALITY_OPTIONS = {"item_modalities", "user_modalities"}
FALLBACK = "ours is a fallback"
PREFIX = "paper-"  # of the folders of runs, which are not those of our own settings


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
        for name in _names(plan, known_models):
            spec = known_models[name]
            own = {
                **plan.common_options,
                **protocol(scenario),
                **settings(dataset, scenario, spec.model),
                **spec.given,
            }
            config = make_config(spec.model, dataset, options={**own, "scenario": scenario})
            common = known_options(plan.options, config)
            used |= set(common)
            for seed in plan.all_seeds:
                runs.append(plan_run(name, spec.model, dataset, scenario, seed, {**own, **common}, PREFIX, own))
    check_options_used(plan.options, used)
    return runs


def _names(plan: Plan, known: dict[str, ModelSpec]) -> list[str]:
    """The names that a plan's models are run under, each once."""
    names = [spec.model for spec in plan.models]
    for name in names:
        if name not in known:
            raise OptionError(f"{name!r} is no model of the papers. {nearest(name, known)}")
        if known[name].name is not None and not MODALITY_OPTIONS & set(plan.options):
            raise OptionError(
                f"Which modality {name} was trained with is not known; say it, for example with "
                "--item_modalities=interactions,plot."
            )
    return list(dict.fromkeys(labels()[name] for name in names))


def beside_the_paper(
    dataset: str, comparisons: Sequence[Comparison], protocols: Mapping[str, str] | None = None
) -> pd.DataFrame:
    """The papers' figures and ours, of the scenarios that were run.

    Args:
        protocols: {scenario: the options of ours that are the protocol's}.

    Returns:
        ``scenario``, ``model``, ``metric``, ``paper``, ``trust``, ``ours`` (mean over seeds, NaN if not run), ``std``,
        ``runs``, ``difference``, ``noise`` (NaN if none is published), ``judged``, ``protocol``, ``source``.
    """
    tables = {comparison.scenario: comparison.table.set_index("model") for comparison in comparisons}
    rows, run_as = [], labels()
    for figure in published(dataset).itertuples():
        if figure.scenario not in tables:
            continue
        ours = tables[figure.scenario].reindex([run_as.get(figure.model, figure.model)])
        name = our_metric(figure.metric)
        value, deviation, n_runs = (
            float(ours[column].iloc[0]) if column in ours else float("nan")
            for column in (name, f"{name}_std", "n_seeds")
        )
        difference = value - figure.value
        is_fallback = bool(ours["fallback"].eq(True).any())
        rows.append(
            {
                "scenario": figure.scenario,
                "model": figure.model,
                "metric": figure.metric,
                "paper": figure.value,
                "trust": figure.trust,
                "ours": value,
                "std": deviation,
                "runs": 0 if pd.isna(n_runs) else int(n_runs),
                "difference": difference,
                "noise": NOISE.get(figure.metric, float("nan")),
                "judged": FALLBACK if is_fallback else judged(figure.metric, difference),
                "protocol": (protocols or {}).get(figure.scenario, ""),
                "source": figure.source,
            }
        )
    table = pd.DataFrame(rows)
    return table.sort_values("scenario", kind="stable", ignore_index=True) if rows else table


def of_both(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of ``beside_the_paper`` that have a figure of ours, without what is said once below the table."""
    return table[table["ours"].notna()].drop(columns=["protocol", "source"]) if len(table) else table


def remarks(table: pd.DataFrame) -> list[str]:
    """What a reader of ``beside_the_paper`` has to know: the protocol of each scenario, the noise, the trust."""
    if not len(table):
        return []
    protocols = table.drop_duplicates("scenario").set_index("scenario")["protocol"]
    said = "; ".join(f"{scenario}: {text}" for scenario, text in protocols.items())
    sentences = [f"Our protocol: {said}", NOISE_SOURCE]
    if (table["judged"] == FALLBACK).any():
        sentences.append(
            "A model without content has no score for what is cold: ours then gives cold users the popular items and "
            "puts cold items in random order, the authors rank by whatever an untrained score is"
        )
    if (table["trust"] != "exact").any():
        sentences.append("Unverified figures come from a summary and were not compared with the paper")
    return sentences


def reproduce(plan: Plan) -> tuple[pd.DataFrame, list[Comparison], list[Outcome]]:
    """Run the papers' table for one data set and write ``<output_dir>/reproduction/``.

    Returns:
        the table of ``beside_the_paper``, the comparisons, and the outcomes of runs that failed.
    """
    runs = plan_paper_runs(plan)
    outcomes = execute(runs, plan.jobs)
    folder = Path(plan.output_dir) / "reproduction"
    names = [run.label for run in runs]
    reference = REFERENCE if REFERENCE in names else names[0]
    comparisons, failed = write_comparisons(outcomes, reference, plan.columns, folder)
    (dataset,) = plan.datasets
    table = beside_the_paper(dataset, comparisons, {run.scenario: described(run.config) for run in runs})
    title, below = f"{dataset}: the papers' figures and ours", remarks(table)
    stem = folder / f"{dataset}{runs[0].protocol}-paper"
    write_csv(table, f"{stem}.csv")
    shown = markdown(of_both(table)) + "".join(f"\n\n{escape_markdown(sentence)}." for sentence in below)
    write_markdown({title: shown}, f"{stem}.md")
    write_latex(of_both(table), f"{stem}.tex", ". ".join([title, *below, ""]).rstrip())
    return table, comparisons, failed
