"""Studies of missing modalities: trained models evaluated on subsets of the modalities, and at rising rates of loss."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

import pandas as pd

from recbole_sibrar.data.missing import MissingOptions
from recbole_sibrar.evaluation.significance import TEST_TO_TRAIN, interval, ratio_of, split_of
from recbole_sibrar.evaluation.subsets import modality_subsets
from recbole_sibrar.evaluation.trained import Trained
from recbole_sibrar.progress import steps


def subset_study(trained: Trained, side: str, phase: str, limit: int, seed: int) -> pd.DataFrame:
    """A trained model on subsets of one side's modalities.

    Args:
        limit, seed: see ``modality_subsets``.

    Returns:
        a row for each subset: the subset itself, model, modalities (joined by +, empty for none), n_modalities,
        n_users, each metric, and ``<metric>_std``, its standard deviation over the users (NaN for metrics of the lists
        as a whole).
    """
    rows = []
    subsets = modality_subsets(trained.modalities(side, phase), limit, seed)
    for subset in steps(subsets, f"{trained.name}, subsets"):
        with trained.only(side, subset):
            about = {"subset": subset, "modalities": "+".join(subset), "n_modalities": len(subset)}
            rows.append({**about, **_row(trained, phase)})
    return pd.DataFrame(rows)


def rate_study(
    trained: Trained, side: str, phase: str, rates: Collection[float], options: MissingOptions
) -> pd.DataFrame:
    """A trained model while its entities lose more and more of their modalities in evaluation.

    Args:
        rates: shares of loss. options: the pattern and the seed.

    Returns:
        as ``subset_study``, with the columns ``where`` (evaluation), ``pattern``, ``rate`` and, of the run, ``seed``,
        ``split`` and ``test_to_train`` in place of the modalities'.
    """
    rows = []
    for rate in steps(rates, f"{trained.name}, {options.pattern}"):
        with trained.without(side, options.at(rate)):
            rows.append({**_place(trained, rate, options), **_row(trained, phase)})
    return pd.DataFrame(rows)


def retrained_study(
    trained: Trained, side: str, phase: str, rates: Collection[float], options: MissingOptions, folder: Path
) -> pd.DataFrame:
    """As ``rate_study``, of models that are trained at each rate, below ``folder``; without loss the model itself.

    Args:
        options: whether content is missing in training or in both, the pattern and the seed.
    """
    rows, names = [], trained.core.modalities[side].content.names
    for rate in rates:
        if rate:
            name = f"{trained.path.parent.name}-{options.phase}-{options.pattern}{rate:g}-draw{options.seed}"
            found = trained.train_again(options.at(rate).of(names), folder, name)[f"{phase}_result"]
            row = {"model": trained.name, **found}
        else:
            row = _row(trained, phase)
        rows.append({**_place(trained, rate, options), **row})
    return pd.DataFrame(rows)


def _place(trained: Trained, rate: float, options: MissingOptions) -> dict[str, Any]:
    config = trained.config.final_config_dict
    of_run = {"seed": config["seed"], "split": split_of(config), "test_to_train": ratio_of(config)}
    return {"where": options.phase, "pattern": options.pattern, "rate": rate, **of_run}


def over_seeds(table: pd.DataFrame, metric: str) -> pd.DataFrame:
    """The rows of ``rate_study`` over the seeds of the runs.

    Returns:
        a row for each place of the grid: ``model``, ``where``, ``pattern``, ``rate``, ``n_seeds``, the mean of the
        metric and its 95 % interval over the splits, ``low`` and ``high`` (``significance.interval``; NaN of one).
    """
    rows, of_runs = [], {"split": table["seed"], "test_to_train": TEST_TO_TRAIN}  # which earlier tables do not have
    table = table.assign(**{name: values for name, values in of_runs.items() if name not in table})
    for place, own in table.groupby(["model", "where", "pattern", "rate"], sort=False):
        found = interval(own.groupby("split")[metric].mean(), own["test_to_train"].iloc[0])
        values = {"n_seeds": len(own), metric: found["difference"], "low": found["low"], "high": found["high"]}
        rows.append({**dict(zip(("model", "where", "pattern", "rate"), place)), **values})
    return pd.DataFrame(rows)


def _row(trained: Trained, phase: str) -> dict[str, Any]:
    metrics, per_user = trained.evaluate(phase)
    spread = {f"{name}_std": per_user[name].numpy() if name in per_user else None for name in metrics}
    spread = {name: pd.Series(values, dtype=float).std() for name, values in spread.items()}
    n_users = max((len(values) for values in per_user.values()), default=0)
    return {"model": trained.name, "n_users": n_users, **metrics, **spread}


def subset_values(table: pd.DataFrame, runs: Collection[str], metric: str) -> dict[tuple[str, ...], float]:
    """{subset: metric}, the mean over runs in a table of ``subset_study``."""
    own = table[table["model"].isin(runs)]
    return own.groupby("subset", sort=False)[metric].mean().to_dict()
