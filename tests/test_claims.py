"""The papers' claims, from runs and studies whose differences are known."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import names, naming

from recbole_sibrar.cli import main
from recbole_sibrar.errors import DataError
from recbole_sibrar.report.claims import CLAIMS, claims

BEST, SAMPLING, CONTRAST, ONE, TWO, COSINE, _, PREDICTED, _, TAIL, PARAMETERS = (claim for claim, *_ in CLAIMS)
USERS = 20


def make_run(folder, label, seed, ndcg, aplt=0.3, n_parameters=1000, scenario="item_cold", **options):
    """A finished run whose users scatter around a mean, another one in each split."""
    model, _, preset = label.partition("-")
    shift = np.random.default_rng(seed).normal(0, 0.001)
    scatter = np.linspace(-0.1, 0.1, USERS)
    config = {"seed": seed, "split_seed": None, "valid_metric": "NDCG@10", "topk": [10], "epochs": 5, "eval_args": None,
              "model": model.split("_")[0], **options}  # fmt: skip
    metrics = {"ndcg@10": ndcg + shift, "aplt@10": aplt + shift}
    result = {
        "name": f"{label}-{scenario}-{seed}", "label": label, "model": config["model"], "preset": preset or None,
        "dataset": "toy", "scenario": scenario, "seed": seed, "n_parameters": n_parameters, "test_result": metrics,
        "valid_result": metrics, "seconds": {"training": 1.0}, "config": config, "versions": {}, "n_candidates": 500,
    }  # fmt: skip
    path = Path(folder) / f"{label}-{scenario}-{seed}"
    path.mkdir(parents=True)
    (path / "result.json").write_text(json.dumps(result))
    table = {"user": range(USERS), **{name: value + scatter for name, value in metrics.items()}}
    pd.DataFrame(table).to_csv(path / "per_user.csv", index=False)
    return path


VALUES = {
    "SiBraR": 0.30, "SiBraR_S": 0.25, "SiBraR_SC": 0.35, "MuBraR": 0.30, "MuBraR_S": 0.26, "MuBraR_SC": 0.33,
}  # fmt: skip


@pytest.fixture
def results(tmp_path):
    """Six models and a rival on three splits, with studies of what is left and of the gap."""
    folder, sources, subsets, gaps = tmp_path / "results", {}, [], []
    for seed in (1, 2, 3):
        make_run(folder, "ContentRidge", seed, 0.2)
        for model, ndcg in VALUES.items():
            n = 500 if model.startswith("SiBraR") else 1000
            aplt = 0.4 + 0.01 * (seed - 2) if model == "SiBraR" else 0.4
            path = make_run(folder, f"{model}-paper", seed, ndcg, aplt, n)
            name = path.name
            sources[name] = {"checkpoint": f"elsewhere/{name}/model.pth", "data": {}}
            for subset in ("", "a", "b", "a+b"):
                n_left = len(subset.split("+")) if subset else 0
                value = 0.1 * n_left + (0.02 if model == "SiBraR_SC" and n_left == 1 else 0) + 0.001 * seed
                subsets.append({"model": name, "modalities": subset, "n_modalities": n_left, "ndcg@10": value})
            cosine = 0.9 if model == "SiBraR_SC" else 0.1
            gaps.append({"model": name, "intra_cosine": cosine, "prediction_accuracy": 1 - cosine / 2})
    for study, rows in {"subsets": subsets, "gap": gaps}.items():
        path = folder / study
        path.mkdir()
        pd.DataFrame(rows).to_csv(path / f"{study}.csv", index=False)
        (path / "data.json").write_text(json.dumps(sources))
    return folder


def test_each_claim_is_judged_by_its_differences(results):
    table = claims(results).set_index("claim")
    assert (table["dataset"] == "toy").all() and (table["preset"] == "paper").all()
    wanted = {
        BEST: ("holds", 0.02), SAMPLING: ("does not hold", -0.04), CONTRAST: ("holds", 0.1), ONE: ("holds", 0.02),
        TWO: ("not told apart", 0.0), COSINE: ("holds", 0.8), PREDICTED: ("holds", 0.4), TAIL: ("not told apart", 0.0),
        PARAMETERS: ("holds", 0.2),
    }  # fmt: skip
    for claim, (verdict, difference) in wanted.items():
        row = table.loc[claim]
        assert (row["verdict"], row["difference"]) == (verdict, pytest.approx(difference, abs=1e-6)), claim
    assert "MuBraR_SC-paper, the best of 6 others" in table.loc[BEST, "remark"]
    assert table.loc[BEST, "relative"] == pytest.approx(0.02 / 0.33, rel=0.01)
    assert table.loc[TAIL, "low"] < 0 < table.loc[TAIL, "high"] and table.loc[TAIL, "splits"] == 3
    assert "50% fewer" in table.loc[PARAMETERS, "remark"]


def test_a_relative_difference_is_of_the_splits_that_both_have(results):
    make_run(results, "MuBraR_SC-paper", 4, 0.9, 0.4, 1000)
    best = claims(results).set_index("claim").loc[BEST]
    assert best["splits"] == 3 and best["relative"] == pytest.approx(0.02 / 0.33, rel=0.01)


def test_another_preset_is_no_rival_and_short_runs_are_named(results):
    for seed in (1, 2, 3):
        path = make_run(results, "SiBraR_SC-strong", seed, 0.5)
        result = json.loads((path / "result.json").read_text())
        epochs = [{"epoch": n, "valid": n / 10} for n in range(1, 6)]
        (path / "result.json").write_text(
            json.dumps({**result, "n_epochs": 5, "history": epochs, "best_valid_score": 0.5})
        )
    table = claims(results).set_index(["claim", "preset"])
    assert table.loc[(BEST, "paper"), "verdict"] == "holds"
    assert table.loc[(BEST, "paper"), "difference"] == pytest.approx(0.02, abs=1e-6)
    assert "still rising after the 5 epochs" in table.loc[(BEST, "strong"), "remark"]
    assert "rising" not in table.loc[(BEST, "paper"), "remark"]


def test_the_smaller_is_the_better_where_the_metric_says_so(results):
    before = claims(results).set_index("claim")["difference"]
    for path in [*results.rglob("*.json"), *results.rglob("*.csv")]:
        path.write_text(path.read_text().replace("ndcg@10", "arp@10").replace("NDCG@10", "ARP@10"))
    after = claims(results).set_index("claim")
    for claim in (SAMPLING, CONTRAST, ONE):
        assert after.loc[claim, "difference"] == pytest.approx(-before[claim]), claim
    assert "ContentRidge, the best of 6 others" in after.loc[BEST, "remark"]
    assert after.loc[BEST, "verdict"] == "does not hold"


def test_what_was_not_run_is_not_measured_and_one_split_says_nothing(tmp_path):
    make_run(tmp_path, "SiBraR_SC-paper", 1, 0.3)
    make_run(tmp_path, "SiBraR_S-paper", 1, 0.2)
    table = claims(tmp_path).set_index("claim")
    assert table.loc[CONTRAST, "verdict"] == "one split only" and table.loc[BEST, "verdict"] == "one split only"
    others = table.drop(index=[CONTRAST, BEST])
    assert (others["verdict"] == "not measured").all()
    assert "lacks MuBraR_S-paper, MuBraR-paper" in table.loc[SAMPLING, "remark"]


@pytest.mark.parametrize("same", [{"split_seed": 1}, {"eval_args": {"order": "TO"}}, {"benchmark_filename": ["a"]}])
def test_seeds_of_one_split_say_nothing_of_others(tmp_path, same):
    for seed in (1, 2):
        make_run(tmp_path, "SiBraR_SC-paper", seed, 0.3, **same)
        make_run(tmp_path, "SiBraR_S-paper", seed, 0.2, **same)
    assert claims(tmp_path).set_index("claim").loc[CONTRAST, "verdict"] == "one split only"


def test_intervals_follow_the_shares_of_the_split(results):
    def width():
        found = claims(results).set_index("claim").loc[TAIL]
        return found["high"] - found["low"]

    before = width()
    for path in results.rglob("result.json"):
        result = json.loads(path.read_text())
        result["config"]["eval_args"] = {"split": {"RS": [0.5, 0.25, 0.25]}}
        path.write_text(json.dumps(result))
    assert width() == pytest.approx(before * ((1 / 3 + 1 / 2) / (1 / 3 + 1 / 8)) ** 0.5)


def test_a_claim_about_items_is_not_judged_when_warm(tmp_path):
    for seed in (1, 2):
        make_run(tmp_path, "SiBraR_SC-paper", seed, 0.3, scenario="warm")
        make_run(tmp_path, "SiBraR_S-paper", seed, 0.2, scenario="warm")
    table = claims(tmp_path).set_index("claim")
    assert table.loc[BEST, "verdict"] == "not measured" and table.loc[CONTRAST, "verdict"] == "holds"


def test_the_command_writes_them(results, capsys):
    assert main(["report", str(results), "--claims", "--output", "x"]) == 2 and not Path("x").exists()
    assert main(["report", str(results), "--claims"]) == 0
    assert "not told apart" in capsys.readouterr().out
    assert len(pd.read_csv(results / "claims.csv")) == len(CLAIMS)
    assert f"## {BEST}" in (results / "claims.md").read_text()


def test_a_study_is_of_the_runs_of_this_name_and_data_wherever_they_are(results):
    before = claims(results)
    for n, path in enumerate(results.glob("*-item_cold-*")):
        path.rename(results / f"run{n}")
    assert claims(results).equals(before)
    (path,) = (path for path in results.glob("run*/result.json") if '"SiBraR_SC-paper-item_cold-1"' in path.read_text())
    shutil.copytree(path.parent, results / "copy" / "run")
    with pytest.raises(DataError, match=naming(f"{path.parent} | {results / 'copy' / 'run'}")):
        claims(results)
    shutil.rmtree(results / "copy")
    path.write_text(json.dumps({**json.loads(path.read_text()), "data": {"interactions": "other"}}))
    assert claims(results).set_index("claim").loc[ONE, "splits"] == 2


def test_a_study_speaks_of_runs_of_its_protocol_alone(results):
    for model in ("SiBraR_SC", "MuBraR_SC"):
        make_run(results, f"{model}-paper", 9, 0.3, eval_candidates="all")
    table = claims(results).set_index("claim").loc[ONE]
    assert sorted(table["verdict"]) == ["holds", "not measured"]


@pytest.mark.parametrize("other", [{"side": "user"}, {"phase": "valid"}])
def test_studies_of_the_other_side_or_of_validation_do_not_count(results, other):
    before = claims(results)
    shutil.copytree(results / "subsets", results / "others")
    path = results / "others" / "data.json"
    path.write_text(json.dumps({name: {**own, **other} for name, own in json.loads(path.read_text()).items()}))
    table = pd.read_csv(results / "others" / "subsets.csv")
    table.assign(**{"ndcg@10": np.linspace(1, 0, len(table))}).to_csv(results / "others" / "subsets.csv", index=False)
    assert claims(results).equals(before)


def test_studies_of_several_settings_are_not_mixed(results):
    path = make_run(results / "wide", "SiBraR_SC-paper", 1, 0.3, embedding_size=256).rename(results / "wide" / "run")
    result = path / "result.json"
    result.write_text(json.dumps({**json.loads(result.read_text()), "name": "run"}))
    source = {"run": {"checkpoint": str(path / "model.pth"), "data": {}}}
    (results / "wide" / "data.json").write_text(json.dumps(source))
    rows = [{"model": "run", "modalities": "a", "n_modalities": 1, "ndcg@10": 0.0}]
    pd.DataFrame(rows).to_csv(results / "wide" / "subsets.csv", index=False)
    row = claims(results).set_index("claim").loc[ONE]
    assert row["verdict"] == "not measured" and names(row["remark"], "several settings | SiBraR_SC-paper")
    said = claims(results).set_index("claim").loc[CONTRAST, "remark"]
    assert "lacks one of 2 settings of SiBraR_SC-paper" in said


def test_a_study_of_unknown_runs_is_named(results):
    (results / "gap" / "data.json").unlink()
    with pytest.raises(DataError, match=naming("gap.csv | data.json")):
        claims(results)
