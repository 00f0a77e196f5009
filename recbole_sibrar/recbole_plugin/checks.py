"""Checks of a configuration before long work starts."""

from recbole.config import Config
from recbole.utils import get_model

from recbole_sibrar.errors import OptionError, nearest
from recbole_sibrar.evaluation.metrics import METRICS


def check(config: Config) -> None:
    """What can be told from the configuration alone, before any data is read.

    Raises:
        OptionError: ``valid_metric`` is not computed, or an option of training or of the model is wrong.
    """
    _check_metric(config)
    _check_training(config)
    model_class = get_model(config["model"])
    if hasattr(model_class, "check_options"):
        model_class.check_options(config)


def _check_metric(config):
    produced = computed_metrics(config)
    if config["valid_metric"].lower() not in produced:
        raise OptionError(
            f"valid_metric is {config['valid_metric']!r}, but metrics and topk produce others. "
            f"{nearest(config['valid_metric'].lower(), produced)}"
        )


def _check_training(config):
    rate = config["learning_rate"]
    if isinstance(rate, bool) or not isinstance(rate, (int, float)) or not 0 < rate < float("inf"):
        raise OptionError(f"learning_rate is {rate!r}; expected a number above 0.")
    for name, least in (("epochs", 0), ("train_batch_size", 1), ("eval_batch_size", 1)):
        value = config[name]
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise OptionError(f"{name} is {value!r}; expected an integer of at least {least}.")


def check_sizes(config: Config, dataset) -> None:
    """What the size of the data set forbids.

    Raises:
        OptionError: lists are longer than RecBole's metrics take, or NCL has more clusters than there are entities.
    """
    _check_list_length(config, dataset)
    _check_clusters(config, dataset)


def _check_list_length(config, dataset):
    theirs = [name for name in config["metrics"] if name.lower() not in METRICS]
    if theirs and max(config["topk"]) > dataset.item_num:
        raise OptionError(
            f"topk is {config['topk']}, but RecBole's metrics ({', '.join(theirs)}) take lists no longer than the "
            f"number of items, {dataset.item_num - 1}; lower topk or leave these metrics out."
        )


def _check_clusters(config, dataset):
    n_clusters, n_fewest = config["num_clusters"], min(dataset.user_num, dataset.item_num)
    if config["model"] == "NCL" and n_clusters > n_fewest:
        raise OptionError(
            f"num_clusters is {n_clusters}, but {config['dataset']} has {dataset.user_num - 1} users and "
            f"{dataset.item_num - 1} items, and NCL clusters both; lower it, for example to {max(1, n_fewest // 10)}."
        )


def computed_metrics(config: Config) -> list:
    """The keys of the results: ``ndcg@10``, ..."""
    return [f"{metric.lower()}@{k}" for metric in config["metrics"] for k in config["topk"]]
