"""Interruptions, a full disk, diverging losses and degenerate data: each ends in a result or in one clear message."""

import math
import os
import resource
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
import torch
from conftest import SOFTMAX, names, naming
from hypothesis import HealthCheck, Phase, event, given, settings
from hypothesis import strategies as st

from recbole_sibrar import checkpoint, files
from recbole_sibrar.cli import main
from recbole_sibrar.data.splits import SPLIT_ROUNDINGS
from recbole_sibrar.errors import CheckpointError, DataError, OptionError, SibrarError, TrainingError, WriteError
from recbole_sibrar.evaluation.metrics import MAP_DIVISORS
from recbole_sibrar.evaluation.protocol import CANDIDATE_CHOICES
from recbole_sibrar.experiments import execute
from recbole_sibrar.files import atomic_directory, atomic_file, save_tensors
from recbole_sibrar.models.recommender import BranchRecommender
from recbole_sibrar.recbole_plugin.capabilities import SOLVED
from recbole_sibrar.recbole_plugin.config import OUR_MODELS
from recbole_sibrar.recbole_plugin.run import run
from recbole_sibrar.recbole_plugin.trainer import ProtocolTrainer


def arguments(tiny, *command, **options):
    return [*command, "--dataset=tiny", *(f"--{key}={value}" for key, value in tiny.options(**options).items())]


# Ctrl-C


@pytest.mark.parametrize("n_processes", [1, 2])
def test_ctrl_c_says_what_is_saved_and_the_run_goes_on(tiny, capsys, n_processes):
    """The signal goes to the whole group of processes, as a terminal sends it."""
    endless = {"epochs": 10_000, "stopping_step": 10_000, "nproc": n_processes, "run_name": "r"}
    command = [sys.executable, "-m", "recbole_sibrar.cli", *arguments(tiny, "run", **endless)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    progress = Path("results/r/progress.pth")
    deadline = time.time() + 60
    while not progress.exists() and time.time() < deadline:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)
    said = process.communicate(timeout=30)[1]
    n = checkpoint.load(progress)["next_epoch"]
    saved = "epoch 1 is" if n == 1 else f"epochs 1-{n} are"
    assert process.returncode == 130, said
    assert said == (
        f"recbole-sibrar: interrupted in epoch {n + 1}; {saved} saved: the same command with --resume=True goes on.\n"
    )
    assert {path.name for path in progress.parent.iterdir()} == {"model.pth", "progress.pth", "progress.csv"}
    if n_processes == 1:
        assert main(arguments(tiny, "run", **{**endless, "epochs": n + 1, "resume": True})) == 0


def test_ctrl_c_waits_until_a_checkpoint_is_written(tmp_path, monkeypatch):
    """In the midst of it torch's writer raises an error of its own or aborts the process."""

    def interrupted_save(state, file, save=torch.save):
        signal.raise_signal(signal.SIGINT)
        save(state, file)

    usual = signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background has none
    monkeypatch.setattr(torch, "save", interrupted_save)
    with pytest.raises(KeyboardInterrupt):
        save_tensors(tmp_path / "model.pth", {"n": torch.arange(3)})
    monkeypatch.undo()
    assert [path.name for path in tmp_path.iterdir()] == ["model.pth"]
    assert torch.load(tmp_path / "model.pth")["n"].tolist() == [0, 1, 2]
    assert signal.signal(signal.SIGINT, usual) is signal.default_int_handler


def interrupt(*args, **kwargs):
    raise KeyboardInterrupt


def test_ctrl_c_in_the_first_epoch(tiny, monkeypatch, capsys):
    monkeypatch.setattr(ProtocolTrainer, "_valid_epoch", interrupt)
    assert main(arguments(tiny, "run")) == 130
    assert capsys.readouterr().err.endswith("interrupted before the end of the first epoch; nothing is saved.\n")


def test_a_run_begun_anew_does_not_keep_another_ones_progress(tiny, monkeypatch, capsys):
    """Its model.pth is replaced in the first epoch; resuming from the old progress would test the new model."""
    folder = Path("results/r")
    folder.mkdir(parents=True)
    for name in ("progress.pth", ".model.pth.k1ll3d", ".progress.pth.k1ll3d"):
        folder.joinpath(name).write_text("of an earlier run")
    monkeypatch.setattr(ProtocolTrainer, "_train_epoch", interrupt)
    assert main(arguments(tiny, "run", run_name="r")) == 130
    assert not folder.exists()


def test_ctrl_c_in_compare(tiny, monkeypatch, capsys):
    original = execute.start
    calls = []

    def interrupted_second(*args, **kwargs):
        calls.append(args)
        return original(*args, **kwargs) if len(calls) == 1 else interrupt()

    monkeypatch.setattr(execute, "start", interrupted_second)
    command = arguments(tiny, "compare", "--models", "Pop", "Random", "--scenarios", "warm")
    kept = [argument for argument in command if not argument.startswith(("--state", "--show_progress"))]
    assert main(kept) == 130
    expected = "interrupted; 1 of 2 runs are finished and kept: the same command goes on where it stopped.\n"
    assert capsys.readouterr().err.endswith(expected)


def test_ctrl_c_in_tune(tiny, monkeypatch, capsys):
    from recbole_sibrar.experiments import tune

    original, calls = tune.run_trial, []

    def interrupted_second(*args):
        calls.append(args)
        return original(*args) if len(calls) == 1 else interrupt()

    monkeypatch.setattr(tune, "run_trial", interrupted_second)
    Path("space.yaml").write_text("learning_rate: {choice: [0.01, 0.001]}\n")
    assert main(arguments(tiny, "tune", "--space", "space.yaml", "--trials", "3", "--model", "BPR")) == 130
    said = capsys.readouterr().err
    assert "interrupted in trial 2" in said and "The same command begins the search anew" in said
    folder = next(Path("results").glob("tune-*"))
    assert {"trials.csv", "best.yaml"} <= {path.name for path in folder.iterdir()}


def test_ctrl_c_in_convert(monkeypatch, capsys):
    from recbole_sibrar.convert import atomic

    Path("orders.csv").write_text("user_id,item_id\n" + "".join(f"{u},{i}\n" for u in range(9) for i in range(9)))
    command = ["convert", "table", "--name", "shop", "--interactions", "orders.csv", "--output", "out"]
    assert main(command) == 0
    before = Path("out/shop/shop.inter").read_bytes()
    monkeypatch.setattr(atomic.AtomicDataset, "_write_table", interrupt)
    capsys.readouterr()
    assert main(command) == 130
    assert "interrupted; no data set was written or changed" in capsys.readouterr().err
    assert Path("out/shop/shop.inter").read_bytes() == before and os.listdir("out") == ["shop"]


def test_a_directory_is_put_back_when_its_replacement_is_interrupted(monkeypatch):
    """Where the system cannot exchange two directories."""
    monkeypatch.setattr(files, "_exchange", lambda *_: False)
    Path("a").mkdir()
    Path("a/old").touch()
    original = os.replace

    def interrupt_the_second(source, target):
        original(source, target) if "previous" in f"{source} {target}" else interrupt()

    monkeypatch.setattr(os, "replace", interrupt_the_second)
    with pytest.raises(KeyboardInterrupt), atomic_directory("a"):
        pass
    assert os.listdir(".") == ["a"] and os.listdir("a") == ["old"]


# the disk


def limited(kilobytes, command):
    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (kilobytes * 1024, resource.RLIM_INFINITY))

    return subprocess.run(command, capture_output=True, text=True, preexec_fn=limit)


def test_a_full_disk_leaves_nothing_half_written(tiny):
    command = [sys.executable, "-m", "recbole_sibrar.cli", *arguments(tiny, "run", run_name="r")]
    done = limited(20, command)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert done.stderr.startswith("recbole-sibrar: results/r/model.pth cannot be written: File too large.")
    assert not Path("results/r").exists()


def test_a_checkpoint_that_is_damaged_is_refused_wherever_it_is(tiny):
    assert main(arguments(tiny, "run", run_name="r")) == 0
    data = Path("results/r/model.pth").read_bytes()
    with zipfile.ZipFile("results/r/model.pth") as archive:
        plain = archive.read(next(name for name in archive.namelist() if name.endswith("data.pkl")))
    for place in range(data.index(plain), data.index(plain) + len(plain), len(plain) // 100):
        Path("damaged.pth").write_bytes(data[:place] + bytes([data[place] ^ 4]) + data[place + 1 :])
        with pytest.raises(CheckpointError, match="damaged.pth is not a checkpoint of plain data"):
            checkpoint.load("damaged.pth")


def test_a_full_disk_ends_an_export_in_a_line(tiny):
    assert main(arguments(tiny, "run", run_name="r", embedding_size=256)) == 0
    export = ["export", "--checkpoint=results/r/model.pth", "--output=index"]
    done = limited(20, [sys.executable, "-m", "recbole_sibrar.cli", *export])
    assert done.returncode == 2 and names(done.stderr, "recbole-sibrar: | index | cannot be written | File too large")
    assert done.stderr.count("\n") == 1 and not Path("index").exists()


@pytest.mark.parametrize("folder", ["taken", "taken/below"])
def test_a_folder_that_cannot_be_made(tiny, capsys, folder):
    Path("taken").touch()
    assert main(arguments(tiny, "run", output_dir=folder)) == 2
    assert "cannot be made: Not a directory" in capsys.readouterr().err


def test_what_the_disk_refuses_is_named_and_nothing_else_is_renamed():
    with pytest.raises(WriteError, match="^x/y cannot be written: No space left"), atomic_file("x/y"):
        raise OSError(28, "No space left on device")
    with pytest.raises(FileNotFoundError), atomic_file("x/y"):
        open("absent")
    assert not os.listdir("x")


def test_elsewhere_too_a_full_disk_is_one_line(tiny, monkeypatch, capsys):
    def full(*args):
        raise OSError(28, "No space left on device", "log/x.log")

    monkeypatch.setattr("recbole_sibrar.recbole_plugin.checks.init_logger", full)
    assert main(arguments(tiny, "run")) == 2
    assert capsys.readouterr().err == "recbole-sibrar: log/x.log: No space left on device\n"


# training that fails


@pytest.mark.parametrize("value", ["nan", "inf"])
@pytest.mark.parametrize("variant, hint", [("SC", "or raise temperature (0.2) "), ("base", "")])
def test_a_loss_that_is_no_number(tiny, monkeypatch, value, variant, hint):
    original = BranchRecommender.loss

    def broken(self, batch):
        first, *rest = original(self, batch)
        return (first * float(value), *rest) if self.step >= 3 else (first, *rest)

    monkeypatch.setattr(BranchRecommender, "loss", broken)
    with pytest.raises(TrainingError) as error:
        options = {"epochs": 5, "train_batch_size": 512, "temperature": 0.2, "learning_rate": 0.001}
        run("SiBraR", "tiny", None, tiny.options(**options, variant=variant))
    assert str(error.value) == (
        f"SiBraR has the training loss {value} in epoch 3: lower learning_rate (0.001) {hint}"
        "or set clip_grad_norm='{max_norm: 1}'."
    )


def test_a_diverging_model_of_recbole(tiny):
    with pytest.raises(TrainingError, match=naming("BPR | nan | epoch 2 | learning_rate")):
        run("BPR", "tiny", None, tiny.options(learning_rate=1e30))


@pytest.mark.parametrize(
    "options",
    [
        {"learning_rate": -1},
        {"learning_rate": "fast"},
        {"train_batch_size": 0},
        {"epochs": 1.5},
        {"eval_batch_size": -1},
    ],
)
def test_training_options_out_of_range(tiny, options):
    with pytest.raises(OptionError, match=f"{next(iter(options))} is .*; expected"):
        run("BPR", "tiny", None, tiny.options(**options))


def test_many_runs_in_one_process_do_not_pile_up(tiny):
    """RecBole wraps stdout once more in each run, and keeps a thread of Tensorboard's."""
    import threading

    streams = set()
    for _ in range(3):
        run("Pop", "tiny", None, tiny.options(run_name="r"))
        streams.add(id(sys.stdout))
    assert len(streams) == 1
    assert not [thread for thread in threading.enumerate() if "EventLogger" in type(thread).__name__]


# degenerate data


def test_a_batch_larger_than_the_data(tiny):
    results = [
        run(model, "tiny", None, tiny.options(train_batch_size=10**7, eval_batch_size=10**7, preset=preset))
        for model, preset in (("SiBraR", "paper"), ("SiBraR", "strong"))
    ]
    assert all(math.isfinite(result.test_result["ndcg@3"]) for result in results)


def test_a_user_who_has_seen_everything(tiny):
    """Without negatives such a user cannot be trained; the softmax over the catalogue and closed forms need none."""
    tiny.interactions("a.inter", [*((1, item) for item in range(1, 31)), *tiny.pairs[11:]])
    tiny.interactions("b.inter", [(2, item) for item in range(1, 31)][:9])
    tiny.interactions("c.inter", [(3, item) for item in range(1, 31)][:9])
    given = tiny.options(benchmark_filename=["a", "b", "c"])
    with pytest.raises(DataError, match=naming("'u1' | 30")):
        run("SiBraR", "tiny", None, given)
    for model, options in (("SiBraR", SOFTMAX), *((model, {}) for model in SOLVED)):
        assert math.isfinite(run(model, "tiny", None, {**given, **options}).test_result["ndcg@3"])


@pytest.mark.parametrize("scenario", ["user_cold", "item_cold", "warm"])
def test_one_user(tiny, scenario):
    tiny.interactions("inter", [(1, item) for item in range(1, 31)])
    if scenario == "user_cold":
        with pytest.raises(DataError, match="1 entities are too few for a cold-start split"):
            run("SiBraR", "tiny", None, tiny.options(scenario=scenario, single_branch="both"))
        return
    options = {"scenario": scenario, "single_branch": "both", "preset": "strong"}  # there is no negative
    result = run("SiBraR", "tiny", None, tiny.options(**options))
    assert result.n_users == 1 and 0 <= result.test_result["ndcg@3"] <= 1


def test_a_modality_that_every_entity_lacks(tiny):
    """It is declared, and nothing reads it; a vector file without a vector has no width and is a mistake."""
    tiny.file("user", "user_id:token\tgender:token\tage:float", [f"u{user}\t\t" for user in range(1, 41)])
    lacking = run("SiBraR", "tiny", None, tiny.options(single_branch="both"))
    assert all(math.isfinite(value) for value in lacking.test_result.values())
    tiny.file("picture", "item_id:token\tpicture:float_seq", [f"i{item}\t" for item in range(1, 31)])
    with pytest.raises(DataError, match="tiny.picture: no vector in the file"):
        run("SiBraR", "tiny", None, tiny.options())


# random tiny data

MODELS = (*OUR_MODELS, "BPR", "Pop")
SHARES = ("ndcg", "recall", "precision", "map", "mrr", "fscore", "coverage", "aplt", "hit", "itemcoverage")
UNDEFINED_WITHOUT_A_LIST = ("arp", "aplt", "pl")
RECBOLES = ["Hit", "ItemCoverage", "GiniIndex", "AveragePopularity"]
OURS = ["NDCG", "Recall", "Precision", "MAP", "MRR", "FScore", "Coverage", "APLT", "ARP", "PL"]


@st.composite
def tiny_runs(draw):
    """(files of a data set of 1-6 users and items, model, options)."""
    n_users, n_items = (draw(st.sampled_from([1, 2, 3, 4, 5, 6, 6, 6])) for _ in range(2))
    everything = [(user, item) for user in range(n_users) for item in range(n_items)]
    pairs = draw(st.lists(st.sampled_from(everything), min_size=draw(st.sampled_from([1, 6, 12])), max_size=24))
    has = st.sampled_from(draw(st.sampled_from([[True], [False], [True, False]])))

    def rows(side, n, *texts):
        return [f"{side}{entity}\t" + "\t".join(draw(st.sampled_from(t)) if draw(has) else "" for t in texts)
                for entity in range(n)]  # fmt: skip

    files = {
        "inter": ["user_id:token\titem_id:token", *(f"u{user}\ti{item}" for user, item in pairs)],
        "user": ["user_id:token\tgender:token\tage:float", *rows("u", n_users, "FM", ["20", "-1e6", "0"])],
        "item": ["item_id:token\tgenres:token_seq", *rows("i", n_items, ["a", "b a", "c"])],
        "picture": ["item_id:token\tpicture:float_seq", *rows("i", n_items, ["0 0", "1 2", "-1e9 3.5"])],
    }
    model = draw(st.sampled_from(MODELS))
    options = {
        "scenario": draw(st.sampled_from(["warm", "user_cold", "item_cold"])),
        "eval_candidates": draw(st.sampled_from(CANDIDATE_CHOICES)),
        "map_divisor": draw(st.sampled_from(MAP_DIVISORS)),
        "split_rounding": draw(st.sampled_from(SPLIT_ROUNDINGS)),
        "missing": {"rate": draw(st.sampled_from([0.0, 0.5, 1.0]))},
        "train_batch_size": draw(st.sampled_from([1, 2, 2048])),
        "topk": [1, 3, 10],
        "metrics": draw(st.sampled_from([OURS, ["NDCG", *RECBOLES]])),
        "valid_metric": "NDCG@1",
    }
    if model in ("SiBraR", "MuBraR"):
        options["variant"] = draw(st.sampled_from(["base", "S", "SC"]))
        options["preset"] = draw(st.sampled_from(["paper", "strong"]))
        options |= draw(st.sampled_from([{}, {"rec_loss": "bpr"}, SOFTMAX]))
        options["single_branch"] = draw(st.sampled_from(["both", "item", "user"]))
        options["batch_norm"] = draw(st.booleans())
    return files, model, options


trained = []


def result_or_message(tiny, case):
    files, model, options = case
    for suffix, lines in files.items():
        tiny.file(suffix, lines[0], lines[1:])
    (tiny.folder / "tiny" / "tiny.yaml").write_text(
        "modalities:\n  user: {gender: category, age: number}\n  item: {genres: tags, picture: vector}\n"
    )
    given = tiny.options(**options, embedding_size=4, run_name="r")
    try:
        result = run(model, "tiny", None, given)
    except SibrarError as error:
        assert len(str(error)) > 20
        event(f"refused: {str(error)[-40:]}")
        return
    trained.append(result)
    for metric, value in {**result.test_result, **result.valid_result}.items():
        name = metric.split("@")[0]
        assert value is not None and (math.isfinite(value) or name in UNDEFINED_WITHOUT_A_LIST), metric
        assert name not in SHARES or math.isnan(value) or 0 <= value <= 1, (metric, value)


random_data = {"deadline": None, "suppress_health_check": list(HealthCheck)}


def test_random_data_give_a_result_or_our_own_error_and_are_not_all_refused(tiny):
    @given(tiny_runs())
    @settings(max_examples=100, derandomize=True, phases=[Phase.explicit, Phase.generate], **random_data)
    def check(case):
        result_or_message(tiny, case)

    trained.clear()
    check()
    assert len(trained) > 20


@pytest.mark.slow
@given(tiny_runs())
@settings(max_examples=800, phases=[Phase.generate], **random_data)
def test_much_random_data_give_a_result_or_our_own_error(tiny, case):
    result_or_message(tiny, case)
