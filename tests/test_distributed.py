"""Runs of several processes: the same gradients and metrics as one, one writer, and an end when a process dies."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from multiprocessing.forkserver import _forkserver
from pathlib import Path

import pytest
import torch
from conftest import SOFTMAX, naming

from recbole_sibrar import checkpoint
from recbole_sibrar.cli import main
from recbole_sibrar.errors import DataError, OptionError
from recbole_sibrar.models import optimizer
from recbole_sibrar.recbole_plugin import distributed
from recbole_sibrar.recbole_plugin.distributed import World
from recbole_sibrar.recbole_plugin.prepared import make_config, prepare
from recbole_sibrar.recbole_plugin.run import run
from recbole_sibrar.recbole_plugin.trainer import ProtocolTrainer

NO_DRAWS = {"interaction_dropout": 0.0, "softmax_targets": "all", "input_dropout": 0.0}
# For whole runs: in many steps rounding grows, and with batch normalisation in a few.
CALM = {**NO_DRAWS, "batch_norm": False, "train_batch_size": 512}
LOSSES = {"bpr": {}, "softmax": SOFTMAX}
TWO = World.of({"nproc": 2})


def in_two(function, *arguments):
    return distributed.launch(TWO, function, arguments)


# gradients

STEPS = {
    f"{model} {variant} {loss}": (model, {"variant": variant, **LOSSES[loss], **NO_DRAWS})
    for model in ("SiBraR", "MuBraR")
    for variant in ("base", "SC")
    for loss in LOSSES
} | {
    "sampled softmax": ("SiBraR", {**SOFTMAX, "softmax_negatives": 7, "contrastive_batch_size": 9, **NO_DRAWS}),
    "strong": ("SiBraR", {"preset": "strong", **NO_DRAWS}),
    "strong, many branches": ("MuBraR", {"preset": "strong", "single_branch": "both", **NO_DRAWS}),
    "batch norm": ("MuBraR", {"batch_norm": True, "encoder_hidden_sizes": [8], "single_branch": "both", **NO_DRAWS}),
    "CLCRec item": ("CLCRec", {}),
    "CLCRec user": ("CLCRec", {"content_side": "user"}),
    "DropoutNet": ("DropoutNet", {}),
    "MF": ("MF", {}),
    "BPR": ("BPR", {}),
}


def gradients(settings):
    """{step: (loss, gradients, batch statistics)} of the second batch of each of ``STEPS``."""
    found = {}
    for name, (model, options) in STEPS.items():
        ready = prepare(make_config(model, "tiny", None, {**settings, "train_batch_size": 21, **options}))
        train_data = ready.loaders[0]
        if hasattr(ready.model, "pretrain"):
            distributed.main_first(lambda model=ready.model, config=ready.config: model.pretrain(config))
        loss_function = distributed.shared_loss(ready.model) or ready.model.calculate_loss
        ready.model.train()
        for batch in list(train_data)[:2]:
            ready.model.zero_grad()
            terms = loss_function(batch.to(ready.config["device"]))
            loss = sum(terms) if isinstance(terms, tuple) else terms
            loss.backward()
        state = {
            key: value
            for key, value in ready.model.state_dict().items()
            if key.endswith(("running_mean", "running_var"))
        }
        gradient = {key: parameter.grad for key, parameter in ready.model.named_parameters()}
        found[name] = distributed.mean(loss.item()), gradient, state
    return found


def test_gradients_are_those_of_one_process(tiny):
    settings = tiny.options()
    alone, shared = gradients(settings), in_two(gradients, settings)
    for name in STEPS:
        assert shared[name][0] == pytest.approx(alone[name][0], rel=1e-5), name
        for kind in (1, 2):
            assert shared[name][kind].keys() == alone[name][kind].keys()
            for key, value in alone[name][kind].items():
                found = shared[name][kind][key]
                # not 0: a bias before batch normalisation has no gradient but rounding's
                assert torch.allclose(found, value, rtol=1e-4, atol=5e-6), (name, key, (found - value).abs().max())
    assert len(alone["batch norm"][2]) > 0


def one_row():
    table = torch.ones(1, 1, requires_grad=True)
    rows = distributed.shared_rows(lambda own: own * 3, table)
    rows.sum().backward()
    return rows.tolist(), distributed.gather(table.grad.tolist())


def test_a_share_may_be_empty():
    """The gradients of the two processes have the mean 3."""
    assert in_two(one_row) == ([[3.0]], [[[0.0]], [[6.0]]])


# whole runs

RUNS = [
    ("SiBraR", {"temperature": 10.0, **CALM}),  # cold, the inner products of InfoNCE blow rounding up
    ("SiBraR", {"preset": "strong", **CALM}),
    ("SiBraR", {"variant": "base", "scenario": "item_cold", **CALM}),
    ("MuBraR", {"scenario": "user_cold", "single_branch": "both", **CALM}),
    ("CLCRec", {"scenario": "item_cold"}),
    ("DropoutNet", {}),
    ("BPR", {"metrics": ["NDCG", "Coverage", "Hit", "ItemCoverage", "GiniIndex"]}),
]


def whole_runs(settings):
    return [
        run(model, "tiny", None, {**settings, **options, "run_name": f"r{n}"})
        for n, (model, options) in enumerate(RUNS)
    ]


def same_result(found, expected):
    assert found.n_epochs == expected.n_epochs
    assert [e["loss"] for e in found.history] == pytest.approx([e["loss"] for e in expected.history], rel=1e-4)
    assert [e["valid"] for e in found.history] == pytest.approx([e["valid"] for e in expected.history], abs=1e-5)
    assert found.test_result == pytest.approx(expected.test_result, abs=1e-5)
    assert found.valid_result == pytest.approx(expected.valid_result, abs=1e-5)


def test_results_are_those_of_one_process_also_across_machines(tiny):
    """The machines are two launches; training stops early in some of the runs, so all processes must decide alike."""
    settings = tiny.options(epochs=6, stopping_step=1)
    alone = whole_runs({**settings, "output_dir": "alone"})
    worlds = [World(size=2, n_local=1, offset=offset, ip="localhost", port=free_port()) for offset in (0, 1)]
    worlds[1] = World(2, 1, 1, "localhost", worlds[0].port)
    results = [None, "nothing"]

    def machine(offset):
        results[offset] = distributed.launch(worlds[offset], whole_runs, ({**settings, "output_dir": "shared"},))

    machines = [threading.Thread(target=machine, args=(offset,)) for offset in (0, 1)]
    for thread in machines:
        thread.start()
    for thread in machines:
        thread.join()
    assert results[1] is None
    for found, expected in zip(results[0], alone):
        same_result(found, expected)
        folders = [Path(where) / expected.name for where in ("alone", "shared")]
        assert folders[0].joinpath("per_user.csv").read_text() == folders[1].joinpath("per_user.csv").read_text()
        assert {path.name for path in folders[1].iterdir()} == {
            "result.json",
            "per_user.csv",
            "per_item.csv",
            "model.pth",
        }
    assert any(result.n_epochs < 6 for result in alone)


def free_port():
    return torch.distributed.TCPStore("localhost", 0, is_master=True, wait_for_workers=False).port


def run_with_large_tables(settings):
    optimizer.LARGE_FROM, before = 1, optimizer.LARGE_FROM
    try:
        return run("SiBraR", "tiny", None, {**settings, **NO_DRAWS})
    finally:
        optimizer.LARGE_FROM = before


def test_results_with_large_tables_are_those_of_one_process(tiny):
    settings = tiny.options(epochs=4, preset="strong", **{**CALM, "train_batch_size": 16})
    same_result(in_two(run_with_large_tables, settings), run_with_large_tables(settings))


def interrupted_and_resumed(settings):
    original = ProtocolTrainer._valid_epoch

    def interrupt(self, *args, **kwargs):
        if self.n_finished_epochs == 3:
            raise RuntimeError("interrupted")
        return original(self, *args, **kwargs)

    whole = run("SiBraR", "tiny", None, {**settings, "run_name": "whole"})
    ProtocolTrainer._valid_epoch = interrupt
    try:
        run("SiBraR", "tiny", None, {**settings, "run_name": "broken"})
    except RuntimeError:
        assert Path("results/broken/progress.pth").is_file()
    ProtocolTrainer._valid_epoch = original
    return whole, run("SiBraR", "tiny", None, {**settings, "run_name": "broken", "resume": True})


def test_a_resumed_run_ends_as_an_uninterrupted_one(tiny):
    whole, resumed = in_two(interrupted_and_resumed, tiny.options(epochs=6, input_dropout=0.3))
    assert resumed.test_result == whole.test_result
    assert [e["loss"] for e in resumed.history] == pytest.approx([e["loss"] for e in whole.history], rel=1e-6)


def test_only_the_first_process_writes(tiny):
    script = Path(__file__).parents[1] / "run_recbole_sibrar.py"
    options = tiny.options(nproc=2, run_name="r")
    arguments = ["--dataset=tiny", *(f"--{key}={value}" for key, value in options.items())]
    done = subprocess.run([sys.executable, script, *arguments], capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr == "" and done.stdout.count("ndcg@3") == 1
    assert json.loads(Path("results/r/result.json").read_text())["config"]["nproc"] == 2
    assert {path.name for path in Path("results/r").iterdir()} == {
        "result.json",
        "per_user.csv",
        "per_item.csv",
        "model.pth",
    }
    assert len(list(Path("log").rglob("*.log"))) == 1 and len(list(Path("log_tensorboard").iterdir())) == 1


# what goes wrong


def raise_in_the_second(error):
    if distributed.rank() == 1:
        raise error
    distributed.gather(None)


def test_a_mistake_is_told_as_by_one_process(tiny, capsys):
    with pytest.raises(DataError, match="^line 3 is empty$"):
        in_two(raise_in_the_second, DataError("line 3 is empty"))
    arguments = [f"--{key}={value}" for key, value in tiny.options(nproc=2).items()]
    assert main(["run", "--dataset=tinny", *arguments]) == 2
    error = capsys.readouterr().err
    assert "Data set 'tinny' not found" in error and "Traceback" not in error


def test_a_defect_keeps_its_traceback():
    with pytest.raises(Exception, match="in raise_in_the_second"):
        in_two(raise_in_the_second, ZeroDivisionError())


def test_more_processes_than_users(tiny):
    with pytest.raises(OptionError, match=naming("2 processes | 1 users")):
        in_two(distributed.share_of_users, torch.tensor([3]))


def test_a_port_in_use():
    store = torch.distributed.TCPStore("localhost", 0, is_master=True, wait_for_workers=False)
    with pytest.raises(OptionError, match=f"port {store.port} of localhost cannot be opened"):
        distributed.launch(World(2, 2, 0, "localhost", store.port), free_port, ())


@pytest.mark.parametrize("killed", [0, 1])
def test_a_killed_process_ends_the_run_which_can_be_resumed(tiny, capsys, killed):
    settings = tiny.options(stopping_step=10_000, nproc=2, run_name="r", **NO_DRAWS)
    arguments = ["run", "--dataset=tiny", *(f"--{key}={value}" for key, value in settings.items() if key != "epochs")]
    progress, moment = Path("results/r/progress.pth"), []
    killer = threading.Thread(target=kill_when_there, args=(progress, killed, moment))
    killer.start()
    assert main([*arguments, "--epochs=10000"]) == 1
    killer.join()
    assert time.time() - moment[0] < 20
    error = capsys.readouterr().err
    assert error.startswith(f"recbole-sibrar: process {killed} of 2 ended with SIGKILL") and error.count("\n") == 1
    assert checkpoint.load("results/r/model.pth")["epoch"] >= 0
    if killed:
        assert {path.name for path in Path("results/r").iterdir()} == {"model.pth", "progress.pth", "progress.csv"}

    epochs = checkpoint.load(progress)["next_epoch"] + 1
    assert main([*arguments, f"--epochs={epochs}", "--resume=True"]) == 0
    assert json.loads(Path("results/r/result.json").read_text())["n_epochs"] == epochs and not progress.exists()


def test_no_process_outlives_a_killed_command(tiny):
    options = tiny.options(epochs=10_000, stopping_step=10_000, nproc=2, run_name="r")
    arguments = ["run", "--dataset=tiny", *(f"--{key}={value}" for key, value in options.items())]
    command = subprocess.Popen([sys.executable, "-m", "recbole_sibrar.cli", *arguments])
    wait_until(Path("results/r/progress.pth").exists)
    started = [process for child in children(command.pid) for process in (child, *children(child))]
    assert len(started) >= 3
    command.kill()
    command.wait()
    wait_until(lambda: not any(Path(f"/proc/{process}").exists() for process in started))


def wait_until(condition):
    deadline = time.time() + 60
    while not condition():
        assert time.time() < deadline
        time.sleep(0.01)


def kill_when_there(path, number, moment):
    wait_until(path.exists)
    os.kill(sorted(children(_forkserver._forkserver_pid))[number], signal.SIGKILL)
    moment.append(time.time())


def children(pid):
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
