"""Every general recommender of RecBole runs under the protocol, or is refused with the reason."""

import math

import pytest

from recbole_sibrar.errors import OptionError
from recbole_sibrar.recbole_plugin.config import OUR_MODELS
from recbole_sibrar.recbole_plugin.run import UNSERVED, run
from recbole_sibrar.recbole_plugin.touchpoints import general_recommenders

SMALL = {
    "ConvNCF": {"cnn_channels": [1, 4, 4], "cnn_kernels": [2, 2], "cnn_strides": [2, 2]},
    "DGCF": {"train_batch_size": 64},
    "LDiffRec": {"n_cate": 1},
    "NCL": {"num_clusters": 3},
}


@pytest.mark.parametrize("scenario", ["warm", "user_cold", "item_cold"])
@pytest.mark.parametrize("model", [name for name in general_recommenders() if name not in OUR_MODELS])
def test_runs_one_epoch(tiny, model, scenario):
    if model in UNSERVED:
        with pytest.raises(OptionError, match=f"{model} cannot be run"):
            run(model, "tiny", None, tiny.options())
        return
    result = run(model, "tiny", None, tiny.options(scenario=scenario, epochs=1, **SMALL.get(model, {})))
    assert all(math.isfinite(value) for value in result.test_result.values())
