import pytest
import torch
from conftest import naming

from recbole_sibrar.errors import DataError, OptionError
from recbole_sibrar.evaluation.protocol import build_phases
from recbole_sibrar.scenarios import SCENARIOS

N_USERS, N_ITEMS = 6, 8


def pairs(*values):
    return tuple(torch.tensor(column) for column in zip(*values))


WARM = {
    "train": pairs((1, 1), (1, 2), (2, 1), (3, 3)),
    "valid": pairs((1, 3), (2, 4)),
    "test": pairs((1, 5), (3, 1), (3, 6)),
}
ITEM_COLD = {
    "train": pairs((1, 1), (1, 2), (2, 1)),
    "valid": pairs((1, 3), (2, 3), (3, 4)),
    "test": pairs((1, 5), (2, 6), (2, 5)),
}
USER_COLD = {
    "train": pairs((1, 1), (1, 2), (2, 1)),
    "valid": pairs((3, 1), (3, 7)),
    "test": pairs((4, 2), (5, 7)),
}


def items(mask):
    return mask.nonzero().squeeze(1).tolist()


def test_warm_ranks_all_items_but_the_users_earlier_ones():
    phases = build_phases(SCENARIOS["warm"], WARM, N_USERS, N_ITEMS)
    assert items(phases["test"].candidates) == [1, 2, 3, 4, 5, 6, 7]
    seen = {name: phases[name].seen.select(torch.tensor([1])).columns.tolist() for name in phases}
    assert seen == {"valid": [1, 2], "test": [1, 2, 3]}
    assert phases["test"].users.tolist() == [1, 3]
    assert phases["test"].popularity.tolist() == [0, 2, 1, 1, 0, 0, 0, 0]
    assert phases["test"].profile_popularity[1] == 1.5 and phases["test"].profile_popularity[4].isnan()


def test_item_cold_ranks_only_the_phases_items():
    phases = build_phases(SCENARIOS["item_cold"], ITEM_COLD, N_USERS, N_ITEMS)
    assert items(phases["valid"].candidates) == [3, 4] and items(phases["test"].candidates) == [5, 6]


def test_item_cold_popularity_of_a_phase_does_not_see_the_other_phase():
    phases = build_phases(SCENARIOS["item_cold"], ITEM_COLD, N_USERS, N_ITEMS)
    assert phases["valid"].popularity.tolist() == [0, 2, 1, 2, 1, 0, 0, 0]
    assert phases["test"].popularity.tolist() == [0, 2, 1, 0, 0, 2, 1, 0]
    assert "interactions of the test split" in phases["test"].popularity_source


def test_generalised_item_cold_hides_the_test_items_from_validation():
    phases = build_phases(SCENARIOS["item_cold"], ITEM_COLD, N_USERS, N_ITEMS, eval_candidates="all")
    assert items(phases["valid"].candidates) == [1, 2, 3, 4]
    assert items(phases["test"].candidates) == [1, 2, 3, 4, 5, 6, 7]
    assert phases["test"].seen.select(torch.tensor([1])).columns.tolist() == [1, 2, 3]


def test_user_cold_ranks_the_training_items_and_counts_what_cannot_be_found():
    phases = build_phases(SCENARIOS["user_cold"], USER_COLD, N_USERS, N_ITEMS)
    assert items(phases["test"].candidates) == [1, 2]
    assert phases["test"].users.tolist() == [4] and phases["test"].n_unreachable == 1
    assert phases["test"].profile_popularity[4] == 1
    assert items(phases["test"].cold_users) == [0, 3, 4, 5]


@pytest.mark.parametrize(
    "scenario, parts, valid, test",
    [
        ("warm", WARM, [3, 4], [1, 5, 6]),
        ("user_cold", USER_COLD, [1, 7], [2, 7]),
        ("item_cold", ITEM_COLD, [3, 4], [5, 6]),
    ],
)
def test_candidates_of_the_phase_are_the_items_of_its_split(scenario, parts, valid, test):
    phases = build_phases(SCENARIOS[scenario], parts, N_USERS, N_ITEMS, eval_candidates="phase")
    assert (items(phases["valid"].candidates), items(phases["test"].candidates)) == (valid, test)
    assert phases["test"].n_unreachable == 0, "what is held out can be found"
    other = build_phases(SCENARIOS[scenario], {**parts, "test": pairs((5, 7))}, N_USERS, N_ITEMS, "phase")
    assert items(other["valid"].candidates) == valid, "validation does not look at the test split"


def test_where_both_are_cold_the_drawn_items_are_ranked_whoever_has_them():
    """Item 7 is one of the test items, and no test user has it: leaving it out would look at the test labels."""
    parts = {"train": pairs((1, 1), (1, 2)), "valid": pairs((3, 3)), "test": pairs((4, 5), (5, 5), (5, 6))}
    drawn = {"valid": torch.tensor([3, 4]), "test": torch.tensor([5, 6, 7])}
    phases = build_phases(SCENARIOS["both_cold"], parts, N_USERS, N_ITEMS, drawn=drawn)
    assert items(phases["valid"].candidates) == [3, 4] and items(phases["test"].candidates) == [5, 6, 7]
    assert phases["test"].users.tolist() == [4, 5] and phases["test"].popularity.tolist() == [0, 1, 1, 0, 0, 2, 1, 0]
    assert phases["test"].profile_popularity[5] == 1.5
    everything = build_phases(SCENARIOS["both_cold"], parts, N_USERS, N_ITEMS, "all", drawn)
    assert items(everything["valid"].candidates) == [1, 2, 3, 4]


def test_nothing_to_find():
    parts = {**USER_COLD, "test": pairs((5, 7))}
    with pytest.raises(DataError, match="test split of scenario user_cold has no interaction with a candidate"):
        build_phases(SCENARIOS["user_cold"], parts, N_USERS, N_ITEMS)


def test_what_an_earlier_split_has_cannot_be_found_and_is_counted():
    parts = {**WARM, "test": pairs((1, 5), (1, 1), (2, 4), (3, 1), (1, 4))}
    with pytest.warns(UserWarning, match=naming("2 of 5 | test")):
        test = build_phases(SCENARIOS["warm"], parts, N_USERS, N_ITEMS)["test"]
    assert test.n_unreachable == 2
    assert test.positives.select(torch.arange(4)).columns.tolist() == [4, 5, 1] and test.users.tolist() == [1, 3]
    with (
        pytest.warns(UserWarning, match=naming("1 of 1 | valid")),
        pytest.raises(DataError, match="has no interaction with a candidate item that is new to its user; more data"),
    ):
        build_phases(SCENARIOS["warm"], {**WARM, "valid": pairs((1, 2))}, N_USERS, N_ITEMS)


def test_unknown_candidates():
    with pytest.raises(OptionError, match=naming("eval_candidates | 'al' | 'all'")):
        build_phases(SCENARIOS["warm"], WARM, N_USERS, N_ITEMS, eval_candidates="al")
