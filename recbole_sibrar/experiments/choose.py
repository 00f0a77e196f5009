"""The options of a plan's models, chosen on validation by the same number of trials before anything is reported."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from recbole_sibrar.errors import OptionError, SibrarError
from recbole_sibrar.evaluation.significance import shared_split
from recbole_sibrar.experiments.execute import Outcome, execute
from recbole_sibrar.experiments.plan import ModelSpec, Plan, Tuning
from recbole_sibrar.experiments.runs import Run, check_options_used, known_options, plan_run
from recbole_sibrar.experiments.space import Space, find_space, own_space, read_space
from recbole_sibrar.experiments.tune import Study, check_space, without_idle
from recbole_sibrar.properties import props_folder
from recbole_sibrar.recbole_plugin.checks import check_validates, unscored_sides
from recbole_sibrar.recbole_plugin.names import model_label
from recbole_sibrar.recbole_plugin.prepared import make_config
from recbole_sibrar.report.tables import write_csv, write_markdown

FOLDER = "tuning"  # in the plan's folder of results

Key = tuple[str, str, str]
"""A model's label, a data set, a scenario."""


@dataclass(frozen=True)
class Cell:
    """A model on a data set in a scenario: what its runs share but for the seed."""

    label: str
    spec: ModelSpec
    dataset: str
    scenario: str
    options: dict[str, Any]

    @property
    def key(self) -> Key:
        return self.label, self.dataset, self.scenario

    def run(self, seed: int, options: dict[str, Any]) -> Run:
        return plan_run(self.label, self.spec.model, self.dataset, self.scenario, seed, {**self.options, **options})


def cells(plan: Plan) -> list[Cell]:
    """Every model of a plan on every data set in every scenario, checked.

    An option of the plan goes to the models that know it, so that ``temperature`` does not stop BPR; one that no model
    knows is an error. An option of a model must be known to it.

    Raises:
        SibrarError: a model, option, scenario or data set is wrong.
    """
    found, used = [], set()
    for spec in plan.models:
        own = {**plan.common_options, **spec.given, **spec.options}
        for dataset in plan.datasets:
            for scenario in plan.scenarios:
                config = make_config(spec.model, dataset, options={**own, "scenario": scenario})
                common = known_options(plan.options, config)
                used |= set(common)
                label = spec.name or model_label(config)
                found.append(Cell(label, spec, dataset, scenario, {**common, **own}))
    check_options_used(plan.options, used)
    return found


def choose(plan: Plan) -> dict[Key, dict[str, Any]]:
    """The options with the best mean validation score over the splits of ``plan.tuning``, of every cell of the plan.

    The first trial of a model are its own options, the others are drawn at random from its search space; a model
    without one, or of which the scenario evaluates nothing that it learns, has that one trial. Trials are runs, reused
    and resumed like those that are reported, below ``<output_dir>/tuning/``; their test results are not looked at.
    Writes ``<data set>-<scenario>.csv`` (every trial, and how many others of the model have its score) and ``.md``
    (what was chosen) there.

    Raises:
        SibrarError: every trial of a model failed, nothing is validated, or all seeds have the split that is reported.
    """
    if plan.tuning is None:
        return {}
    folder = Path(plan.output_dir) / FOLDER
    found = cells(replace(plan, fixed_split=False))  # which is of what is reported
    planned = [(cell, options) for cell in found for options in _trials(cell, plan.tuning)]
    runs = [
        cell.run(seed, {**options, "output_dir": str(folder)})
        for cell, options in planned
        for seed in plan.tuning.all_seeds
    ]
    _check_trials(runs)
    outcomes = iter(execute(runs, plan.jobs))
    rows = [_row(cell, options, [next(outcomes) for _ in plan.tuning.all_seeds]) for cell, options in planned]
    table = pd.DataFrame(rows)
    by_cell = table.groupby(["model", "dataset", "scenario"], sort=False)
    table["ties"] = by_cell["goodness"].transform(lambda own: own.map(own.value_counts()) - 1)
    chosen = {}
    for key, own in by_cell:
        if own["goodness"].isna().all():
            raise SibrarError(f"Every trial of {' on '.join(key[:2])} failed; the first with {own['error'].iloc[0]}")
        best = own["goodness"].idxmax()
        table.loc[best, "chosen"] = True
        chosen[key] = json.loads(table.loc[best, "options"])
    budget = ". ".join(plan.tuning.sentences) + "."
    for names, own in table.drop(columns="goodness").groupby(["dataset", "scenario"], sort=False):
        stem = folder / "-".join(names)
        write_csv(own, f"{stem}.csv")
        shown = own[own["chosen"]].drop(columns=["chosen", "error"])
        write_markdown({"The budget": budget, "What was chosen": shown}, f"{stem}.md")
    return chosen


def _check_trials(runs: Sequence[Run]) -> None:
    """Validation is there to choose by, and each seed draws a split of its own, so that none of them is reported."""
    for run in runs:
        check_validates(run.recbole_config)
        if (shared := shared_split(run.config)) is not None:
            option = {"files": "benchmark_filename", "time": "eval_args.order"}.get(shared, "split_seed")
            raise OptionError(
                f"tuning chooses on splits that are not reported, but {option} gives all seeds of "
                f"{run.label} on {run.dataset} the same one; leave one of the two out."
            )


def _trials(cell: Cell, tuning: Tuning) -> Iterator[dict[str, Any]]:
    """The options of each trial: none, then drawn ones, if they can make a difference."""
    yield {}
    if unscored_sides(cell.spec.model, cell.scenario) or (space := _space(cell)) is None:
        return
    generator = np.random.default_rng(tuning.seed)
    for _ in range(tuning.trials - 1):
        yield space.drawn_at_random(generator)


def _space(cell: Cell) -> Space | None:
    """The model's search space, without what has no effect; None if it has none."""
    given = cell.spec.space
    if given is None and not (props_folder() / "search" / f"{cell.spec.model.lower()}.yaml").is_file():
        return None
    if given == {}:
        return None
    if given is None:
        if not (space := own_space(cell.spec.model, cell.options)).parameters:
            return None
    else:
        space = Space.from_mapping(given) if isinstance(given, dict) else read_space(find_space(given, cell.spec.model))
    study = Study(cell.spec.model, cell.dataset, {**cell.options, "scenario": cell.scenario}, space)
    check_space(study)
    return without_idle(study).space


def _row(cell: Cell, options: dict[str, Any], outcomes: list[Outcome]) -> dict[str, Any]:
    """A trial; ``goodness`` is its mean score, larger the better, NaN if a run failed."""
    error = next((outcome.error for outcome in outcomes if outcome.error), None)
    scores = [np.nan if outcome.result is None else outcome.result["best_valid_score"] for outcome in outcomes]
    config = outcomes[0].run.recbole_config
    seconds = sum(outcome.result["seconds"]["training"] for outcome in outcomes if outcome.result)
    return {
        "model": cell.label,
        "dataset": cell.dataset,
        "scenario": cell.scenario,
        "options": json.dumps(options),
        f"validation {config['valid_metric'].lower()}": np.mean(scores),
        "splits": len(outcomes),
        "training seconds": seconds,
        "chosen": False,
        "error": None if error is None else error.splitlines()[-1],
        "goodness": np.mean(scores) * (1 if config["valid_metric_bigger"] else -1),
    }
