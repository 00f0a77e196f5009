"""Checks of a configuration before long work starts."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from logging import WARNING, FileHandler, Handler, getLogger
from pathlib import Path
from sysconfig import get_paths
from traceback import walk_tb
from typing import Any

from recbole.config import Config
from recbole.data.dataset import Dataset
from recbole.model.abstract_recommender import AbstractRecommender
from recbole.utils import InputType, get_model, init_logger

from recbole_sibrar.data.missing import MissingOptions
from recbole_sibrar.data.modalities import INTERACTIONS
from recbole_sibrar.errors import OptionError, SibrarError, WorkerError, WriteError, nearest
from recbole_sibrar.recbole_plugin import distributed
from recbole_sibrar.recbole_plugin.capabilities import capabilities_of, is_ones_own, known_as, solves
from recbole_sibrar.recbole_plugin.config import OUR_MODELS
from recbole_sibrar.recbole_plugin.loaders import PairLoader
from recbole_sibrar.recbole_plugin.rules import shown
from recbole_sibrar.scenarios import SCENARIOS

WITHOUT_LENGTH = ("gauc",)  # metrics of RecBole's
NO_CHOICE = "pl@"  # popularity lift
OF_STEPS = ("learning_rate", "learner", "weight_decay", "clip_grad_norm", "train_batch_size")


def check(config: Config) -> None:
    """What can be told from the configuration alone, before any data is read.

    Raises:
        OptionError: ``valid_metric`` is not computed, or an option of training or of the model is wrong.
    """
    _check_metric(config)
    model_class = get_model(config["model"])
    _check_negatives(config, model_class)
    if hasattr(model_class, "check_options"):
        model_class.check_options(config)


def _check_metric(config: Config) -> None:
    wanted = config["valid_metric"].lower()
    produced = [metric for metric in computed_metrics(config) if "@" in metric and not metric.startswith(NO_CHOICE)]
    if wanted not in produced:
        reason = "but metrics and topk produce others"
        if wanted.startswith(NO_CHOICE):
            reason = "which is best at 0, and not where it is smallest"
        raise OptionError(f"valid_metric is {config['valid_metric']!r}, {reason}. {nearest(wanted, produced)}")


def check_validates(config: Config) -> None:
    """A search has validation results to choose by.

    Raises:
        OptionError: naming the option that leaves validation out.
    """
    for name in ("eval_step", "epochs"):
        if config[name] == 0:
            raise OptionError(f"{name} is 0, which leaves validation out, and a search chooses by it; give at least 1.")


def unscored_sides(model: str, scenario: str) -> list[str]:
    """The scenario's cold sides that the model does not score: nothing that it learns is evaluated."""
    served = capabilities_of(known_as(get_model(model))).cold_sides
    return [side for side in SCENARIOS[scenario].cold_sides if side not in served]


def _check_negatives(config: Config, model_class: type[AbstractRecommender]) -> None:
    """Models that compare a positive item with a negative one are given some."""
    has_negatives = config["train_neg_sample_args"]["distribution"] != "none"
    if has_negatives and is_ones_own(model_class) and model_class.input_type == InputType.LISTWISE:
        raise OptionError(
            f"train_neg_sample_args is {shown(config['train_neg_sample_args'])}, but {config['model']} is listwise "
            "(input_type), for which RecBole draws no negatives; write train_neg_sample_args=None."
        )
    choose = getattr(model_class, "train_loader", None)
    pairwise = choose(config) is PairLoader if choose else model_class.input_type == InputType.PAIRWISE
    if pairwise and not has_negatives:
        raise OptionError(
            f"train_neg_sample_args is None, but {config['model']} learns from negatives; write for example "
            "train_neg_sample_args='{distribution: uniform, sample_num: 1}'."
        )


def begin_log(config: Config) -> str | None:
    """RecBole's log, in ``log/`` of the working folder, and TensorBoard's in ``log_tensorboard/``.

    What is no warning goes to the file alone, unless ``state`` is given.

    Returns:
        the name of the file, which is that of the process's first run.

    Raises:
        WriteError: a file has one of these names.
    """
    for name in ("log", "log_tensorboard"):
        if Path(name).exists() and not Path(name).is_dir():
            raise WriteError(
                f"{Path(name).resolve()} is a file, but RecBole writes its log into a folder of this name; rename it, "
                "or start in another folder."
            )
    init_logger(config)
    files: list[Handler] = []
    others: list[Handler] = []
    for handler in getLogger().handlers:
        (files if isinstance(handler, FileHandler) else others).append(handler)
    if "state" not in config.external_config_dict:
        for handler in others:
            handler.setLevel(WARNING)
    return next((os.path.relpath(handler.baseFilename) for handler in files), None)


def without_effect(given: set[str], config: Config) -> list[str]:
    """Sentences that name the options given which do nothing in this run; of a model class of one's own nobody knows
    what it reads."""
    model, read, known = config["model"], config.internal_config_dict, known_as(config.model_class)
    is_known = known in OUR_MODELS or not is_ones_own(config.model_class)
    sentences = [
        f"{name} is {config[name]!r}, but {model} does not read it."
        for name in ("embedding_size", "reg_weight")
        if name in given and name not in read and is_known
    ]
    if solves(known):
        sentences += [
            f"{name} is {shown(config[name])}, but {model} is not trained in steps and does not read it."
            for name in OF_STEPS
            if name in given and config[name] is not None
        ]
    takes, of_interactions = capabilities_of(known), INTERACTIONS in MissingOptions.parse(config["missing"]).modality
    if is_known and not takes.missing_modalities:
        unread = ("vector_storage", *(() if takes.missing_interactions and of_interactions else ("missing",)))
        sentences += [
            f"{name} is {shown(config[name])}, but {model} reads no modalities that could be missing."
            for name in unread
            if name in given and config[name] != config.internal_config_dict[name]
        ]
    elif is_known and "missing" in given and of_interactions and not takes.missing_interactions:
        sentences.append(f"missing.modality.interactions has no effect: {model} knows who has interactions by the id.")
    if "tail_ratio" in given and "tailpercentage" not in [name.lower() for name in config["metrics"]]:
        sentences.append(f"tail_ratio is {config['tail_ratio']!r}, but has an effect on TailPercentage only.")
    if config["device"].type == "cpu":
        for name in ("gpu_id", "use_gpu", "enable_scaler"):
            if name in given and config[name] and config["gpu_id"]:
                sentences.append(f"{name} is {config[name]!r}, but torch finds no such GPU: the run is on the CPU.")
    unused = sorted(given.intersection(("ip", "port")) - set(config.external_config_dict))
    sentences += [f"{name} has no effect in a run of one process; see nproc." for name in unused]
    loader = getattr(get_model(model), "train_loader", lambda config: None)(config)
    if "train_neg_sample_args" in given and (solves(known) or loader not in (None, PairLoader)):
        sentences.append(f"train_neg_sample_args has no effect: {model} learns without negatives here.")
    if loader is PairLoader and config["train_neg_sample_args"]["dynamic"]:
        sentences.append(f"train_neg_sample_args.dynamic has no effect: {model} draws its negatives itself.")
    if hasattr(get_model(model), "without_effect"):
        sentences += get_model(model).without_effect(config, given)
    return sentences


@contextmanager
def options_blamed(config: Config) -> Iterator[None]:
    """Turn an error inside RecBole or torch into one that names the options that are not at their defaults.

    With default options it is RecBole's, whose model does not fit the data, or else a fault of this program, which
    stays as it is; so does that of one of several processes, which may be another process's, and that of a model class
    or of other code of one's own, such as a metric, whose author wants to see where it is.

    Raises:
        OptionError: naming the options, or RecBole's model, with the error's own text.
    """
    try:
        yield
    except (SibrarError, WorkerError, OSError):
        raise
    except Exception as error:
        changed, model = changed_options(config), config["model"]
        is_our_fault = not changed and model in OUR_MODELS
        is_ones_own_fault = is_ones_own(config.model_class) or _passed_ones_own_code(error)
        if distributed.size() > 1 or is_our_fault or is_ones_own_fault:
            raise
        getLogger().debug("The error behind the next message:", exc_info=True)
        said = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        if not changed:
            raise OptionError(
                f"RecBole's {model} does not work on {config['dataset']} ({said}); RecBole's models are not made for "
                "every size of data, choose another one."
            ) from error
        others = "" if model in OUR_MODELS else ", or the model, which is not made for every size of data"
        raise OptionError(
            f"{model} does not work with {', '.join(f'{k}={shown(v)}' for k, v in changed.items())} "
            f"({said}); change these options{others}."
        ) from error


INSTALLED = (str(Path(__file__).parents[1]), *{path for name, path in get_paths().items() if name.endswith("lib")})


def _passed_ones_own_code(error: BaseException) -> bool:
    """Whether the error came by code that is neither installed nor of this package."""
    files = [frame.f_code.co_filename for frame, _ in walk_tb(error.__traceback__)]
    return any(not file.startswith(("<", *INSTALLED)) for file in files)


HARMLESS = {
    "data_path", "output_dir", "checkpoint_dir", "run_name", "scenario", "seed", "split_seed", "state", "show_progress",
    "epochs", "resume", "model", "dataset", "gpu_id", "stopping_step", "modalities", "tables", "missing",
    "valid_metric", "topk", "metrics", "metric_decimal_place", "load_col", "fit", "map_divisor", "eval_candidates",
}  # fmt: skip


def changed_options(config: Config) -> dict[str, Any]:
    """The options given that differ from the defaults and could upset a model."""
    external, internal = config.external_config_dict, config.internal_config_dict
    return {
        name: value
        for name, value in external.items()
        if name not in HARMLESS and name in internal and value != internal[name]
    }


def check_sizes(config: Config, dataset: Dataset) -> None:
    """What the size of the data set forbids.

    Raises:
        OptionError: NCL has more clusters than there are entities.
    """
    _check_clusters(config, dataset)


def _check_clusters(config: Config, dataset: Dataset) -> None:
    n_clusters, n_fewest = config["num_clusters"], min(dataset.user_num, dataset.item_num)
    if config["model"] == "NCL" and n_clusters > n_fewest:
        raise OptionError(
            f"num_clusters is {n_clusters}, but {config['dataset']} has {dataset.user_num - 1} users and "
            f"{dataset.item_num - 1} items, and NCL clusters both; lower it, for example to {max(1, n_fewest // 10)}."
        )


def computed_metrics(config: Config | dict[str, Any]) -> list[str]:
    """The keys of the results: ``ndcg@10``, ..., ``gauc``."""
    names = [metric.lower() for metric in config["metrics"]]
    found = [name if name in WITHOUT_LENGTH else f"{name}@{k}" for name in names for k in config["topk"]]
    return list(dict.fromkeys(found))
