"""Results that MLflow and Weights & Biases are told of; the real packages where they are installed."""

import json
import sys
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from recbole_sibrar import cli
from recbole_sibrar.data.identity import combined
from recbole_sibrar.errors import WriteError
from recbole_sibrar.evaluation import gap
from recbole_sibrar.report import figures
from recbole_sibrar.report.tracking import Record, search_records, tracker


class FakeMlflow(ModuleType):
    """What is used of MLflow; ``runs`` are those that it has."""

    def __init__(self):
        super().__init__("mlflow")
        self.runs, self.experiment = [], None

    def set_experiment(self, name):
        self.experiment = name

    def search_runs(self, filter_string, output_format):
        key, value = filter_string.removeprefix("tags.`").split("` = ")
        return [run for run in self.runs if run["tags"].get(key) == value.strip("'")]

    @contextmanager
    def start_run(self, run_name):
        self.runs.append({"name": run_name, "params": {}, "metrics": {}, "tags": {}, "curves": {}})
        yield

    def set_tag(self, key, value):
        self.runs[-1]["tags"][key] = value

    def log_params(self, params):
        assert all(isinstance(value, str) for value in params.values())
        self.runs[-1]["params"] |= params

    def log_metrics(self, metrics, step=None):
        for name, value in metrics.items():
            assert isinstance(value, float) and "@" not in name
            self.runs[-1]["metrics"][name] = value
            assert not any(f"{other}/".startswith(f"{name}/") for other in self.runs[-1]["metrics"] if other != name)
            self.runs[-1]["curves"].setdefault(name, []).append((step or 0, value))

    def read(self):
        return {run["name"]: SimpleNamespace(**run) for run in self.runs}


class RealMlflow:
    def __init__(self, module):
        self.client = module.MlflowClient()

    def read(self):
        (experiment,) = (e for e in self.client.search_experiments() if e.name == "recbole-sibrar")
        found = self.client.search_runs([experiment.experiment_id])
        return {run.info.run_name: self._read(run) for run in found}

    def _read(self, run):
        data = run.data
        curves = {
            name: [(m.step, m.value) for m in self.client.get_metric_history(run.info.run_id, name)]
            for name in data.metrics
        }
        return SimpleNamespace(params=data.params, metrics=data.metrics, tags=data.tags, curves=curves)


@pytest.fixture(params=["fake", "real"])
def mlflow(request, monkeypatch, tmp_path):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "mlruns").as_uri())
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    if request.param == "real":
        return RealMlflow(pytest.importorskip("mlflow"))
    fake = FakeMlflow()
    monkeypatch.setitem(sys.modules, "mlflow", fake)
    return fake


class FakeWandb(ModuleType):
    def __init__(self):
        super().__init__("wandb")
        self.runs = {}

    def init(self, project, id, resume, name, job_type, config):
        assert project == "recbole-sibrar" and resume == "allow"
        run = self.runs.setdefault(id, SimpleNamespace(name=name, config=config, summary={}, rows=[], finished=0))
        run.resumed = run.finished > 0
        run.define_metric = lambda name, step_metric: None
        run.log = run.rows.append
        run.finish = lambda: setattr(run, "finished", run.finished + 1)
        return run


@pytest.fixture
def wandb(monkeypatch):
    fake = FakeWandb()
    monkeypatch.setitem(sys.modules, "wandb", fake)
    return fake


def arguments(tiny, *command, **options):
    given = {key: value for key, value in tiny.options().items() if key not in ("state", "show_progress")}
    return [*command, *(f"--{key}={value}" for key, value in {**given, **options}.items())]


def test_mlflow_gets_what_compare_missing_and_gap_found(tiny, started, mlflow, monkeypatch):
    monkeypatch.setattr(gap, "N_TREES", 5)
    monkeypatch.setattr(figures, "save", lambda figure, path: None)
    compare = arguments(tiny, "compare", "--dataset", "tiny", "--models", "SiBraR", "Pop", "--scenarios", "item_cold")
    compare += ["--track", "mlflow"]
    assert cli.main(compare) == 0
    runs = mlflow.read()
    results = {path.parent.name: json.loads(path.read_text()) for path in Path("results").rglob("result.json")}
    assert set(runs) == set(results) and len(runs) == 2
    for name, result in results.items():
        run = runs[name]
        assert run.params["label"] == result["label"] and run.params["scenario"] == "item_cold"
        assert run.params["fingerprint"] == combined(result["data"])
        assert run.params["embedding_size"] == "8" or result["model"] == "Pop"
        assert run.metrics["test/ndcg_at_3"] == pytest.approx(result["test_result"]["ndcg@3"])
        assert run.metrics["valid/ndcg_at_3"] == pytest.approx(result["valid_result"]["ndcg@3"])
        losses = [(row["epoch"], pytest.approx(row["loss"])) for row in result["history"]]
        assert sorted(run.curves["epochs/loss"]) == losses
    assert cli.main(compare) == 0  # the runs are reused, and known to MLflow
    assert len(mlflow.read()) == 2

    (folder,) = (str(path) for path in Path("results").glob("SiBraR*"))
    name = Path(folder).name
    assert cli.main(["missing", folder, "--track", "mlflow"]) == 0
    assert cli.main(["gap", folder, "--output", "results/gap", "--max-entities", "20", "--track", "mlflow"]) == 0
    runs = mlflow.read()
    assert len(runs) == 4
    subsets = pd.read_csv("results/missing/tiny-item_cold/subsets.csv", keep_default_na=False)
    missing, study = runs[f"missing-{name}"], runs[f"gap-{name}"]
    for row in subsets.to_dict("records"):
        subset = row["modalities"].replace("+", "_") or "none"
        assert missing.metrics[f"subset/{subset}"] == pytest.approx(row["ndcg@3"])
    curve = pd.read_csv("results/missing/tiny-item_cold/curve.csv")
    assert sorted(missing.curves["left/mean"]) == [
        (n, pytest.approx(mean)) for n, mean in zip(curve["n_modalities"], curve["mean"])
    ]
    assert missing.params["metric"] == "ndcg@3" and missing.tags["kind"] == "missing"
    found = pd.read_csv("results/gap/gap.csv").iloc[0]
    for column in ("intra_cosine", "prediction_accuracy", "chance"):
        assert study.metrics[column] == pytest.approx(found[column])
    assert study.params["label"] == "SiBraR_SC-paper" and study.params["fingerprint"] == missing.params["fingerprint"]


def test_rates_are_told_with_and_without_training(tiny, mlflow):
    assert (
        cli.main(arguments(tiny, "run", "--model=SiBraR", "--dataset=tiny", "--run_name=r", scenario="item_cold")) == 0
    )
    command = ["missing", "results/r", "--rates", "0", "0.5", "0.504"]
    command += ["--where", "evaluation", "both", "--track", "mlflow"]
    assert cli.main(command) == 0
    (run,) = mlflow.read().values()
    table = pd.read_csv("results/missing/tiny-item_cold/rates.csv")
    expected = {
        f"at {100 * rate:g} percent/{phase}": pytest.approx(value)
        for phase, rate, value in zip(table["where"], table["rate"], table["ndcg@3"])
    }
    assert len(expected) == 6 and {name: run.metrics[name] for name in expected} == expected
    assert [step for step, _ in sorted(run.curves["by percent/both"])] == [0, 50]


@pytest.mark.parametrize("metric", ["NDCG@3", "ARP@3"])  # of the one a bigger value is better, of the other a smaller
def test_a_search_is_told_trial_by_trial(tiny, mlflow, metric):
    Path("space.yaml").write_text("learning_rate: {choice: [0.001, 0.01, 0.1]}")
    command = arguments(tiny, "tune", "--model=SiBraR", "--dataset=tiny", scenario="item_cold", valid_metric=metric)
    command += ["--space", "space.yaml", "--trials", "3", "--algorithm", "random", "--track", "mlflow"]
    assert cli.main(command) == 0
    (folder,) = Path("results").glob("tune-*")
    table, runs = pd.read_csv(folder / "trials.csv"), mlflow.read()
    assert set(runs) == {folder.name, *(f"{folder.name}-trial{number}" for number in table["trial"])}
    for row in table.to_dict("records"):
        run = runs[f"{folder.name}-trial{row['trial']}"]
        assert float(run.params["learning_rate"]) == row["learning_rate"] and run.params["scenario"] == "item_cold"
        assert run.metrics["score"] == pytest.approx(row["score"]) and run.tags["kind"] == "trial"
        assert run.metrics["valid/ndcg_at_3"] == pytest.approx(row["validation ndcg@3"])
    search, smaller = runs[folder.name], metric.startswith("ARP")
    best = table.loc[table["score"].idxmin() if smaller else table["score"].idxmax()]
    assert search.metrics["score"] == pytest.approx(best["score"])
    assert float(search.params["learning_rate"]) == best["learning_rate"] and search.metrics["n_failed"] == 0
    rising = (table["score"].cummin() if smaller else table["score"].cummax()).tolist()
    assert [value for _, value in sorted(search.curves["trials/best"])] == pytest.approx(rising)


def test_a_trial_that_failed_is_told_with_its_error():
    failed = {"options": {"a": 1}, "score": None, "valid_result": {}, "seconds": 1.0, "error": "ValueError: too much"}
    good = {**failed, "options": {"a": 2}, "score": 0.5, "valid_result": {"ndcg@3": 0.5}, "error": None}
    one, two, search = search_records("s", {"model": "M"}, [failed, good], good, True)
    assert one.options["error"] == "ValueError: too much" and "error" not in two.options
    assert search.options == {"model": "M", "a": 2} and search.metrics["n_failed"] == 1
    assert [row["trials/best"] for row in search.curve] == [None, 0.5]


def test_wandb_gets_a_run_once(tiny, wandb):
    command = arguments(tiny, "run", "--model=SiBraR", "--dataset=tiny", "--track=wandb", scenario="item_cold")
    assert cli.main(command) == 0
    (run,) = wandb.runs.values()
    (result,) = (json.loads(path.read_text()) for path in Path("results").rglob("result.json"))
    assert run.name == result["name"] and run.config["label"] == "SiBraR_SC-paper" and run.finished == 1
    assert run.summary["test/ndcg@3"] == result["test_result"]["ndcg@3"]
    assert [row["epoch"] for row in run.rows] == [1, 2] and run.rows[1]["epochs/valid"] == result["history"][1]["valid"]
    track = tracker("wandb")
    record = Record("r", "run", {"a": 1}, {"b": 0.5, "c": np.nan, "d": None}, "epoch", [{"epoch": 1, "loss": 0.1}])
    for _ in range(2):
        track([record])
    again = wandb.runs[record.key]
    assert again.finished == 2 and len(again.rows) == 1 and again.summary == {"b": 0.5}


@pytest.mark.parametrize("name", ["mlflow", "wandb"])
def test_a_tracker_that_is_not_installed_is_named_before_anything_runs(tiny, monkeypatch, capsys, name):
    monkeypatch.setitem(sys.modules, name, None)
    for command in (
        ["run"],
        ["compare", "--models", "Pop"],
        ["missing", "x"],
        ["gap", "x"],
        ["reproduce", "ml-1m"],
        ["tune"],
    ):
        assert cli.main([*command, "--track", name]) == 2
        assert f"{name}, which is not installed: pip install 'recbole-sibrar[{name}]'" in capsys.readouterr().err
    assert not Path("results").exists()
    tracker(None)([])


def test_what_a_tracker_refuses_is_a_sentence(monkeypatch):
    fake = FakeMlflow()
    monkeypatch.setattr(fake, "set_experiment", lambda name: 1 / 0)
    monkeypatch.setitem(sys.modules, "mlflow", fake)
    with pytest.raises(WriteError, match="mlflow did not take r .ZeroDivisionError.*The results are written"):
        tracker("mlflow")([Record("r", "run", {}, {})])
