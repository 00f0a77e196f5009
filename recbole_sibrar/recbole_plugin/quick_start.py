"""RecBole's quick-start functions of these names, for our checkpoints and with validation results for the tuner; what
``run_recbole`` does not read is said."""

import inspect
import sys
import warnings
from pathlib import Path
from typing import Any

from recbole.config import Config

from recbole_sibrar.recbole_plugin.checks import begin_log, without_effect
from recbole_sibrar.recbole_plugin.prepared import prepare, prepare_trained

OF_OUR_RUN = ("fit", "output_dir", "resume", "run_name")


def config_of_run_recbole(*args: Any, **kwargs: Any) -> Config:
    """RecBole's ``Config`` for its ``run_recbole``: options without effect are said, and those of our runs alone."""
    config = Config(*args, **kwargs)
    if config["scenario"] is not None:
        for sentence in without_effect(set(config.external_config_dict), config):
            warnings.warn(sentence, stacklevel=3)
    given, usual = config.external_config_dict, config.internal_config_dict
    unread = [name for name in OF_OUR_RUN if name in given and given[name] != usual.get(name)]
    if unread and config["scenario"] is not None:
        warnings.warn(
            f"run_recbole does not read {', '.join(unread)}; use 'recbole-sibrar run', or run of "
            "recbole_sibrar.recbole_plugin.run.",
            stacklevel=3,
        )
    return config


def objective_function(
    config_dict: dict[str, Any] | None = None, config_file_list: list[str] | None = None, saved: bool = True
) -> dict[str, Any]:
    """RecBole's objective for ``HyperTuning`` and Ray Tune, with validation results reported to the tuner.

    RecBole's own reports the *test* results, so that hyper-parameters would be chosen on test data.
    """
    config = Config(config_dict=config_dict, config_file_list=config_file_list)
    begin_log(config)
    prepared = prepare(config)
    train_data, valid_data, test_data = prepared.loaders
    best_score, valid_result = prepared.trainer.fit(train_data, valid_data, verbose=False, saved=saved)
    test_result = prepared.trainer.evaluate(test_data, load_best_model=saved)
    report_to_ray(valid_result)
    return {
        "model": config["model"],
        "best_valid_score": best_score,
        "valid_score_bigger": config["valid_metric_bigger"],
        "best_valid_result": valid_result,
        "test_result": test_result,
    }


def report_to_ray(metrics: dict[str, object]) -> None:
    """Tell Ray Tune, in the way of its version, what a trial came to; outside of Ray nobody is told."""
    if "ray.tune" not in sys.modules:
        return
    from ray import tune

    if "metrics" in inspect.signature(tune.report).parameters:
        tune.report(metrics)
    else:
        tune.report(**metrics)


def load_data_and_model(model_file: Path | str) -> tuple[Any, ...]:
    """RecBole's function of this name, for our checkpoints.

    Returns:
        (config, model, dataset, train_data, valid_data, test_data).
    """
    prepared = prepare_trained(model_file)
    return prepared.config, prepared.model, prepared.dataset, *prepared.loaders
