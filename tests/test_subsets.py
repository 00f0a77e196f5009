"""Subsets of modalities: which are evaluated, and what is concluded, on a corpus with a known answer."""

import json
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import names, naming

from recbole_sibrar.cli import main
from recbole_sibrar.errors import OptionError
from recbole_sibrar.evaluation.missing import over_seeds
from recbole_sibrar.evaluation.significance import interval
from recbole_sibrar.evaluation.subsets import contributions, modality_subsets, quality_curve
from recbole_sibrar.recbole_plugin.run import run
from recbole_sibrar.recbole_plugin.trained import TrainedModel
from recbole_sibrar.report.collection import read_runs


def test_all_subsets_or_chains():
    names = ["a", "b", "c", "d"]
    assert set(modality_subsets(names, 16)) == {c for n in range(5) for c in combinations(names, n)}
    for seed in range(3):
        some = modality_subsets(names, 12, seed)
        assert len(some) <= 12 and some[0] == () and some[-1] == tuple(names) and len(set(some)) == len(some)
        assert contributions(dict.fromkeys(some, 0.0), names)["n_pairs"].min() >= 1
    with pytest.raises(OptionError, match=naming("4 subsets | at least 5")):
        modality_subsets(names, 4)


def test_curve_and_contributions_by_hand():
    values = {(): 0.0, ("a",): 0.4, ("b",): 0.2, ("a", "b"): 0.5}
    assert quality_curve(values)["mean"].tolist() == pytest.approx([0.0, 0.3, 0.5])
    table = contributions(values, ["a", "b"]).set_index("modality")
    assert table.loc["a", ["alone", "mean", "last"]].tolist() == pytest.approx([0.4, 0.35, 0.3])
    assert table.loc["b", ["alone", "mean", "last"]].tolist() == pytest.approx([0.2, 0.15, 0.1])


@pytest.fixture
def toy(tmp_path):
    """80 users in two groups and 400 items: one vector tells an item's group, its twin repeats it, one is noise."""
    generator = np.random.default_rng(0)
    folder = tmp_path / "data" / "toy"
    folder.mkdir(parents=True)
    lines = ["user_id:token\titem_id:token"]
    for user in range(80):
        for item in generator.choice(200, 120, replace=False):
            lines.append(f"u{user}\ti{2 * item + user % 2}")
    (folder / "toy.inter").write_text("\n".join(lines) + "\n")
    signal = np.tile([[1.0, 0.0], [0.0, 1.0]], (200, 1))
    vectors = {"signal": signal, "twin": signal, "noise": generator.normal(size=(400, 2))}
    for name, values in vectors.items():
        rows = [f"i{item}\t{row[0]} {row[1]}" for item, row in enumerate(values)]
        (folder / f"toy.{name}").write_text("\n".join([f"item_id:token\t{name}:float_seq", *rows]) + "\n")
    (folder / "toy.yaml").write_text("modalities: {item: {signal: vector, twin: vector, noise: vector}}\n")
    return {
        "data_path": str(tmp_path / "data"), "scenario": "item_cold", "epochs": 15, "train_batch_size": 16,
        "preset": "strong", "activate_input": False, "interaction_kernel": 0,  # a vector tells the group linearly
        "embedding_size": 8, "topk": [5], "valid_metric": "NDCG@5", "show_progress": False, "state": "ERROR",
    }  # fmt: skip


LINEAR = ("preset", "activate_input", "interaction_kernel")


def without_preset(options):
    return {name: value for name, value in options.items() if name not in LINEAR}


@pytest.mark.parametrize("model", ["SiBraR", "MuBraR"])
def test_the_contribution_table_tells_signal_twin_and_noise_apart(toy, model, capsys):
    result = run(model, "toy", None, toy)
    assert main(["missing", f"results/{result.name}", "--metric", "ndcg@5", "--output", "out"]) == 0
    assert "what each modality adds" in capsys.readouterr().out
    table = pd.read_csv("out/contributions.csv").set_index("modality")
    assert table.loc["signal", "alone"] > 0.2 and table.loc["twin", "alone"] > 0.2
    assert table.loc["noise", "alone"] < 0.1 and abs(table.loc["noise", "last"]) < 0.1
    assert abs(table.loc["signal", "last"]) < 0.1, "its twin stands in for it"
    assert table.loc["signal", "mean"] > table.loc["noise", "mean"] + 0.1

    subsets = pd.read_csv("out/subsets.csv", keep_default_na=False).set_index("modalities")
    assert set(subsets["n_modalities"]) == {0, 1, 2, 3} and len(subsets) == 8
    full = json.loads(Path(f"results/{result.name}/result.json").read_text())["test_result"]
    assert float(subsets.loc["signal+twin+noise", "ndcg@5"]) == pytest.approx(full["ndcg@5"], abs=1e-6)
    assert float(subsets.loc["signal", "ndcg@5_std"]) > 0
    for name in ("missing.md", "curve.csv", "curve.png", "curve.svg"):
        assert Path("out", name).stat().st_size > 0


def test_names_of_modalities_and_runs_are_shown_as_they_are(tiny):
    declared = {"g+h": {"kind": "tags", "field": "genres"}, "<b>|$_$": {"kind": "number", "field": "year"}}
    (tiny.folder / "tiny" / "tiny.yaml").write_text(yaml.safe_dump({"modalities": {"item": declared}}, sort_keys=False))
    run("SiBraR", "tiny", None, tiny.options(scenario="item_cold", epochs=1, run_name="a$_$b"))
    for command in (["missing"], ["missing", "--rates", "0.5", "--output", "rates"], ["gap"]):
        assert main([*command[:1], "results/a$_$b", *command[1:]]) == 0
    assert pd.read_csv("results/missing/tiny-item_cold/curve.csv")["n_modalities"].tolist() == [0, 1, 2]
    added = pd.read_csv("results/missing/tiny-item_cold/contributions.csv").set_index("modality")
    assert list(added.index) == list(declared) and added.notna().all(axis=None)
    for path in (Path("results/missing/tiny-item_cold/missing.md"), Path("rates/rates.md")):
        assert "<b>" not in path.read_text()


def test_studies_of_other_runs_are_kept(tiny):
    for scenario in ("warm", "item_cold"):
        run("SiBraR", "tiny", None, tiny.options(scenario=scenario, epochs=1, run_name=scenario))
        assert main(["missing", f"results/{scenario}"]) == 0
    run("MuBraR", "tiny", None, tiny.options(scenario="warm", epochs=1, run_name="other"))
    assert main(["missing", "results/other", "--rates", "0"]) == 0
    for scenario in ("warm", "item_cold"):
        (source,) = json.loads(Path(f"results/missing/tiny-{scenario}/data.json").read_text()).values()
        assert source["checkpoint"] == f"results/{scenario}/model.pth"
    (source,) = json.loads(Path("results/missing/tiny-warm/rates.json").read_text()).values()
    assert source["checkpoint"] == "results/other/model.pth"


@pytest.mark.parametrize("model", ["SiBraR", "CLCRec", "DropoutNet", "ContentRidge", "KernelRidge"])
def test_one_modality_left_equals_a_model_evaluated_on_it_alone(toy, model):
    toy["epochs"] = 1  # so that both choose the same epoch
    toy = toy if model == "SiBraR" else without_preset(toy)
    result = run(model, "toy", None, toy)
    trained = TrainedModel(f"results/{result.name}")
    with trained.only("item", ["signal"]):
        restricted, _ = trained.evaluate("test")
    alone = run(model, "toy", None, {**toy, "eval_item_modalities": ["signal"], "run_name": "alone"})
    assert restricted == alone.test_result != result.test_result
    after, _ = trained.evaluate("test")
    assert after == result.test_result, "the restriction ends with its context"


def test_rates_and_training_at_rates(toy, recwarn):
    result = run("SiBraR", "toy", None, {**toy, "epochs": 3})
    command = ["missing", f"results/{result.name}", "--metric", "ndcg@5", "--output", "out"]
    command += ["--where", "evaluation", "both"]
    recwarn.clear()
    assert main([*command, "--rates", "0", "0.5", "1"]) == 0
    assert not [warning for warning in recwarn if "no effect" in str(warning.message)], "of what nobody gave"
    table = pd.read_csv("out/rates.csv")
    evaluated, retrained = (
        table[table["where"] == where].set_index("rate")["ndcg@5"] for where in ("evaluation", "both")
    )
    assert evaluated[0] == pytest.approx(result.test_result["ndcg@5"]) == pytest.approx(retrained[0])
    assert evaluated[1] < evaluated[0] and Path("out/rates.png").is_file()
    stamp = Path("out/runs").stat().st_mtime_ns
    stamps = {path: path.stat().st_mtime_ns for path in Path("out/runs").glob("*/result.json")}
    assert main([*command, "--rates", "0", "0.5", "1"]) == 0
    assert Path("out/runs").stat().st_mtime_ns == stamp
    assert len(stamps) == 2 and all(path.stat().st_mtime_ns == before for path, before in stamps.items())
    other = run("SiBraR", "toy", None, {**toy, "epochs": 3, "seed": 1})
    assert main([*command[:2], f"results/{other.name}", *command[2:], "--rates", "0"]) == 0
    again, means = pd.read_csv("out/rates.csv"), pd.read_csv("out/rates-mean.csv")
    assert len(json.loads(Path("out/rates.json").read_text())) == 2
    assert again["ndcg@5"].tolist() == pytest.approx(
        [result.test_result["ndcg@5"]] * 2 + [other.test_result["ndcg@5"]] * 2
    )
    assert means["n_seeds"].tolist() == [2, 2] and means["ndcg@5"].tolist() == pytest.approx(
        [again["ndcg@5"].mean()] * 2
    )
    assert (means["low"] < means["ndcg@5"]).all()
    Path("out/rates.csv").unlink()
    assert read_runs("out") == [], "of a study that was interrupted"


def test_the_curve_is_over_the_seeds_of_a_model(toy, capsys):
    options = {**without_preset(toy), "epochs": 1}
    folders = [f"results/{run('KernelRidge', 'toy', None, {**options, 'seed': seed}).name}" for seed in (1, 2)]
    assert main(["missing", *folders, "--metric", "ndcg@5", "--output", "out"]) == 0
    subsets = pd.read_csv("out/subsets.csv")
    assert subsets["model"].nunique() == 2
    curve = pd.read_csv("out/curve.csv").set_index("n_modalities")
    assert set(curve["model"]) == {"KernelRidge"} and set(curve["n_seeds"]) == {2} and curve.index.is_unique
    assert curve["mean"].to_dict() == pytest.approx(subsets.groupby("n_modalities")["ndcg@5"].mean().to_dict())
    table = pd.read_csv("out/contributions.csv")
    assert table["modality"].is_unique and set(table["n_seeds"]) == {2}
    for command in (["missing"], ["missing", "--rates", "0"], ["gap"]):
        assert main([*command[:1], folders[0], f"{folders[0]}/model.pth", *command[1:], "--output", "out"]) == 2
        assert "named twice" in capsys.readouterr().err


def test_a_study_of_recboles_metrics(toy):
    """Some need counts of the training data, none has values of users, and one has no length."""
    metrics = ["NDCG", "Hit", "GAUC", "GiniIndex", "TailPercentage"]
    result = run("ContentRidge", "toy", None, {**without_preset(toy), "epochs": 1, "metrics": metrics})
    command = ["missing", f"results/{result.name}", "--metric", "GAUC", "--output"]
    assert main([*command, "results/subsets"]) == 0
    assert main([*command, "results/rates", "--rates", "0"]) == 0
    everything = pd.read_csv("results/subsets/subsets.csv").iloc[-1]
    rates = pd.read_csv("results/rates/rates.csv").iloc[0]
    for name, value in result.test_result.items():
        assert everything[name] == rates[name] == pytest.approx(value)
    assert pd.read_csv("results/rates/rates-mean.csv")["gauc"][0] == pytest.approx(result.test_result["gauc"])
    assert (
        main(["report", "results"]) == 0 and "GAUC against the content left" in Path("results/report.html").read_text()
    )


@pytest.mark.parametrize(
    "of_runs, n, ratio",
    [({}, 3, 1 / 8), ({"split": [1, 2, 3], "test_to_train": 0.5}, 3, 0.5), ({"split": 1, "test_to_train": 0.5}, 1, 0)],
)
def test_intervals_are_over_splits_of_a_size(of_runs, n, ratio):
    runs = pd.DataFrame({"model": "A", "where": "train", "pattern": "uniform", "rate": 0.5, "seed": [1, 2, 3],
                         "ndcg@3": [0.1, 0.2, 0.4], **of_runs})  # fmt: skip
    wanted = interval(runs["ndcg@3"] if n > 1 else [runs["ndcg@3"].mean()], ratio)
    (found,) = over_seeds(runs, "ndcg@3").to_dict("records")
    assert found["n_seeds"] == 3 and found["ndcg@3"] == pytest.approx(wanted["difference"])
    assert [found["low"], found["high"]] == pytest.approx([wanted["low"], wanted["high"]], nan_ok=True)


def test_the_grid_of_a_plan(tiny, started):
    """Imputers and masks, two seeds, content missing in training, by popularity too."""
    models = ["ContentRidge", {"model": "ContentRidge", "options": {"impute": "mean"}}]
    options = {key: value for key, value in tiny.options().items() if key not in ("embedding_size", "data_path")}
    plan = {"models": models, "datasets": ["tiny"], "scenarios": ["item_cold"], "seeds": 2, "options": options}
    Path("plan.yaml").write_text(yaml.safe_dump({**plan, "data_path": str(tiny.folder)}))
    grid = ["--rates", "0", "0.9", "--where", "train", "--pattern", "uniform", "popularity", "--output", "out"]
    assert main(["missing", "--file", "plan.yaml", *grid]) == 0
    means = pd.read_csv("out/rates-mean.csv")
    assert len(started) == 4 and len(means) == 2 * 2 * 2 and (means["n_seeds"] == 2).all()
    assert set(means["model"]) == {"ContentRidge", "ContentRidge+mean"}
    without = means[means["rate"] == 0].groupby("model")["ndcg@3"]
    assert (without.nunique() == 1).all(), "without loss it does not matter who"
    trained = [json.loads(path.read_text()) for path in Path("out/runs").glob("*/result.json")]
    assert len(trained) == 2 * 2 * 2
    assert {own["config"]["missing"]["phase"] for own in trained} == {"train"}
    for own in trained:
        n = {name: known["available"] for name, known in own["data_counts"]["modalities"]["item"].items()}
        assert n["picture"] == 3 and n["genres"] == 3, "the modality as it is, not what is imputed"
    said = Path("out/rates.md").read_text()
    assert "genres, year, picture" in said and "ContentRidge+mean: seeds 2020, 2021" in said
    assert Path("out/rates.pdf").is_file()


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--metric", "ndgc@5"], "Did you mean 'ndcg@5'"),
        (["--rates", "2"], "missing.rate is 2"),
        (["--where", "both"], "--where | --rates"),
        (["--pattern", "popularity"], "--pattern | --rates"),
        (["--dataset", "foo"], "--dataset | --file"),
        (["--rates", "0", "--max-subsets", "2"], "--max-subsets | 2 | --rates"),
        (["--file", "plan.yaml"], "either folders of runs, or a plan"),
        (["--side", "user"], "SiBraR_SC-strong | side information"),
        (["--max-subsets", "2", "--metric", "ndcg@5"], "At most 2 subsets"),
    ],
)
def test_mistakes_are_named(toy, capsys, arguments, message):
    result = run("SiBraR", "toy", None, {**toy, "epochs": 1})
    assert main(["missing", f"results/{result.name}", *arguments]) == 2
    assert names(capsys.readouterr().err, message)


@pytest.mark.parametrize(
    "command, model, message",
    [
        ("missing", "Pop", "is a Pop, which has no modalities to look at"),
        ("missing", "LinearAutoencoder", "is a LinearAutoencoder, which has no modalities to look at"),
        ("gap", "KernelRidge", "is a KernelRidge, which has no embedding for each modality"),
    ],
)
def test_a_model_without_modalities_is_refused(toy, capsys, command, model, message):
    result = run(model, "toy", None, {**without_preset(toy), "scenario": "warm", "epochs": 1})
    assert main([command, f"results/{result.name}"]) == 2
    assert names(capsys.readouterr().err, message)


@pytest.mark.parametrize("rates", [[], ["--rates", "0"]])
@pytest.mark.parametrize(
    "options, message",
    [
        ({"eval_candidates": "all"}, "eval_candidates | all | scenario"),
        ({"eval_args": {"split": {"RS": [0.6, 0.2, 0.2]}}}, "eval_args.split | 0.6 | 0.8"),
        ({"scenario": "warm"}, "scenario | item_cold | warm"),
        ({"topk": [4], "valid_metric": "NDCG@4"}, "'ndcg@5' | ndcg@4"),
    ],
)
def test_runs_that_do_not_compare_are_in_no_study(toy, capsys, rates, options, message):
    toy = without_preset({**toy, "epochs": 1})
    runs = [run("ContentRidge", "toy", None, toy), run("KernelRidge", "toy", None, {**toy, **options})]
    command = ["missing", *(f"results/{result.name}" for result in runs), *rates, "--output", "out"]
    assert main(command) == 2
    assert names(capsys.readouterr().err, message) and not list(Path("out").glob("*.csv"))


def test_runs_of_other_lengths_are_compared_by_a_metric_that_all_have(toy):
    toy = without_preset({**toy, "epochs": 1})
    other = {"topk": [5, 4], "valid_metric": "NDCG@4"}
    runs = [run("ContentRidge", "toy", None, toy), run("KernelRidge", "toy", None, {**toy, **other})]
    assert main(["missing", *(f"results/{result.name}" for result in runs), "--rates", "0", "--output", "out"]) == 0
    assert pd.read_csv("out/rates-mean.csv")["ndcg@5"].notna().all()
