"""Interrupted runs."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import naming

from recbole_sibrar import checkpoint
from recbole_sibrar.errors import OptionError
from recbole_sibrar.models import optimizer
from recbole_sibrar.recbole_plugin.run import run
from recbole_sibrar.recbole_plugin.trainer import ProtocolTrainer


@pytest.mark.parametrize(
    "model, options",
    [
        ("SiBraR", {}),
        ("SiBraR", {"preset": "strong", "input_dropout": 0.3}),
        ("CLCRec", {}),
        ("DropoutNet", {}),
        ("ContentRidge", {}),
        ("KernelRidge", {}),
        ("LinearAutoencoder", {}),
        ("BPR", {}),
        ("MultiVAE", {}),
    ],
)
@pytest.mark.parametrize("stop", [1, 3])
def test_a_resumed_run_ends_as_an_uninterrupted_one(tiny, monkeypatch, model, options, stop):
    settings = tiny.options(epochs=6, **options)
    whole = run(model, "tiny", None, {**settings, "run_name": "whole"})
    original = ProtocolTrainer._valid_epoch

    def interrupt(self, *args, **kwargs):
        if self.n_finished_epochs == stop + 1:
            raise KeyboardInterrupt
        return original(self, *args, **kwargs)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(ProtocolTrainer, "_valid_epoch", interrupt)
        run(model, "tiny", None, {**settings, "run_name": "broken"})
    assert Path("results/broken/progress.pth").is_file()
    resumed = run(model, "tiny", None, {**settings, "run_name": "broken", "resume": True})
    assert resumed.test_result == whole.test_result and resumed.valid_result == whole.valid_result
    assert [entry["valid"] for entry in resumed.history] == [entry["valid"] for entry in whole.history]
    assert [entry["loss"] for entry in resumed.history] == pytest.approx([entry["loss"] for entry in whole.history])
    assert resumed.n_epochs == 6 and not Path("results/broken/progress.pth").exists()


@pytest.mark.parametrize("model", ["ContentRidge", "LinearAutoencoder"])
def test_of_a_closed_form_the_best_penalty_is_written_once(tiny, monkeypatch, model):
    written, original = [], checkpoint.save
    monkeypatch.setattr(
        checkpoint, "save", lambda path, *rest, **more: (written.append(path), original(path, *rest, **more))
    )
    settings = tiny.options(epochs=6, stopping_step=6)
    whole = run(model, "tiny", None, {**settings, "run_name": "whole"})
    assert sum(Path(path).name == "model.pth" for path in written) == 1
    best = checkpoint.load("results/whole/model.pth")["epoch"] + 1
    assert max(whole.history, key=lambda entry: entry["valid"])["epoch"] == best
    short = run(model, "tiny", None, {**settings, "epochs": best, "run_name": "short"})
    assert short.test_result == whole.test_result


@pytest.mark.parametrize("model", ["SiBraR", "CLCRec"])
def test_large_tables_too(tiny, monkeypatch, model):
    monkeypatch.setattr(optimizer, "LARGE_FROM", 1)
    monkeypatch.setattr(optimizer, "COST_OF_A_ROW", 0)
    test_a_resumed_run_ends_as_an_uninterrupted_one(tiny, monkeypatch, model, {"train_batch_size": 32}, stop=3)


def test_the_seconds_before_an_interruption_count(tiny, monkeypatch):
    settings, original = tiny.options(epochs=3, run_name="r"), ProtocolTrainer._valid_epoch

    def interrupt(self, *args, **kwargs):
        if self.n_finished_epochs == 2:
            raise KeyboardInterrupt
        self.seconds["train"] = [100.0]
        return original(self, *args, **kwargs)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(ProtocolTrainer, "_valid_epoch", interrupt)
        run("BPR", "tiny", None, settings)
    seconds = run("BPR", "tiny", None, {**settings, "resume": True}).seconds
    assert 100 < seconds["training"] < 200 and seconds["epoch"] == pytest.approx(100 / 3, abs=5)


def test_resuming_with_other_options_is_refused(tiny, monkeypatch):
    settings = tiny.options(epochs=4, run_name="r")

    def interrupt(self, *args, **kwargs):
        if self.n_finished_epochs == 2:
            raise KeyboardInterrupt
        return {"ndcg@3": 0.5}

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(ProtocolTrainer, "evaluate", interrupt)
        run("SiBraR", "tiny", None, settings)
    with pytest.raises(OptionError, match=naming("embedding_size=8 | 16")):
        run("SiBraR", "tiny", None, {**settings, "embedding_size": 16, "resume": True})


def test_kill_at_any_moment_leaves_a_readable_checkpoint(tiny):
    arguments = [f"--{key}={value}" for key, value in tiny.options(epochs=10_000, stopping_step=10_000).items()]
    command = [sys.executable, "-m", "recbole_sibrar.cli", "run", "--dataset=tiny", "--run_name=r", *arguments]
    for seconds in (0.0, 0.13, 0.31):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        progress = Path("results/r/progress.pth")
        deadline = time.time() + 60
        while not progress.exists() and time.time() < deadline:
            time.sleep(0.02)
        time.sleep(seconds)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert checkpoint.load("results/r/model.pth")["epoch"] >= 0
        assert checkpoint.load(progress)["next_epoch"] >= 1
