"""Whether a model is ahead of lists that nothing was learned for."""

import json
from itertools import permutations
from pathlib import Path

import pandas as pd
import pytest
import torch
from conftest import folder_of, names

from recbole_sibrar import cli
from recbole_sibrar.data.sparse import SparseRows
from recbole_sibrar.evaluation.metrics import METRICS, Recommendations
from recbole_sibrar.evaluation.protocol import Phase
from recbole_sibrar.evaluation.unlearned import (
    AHEAD,
    BEHIND,
    LEVEL_WITH,
    POPULAR,
    RANDOM,
    SAME,
    compared_with_unlearned,
)
from recbole_sibrar.recbole_plugin.run import run


def with_unlearned(lists, metric, is_cold):
    """Three users and four items; two have seen one of the items."""
    held_out = [(1, 1), (1, 3), (2, 4), (3, 1)]
    positives = SparseRows.from_pairs(*zip(*held_out), 4, 5)
    items, real, users = torch.tensor(lists), torch.arange(5) > 0, torch.tensor([1, 2, 3])
    counts = torch.tensor([0.0, 9, 3, 5, 1])
    phase = Phase(
        "test", real, positives, SparseRows.from_pairs([1, 2], [2, 2], 4, 5), counts, "", torch.ones(4),
        torch.zeros(4, dtype=torch.bool), real & is_cold, 0,
    )  # fmt: skip
    hits = positives.select(users).contains(items)
    n_relevant = positives.lengths[users]
    own = Recommendations(items, hits, n_relevant, real, counts, torch.ones(3))
    return compared_with_unlearned(metric, own, users, phase, torch.arange(5), seed=0)


def by_hand(metric, orders):
    """The mean over users of the mean over some orders of what they rank."""
    name, _, k = metric.partition("@")
    relevant, ranked = ({1, 3}, {4}, {1}), ([1, 3, 4], [1, 3, 4], [1, 2, 3, 4])
    values = []
    for wanted, items in zip(relevant, ranked):
        hits = torch.tensor([[item in wanted for item in order][: int(k)] for order in orders(items)])
        values.append(METRICS[name].function(hits, torch.full((len(hits),), len(wanted)), min(int(k), hits.shape[1])))
    return sum(own.mean().item() for own in values) / len(values)


LISTS = [[1, 3, 4], [4, 1, 3], [1, 2, 3]]


@pytest.mark.parametrize("metric", ["ndcg@2", "recall@1", "mrr@3", "map@3"])
def test_random_lists_are_the_mean_over_all_orders(metric):
    found = with_unlearned(LISTS, metric, is_cold=True)
    assert found.lists == RANDOM and found.value == pytest.approx(by_hand(metric, permutations), abs=0.06)


@pytest.mark.parametrize("metric", ["ndcg@2", "recall@1", "mrr@3"])
def test_popular_lists_are_in_the_order_of_the_counts(metric):
    found = with_unlearned(LISTS, metric, is_cold=False)
    popular = by_hand(metric, lambda items: [sorted(items, key=[0, 9, 3, 5, 1].__getitem__, reverse=True)])
    assert found.lists == POPULAR and found.value == pytest.approx(popular)


def test_the_relation_is_that_of_the_users():
    popular = [[1, 3, 4], [1, 3, 4], [1, 3, 2]]
    assert with_unlearned(popular, "ndcg@3", is_cold=False).relation == SAME
    assert with_unlearned(LISTS, "ndcg@1", is_cold=False).relation == LEVEL_WITH, "one of three users"
    assert with_unlearned([[4, 3, 1], [1, 3, 4], [4, 2, 3]], "ndcg@1", is_cold=True).relation == BEHIND
    assert with_unlearned(LISTS, "ndcg@1", is_cold=True).relation == AHEAD
    assert with_unlearned(LISTS, "coverage@1", is_cold=True) is None and with_unlearned(LISTS, "gauc", True) is None


@pytest.mark.parametrize("scenario", ["warm", "user_cold"])
def test_the_level_is_that_of_pop(tiny, scenario):
    result = run("Pop", "tiny", None, tiny.options(scenario=scenario))
    assert result.unlearned == {
        "lists": POPULAR,
        "relation": SAME,
        "value": pytest.approx(result.test_result["ndcg@3"], abs=1e-6),
    }
    assert not result.not_ahead


def test_a_model_that_is_the_most_popular_items_is_named(tiny):
    """The same feature for all users, so that each cold one is the mean user."""
    tiny.file("user", "user_id:token\tgender:token", [f"u{n}\tx" for n in range(1, 99)])
    result = run("ContentRidge", "tiny", None, tiny.options(scenario="user_cold", user_modalities="gender"))
    assert result.unlearned["relation"] == SAME and result.not_ahead.startswith(f"The model is {SAME} {POPULAR}, which")


def test_a_model_that_learned_nothing_is_named(tiny, started, capsys):
    given = {**tiny.options(learning_rate=1e-9, epochs=1), "scenario": "item_cold"}
    assert cli.main(["run", "--model=SiBraR", "--dataset=tiny", *(f"--{k}={v}" for k, v in given.items())]) == 0
    assert names(capsys.readouterr().out.lower(), f"{RANDOM}, which have ndcg@3 0.7")
    command = ["compare", "--models", "SiBraR", "Random", "BPR", "--scenarios", "item_cold", "--dataset=tiny"]
    command += [f"--{name}={value}" for name, value in given.items() if name != "scenario"]
    assert cli.main(command) == 0
    notes = pd.read_csv("results/comparison/tiny-item_cold.csv").set_index("model")["notes"].fillna("")
    assert [RANDOM in notes[model] for model in ("SiBraR_SC-paper", "Random", "BPR")] == [True, False, False]
    stored = json.loads((folder_of("SiBraR_SC-paper-tiny-item_cold-seed2020") / "result.json").read_text())
    assert stored["unlearned"]["relation"] in (LEVEL_WITH, BEHIND) and Path("results").is_dir()
