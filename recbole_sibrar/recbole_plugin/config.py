"""Configuration: which property files apply, and which option names exist."""

import glob
import sys
import warnings
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from difflib import get_close_matches
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import recbole
import yaml
from recbole.config import Config

from recbole_sibrar.checked import default_of
from recbole_sibrar.errors import DataError, OptionError, nearest, suggestion
from recbole_sibrar.models import MODELS
from recbole_sibrar.properties import PAPER, names_paper, parse_option, props_folder, read_paper, read_property_file
from recbole_sibrar.recbole_plugin.capabilities import UNSERVED, general_recommenders, solves
from recbole_sibrar.recbole_plugin.guess import guessed_modalities
from recbole_sibrar.recbole_plugin.rules import PATH, WITHOUT_EFFECT, check_values, shown
from recbole_sibrar.scenarios import DEFAULT_SCENARIO, SCENARIOS, Scenario, scenario_named

OUR_MODELS = tuple(MODELS)
DEFAULT_MODEL, DEFAULT_DATASET = "SiBraR", "ml-100k"

# Options of RecBole that stand in none of its default files.
UNLISTED = {
    "model", "dataset", "reg_weight", "benchmark_filename", "world_size", "nproc", "ip", "port", "group_offset",
    "wandb_project", "embedding_size", "tail_ratio", *WITHOUT_EFFECT,
}  # fmt: skip

# What is known before a data set's file is read, or sets a run apart from others on the same data.
CHOSEN_BESIDE = {"model", "dataset", "scenario", "preset", "data_path", "seed", "run_name"}


def property_layers(model: str, of_data: Path, preset: str | None = None) -> list[Path]:
    """The property files between the protocol's and the user's own settings, the later ones winning.

    ``model/<model>.yaml``, ``preset/<preset>.yaml`` (the one asked for, or the model's own), the data set's file
    ``of_data``.

    Raises:
        OptionError: the model has no presets, or not this one.
    """
    of_model = props_folder() / "model" / f"{model}.yaml"
    candidates = [of_model, *_preset(model, of_model, preset), of_data]
    return [path for path in candidates if path.is_file()]


def file_of_data(dataset: str, data_path: Path | str) -> Path:
    """Where the data set's property file is, if it has one: beside its atomic files or in ``props/dataset/``."""
    beside = Path(str(data_path)) / dataset / f"{dataset}.yaml"
    is_own = beside.is_file() or own_folder(data_path, dataset) is not None
    return beside if is_own else props_folder() / "dataset" / f"{dataset}.yaml"


def _preset(model: str, of_model: Path, wanted: str | None) -> list[Path]:
    """The file of the preset, none for a model without presets."""
    default = read_property_file(of_model).get("preset") if of_model.is_file() else None
    if default is None:
        if wanted is not None:
            raise OptionError(f"preset is {wanted!r}, but {model} has no presets; leave it out.")
        return []
    name, folder = default if wanted is None else wanted, props_folder() / "preset"
    known = sorted(path.stem for path in folder.glob("*.yaml"))
    if name not in known:
        raise OptionError(f"preset is {name!r}. {nearest(name, known)}")
    return [folder / f"{name}.yaml"]


def parts_of(path: Path) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """A property file of a preset or data set: what holds in every scenario, and {scenario: what wins over it there},
    of parts such as ``item_cold: {epochs: 5}``.

    Raises:
        OptionError: the file is malformed, or such a part is.
    """
    values = read_property_file(path)
    parts = {name: values.pop(name, None) or {} for name in SCENARIOS}
    for name, part in parts.items():
        if not isinstance(part, dict):
            raise OptionError(f"{path}: {name} is {part!r}; expected options of this scenario, 'option: value'.")
    return values, {
        scenario: {name: parse_option(name, value) for name, value in part.items()} for scenario, part in parts.items()
    }


def read_config_files(
    files: Iterable[Any], options: dict[str, Any], model: str | None, dataset: str | None
) -> dict[str, Any]:
    """Property files, the later ones winning.

    Args:
        files: their paths, or ``paper`` or ``paper/<data set>``: the papers' settings for the run's model and scenario.
        options: those that win over the files.
        model, dataset: of the run; None for those that the files or options name, or the defaults.

    Raises:
        OptionError: a file is absent or malformed, or the papers do not have what is named.
    """
    if isinstance(files, (str, Path, dict)):
        raise OptionError(
            f"config_files is {shown(files)}; expected a list of files, such as ['my.yaml']; options are given as "
            "options={'epochs': 5}."
        )
    settings: dict[str, Any] = {}
    for path in files:
        if names_paper(path):
            known = {**settings, **options}
            own = (
                model or known.get("model") or DEFAULT_MODEL,
                dataset or known.get("dataset") or DEFAULT_DATASET,
                known.get("scenario") or DEFAULT_SCENARIO,
            )
            settings.update(read_paper(props_folder() / PAPER, path, *map(str, own)))
        else:
            settings.update(read_property_file(path))
    return settings


def option_defaults(model: str) -> dict[str, Any]:
    """The defaults of the options of one of our models, which stand in its options class; none for another model."""
    if model not in MODELS:
        return {}
    return {entry.name: default_of(entry) for entry in fields(MODELS[model].options_class)}


def foreign_options(model: str) -> set[str]:
    """Options of our models that ``model`` does not have; a scenario sets some, for the models that do."""
    names = {name: {entry.name for entry in fields(known.options_class)} for name, known in MODELS.items()}
    return set().union(*names.values()) - names.get(model, set())


def apply_layers(config: Config, model: str, dataset: str) -> None:
    """Add our layers to ``config.internal_config_dict`` where the protocol applies, and check the option names.

    The protocol applies to our own models and to every model for which a ``scenario`` is given; any other run of
    RecBole stays as it is.

    Args:
        model: the name by which the class is known (``capabilities.known_as``).
    """
    external = config.external_config_dict
    external.update({name: _of_python(value) for name, value in external.items()})
    given = external.get("scenario")
    if model not in OUR_MODELS and given is None:
        return
    scenario = scenario_named(DEFAULT_SCENARIO if given is None else given)
    if model in UNSERVED:
        raise OptionError(f"{model} cannot be run: {UNSERVED[model]}.")
    internal = config.internal_config_dict
    of_protocol = read_property_file(props_folder() / "protocol.yaml")
    data_path = PATH.check("data_path", external.get("data_path", of_protocol["data_path"]))
    folder = own_folder(data_path, dataset)
    if folder:
        _forget_recboles(dataset, config)
    defaults, of_model = dict(internal), {} if model in OUR_MODELS else _recboles("model", model, config)
    internal.update({**of_protocol, **option_defaults(model)})
    if solves(model):
        internal["train_neg_sample_args"] = None
    _add_layers(config, model, file_of_data(dataset, data_path), scenario, of_model)
    _follow_topk(external, internal)
    _check_given_names(config)
    if external.get("variant") is not None and "variant" in foreign_options(model):
        raise OptionError(f"variant is {external['variant']!r}, but {model} has no variants; leave it out.")
    checked = check_values({**internal, **external, "scenario": scenario.name}, defaults, of_model)
    for name in ("train_batch_size", "learning_rate"):
        if checked[name] is None and model not in OUR_MODELS:
            raise OptionError(f"{name} is None, which {model} of RecBole cannot follow; give a number.")
    external.update({name: checked[name] for name in external})
    internal.update({name: checked[name] for name in internal if name not in external})
    if internal["load_col"] == of_protocol["load_col"]:
        names = ("USER_ID_FIELD", "ITEM_ID_FIELD", "RATING_FIELD", "TIME_FIELD")
        internal["load_col"] = {"inter": [checked[name] for name in names]}
    if folder and model in OUR_MODELS and checked["modalities"] is None:
        fields_of_ids = {"user": checked["USER_ID_FIELD"], "item": checked["ITEM_ID_FIELD"]}
        separators = checked["field_separator"], checked["seq_separator"]
        columns = checked["load_col"] or {}, checked["unload_col"] or {}
        internal["modalities"] = guessed_modalities(folder, fields_of_ids, separators, *columns)
    if checked["use_gpu"] is False:
        external["gpu_id"] = ""


def _of_python(value: Any) -> Any:
    """Numbers, texts and arrays of numpy as Python's, in lists and dictionaries, too."""
    if isinstance(value, (np.generic, np.ndarray)):
        return value.tolist()
    if isinstance(value, dict):
        return {name: _of_python(entry) for name, entry in value.items()}
    return [_of_python(entry) for entry in value] if isinstance(value, list) else value


def _add_layers(config: Config, model: str, of_data: Path, scenario: Scenario, of_model: Collection[str]) -> None:
    """Model, preset and data set; of options that only others of our models have, those that are ``of_model`` too."""
    internal, foreign = config.internal_config_dict, foreign_options(model)
    for path in property_layers(model, of_data, config.external_config_dict.get("preset")):
        values, parts = parts_of(path)
        if path == of_data:
            check_names_of_data(path, [*values, *chain(*parts.values())], {*internal, *foreign}, config.parameters)
        own = {**values, **parts[scenario.name]}
        internal.update({name: value for name, value in own.items() if name not in foreign or name in of_model})
    internal.update({name: value for name, value in scenario.options.items() if name not in foreign})
    internal["scenario"] = scenario.name


def _check_given_names(config: Config) -> None:
    """As ``check_names``; of a model of one's own, which reads what nobody else knows, a doubt is a warning."""
    external, internal = config.external_config_dict, config.internal_config_dict
    if config.model in general_recommenders():
        check_names(external, internal, config.parameters)
        return
    valid = valid_names(internal, config.parameters)
    for name in sorted(set(map(str, external)) - valid):
        for meant in get_close_matches(name, valid, n=1, cutoff=0.85):
            warnings.warn(f"{name} is no option, unless {config.model} reads it. Did you mean {meant!r}?", stacklevel=3)


def _follow_topk(external: dict[str, Any], internal: dict[str, Any]) -> None:
    """Where ``topk`` is given alone, the metric of validation has the first of its lengths."""
    lengths = external.get("topk")
    lengths = lengths if isinstance(lengths, (list, tuple)) else [lengths]
    metric, at, k = str(internal["valid_metric"]).partition("@")
    if external.get("valid_metric") is None and lengths[:1] != [None] and at and lengths and k not in map(str, lengths):
        internal["valid_metric"] = f"{metric}@{lengths[0]}"


def own_folder(data_path: Path | str, dataset: str) -> Path | None:
    """The folder of a data set of one's own, also where RecBole or this package has one of this name."""
    folder = Path(str(data_path)) / dataset
    examples = Path(recbole.__file__).parent / "dataset_example"
    is_there = folder.is_dir() and any(folder.glob(f"{glob.escape(dataset)}*.inter"))
    return folder if is_there and folder.resolve() != (examples / dataset).resolve() else None


def _recboles(kind: str, name: str, config: Config) -> dict[str, Any]:
    """RecBole's property file of a model or data set."""
    path = Path(recbole.__file__).parent / "properties" / kind / f"{name}.yaml"
    return yaml.load(path.read_text(encoding="utf-8"), config.yaml_loader) or {} if path.is_file() else {}


def _forget_recboles(dataset: str, config: Config) -> None:
    """Undo what RecBole sets for a data set that has its name by chance."""
    general = _recboles("dataset", "sample", config)
    for name in _recboles("dataset", dataset, config):
        config.internal_config_dict.pop(name, None)
        if name in general:
            config.internal_config_dict[name] = general[name]


def check_names(given: Iterable[str], known: Iterable[str], recbole_parameters: dict[str, list[str]]) -> None:
    """An option that nothing reads is an error, not a silent default.

    Raises:
        OptionError: naming it and the nearest valid name.
    """
    valid = valid_names(known, recbole_parameters)
    for name in given:
        if not isinstance(name, str) or name not in valid:
            raise OptionError(f"Unknown option {name!r}. {suggestion(name, valid) or 'See --help for the options.'}")


def check_names_of_data(
    path: Path, given: Collection[str], known: Iterable[str], recbole_parameters: dict[str, list[str]]
) -> None:
    """As ``check_names``, of a data set's file, which is read for any model and scenario and does not choose them."""
    chosen = sorted(CHOSEN_BESIDE.intersection(given))
    if chosen:
        raise OptionError(f"{path} has {chosen[0]}, which a data set cannot choose; give it to the run.")
    try:
        check_names(given, known, recbole_parameters)
    except OptionError as error:
        raise OptionError(f"{path}: {error}") from None


def valid_names(known: Iterable[str], recbole_parameters: dict[str, list[str]]) -> set[str]:
    """The option names that something reads: those of the property files, and RecBole's."""
    return set(known) | UNLISTED | {name for names in recbole_parameters.values() for name in names}


@contextmanager
def command_line_hidden() -> Iterator[None]:
    """RecBole's Config reads ``sys.argv``; our command has parsed it already."""
    argv, sys.argv = sys.argv, sys.argv[:1]
    try:
        yield
    finally:
        sys.argv = argv


def check_dataset(data_path: Path | str, dataset: str) -> None:
    """The data set's folder and interaction file exist.

    Raises:
        DataError: saying where they were looked for and how to make them.
    """
    folder = Path(data_path)
    if folder.is_dir():
        return
    siblings = [path.name for path in folder.parent.glob("*") if path.is_dir()] if folder.parent.is_dir() else []
    raise DataError(
        f"Data set {dataset!r} not found: {folder} does not exist. {nearest(dataset, [*siblings, 'ml-100k'])} "
        f"Make it with 'recbole-sibrar convert', or say where it is with --data_path."
    )
