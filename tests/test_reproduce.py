"""The papers' settings and figures as data, and the command that runs them."""

from pathlib import Path

import pandas as pd
import pytest
from conftest import names

from recbole_sibrar import cli
from recbole_sibrar.experiments import reproduce
from recbole_sibrar.scenarios import SCENARIOS

TABLES = [(d, s) for d in reproduce.paper_datasets() for s in reproduce.paper_scenarios(d)]


def test_the_figures_are_complete():
    table = pd.concat(reproduce.published(dataset).assign(dataset=dataset) for dataset in reproduce.paper_datasets())
    assert len(table) == 29 and table["value"].between(0, 1).all() and table["source"].notna().all()
    figures = table.set_index(["dataset", "scenario", "model", "metric"])["value"]
    assert figures["ml-1m", "item_cold", "SiBraR_SC", "NDCG@10"] == 0.2994
    assert set(table["model"]) <= set(reproduce.paper_models())


@pytest.fixture
def paper(tiny, tmp_path, monkeypatch, started):
    """A paper about the tiny data set."""
    folder = tmp_path / "paper"
    (folder / "tiny").mkdir(parents=True)
    (folder / "tiny" / "SiBraR.yaml").write_text("rec_loss: bpr\nlearning_rate: 0.01\nepochs: 9\n")
    (folder / "scenarios.yaml").write_text("tiny: [warm, item_cold]\n")
    (folder / "models.yaml").write_text("SiBraR_SC: SiBraR:SC\nMF: BPR\nPop: Pop\n")
    (folder / "results.csv").write_text(
        "# from nowhere\ndataset,scenario,model,metric,value,source\n"
        "tiny,item_cold,SiBraR_SC,NDCG@3,0.25,here\ntiny,item_cold,CLCRec,NDCG@3,0.5,here\n"
        "tiny,warm,MF,NDCG@3,0.125,here\ntiny,one_modality,MF,NDCG@3,0.5,here\n"
    )
    monkeypatch.setattr(reproduce, "paper_folder", lambda: folder)
    given = {key: value for key, value in tiny.options().items() if key not in ("state", "show_progress")}
    return ["reproduce", "tiny", *(f"--{key}={value}" for key, value in given.items())]


def test_ours_beside_the_papers(paper, capsys):
    assert cli.main(paper) == 0
    table = pd.read_csv("results/reproduction/tiny-paper.csv").set_index(["scenario", "model"])
    assert list(table.index) == [("item_cold", "SiBraR_SC"), ("item_cold", "CLCRec"), ("warm", "MF")]
    ours = pd.read_csv("results/reproduction/tiny-warm.csv").set_index("model")
    row = table.loc[("warm", "MF")]
    assert row["paper"] == 0.125 and row["ours"] == pytest.approx(ours.loc["MF", "ndcg@3"])
    assert row["difference"] == pytest.approx(row["ours"] - 0.125)
    assert table.loc[("item_cold", "CLCRec"), ["ours", "difference"]].isna().all()
    printed = capsys.readouterr().out
    assert "tiny: the papers' figures and ours" in printed and "0.1250" in printed
    assert {path.name for path in Path("results/reproduction").glob("*-paper.*")} == {"tiny-paper.csv", "tiny-paper.md"}


def test_settings_are_the_papers_and_the_command_line_wins(paper):
    plan = reproduce.Plan.from_mapping(
        {
            "models": ["SiBraR_SC", "MF"],
            "datasets": "tiny",
            "scenarios": "warm",
            "options": {"epochs": 2, "temperature": 0.5},
            "data_path": next(word for word in paper if "data_path" in word).partition("=")[2],
        }
    )
    network, factorisation = reproduce.plan_paper_runs(plan)
    assert (
        network.name == "paper-SiBraR_SC-tiny-warm-seed2020-epochs=2-temperature=0.5"
        and network.config["variant"] == "SC"
    )
    assert network.config["rec_loss"] == "bpr" and network.config["learning_rate"] == 0.01
    assert network.config["epochs"] == 2 and network.config["temperature"] == 0.5
    assert factorisation.config["epochs"] == 2 and "temperature" not in factorisation.options


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["reproduce", "ml1m"], "'ml1m' | 'ml-1m'"),
        (["reproduce", "amazon-vg", "--scenarios", "user_cold"], "The papers have no user_cold table for amazon-vg"),
        (["reproduce", "ml-1m", "--models", "BPR"], "'BPR' | no model"),
        (["reproduce", "ml-1m"], "Data set 'ml-1m' not found"),
        (["reproduce", "ml-1m", "--scenarios", "cold"], "Unknown scenario 'cold'"),
    ],
)
def test_mistakes(capsys, arguments, message):
    assert cli.main(arguments) == 2
    error = capsys.readouterr().err
    assert names(error, message) and "Traceback" not in error


def test_scenarios_are_ours():
    assert {scenario for _, scenario in TABLES} <= set(SCENARIOS)
