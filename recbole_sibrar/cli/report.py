"""The ``missing``, ``gap`` and ``report`` commands."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from recbole_sibrar.cli.hints import tell_next
from recbole_sibrar.cli.tracking import add_track_argument
from recbole_sibrar.data.missing import PATTERNS, MissingOptions
from recbole_sibrar.data.modalities import SIDES
from recbole_sibrar.errors import OptionError, nearest
from recbole_sibrar.files import owned
from recbole_sibrar.report.tables import markdown
from recbole_sibrar.report.tracking import gap_records, rate_records, subset_records, tracker

MISSING_DESCRIPTION = """\
Evaluate trained models with modalities missing: every subset of them, or rising rates of loss.

  recbole-sibrar missing results/SiBraR_SC-paper-ml-1m-warm-seed2020 results/MuBraR_SC-paper-ml-1m-warm-seed2020
  recbole-sibrar missing results/RUN --rates 0 0.2 0.4 0.6 0.8 --pattern popularity --retrain

Without --rates: subsets.csv, curve.csv, contributions.csv, missing.md, and curve as .pdf, .svg, .png. With: rates as
.csv, .pdf, .svg, .png.
"""

GAP_DESCRIPTION = """\
Measure how far apart trained models put the embeddings of different modalities, and draw them.

  recbole-sibrar gap results/SiBraR_SC-paper-ml-1m-warm-seed2020 results/MuBraR_SC-paper-ml-1m-warm-seed2020

Writes gap.csv (cosine and distance within and between entities, accuracy of predicting the modality, chance level),
pairs.csv (the same for each pair of modalities), gap.md, and tsne as .csv (the points), .pdf, .svg and .png.
"""


def add_report_parsers(commands: Any) -> None:
    """Add ``missing``, ``gap`` and ``report`` to the command line."""
    raw = argparse.RawDescriptionHelpFormatter
    missing = commands.add_parser(
        "missing", help="quality against the modalities left", description=MISSING_DESCRIPTION, formatter_class=raw
    )
    _add_models(missing, "results/missing")
    missing.add_argument("--phase", choices=("valid", "test"), default="test", help="the split (default: %(default)s)")
    missing.add_argument("--metric", help="of the curves, such as recall@10 (default: the one validated by)")
    missing.add_argument(
        "--max-subsets",
        type=at_least(1),
        default=64,
        metavar="N",
        help="subsets; of more so many are drawn (default: %(default)s)",
    )
    missing.add_argument(
        "--rates", type=float, nargs="+", metavar="RATE", help="shares of items or users that lose a modality"
    )
    missing.add_argument("--pattern", choices=PATTERNS, default="uniform", help="who loses (default: %(default)s)")
    missing.add_argument("--retrain", action="store_true", help="with --rates: also train at each rate")
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
    report.set_defaults(handler=_report)


def _add_models(parser, output):
    parser.add_argument("models", nargs="+", metavar="RUN", help="folders of runs, or checkpoints")
    parser.add_argument("--side", choices=SIDES, help="default: the scenario's cold side, or the single-branch one")
    parser.add_argument("--seed", type=at_least(0), default=0, help="of everything drawn (default: %(default)s)")
    parser.add_argument("--data_path", metavar="DIR", help="where the data set is, if not where it was")
    parser.add_argument("--output", default=output, metavar="DIR", help="default: %(default)s")
    add_track_argument(parser)


def at_least(low: int) -> Callable[[str], int]:
    """The type of an argument that is a whole number of at least ``low``."""

    def whole_number(text: str) -> int:
        if not low <= (value := int(text)) < 2**32:
            raise argparse.ArgumentTypeError(f"{value} is not an integer of at least {low}")
        return value

    return whole_number


def _load(arguments) -> list[Any]:
    from recbole_sibrar.recbole_plugin.trained import TrainedModel

    models = [TrainedModel(path, arguments.data_path) for path in arguments.models]
    names = [model.name for model in models]
    for model in models:
        if names.count(model.name) > 1:
            model.name = model.path.parent.name
    if len({model.name for model in models}) < len(models):
        raise OptionError("Two of the runs have the same folder name; give each another name, or leave one out.")
    return models


def _check_metric(models, metric):
    from recbole_sibrar.recbole_plugin.checks import computed_metrics

    for model in models:
        known = computed_metrics(model.config)
        if metric not in known:
            raise OptionError(f"--metric {metric!r} is not among {model.name}'s. {nearest(metric, known)}")


def _missing(arguments) -> int:
    if arguments.retrain and not arguments.rates:
        raise OptionError("--retrain needs --rates, for example --rates 0 0.25 0.5 0.75.")
    options = MissingOptions(pattern=arguments.pattern, seed=arguments.seed)
    rates = sorted({options.at(rate).rate for rate in arguments.rates or ()})
    track = tracker(arguments.track)
    with owned(arguments.output):
        return _write_missing(arguments, options, rates, track)


def _write_missing(arguments, options, rates, track):
    from recbole_sibrar.report.missing import write_rate_study, write_subset_study

    models = _load(arguments)
    metric = (arguments.metric or models[0].config["valid_metric"]).lower()
    _check_metric(models, metric)
    if rates:
        table = write_rate_study(
            models, arguments.side, arguments.phase, rates, options, arguments.output, metric, arguments.retrain
        )
        print(markdown(table[["model", "rate", metric]]))
        records = rate_records(models, table, metric, phase=arguments.phase, pattern=options.pattern)
    else:
        tables = write_subset_study(
            models, arguments.side, arguments.phase, arguments.max_subsets, arguments.seed, arguments.output, metric
        )
        print(f"{metric} by number of modalities left\n\n{markdown(tables['curve'])}\n")
        print(f"what each modality adds\n\n{markdown(tables['contributions'])}")
        records = subset_records(models, tables, metric, phase=arguments.phase)
    print(f"\nwritten to {arguments.output}")
    tell_next(f"recbole-sibrar report {Path(arguments.output).parent}")
    track(records)
    return 0


def _gap(arguments) -> int:
    from recbole_sibrar.report.gap import write_gap_study

    track = tracker(arguments.track)
    with owned(arguments.output):
        models = _load(arguments)
        tables = write_gap_study(models, arguments.side, arguments.max_entities, arguments.seed, arguments.output)
    print(f"{markdown(tables['gap'])}\n\nwritten to {arguments.output}")
    tell_next(f"recbole-sibrar report {Path(arguments.output).parent}")
    track(gap_records(models, tables, max_entities=arguments.max_entities))
    return 0


def _report(arguments) -> int:
    from recbole_sibrar.report.page import write_page

    path = write_page(arguments.folder, arguments.output or Path(arguments.folder) / "report.html")
    print(f"written to {path}; open {path.resolve().as_uri()} in a browser")
    return 0
