"""Odd names of data sets, runs, files and folders: they work, or a sentence says why not."""

import re
from pathlib import Path

import pandas as pd
import pytest
import yaml

from recbole_sibrar.cli import main
from recbole_sibrar.errors import OptionError
from recbole_sibrar.experiments.plan import Plan
from recbole_sibrar.report.comparison import Comparison, Entry, write_comparison
from recbole_sibrar.report.tables import markdown

ODD = "<script>alert(1)<|x&%_#"


def arguments(tiny, command="run", **options):
    return [command, "--dataset=tiny", *(f"--{key}={value}" for key, value in tiny.options(**options).items())]


def written(tmp_path):
    result = {
        "valid_result": {"ndcg@3": 0.1}, "test_result": {"ndcg@3": 0.1}, "n_parameters": 1, "seconds": {"training": 1},
        "scenario": "warm", "seed": 2020, "cold_fallback": {}, "data": {}, "n_candidates": 1000,
    }  # fmt: skip
    entries = [Entry("BPR", (result,), 1), Entry("Pop", (), 1, "line\nIt says <b>|no|</b> *here*")]
    tests = pd.DataFrame()
    write_comparison(Comparison(ODD, "warm", [2020], None, "ndcg@3", ["ndcg@3"], entries, tests), tmp_path)
    return [(tmp_path / f"{ODD}-warm.{suffix}").read_text() for suffix in ("md", "tex")]


def test_markup_in_names_is_escaped(tmp_path):
    page, tex = written(tmp_path)
    assert page.startswith("## &lt;script&gt;alert(1)&lt;\\|x&%\\_#, warm")
    assert "<script" not in page and "<b>" not in page and "\\*here\\*" in page
    label = re.search(r"\\label\{(.*)\}", tex)[1]
    assert re.fullmatch(r"tab:[A-Za-z0-9.-]+", label)


def test_cells_of_markdown_tables_are_escaped():
    rows = markdown(pd.DataFrame({"model": ["a|b", "SiBraR_SC", "_x_ <i>"]})).splitlines()[2:]
    assert [row.strip("| ") for row in rows] == ["a\\|b", "SiBraR_SC", "\\_x\\_ &lt;i&gt;"]


@pytest.mark.parametrize("name", ["log", "log_tensorboard"])
def test_a_file_where_recbole_writes_its_log(tiny, capsys, name):
    Path(name).write_text("mine")
    assert main(arguments(tiny)) == 2
    assert f"{name} is a file, but RecBole writes its log into a folder of this name" in capsys.readouterr().err
    assert Path(name).read_text() == "mine"


@pytest.mark.parametrize("option", ["output_dir", "data_path"])
def test_a_file_where_a_folder_is_expected(tiny, capsys, option):
    Path("mine").write_text("mine")
    assert main(arguments(tiny, **{option: "mine"})) == 2
    assert "mine" in capsys.readouterr().err and Path("mine").read_text() == "mine"


def test_outputs_that_cannot_be(tiny, capsys):
    assert main(arguments(tiny, run_name="r")) == 0
    Path("folder.csv").mkdir()
    Path("file.txt").write_text("mine")
    recommend = ["recommend", "--checkpoint", "results/r/model.pth", "--users", "u1", "--output"]
    for command in (
        [*recommend, "folder.csv"],
        [*recommend, "x" * 248 + ".csv"],
        ["report", "results", "--output", "results"],
        ["missing", "results/r", "--output", "file.txt"],
        ["gap", "results/r", "--output", "file.txt"],
        ["export", "--checkpoint", "results/r/model.pth", "--output", "file.txt"],
        ["recommend", "--checkpoint", "results", "--users", "u1"],
        ["report", "results/r/result.json"],
    ):
        assert main(command) == 2, command
        error = capsys.readouterr().err
        assert "recbole-sibrar: " in error and "Traceback" not in error
    assert Path("file.txt").read_text() == "mine"


@pytest.mark.parametrize("command", [["missing", "r", "--max-subsets", "0"], ["gap", "r", "--max-entities", "-1"],
                                     ["gap", "r", "--seed", "-1"], ["missing", "r", "--seed", str(2**40)]])  # fmt: skip
def test_numbers_of_studies(capsys, command):
    with pytest.raises(SystemExit) as stop:
        main(command)
    assert stop.value.code == 2 and "is not an integer of at least" in capsys.readouterr().err


def test_numbers_in_a_plan_are_names():
    values = yaml.safe_load("{models: [{model: Pop, name: 7}], datasets: 2020, output_dir: 2024, data_path: 5}")
    plan = Plan.from_mapping(values)
    assert (plan.datasets, plan.output_dir, plan.data_path, plan.models[0].name) == (("2020",), "2024", "5", "7")


@pytest.mark.parametrize("change", [{"datasets": ["../x"]}, {"datasets": [None]}, {"output_dir": [1]},
                                    {"models": [3.5]}, {"models": [{"model": "Pop", "variant": ["S"]}]},
                                    {"models": [{"model": "SiBraR", "preset": ["strong"]}]},
                                    {"models": ["SiBraR:S:paper:1"]},
                                    {"reference": {}},
                                    {"scenarios": [["warm"]]}, {"models": [{"model": "Pop", "name": 1.5}]},
                                    {"seeds": "3"}, {"seed": None}, {"options": []}])  # fmt: skip
def test_wrong_values_of_a_plan(change):
    with pytest.raises(OptionError):
        Plan.from_mapping({"models": ["Pop"], **change})


@pytest.mark.parametrize("content", ["not json", "[]", '{"config": []}', '{"config": {}}', "3"])
def test_a_broken_result_is_made_anew(tiny, started, content):
    path = Path("results/Pop-tiny-warm-seed2020/result.json")
    command = ["compare", "--models", "Pop", "--scenarios", "warm", "--dataset", "tiny"]
    command += [f"--{key}={value}" for key, value in tiny.options().items()]
    assert main(command) == 0 and started
    (path,) = Path("results").glob("*/result.json")
    path.write_text(content)
    started.clear()
    assert main(command) == 0 and len(started) == 1
