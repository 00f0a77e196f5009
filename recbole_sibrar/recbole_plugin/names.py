"""What a run is called: its model in tables, its folder, what of its protocol is not as usual."""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

from recbole.config import Config

from recbole_sibrar import checkpoint
from recbole_sibrar.models.priors import PRIORS

IN_THE_NAME = {"model", "dataset", "scenario", "seed", "split_seed", "variant", "preset", "impute"}
OF_FIGURES = ("benchmark_filename", "eval_args", "eval_candidates", "map_divisor", "split_rounding")
SHORT = re.compile(r"[\w.+=-]{1,40}")


def model_label(config: Config) -> str:
    """The papers' name of a model with its variant, its preset, and what is added to it: ``SiBraR_SC-paper``,
    ``MuBraR-strong``, ``SiBraR_S-strong+KernelRidge``, ``ContentRidge+knn`` (its imputer)."""
    variant, preset = config["variant"], config["preset"]
    name = config["model"] if variant in (None, "base") else f"{config['model']}_{variant}"
    added = [f"+{prior.model}" for option, prior in PRIORS.items() if config[option]]
    if config["impute"] not in (None, "none"):
        added.append(f"+{config['impute']}")
    return "".join([name, f"-{preset}" if preset else "", *added])


def run_folder(config: Config) -> Path:
    """Where the files of a run go."""
    return Path(config["output_dir"]) / (config["run_name"] or run_name(config))


def run_name(
    config: Config,
    label: str | None = None,
    known: dict[str, Any] | None = None,
    also: dict[str, Any] | None = None,
) -> str:
    """``SiBraR_SC-paper-ml-100k-item_cold-seed2020``; with a split of its own ``...-split1-seed2020``.

    Behind it stand the options that differ from the property files, so that runs with different options do not share a
    folder: as ``-embedding_size=32`` if they are short, else as a hash of them.

    Args:
        label: the model's name, ``model_label`` by default.
        known: options that need not be told, being what runs of this kind are given.
        also: what else tells it from others.
    """
    name = f"{label or model_label(config)}-{config['dataset']}-{config['scenario']}{_split_told(config)}"
    return f"{name}-seed{config['seed']}{_told({**options_of_its_own(config, known or {}), **(also or {})})}"


def protocol_name(config: Config, known: dict[str, Any] | None = None) -> str:
    """What of a run's protocol gives figures of the same name another meaning, as in the names of runs: nothing as a
    rule, ``-split2020``, ``-eval_candidates=all``.

    Args:
        known: options that need not be told.
    """
    options = options_of_its_own(config, known or {})
    return _split_told(config) + _told({name: options[name] for name in OF_FIGURES if name in options})


def _split_told(config: Config) -> str:
    return "" if config["split_seed"] is None else f"-split{config['split_seed']}"


def _told(options: dict[str, Any]) -> str:
    """``-embedding_size=32`` if it is short, else a hash."""
    if not options:
        return ""
    text = "-".join(f"{key}={value}" for key, value in options.items())
    if not SHORT.fullmatch(text):
        text = hashlib.blake2b(json.dumps(options, default=str).encode(), digest_size=4).hexdigest()
    return f"-{text}"


def options_of_its_own(config: Config, known: dict[str, Any]) -> dict[str, Any]:
    """Those given that make a difference and are not what the property files say."""
    usual = {**config.internal_config_dict, **known}
    ignored = IN_THE_NAME | checkpoint.OUTSIDE_THE_RESULT
    given = config.external_config_dict
    return {name: given[name] for name in sorted(set(given) - ignored) if given[name] != usual.get(name)}
