"""Paired tests between models, over splits and over the users of one split, corrected for the number of comparisons.

Users of one split are no independent evidence of a difference between models: another split might say the opposite.
So the verdict comes from the differences of whole splits where there are several, and the tests over users of each
split stand beside it.
"""

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.stats import t as students_t
from scipy.stats import ttest_1samp, wilcoxon

CORRECTIONS = ("holm", "bonferroni")
LEVEL = 0.05
TEST_TO_TRAIN = 1 / 8  # of the protocol's splits, 8:1:1


def shared_split(config: Mapping[str, Any]) -> str | None:
    """The split that the runs of a configuration share, whatever their seed; None if each seed draws its own.

    >>> shared_split({"eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO"}}), shared_split({"split_seed": 1})
    ('time', '1')
    """
    if config.get("benchmark_filename"):
        return "files"
    if (config.get("eval_args") or {}).get("order") == "TO":
        return "time"
    return None if config.get("split_seed") is None else str(config["split_seed"])


def split_of(config: Mapping[str, Any]) -> str:
    """The name of a run's split: that which all seeds share, or the seed."""
    return shared_split(config) or str(config["seed"])


def ratio_of(config: Mapping[str, Any]) -> float:
    """test/train of a configuration's splits; the protocol's where it gives no shares.

    >>> ratio_of({"eval_args": {"split": {"RS": [0.5, 0.25, 0.25]}}})
    0.5
    """
    shares = ((config.get("eval_args") or {}).get("split") or {}).get("RS")
    return shares[-1] / shares[0] if shares and shares[0] else TEST_TO_TRAIN


def effect_size(differences: ArrayLike) -> float:
    """Cohen's d_z, the mean of paired differences in units of their standard deviation (ddof 1).

    0 if every difference is 0; infinite if all are the same and not 0; NaN for fewer than two.

    >>> effect_size([1.0, 2.0, 3.0])
    2.0
    """
    differences = np.asarray(differences, dtype=float)
    if len(differences) < 2:
        return float("nan")
    mean, spread = differences.mean(), differences.std(ddof=1)
    if spread == 0:
        return 0.0 if mean == 0 else float(np.sign(mean) * np.inf)
    return float(mean / spread)


def _exact(differences: ArrayLike) -> np.ndarray:
    """Differences of means without the noise of their last digits: 1 - 2/3 is as much as 1/3, and ties are ties.

    >>> _exact([1 - 2 / 3 - 1 / 3, 2 / 3 - 1 / 3]).tolist()
    [0.0, 0.333333333]
    """
    return np.asarray(differences, dtype=float).round(9) + 0.0


def paired_tests(reference: ArrayLike, other: ArrayLike) -> dict[str, float]:
    """Student's paired t-test and Wilcoxon's signed-rank test, both two-sided.

    Args:
        reference, other: (U,) values of the same users.

    Returns:
        ``n_users``, ``difference`` (mean of reference - other), ``d_z``, ``t``, ``t_p``, ``w``, ``w_p``. Without any
        difference, or with fewer than two users, nothing speaks against equality: both p are 1.
    """
    differences = _exact(np.asarray(reference, dtype=float) - np.asarray(other, dtype=float))
    found = {
        "n_users": len(differences),
        "difference": float(differences.mean()) if len(differences) else float("nan"),
        "d_z": effect_size(differences),
    }
    if len(differences) < 2 or not differences.any():
        return {**found, "t": 0.0, "t_p": 1.0, "w": 0.0, "w_p": 1.0}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # differences that are all the same; no exact p beside zeros
        t = ttest_1samp(differences, 0)
        w = wilcoxon(differences)
    return {**found, "t": float(t.statistic), "t_p": float(t.pvalue), "w": float(w.statistic), "w_p": float(w.pvalue)}


def paired_values(reference: pd.DataFrame, other: pd.DataFrame, metric: str) -> tuple[np.ndarray, np.ndarray]:
    """The values of the users that both models have, each user once.

    Args:
        reference, other: tables with the columns ``seed``, ``user`` and metrics. A user of several seeds (one run each)
            counts with the mean over the seeds in which both models have a value.

    Returns:
        two (U,) arrays.
    """
    both = reference[["seed", "user", metric]].merge(other[["seed", "user", metric]], on=["seed", "user"]).dropna()
    means = both.groupby("user")[[f"{metric}_x", f"{metric}_y"]].mean()
    return means[f"{metric}_x"].to_numpy(), means[f"{metric}_y"].to_numpy()


def interval(differences: ArrayLike, test_to_train: float = 0.0) -> dict[str, float]:
    """Student's t on paired differences, with its 95 % confidence interval.

    Random splits of one data set share most of their training data, so that their differences vary less than those of
    independent data would. Nadeau and Bengio (Machine Learning 52, 2003, equation 10) put 1/n + test/train in the
    place of 1/n in the variance of the mean.

    Args:
        differences: (n,). test_to_train: of the splits, 0 for independent differences.

    Returns:
        ``difference`` (the mean), ``low``, ``high``, ``p`` (two-sided). Fewer than two differences have no interval and
        p = 1.

    >>> {name: round(float(value), 3) for name, value in interval([1.0, 2.0, 3.0]).items()}
    {'difference': 2.0, 'low': -0.484, 'high': 4.484, 'p': 0.074}
    """
    differences = _exact(differences)
    n = len(differences)
    mean = float(differences.mean()) if n else float("nan")
    if n < 2:
        return {"difference": mean, "low": float("nan"), "high": float("nan"), "p": 1.0}
    error = np.sqrt((1 / n + test_to_train) * differences.var(ddof=1))
    half = float(students_t.ppf(1 - LEVEL / 2, n - 1) * error)
    p = 2 * students_t.sf(abs(mean) / error, n - 1) if error > 0 else float(mean == 0)
    return {"difference": mean, "low": mean - half, "high": mean + half, "p": float(p)}


def verdicts(
    values: dict[str, pd.DataFrame], reference: str, metrics: Iterable[str], test_to_train: float = TEST_TO_TRAIN
) -> pd.DataFrame:
    """Whether one model differs from every other, by the splits where there are several, else by the users of the one.

    Args:
        values: {model: table with the columns ``split``, ``seed``, ``user`` and metrics}. Seeds that share a split are
            averaged for each user. metrics: the columns to compare, left out where a table lacks them.

    Returns:
        a row for each metric and other model: ``n_splits``, ``n_users`` (pairs of split and user), the columns of
        ``interval``, and p with ``_holm`` and ``_bonferroni`` corrections over the models compared on that metric.
    """

    def test(metric: str, name: str) -> dict[str, float]:
        both = both_have(values[reference], values[name], metric)
        users = both["difference"].groupby(["split", "user"]).mean()
        splits = users.groupby("split").mean()
        found = interval(splits, test_to_train) if len(splits) > 1 else interval(users)
        return {"n_splits": len(splits), "n_users": len(users), **found}

    return _against_the_others(values, reference, metrics, test, ("p",))


def both_have(first: pd.DataFrame, second: pd.DataFrame, metric: str) -> pd.DataFrame:
    """The values of a metric that two models, tables as in ``verdicts``, have of the same users: the columns ``first``,
    ``second`` and ``difference``, a row for each split, user and seed."""
    keys = ["split", "user", "seed"]
    one, other = (own[[*keys, metric]].rename(columns={metric: n}) for own, n in ((first, "first"), (second, "second")))
    both = one.merge(other, on=keys).dropna().set_index(keys)
    return both.assign(difference=both["first"] - both["second"])


def split_tests(values: dict[str, pd.DataFrame], reference: str, metrics: Iterable[str]) -> pd.DataFrame:
    """``compare_with_reference`` on the users of each split: a column ``split``, and its columns."""
    parts = []
    for split in values[reference]["split"].unique():
        own = {name: table[table["split"] == split] for name, table in values.items()}
        table = compare_with_reference({name: part for name, part in own.items() if len(part)}, reference, metrics)
        parts.append(table.assign(split=split))
    found = pd.concat(parts, ignore_index=True)
    return found[["split", *found.columns.drop("split")]] if len(found) else pd.DataFrame()


def compare_with_reference(values: dict[str, pd.DataFrame], reference: str, metrics: Iterable[str]) -> pd.DataFrame:
    """Test one model against every other.

    Args:
        values: {model: table as in ``paired_values``}. metrics: the columns to test; one that a table lacks (Coverage
            describes all lists together) is left out.

    Returns:
        a row for each metric and other model: the columns of ``paired_tests``, and each p with ``_holm`` and
        ``_bonferroni`` corrections over the models compared on that metric.
    """

    def test(metric: str, name: str) -> dict[str, float]:
        return paired_tests(*paired_values(values[reference], values[name], metric))

    return _against_the_others(values, reference, metrics, test, ("t_p", "w_p"))


def _against_the_others(
    values: Mapping[str, pd.DataFrame],
    reference: str,
    metrics: Iterable[str],
    test: Callable[[str, str], dict[str, Any]],
    p_names: Sequence[str],
) -> pd.DataFrame:
    """A row for each metric and other model: {..., p} of ``test``, and each p corrected over the models of a metric."""
    from statsmodels.stats.multitest import multipletests

    rows = []
    for metric in metrics:
        others = [name for name, table in values.items() if name != reference and metric in table]
        if metric not in values[reference] or not others:
            continue
        tests = [test(metric, name) for name in others]
        for p_name in p_names:
            for correction in CORRECTIONS:
                corrected = multipletests([found[p_name] for found in tests], method=correction)[1]
                for found, p in zip(tests, corrected):
                    found[f"{p_name}_{correction}"] = float(p)
        rows += [{"metric": metric, "reference": reference, "model": name, **t} for name, t in zip(others, tests)]
    return pd.DataFrame(rows)
