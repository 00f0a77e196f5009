import numpy as np
import pytest
from conftest import naming
from scipy.stats import chisquare

from recbole_sibrar.data.negatives import NegativeSampler
from recbole_sibrar.errors import DataError

USERS = np.array([0, 0, 1, 2, 2, 2, 2])
ITEMS = np.array([3, 7, 7, 2, 3, 7, 7])
TRAINING_ITEMS = {2, 3, 7, 9}


def sampler(**options):
    return NegativeSampler(np.append(USERS, 4), np.append(ITEMS, 9), n_users=5, seed=0, **options)


@pytest.mark.parametrize("power", [None, 1.0])
def test_negatives_are_training_items_that_the_user_does_not_have(power):
    drawn = sampler(popularity_power=power).sample(np.array([0, 1, 2, 3, 4]), 500)
    assert [set(row) for row in drawn] == [{2, 9}, {2, 3, 9}, {9}, TRAINING_ITEMS, {2, 3, 7}]


def test_uniform_draws_are_uniform():
    drawn = sampler().sample(np.array([1, 3]), 3000)
    for row in drawn:
        assert chisquare(np.unique(row, return_counts=True)[1]).pvalue > 1e-3


def test_popularity_draws_follow_the_training_counts():
    drawn = sampler(popularity_power=0.5).sample(np.array([3]), 6000)[0]
    counts = np.array([(np.append(ITEMS, 9) == item).sum() for item in sorted(TRAINING_ITEMS)]) ** 0.5
    expected = counts / counts.sum() * len(drawn)
    assert chisquare(np.unique(drawn, return_counts=True)[1], expected).pvalue > 1e-3


@pytest.mark.parametrize("tries", [0, 1, 2])
def test_popular_items_that_all_are_seen_give_way_to_others(monkeypatch, tries):
    """What is rejected every time is drawn uniformly, from what the user does not have."""
    monkeypatch.setattr(NegativeSampler, "MAX_REJECTIONS", tries)
    drawn = [set(row) for row in sampler(popularity_power=5.0).sample(np.arange(5), 300)]
    free = [{2, 9}, {2, 3, 9}, {9}, TRAINING_ITEMS, {2, 3, 7}]
    assert all(items <= own for items, own in zip(drawn, free)) and (drawn == free or tries)


def test_same_seed_same_draws():
    assert (sampler().sample(np.arange(5), 20) == sampler().sample(np.arange(5), 20)).all()


def test_a_user_who_has_seen_everything_is_named():
    with pytest.raises(DataError, match=naming("'eve' | 2 training items")):
        NegativeSampler([1, 1, 2], [5, 6, 5], n_users=3, seed=0, user_tokens=["pad", "eve", "bob"])
