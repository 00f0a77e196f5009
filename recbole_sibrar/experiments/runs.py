"""A run as it is planned: checked before anything is started, and found again when it is finished."""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from recbole_sibrar import checkpoint
from recbole_sibrar.errors import OptionError, suggestion
from recbole_sibrar.models import MODELS
from recbole_sibrar.properties import QUIET
from recbole_sibrar.recbole_plugin.checks import check
from recbole_sibrar.recbole_plugin.config import Config, check_dataset, valid_names
from recbole_sibrar.recbole_plugin.everything import WHOLE_MODEL
from recbole_sibrar.recbole_plugin.names import protocol_name, run_name
from recbole_sibrar.recbole_plugin.prepared import make_config
from recbole_sibrar.report.result import RESULT, as_json


@dataclass(frozen=True)
class Run:
    """A run to be made.

    Attributes:
        label: the model's name in tables. name: of the run's folder.
        protocol: what of its protocol is not as usual, as in its name (``protocol_name``).
        options: what the run is given. config: its effective configuration as plain JSON data.
        recbole_config: the same as RecBole has it.
    """

    label: str
    name: str
    model: str
    dataset: str
    scenario: str
    seed: int
    protocol: str
    options: dict
    config: dict
    recbole_config: Any = field(repr=False, compare=False)

    @property
    def folder(self) -> Path:
        return Path(self.config["output_dir"]) / self.name

    @property
    def command(self) -> list[str]:
        given = {**QUIET, **self.options, "run_name": self.name, "resume": True}
        return [
            sys.executable, "-m", "recbole_sibrar.cli", "run", f"--model={self.model}", f"--dataset={self.dataset}",
            f"--scenario={self.scenario}", f"--seed={self.seed}", *(f"--{key}={value}" for key, value in given.items()),
        ]  # fmt: skip


def plan_run(
    label: str,
    model: str,
    dataset: str,
    scenario: str,
    seed: int,
    options: dict[str, Any],
    prefix: str = "",
    known: dict[str, Any] | None = None,
) -> Run:
    """Build and check the configuration of a run.

    Args:
        prefix: of the folder's name. known: options that the prefix stands for.

    Raises:
        SibrarError: an option is wrong, or the data set does not exist.
    """
    config = make_config(model, dataset, options={**options, "scenario": scenario, "seed": seed})
    check(config)
    check_dataset(config["data_path"], dataset)
    name = f"{prefix}{run_name(config, label, known)}"
    plain = as_json(checkpoint.plain_config(config))
    return Run(label, name, model, dataset, scenario, seed, protocol_name(config, known), options, plain, config)


def known_options(options: dict[str, Any], config: Config) -> dict[str, Any]:
    """Those of the options that the model of a configuration knows."""
    known = valid_names(config.internal_config_dict, config.parameters)
    return {name: value for name, value in options.items() if name in known}


def check_options_used(options: dict[str, Any], used: set[str]) -> None:
    """Every option is known to at least one model.

    Raises:
        OptionError: naming one that is not.
    """
    for name in options:
        if name not in used:
            ours = {entry.name for model in MODELS.values() for entry in fields(model.options_class)}
            hint = suggestion(name, ours)
            raise OptionError(f"None of the models knows the option {name!r}. {hint}".rstrip())


def check_distinct(runs: Sequence[Run]) -> None:
    """Two runs do not share a folder.

    Raises:
        OptionError: naming the model that is there twice.
    """
    seen = set()
    for run in runs:
        if run.name in seen:
            raise OptionError(f"Two models are called {run.label!r}; give one of them another name with 'name'.")
        seen.add(run.name)


def finished(run: Run, data: dict[str, str]) -> dict[str, Any] | str | None:
    """The result of a finished run with the same options and data; a string that says why there is none; None if never
    run.

    Args:
        data: {what: fingerprint} as the files are.
    """
    path = run.folder / RESULT
    if not path.is_file():
        return None
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
        found = result["config"]
    except (ValueError, KeyError, TypeError):
        return f"{path} is not a result"
    if not isinstance(found, dict) or not isinstance(result.get("test_result"), dict):
        return f"{path} is not a result"
    if run.config["fit"] == "all" and not (run.folder / WHOLE_MODEL).is_file():
        return f"fit is all, and {WHOLE_MODEL} is not there"
    return difference(run.config, found) or changed_data(run, result.get("data"), data) or result


def changed_data(run: Run, before: dict[str, str], now: dict[str, str]) -> str | None:
    """What of the data is not as it was, as a sentence; None if they are the same."""
    changed = checkpoint.differing_data(before or {}, now)
    return changed and f"it was made from other data: {changed} of {run.dataset} changed"


def difference(
    wanted: dict[str, Any], found: dict[str, Any], free: set[str] = checkpoint.OUTSIDE_THE_RESULT
) -> str | None:
    """The first option in which two configurations differ, as a sentence; None if they agree but for ``free``."""
    name = checkpoint.differing_option(found, wanted, free)
    if name is not None:
        return f"it was made with {name}={found.get(name)!r}, wanted is {wanted.get(name)!r}"
    paths = [str(Path(config["data_path"]).resolve()) for config in (wanted, found)]
    return None if paths[0] == paths[1] else f"it was made with data_path={paths[1]}, wanted is {paths[0]}"
