"""Data are what they are and not the order of their lines; a run knows the data that it read."""

import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import naming
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.utils import get_model, get_trainer

from recbole_sibrar import cli
from recbole_sibrar.data.identity import modality_digest
from recbole_sibrar.data.modalities import Modality
from recbole_sibrar.errors import DataError
from recbole_sibrar.recbole_plugin.config import command_line_hidden
from recbole_sibrar.recbole_plugin.prepared import make_config, prepare, prepare_trained
from recbole_sibrar.recbole_plugin.quick_start import load_data_and_model
from recbole_sibrar.recbole_plugin.run import run
from recbole_sibrar.recbole_plugin.trainer import ProtocolTrainer
from recbole_sibrar.scenarios import COMPARED
from recbole_sibrar.serving.recommender import Recommender

FILES = ("inter", "user", "item", "picture")


def shuffle(tiny, *suffixes, seed=0):
    """Put the lines below the header in another order."""
    for suffix in suffixes:
        path = tiny.folder / "tiny" / f"tiny.{suffix}"
        header, *lines = path.read_text().splitlines()
        order = np.random.default_rng(seed).permutation(len(lines))
        path.write_text("\n".join([header, *(lines[place] for place in order)]) + "\n")


def change(tiny, suffix, old, new):
    path = tiny.folder / "tiny" / f"tiny.{suffix}"
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))


def read(tiny, model="SiBraR", **options):
    options |= {"single_branch": "both"} if model == "SiBraR" else {}
    return prepare(make_config(model, "tiny", None, tiny.options(**options))).dataset.read


@pytest.mark.parametrize("scenario", COMPARED)
@pytest.mark.parametrize("model", ["SiBraR", "DropoutNet", "BPR", "MultiVAE"])
def test_the_order_of_lines_changes_nothing(tiny, scenario, model):
    first = run(model, "tiny", None, tiny.options(scenario=scenario, run_name="first"))
    shuffle(tiny, *FILES)
    second = run(model, "tiny", None, tiny.options(scenario=scenario, run_name="second"))
    assert first.test_result == second.test_result and first.valid_result == second.valid_result
    pd.testing.assert_frame_equal(*(pd.read_csv(f"results/{name}/per_user.csv") for name in ("first", "second")))


@pytest.mark.parametrize("order, benchmark", [("RO", None), ("TO", None), ("RO", ["a", "b", "c"])])
def test_nor_with_times_and_ratings_nor_in_files_of_splits(tiny, order, benchmark):
    rng = np.random.default_rng(0)
    lines = [f"u{u}\ti{i}\t{rng.integers(1, 6)}\t{1e9 + rng.integers(3)}" for u, i in tiny.pairs]
    header = "user_id:token\titem_id:token\trating:float\ttimestamp:float"
    names = ["inter"] if benchmark is None else [f"{name}.inter" for name in benchmark]
    for number, name in enumerate(names):
        tiny.file(name, header, lines[number :: len(names)])
    settings = tiny.options(benchmark_filename=benchmark, eval_args={"order": order, "split": {"RS": [0.8, 0.1, 0.1]},
                                                                     "group_by": "user", "mode": "full"})  # fmt: skip
    outcomes = []
    for seed in (0, 1):
        shuffle(tiny, *names, seed=seed)
        ready = prepare(make_config("BPR", "tiny", None, settings))
        outcomes.append([ready.dataset.read, *(loader._dataset.inter_feat["item_id"] for loader in ready.loaders)])
    assert outcomes[0][0] == outcomes[1][0]
    assert all(torch.equal(*pair) for pair in zip(outcomes[0][1:], outcomes[1][1:]))


@pytest.mark.parametrize(
    "suffix, old, new, part",
    [
        ("inter", "u1\ti25", "u1\ti2", "interactions"),
        ("inter", "\nu40\ti24", "", "interactions"),
        ("user", "u3\tM", "u3\tF", "user gender"),
        ("user", "u3\tM\t23", "u3\tM\t24", "user age"),
        ("item", "i3\tgroup1 any", "i3\tgroup1", "item genres"),
        ("item", "i4\tgroup0 any\t1994", "i4\tgroup0 any\t", "item year"),
        ("picture", "i7\t1.0 1.5", "i7\t1.0 1.25", "item picture"),
    ],
)
def test_a_change_shows_in_the_part_that_it_is_in(tiny, suffix, old, new, part):
    before = read(tiny)
    assert set(before) == {"interactions", "user gender", "user age", "item genres", "item year", "item picture"}
    change(tiny, suffix, old, new)
    after = read(tiny)
    assert {name for name in before if before[name] != after[name]} == {part}


def test_only_what_is_read_counts(tiny):
    before = read(tiny, item_modalities=["genres"])
    assert set(before) == {"interactions", "item genres", "user gender", "user age"}
    change(tiny, "picture", "i7\t1.0 1.5", "i7\t1.0 1.25")
    change(tiny, "item", "i4\tgroup0 any\t1994", "i4\tgroup0 any\t1995")
    assert read(tiny, item_modalities=["genres"]) == before
    assert set(read(tiny, "BPR")) == {"interactions"}


def test_what_is_missing_does_not_count_and_storage_neither(tiny):
    assert read(tiny, vector_storage="disk") == read(tiny, missing={"rate": 0.5})
    available = torch.tensor([False, True, False, True])
    values = torch.arange(8, dtype=torch.float16).view(4, 2)
    digests = set()
    for stored in (values, values.float(), torch.where(available.unsqueeze(1), values, 7)):
        digests.add(modality_digest(Modality("v", "vector", available, stored, 2)))
    assert len(digests) == 1


OURS_AND_THEIRS = ["SiBraR", "MuBraR", "CLCRec", "DropoutNet", "ContentRidge", "BPR", "MultiVAE", "LightGCN"]


@pytest.mark.parametrize("model", OURS_AND_THEIRS)
def test_a_checkpoint_serves_alike_whatever_happens_to_the_files(tiny, model):
    run(model, "tiny", None, tiny.options(scenario="item_cold", run_name="r"))

    def recommended():
        return Recommender.load("results/r/model.pth").recommend(["u1", "u2"], k=5)

    first = recommended()
    shuffle(tiny, *FILES)
    pd.testing.assert_frame_equal(recommended(), first)
    change(tiny, "inter", "u1\ti25", "u1\ti2")
    tiny.interactions("inter", tiny.pairs[:50])
    pd.testing.assert_frame_equal(recommended(), first)
    shutil.rmtree(tiny.folder)
    pd.testing.assert_frame_equal(recommended(), first)


def test_a_checkpoint_does_without_options_that_a_preset_has_had_since(tiny):
    """``new_user_kernel`` stands in for an option that was unknown when the checkpoint was written."""
    options = {"preset": "strong", "scenario": "user_cold", "single_branch": "both", "epochs": 1}
    run("SiBraR", "tiny", None, tiny.options(run_name="r", **options))
    state = torch.load("results/r/model.pth", weights_only=False)
    assert state["config"].pop("new_user_kernel") > 0
    torch.save(state, "results/r/model.pth")
    for model in (
        prepare_trained("results/r/model.pth").model,
        Recommender.load("results/r/model.pth").model,
    ):
        assert model.options.new_user_kernel == 0 and model.options.interaction_ridge > 0


@pytest.mark.parametrize("model", ["SiBraR", "DropoutNet", "BPR", "MultiVAE"])
def test_a_trained_model_meets_its_own_data_again_or_is_refused(tiny, model):
    result = run(model, "tiny", None, tiny.options(run_name="r", epochs=1))
    shuffle(tiny, *FILES)
    _, trained, _, _, _, test_data = load_data_and_model("results/r/model.pth")
    config = make_config(model, "tiny", None, tiny.options(epochs=1))
    trainer = prepare(config).trainer
    trainer.model = trained
    assert trainer.evaluate(test_data, load_best_model=False) == result.test_result
    tiny.interactions("inter", [*tiny.pairs, (1, 2)])
    other = prepare(config)
    train, _, test = other.loaders
    other.trainer.resume_checkpoint("results/r/model.pth")
    for refused in (
        lambda: load_data_and_model("results/r/model.pth"),
        lambda: other.trainer.evaluate(test, model_file="results/r/model.pth"),
        lambda: other.trainer.fit(train),
    ):
        with pytest.raises(DataError, match=naming("model.pth | interactions | 'tiny'")):
            refused()


def test_a_model_is_not_evaluated_on_what_it_was_trained_on(tiny):
    run("SiBraR", "tiny", None, tiny.options(run_name="r", scenario="item_cold", epochs=1, fit="all", seed=2020))
    same, other = (
        prepare(make_config("SiBraR", "tiny", None, tiny.options(scenario="item_cold", seed=seed)))
        for seed in (2020, 5)
    )
    same.trainer.evaluate(same.loaders[2], model_file="results/r/model.pth")
    for ready, file in ((other, "model.pth"), (same, "model-all.pth")):
        with pytest.raises(DataError, match=naming(f"{file} | trained on | evaluated on")):
            ready.trainer.evaluate(ready.loaders[2], model_file=f"results/r/{file}")


def test_recbole_alone_refuses_other_data_too(tiny):
    """Without a scenario users and items are numbered by the lines, as RecBole does it."""
    with command_line_hidden():
        config = Config("BPR", "tiny", config_dict={**tiny.options(), "checkpoint_dir": "saved"})
    train_data, valid_data, _ = data_preparation(config, create_dataset(config))
    trainer = get_trainer(config["MODEL_TYPE"], "BPR")(config, get_model("BPR")(config, train_data._dataset))
    trainer.fit(train_data, valid_data, verbose=False)
    path = trainer.saved_model_file
    again = get_trainer(config["MODEL_TYPE"], "BPR")(config, trainer.model)
    assert again.saved_model_file != path  # although RecBole names both by the same second
    first = Recommender.load(path).recommend(["u1"], k=5)
    load_data_and_model(path)
    shuffle(tiny, "inter")
    with pytest.raises(DataError, match="made from other data: interactions"):
        load_data_and_model(path)
    pd.testing.assert_frame_equal(Recommender.load(path).recommend(["u1"], k=5), first)


@pytest.mark.parametrize("suffix, old, new, part", [("inter", "u1\ti25", "u1\ti2", "interactions"),
                                                   ("item", "i3\tgroup1 any", "i3\tany", "item genres")])  # fmt: skip
def test_missing_and_gap_refuse_other_data(tiny, capsys, suffix, old, new, part):
    run("SiBraR", "tiny", None, tiny.options(scenario="item_cold", run_name="r"))
    change(tiny, suffix, old, new)
    for command in ("missing", "gap"):
        assert cli.main([command, "results/r"]) == 2
        assert f"other data: {part} of 'tiny' changed" in capsys.readouterr().err


def test_resuming_with_other_data_is_refused(tiny, monkeypatch):
    settings = tiny.options(epochs=4, run_name="r")
    original = ProtocolTrainer._valid_epoch

    def interrupt(self, *args, **kwargs):
        if self.n_finished_epochs == 3:
            raise KeyboardInterrupt
        return original(self, *args, **kwargs)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(ProtocolTrainer, "_valid_epoch", interrupt)
        run("SiBraR", "tiny", None, settings)
    whole = run("SiBraR", "tiny", None, {**settings, "run_name": "whole"})
    change(tiny, "user", "u3\tM", "u3\tF")
    change(tiny, "picture", "i7\t1.0 1.5", "i7\t1.0 1.25")
    with pytest.raises(DataError, match=naming("progress.pth | picture | 'tiny'")):
        run("SiBraR", "tiny", None, {**settings, "resume": True})
    change(tiny, "picture", "i7\t1.0 1.25", "i7\t1.0 1.5")
    shuffle(tiny, *FILES)
    assert run("SiBraR", "tiny", None, {**settings, "resume": True}).test_result == whole.test_result
