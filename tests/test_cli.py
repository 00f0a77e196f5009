import json
import os
import pickle
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
from conftest import names

import recbole_sibrar
from recbole_sibrar import checkpoint
from recbole_sibrar.cli import main, parse_options
from recbole_sibrar.cli.command_line import UNREAD
from recbole_sibrar.doctor import bfloat16
from recbole_sibrar.errors import CheckpointError, OptionError
from recbole_sibrar.properties import parse_value
from recbole_sibrar.recbole_plugin.patches import TOUCH_POINTS

PIPES = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}


def arguments(tiny, **options):
    return ["run", "--dataset=tiny", *(f"--{key}={value}" for key, value in tiny.options(**options).items())]


def test_output_that_nobody_reads_ends_a_command_without_a_word():
    with subprocess.Popen([sys.executable, "-m", "recbole_sibrar.cli", "doctor"], **PIPES) as process:
        process.stdout.close()
        assert (process.stderr.read(), process.wait()) == (b"", UNREAD)


def test_run_writes_results_where_told(tiny, capsys):
    assert main(arguments(tiny, output_dir="there", run_name="mine")) == 0
    assert json.loads(Path("there/mine/result.json").read_text())["name"] == "mine"
    assert "ndcg@3" in capsys.readouterr().out


@pytest.mark.parametrize("model, reads_content", [("ContentRidge", True), ("LinearAutoencoder", False), ("Pop", False)])
def test_missing_modalities_are_proposed_where_a_model_reads_some(tiny, capsys, model, reads_content):
    assert main([*arguments(tiny, run_name="mine", epochs=1), f"--model={model}"]) == 0
    assert ("recbole-sibrar missing results/mine" in capsys.readouterr().out) == reads_content


def test_property_files_and_the_command_line(tiny):
    Path("mine.yaml").write_text("embedding_size: 4\nepochs: 1\n")
    assert main([*arguments(tiny, run_name="r"), "--config_files", "mine.yaml", "--embedding_size=8"]) == 0
    config = json.loads(Path("results/r/result.json").read_text())["config"]
    assert config["embedding_size"] == 8 and config["epochs"] == 2


@pytest.mark.parametrize(
    "extra, message",
    [
        (["--model=SiBrar"], "'SiBrar' | 'SiBraR'"),
        (["--scenario=cold"], "Unknown scenario 'cold'. "),
        (["--variant=CSC"], "variant | 'CSC' | 'SC'"),
        (["--temprature=0.1"], "'temprature' | 'temperature'"),
        (["--embedding_size=large"], "embedding_size | 'large' | integer"),
        (["--item_modalities=genre,year"], "'genre' | 'genres'"),
        (["--valid_metric=NDGC@3"], "valid_metric | 'NDGC@3'"),
        (["--metrics=[NDGC]"], "There is no metric named 'NDGC'"),
        (["--eval_candidates=some"], "eval_candidates | 'some'"),
        (["--vector_storage=disc"], "vector_storage | 'disc' | 'disk'"),
        (["--config_files", "absent.yaml"], "absent.yaml: no such property file"),
        (["--topk=0"], "topk | 0 | [10, 20] | list"),
        (["--eval_args={mode: uni100}"], "the protocol ranks all candidates"),
        (["--save_dataset=True"], "would mix up scenarios"),
        (["--nproc=0"], "nproc | 0 | 1"),
        (["--nproc=two"], "nproc | 'two' | integer"),
        (["--nproc=2", "--world_size=1"], "world_size | 1 | nproc=2 | group_offset=0 | 1"),
        (["--nproc=2", "--group_offset=1"], "make processes 1 to 2"),
        (["--nproc=2", "--port=70000"], "port | 70000 | 65536 | number"),
        (["--nproc=2", "--model=ContentRidge"], "ContentRidge | closed form"),
        (["--nproc=2", "--model=Pop"], "Pop | TraditionalTrainer | trained by"),
        (["--nproc=2", "--model=RecVAE"], "RecVAE | RecVAETrainer | trained by"),
        (["epochs=3"], "Cannot read 'epochs=3'"),
        (["--user_inter_num_interval=[500,inf)"], "No interaction of tiny is left after filtering"),
        (["--benchmark_filename=[x,y,z]"], "x.inter"),
    ],
)
def test_mistakes_get_one_clear_message_and_exit_code_2(tiny, capsys, extra, message):
    given = {argument.split("=")[0] for argument in extra}
    kept = [argument for argument in arguments(tiny) if argument.split("=")[0] not in given]
    assert main([*kept, *extra]) == 2
    error = capsys.readouterr().err
    assert names(error, message) and "Traceback" not in error
    assert not list(Path("results").glob("*/*")) if Path("results").exists() else True


def test_what_a_run_warns_of_is_one_line(tiny, monkeypatch):
    told = []
    monkeypatch.setattr(warnings, "showwarning", lambda *args: told.append(warnings.formatwarning(*args[:4])))
    assert main([*arguments(tiny, embedding_size=9), "--model=Pop"]) == 0
    assert "recbole-sibrar: warning: embedding_size is 9, but Pop does not read it.\n" in told


def test_an_absent_data_set(tiny, capsys):
    assert main([*[a for a in arguments(tiny) if "dataset" not in a], "--dataset=tinny"]) == 2
    error = capsys.readouterr().err
    assert "Data set 'tinny' not found" in error and "Did you mean 'tiny'" in error


@pytest.mark.parametrize(
    "suffix, change, message",
    [
        ("inter", lambda text: text.replace("u1\t", "u1 ", 1), "line 2 | 1 | cells"),
        ("inter", lambda text: text.replace("user_id:token", "user:token"), "'user_id' | needed"),
        ("inter", lambda text: "", "the file is empty"),
        ("item", lambda text: text.replace("1991", "never"), "'never' | 'year' | finite"),
        ("picture", lambda text: text.replace("1.5", "nan", 1), "NaN, infinity"),
    ],
)
def test_malformed_atomic_files(tiny, capsys, suffix, change, message):
    path = tiny.folder / "tiny" / f"tiny.{suffix}"
    path.write_text(change(path.read_text()))
    assert main(arguments(tiny)) == 2
    assert names(capsys.readouterr().err, message)


def test_nothing_typed_is_evaluated(tiny, capsys):
    marker = Path("evaluated")
    attack = f"--note=__import__('pathlib').Path('{marker}').touch()"
    main([*arguments(tiny), attack, f"--epochs=__import__('pathlib').Path('{marker}').touch()"])
    assert not marker.exists()


def test_stock_recbole_does_not_evaluate_the_command_line_either(tiny, monkeypatch):
    from recbole.config import Config

    monkeypatch.setattr(sys, "argv", ["x", "--learner=__import__('os').mkdir('evaluated')"])
    Config(model="BPR", dataset="tiny", config_dict={"data_path": str(tiny.folder)})
    assert not os.path.exists("evaluated")


def test_option_forms():
    assert parse_options(["--a=1", "--b", "x,y", "--c=[1, 2]"]) == {"a": 1, "b": "x,y", "c": [1, 2]}
    with pytest.raises(OptionError, match="given twice"):
        parse_options(["--a=1", "--a=2"])
    with pytest.raises(OptionError, match="--a has no value"):
        parse_options(["--a", "--b=1"])


@pytest.mark.parametrize("text", ["1e-4", "None", "True", "[1, 2]", "{'a': 0.5}", "word", "a,b", "(1, 2)"])
def test_values_survive_recboles_second_reading(text):
    assert parse_value(parse_value(text)) == parse_value(text)


@pytest.mark.parametrize(
    "flags, said", [("avx2 avx512_bf16 sse", "on"), ("fp asimd bf16", "on"), ("avx512f sse", "off"), (None, "unknown")]
)
def test_doctor_knows_whether_the_processor_has_bfloat16(tmp_path, flags, said):
    path = tmp_path / "cpuinfo"
    if flags:
        path.write_text(f"processor\t: 0\nflags\t\t: {flags}\n")
    assert bfloat16(path).startswith(said)


def test_doctor(capsys):
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert (
        "recbole" in out
        and f"{len(TOUCH_POINTS)} of {len(TOUCH_POINTS)} touch points as expected" in out
        and "atomic_data" in out
    )


@pytest.mark.parametrize(
    "command",
    [
        [],
        ["run"],
        ["compare"],
        ["tune"],
        ["reproduce"],
        ["convert"],
        ["convert", "ml-1m"],
        ["download"],
        ["recommend"],
        ["export"],
        ["missing"],
        ["gap"],
        ["report"],
        ["doctor"],
        ["models"],
    ],  # fmt: skip
)
def test_help_helps(capsys, command):
    with pytest.raises(SystemExit) as stop:
        main([*command, "--help"])
    assert stop.value.code == 0 and len(capsys.readouterr().out) > 150


def test_version(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--version"])
    assert stop.value.code == 0 and capsys.readouterr().out == f"recbole-sibrar {recbole_sibrar.__version__}\n"


def test_run_help_lists_the_model_options(capsys):
    with pytest.raises(SystemExit):
        main(["run", "--help"])
    out = capsys.readouterr().out
    assert "--temperature=" in out and "item_cold" in out and "--contrastive_weight=" in out
    assert all(f"--{name} " in out for name in ("run_name", "epochs", "seed", "resume"))


class Payload:
    def __reduce__(self):
        return os.mkdir, ("executed",)


@pytest.mark.parametrize(
    "content",
    [b"", b"not a checkpoint", pickle.dumps(Payload()), pickle.dumps({"format": "x"})],
    ids=["empty", "text", "code", "pickle"],
)
def test_foreign_checkpoints_are_refused_without_executing_them(content):
    Path("model.pth").write_bytes(content)
    with pytest.raises(CheckpointError, match="model.pth"):
        checkpoint.load("model.pth")
    assert not os.path.exists("executed")


def test_pickled_code_inside_a_torch_file_is_refused():
    torch.save({"format": checkpoint.FORMAT, "config": Payload()}, "model.pth")
    with pytest.raises(CheckpointError):
        checkpoint.load("model.pth")
    assert not os.path.exists("executed")


def test_an_interrupted_save_leaves_no_half_checkpoint(tiny, monkeypatch):
    assert main(arguments(tiny, run_name="r")) == 0

    def fail(state, file):
        file.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(checkpoint.torch, "save", fail)
    with pytest.raises(OSError):
        main(arguments(tiny, run_name="r"))
    assert [path.name for path in Path("results/r").glob("*.pth*")] == []
    assert [path.name for path in Path("results/r").glob(".*")] == []
