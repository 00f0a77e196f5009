"""From options to all that training needs: configuration, data, model and trainer."""

import inspect
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from logging import getLogger
from pathlib import Path
from typing import Any

from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.data.dataloader.abstract_dataloader import AbstractDataLoader
from recbole.model.abstract_recommender import AbstractRecommender
from recbole.utils import get_model, get_trainer, init_seed

from recbole_sibrar import checkpoint
from recbole_sibrar.checkpoint import MODEL
from recbole_sibrar.data.modalities import SIDES
from recbole_sibrar.errors import CheckpointError, OptionError, SibrarError, nearest
from recbole_sibrar.files import check_plain_name
from recbole_sibrar.recbole_plugin import distributed
from recbole_sibrar.recbole_plugin.capabilities import general_recommenders
from recbole_sibrar.recbole_plugin.checks import begin_log, options_blamed, without_effect
from recbole_sibrar.recbole_plugin.config import (
    DEFAULT_DATASET,
    DEFAULT_MODEL,
    command_line_hidden,
    option_defaults,
    read_config_files,
)
from recbole_sibrar.recbole_plugin.dataset import ScenarioDataset, StoredSplit
from recbole_sibrar.recbole_plugin.rules import is_integer
from recbole_sibrar.recbole_plugin.trainer import ProtocolTrainer
from recbole_sibrar.scenarios import DEFAULT_SCENARIO


def make_config(
    model: str | type[AbstractRecommender] | None,
    dataset: str | None,
    config_files: Sequence[Path | str] | None = None,
    options: dict[str, Any] | None = None,
) -> Config:
    """The effective configuration of a run under the protocol; ``sys.argv`` is not read.

    Args:
        model, dataset: names, or a model class of one's own; None for those that the files or options name, or the
            defaults.

    Raises:
        OptionError: an unknown model or option, or a value that it does not take or that has no effect.
    """
    options = options or {}
    name = model.__name__ if inspect.isclass(model) else model
    settings = {**read_config_files(config_files or (), options, name, dataset), **options}
    name = _named("model", name, settings, DEFAULT_MODEL)
    dataset = _named("dataset", dataset, settings, DEFAULT_DATASET)
    models = general_recommenders()
    if not inspect.isclass(model) and str(name) not in models:
        raise OptionError(f"Unknown model {name!r}; the protocol covers general recommenders. {nearest(name, models)}")
    check_plain_name("dataset", dataset)
    if settings.get("checkpoint_dir") is not None:
        raise OptionError(
            f"checkpoint_dir is {settings['checkpoint_dir']!r}, but a run's files go to <output_dir>/<run_name>/; use "
            "output_dir and run_name."
        )
    if settings.get("scenario") is None:
        settings["scenario"] = DEFAULT_SCENARIO
    given = set(settings)
    distributed.check_processes(settings)
    try:
        with command_line_hidden():
            config = Config(model=model if inspect.isclass(model) else name, dataset=dataset, config_dict=settings)
    except SibrarError:
        raise
    except (ValueError, KeyError, TypeError, NotImplementedError, RuntimeError, AttributeError) as error:
        raise OptionError(f"RecBole refuses the configuration: {error}") from error
    for sentence in without_effect(given, config):
        warnings.warn(sentence, stacklevel=2)
    return config


def _named(what: str, argument: str | None, settings: dict[str, Any], default: str) -> str:
    """The model or data set: the argument, or what files and options name."""
    found = settings.pop(what, None)
    name = argument if argument is not None else found if found is not None else default
    return str(name) if is_integer(name) else name


@dataclass
class Prepared:
    """Everything before training. The random state is what ``run_recbole`` has at this point."""

    config: Config
    dataset: ScenarioDataset
    loaders: tuple[AbstractDataLoader, AbstractDataLoader, AbstractDataLoader]
    model: AbstractRecommender
    trainer: ProtocolTrainer


def prepare(config: Config) -> Prepared:
    with options_blamed(config):
        return _prepare(config)


def _prepare(config: Config) -> Prepared:
    init_seed(config["seed"], config["reproducibility"])
    model_class = get_model(config["model"])
    dataset = create_dataset(config)
    getLogger().info(dataset)
    loaders = data_preparation(config, dataset)
    init_seed(config["seed"] + config["local_rank"], config["reproducibility"])
    model = model_class(config, loaders[0]._dataset).to(config["device"])
    getLogger().info(model)
    trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, model)
    if not distributed.is_main():
        init_seed(config["seed"] + distributed.rank(), config["reproducibility"])
    return Prepared(config, dataset, loaders, model, trainer)


def prepare_trained(path: Path | str, **options: Any) -> Prepared:
    """As ``prepare``, with the configuration and the parameters of a checkpoint; ``options`` win over the former.

    Raises:
        DataError: the data are not those that the model was trained on. CheckpointError: it was trained on all of them,
            or is of a class of one's own that this process has not seen.
    """
    state = checkpoint.load(path)
    if state.get("trained_on", checkpoint.SPLIT) != checkpoint.SPLIT:
        raise CheckpointError(
            f"{path} was trained on {checkpoint.EVERYTHING}. It is for use; evaluate the {MODEL} beside it."
        )
    config = _config_of(state, options)
    begin_log(config)
    prepared = prepare(config)
    checkpoint.check_same_data(path, state["data"], prepared.dataset.read, config["dataset"])
    checkpoint.restore(prepared.model, state)
    prepared.trainer.eval_collector.data_collect(prepared.loaders[0])  # as in RecBole's fit, for some of its metrics
    return prepared


def stored_model(state: dict[str, Any]) -> AbstractRecommender:
    """The model under RecBole's interface that a checkpoint holds; the data set's files are not read.

    Raises:
        CheckpointError: it is of a class of the user's own that this process has not seen.
    """
    config = _config_of(state, {})
    init_seed(config["seed"], config["reproducibility"])
    model = get_model(config["model"])(config, StoredSplit(config, state["serving"])).to(config["device"])
    checkpoint.restore(model, state)
    return model


def _config_of(state: dict[str, Any], options: dict[str, Any]) -> Config:
    """As it was in training, whatever a preset says today: options that have come since have their defaults."""
    name = state["config"]["model"]
    if find_spec(f"recbole.model.general_recommender.{name.lower()}") is None:
        raise CheckpointError(
            f"The checkpoint is of {name}, a model class of one's own that this process has not seen; make it known "
            f"first, from Python: recbole_sibrar.recbole_plugin.patches.models.cover({name})."
        )
    with command_line_hidden():
        return Config(config_dict={**option_defaults(name), **state["config"], **options})


class DataNow:
    """The fingerprints of data sets as their files are, each read once; nothing is trained."""

    def __init__(self):
        self._opened = {}

    def read_by(self, config: Config) -> dict[str, str]:
        """{what: fingerprint} of all that a run of this configuration reads.

        Raises:
            SibrarError: the data set cannot be read.
        """
        names = {*config.parameters["Dataset"], "dataset", "benchmark_filename", "modalities", "scenario"}
        key = repr([(name, config[name]) for name in sorted(names)])
        if key not in self._opened:
            self._opened[key] = create_dataset(config)
            self._opened[key].inter_feat = None
        dataset, own = self._opened[key], getattr(get_model(config["model"]), "read_modalities", None)
        return dataset.read_of({side: own(config, side) for side in SIDES} if own else {})
