"""--fit=all: validation chooses on the split, then everything is trained on; no test figure belongs to that model."""

from pathlib import Path

import pytest
import torch
from shop import Shop

from recbole_sibrar import Dataset
from recbole_sibrar.checkpoint import load
from recbole_sibrar.cli import main
from recbole_sibrar.errors import CheckpointError, OptionError
from recbole_sibrar.recbole_plugin.quick_start import load_data_and_model
from recbole_sibrar.recbole_plugin.run import run
from recbole_sibrar.serving.recommender import Recommender

MODELS = [("SiBraR", "item_cold"), ("KernelRidge", "item_cold"), ("DropoutNet", "user_cold"), ("BPR", "warm")]


@pytest.mark.parametrize("model, scenario", MODELS)
def test_everything_is_trained_on_for_as_many_epochs_as_were_best(tiny, model, scenario):
    options = tiny.options(scenario=scenario, epochs=3)
    split = run(model, "tiny", None, {**options, "run_name": "split"})
    result = run(model, "tiny", None, {**options, "run_name": "all", "fit": "all"})
    assert result.test_result == split.test_result and result.history == split.history
    chosen, whole = (load(f"results/all/{name}.pth") for name in ("model", "model-all"))
    assert whole["epoch"] == chosen["epoch"] == load("results/split/model.pth")["epoch"]
    assert whole["trained_on"] == "everything; no test figure belongs to it" != chosen["trained_on"]
    n_interactions = len(set(tiny.pairs))
    assert len(whole["serving"]["interactions"]["columns"]) == n_interactions
    assert len(chosen["serving"]["interactions"]["columns"]) < n_interactions
    assert Recommender.load("results/all/model-all.pth").recommend(["u1"], k=30)["item"].nunique() == 30 - 11
    with pytest.raises(CheckpointError, match="no test figure belongs to it"):
        load_data_and_model("results/all/model-all.pth")
    assert "model-all.pth was trained on everything" in result.table()


def test_a_penalty_on_everything_is_the_regression_on_everything(tiny):
    """With as many epochs asked for as were best, a run whose training split were everything would be the same."""
    run("ContentRidge", "tiny", None, tiny.options(scenario="item_cold", epochs=6, fit="all", run_name="all"))
    whole = load("results/all/model-all.pth")
    core = Recommender.load("results/all/model-all.pth").model
    assert float(core.solved_for) == pytest.approx(1000 * 0.6 ** whole["epoch"])
    assert core.trained("item").sum() == tiny.n_items and core.trained("user").sum() == tiny.n_users


def test_from_python_and_from_the_command_line(capsys):
    shop = Shop()
    data = Dataset.from_frames(shop.orders, items=shop.products, folder="kept/shop", **shop.columns)
    model = data.fit("ContentRidge", scenario="item_cold", fit="all")
    with pytest.raises(OptionError, match="no test figure belongs to it"):
        model.evaluate()
    assert model.result.test_result["ndcg@10"] > 0.5
    options = ["--dataset=shop", "--data_path=kept", "--scenario=item_cold", "--show_progress=False", "--state=ERROR"]
    assert main(["run", "--model=ContentRidge", "--fit=all", *options]) == 0
    printed = capsys.readouterr().out
    assert "model-all.pth was trained on everything; no test figure belongs to it" in printed
    assert "model.pth, model-all.pth\n" in printed and "model-all.pth --users" in printed
    (path,) = Path("results").glob("*/model-all.pth")
    states = [load(path)["state_dict"], model.recommender._state["state_dict"]]
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
    assert main(["run", "--model=ContentRidge", "--fit=most", *options]) == 2


def test_it_says_how_far_it_is_as_the_first_training_does(tiny, capsys):
    run("BPR", "tiny", None, tiny.options(scenario="warm", fit="all", run_name="all", show_progress=True))
    assert "Train" not in capsys.readouterr().err  # RecBole's bars


def test_a_run_without_it_leaves_no_such_model_of_an_earlier_run(tiny):
    for fit in ("all", "split"):
        run("Pop", "tiny", None, tiny.options(scenario="warm", fit=fit, run_name="same"))
    assert not Path("results/same/model-all.pth").exists() and Path("results/same/model.pth").exists()
