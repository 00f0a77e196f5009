"""The papers' map of the contrastive weight and the temperature: some of its cells run, ours beside theirs."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean

import pandas as pd

from recbole_sibrar.errors import OptionError
from recbole_sibrar.experiments.execute import Outcome, execute
from recbole_sibrar.experiments.plan import ModelSpec, Plan
from recbole_sibrar.experiments.published import NOISE, NOISE_SOURCE, contrast_map, judged
from recbole_sibrar.experiments.reproduce import plan_paper_runs
from recbole_sibrar.experiments.runs import Run
from recbole_sibrar.files import owned
from recbole_sibrar.report import figures
from recbole_sibrar.report.tables import escape_markdown, markdown, write_csv, write_latex, write_markdown

MODEL, SCENARIO, METRIC = "SiBraR_SC", "warm", "NDCG@10"
ALPHAS, TAUS = (0.0, 1e-5, 1e-3, 1e-2), (0.001, 0.01, 0.1, 0.5)
READING = (
    "Theirs are read off the colours of a figure, to about 0.0002 (ml-1m) and 0.001 (onion); of which split they are "
    "is not said, ours are of the test split"
)


def run_map(plan: Plan, alphas: Sequence[float], taus: Sequence[float]) -> tuple[pd.DataFrame, list[Outcome]]:
    """Run SiBraR_SC, warm, in each cell, and write ``<output_dir>/reproduction/<data set>-contrast.*``.

    Args:
        plan: its data set, seeds and options; its models and scenarios are not read.
        alphas, taus: contrastive weights and temperatures that the papers' map has.

    Returns:
        a row for each cell: ``contrastive_weight``, ``temperature``, ``paper``, ``ours`` (mean over seeds, NaN if none
        is finished), ``runs``, ``difference``, ``judged``; and the outcomes of all runs.

    Raises:
        OptionError: the papers have no map of the data set, or no such cell.
    """
    (dataset,) = plan.datasets
    theirs = contrast_map(dataset).set_index(["contrastive_weight", "temperature"])["value"]
    for level, (name, values) in enumerate((("alphas", alphas), ("taus", taus))):
        _check_values(dataset, name, values, theirs.index.unique(level))
        if theirs.index.names[level] in plan.options:
            raise OptionError(f"{theirs.index.names[level]} is of the map; say --{name} which of theirs are run.")
    cells = [(alpha, tau) for alpha in alphas for tau in taus]
    runs = {cell: _runs_of(plan, cell) for cell in cells}
    outcomes = execute([run for own in runs.values() for run in own], plan.jobs)
    results = {outcome.run.name: outcome.result for outcome in outcomes if outcome.result}
    rows = []
    for cell, own in runs.items():
        found = [results[run.name]["test_result"][METRIC.lower()] for run in own if run.name in results]
        ours = mean(found) if found else float("nan")
        rows.append((*cell, theirs[cell], ours, len(found), ours - theirs[cell], judged(METRIC, ours - theirs[cell])))
    names = ["contrastive_weight", "temperature", "paper", "ours", "runs", "difference", "judged"]
    table = pd.DataFrame(rows, columns=names)
    protocol = next(iter(runs.values()))[0].protocol
    _write(table, dataset, Path(plan.output_dir) / "reproduction" / f"{dataset}{protocol}-contrast")
    return table, outcomes


def remarks() -> list[str]:
    """What a reader of the table has to know."""
    return [READING, NOISE_SOURCE]


def _check_values(dataset: str, name: str, values: Iterable[float], known: Collection[float]) -> None:
    if not len(known):
        raise OptionError(f"The papers have no map of {dataset}; they have ml-1m and onion.")
    for value in values:
        if value not in known:
            raise OptionError(
                f"{name} has {value:g}, which the papers' map has not: {', '.join(f'{v:g}' for v in known)}."
            )


def _runs_of(plan: Plan, cell: tuple[float, float]) -> list[Run]:
    own = {**plan.options, "contrastive_weight": cell[0], "temperature": cell[1]}
    return plan_paper_runs(replace(plan, models=(ModelSpec(MODEL),), scenarios=(SCENARIO,), options=own))


def _write(table: pd.DataFrame, dataset: str, stem: Path) -> None:
    title = f"{dataset}, {SCENARIO}: {METRIC} of {MODEL} over α and τ, the papers' and ours"
    with owned(stem.parent):
        write_csv(table.assign(noise=NOISE[METRIC]), f"{stem}.csv")
        below = "".join(f"\n\n{escape_markdown(sentence)}." for sentence in remarks())
        write_markdown({escape_markdown(title): markdown(table) + below}, f"{stem}.md")
        write_latex(table, f"{stem}.tex", ". ".join([title, *remarks(), ""]).rstrip())
        if table["ours"].notna().any():
            figures.save(figures.paired_maps(table, METRIC), stem)
