"""The ``tune`` command: validation results only, spaces, both engines, and a best file that runs."""

import importlib.util
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import folder_of, names, naming

from recbole_sibrar import cli
from recbole_sibrar.errors import OptionError
from recbole_sibrar.experiments import tune as tuning
from recbole_sibrar.experiments.space import Parameter, Space, find_space, read_space
from recbole_sibrar.experiments.tune import Study, check_space
from recbole_sibrar.properties import props_folder
from recbole_sibrar.recbole_plugin.config import OUR_MODELS
from recbole_sibrar.recbole_plugin.trainer import ProtocolTrainer
from recbole_sibrar.recbole_plugin.tuning import run_trial
from recbole_sibrar.report.figures import search_map

SPACE = {
    "learning_rate": {"loguniform": ["1e-4", 1e-1]},
    "encoder_hidden_sizes": {"choice": [[], [4]]},
    "contrastive_weight": {"loguniform": [1e-2, 1.0]},
    "temperature": {"choice": [0.1, 0.2]},
}
NAME = "tune-SiBraR_SC-paper-tiny-item_cold-seed2020"


def arguments(tiny, space=SPACE, **options):
    Path("space.yaml").write_text(yaml.safe_dump(space))
    given = {key: value for key, value in tiny.options(scenario="item_cold", **options).items() if key not in space}
    return ["tune", "--dataset=tiny", "--space=space.yaml", *(f"--{key}={value}" for key, value in given.items())]


@pytest.fixture
def evaluated(monkeypatch):
    """The splits that trainers evaluate: the held-out pairs of each."""
    seen = []
    original = ProtocolTrainer.evaluate

    def evaluate(self, eval_data, *args, **kwargs):
        seen.append(eval_data)
        return original(self, eval_data, *args, **kwargs)

    monkeypatch.setattr(ProtocolTrainer, "evaluate", evaluate)
    return seen


def test_hyperopt_writes_trials_the_best_file_and_the_map_without_the_test_split(tiny, evaluated, capsys):
    assert cli.main([*arguments(tiny), "--trials=4"]) == 0
    from recbole_sibrar.recbole_plugin.prepared import make_config, prepare

    ready = prepare(make_config("SiBraR", "tiny", options=tiny.options(scenario="item_cold")))
    valid_items, test_items = (set(loader._dataset.inter_feat["item_id"].tolist()) for loader in ready.loaders[1:])
    assert len(evaluated) >= 4
    for data in evaluated:
        items = set(data._dataset.inter_feat["item_id"].tolist())
        assert items == valid_items and not items & test_items

    table = pd.read_csv(folder_of(NAME) / "trials.csv")
    assert list(table["trial"]) == [1, 2, 3, 4] and table["error"].isna().all()
    assert {"score", "validation ndcg@3", *SPACE} < set(table) and not [c for c in table if "test" in c]
    assert table["learning_rate"].between(1e-4, 1e-1).all() and set(table["encoder_hidden_sizes"]) <= {"[]", "[4]"}
    best = yaml.safe_load((folder_of(NAME) / "best.yaml").read_text())
    row = table.loc[table["score"].idxmax()]
    assert best["learning_rate"] == row["learning_rate"] and best["scenario"] == "item_cold"
    assert {path.name for path in folder_of(NAME).iterdir()} == {
        "trials.csv",
        "best.yaml",
        "map.pdf",
        "map.png",
        "map.svg",
    }

    printed, said = capsys.readouterr()
    assert len(re.findall(r"^trial \d+/\d+: validation NDCG@3 0\.\d{4}, .* s; ", said, re.MULTILINE)) == len(table)
    command = printed.strip().splitlines()[-1].split()
    assert command[:2] == ["recbole-sibrar", "run"]
    assert f"# {' '.join(command)}\n" in (folder_of(NAME) / "best.yaml").read_text()
    assert cli.main([*command[1:], "--run_name=best"]) == 0
    stored = json.loads(Path("results/best/result.json").read_text())
    assert stored["best_valid_score"] == pytest.approx(row["score"])
    assert stored["config"]["encoder_hidden_sizes"] == json.loads(row["encoder_hidden_sizes"])


def test_a_trial_is_told_nothing_of_the_test_split(tiny):
    """Two data sets that differ in the test file alone give the tuner the same."""
    parts = [[p for p in tiny.pairs if p[1] % 10 > 1], [p for p in tiny.pairs if p[1] % 10 == 0]]
    tests = [p for p in tiny.pairs if p[1] % 10 == 1]
    outcomes = []
    for test in (tests, tests[::-1][: len(tests) // 2]):
        tiny.write()
        for name, pairs in zip("abc", (*parts, test)):
            tiny.interactions(f"{name}.inter", pairs)
        options = tiny.options(scenario="item_cold", benchmark_filename=["a", "b", "c"])
        outcomes.append(run_trial("SiBraR", "tiny", options))
    assert outcomes[0]["error"] is None and outcomes[0]["score"] == outcomes[1]["score"] > 0
    assert set(outcomes[0]) == {"score", "valid_result", "seconds", "error"}


def test_the_same_seed_draws_the_same_trials(tiny, monkeypatch):
    monkeypatch.setattr(tuning, "run_trial", lambda *_: {"score": 0.5, "valid_result": {}, "seconds": 0, "error": None})
    drawn = []
    for extra in (["--seed=1"], ["--seed=1"], ["--seed=2"], ["--seed=1", "--algorithm=random"]):
        assert cli.main([*arguments(tiny), "--trials=25", *extra]) == 0
        folder = folder_of(NAME.replace("2020", extra[0][-1]))
        drawn.append(pd.read_csv(folder / "trials.csv")["learning_rate"].tolist())
    assert drawn[0] == drawn[1] != drawn[2] and len(set(drawn[0])) == 25
    assert drawn[3] != drawn[0]


def test_searches_of_several_spaces_stand_beside_each_other(tiny, monkeypatch):
    monkeypatch.setattr(tuning, "run_trial", lambda *_: {"score": 0.5, "valid_result": {}, "seconds": 0, "error": None})
    for low in (1e-4, 1e-3, 1e-4):
        assert cli.main([*arguments(tiny, {"learning_rate": {"loguniform": [low, 1e-2]}}), "--trials=1"]) == 0
    assert len(list(Path("results").glob("tune-*/best.yaml"))) == 2


def test_what_is_given_is_not_searched_in_a_models_own_space(tiny, monkeypatch, capsys):
    monkeypatch.setattr(tuning, "run_trial", lambda *_: {"score": 0.5, "valid_result": {}, "seconds": 0, "error": None})
    given = {key: value for key, value in tiny.options(scenario="warm").items() if key != "embedding_size"}
    command = ["tune", "--model=BPR", "--dataset=tiny", "--trials=1", *(f"--{k}={v}" for k, v in given.items())]
    assert cli.main([*command, "--learning_rate=0.1"]) == 0
    assert names(capsys.readouterr().out, "not searched: learning_rate | embedding_size: ")
    assert cli.main([*command, "--learning_rate=0.1", "--embedding_size=8", "--weight_decay=0.1"]) == 2
    assert names(capsys.readouterr().err, "BPR | given | --space")


def test_trials_that_tie_are_named(tiny, monkeypatch, capsys):
    scores = iter([0.4, 0.5, 0.5, 0.4, 0.5])
    monkeypatch.setattr(
        tuning, "run_trial", lambda *_: {"score": next(scores), "valid_result": {}, "seconds": 0, "error": None}
    )
    assert cli.main([*arguments(tiny), "--trials=5"]) == 0
    table = pd.read_csv(folder_of(NAME) / "trials.csv")
    best = yaml.safe_load((folder_of(NAME) / "best.yaml").read_text())
    assert best["learning_rate"] == table["learning_rate"][1]
    for text in (capsys.readouterr().out, (folder_of(NAME) / "best.yaml").read_text()):
        assert "trials 3, 5 are as good" in text


@pytest.mark.parametrize("scenario", ["item_cold", "user_cold", "both_cold"])
def test_what_is_not_scored_is_not_searched(tiny, scenario):
    space = Space.from_mapping({"learning_rate": {"choice": [0.1, 0.2]}})
    with pytest.raises(OptionError, match=naming(f"BPR | {scenario} | cold")):
        tuning.tune(Study("BPR", "tiny", tiny.options(scenario=scenario), space))
    assert not Path("results").exists()


def test_a_failed_trial_is_recorded_and_does_not_win(tiny, monkeypatch):
    def trial(model, dataset, options):
        failed = options["temperature"] == 0.1
        error = "SibrarError: scored NaN" if failed else None
        return {"score": None if failed else 0.5, "valid_result": {}, "seconds": 0.0, "error": error}

    monkeypatch.setattr(tuning, "run_trial", trial)
    assert cli.main([*arguments(tiny), "--trials=30"]) == 0
    table = pd.read_csv(folder_of(NAME) / "trials.csv")
    assert 0 < table["error"].notna().sum() < 30
    assert yaml.safe_load((folder_of(NAME) / "best.yaml").read_text())["temperature"] == 0.2


def test_only_failed_trials_are_an_error(tiny, capsys):
    command = [*arguments(tiny, item_modalities="genre"), "--trials=2"]
    assert cli.main(command) == 2
    assert "Every trial failed; the first with OptionError: Unknown item modality 'genre'" in capsys.readouterr().err


def test_smaller_can_be_better(tiny):
    assert cli.main([*arguments(tiny, metrics="[NDCG,ARP]", valid_metric="ARP@3", seed=5), "--trials=3"]) == 0
    folder = folder_of(NAME.replace("2020", "5"))
    table, best = pd.read_csv(folder / "trials.csv"), yaml.safe_load((folder / "best.yaml").read_text())
    assert best["seed"] == 5 and best["learning_rate"] == table.loc[table["score"].idxmin(), "learning_rate"]


def test_ray(tiny):
    """In processes of Ray, two trials at a time if there are two processors."""
    one_step = {"train_batch_size": 512}  # in many, what is rounded otherwise with other threads grows
    options = [f"--{name}={value}" for name, value in one_step.items()]
    assert cli.main([*arguments(tiny), *options, "--trials=3", "--engine=ray", "--cpus_per_trial=1"]) == 0
    table = pd.read_csv(folder_of(NAME) / "trials.csv")
    assert len(table) == 3 and table["error"].isna().all() and not [c for c in table if "test" in c]
    best = yaml.safe_load((folder_of(NAME) / "best.yaml").read_text())
    chosen = table.loc[table["score"].idxmax()]
    assert best["learning_rate"] == chosen["learning_rate"]
    again = run_trial("SiBraR", "tiny", {**best, **one_step, "data_path": str(tiny.folder)})
    assert again["score"] == pytest.approx(chosen["score"])


@pytest.mark.parametrize(
    "extra, message",
    [
        (["--space=absent.yaml"], "absent.yaml: no such property file"),
        (["--trials=0"], "--trials | 0 | 1"),
        (["--cpus_per_trial=2"], "--cpus_per_trial | --address | Ray | --engine=ray"),
        (["--engine=ray", "--cpus_per_trial=0"], "--cpus_per_trial is 0"),
        (["--learning_rate=0.1"], "learning_rate | both"),
        (["--model=BPR"], "BPR | 'contrastive_weight'"),
        (["--model=Bpr"], "Unknown model 'Bpr'"),
        (["--epoch=3"], "'epoch' | 'epochs'"),
        (["--eval_step=0"], "eval_step | 0 | validation"),
        (["--epochs=0"], "epochs | 0 | validation"),
        (["--dataset=tinny"], "Data set 'tinny' not found"),
    ],
)
def test_mistakes(tiny, capsys, extra, message):
    given = {argument.split("=")[0] for argument in extra}
    kept = [a for a in arguments(tiny) if a.split("=")[0] not in given]
    assert cli.main([*kept, *extra]) == 2
    error = capsys.readouterr().err
    assert names(error, message) and "Traceback" not in error and not Path("results").exists()


@pytest.mark.parametrize(
    "name, values",
    [("scenario", ["warm", "item_cold"]), ("seed", [1, 2]), ("topk", [[3], [5]]), ("eval_candidates", ["all"]),
     ("user_inter_num_interval", ["[3,inf)"]), ("data_path", ["a", "b"]), ("dataset", ["tiny"])],
)  # fmt: skip
def test_what_makes_scores_incomparable_is_not_searched(name, values):
    space = Space.from_mapping({"learning_rate": {"uniform": [0.1, 1]}, name: {"choice": values}})
    with pytest.raises(OptionError, match=naming(f"{name} | protocol | --{name}=")):
        check_space(Study("SiBraR", "ml-100k", {}, space))


@pytest.mark.parametrize(
    "mapping, message",
    [
        ({}, "The search space is empty"),
        ({"a": 3}, "a | 3 | {choice: values}"),
        ({"a": {"choice": 3}}, "a is {'choice': 3}"),
        ({"a": {"loguniforn": [1, 2]}}, "a | 'loguniforn' | 'loguniform'"),
        ({"a": {"choice": []}}, "a: choice has no values"),
        ({"a": {"uniform": [1, "x"]}}, "[1, 'x'] | [low, high]"),
        ({"a": {"uniform": [1, 2, 3]}}, "expected [low, high]"),
        ({"a": {"quniform": [1, 2]}}, "expected [low, high, step]"),
        ({"a": {"uniform": [2, 1]}}, "2 | 1"),
        ({"a": {"loguniform": [0, 1]}}, "0 | 0"),
        ({"a": {"quniform": [0, 1, 0]}}, "a: quniform has the step 0"),
    ],
)
def test_mistakes_in_a_space(mapping, message):
    with pytest.raises(OptionError, match=naming(message)):
        Space.from_mapping(mapping)


def test_what_a_closed_form_does_not_read_is_not_searched(tiny, capsys):
    Path("space.yaml").write_text("learning_rate: {uniform: [0.1, 1]}\n")
    command = ["tune", "--model=ContentRidge", "--dataset=tiny", "--space=space.yaml", f"--data_path={tiny.folder}"]
    assert cli.main(command) == 2
    said = capsys.readouterr()
    assert names(said.out, "not searched | learning_rate | ContentRidge") and "learning_rate" in said.err


def test_a_space_names_its_file():
    Path("space.yaml").write_text("a: 3\n")
    with pytest.raises(OptionError, match="space.yaml: a is 3"):
        read_space("space.yaml")


def test_without_the_extra(tiny, capsys, monkeypatch):
    original = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == "hyperopt" else original(name, *a)
    )
    assert cli.main(arguments(tiny)) == 2
    assert "needs hyperopt, which is not installed: pip install 'recbole-sibrar[tune]'" in capsys.readouterr().err


def test_draws_stay_within_bounds_and_spread_evenly():
    from hyperopt.pyll.stochastic import sample

    space = Space.from_mapping(
        {"a": {"loguniform": ["1e-4", "1e-2"]}, "b": {"quniform": [2, 10, 4]}, "c": {"choice": [None, [1], "x"]}}
    )
    rng = np.random.default_rng(0)
    hyperopt_space = space.to_hyperopt()
    draws = [space.options(sample(hyperopt_space, rng)) for _ in range(2000)]
    logs = np.log10([draw["a"] for draw in draws])
    assert logs.min() > -4 and logs.max() < -2 and logs.mean() == pytest.approx(-3, abs=0.05)
    assert {draw["b"] for draw in draws} == {2, 6, 10} and all(isinstance(draw["b"], int) for draw in draws)
    counts = [sum(draw["c"] == value for draw in draws) for value in (None, [1], "x")]
    assert min(counts) > 500


def test_extremes():
    assert Parameter("a", "loguniform", (1e-4, 1e-2)).extremes == (1e-4, 1e-2)
    assert Parameter("a", "quniform", (1, 10, 2)).extremes == (1, 9)
    assert Parameter("a", "quniform", (0.3, 0.9, 0.1)).extremes == (0.3, 0.9)


@pytest.mark.parametrize("model", OUR_MODELS)
@pytest.mark.parametrize("scenario", ["warm", "item_cold"])
def test_a_space_ships_for_each_of_our_models(model, scenario):
    space = read_space(find_space(None, model))
    check_space(Study(model, "ml-100k", {"scenario": scenario}, space))


def test_shipped_spaces_are_found_from_anywhere():
    assert find_space("props/search/contrast_map.yaml", "SiBraR") == props_folder() / "search" / "contrast_map.yaml"
    with pytest.raises(OptionError, match="No search space for Pop ships with the package"):
        find_space(None, "Pop")


def test_the_map_shows_the_best_score_of_each_cell():
    trials = pd.DataFrame({"tau": [0.1, 0.1, 0.2, 0.2], "alpha": [1.0, 1.0, 1.0, 0.5], "score": [1, 3, 2, np.nan]})
    axis = search_map(trials, "tau", "alpha", "NDCG@10").axes[0]
    cells = axis.collections[0].get_array()
    assert cells.tolist() == [[3, 2]] and len(axis.lines[0].get_xdata()) == 3
    many = pd.DataFrame({"tau": np.geomspace(0.01, 1, 50), "alpha": np.geomspace(1, 9, 50), "score": np.arange(50)})
    assert search_map(many, "tau", "alpha", "NDCG@10").axes[0].collections[0].get_array().max() == 49
    search_map(trials.iloc[:0], "tau", "alpha", "NDCG@10")
