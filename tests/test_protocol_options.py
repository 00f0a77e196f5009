"""The authors' protocol as options of a run: what is ranked, what MAP divides by, how a split is rounded."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from recbole_sibrar.cli import main
from recbole_sibrar.errors import OptionError
from recbole_sibrar.recbole_plugin.prepared import make_config, prepare
from recbole_sibrar.recbole_plugin.run import run
from recbole_sibrar.report.collection import groups, read_runs

AUTHORS = {"eval_candidates": "phase", "map_divisor": "relevant_items", "split_rounding": "up"}


@pytest.mark.parametrize("model", ["SiBraR", "ContentRidge", "BPR", "Pop"])
def test_the_items_of_the_evaluated_split_are_ranked_for_cold_users(tiny, model):
    result = run(model, "tiny", None, tiny.options(scenario="user_cold", run_name="r", eval_candidates="phase"))
    ready = prepare(make_config(model, "tiny", None, tiny.options(scenario="user_cold", eval_candidates="phase")))
    test = ready.loaders[2]._dataset.inter_feat["item_id"].unique()
    assert result.n_candidates == len(test) < ready.dataset.item_num - 1
    stored = json.loads(Path("results/r/result.json").read_text())
    assert stored["config"]["eval_candidates"] == "phase" and stored["n_candidates"] == len(test)
    per_item = pd.read_csv("results/r/per_item.csv")
    assert set(per_item["item_id"]) == set(ready.dataset.id2token("item_id", test))
    assert result.test_result["coverage@3"] == pytest.approx((per_item["lists@3"] > 0).mean(), abs=1e-6)
    assert 0 <= result.test_result["aplt@3"] <= 1 and "eval_candidates=phase" in result.table()


@pytest.mark.parametrize("model", ["Pop", "SiBraR"])
def test_map_of_a_run_has_the_divisor_asked_for(tiny, model):
    given = tiny.options(scenario="item_cold", eval_args={"split": {"RS": [2, 1, 1]}}, epochs=1)
    tables = {}
    for divisor in ("possible_hits", "relevant_items"):
        result = run(model, "tiny", None, {**given, "run_name": divisor, "map_divisor": divisor})
        tables[divisor] = pd.read_csv(f"results/{divisor}/per_user.csv")
        assert result.test_result["map@3"] == pytest.approx(tables[divisor]["map@3"].mean(), abs=1e-6)
        assert ("map_divisor=relevant_items" in result.table()) == (divisor == "relevant_items")
    usual, theirs = tables.values()
    n = usual["n_relevant"]
    assert (n > 3).any() and np.allclose(theirs["map@3"] * n, usual["map@3"] * n.clip(upper=3))
    assert np.allclose(theirs["ndcg@3"], usual["ndcg@3"])


@pytest.mark.parametrize("rounding, sizes", [("usual", (9, 1, 1)), ("up", (7, 2, 2))])
def test_a_users_interactions_are_split_with_the_rounding_asked_for(tiny, rounding, sizes):
    ready = prepare(make_config("Pop", "tiny", None, tiny.options(scenario="warm", split_rounding=rounding)))
    found = [np.bincount(loader._dataset.inter_feat["user_id"])[1:] for loader in ready.loaders]
    assert [set(counts) for counts in found] == [{size} for size in sizes]


def test_a_rounding_that_does_nothing_is_refused(tiny):
    with pytest.raises(OptionError, match="split_rounding is 'up', but has no effect: leave-one-out"):
        given = {"eval_args": {"split": {"LS": "valid_and_test"}}, "split_rounding": "up"}
        make_config("Pop", "tiny", None, tiny.options(scenario="warm", **given))


def test_tables_of_runs_say_which_protocol_is_theirs(tiny, started, capsys):
    Path("plan.yaml").write_text(f"options: {json.dumps(tiny.options(**AUTHORS))}")
    command = ["compare", "--file", "plan.yaml", "--models", "BPR", "Pop", "--dataset", "tiny"]
    command += ["--data_path", str(tiny.folder), "--scenarios", "user_cold"]
    assert main(command) == 0
    printed = capsys.readouterr().out
    (table,), (paper,) = (Path("results/comparison").glob(f"tiny-user_cold-{'?' * 8}.{end}") for end in ("md", "tex"))
    for text in (printed, table.read_text(), paper.read_text()):
        assert all(f"{name}={value}" in text.replace("\\", "") for name, value in AUTHORS.items())
    result = next(Path("results").glob("Pop-*/result.json"))
    stored = json.loads(result.read_text())
    for name in ("map_divisor", "split_rounding"):
        del stored["config"][name]  # as runs from before there was a choice
    result.write_text(json.dumps(stored))
    titles = [group.title for group in groups(read_runs("results"))]
    assert ["map_divisor relevant_items" in title for title in titles] == [False, True]
