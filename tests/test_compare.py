"""The ``compare`` command: what it runs, what it reuses, what it writes."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import InThisProcess, folder_of, names, naming, plain
from recbole.evaluator import metric_types, metrics_dict
from recbole.utils import EvaluatorType

from recbole_sibrar import cli
from recbole_sibrar.errors import OptionError
from recbole_sibrar.evaluation.metrics import METRICS
from recbole_sibrar.evaluation.significance import paired_tests
from recbole_sibrar.experiments import execute
from recbole_sibrar.experiments.compare import plan_runs
from recbole_sibrar.experiments.plan import ModelSpec, Plan
from recbole_sibrar.recbole_plugin.prepared import DataNow
from recbole_sibrar.report.collection import groups, read_runs
from recbole_sibrar.report.comparison import MARKDOWN, Comparison, Entry, cells, goodness, latex, places, terminal


def test_a_run_shows_its_epochs_while_it_goes_on(tiny):
    settings = {key: value for key, value in tiny.options().items() if key not in ("state", "show_progress")}
    plan = Plan(
        models=(ModelSpec.parse("SiBraR"),),
        datasets=("tiny",),
        scenarios=("warm",),
        options={**settings, "epochs": 5, "stopping_step": 5},
    )
    (run,), seen = plan_runs(plan), []
    process = execute.RunProcess(run, DataNow().read_by(run.recbole_config))
    while not process.has_ended:
        seen.append(process.state)
        process.wait(0.001)
    outcome = process.outcome()
    assert outcome.error is None
    history = outcome.result["history"]
    expected = [run.name, *(f"{run.name}, epoch {epoch['epoch']}: {epoch['valid']:.4f}" for epoch in history)]
    assert seen[0] == run.name and len(set(seen)) > 2 and set(seen) <= set(expected)
    assert not (run.folder / "progress.csv").exists()


@pytest.mark.parametrize("n_jobs, threads", [(1, 4), (2, 2), (3, 1), (9, 1)])
def test_several_runs_at_a_time_share_the_threads(tiny, monkeypatch, n_jobs, threads):
    going, most = [], []

    def start(command, errors, threads):
        going.append((InThisProcess(command, looks=len(command) % 3 + 1), threads))
        most.append(sum(process.looks >= 0 for process, _ in going))
        return going[-1][0]

    monkeypatch.setattr(execute, "start", start)
    monkeypatch.setattr(execute.torch, "get_num_threads", lambda: 4)
    command = arguments(tiny, "Pop", "Random", scenarios=("item_cold", "warm"), jobs=n_jobs)
    assert cli.main(command) == 0
    assert {given for _, given in going} == {threads} and max(most) == min(n_jobs, 4)
    table = pd.read_csv("results/comparison/tiny-warm.csv")
    assert list(table["model"]) == ["Pop", "Random"] and table["n_seeds"].tolist() == [1, 1]


def test_the_environment_may_say_how_many_threads(monkeypatch, tmp_path):
    told = []
    for given in ({}, {"OMP_NUM_THREADS": "7"}):
        monkeypatch.setattr(execute.os, "environ", {"PATH": execute.os.environ["PATH"], **given})
        with open(tmp_path / "errors", "w+") as errors:
            show = "import os, sys; sys.exit(os.environ['OMP_NUM_THREADS'])"
            execute.start([sys.executable, "-c", show], errors, threads=3).wait()
            errors.seek(0)
            told.append(errors.read().strip())
    assert told == ["3", "7"]


def arguments(tiny, *models, scenarios=("item_cold",), **options):
    given = {key: value for key, value in tiny.options().items() if key not in ("state", "show_progress")}
    options = [f"--{key}={value}" for key, value in {**given, **options}.items()]
    return ["compare", "--dataset", "tiny", "--models", *models, "--scenarios", *scenarios, *options]


def test_every_combination_is_run_and_every_file_written(tiny, started, capsys):
    command = arguments(tiny, "SiBraR:SC", "MuBraR:base", "BPR", scenarios=("item_cold", "warm"), seeds=2)
    assert cli.main(command) == 0
    labels, seeds = ("SiBraR_SC-paper", "MuBraR-paper", "BPR"), (2020, 2021)
    expected = {f"{m}-tiny-{s}-seed{n}" for m in labels for s in ("item_cold", "warm") for n in seeds}
    assert set(started) == expected and len(started) == len(expected)
    tests = ["-significance.md", "-significance.csv", "-splits.csv"]
    suffixes = [".md", ".csv", ".tex", ".pdf", ".png", ".svg", *tests]
    files = {f"tiny-{scenario}{suffix}" for scenario in ("item_cold", "warm") for suffix in suffixes}
    assert {path.name for path in Path("results/comparison").iterdir()} == files

    table = pd.read_csv("results/comparison/tiny-item_cold.csv").set_index("model")
    stored = [json.loads((folder_of(f"BPR-tiny-item_cold-seed{n}") / "result.json").read_text()) for n in seeds]
    assert table["data"].nunique() == 2 and table.loc["SiBraR_SC-paper", "data"] == table.loc["MuBraR-paper", "data"]
    values = [result["test_result"]["ndcg@3"] for result in stored]
    assert table.loc["BPR", "ndcg@3"] == pytest.approx(np.mean(values))
    assert table.loc["BPR", "ndcg@3_std"] == pytest.approx(np.std(values, ddof=1))

    per_user = {
        label: [pd.read_csv(folder_of(f"{label}-tiny-warm-seed{n}") / "per_user.csv", index_col=0) for n in seeds]
        for label in ("SiBraR_SC-paper", "BPR")
    }
    differences = [first["ndcg@3"] - second["ndcg@3"] for first, second in zip(*per_user.values())]
    tests = pd.read_csv("results/comparison/tiny-warm-significance.csv")
    tests = tests[tests["metric"] == "ndcg@3"].set_index("model")
    assert list(tests.index) == ["MuBraR-paper", "BPR"] and set(tests["reference"]) == {"SiBraR_SC-paper"}
    assert tests.loc["BPR", "n_splits"] == 2
    assert tests.loc["BPR", "difference"] == pytest.approx(np.mean([values.mean() for values in differences]))
    of_splits = pd.read_csv("results/comparison/tiny-warm-splits.csv").set_index(["metric", "model", "split"])
    for seed, first, second in zip(seeds, *per_user.values()):
        wanted = paired_tests(first["ndcg@3"], second["ndcg@3"])
        found = of_splits.loc[("ndcg@3", "BPR", seed), ["n_users", "t_p", "w_p"]]
        assert found.tolist() == pytest.approx([wanted["n_users"], wanted["t_p"], wanted["w_p"]])
    printed = capsys.readouterr().out
    assert "tiny, item_cold, mean ± standard deviation of seeds 2020-2021, a split for each seed" in printed
    (mark,) = re.findall("^(.) does not score cold items; they get: behind all other", printed, re.MULTILINE)
    assert f"BPR {mark}" in printed


def test_finished_runs_are_reused_and_others_are_not(tiny, started, capsys):
    assert cli.main(arguments(tiny, "SiBraR", "BPR")) == 0
    assert len(started) == 2
    assert cli.main(arguments(tiny, "SiBraR", "BPR")) == 0
    assert len(started) == 2
    assert cli.main([*arguments(tiny, "SiBraR", "BPR"), "--temperature=0.5"]) == 0
    assert started[2:] == ["SiBraR_SC-paper-tiny-item_cold-seed2020"]
    assert cli.main(arguments(tiny, "SiBraR", "BPR", temperature=0.5, epochs=1)) == 0
    assert len(started) == 5
    for options in ({}, {"temperature": 0.5}, {"temperature": 0.5, "epochs": 1}):
        assert cli.main(arguments(tiny, "SiBraR", "BPR", **options)) == 0
    assert len(started) == 5, "runs with other options have not replaced one another"
    with open(tiny.folder / "tiny/tiny.yaml", "a") as file:
        file.write("temperature: 0.25\n")
    assert cli.main(arguments(tiny, "SiBraR")) == 0 and len(started) == 6
    assert "runs again: it was made with temperature=0.1, wanted is 0.25" in capsys.readouterr().err


def test_a_finished_run_without_the_model_on_everything_is_not_reused_where_that_is_wanted(tiny, started):
    command = arguments(tiny, "Pop", scenarios=("warm",))
    for fit, n in (("split", 1), ("all", 2), ("all", 2), ("split", 2)):
        assert cli.main([*command, f"--fit={fit}"]) == 0 and len(started) == n
    (path,) = Path("results").glob("*/model-all.pth")
    path.unlink()
    assert cli.main([*command, "--fit=all"]) == 0 and path.is_file()


def test_a_baseline_does_not_run_again_for_an_option_that_a_scenario_sets_for_other_models(tiny):
    models = tuple(map(ModelSpec.parse, ("SiBraR", "CLCRec", "BPR")))
    options = {key: value for key, value in tiny.options().items() if key not in ("output_dir", "data_path")}
    plan = Plan(models, ("tiny",), ("warm", "item_cold"), options=options, data_path=tiny.options()["data_path"])
    known = {(run.model, run.scenario): set(run.config) for run in plan_runs(plan)}
    assert {"single_branch", "interaction_prior"} <= known["SiBraR", "warm"]
    assert "content_side" in known["CLCRec", "item_cold"]
    for scenario in ("warm", "item_cold"):
        assert not known["CLCRec", scenario] & {"single_branch", "content_prior", "interaction_prior"}
        assert not known["BPR", scenario] & {"single_branch", "content_side", "content_prior", "interaction_prior"}


def test_a_run_of_its_own_is_reused(tiny, started):
    options = [f"--{key}={value}" for key, value in tiny.options().items()]
    assert cli.main(["run", "--model=Pop", "--dataset=tiny", "--scenario=warm", *options]) == 0
    assert cli.main(arguments(tiny, "Pop", scenarios=("warm",))) == 0
    assert started == []


def test_an_interrupted_run_goes_on_unless_its_options_changed(tiny, started, monkeypatch):
    from recbole_sibrar.recbole_plugin.trainer import ProtocolTrainer

    original, epochs = ProtocolTrainer._train_epoch, []

    def interrupt(self, train_data, epoch_idx, *args, **kwargs):
        epochs.append(epoch_idx)
        result = original(self, train_data, epoch_idx, *args, **kwargs)
        if len(epochs) == 3:
            raise KeyboardInterrupt
        return result

    monkeypatch.setattr(ProtocolTrainer, "_train_epoch", interrupt)
    assert cli.main(arguments(tiny, "SiBraR", epochs=4)) == 1
    assert cli.main(arguments(tiny, "SiBraR", epochs=4)) == 0
    assert epochs == [0, 1, 2, 2, 3]
    (folder_of("SiBraR_SC-paper-tiny-item_cold-seed2020") / "result.json").unlink()
    epochs.clear()
    assert cli.main(arguments(tiny, "SiBraR", epochs=4)) == 1
    assert cli.main(arguments(tiny, "SiBraR", epochs=4, temperature=0.3)) == 0
    assert epochs == [0, 1, 2, 0, 1, 2, 3]


def test_a_failing_model_is_reported_and_does_not_stop_the_others(tiny, capsys):
    """In processes of their own: one of the two fails while it trains."""
    models = {
        "models": [{"model": "SiBraR", "name": "broken", "options": {"item_modalities": ["genre"]}}, "Pop"],
        "datasets": "tiny",
        "scenarios": ["warm"],
        "options": {key: value for key, value in tiny.options().items() if key != "data_path"},
        "data_path": str(tiny.folder),
    }
    Path("plan.yaml").write_text(yaml.safe_dump(models))
    earlier = [Path(f"results/comparison/tiny-warm{end}") for end in ("-significance.md", "-significance.csv")]
    earlier[0].parent.mkdir(parents=True)
    for path in earlier:
        path.touch()
    assert cli.main(["compare", "--file", "plan.yaml"]) == 1
    printed = capsys.readouterr()
    folder = folder_of("broken-tiny-warm-seed2020")
    assert f"{folder.name} failed: recbole-sibrar: Unknown item modality 'genre'" in printed.err
    assert f"failed: {folder.name}; see {folder}/error.txt" in printed.out
    assert "1 of 1 runs failed" in printed.out and "Traceback" not in printed.out
    error = (folder / "error.txt").read_text()
    assert {path.name for path in folder.iterdir()} == {"error.txt"}
    assert "--item_modalities=['genre']" in error.replace("'\"'\"'", "'") and "exit code 2" in error
    table = pd.read_csv("results/comparison/tiny-warm.csv").set_index("model")
    assert table["n_seeds"].to_dict() == {"broken": 0, "Pop": 1} and table.loc["Pop", "ndcg@3"] > 0
    assert names(printed.out, "Nothing is tested | broken | reference") and not any(path.exists() for path in earlier)


def test_fixed_split(tiny, started):
    assert cli.main([*arguments(tiny, "Pop", scenarios=("item_cold",), seeds=2), "--fixed_split"]) == 0
    assert started == [f"Pop-tiny-item_cold-split2020-seed{seed}" for seed in (2020, 2021)]
    users = [set(pd.read_csv(folder_of(name) / "per_user.csv")["user_id"]) for name in started]
    assert users[0] == users[1]
    assert "the split of seed 2020" in Path("results/comparison/tiny-item_cold-split2020.md").read_text()


def test_tables_whose_figures_mean_something_else_stand_beside_each_other(tiny, started):
    for given in ([], ["--fixed_split"], ["--eval_candidates=all"], ["--fixed_split", "--map_divisor=relevant_items"]):
        assert cli.main([*arguments(tiny, "Pop", scenarios=("item_cold",)), *given]) == 0
    stems = {path.stem for path in Path("results/comparison").glob("*.tex")}
    others = ("split2020", "eval_candidates=all", "split2020-map_divisor=relevant_items")
    assert stems == {"tiny-item_cold", *(f"tiny-item_cold-{other}" for other in others)}
    labels = [re.search(r"label{(.*?)}", path.read_text())[1] for path in Path("results/comparison").glob("*.tex")]
    assert len(set(labels)) == 4


def test_seeds_do_not_make_several_splits_of_one_in_time(tiny, started, capsys):
    tiny.file("inter", "user_id:token\titem_id:token\ttimestamp:float",
              [f"u{user}\ti{item}\t{n}" for n, (user, item) in enumerate(tiny.pairs)])  # fmt: skip
    ordered = {"eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO"}}
    assert cli.main(arguments(tiny, "BPR", "Pop", scenarios=("warm",), seeds=2, **ordered)) == 0
    verdict, of_splits = (next(Path("results/comparison").glob(f"*-{end}.csv")) for end in ("significance", "splits"))
    assert plain(verdict.name.removesuffix("-significance.csv")) == "tiny-warm"
    assert set(pd.read_csv(verdict)["n_splits"]) == {1} and set(pd.read_csv(of_splits)["split"]) == {"time"}
    assert "the split by time" in capsys.readouterr().out
    (group,) = groups(read_runs("results"))
    assert "one split" in group.comparison.basis


def test_a_metric_without_a_length_is_a_column(tiny, started, capsys):
    command = arguments(tiny, "Pop", "Random", scenarios=("warm",), metrics="[NDCG,GAUC]")
    assert cli.main([*command, "--columns", "gauc@3"]) == 2 and started == []
    assert names(capsys.readouterr().err, "columns | 'gauc@3' | gauc")
    assert cli.main([*command, "--columns", "gauc", "ndcg@3", "NDCG@3"]) == 0
    assert pd.read_csv("results/comparison/tiny-warm.csv")["gauc"].notna().all()
    assert len(pd.read_csv("results/comparison/tiny-warm-significance.csv")) == 1, "a column that is named twice is one"
    capsys.readouterr()
    assert cli.main([*command, "--columns", "gauc"]) == 0
    assert names(capsys.readouterr().out, "Nothing is tested | no GAUC")


def test_an_option_goes_to_the_models_that_know_it(tiny):
    plan = Plan.from_mapping(
        {
            "models": ["SiBraR", "BPR", {"model": "LightGCN", "options": {"n_layers": 1}}],
            "datasets": "tiny",
            "scenarios": "warm",
            "options": {**tiny.options(), "temperature": 0.5, "n_layers": 3},
        }
    )
    sibrar, bpr, lightgcn = (run.options for run in plan_runs(plan))
    assert sibrar["temperature"] == 0.5 and "temperature" not in bpr and "temperature" not in lightgcn
    assert lightgcn["n_layers"] == 1 and "n_layers" not in bpr and bpr["embedding_size"] == 8


@pytest.mark.parametrize(
    "extra, message",
    [
        (["--models", "SiBrar"], "Unknown model 'SiBrar'"),
        (["--models", "SiBraR:CS"], "variant | 'CS'"),
        (["--models", "BPR:SC"], "BPR has no variants"),
        (["--models", "SiBraR", "SiBraR:SC"], "Two models are called 'SiBraR_SC-paper'"),
        (["--scenarios", "cold"], "Unknown scenario 'cold'"),
        (["--scenarios", "warm", "warm"], "scenarios | twice"),
        (["--dataset", "tinny"], "Data set 'tinny' not found"),
        (["--seeds", "0"], "seeds | 0 | 1 | integer | how many"),
        (["--reference", "BRP"], "'BRP' | 'BPR' | not compared"),
        (["--columns", "ndgc@3"], "columns | 'ndgc@3' | 'ndcg@3' | not computed"),
        (["--temprature=0.1"], "'temprature' | 'temperature'"),
        (["--scenario=warm"], "scenario | scenarios"),
        (["--model=Pop"], "model | models"),
        (["--run_name=mine"], "run_name | name"),
        (["--config_files", "mine.yaml"], "config_files | --file | options"),
        (["--embedding_size=large"], "embedding_size | 'large'"),
        (["--valid_metric=NDGC@3"], "valid_metric | 'NDGC@3'"),
        (["--file", "absent.yaml"], "absent.yaml: no such property file"),
    ],
)
def test_mistakes_stop_everything_before_it_begins(tiny, started, capsys, extra, message):
    given = {argument.split("=")[0] for argument in extra if "=" in argument}
    kept = [a for a in arguments(tiny, "BPR", "SiBraR") if a.split("=")[0] not in given]
    assert cli.main([*kept, *extra]) == 2
    error = capsys.readouterr().err
    assert names(error, message) and "Traceback" not in error
    assert started == [] and not Path("results").exists()


@pytest.mark.parametrize(
    "values, message",
    [
        ({}, "A comparison needs models"),
        ({"models": "BPR", "scenario": "warm"}, "'scenario' | 'scenarios'"),
        ({"models": [{"modle": "BPR"}]}, "'modle' | 'model'"),
        ({"models": [{"model": "BPR", "name": "a/b"}]}, "The name 'a/b' of a model | letters"),
        ({"models": [{"model": "BPR", "name": "..b"}]}, "The name '..b' of a model | letters"),
        ({"models": "BPR", "scenarios": []}, "scenarios | empty"),
        ({"models": "BPR", "datasets": []}, "datasets | empty"),
        ({"models": [{"model": "BPR", "options": 3}]}, "options of BPR is 3"),
        ({"models": [3]}, "3 | mapping"),
        ({"models": "BPR", "options": [1]}, "options | [1] | 'option: value'"),
        ({"models": "BPR", "options": {"seed": 5}}, "seed | seeds"),
        ({"models": {"model": "BPR", "options": {"dataset": "a"}}}, "dataset | datasets"),
        ({"models": "BPR", "fixed_split": "yes"}, "fixed_split | 'yes' | True or False"),
    ],
)
def test_mistakes_in_a_plan(values, message):
    with pytest.raises(OptionError, match=naming(message)):
        Plan.from_mapping(values)


@pytest.mark.parametrize(
    "name, value", [("topk", [3, 5]), ("split_seed", 1), ("eval_args", {"split": {"RS": [0.5, 0.25, 0.25]}})]
)
def test_models_of_one_table_have_one_protocol(tiny, name, value):
    models = ["Pop", {"model": "BPR", "options": {name: value}}]
    values = {"models": models, "datasets": "tiny", "scenarios": "warm", "options": tiny.options()}
    with pytest.raises(OptionError, match=naming(f"{name} | BPR | Pop")):
        plan_runs(Plan.from_mapping(values))


def test_specs():
    assert Plan.from_mapping({"models": "BPR", "columns": ["NDCG@10"]}).columns == ("ndcg@10",)
    assert ModelSpec.parse("BPR") == ModelSpec("BPR") and str(ModelSpec.parse("SiBraR:S")) == "SiBraR:S"
    assert ModelSpec.parse({"model": "BPR", "name": "mine", "options": {"a": 1}}).options == {"a": 1}


# tables


def result(ndcg, valid=0.2, fallback=None, n_candidates=1000, seed=1, **metrics):
    return {
        "n_candidates": n_candidates,
        "test_result": {"ndcg@10": ndcg, **metrics},
        "valid_result": {"ndcg@10": valid},
        "seconds": {"training": 1.0},
        "n_parameters": 10,
        "scenario": "item_cold",
        "seed": seed,
        "cold_fallback": fallback or {},
        "data": {"interactions": "05574cc6d2b4d90e"},
    }


def comparison(*entries, columns=("ndcg@10",), seeds=(1, 2), tests=()):
    tests = pd.DataFrame(tests)
    return Comparison("d", "warm", list(seeds), None, "ndcg@10", list(columns), list(entries), tests)


def test_marks_means_and_deviations():
    table = comparison(
        Entry("A_S", (result(0.1), result(0.3)), 2),
        Entry("B", (result(0.4),), 2, "Traceback\nValueError: 5 % of {it}"),
        Entry("C", (result(0.1, fallback={"item": "behind"}), result(0.1)), 2),
        Entry("D", (), 2, "boom"),
    )
    shown = cells(table, MARKDOWN).set_index("model")["NDCG@10"]
    assert shown.to_dict() == {
        "A_S": "<u>0.2000 ± 0.1414</u>",
        "B †": "**0.4000**",
        "C ‡": "0.1000 ± 0.0000",
        "D §": "",
    }
    assert cells(table, MARKDOWN)["parameters"].tolist() == ["10", "10", "10", ""]
    text = latex(table)
    assert "parameters" in text and "parameters" in terminal(table)
    assert "A\\_S & 0.2000" in text.replace("\\textbf{", "").replace("\\underline{0.2000 $\\pm$ 0.1414}", "0.2000")
    assert "\\textbf{0.4000}" in text and "B$^{\\dagger}$" in text and "5 \\% of \\{it\\}" in text
    assert text.count("{") == text.count("}")
    assert "0.4000 ¹" in terminal(table) and "§ 2 of 2 runs failed: boom" in terminal(table)


def test_a_fallback_is_never_the_best_and_nothing_is_best_of_one():
    fallback, learned, worse = (Entry(n, (result(v),), 1) for n, v in zip("FLW", (0.4, 0.3, 0.2)))
    fallback = Entry("F", (result(0.4, fallback={"item": "behind"}),), 1)
    assert cells(comparison(fallback, learned, worse), MARKDOWN)["NDCG@10"].tolist() == [
        "0.4000", "**0.3000**", "<u>0.2000</u>",
    ]  # fmt: skip
    few = Entry("F", ({**result(0.4, fallback={"item": "behind"}), "scenario": "warm"}, result(0.4)), 2)
    table = comparison(few, learned)
    assert cells(table, MARKDOWN)["NDCG@10"].tolist()[1] == "<u>0.3000</u>" and "behind" in terminal(table)
    assert cells(comparison(learned), MARKDOWN)["NDCG@10"].tolist() == ["0.3000"]
    stale = Entry("L", (result(0.3),), 1, stale="made from other data")
    for other in (stale, fallback):
        assert cells(comparison(other, worse), MARKDOWN)["NDCG@10"].tolist()[1] == "0.2000"


def test_few_candidates_are_said_and_differences_marked():
    entries = [Entry("A", (result(0.3, n_candidates=57),), 1), Entry("B", (result(0.2, n_candidates=57),), 1)]
    verdict = {"metric": "ndcg@10", "reference": "A", "model": "B", "n_splits": 3, "n_users": 9, "difference": 0.1,
               "low": 0.05, "high": 0.15, "p": 0.01, "p_holm": 0.01, "p_bonferroni": 0.01}  # fmt: skip
    table = comparison(*entries, tests=[verdict])
    assert "Only 57 candidates for lists of 10" in terminal(table) and "Only 57 candidates" in latex(table)
    assert cells(table, MARKDOWN)["NDCG@10"].tolist() == ["**0.3000**", "<u>0.2000</u>\\*"]
    assert "$-$0.2500" in latex(comparison(Entry("A", (result(-0.25),), 1)))
    assert "\\underline{0.2000}$^{*}$" in latex(table) and "paired over 3 splits" in terminal(table)
    verdict["p_holm"] = 0.2
    assert cells(comparison(*entries, tests=[verdict]), MARKDOWN)["NDCG@10"].tolist()[1] == "<u>0.2000</u>"


@pytest.mark.parametrize(
    "history, allowed, n_parameters, note",
    [
        ([0.1], 1, 10, "trained for one epoch only"),
        ([None], 1, 10, "trained for one epoch only"),
        ([None, None], 2, 10, None),
        ([0.1, 0.2], 2, 10, "still rising after the 2 epochs it was given"),
        ([0.2, 0.1], 2, 10, None),
        ([0.1, 0.2], 9, 10, None),
        ([0.1], 1, 1, None),
    ],
)
def test_runs_that_were_cut_short_are_marked(history, allowed, n_parameters, note):
    run = {
        **result(0.3),
        "n_parameters": n_parameters,
        "n_epochs": len(history),
        "history": [{"epoch": n, "loss": 1.0, "valid": valid} for n, valid in enumerate(history, start=1)],
        "best_valid_score": max(valid or 0 for valid in history),
        "config": {"epochs": allowed},
    }
    assert Entry("A", (run,), 1).notes == ([note] if note else [])


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs LaTeX (apt-get install texlive-latex-recommended)")
def test_the_latex_table_compiles(tmp_path):
    strange = r"ValueError: 5 % of {it} & C:\new~1, x_1^2 < #3 > $y"
    failed = [Entry(f"M_{n}", (result(0.1),), 2, f"{strange} {n}") for n in range(6)]
    table = comparison(Entry("A_S", (result(0.1), result(0.3)), 2), *failed)
    document = f"\\documentclass{{article}}\\usepackage{{booktabs}}\\begin{{document}}{latex(table)}\\end{{document}}"
    (tmp_path / "table.tex").write_text(document, encoding="utf-8")
    command = ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "table.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace")
    assert done.returncode == 0 and (tmp_path / "table.pdf").is_file(), done.stdout[-2000:]


def test_directions():
    values = pd.Series([-0.5, 0.1, 0.3])
    assert places("ndcg@10", values) == [0, 2, 1] and places("arp@10", values) == [1, 2, 0]
    assert places("pl@10", values) == [0, 1, 2] and places("validation ndcg@10", values) == [0, 2, 1]
    assert places("ndcg@10", pd.Series([np.nan, 0.1])) == [0, 1]
    assert places("ndcg@10", pd.Series([0.1, 0.1, 0.1])) == [0, 0, 0], "no best where all are alike"
    assert goodness("arp@5", pd.Series([2.0])).tolist() == [-2.0]


def test_recboles_own_metrics_have_its_directions():
    own = [name for name, kind in metric_types.items() if kind == EvaluatorType.RANKING and name not in METRICS]
    turned = {name for name in own if goodness(f"{name}@10", pd.Series([2.0])).tolist() == [-2.0]}
    assert turned == {name for name in own if metrics_dict[name].smaller} != set()


# data that change between runs


def test_a_result_of_other_data_is_made_again(tiny, started, capsys):
    command = arguments(tiny, "SiBraR", "Pop", "DropoutNet")
    assert cli.main(command) == 0 and len(started) == 3
    lines = (tiny.folder / "tiny/tiny.item").read_text().splitlines()
    (tiny.folder / "tiny/tiny.item").write_text("\n".join([lines[0], *reversed(lines[1:])]) + "\n")
    assert cli.main(command) == 0 and len(started) == 3
    tiny.vectors[7] = [1.0, 1.25, -7.0]
    tiny.write()
    assert cli.main(command) == 0
    assert sorted(started[3:]) == ["DropoutNet-tiny-item_cold-seed2020", "SiBraR_SC-paper-tiny-item_cold-seed2020"]
    assert "runs again: it was made from other data: item picture of tiny changed" in capsys.readouterr().err
    tiny.pairs = tiny.pairs[:-1]
    tiny.write()
    assert cli.main(command) == 0 and len(started) == 8


def test_an_interrupted_run_does_not_go_on_with_other_data(tiny, started, monkeypatch):
    from recbole_sibrar.recbole_plugin.trainer import ProtocolTrainer

    original, epochs = ProtocolTrainer._train_epoch, []

    def interrupt(self, train_data, epoch_idx, *args, **kwargs):
        epochs.append(epoch_idx)
        if len(epochs) == 3:
            raise KeyboardInterrupt
        return original(self, train_data, epoch_idx, *args, **kwargs)

    monkeypatch.setattr(ProtocolTrainer, "_train_epoch", interrupt)
    assert cli.main(arguments(tiny, "BPR", scenarios=("warm",), epochs=4)) == 1
    tiny.pairs = tiny.pairs[:-1]
    tiny.write()
    assert cli.main(arguments(tiny, "BPR", scenarios=("warm",), epochs=4)) == 0
    assert epochs == [0, 1, 2, 0, 1, 2, 3]


def test_data_that_change_while_it_runs_fail_the_run(tiny, started, monkeypatch, capsys):
    start = execute.start

    def change_and_start(*arguments, **options):
        tiny.pairs = tiny.pairs[:-1]
        tiny.write()
        return start(*arguments, **options)

    monkeypatch.setattr(execute, "start", change_and_start)
    assert cli.main(arguments(tiny, "Pop", scenarios=("warm",))) == 1
    assert "other data: interactions of tiny changed" in capsys.readouterr().err


def test_a_run_that_has_left_its_result_is_finished_however_its_process_ended(tiny, monkeypatch):
    def start_and_kill(command, errors, threads):
        process = InThisProcess(command)
        process.returncode = -9
        (folder_of("Pop-tiny-warm-seed2020") / "progress.pth").touch()
        return process

    monkeypatch.setattr(execute, "start", start_and_kill)
    assert cli.main(arguments(tiny, "Pop", scenarios=("warm",))) == 0
    files = {path.name for path in folder_of("Pop-tiny-warm-seed2020").iterdir()}
    assert files == {"result.json", "per_user.csv", "per_item.csv", "model.pth"}
