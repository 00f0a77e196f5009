"""Paired tests between models on per-user values, corrected for the number of comparisons."""

import warnings

import numpy as np
import pandas as pd
from scipy.stats import ttest_rel, wilcoxon
from statsmodels.stats.multitest import multipletests

CORRECTIONS = ("holm", "bonferroni")


def effect_size(differences) -> float:
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


def paired_tests(reference, other) -> dict:
    """Student's paired t-test and Wilcoxon's signed-rank test, both two-sided.

    Args:
        reference, other: (U,) values of the same users.

    Returns:
        ``n_users``, ``difference`` (mean of reference - other), ``d_z``, ``t``, ``t_p``, ``w``, ``w_p``. Without any
        difference, or with fewer than two users, nothing speaks against equality: both p are 1.
    """
    reference, other = np.asarray(reference, dtype=float), np.asarray(other, dtype=float)
    differences = reference - other
    found = {
        "n_users": len(differences),
        "difference": float(differences.mean()) if len(differences) else float("nan"),
        "d_z": effect_size(differences),
    }
    if len(differences) < 2 or not differences.any():
        return {**found, "t": 0.0, "t_p": 1.0, "w": 0.0, "w_p": 1.0}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # differences that are all the same; no exact p beside zeros
        t = ttest_rel(reference, other)
        w = wilcoxon(reference, other)
    return {**found, "t": float(t.statistic), "t_p": float(t.pvalue), "w": float(w.statistic), "w_p": float(w.pvalue)}


def paired_values(reference: pd.DataFrame, other: pd.DataFrame, metric: str) -> tuple:
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


def compare_with_reference(values: dict, reference: str, metrics) -> pd.DataFrame:
    """Test one model against every other.

    Args:
        values: {model: table as in ``paired_values``}. metrics: the columns to test; one that a table lacks (Coverage
            describes all lists together) is left out.

    Returns:
        a row for each metric and other model: the columns of ``paired_tests``, and each p with ``_holm`` and
        ``_bonferroni`` corrections over the models compared on that metric.
    """
    rows = []
    for metric in metrics:
        others = [name for name, table in values.items() if name != reference and metric in table]
        if metric not in values[reference] or not others:
            continue
        tests = [paired_tests(*paired_values(values[reference], values[name], metric)) for name in others]
        for test in ("t_p", "w_p"):
            for correction in CORRECTIONS:
                corrected = multipletests([found[test] for found in tests], method=correction)[1]
                for found, p in zip(tests, corrected):
                    found[f"{test}_{correction}"] = float(p)
        rows += [{"metric": metric, "reference": reference, "model": name, **t} for name, t in zip(others, tests)]
    return pd.DataFrame(rows)
