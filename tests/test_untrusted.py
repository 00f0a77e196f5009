"""Whatever lies in a folder of results or data, nothing of it is executed."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from recbole_sibrar import cli
from recbole_sibrar.errors import OptionError
from recbole_sibrar.recbole_plugin.quick_start import load_data_and_model
from recbole_sibrar.recbole_plugin.run import run
from recbole_sibrar.serving.recommender import Recommender

BAIT = Path("executed")


class Bait:
    """Leaves a file behind when it is unpickled."""

    def __reduce__(self):
        return Path.touch, (BAIT,)


def lay_out(folder, *names):
    Path(folder).mkdir(parents=True, exist_ok=True)
    for name in names:
        (Path(folder) / name).write_bytes(pickle.dumps(Bait()))


def names(model):
    classes = (f"{model}Dataset", "ScenarioDataset", "GeneralDataset", "Dataset", "SequentialDataset")
    return [*(f"tiny-{name}.pth" for name in classes), f"tiny-for-{model}-dataloader.pth"]


@pytest.mark.parametrize("model", ["BPR", "SiBraR"])
def test_nothing_beside_a_checkpoint_or_the_data_is_unpickled(tiny, model):
    settings = tiny.options(run_name="r")
    for folder in ("results/r", "saved", tiny.folder / "tiny"):
        lay_out(folder, *names(model))
    run(model, "tiny", None, settings)
    load_data_and_model("results/r/model.pth")
    Recommender.load("results/r/model.pth")
    assert not BAIT.exists()


def test_recbole_alone_unpickles_neither(tiny):
    from recbole.config import Config
    from recbole.data import create_dataset, data_preparation

    from recbole_sibrar.recbole_plugin.config import command_line_hidden

    lay_out("saved", *names("BPR"))
    lay_out(".", "cache.pth")
    given = {"data_path": str(tiny.folder), "checkpoint_dir": "saved", "dataset_save_path": "cache.pth"}
    with command_line_hidden():
        config = Config("BPR", "tiny", config_dict={**given, "dataloaders_save_path": "cache.pth"})
    train_data, _, _ = data_preparation(config, create_dataset(config))
    assert len(train_data.dataset) > 0 and not BAIT.exists()


def test_a_checkpoint_that_names_pickles_is_refused(tiny, capsys):
    lay_out(".", "bait.pkl")
    run("BPR", "tiny", None, tiny.options(run_name="r"))
    state = torch.load("results/r/model.pth", weights_only=True)
    for name in ("dataset_save_path", "dataloaders_save_path"):
        torch.save({**state, "config": {**state["config"], name: "bait.pkl"}}, "changed.pth")
        cli.main(["recommend", "--checkpoint", "changed.pth", "--users", "u1"])
    torch.save({**state, "other_parameter": Bait()}, "changed.pth")
    assert cli.main(["recommend", "--checkpoint", "changed.pth", "--users", "u1"]) == 2
    assert "not a checkpoint of plain data" in capsys.readouterr().err and not BAIT.exists()


def test_a_changed_binary_copy_of_vectors_is_made_again(tiny):
    settings = tiny.options(scenario="item_cold")
    before = run("SiBraR", "tiny", None, settings)
    cache = tiny.folder / "tiny" / ".tiny.picture.cache"
    for name in ("ids", "values"):
        np.save(cache / f"{name}.npy", np.array([Bait()], dtype=object), allow_pickle=True)
        assert run("SiBraR", "tiny", None, settings).test_result == before.test_result
    assert not BAIT.exists()


def test_item_embeddings_of_ldiffrec_are_numbers(tiny):
    np.save(tiny.folder / "tiny" / "item_emb.npy", np.array([Bait()], dtype=object), allow_pickle=True)
    with pytest.raises(OptionError, match="allow_pickle=False"):
        run("LDiffRec", "tiny", None, tiny.options(n_cate=2))
    assert not BAIT.exists()
