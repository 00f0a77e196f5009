"""The ``missing``, ``gap`` and ``report`` commands."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recbole_sibrar.cli.hints import tell_next
from recbole_sibrar.cli.tracking import add_track_argument
from recbole_sibrar.data.missing import PATTERNS, PHASE_CHOICES, MissingOptions
from recbole_sibrar.data.modalities import SIDES
from recbole_sibrar.errors import OptionError, SibrarError, as_typed, nearest
from recbole_sibrar.files import owned
from recbole_sibrar.properties import read_property_file
from recbole_sibrar.report.tables import markdown
from recbole_sibrar.report.tracking import Track, gap_records, rate_records, subset_records, tracker

if TYPE_CHECKING:
    from recbole_sibrar.recbole_plugin.trained import TrainedModel

MISSING_DESCRIPTION = """\
Evaluate trained models with modalities missing: every subset of them, or rising rates of loss.

  recbole-sibrar missing results/SiBraR_SC-paper-ml-1m-warm-seed2020 results/MuBraR_SC-paper-ml-1m-warm-seed2020
  recbole-sibrar missing results/*-item_cold-* --rates 0 0.3 0.6 0.9 --where train evaluation both
  recbole-sibrar missing --file plan.yaml --rates 0 0.3 0.6 0.9 --pattern uniform popularity

With --file the runs are those of a plan as 'compare' takes it, which are made if they are not there.

Without --rates: subsets.csv (every run), missing.md, and over the seeds of a model contributions.csv and curve as .csv,
.pdf, .svg, .png. With --rates: rates as .csv (every run), .md, .pdf, .svg, .png, and rates-mean.csv: means and
intervals over the seeds of a model.
"""

MAX_SUBSETS = 64
# Arguments of ``missing`` that need another one, and examples of these.
NEEDED_BY = {"where": "rates", "pattern": "rates", "dataset": "file"}
EXAMPLES = {"rates": ", such as --rates 0 0.25 0.5 0.75", "file": ", a plan of runs"}

GAP_DESCRIPTION = """\
Measure how far apart trained models put the embeddings of different modalities, and draw them.

  recbole-sibrar gap results/SiBraR_SC-paper-ml-1m-warm-seed2020 results/MuBraR_SC-paper-ml-1m-warm-seed2020

Writes gap.csv (cosine and distance within and between entities, accuracy of predicting the modality, chance level),
pairs.csv (the same for each pair of modalities), gap.md, and tsne as .csv (the points), .pdf, .svg and .png.
"""


def add_report_parsers(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``missing``, ``gap`` and ``report`` to the command line."""
    raw = argparse.RawDescriptionHelpFormatter
    missing = commands.add_parser(
        "missing", help="quality against the modalities left", description=MISSING_DESCRIPTION, formatter_class=raw
    )
    _add_models(missing, "results/missing", nargs="*")
    missing.add_argument("--phase", choices=("valid", "test"), default="test", help="the split (default: %(default)s)")
    missing.add_argument("--metric", help="of the curves, such as recall@10 (default: the one validated by)")
    missing.add_argument(
        "--max-subsets",
        type=at_least(1),
        metavar="N",
        help=f"subsets; of more so many are drawn (default: {MAX_SUBSETS})",
    )
    missing.add_argument(
        "--rates", type=float, nargs="+", metavar="RATE", help="shares of items or users that lose a modality"
    )
    missing.add_argument("--pattern", choices=PATTERNS, nargs="+", help="with --rates: who loses (default: uniform)")
    missing.add_argument(
        "--where",
        choices=PHASE_CHOICES,
        nargs="+",
        help="with --rates: where content is missing; 'train' and 'both' train at each rate (default: evaluation)",
    )
    missing.add_argument("--file", metavar="YAML", help="a plan of runs, as for 'compare', in place of RUN")
    missing.add_argument("--dataset", metavar="NAME", help="with --file, in place of the plan's")
    missing.set_defaults(handler=_missing, needs_recbole=True)

    gap = commands.add_parser("gap", help="the modality gap", description=GAP_DESCRIPTION, formatter_class=raw)
    _add_models(gap, "results/gap")
    gap.add_argument(
        "--max-entities",
        type=at_least(10),
        default=1000,
        metavar="N",
        help="items or users; of more so many are drawn (default: %(default)s)",
    )
    gap.set_defaults(handler=_gap, needs_recbole=True)

    report = commands.add_parser(
        "report",
        help="one HTML page from a folder of results",
        description="Write one self-contained HTML page (tables, curves, pictures, configurations) from a folder of "
        "results: all result.json below it, and the files of 'missing', 'gap' and 'compare'.",
    )
    report.add_argument("folder", metavar="DIR", help="such as results")
    report.add_argument("--output", metavar="FILE", help="default: DIR/report.html")
    report.add_argument(
        "--claims",
        action="store_true",
        help="the papers' claims, one by one, in place of the page: printed, and DIR/claims.md and .csv",
    )
    report.set_defaults(handler=_report)


def _add_models(parser: argparse.ArgumentParser, output: str, nargs: str = "+") -> None:
    parser.add_argument("models", nargs=nargs, metavar="RUN", help="folders of runs, or checkpoints")
    parser.add_argument("--side", choices=SIDES, help="default: the scenario's cold side, or the single-branch one")
    parser.add_argument("--seed", type=at_least(0), default=0, help="of everything drawn (default: %(default)s)")
    parser.add_argument("--data_path", metavar="DIR", help="where the data set is, if not where it was")
    parser.add_argument("--output", metavar="DIR", help=f"default: {output}/<data set>-<scenario>")
    parser.set_defaults(studies=output)
    add_track_argument(parser)


def at_least(low: int) -> Callable[[str], int]:
    """The type of an argument that is a whole number of at least ``low``."""

    def whole_number(text: str) -> int:
        if not low <= (value := int(text)) < 2**32:
            raise argparse.ArgumentTypeError(f"{value} is not an integer of at least {low}")
        return value

    return whole_number


def _models(names: dict[Path | str, str], data_path: str | None) -> Iterator[TrainedModel]:
    """Yield the models under these names, so that one may be in memory at a time."""
    from recbole_sibrar.recbole_plugin.trained import TrainedModel

    for path, name in names.items():
        model = TrainedModel(path, data_path)
        model.name = name
        yield model


def _metric_of(configs: dict[Path | str, dict[str, Any]], asked: str | None) -> str:
    """The one asked for, or that by which the first of the models was chosen; all of them have it."""
    from recbole_sibrar.recbole_plugin.checks import computed_metrics

    metric: str = (asked or next(iter(configs.values()))["valid_metric"]).lower()
    for path, config in configs.items():
        known = computed_metrics(config)
        if metric not in known:
            raise OptionError(f"--metric {metric!r} is not among those of {path}. {nearest(metric, known)}")
    return metric


def _folder(arguments: argparse.Namespace, configs: Iterable[dict[str, Any]]) -> tuple[str, Path]:
    """Where a study of runs is written, and the results that it is one of."""
    if arguments.output:
        return arguments.output, Path(arguments.output).parent
    places = sorted({f"{config['dataset']}-{config['scenario']}" for config in configs})
    return f"{arguments.studies}/{'+'.join(places)}", Path(arguments.studies).parent


def _missing(arguments: argparse.Namespace) -> int:
    for name, needed in NEEDED_BY.items():
        if getattr(arguments, name) and not getattr(arguments, needed):
            raise OptionError(f"--{name} has no effect without --{needed}{EXAMPLES[needed]}.")
    if arguments.rates and arguments.max_subsets:
        raise OptionError(f"--max-subsets {arguments.max_subsets} has no effect with --rates; give one of them.")
    if bool(arguments.models) == bool(arguments.file):
        raise OptionError("missing takes either folders of runs, or a plan of runs with --file.")
    grid = [
        MissingOptions(pattern=pattern, phase=where, seed=arguments.seed)
        for where in dict.fromkeys(arguments.where or ("evaluation",))
        for pattern in dict.fromkeys(arguments.pattern or ("uniform",))
    ]
    rates = sorted({grid[0].at(rate).rate for rate in arguments.rates or ()})
    track = tracker(arguments.track)
    if arguments.file:
        arguments.models = _runs_of(arguments.file, {"datasets": arguments.dataset} if arguments.dataset else {})
    return _write_missing(arguments, grid, rates, track)


def _runs_of(file: str, given: dict[str, object]) -> list[str]:
    """The folders of a plan's runs, which are made if they are not there."""
    from recbole_sibrar.experiments.choose import choose
    from recbole_sibrar.experiments.compare import plan_runs
    from recbole_sibrar.experiments.execute import execute
    from recbole_sibrar.experiments.plan import Plan

    plan = Plan.from_mapping({**read_property_file(file), **given})
    if len(plan.datasets) > 1 or len(plan.scenarios) > 1:
        raise OptionError(f"{file} names several data sets or scenarios; a study of missing content is of one each.")
    outcomes = execute(plan_runs(plan, choose(plan)), plan.jobs)
    for outcome in outcomes:
        if outcome.error:
            raise SibrarError(f"{outcome.run.name} failed: {outcome.error.splitlines()[-1]}")
    return [str(outcome.run.folder) for outcome in outcomes]


def _write_missing(arguments: argparse.Namespace, grid: list[MissingOptions], rates: list[float], track: Track) -> int:
    from recbole_sibrar.evaluation.missing import over_seeds
    from recbole_sibrar.recbole_plugin.trained import check_one_table, configs_of, names_of_rows, names_of_runs
    from recbole_sibrar.report.missing import write_rate_study, write_subset_study

    configs = configs_of(arguments.models)
    check_one_table(configs)
    rows = names_of_rows(configs)
    names, metric = names_of_runs(rows), _metric_of(configs, arguments.metric)
    output, results = _folder(arguments, configs.values())
    with owned(output):
        if rates:
            models = _models(rows, arguments.data_path)
            table, studied = write_rate_study(models, arguments.side, arguments.phase, rates, grid, output, metric)
            print(markdown(over_seeds(table, metric)))
            patterns = ", ".join(dict.fromkeys(options.pattern for options in grid))
            records = rate_records(studied, table, metric, phase=arguments.phase, pattern=patterns)
        else:
            loaded, limit = list(_models(names, arguments.data_path)), arguments.max_subsets or MAX_SUBSETS
            tables = write_subset_study(
                loaded, [*rows.values()], arguments.side, arguments.phase, limit, arguments.seed, output, metric
            )
            print(f"{metric} by number of modalities left\n\n{markdown(tables['curve'])}\n")
            print(f"what each modality adds\n\n{markdown(tables['contributions'])}")
            records = subset_records(loaded, tables["subsets"], metric, phase=arguments.phase)
    print(f"\nwritten to {output}")
    tell_next(as_typed("report", results))
    track(records)
    return 0


def _gap(arguments: argparse.Namespace) -> int:
    from recbole_sibrar.recbole_plugin.trained import configs_of, names_of_rows, names_of_runs
    from recbole_sibrar.report.gap import write_gap_study

    track, configs = tracker(arguments.track), configs_of(arguments.models)
    output, results = _folder(arguments, configs.values())
    with owned(output):
        models = list(_models(names_of_runs(names_of_rows(configs)), arguments.data_path))
        tables = write_gap_study(models, arguments.side, arguments.max_entities, arguments.seed, output)
    print(f"{markdown(tables['gap'])}\n\nwritten to {output}")
    tell_next(as_typed("report", results))
    track(gap_records(models, tables, max_entities=arguments.max_entities))
    return 0


def _report(arguments: argparse.Namespace) -> int:
    if arguments.claims and arguments.output:
        raise OptionError("--output is of the page, and --claims writes DIR/claims.md and .csv; give one of them.")
    if arguments.claims:
        return _claims(arguments.folder)
    from recbole_sibrar.report.page import write_page

    path = write_page(arguments.folder, arguments.output or Path(arguments.folder) / "report.html")
    print(f"written to {path}; open {path.resolve().as_uri()} in a browser")
    return 0


def _claims(folder: str) -> int:
    from recbole_sibrar.report.claims import write_claims

    table = write_claims(folder)
    shown = ["claim", "dataset", "scenario", "preset", "verdict", "difference", "low", "high", "splits"]
    print(f"{markdown(table[shown])}\n\nwritten to {Path(folder) / 'claims.md'}")
    return 0
