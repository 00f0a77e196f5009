"""Many runs, each in a process of its own: finished ones are reused, interrupted ones go on, failed ones are kept."""

import json
import shlex
import subprocess
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path

import pandas as pd
from tqdm import tqdm

from recbole_sibrar.errors import CheckpointError, OptionError, suggestion
from recbole_sibrar.files import atomic_file
from recbole_sibrar.models import MODELS
from recbole_sibrar.recbole_plugin import checkpoint
from recbole_sibrar.recbole_plugin.config import check_dataset, valid_names
from recbole_sibrar.recbole_plugin.run import HISTORY, PROGRESS, QUIET, check, make_config, remove_progress
from recbole_sibrar.report.result import as_json

# Where the data lies is compared as an absolute path.
FREE_TO_DIFFER = checkpoint.FREE_TO_DIFFER | {"run_name", "data_path"}


@dataclass(frozen=True)
class Run:
    """A run to be made.

    Attributes:
        label: the model's name in tables. name: of the run's folder.
        options: what the run is given. config: its effective configuration as plain JSON data.
    """

    label: str
    name: str
    model: str
    dataset: str
    scenario: str
    seed: int
    options: dict
    config: dict

    @property
    def folder(self) -> Path:
        return Path(self.config["output_dir"]) / self.name

    @property
    def command(self) -> list:
        given = {**QUIET, **self.options, "run_name": self.name, "resume": True}
        return [
            sys.executable, "-m", "recbole_sibrar.cli", "run", f"--model={self.model}", f"--dataset={self.dataset}",
            f"--scenario={self.scenario}", f"--seed={self.seed}", *(f"--{key}={value}" for key, value in given.items()),
        ]  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """What became of a run: its result, or the error that ended it."""

    run: Run
    result: dict | None = None
    error: str | None = None

    @property
    def per_user(self) -> pd.DataFrame | None:
        """``user``, ``seed`` and a column for each metric; None if the run failed or has no per-user values."""
        path = self.run.folder / "per_user.csv"
        if self.result is None or not path.is_file():
            return None
        table = pd.read_csv(path, dtype={0: str})
        return table.rename(columns={table.columns[0]: "user"}).assign(seed=self.run.seed)


def plan_run(label: str, model: str, dataset: str, scenario: str, seed: int, options: dict, prefix="") -> Run:
    """Build and check the configuration of a run.

    Args:
        prefix: of the folder's name.

    Raises:
        SibrarError: an option is wrong, or the data set does not exist.
    """
    config = make_config(model, dataset, options={**options, "scenario": scenario, "seed": seed})
    check(config)
    check_dataset(config["data_path"], dataset)
    split = f"split{config['split_seed']}-" if config["split_seed"] is not None else ""
    name = f"{prefix}{label}-{dataset}-{scenario}-{split}seed{seed}"
    plain = as_json(checkpoint.plain_config(config))
    return Run(label, name, model, dataset, scenario, seed, options, plain)


def known_options(options: dict, config) -> dict:
    """Those of the options that the model of a configuration knows."""
    known = valid_names(config.internal_config_dict, config.parameters)
    return {name: value for name, value in options.items() if name in known}


def check_options_used(options: dict, used: set) -> None:
    """Every option is known to at least one model.

    Raises:
        OptionError: naming one that is not.
    """
    for name in options:
        if name not in used:
            ours = {entry.name for model in MODELS.values() for entry in fields(model.options_class)}
            hint = suggestion(name, ours)
            raise OptionError(f"None of the models knows the option {name!r}. {hint}".rstrip())


def check_distinct(runs) -> None:
    """Two runs do not share a folder.

    Raises:
        OptionError: naming the model that is there twice.
    """
    seen = set()
    for run in runs:
        if run.name in seen:
            raise OptionError(f"Two models are called {run.label!r}; give one of them another name with 'name'.")
        seen.add(run.name)


def execute(runs) -> list:
    """Make the runs that are not there yet, one after the other, and return an ``Outcome`` for each.

    Raises:
        KeyboardInterrupt: with a sentence that says how many runs are kept.
    """
    outcomes = []
    try:
        with tqdm(runs, unit="run") as progress:
            for run in progress:
                progress.set_postfix_str(run.name)
                outcomes.append(_outcome(run, progress))
                if outcomes[-1].error:
                    progress.write(f"{run.name} failed: {_last_line(outcomes[-1].error)}", file=sys.stderr)
    except KeyboardInterrupt:
        n = sum(outcome.error is None for outcome in outcomes)
        raise KeyboardInterrupt(
            f"interrupted; {n} of {len(runs)} runs are finished and kept: the same command goes on where it stopped."
        ) from None
    return outcomes


def _outcome(run, progress):
    found = finished(run)
    if isinstance(found, str):
        progress.write(f"{run.name} runs again: {found}", file=sys.stderr)
    if isinstance(found, dict):
        return Outcome(run, found)
    _forget_other_progress(run)
    done = call(run.command, lambda: progress.set_postfix_str(_state(run)))
    found = finished(run)
    if done.returncode == 0 and isinstance(found, dict):
        (run.folder / "error.txt").unlink(missing_ok=True)
        return Outcome(run, found)
    error = done.stderr.strip() or f"ended with exit code {done.returncode}"
    if done.returncode == 0:
        error = f"the run left no result with the options wanted: {found}"
    with atomic_file(run.folder / "error.txt") as file:
        file.write(f"{shlex.join(run.command)}\nexit code {done.returncode}\n\n{error}\n")
    return Outcome(run, error=error)


def call(command, watch, interval=1.0) -> subprocess.CompletedProcess:
    """Run a command, its standard error kept, and call ``watch`` every ``interval`` seconds."""
    with tempfile.TemporaryFile("w+", errors="replace") as errors:
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors) as process:
            try:
                while process.poll() is None:
                    watch()
                    with suppress(subprocess.TimeoutExpired):
                        process.wait(interval)
            except BaseException:
                process.kill()
                raise
        errors.seek(0)
        return subprocess.CompletedProcess(command, process.returncode, stderr=errors.read())


def _state(run):
    """The name of a run and the last of its epochs."""
    path = run.folder / HISTORY
    if not path.is_file():
        return run.name
    last = pd.read_csv(path).iloc[-1]
    return f"{run.name}, epoch {last['epoch']:.0f}: {last['valid']:.4f}"


def finished(run: Run):
    """The result of a finished run with the same options; a string that says why there is none; None if never run."""
    path = run.folder / "result.json"
    if not path.is_file():
        return None
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
        found = result["config"]
    except (ValueError, KeyError, TypeError):
        return f"{path} is not a result"
    return difference(run.config, found) or result


def difference(wanted: dict, found: dict, free=FREE_TO_DIFFER) -> str | None:
    """The first option in which two configurations differ, as a sentence; None if they agree but for ``free``."""
    name = checkpoint.differing_option(found, wanted, free)
    if name is not None:
        return f"it was made with {name}={found.get(name)!r}, wanted is {wanted.get(name)!r}"
    paths = [str(Path(config["data_path"]).resolve()) for config in (wanted, found)]
    return None if paths[0] == paths[1] else f"it was made with data_path={paths[1]}, wanted is {paths[0]}"


def _forget_other_progress(run):
    """An interrupted run goes on only with the options that it began with; otherwise it starts anew."""
    path = run.folder / PROGRESS
    if not path.is_file():
        return
    try:
        before = as_json(checkpoint.load(path)["config"])
    except CheckpointError:
        before = {}
    if not before or difference(run.config, before, FREE_TO_DIFFER | checkpoint.FREE_TO_CHANGE):
        remove_progress(run.folder)


def _last_line(text):
    return text.splitlines()[-1]
