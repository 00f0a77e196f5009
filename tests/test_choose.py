"""Plans that choose options before they compare: equal trials, on other splits, by validation alone."""

import json
from pathlib import Path

import pandas as pd
import pytest
import yaml

from recbole_sibrar.cli import main
from recbole_sibrar.errors import OptionError
from recbole_sibrar.experiments.choose import cells, choose
from recbole_sibrar.experiments.plan import Plan
from recbole_sibrar.properties import read_property_file
from recbole_sibrar.report.collection import read_runs

ROOT = Path(__file__).resolve().parents[1]


def plan(tiny, *models, **values):
    options = {key: value for key, value in tiny.options().items() if key not in ("state", "data_path")}
    return {
        "models": models, "datasets": ["tiny"], "scenarios": ["item_cold"], "seed": 10, "data_path": str(tiny.folder),
        "tuning": {"trials": 2, "seed": 0, "seeds": 2}, "options": options, **values,
    }  # fmt: skip


RIDGE = {"model": "ContentRidge", "space": {"number_weight": {"loguniform": [0.01, 100.0]}}}


def results(folder):
    return [json.loads(path.read_text()) for path in Path(folder).glob("*/result.json")]


def test_every_model_has_as_many_trials_and_the_best_on_validation_is_reported(tiny, started):
    Path("plan.yaml").write_text(yaml.safe_dump(plan(tiny, RIDGE, "Pop")))
    assert main(["compare", "--file", "plan.yaml"]) == 0
    table = pd.read_csv("results/tuning/tiny-item_cold.csv")
    assert table.groupby("model").size().to_dict() == {"ContentRidge": 2, "Pop": 1}
    assert table.groupby("model")["chosen"].sum().to_dict() == {"ContentRidge": 1, "Pop": 1}
    own, trials = table[table["model"] == "ContentRidge"], results("results/tuning")
    assert own["options"].iloc[0] == "{}" and own["options"].nunique() == 2
    for row in own.to_dict("records"):
        wanted = json.loads(row["options"]).get("number_weight", 4.0)
        runs = [r for r in trials if r["model"] == "ContentRidge" and r["config"]["number_weight"] == wanted]
        assert {r["seed"] for r in runs} == {0, 1} and row["splits"] == 2
        assert row["validation ndcg@3"] == pytest.approx(sum(r["best_valid_score"] for r in runs) / 2)
    best = own.loc[own["validation ndcg@3"].idxmax()]
    assert best["chosen"] and set(own["ties"]) <= {0, 1}
    (reported,) = [r for r in results("results") if r["model"] == "ContentRidge"]
    assert reported["seed"] == 10
    assert reported["config"]["number_weight"] == json.loads(best["options"]).get("number_weight", 4.0)
    assert {run.result["seed"] for run in read_runs("results")} == {10}, "trials are no rows of a report"
    for path in ("tuning/tiny-item_cold.md", "comparison/tiny-item_cold.md", "comparison/tiny-item_cold.tex"):
        text = Path("results", path).read_text()
        assert "At most 2 trials of each model" in text and "seeds 0 to 1" in text
    n = len(started)
    assert main(["compare", "--file", "plan.yaml"]) == 0 and len(started) == n, "all of it is reused"
    assert main(["compare", "--file", "plan.yaml", "--trials", "1"]) == 0
    assert len(pd.read_csv("results/tuning/tiny-item_cold.csv")) == 2
    assert main(["compare", "--file", "plan.yaml", "--models", "Pop", "--scenarios", "warm"]) == 0
    assert len(pd.read_csv("results/tuning/tiny-item_cold.csv")) == 2, "another scenario is told apart"
    assert len(pd.read_csv("results/tuning/tiny-warm.csv")) == 1


def test_options_that_are_given_are_not_searched_in_a_models_own_space(tiny, started):
    wide = {"model": "BPR", "options": {"learning_rate": 0.1, "weight_decay": 0.1}}  # embedding_size is of the plan
    choose(Plan.from_mapping(plan(tiny, wide, scenarios=["warm"])))
    assert len(started) == 2, "nothing is left: a trial on each of two splits"
    choose(Plan.from_mapping(plan(tiny, "SiBraR")))
    options = [json.loads(row) for row in pd.read_csv("results/tuning/tiny-item_cold.csv")["options"]]
    assert not options[0] and options[1] and "embedding_size" not in options[1]


def test_models_that_are_not_scored_are_not_searched(tiny, started):
    given = {"model": "BPR", "space": {"learning_rate": {"choice": [0.1, 0.2]}}}
    choose(Plan.from_mapping(plan(tiny, given, scenarios=["item_cold", "user_cold"])))
    assert len(started) == 4, "a trial on each of two splits in each of two scenarios"


@pytest.mark.parametrize(
    "change, message",
    [
        ({"seed": 1}, "The splits of seeds 1 would choose options and be reported"),
        ({"tuning": {"trials": 0}}, "tuning.trials is 0"),
        ({"tuning": {"trial": 3}}, "Unknown key 'trial' of tuning. Did you mean 'trials'"),
        ({"tuning": 3}, "tuning is 3; expected a mapping"),
        ({"models": [{"model": "Pop", "options": {"split_seed": 4}}]}, "tuning .*split_seed .*Pop"),
        ({"models": [{"model": "Pop", "options": {"eval_args": {"order": "TO"}}}], "scenarios": ["warm"]}, "eval_args"),
        ({"models": [{"model": "Pop", "options": {"eval_step": 0}}]}, "eval_step is 0"),
        ({"models": [{"model": "Pop", "space": 3}]}, "space of Pop is 3"),
        ({"models": [{"model": "ContentRidge", "space": {"alpha": {"choice": [1]}}}]}, "alpha"),
    ],
)
def test_wrong_plans_are_refused_before_anything_is_run(tiny, started, change, message):
    with pytest.raises(OptionError, match=message):
        choose(Plan.from_mapping({**plan(tiny, "Pop"), **change}))
    assert not started


def test_a_fixed_split_is_of_what_is_reported_alone(tiny, started):
    Path("plan.yaml").write_text(yaml.safe_dump(plan(tiny, "Pop", fixed_split=True, seeds=2)))
    assert main(["compare", "--file", "plan.yaml"]) == 0
    assert {(r["seed"], r["config"]["split_seed"]) for r in results("results/tuning")} == {(0, None), (1, None)}
    assert {(r["seed"], r["config"]["split_seed"]) for r in results("results")} == {(10, 10), (11, 10)}


def test_trials_are_asked_for_where_there_are_some(capsys):
    assert main(["compare", "--models", "Pop", "--trials", "3"]) == 2
    assert "--trials needs a plan with 'tuning'" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["tables", "missing"])
def test_the_plans_of_the_repository_are_whole(tiny, name):
    values = read_property_file(ROOT / "benchmarks" / "plans" / f"{name}.yaml")
    values.pop("columns", None)
    found = cells(Plan.from_mapping({**values, "datasets": ["tiny"], "data_path": str(tiny.folder)}))
    labels = {cell.label for cell in found}
    assert len(labels) == len(values["models"])
    wanted = {
        "tables": {"EASE", "Pop", "MuBraR_S-paper", "SiBraR_SC-strong"},
        "missing": {"ContentRidge+knn", "CLCRec"},
    }
    assert wanted[name] <= labels
