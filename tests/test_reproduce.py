"""The papers' settings and figures as data, and the command that runs them."""

from pathlib import Path

import pandas as pd
import pytest
from conftest import names

from recbole_sibrar import cli
from recbole_sibrar.errors import OptionError
from recbole_sibrar.experiments import contrast_map, published, reproduce
from recbole_sibrar.report.collection import read_runs
from recbole_sibrar.report.studies import read_studies
from recbole_sibrar.scenarios import SCENARIOS

TABLES = [(d, s) for d in published.paper_datasets() for s in published.paper_scenarios(d)]


def test_the_figures_are_complete():
    names = published.paper_datasets()
    table = pd.concat(published.published(name).assign(dataset=name) for name in names)
    assert table["trust"].value_counts().to_dict() == {"exact": 288, "unverified": 29}
    assert table["value"].between(0, 1).all() and table["source"].notna().all()
    exact = table[table["trust"] == "exact"]
    sizes = exact.groupby(["dataset", "scenario"])["model"].nunique()
    assert list(sizes.index) == sorted(TABLES) and set(sizes) == {9}
    assert set(exact["metric"]) == {"Precision@10", "Recall@10", "AP@10", "Coverage@10"}
    figures = table.set_index(["dataset", "scenario", "model", "metric"])["value"]
    assert figures["ml-1m", "item_cold", "SiBraR_SC", "NDCG@10"] == 0.2994
    assert figures["onion", "user_cold", "Pop", "Precision@10"] == 0.0927
    assert set(table["model"]) <= set(published.paper_models())
    for name in ("ml-1m", "onion"):
        own = published.contrast_map(name)
        assert len(own) == 11 * 16 and not own.duplicated(["contrastive_weight", "temperature"]).any()
    equal = published.contrast_map("ml-1m").query("contrastive_weight == 0")["value"]
    assert (len(equal), equal.min(), equal.max()) == (16, 0.2476, 0.2570)


def test_names_of_one_model_are_run_once():
    labels, usual = published.labels(), published.usual_models()
    assert labels["SiBraR_best"] == "SiBraR_SC" and labels["DropoutNet_best"] == "DropoutNet"
    assert len(set(usual)) == len(usual) == 12 and not [name for name in usual if name.endswith(("_best", "_one"))]


def test_the_authors_protocol():
    assert published.protocol("warm") == {"map_divisor": "relevant_items", "split_rounding": "up"}
    assert published.protocol("user_cold")["eval_candidates"] == "phase"


@pytest.fixture
def paper(tiny, tmp_path, monkeypatch, started):
    """A paper about the tiny data set."""
    folder = tmp_path / "paper"
    (folder / "tiny").mkdir(parents=True)
    (folder / "tiny" / "SiBraR.yaml").write_text("rec_loss: bpr\nlearning_rate: 0.01\nepochs: 9\n")
    (folder / "scenarios.yaml").write_text("tiny: [warm, user_cold]\n")
    (folder / "models.yaml").write_text(
        "SiBraR_SC: SiBraR:SC\nMF: BPR\nPop: Pop\nPop_best: Pop\n"
        "SiBraR_one: {model: SiBraR, variant: SC, name: SiBraR_one}\n"
    )
    (folder / "protocol.yaml").write_text((published.paper_folder() / "protocol.yaml").read_text())
    (folder / "published.csv").write_text(
        "# from nowhere\ndataset,scenario,model,metric,value,trust,source\n"
        "tiny,user_cold,Pop_best,AP@3,0.25,exact,here\ntiny,user_cold,SiBraR_one,NDCG@10,0.5,unverified,here\n"
        "tiny,user_cold,MF,NDCG@3,0.5,exact,here\ntiny,warm,MF,NDCG@3,0.125,exact,here\ntiny,one_modality,MF,NDCG@3,0.5,exact,here\n"
    )
    monkeypatch.setattr(published, "paper_folder", lambda: folder)
    given = {key: value for key, value in tiny.options().items() if key not in ("state", "show_progress")}
    return ["reproduce", "tiny", *(f"--{key}={value}" for key, value in given.items())]


def test_ours_beside_the_papers(paper, capsys, monkeypatch):
    monkeypatch.setitem(published.NOISE, "NDCG@3", 9.0)
    assert cli.main([*paper, "--models", "Pop_best", "Pop", "MF"]) == 0
    folder = Path("results/reproduction")
    table = pd.read_csv(folder / "tiny-paper.csv").set_index(["scenario", "model"])
    names = [("user_cold", name) for name in ("Pop_best", "SiBraR_one", "MF")]
    assert list(table.index) == [*names, ("warm", "MF")]
    row, ours = table.loc[("warm", "MF")], pd.read_csv(folder / "tiny-warm.csv").set_index("model")
    assert list(ours.index) == ["Pop", "MF"], "two names of one model are one row"
    assert row["paper"] == 0.125 and row["ours"] == pytest.approx(ours.loc["MF", "ndcg@3"]) and row["runs"] == 1
    assert row["difference"] == pytest.approx(row["ours"] - 0.125) and row["judged"] == "within noise"
    pop, ours = table.loc[("user_cold", "Pop_best")], pd.read_csv(folder / "tiny-user_cold.csv").set_index("model")
    assert pop["ours"] == pytest.approx(ours.loc["Pop", "map@3"])
    assert list(table["judged"] == reproduce.FALLBACK) == [False, False, True, False]
    assert pd.isna(pop["noise"]) and pop["judged"] == "no published noise"
    assert table.loc[("user_cold", "SiBraR_one"), ["ours", "difference", "judged"]].isna().all()
    assert "eval_candidates=phase map_divisor=relevant_items split_rounding=up" == pop["protocol"]
    texts = [capsys.readouterr().out, *((folder / f"tiny-paper.{kind}").read_text() for kind in ("md", "tex"))]
    for text in texts:
        plain = text.replace("\\", "")
        assert "0.1250" in plain and "SiBraR_one" not in plain and "0.2476" in plain
        assert "user_cold: eval_candidates=phase" in plain and "warm: eval_candidates=scenario" in plain


def test_the_map_over_alpha_and_tau(paper, capsys, monkeypatch):
    (published.paper_folder() / "contrast_map.csv").write_text(
        "dataset,contrastive_weight,temperature,value\ntiny,0.0,0.1,0.25\ntiny,0.001,0.1,0.5\ntiny,0.001,0.2,0.1\n"
    )
    monkeypatch.setattr(contrast_map, "METRIC", "NDCG@3")
    monkeypatch.setitem(published.NOISE, "NDCG@3", 9.0)
    assert cli.main([*paper, "--map", "--alphas", "0", "1e-3", "--taus", "0.1"]) == 0
    folder = Path("results/reproduction")
    table = pd.read_csv(folder / "tiny-contrast.csv")
    assert list(table["contrastive_weight"]) == [0, 0.001] and list(table["paper"]) == [0.25, 0.5]
    results = {run.result["config"]["contrastive_weight"]: run.result for run in read_runs("results")}
    for row in table.itertuples():
        own = results[row.contrastive_weight]
        assert own["config"]["temperature"] == 0.1 and own["config"]["split_rounding"] == "up"
        assert row.ours == pytest.approx(own["test_result"]["ndcg@3"])
        assert row.difference == pytest.approx(row.ours - row.paper) and row.judged == "within noise"
    assert {path.suffix for path in folder.glob("tiny-contrast.*")} == {".csv", ".md", ".tex", ".pdf", ".svg", ".png"}
    assert "read off the colours" in capsys.readouterr().out
    (section,) = read_studies("results")
    assert len(section.drawn) == 1 and len(section.tables) == 1


def test_settings_are_the_papers_and_the_command_line_wins(paper):
    values = {
        "models": ["SiBraR_SC", "MF"],
        "datasets": "tiny",
        "scenarios": "user_cold",
        "options": {"epochs": 2, "temperature": 0.5, "eval_candidates": "scenario"},
        "fixed_split": True,
        "data_path": next(word for word in paper if "data_path" in word).partition("=")[2],
    }
    network, factorisation = reproduce.plan_paper_runs(reproduce.Plan.from_mapping(values))
    assert network.name.startswith("paper-SiBraR_SC-tiny-user_cold-split2020-seed2020-")
    assert network.config["rec_loss"] == "bpr" and network.config["learning_rate"] == 0.01
    assert network.config["epochs"] == 2 and network.config["temperature"] == 0.5
    assert factorisation.config["epochs"] == 2 and "temperature" not in factorisation.options
    for run in (network, factorisation):
        assert (run.config["eval_candidates"], run.config["map_divisor"]) == ("scenario", "relevant_items")
    one = {**values, "models": ["SiBraR_one"]}
    with pytest.raises(OptionError, match="Which modality SiBraR_one was trained with is not known"):
        reproduce.plan_paper_runs(reproduce.Plan.from_mapping(one))
    one["options"] = {**values["options"], "user_modalities": ["interactions", "gender"]}
    (run,) = reproduce.plan_paper_runs(reproduce.Plan.from_mapping(one))
    assert run.label == "SiBraR_one" and run.config["user_modalities"] == ["interactions", "gender"]


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["reproduce", "ml1m"], "'ml1m' | 'ml-1m'"),
        (["reproduce", "amazon-vg", "--scenarios", "user_cold"], "The papers have no user_cold table for amazon-vg"),
        (["reproduce", "ml-1m", "--models", "BPR"], "'BPR' | no model"),
        (["reproduce", "ml-1m", "--map", "--models", "MF"], "--models and --map"),
        (["reproduce", "ml-1m", "--taus", "0.1"], "--taus and --map"),
        (["reproduce", "amazon-vg", "--map"], "The papers have no map of amazon-vg"),
        (["reproduce", "onion", "--map", "--taus", "0.3"], "taus has 0.3, which the papers' map has not"),
        (["reproduce", "ml-1m", "--map", "--temperature=0.3"], "temperature is of the map | --taus"),
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
