"""Every general recommender of RecBole runs under the protocol, or is refused with the reason."""

import math

import pytest

from recbole_sibrar.data.splits import COLD_SIDE, SCENARIOS
from recbole_sibrar.errors import OptionError
from recbole_sibrar.recbole_plugin.capabilities import CONTENT_FREE, general_recommenders
from recbole_sibrar.recbole_plugin.config import OUR_MODELS
from recbole_sibrar.recbole_plugin.run import UNSERVED, run

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
        return
    result = run(model, dataset, None, options)
    assert all(math.isfinite(value) for value in result.test_result.values())
    if model not in CONTENT_FREE:
        assert list(result.cold_fallback) == ([COLD_SIDE[scenario]] if scenario in COLD_SIDE else [])


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("model", BUILT_IN)
def test_runs_one_epoch(tiny, model, scenario):
    runs_one_epoch(model, "tiny", scenario, tiny.options())


@pytest.mark.slow
@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("model", BUILT_IN)
def test_runs_one_epoch_on_ml_100k(model, scenario):
    runs_one_epoch(model, "ml-100k", scenario, {"state": "ERROR", "show_progress": False})


@pytest.mark.skipif("NCL" in UNSERVED, reason="NCL needs faiss")
def test_more_clusters_than_users(tiny):
    with pytest.raises(OptionError, match="num_clusters is 1000, but tiny has 40 users and 30 items"):
        run("NCL", "tiny", None, tiny.options())
