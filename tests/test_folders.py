"""A folder of results has one owner and one truth, whoever ends how."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import folder_of

from recbole_sibrar import cli
from recbole_sibrar.checkpoint import locate
from recbole_sibrar.errors import BusyError, CheckpointError, OptionError
from recbole_sibrar.experiments import execute
from recbole_sibrar.experiments.compare import plan_runs
from recbole_sibrar.experiments.plan import ModelSpec, Plan
from recbole_sibrar.files import LOCK, atomic_file, owned
from recbole_sibrar.recbole_plugin.names import run_name
from recbole_sibrar.recbole_plugin.prepared import make_config
from recbole_sibrar.recbole_plugin.run import run
from recbole_sibrar.recbole_plugin.trainer import ProtocolTrainer
from recbole_sibrar.serving.recommender import Recommender

# names


def name(model="SiBraR", dataset="ml-100k", **options):
    return run_name(make_config(model, dataset, options={"scenario": "item_cold", **options}))


def test_runs_without_options_of_their_own_have_plain_names():
    assert name() == name(variant="SC") == name(epochs=make_config("SiBraR", "ml-100k")["epochs"])
    assert name() == "SiBraR_SC-paper-ml-100k-item_cold-seed2020" and name("BPR") == "BPR-ml-100k-item_cold-seed2020"
    assert name(seed=7, split_seed=1) == "SiBraR_SC-paper-ml-100k-item_cold-split1-seed7"
    for makes_no_difference in ({"output_dir": "x"}, {"show_progress": False}, {"vector_storage": "disk"}):
        assert name(**makes_no_difference) == name()


def test_runs_with_different_options_have_different_names():
    assert name(embedding_size=32) == "SiBraR_SC-paper-ml-100k-item_cold-seed2020-embedding_size=32"
    different = [
        {},
        {"embedding_size": 32},
        {"embedding_size": 128},
        {"missing": {"rate": 0.3}},
        {"missing": {"rate": 0.6}},
        {"eval_candidates": "all"},
        {"eval_candidates": "phase"},
        {"map_divisor": "relevant_items"},
        {"split_rounding": "up"},
        {"epochs": 1},
        {"topk": [5], "valid_metric": "NDCG@5"},
        {"item_modalities": ["genres"]},
        {"item_modalities": "genres,year"},
        {"eval_item_modalities": ["genres"]},
        {"learning_rate": 0.5, "epochs": 3},
        {"val_interval": {"rating": "[4,inf)"}},
    ]
    names = [name(**options) for options in different]
    assert len(set(names)) == len(names) and all(len(each) < 80 and "/" not in each for each in names)
    assert name(epochs=3, learning_rate=0.5) == name(learning_rate=0.5, epochs=3)


@pytest.mark.parametrize("options", [{}, {"embedding_size": 32}, {"missing": {"rate": 0.5}, "epochs": 7}])
def test_compare_has_the_same_names(options):
    plan = Plan((ModelSpec.parse("SiBraR:S"), ModelSpec.parse("BPR")), scenarios=("item_cold",), options=options)
    ours = {key: value for key, value in options.items() if key != "missing"}
    assert [each.name for each in plan_runs(plan)] == [name(variant="S", **options), name("BPR", **options)]
    named = Plan((ModelSpec.parse({"model": "SiBraR", "name": "mine", "options": ours}),), scenarios=("item_cold",))
    assert plan_runs(named)[0].name == name(**ours).replace("SiBraR_SC-paper", "mine")


def test_the_end_of_a_name_may_be_left_out_where_it_is_clear(tiny, capsys):
    run("Pop", "tiny", None, tiny.options())
    folder, short = folder_of("Pop-tiny-warm-seed2020"), "results/Pop-tiny-warm-seed2020"
    with pytest.warns(UserWarning, match=f"{folder}/model.pth is taken, the only run of such a name"):
        assert locate(short) == locate(f"{short}/model.pth") == folder / "model.pth"
    with pytest.raises(CheckpointError, match="Pop-tiny-warm: no such checkpoint|seed202: no such checkpoint"):
        locate("results/Pop-tiny-warm-seed202")
    run("Pop", "tiny", None, tiny.options(epochs=1))
    with pytest.raises(CheckpointError, match="no such checkpoint, but results/Pop.*, results/Pop.*; name one of them"):
        locate(short)
    assert locate(folder) == folder / "model.pth"


def test_the_preset_may_be_left_out_where_it_is_clear(tiny):
    run("SiBraR", "tiny", None, tiny.options(preset="strong"))
    with pytest.warns(UserWarning, match="is taken"):
        assert (
            locate("results/SiBraR_SC-tiny-warm-seed2020")
            == folder_of("SiBraR_SC-strong-tiny-warm-seed2020") / "model.pth"
        )
    for other in ("SiBraR_S-tiny-warm-seed2020", "SiBraR_SC-paper-tiny-warm-seed2020"):
        with pytest.raises(CheckpointError, match="no such checkpoint"):
            locate(f"results/{other}")
    Path("results/begun").mkdir()
    with pytest.raises(CheckpointError, match="results/begun holds no model.pth; expected .* a finished run"):
        locate("results/begun")
    with pytest.raises(CheckpointError, match="None is no checkpoint"):
        locate(None)


# one owner


def files(folder):
    return {path.name: path.read_bytes() for path in Path(folder).iterdir() if path.name != LOCK}


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(owned.__wrapped__, "__defaults__", (0.1,))


def test_a_folder_that_another_process_writes_is_left_alone(tiny, impatient, capsys):
    run("SiBraR", "tiny", None, tiny.options(scenario="item_cold", run_name="r"))
    (tiny.folder / "space.yaml").write_text("learning_rate: {choice: [0.01]}\n")
    before = files("results/r")
    options = [f"--{key}={value}" for key, value in tiny.options(scenario="item_cold").items()]
    tune = ["tune", "--dataset=tiny", f"--space={tiny.folder / 'space.yaml'}", "--trials=1", *options]
    assert cli.main(tune) == 0
    (tuned,) = Path("results").glob("tune-*")
    commands = {
        "results/r": ["run", "--dataset=tiny", "--run_name=r", *options],
        "m": ["missing", "results/r", "--output", "m"],
        "g": ["gap", "results/r", "--output", "g"],
        str(tuned): tune,
    }
    for folder, command in commands.items():
        with owned(folder):
            assert cli.main(command) == 2
        assert f"Another process is writing {folder}; wait until it has ended" in capsys.readouterr().err
    assert files("results/r") == before and not Path("m").exists()
    assert cli.main(commands["results/r"]) == cli.main(commands["m"]) == 0


def test_compare_waits_for_a_run_that_another_process_makes(tiny, started, monkeypatch):
    plan = Plan((ModelSpec.parse("Pop"), ModelSpec.parse("Random")), ("tiny",), ("warm",), options=tiny.options())
    runs = plan_runs(plan)
    other = owned(runs[0].folder)
    other.__enter__()

    def the_other_ends(_):
        other.__exit__(None, None, None)
        run("Pop", "tiny", None, {**runs[0].options, "scenario": "warm", "run_name": runs[0].name})

    monkeypatch.setattr(execute, "sleep", the_other_ends)
    outcomes = execute.execute(runs)
    assert [outcome.error for outcome in outcomes] == [None, None] and started == ["Random-tiny-warm-seed2020"]


def test_an_owner_that_is_killed_lets_go_at_once_and_leaves_nothing_that_stays(tmp_path):
    hold = "import time\nfrom recbole_sibrar.files import owned, atomic_file\n"
    hold += "with owned('d'), atomic_file('d/a') as file:\n    print('held', flush=True)\n    time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", hold], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    with pytest.raises(BusyError), owned("d", patience=0):
        pass
    process.kill()
    process.wait()
    with owned("d", patience=1), atomic_file("d/a") as file:
        file.write("mine")
    assert [path.name for path in Path("d").iterdir()] == ["a"] and Path("d/a").read_text() == "mine"


def test_a_folder_in_which_nothing_was_written_is_not_left(tiny):
    with pytest.raises(OptionError):
        run("SiBraR", "tiny", None, tiny.options(item_modalities=["genre"], run_name="r"))
    assert not Path("results/r").exists()


# one truth


class Stop(BaseException):
    pass


@pytest.mark.parametrize("epoch", [1, 2])
def test_starting_anew_removes_what_another_run_left(tiny, monkeypatch, epoch):
    settings = tiny.options(epochs=3, run_name="r")
    run("SiBraR", "tiny", None, settings)
    Path("results/r/error.txt").write_text("of yesterday")
    assert {"result.json", "per_user.csv", "per_item.csv", "model.pth", "error.txt"} == set(files("results/r"))
    original = ProtocolTrainer._train_epoch

    def stop(self, train_data, epoch_idx, *args, **kwargs):
        if epoch_idx == epoch:
            raise Stop
        return original(self, train_data, epoch_idx, *args, **kwargs)

    monkeypatch.setattr(ProtocolTrainer, "_train_epoch", stop)
    with pytest.raises(Stop):
        run("SiBraR", "tiny", None, {**settings, "seed": 7})
    kept = {"model.pth"} if epoch == 1 else {"model.pth", "progress.pth", "progress.csv"}
    assert set(files("results/r")) == kept


def test_a_mistake_leaves_the_finished_run(tiny):
    run("SiBraR", "tiny", None, tiny.options(run_name="r"))
    before = files("results/r")
    with pytest.raises(OptionError):
        run("SiBraR", "tiny", None, tiny.options(run_name="r", item_modalities=["genre"]))
    assert files("results/r") == before
    Recommender.load("results/r/model.pth")


# who ends whom


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux's")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_what_compare_started_ends_with_it(how):
    code = "import tempfile, time\nfrom recbole_sibrar.experiments.execute import start\n"
    code += "started = [start(['sleep', '60'], tempfile.TemporaryFile(), 1).pid for _ in range(2)]\n"
    code += "print(*started, flush=True)\ntime.sleep(60)"
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    started = list(map(int, parent.stdout.readline().split()))
    assert len(started) == 2 and all(map(is_alive, started))
    os.kill(parent.pid, how)
    parent.wait()
    deadline = time.monotonic() + 5
    while any(map(is_alive, started)) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not any(map(is_alive, started))
