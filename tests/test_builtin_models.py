"""Every general recommender of RecBole runs under the protocol, or is refused with the reason."""

import math
import shutil

import pandas as pd
import pytest
import torch
from conftest import naming
from recbole.quick_start import run_recbole

from recbole_sibrar.errors import OptionError
from recbole_sibrar.recbole_plugin.capabilities import CONTENT_FREE, UNSERVED, general_recommenders
from recbole_sibrar.recbole_plugin.config import OUR_MODELS
from recbole_sibrar.recbole_plugin.quick_start import load_data_and_model
from recbole_sibrar.recbole_plugin.run import run
from recbole_sibrar.recbole_plugin.serving import known_only
from recbole_sibrar.scenarios import COMPARED, SCENARIOS
from recbole_sibrar.serving.recommender import Recommender

BUILT_IN = [name for name in general_recommenders() if name not in OUR_MODELS]
FITTING = {
    "tiny": {
        "ConvNCF": {"cnn_channels": [1, 4, 4], "cnn_kernels": [2, 2], "cnn_strides": [2, 2]},
        "DGCF": {"train_batch_size": 64},
        "LDiffRec": {"n_cate": 1},
        "NCL": {"num_clusters": 3},
    },
    "ml-100k": {"NCL": {"num_clusters": 100}},
}


def runs_one_epoch(model, dataset, scenario, options):
    options = {**options, **FITTING[dataset].get(model, {}), "scenario": scenario, "epochs": 1}
    if model in UNSERVED:
        with pytest.raises(OptionError, match=f"{model} cannot be run"):
            run(model, dataset, None, options)
        return None
    result = run(model, dataset, None, options)
    assert all(math.isfinite(value) for value in result.test_result.values())
    assert result.n_parameters > 1 or model == "Random"
    if model not in CONTENT_FREE:
        assert list(result.cold_fallback) == list(SCENARIOS[scenario].cold_sides)
    return f"results/{result.name}/model.pth"


@pytest.mark.parametrize("scenario", ["user_cold", "item_cold"])
@pytest.mark.parametrize("model", BUILT_IN)
def test_runs_one_epoch(tiny, model, scenario):
    runs_one_epoch(model, "tiny", scenario, tiny.options())


def test_what_a_closed_form_solves_for_is_counted(tiny):
    result = run("EASE", "tiny", None, tiny.options())
    assert result.n_parameters == (1 + result.data_counts["items"]) ** 2 and result.is_solved


def recommended(recommender):
    torch.manual_seed(0)
    return recommender.recommend(["u1", "u2", "u30"], k=4)


@pytest.mark.parametrize("model", BUILT_IN)
def test_runs_one_epoch_when_warm_and_serves_without_the_data(tiny, model):
    path = runs_one_epoch(model, "tiny", "warm", tiny.options())
    if path is None:
        return
    _, trained, *_ = load_data_and_model(path)
    served = Recommender.load(path)
    directory = served.directory
    expected = recommended(known_only(trained, directory.tokens, directory.interactions, served.state()))
    shutil.rmtree(tiny.folder)
    served.save("again.pth")
    for file in (path, "again.pth"):
        pd.testing.assert_frame_equal(recommended(Recommender.load(file)), expected)


@pytest.mark.slow
@pytest.mark.parametrize("scenario", COMPARED)
@pytest.mark.parametrize("model", BUILT_IN)
def test_runs_one_epoch_on_ml_100k(model, scenario):
    runs_one_epoch(model, "ml-100k", scenario, {"state": "ERROR", "show_progress": False})


def test_a_model_that_cannot_be_run_is_refused_by_recboles_own_function(tiny):
    with pytest.raises(OptionError, match="RaCT cannot be run"):
        run_recbole(model="RaCT", dataset="tiny", config_dict=tiny.options(scenario="warm"))


@pytest.mark.skipif("NCL" in UNSERVED, reason="NCL needs faiss")
def test_more_clusters_than_users(tiny):
    with pytest.raises(OptionError, match=naming("num_clusters | 1000 | 40 | 30")):
        run("NCL", "tiny", None, tiny.options())
    with pytest.raises(OptionError, match=naming("num_clusters | 1000 | 40 | 30")):
        run_recbole(model="NCL", dataset="tiny", config_dict=tiny.options())
