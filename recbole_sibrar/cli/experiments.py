"""The ``compare``, ``tune`` and ``reproduce`` commands."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recbole_sibrar.cli.hints import tell_next
from recbole_sibrar.cli.tracking import add_track_argument
from recbole_sibrar.errors import OptionError, as_typed, nearest
from recbole_sibrar.properties import read_property_file
from recbole_sibrar.report.tracking import Record, Track, run_records, tracker
from recbole_sibrar.scenarios import COMPARED

if TYPE_CHECKING:
    from recbole_sibrar.experiments.execute import Outcome
    from recbole_sibrar.experiments.plan import Plan
    from recbole_sibrar.report.comparison import Comparison

COMPARE_DESCRIPTION = """\
Train and test models x data sets x scenarios x seeds, and write tables, tests and figures.

  recbole-sibrar compare --models SiBraR:SC MuBraR:SC BPR Pop --scenarios warm item_cold --dataset ml-100k --seeds 3
  recbole-sibrar compare --file plan.yaml

Runs that are finished with the same options are reused, interrupted ones go on; a model that fails is reported and does
not stop the others (exit code 1). Other options, as --key=value, go to all runs of the models that know them.

plan.yaml holds the same under the names of the options (underscores, 'datasets'), and options of single models:
  models: [BPR, {model: SiBraR, variant: SC, preset: strong, name: wide, options: {embedding_size: 256}}]
  scenarios: [item_cold]
  options: {epochs: 20}
  tuning: {trials: 10, seed: 0, seeds: 3}     # options are chosen before, on validation of these splits
The command line wins over the file.

With 'tuning' every model has so many trials, its own options first and then random ones of its search space
(props/search/<model>.yaml, or 'space' of the model); <output_dir>/tuning/ says what was tried and chosen.

Written to <output_dir>/comparison/: <data set>-<scenario>.md, .csv, .tex, .pdf, .svg, .png, -significance.md, .csv
(the verdict over splits) and -splits.csv (tests over the users of each split). Of another split or protocol than the
usual one the name says so, such as <data set>-<scenario>-split2020.md with --fixed_split.
"""

TUNE_DESCRIPTION = """\
Search for the options with the best validation score; the test split is not evaluated.

  recbole-sibrar tune --model=SiBraR --dataset=ml-100k --scenario=item_cold --trials 30
  recbole-sibrar tune --model=SiBraR --dataset=ml-100k --space props/search/contrast_map.yaml --engine=ray
  recbole-sibrar tune --model=SiBraR --dataset=ml-1m --scenario=item_cold --config_files paper --space paper

A search space is a YAML file, with the kinds choice, uniform, loguniform and quniform ([low, high, step]):
  learning_rate: {loguniform: [1.0e-4, 1.0e-2]}
  embedding_size: {choice: [64, 128]}
Other options, as --key=value, are those of every trial.

With --engine=optuna trials that fall behind the median of the others end early, and an interrupted search goes on.

Written to <output_dir>/tune-<run name>/, a folder for each space: trials.csv after every trial; best.yaml, which
'run --config_files' takes; and map.pdf, .svg, .png if the space holds contrastive_weight and temperature.
"""

REPRODUCE_DESCRIPTION = """\
Run the papers' models with the papers' settings and protocol (props/paper/) and print the papers' figures beside ours,
their difference, and the noise to judge it by.

  recbole-sibrar reproduce ml-1m --seeds 3
  recbole-sibrar reproduce ml-1m --models SiBraR_SC MuBraR_SC --seeds 3 --fixed_split
  recbole-sibrar reproduce ml-1m --map --alphas 0 1e-5 1e-3 --taus 0.01 0.1 0.5

Other options, as --key=value, win over the papers' settings and protocol, such as
--eval_candidates=scenario. The data set has to be converted before. Finished runs are reused, as by 'compare'.

Written to <output_dir>/reproduction/: <data set>-paper.csv, .md, .tex, and the files of 'compare'; with --map
<data set>-contrast.csv, .md, .tex, .pdf, .svg, .png.
"""


def add_experiment_parsers(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the commands; arguments that are not theirs are options of the runs."""
    _add_compare(commands)
    _add_tune(commands)
    _add_reproduce(commands)


def _add_compare(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    compare = commands.add_parser(
        "compare",
        help="models x scenarios x data sets x seeds: tables, tests, figures",
        description=COMPARE_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    compare.add_argument("--file", metavar="YAML", help="a plan; the command line wins over it")
    compare.add_argument(
        "--models",
        nargs="+",
        metavar="MODEL",
        help="such as SiBraR:SC, MuBraR:base, BPR; with a preset SiBraR:SC:strong, SiBraR::strong",
    )
    compare.add_argument("--scenarios", nargs="+", metavar="SCENARIO", help=f"default: {' '.join(COMPARED)}")
    compare.add_argument("--dataset", "--datasets", dest="datasets", nargs="+", metavar="NAME", help="default: ml-100k")
    compare.add_argument("--seeds", type=int, metavar="N", help="how many (default: 1)")
    compare.add_argument("--seed", type=int, help="the first of them (default: 2020)")
    compare.add_argument(
        "--fixed_split",
        action="store_true",
        default=None,
        help="a seed varies the initialisation alone, and not the split",
    )
    compare.add_argument("--reference", metavar="MODEL", help="tested against every other (default: the first)")
    compare.add_argument("--columns", nargs="+", metavar="METRIC", help="shown in tables, such as ndcg@10 mrr@10")
    compare.add_argument("--jobs", type=int, metavar="N", help="runs at a time, which share the cores (default: 1)")
    compare.add_argument("--trials", type=int, metavar="N", help="of each model, in a plan with 'tuning'")
    compare.add_argument("--output_dir", metavar="DIR", help="default: results")
    compare.add_argument("--data_path", metavar="DIR", help="where data sets are looked for (default: atomic_data)")
    add_track_argument(compare)
    compare.set_defaults(handler=_compare, takes_options=True, needs_recbole=True)


def _compare(arguments: argparse.Namespace, options: dict[str, Any]) -> int:
    from recbole_sibrar.experiments.compare import compare
    from recbole_sibrar.experiments.plan import Plan

    values = read_property_file(arguments.file) if arguments.file else {}
    if not isinstance(values.get("options", {}), dict):
        raise OptionError(f"options of {arguments.file} is {values['options']!r}; expected 'option: value' lines.")
    given = {entry.name: getattr(arguments, entry.name, None) for entry in fields(Plan)}
    given = {name: value for name, value in given.items() if value is not None}
    if arguments.trials is not None:
        if not isinstance(values.get("tuning"), dict):
            raise OptionError("--trials needs a plan with 'tuning', such as tuning: {trials: 10, seed: 0, seeds: 3}.")
        given["tuning"] = {**values["tuning"], "trials": arguments.trials}
    plan = Plan.from_mapping({**values, **given, "options": {**values.get("options", {}), **options}})
    track = tracker(arguments.track)
    comparisons, failed = compare(plan)
    code = _print_comparisons(comparisons, failed, f"{plan.output_dir}/comparison")
    track(_records(comparisons))
    return code


def _add_tune(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    tune = commands.add_parser(
        "tune",
        help="search for options by validation results",
        description=TUNE_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    tune.add_argument("--model", default="SiBraR", help="default: %(default)s")
    tune.add_argument("--dataset", default="ml-100k", help="default: %(default)s")
    tune.add_argument(
        "--space",
        metavar="YAML",
        help="or paper, paper/ml-1m: what the authors searched (default: props/search/<model>.yaml of the package)",
    )
    tune.add_argument(
        "--config_files",
        nargs="+",
        default=[],
        metavar="FILE",
        help="property files (YAML), or paper, paper/ml-1m: the papers' settings; the space wins over them",
    )
    tune.add_argument("--trials", type=int, default=30, metavar="N", help="default: %(default)s")
    tune.add_argument(
        "--engine", choices=("hyperopt", "optuna", "ray"), default="hyperopt", help="default: %(default)s"
    )
    tune.add_argument("--algorithm", choices=("tpe", "random"), default="tpe", help="default: %(default)s")
    tune.add_argument("--cpus_per_trial", type=int, metavar="N", help="with Ray (default: 1)")
    add_track_argument(tune)
    tune.add_argument("--address", help="of a running Ray cluster; without one Ray starts on this machine")
    tune.set_defaults(handler=_tune, takes_options=True, needs_recbole=True)


def _tune(arguments: argparse.Namespace, options: dict[str, Any]) -> int:
    from recbole_sibrar.experiments.space import named_space, own_space
    from recbole_sibrar.experiments.tune import Study, tune
    from recbole_sibrar.recbole_plugin.config import read_config_files
    from recbole_sibrar.scenarios import DEFAULT_SCENARIO

    model, dataset = arguments.model, arguments.dataset
    given = read_config_files(arguments.config_files, options, model, dataset)
    scenario = {**given, **options}.get("scenario") or DEFAULT_SCENARIO
    if arguments.space is None:
        space = own_space(model, options)
    else:
        space = named_space(arguments.space, model, dataset, scenario)
    fixed = {name: value for name, value in given.items() if name not in space.names}
    study = Study(
        model=model,
        dataset=dataset,
        options={**fixed, **options},
        space=space,
        n_trials=arguments.trials,
        engine=arguments.engine,
        algorithm=arguments.algorithm,
        cpus_per_trial=arguments.cpus_per_trial,
        address=arguments.address,
    )
    track = tracker(arguments.track)
    trials = tune(study)
    best = trials.best
    failed = sum(row["error"] is not None for row in trials.rows)
    metric = trials.config["valid_metric"]
    print(f"{len(trials.rows)} trials, {failed} without a score; best validation {metric}: {best['score']:.4f}")
    for name, value in best["options"].items():
        print(f"  {name}: {value}")
    if trials.tied:
        print(trials.tied)
    print(f"written to {trials.folder}")
    tell_next(trials.command)
    if arguments.track:
        track(trials.records())
    return 0


def _add_reproduce(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    reproduce = commands.add_parser(
        "reproduce",
        help="the papers' tables with the papers' settings",
        description=REPRODUCE_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    reproduce.add_argument("dataset", metavar="DATASET", help="ml-1m, onion or amazon-vg")
    reproduce.add_argument("--scenarios", nargs="+", metavar="SCENARIO", help="default: all that the papers have")
    reproduce.add_argument("--models", nargs="+", metavar="MODEL", help="the papers' names, such as MF, SiBraR_SC")
    reproduce.add_argument("--seeds", type=int, default=1, metavar="N", help="how many (default: %(default)s)")
    reproduce.add_argument("--seed", type=int, default=2020, help="the first of them (default: %(default)s)")
    reproduce.add_argument(
        "--fixed_split", action="store_true", help="a seed varies the initialisation alone, and not the split"
    )
    reproduce.add_argument("--jobs", type=int, default=1, metavar="N", help="runs at a time (default: %(default)s)")
    reproduce.add_argument("--output_dir", default="results", metavar="DIR", help="default: %(default)s")
    reproduce.add_argument("--data_path", metavar="DIR", help="where data sets are looked for (default: atomic_data)")
    reproduce.add_argument("--map", action="store_true", help="SiBraR_SC, warm, over α and τ, in place of the tables")
    reproduce.add_argument("--alphas", type=float, nargs="+", metavar="α", help="of the map (default: four of theirs)")
    reproduce.add_argument("--taus", type=float, nargs="+", metavar="τ", help="of the map (default: four of theirs)")
    add_track_argument(reproduce)
    reproduce.set_defaults(handler=_reproduce, takes_options=True, needs_recbole=True)


def _reproduce(arguments: argparse.Namespace, options: dict[str, Any]) -> int:
    from recbole_sibrar.experiments import published, reproduce
    from recbole_sibrar.experiments.plan import Plan
    from recbole_sibrar.report.tables import markdown

    if arguments.dataset not in published.paper_datasets():
        valid = published.paper_datasets()
        raise OptionError(f"The papers have no data set {arguments.dataset!r}. {nearest(arguments.dataset, valid)}")
    for name in ("models", "scenarios") if arguments.map else ("alphas", "taus"):
        if getattr(arguments, name):
            raise OptionError(
                f"--{name} and --map: the map has --alphas and --taus, and is of SiBraR_SC in warm alone."
            )
    values = {
        "models": arguments.models or published.usual_models(),
        "datasets": arguments.dataset,
        "scenarios": arguments.scenarios or published.paper_scenarios(arguments.dataset),
        "options": options,
        **{
            name: getattr(arguments, name)
            for name in ("seeds", "seed", "fixed_split", "jobs", "output_dir", "data_path")
        },
    }
    plan = Plan.from_mapping(values)
    track = tracker(arguments.track)
    if arguments.map:
        return _reproduce_map(plan, arguments, track)
    table, comparisons, failed = reproduce.reproduce(plan)
    code = _print_comparisons(comparisons, failed, f"{plan.output_dir}/reproduction")
    if len(table):
        below = "\n".join(f"{sentence}." for sentence in reproduce.remarks(table))
        print(f"\n{arguments.dataset}: the papers' figures and ours\n\n{markdown(reproduce.of_both(table))}\n\n{below}")
    track(_records(comparisons))
    return code


def _reproduce_map(plan: Plan, arguments: argparse.Namespace, track: Track) -> int:
    from recbole_sibrar.experiments import contrast_map
    from recbole_sibrar.report.tables import markdown

    alphas, taus = arguments.alphas or contrast_map.ALPHAS, arguments.taus or contrast_map.TAUS
    table, outcomes = contrast_map.run_map(plan, alphas, taus)
    failed = [outcome for outcome in outcomes if outcome.error]
    code = _print_comparisons([], failed, f"{plan.output_dir}/reproduction")
    below = "\n".join(f"{sentence}." for sentence in contrast_map.remarks())
    print(f"\n{markdown(table)}\n\n{below}")
    track(run_records(outcome.result for outcome in outcomes if outcome.result))
    return code


def _records(comparisons: Iterable[Comparison]) -> list[Record]:
    entries = (entry for comparison in comparisons for entry in comparison.entries)
    return run_records(result for entry in entries for result in entry.results)


def _print_comparisons(comparisons: Iterable[Comparison], failed: Sequence[Outcome], folder: str) -> int:
    from recbole_sibrar.report.comparison import terminal

    for comparison in comparisons:
        print(f"{terminal(comparison)}\n")
    for outcome in failed:
        print(f"failed: {outcome.run.name}; see {outcome.run.folder / 'error.txt'}")
    print(f"written to {folder}")
    tell_next(as_typed("report", Path(folder).parent))
    return 1 if failed else 0
