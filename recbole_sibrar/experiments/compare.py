"""From a plan to runs, and from runs to tables, tests and figures."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from recbole_sibrar.errors import OptionError, nearest
from recbole_sibrar.experiments.choose import Key, cells, choose
from recbole_sibrar.experiments.execute import Outcome, execute
from recbole_sibrar.experiments.plan import Plan
from recbole_sibrar.experiments.runs import Run, check_distinct
from recbole_sibrar.files import owned
from recbole_sibrar.recbole_plugin.checks import computed_metrics
from recbole_sibrar.recbole_plugin.config import Config
from recbole_sibrar.report.collection import protocol_of
from recbole_sibrar.report.comparison import Comparison, Entry, compared, default_columns, write_comparison

SECONDS_TO_WRITE = 120  # what another comparison may take to write into the same folder


def plan_runs(plan: Plan, chosen: dict[Key, dict[str, Any]] | None = None) -> list[Run]:
    """Every run of a plan, checked; nothing is started.

    Args:
        chosen: options that were tuned, of ``choose``.

    Raises:
        SibrarError: a model, option, scenario or data set is wrong.
    """
    chosen = chosen or {}
    runs = [cell.run(seed, chosen.get(cell.key, {})) for cell in cells(plan) for seed in plan.all_seeds]
    check_distinct(runs)
    _check_one_protocol(runs)
    reference_label(plan, runs)
    for run in runs:
        _check_columns(plan.columns, run.config)
    return runs


def reference_label(plan: Plan, runs: Sequence[Run]) -> str:
    """The label of the reference model, which may be given as label or as written in ``models``."""
    labels = list(dict.fromkeys(run.label for run in runs))
    if plan.reference is None:
        return labels[0]
    written = dict(zip(map(str, plan.models), labels))
    label = written.get(plan.reference, plan.reference)
    if label not in labels:
        raise OptionError(f"The reference {plan.reference!r} is not compared. {nearest(plan.reference, labels)}")
    return label


def _check_one_protocol(runs: Iterable[Run]) -> None:
    first: dict[tuple[str, str], Run] = {}
    for run in runs:
        other = first.setdefault((run.dataset, run.scenario), run)
        wanted = dict(protocol_of(other.config))
        for name, value in protocol_of(run.config):
            if value != wanted.get(name):
                raise OptionError(
                    f"{name} is {value} for {run.label} and {wanted.get(name)} for {other.label}, which are to be "
                    "in one table; give it to all of the models."
                )


def _check_columns(columns: Iterable[str] | None, config: Config) -> None:
    known = computed_metrics(config)
    for column in columns or ():
        if column not in known:
            raise OptionError(f"columns names {column!r}, which is not computed. {nearest(column, known)}")


def compare(plan: Plan) -> tuple[list[Comparison], list[Outcome]]:
    """Make the runs of a plan, with options that are chosen before if it has ``tuning``, and write
    ``<output_dir>/comparison/``.

    Returns:
        the comparisons, one for each data set and scenario, and the outcomes of runs that failed.
    """
    runs = plan_runs(plan)
    if plan.tuning:
        runs = plan_runs(plan, choose(plan))
    outcomes = execute(runs, plan.jobs)
    remarks = plan.tuning.sentences if plan.tuning else ()
    folder = Path(plan.output_dir) / "comparison"
    return write_comparisons(outcomes, reference_label(plan, runs), plan.columns, folder, remarks)


def write_comparisons(
    outcomes: Sequence[Outcome],
    reference: str,
    columns: Sequence[str] | None,
    folder: str | Path,
    remarks: Sequence[str] = (),
) -> tuple[list[Comparison], list[Outcome]]:
    """Tables, tests and figures of runs that are done; the same return value as ``compare``.

    Args:
        remarks: sentences on how the runs came about, to be said below every table.
    """
    comparisons = []
    with owned(folder, SECONDS_TO_WRITE):
        for dataset, scenario in dict.fromkeys((o.run.dataset, o.run.scenario) for o in outcomes):
            own = [o for o in outcomes if (o.run.dataset, o.run.scenario) == (dataset, scenario)]
            comparison = comparison_of(dataset, scenario, own, reference, columns)
            protocol = (*comparison.protocol, *remarks)
            comparison = replace(comparison, protocol=protocol, in_names=own[0].run.protocol)
            write_comparison(comparison, folder)
            comparisons.append(comparison)
    return comparisons, [outcome for outcome in outcomes if outcome.error]


def comparison_of(
    dataset: str, scenario: str, outcomes: Sequence[Outcome], reference: str, columns: Sequence[str] | None = None
) -> Comparison:
    """One table: all models on one data set in one scenario."""
    config = outcomes[0].run.config
    labels = dict.fromkeys(outcome.run.label for outcome in outcomes)
    groups = {label: [o for o in outcomes if o.run.label == label] for label in labels}
    entries = [
        Entry(label, tuple(o.result for o in own if o.result), len(own), next((o.error for o in own if o.error), None))
        for label, own in groups.items()
    ]
    tables = {label: [t for o in own if (t := o.per_user) is not None] for label, own in groups.items()}
    values = {label: pd.concat(parts, ignore_index=True) for label, parts in tables.items() if parts}
    seeds = list(dict.fromkeys(outcome.run.seed for outcome in outcomes))
    columns = list(columns or default_columns(config))
    return compared(dataset, scenario, seeds, config, entries, values, reference, columns)
