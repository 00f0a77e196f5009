"""Paired tests against scipy, statsmodels' definitions by hand, and the cases where there is nothing to test."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from recbole_sibrar.evaluation.significance import (
    compare_with_reference,
    effect_size,
    interval,
    paired_tests,
    paired_values,
    split_tests,
    verdicts,
)


def table(values, seed=1, users=None):
    return pd.DataFrame({"seed": seed, "user": users or [f"u{n}" for n in range(len(values))], "ndcg@3": values})


def test_a_case_by_hand():
    """Differences 1, 2, 3: mean 2, standard deviation 1, t = 2 / (1 / sqrt 3); all positive: W = 0, p = 2 / 2^3."""
    found = paired_tests([2.0, 4.0, 6.0], [1.0, 2.0, 3.0])
    assert found["n_users"] == 3 and found["difference"] == 2 and found["d_z"] == 2
    assert found["t"] == pytest.approx(2 * 3**0.5)
    assert found["w"] == 0 and found["w_p"] == pytest.approx(0.25)


def test_against_scipy():
    rng = np.random.default_rng(0)
    reference = rng.random(200)
    other = reference + rng.normal(0.02, 0.1, 200)
    found = paired_tests(reference, other)
    one_sample = stats.ttest_1samp(reference - other, 0)
    signed_rank = stats.wilcoxon(reference - other)
    assert (found["t"], found["t_p"]) == pytest.approx((one_sample.statistic, one_sample.pvalue))
    assert (found["w"], found["w_p"]) == pytest.approx((signed_rank.statistic, signed_rank.pvalue))
    assert found["t"] == pytest.approx(found["d_z"] * 200**0.5)


def test_differences_that_are_equal_but_for_their_last_digits_are_ties():
    found = paired_tests([1 / 3, 2 / 3, 1.0, 0.0, 0.1, 0.3], [0.0, 1 / 3, 2 / 3, 1 / 3, 2 / 3 + 0.1, 0.1 + 0.2])
    wanted = stats.wilcoxon([1.0, 1.0, 1.0, -1.0, -2.0, 0.0])
    assert (found["w"], found["w_p"]) == (wanted.statistic, wanted.pvalue)


@pytest.mark.parametrize("values", [[], [0.5], [0.1, 0.2, 0.3]])
def test_no_difference_is_no_evidence(values):
    found = paired_tests(values, values)
    assert found["t_p"] == found["w_p"] == 1


def test_effect_sizes_at_the_limits():
    assert effect_size([0.0, 0.0]) == 0 and effect_size([0.5, 0.5]) == np.inf and effect_size([-1.0, -1.0]) == -np.inf
    assert np.isnan(effect_size([1.0]))


@pytest.mark.filterwarnings("error")
def test_a_constant_difference_is_certain():
    found = paired_tests([1.0, 2.0, 3.0], [0.5, 1.5, 2.5])
    assert found["t_p"] == 0 and found["w_p"] == 0.25


def test_each_user_counts_once_and_only_where_both_models_have_a_value():
    first = pd.concat([table([0.2, 0.4, 0.6], 1), table([0.4, 0.8], 2, ["u0", "u9"])])
    second = pd.concat([table([0.1, 0.1, np.nan], 1), table([0.3, 0.5], 2, ["u0", "u8"])])
    reference, other = paired_values(first, second, "ndcg@3")
    assert reference == pytest.approx([0.3, 0.4]) and other == pytest.approx([0.2, 0.1])  # u0: mean of two seeds; u1


def test_corrections_by_hand():
    rng = np.random.default_rng(1)
    base = rng.random(40)
    values = {"a": table(base), **{n: table(base + rng.normal(s, 0.1, 40)) for n, s in zip("bcd", (0.01, 0.03, 0.08))}}
    found = compare_with_reference(values, "a", ["ndcg@3", "coverage@3"])
    assert list(found["model"]) == ["b", "c", "d"] and set(found["metric"]) == {"ndcg@3"}
    for test in ("t_p", "w_p"):
        p = found[test].to_numpy()
        assert found[f"{test}_bonferroni"].to_numpy() == pytest.approx(np.minimum(1, 3 * p))
        order = np.argsort(p)
        holm = np.minimum(1, np.maximum.accumulate(p[order] * (3 - np.arange(3))))
        assert found[f"{test}_holm"].to_numpy()[order] == pytest.approx(holm)


def test_one_model_alone_has_nothing_to_be_compared_with():
    assert compare_with_reference({"a": table([0.1, 0.2])}, "a", ["ndcg@3"]).empty


def of_splits(values, **shared):
    """A table for each split: {split: (U,) values}."""
    return pd.concat([table(own, split).assign(split=shared.get("split", split)) for split, own in values.items()])


def test_the_interval_of_independent_differences_is_scipys():
    values = np.random.default_rng(3).normal(0.02, 0.1, 30)
    found, wanted = interval(values), stats.ttest_1samp(values, 0)
    assert (found["difference"], found["p"]) == pytest.approx((values.mean(), wanted.pvalue))
    assert [found["low"], found["high"]] == pytest.approx(list(wanted.confidence_interval(0.95)))


def test_overlapping_training_data_widen_it():
    """Differences 1, 2, 3 with test/train 1/8: variance (1/3 + 1/8) * 1."""
    found, error = interval([1.0, 2.0, 3.0], 1 / 8), (1 / 3 + 1 / 8) ** 0.5
    assert found["high"] - found["difference"] == pytest.approx(stats.t.ppf(0.975, 2) * error)
    assert found["p"] == pytest.approx(2 * stats.t.sf(2 / error, 2))


@pytest.mark.parametrize("values, p", [([], 1), ([0.3], 1), ([0.0, 0.0], 1), ([0.3, 0.3], 0), ([6e-17, 6e-17], 1)])
def test_intervals_at_the_limits(values, p):
    assert interval(values)["p"] == p


def test_many_users_of_few_splits_are_not_much_evidence():
    """The reference is ahead by 0.1 on two splits and behind by 0.05 on the third, for each of 500 users."""
    rng = np.random.default_rng(0)
    first = {split: rng.random(500) for split in (1, 2, 3)}
    second = {split: first[split] - ahead for split, ahead in zip(first, (0.1, 0.1, -0.05))}
    values = {"a": of_splits(first), "b": of_splits(second)}
    (found,) = verdicts(values, "a", ["ndcg@3"], 1 / 8).to_dict("records")
    assert found["n_splits"] == 3 and found["n_users"] == 1500 and found["difference"] == pytest.approx(0.05)
    assert found["p"] == pytest.approx(interval([0.1, 0.1, -0.05], 1 / 8)["p"]) and found["p"] > 0.3
    assert found["low"] < 0 < found["high"]
    within = split_tests(values, "a", ["ndcg@3"])
    assert within["split"].tolist() == [1, 2, 3] and (within["t_p"] < 1e-9).all()


def test_seeds_of_one_split_are_averaged_for_each_user():
    first, second = (
        of_splits({1: [0.2, 0.4], 2: [0.4, 0.8]}, split=1),
        of_splits({1: [0.1, 0.1], 2: [0.3, 0.1]}, split=1),
    )
    (found,) = verdicts({"a": first, "b": second}, "a", ["ndcg@3", "absent@3"]).to_dict("records")
    wanted = interval([0.1, 0.5])
    assert found["n_splits"] == 1 and found["n_users"] == 2
    assert [found["difference"], found["p"]] == pytest.approx([wanted["difference"], wanted["p"]])
