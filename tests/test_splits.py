import numpy as np
import pytest
from conftest import naming
from hypothesis import given
from hypothesis import strategies as st

from recbole_sibrar.data.splits import check_disjoint, rounded_up
from recbole_sibrar.errors import DataError, OptionError
from recbole_sibrar.scenarios import SCENARIOS

ITEM_COLD, BOTH_COLD = SCENARIOS["item_cold"], SCENARIOS["both_cold"]


def cold_start_split(entities, ratios, seed):
    return ITEM_COLD.split({"user": np.zeros_like(entities), "item": entities}, ratios, seed).rows


@given(st.lists(st.integers(1, 30), min_size=20, max_size=200), st.integers(0, 5))
def test_cold_start_split_keeps_entities_together(entities, seed):
    entities = np.array([*entities, 1, 2, 3])
    parts = cold_start_split(entities, [0.8, 0.1, 0.1], seed)
    assert sorted(np.concatenate(parts)) == list(range(len(entities)))
    sets = [set(entities[part]) for part in parts]
    assert all(sets) and not (sets[0] & sets[1] or sets[0] & sets[2] or sets[1] & sets[2])


def test_cold_start_split_shares_are_of_entities_and_do_not_depend_on_order():
    entities = np.repeat(np.arange(100), np.arange(1, 101))
    parts = cold_start_split(entities, [8, 1, 1], seed=3)
    assert [len(np.unique(entities[part])) for part in parts] == [80, 10, 10]
    shuffled = np.random.default_rng(0).permutation(entities)
    again = cold_start_split(shuffled, [8, 1, 1], seed=3)
    assert [set(entities[part]) for part in parts] == [set(shuffled[part]) for part in again]
    other = cold_start_split(entities, [8, 1, 1], seed=4)
    assert set(entities[parts[2]]) != set(entities[other[2]])


def test_where_both_sides_are_cold_no_part_shares_a_user_or_an_item():
    users, items = (column.ravel() for column in np.meshgrid(np.arange(1, 41), np.arange(1, 31)))
    split = BOTH_COLD.split({"user": users, "item": items}, [8, 1, 1], seed=0)
    assert [len(rows) for rows in split.rows] == [32 * 24, 4 * 3, 4 * 3]
    for side, own in (("user", users), ("item", items)):
        found = [set(own[rows]) for rows in split.rows]
        assert found == [set(entities) for entities in split.entities[side]]
        assert not (found[0] & found[1] or found[0] & found[2] or found[1] & found[2])
    alone = ITEM_COLD.split({"user": users, "item": items}, [8, 1, 1], seed=0)
    assert all((a == b).all() for a, b in zip(alone.entities["item"], split.entities["item"]))


def test_where_both_sides_are_cold_users_are_drawn_whatever_items_are():
    numbers = np.arange(40)
    drawn = [BOTH_COLD.split({"user": numbers, "item": numbers}, [2, 1, 1], seed).entities for seed in range(40)]
    alike = [len(np.intersect1d(own["user"][2], own["item"][2])) for own in drawn]
    assert np.mean(alike) == pytest.approx(10 * 10 / 40, abs=0.5)


def test_cold_start_split_refuses_what_it_cannot_split():
    with pytest.raises(DataError, match="2 entities are too few"):
        cold_start_split(np.array([1, 2]), [8, 1, 1], seed=0)
    with pytest.raises(OptionError, match="three positive numbers"):
        cold_start_split(np.arange(9), [0.9, 0.1], seed=0)


@pytest.mark.parametrize(
    "n, shares, sizes",
    [
        (1, [0.8, 0.1, 0.1], (1, 0, 0)),
        (2, [0.8, 0.1, 0.1], (1, 0, 1)),
        (3, [0.8, 0.1, 0.1], (1, 1, 1)),
        (10, [0.8, 0.1, 0.1], (8, 1, 1)),
        (11, [0.8, 0.1, 0.1], (7, 2, 2)),
        (70, [0.8, 0.1, 0.1], (56, 7, 7)),
        (5, [2, 1, 1], (1, 2, 2)),
    ],
)
def test_rounding_up_gives_validation_and_test_at_least_their_share(n, shares, sizes):
    assert rounded_up(n, shares) == sizes


def test_a_cold_start_split_is_rounded_up_when_asked_to():
    entities = np.arange(101)
    for rounding, sizes in (("usual", [81, 10, 10]), ("up", [79, 11, 11])):
        rows = ITEM_COLD.split({"item": entities}, [8, 1, 1], 0, rounding).rows
        assert [len(part) for part in rows] == sizes
    with pytest.raises(DataError, match="2 entities are too few"):
        ITEM_COLD.split({"item": np.arange(2)}, [8, 1, 1], 0, "up")


def test_given_splits_must_keep_the_cold_side_apart():
    parts = {"train": np.array([1, 2]), "valid": np.array([3]), "test": np.array([2])}
    with pytest.raises(DataError, match=naming("1 items | b | train | test")):
        check_disjoint("item_cold", "item", parts, np.array(["pad", "a", "b", "c"]))
