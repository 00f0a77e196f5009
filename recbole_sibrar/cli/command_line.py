"""``recbole-sibrar COMMAND``: the parser of all commands, and how what they end with becomes an exit code."""

import argparse
import os
import sys
import warnings
from collections.abc import Sequence
from dataclasses import Field, asdict, fields
from pathlib import Path
from typing import Any

from recbole_sibrar import __version__
from recbole_sibrar.cli.hints import tell_next
from recbole_sibrar.errors import OptionError, SibrarError, WorkerError, as_typed
from recbole_sibrar.files import STORAGE_ERRORS
from recbole_sibrar.hook import load_recbole
from recbole_sibrar.properties import parse_option

UNREAD = 141
"""The exit code of a shell for a program that nobody listens to any more."""

RUN_DESCRIPTION = """\
Train and test a model under the protocol of a scenario.

SiBraR, MuBraR, CLCRec, DropoutNet, ContentRidge, KernelRidge, LinearAutoencoder, MF, and any general recommender of
RecBole:
  recbole-sibrar run --model=SiBraR --variant=SC --dataset=ml-100k --scenario=item_cold
  recbole-sibrar run --model=SiBraR --preset=strong --dataset=ml-100k --scenario=item_cold
  recbole-sibrar run --model=BPR --dataset=ml-100k --scenario=item_cold

Every option of RecBole and of the model can be given as --key=value; values are Python or YAML literals:
  --epochs=20 --learning_rate=1e-3 --topk=[10,20] --item_modalities=genres,plot
  --train_neg_sample_args="{distribution: uniform, sample_num: 10}"

Several processes share the work and get what one gets, up to rounding and the draws of dropout:
  --nproc=2             on this machine, on CPUs or, with --gpu_id=0,1, a GPU each
  --world_size=16       of all machines (default: nproc)
  --group_offset=8      of the machines before this one (default: 0)
  --ip=… --port=…       of the first machine (default: localhost, and a free port if it is the only one, else 5678)

The later wins: property files of the package, --config_files in their order, the command line.
"""

START = """\
to start with:
  recbole-sibrar run --model=SiBraR --dataset=ml-100k --scenario=item_cold     # ships with RecBole
  recbole-sibrar convert table --name shop --interactions orders.csv --items products.csv
  recbole-sibrar COMMAND --help
"""

OF_A_RUN = (
    "scenario", "variant", "preset", "epochs", "seed", "run_name", "resume", "output_dir", "data_path",
    "vector_storage",
)  # fmt: skip
INTERRUPTED = {
    "convert": "interrupted; no data set was written or changed. Vectors that were encoded are kept for the next time.",
    "download": "interrupted; the same command goes on where it stopped.",
}


PYTHONS_FORMAT = warnings.formatwarning


def _warning_line(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    """What the package warns of is a line of its own, without the place in the program."""
    if category is UserWarning and Path(__file__).parents[1] in Path(filename).parents:
        return f"recbole-sibrar: warning: {message}\n"
    return PYTHONS_FORMAT(message, category, filename, lineno, line)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Returns:
        the exit code: 0; 1 if some of several runs, or a process of one, failed; 2 for a mistake in options or data;
        130 if interrupted; 141 if nobody reads what is printed, as behind ``| head``.
    """
    try:
        code = _command(arguments)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what Python flushes when it ends
        return UNREAD


def _command(arguments: Sequence[str] | None) -> int:
    """As ``main``, where all is read that is printed."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    warnings.formatwarning = _warning_line
    known = None
    try:
        parser = _parser()
        own, options = _options_apart(parser, arguments)
        known, rest = parser.parse_known_args(own)
        rest += options
        if known.command is None:
            parser.print_help()
            return 2
        if getattr(known, "needs_recbole", False):
            load_recbole()
        if known.command == "run":
            return _run(known, rest)
        if getattr(known, "takes_options", False):
            return known.handler(known, parse_options(rest))
        if rest:
            raise OptionError(f"Unknown argument {rest[0]!r}; see 'recbole-sibrar {known.command} --help'.")
        return known.handler(known)
    except SibrarError as error:
        print(f"recbole-sibrar: {error}", file=sys.stderr)
        return 2
    except WorkerError as error:
        print(f"recbole-sibrar: {error}", file=sys.stderr)
        return 1
    except ModuleNotFoundError as error:
        package = (error.name or "recbole_sibrar").partition(".")[0]
        if package == "recbole_sibrar":
            raise
        command = getattr(known, "command", "")
        print(
            f"recbole-sibrar: '{command}' needs {package}, which is not installed: pip install {package}",
            file=sys.stderr,
        )
        return 2
    except OSError as error:
        if error.errno not in STORAGE_ERRORS:
            raise
        where = f"{error.filename}: " if error.filename else ""
        print(f"recbole-sibrar: {where}{error.strerror}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as interrupt:
        said = str(interrupt) or INTERRUPTED.get(getattr(known, "command", ""), "interrupted.")
        print(f"recbole-sibrar: {said}", file=sys.stderr)
        return 130


def _options_apart(parser: argparse.ArgumentParser, arguments: list[str]) -> tuple[list[str], list[str]]:
    """(arguments of the parser, options of the run), for the commands that take any option of a run.

    Left to argparse, an option whose value holds a blank, such as ``--missing="{rate: 0.3}"``, would be taken for one
    more of the files or names before it.
    """
    commands = next(action.choices for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    command = commands.get(arguments[0]) if arguments else None
    if command is None or not command.get_default("takes_options"):
        return arguments, []
    own, options, rest = arguments[:1], [], arguments[1:]
    while rest:
        argument = rest.pop(0)
        name, equals, _ = argument.partition("=")
        if not argument.startswith("--") or name in command._option_string_actions:
            own.append(argument)
            continue
        options.append(argument)
        if not equals and rest and not rest[0].startswith("--"):
            options.append(rest.pop(0))
    return own, options


def _parser() -> argparse.ArgumentParser:
    from recbole_sibrar.cli.convert import add_convert_parser
    from recbole_sibrar.cli.experiments import add_experiment_parsers
    from recbole_sibrar.cli.hub import add_push_parser
    from recbole_sibrar.cli.report import add_report_parsers
    from recbole_sibrar.cli.serving import add_serving_parsers
    from recbole_sibrar.convert.download import add_download_parser

    parser = argparse.ArgumentParser(
        prog="recbole-sibrar",
        description="Multimodal recommendation that keeps working when data is missing: SiBraR and MuBraR for RecBole.",
        epilog=START,
        formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(prog, max_help_position=20),
    )
    parser.add_argument("-V", "--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    _add_run_parser(commands)
    add_experiment_parsers(commands)
    add_serving_parsers(commands)
    add_push_parser(commands)
    add_report_parsers(commands)
    add_download_parser(commands)
    add_convert_parser(commands)
    doctor = commands.add_parser(
        "doctor",
        help="versions, what is on and off, RecBole compatibility, where data is looked for",
        description="Print the installed versions, what works with them, whether RecBole's code is what this plugin "
        "was made for, and where property files and data are. Exit code 2 if RecBole differs.",
    )
    doctor.set_defaults(handler=_doctor)
    models = commands.add_parser(
        "models",
        help="what every model supports",
        description="Print what every model supports: cold items and users, missing modalities, users and items that "
        "the data set does not have; and which models a run cannot serve, with the reason.",
    )
    models.set_defaults(handler=_models, needs_recbole=True)
    return parser


def _add_run_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    from recbole_sibrar.cli.tracking import add_track_argument
    from recbole_sibrar.scenarios import DEFAULT_SCENARIO, SCENARIOS

    run = commands.add_parser(
        "run",
        help="train and test a model in a scenario",
        description=RUN_DESCRIPTION,
        epilog=_model_option_help(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    run.set_defaults(takes_options=True, needs_recbole=True)
    run.add_argument(
        "--model",
        help="one of ours or of RecBole; see 'recbole-sibrar models' (default: that of a property file, or SiBraR)",
    )
    run.add_argument(
        "--dataset", help="a folder under data_path, or ml-100k (default: that of a property file, or ml-100k)"
    )
    run.add_argument(
        "--scenario", help=f"{', '.join(list(SCENARIOS)[:-1])} or {list(SCENARIOS)[-1]} (default: {DEFAULT_SCENARIO})"
    )
    run.add_argument("--variant", help="base, S (modality sampling) or SC (and contrastive loss)")
    run.add_argument(
        "--preset",
        help="network and training of SiBraR and MuBraR: paper, the papers', or strong, ours (default: paper); each of "
        "its options can be given beside it",
    )
    run.add_argument("--epochs", help="at most (default: that of the model and the preset)")
    run.add_argument("--seed", help="of the split and of the training (default: 2020)")
    run.add_argument("--run_name", help="of the folder of results (default: made from model, data set, options)")
    run.add_argument("--resume", metavar="True", help="go on where the same run was interrupted")
    run.add_argument(
        "--config_files",
        nargs="+",
        default=[],
        metavar="FILE",
        help="property files (YAML); paper or paper/ml-1m are the papers' settings, of this data set or of ml-1m",
    )
    run.add_argument("--output_dir", help="where <run name>/result.json goes (default: results)")
    run.add_argument("--data_path", help="where data sets are looked for (default: atomic_data)")
    run.add_argument(
        "--vector_storage",
        help="memory, or disk: vectors stay in their files, and each batch reads its own (default: memory)",
    )
    add_track_argument(run)


def _model_option_help() -> str:
    from recbole_sibrar.checked import CheckedOptions
    from recbole_sibrar.models import MODELS

    common = fields(CheckedOptions)
    names: dict[type[CheckedOptions], list[str]] = {}
    for name, model in MODELS.items():
        names.setdefault(model.options_class, []).append(name)
    lines = [f"options of {', '.join(MODELS)}:", *map(_option_line, common)]
    for options_class, models in names.items():
        own = [entry for entry in fields(options_class) if entry.name not in {known.name for known in common}]
        lines += ["", f"options of {' and '.join(models)}:", *map(_option_line, own)]
    return "\n".join(lines)


def _option_line(entry: Field[Any]) -> str:
    choices = entry.metadata["choices"]
    values = f" ({', '.join(choices)})" if choices else ""
    return f"  --{entry.name + '=…':<28} {entry.metadata['help']}{values}"


def _run(known: argparse.Namespace, rest: list[str]) -> int:
    from recbole_sibrar.checkpoint import MODEL
    from recbole_sibrar.data.modalities import INTERACTIONS
    from recbole_sibrar.recbole_plugin.run import run
    from recbole_sibrar.report.result import PER_ITEM, PER_USER, RESULT
    from recbole_sibrar.report.tracking import run_records, tracker

    track = tracker(known.track)
    options = parse_options(rest)
    for name in OF_A_RUN:
        if getattr(known, name) is not None:
            options[name] = parse_option(name, getattr(known, name))
    files = [path for given in known.config_files for path in ([given] if Path(given).is_file() else given.split())]
    result = run(known.model, known.dataset, files, options)
    if result is None:
        print("done; the machine with --group_offset=0 writes the results")
        return 0
    print(result.table())
    folder = result.config["checkpoint_dir"]
    files = [RESULT, PER_USER, PER_ITEM, MODEL, *([result.whole_model] if result.whole_model else [])]
    print(f"written to {folder}: {', '.join(files)}")
    has_content = any(set(names) - {INTERACTIONS} for names in result.modalities.values())
    tell_next(
        as_typed("recommend", "--checkpoint", f"{folder}/{result.whole_model or MODEL}", "--users", "ID"),
        *([as_typed("missing", folder)] if has_content else []),
        as_typed("report", result.config["output_dir"]),
    )
    track(run_records([asdict(result)]))
    return 0


def parse_options(arguments: Sequence[str] | None) -> dict[str, Any]:
    """``--key=value`` or ``--key value`` to ``{key: value}``.

    Raises:
        OptionError: an argument of another form, or an option given twice with different values.
    """
    options: dict[str, Any] = {}
    rest = list(arguments or ())
    while rest:
        argument = rest.pop(0)
        key, equals, value = argument[2:].partition("=")
        if not argument.startswith("--") or not key:
            raise OptionError(f"Cannot read {argument!r}; options have the form --key=value.")
        if not equals:
            if not rest or rest[0].startswith("--"):
                raise OptionError(f"Option --{key} has no value; write --{key}=value.")
            value = rest.pop(0)
        value = parse_option(key, value)
        if key in options and options[key] != value:
            raise OptionError(f"Option --{key} is given twice: {options[key]!r} and {value!r}.")
        options[key] = value
    return options


def _models(_: argparse.Namespace) -> int:
    from recbole_sibrar.recbole_plugin.capabilities import UNSERVED, capability_table, other_models

    print(capability_table())
    print(f"\nRecBole's others: {', '.join(other_models())}")
    for name, reason in UNSERVED.items():
        print(f"cannot be run: {name} ({reason})")
    return 0


def _doctor(_: argparse.Namespace) -> int:
    from recbole_sibrar.doctor import report

    text, healthy = report()
    print(text)
    return 0 if healthy else 2
