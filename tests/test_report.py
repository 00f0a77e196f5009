"""The page: self-contained, complete, and free of errors in a real browser."""

import json
import os
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import TinyData, folder_of, names

from recbole_sibrar.cli import main
from recbole_sibrar.recbole_plugin.run import run
from recbole_sibrar.report import figures
from recbole_sibrar.report.collection import by_activity, groups, options_table, read_runs
from recbole_sibrar.report.html_tables import table_of
from recbole_sibrar.report.verdict import AHEAD, BEHIND, LEVEL_WITH, TOO_FEW, verdict

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Three runs and the studies of them, made once."""
    folder = tmp_path_factory.mktemp("report")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "argv", sys.argv[:1])
        options = TinyData(folder / "data").options(scenario="item_cold")
        runs = [f"results/{run(model, 'tiny', None, options).name}" for model in ("SiBraR", "MuBraR", "BPR")]
        for command in (
            ["missing", *runs[:2], "--output", "results/missing"],
            ["missing", runs[0], "--rates", "0", "0.5", "--where", "evaluation", "both", "--output", "results/rates"],
            ["gap", *runs[:2], "--output", "results/gap"],
            ["report", "results"],
        ):
            assert main(command) == 0
    return folder / "results"


@pytest.fixture
def page(results):
    shutil.copytree(results, "results")
    return Path("results/report.html")


def test_everything_is_in_the_page_and_nothing_is_loaded(page):
    text = page.read_text(encoding="utf-8")
    addresses = re.findall(r"""(?:src|href)=["']([^"']+)""", text) + re.findall(r"url\(([^)]+)\)", text)
    assert addresses and all(address.startswith(("data:", "#")) for address in addresses)
    result = json.loads((folder_of("SiBraR_SC-paper-tiny-item_cold-seed2020") / "result.json").read_text())
    for expected in (
        f"{result['test_result']['ndcg@3']:.4f}", "behind all other candidates", "Only 3 candidates for lists of 3",
        "SiBraR_SC-paper</span>", f"{result['n_parameters']:,}", "Users by number of interactions",
        "Items by popularity",
        "recbole 1.2.1", "Embeddings by modality", "Quality against the modalities left", "against the content left",
        "share of long-tail items", "picture</span>",
    ):  # fmt: skip
        assert expected in text
    assert "uniform0.5-seed0" not in text, "runs with data taken away are no competitors"


def test_names_are_cut_where_they_would_leave_no_room(recwarn):
    values = pd.DataFrame({"model": ["M " + "option=1 " * 30, "N"], "a": [0.1, 0.2], "a_std": 0.0})
    boxes = {name: values["a"] for name in values["model"]}
    for drawn in (figures.comparison_bars(values, {"a": "A"}), figures.user_boxes(boxes, "A")):
        assert "M option=1 option=1" in figures.inline_svg(drawn, "of two models")
    assert not [said for said in recwarn if "constrained_layout" in str(said.message)]


def test_letters_that_a_browser_has_a_font_for_are_no_warning(recwarn):
    values = pd.DataFrame({"model": ["ジャンル", "N"], "a": [0.1, 0.2], "a_std": 0.0})
    assert "ジャンル" in figures.inline_svg(figures.comparison_bars(values, {"a": "A"}), "of two models")
    assert not [said for said in recwarn if "Glyph" in str(said.message)]


def test_names_that_begin_with_an_underscore_are_in_the_legend():
    curve = pd.DataFrame({"n_modalities": [1, 2], "mean": [0.1, 0.2], "min": 0.1, "max": 0.2, "model": "_a"})
    other = curve.assign(model="B")
    history = [{"epoch": n, "valid": 0.1} for n in (1, 2)]
    for drawn in (
        figures.quality_curves({"_a": curve, "B": other}, "ndcg@3"),
        figures.lines(pd.concat([curve, other]), "n_modalities", "mean", "model", "x", "y"),
        figures.training_curves({"_a": history, "B": history}, "NDCG@3"),
    ):
        assert "_a<" in figures.inline_svg(drawn, "of two models")


def test_text_of_a_result_cannot_become_markup(page):
    path = folder_of("BPR-tiny-item_cold-seed2020") / "result.json"
    result = json.loads(path.read_text())
    evil = '<script>alert(1)</script>"<b>'
    path.write_text(json.dumps({**result, "name": evil, "label": evil, "dataset": evil, "versions": {"recbole": evil}}))
    assert main(["report", "results"]) == 0
    assert "<script>alert" not in page.read_text() and "<b>" not in page.read_text()


@pytest.mark.skipif(BROWSER is None, reason="needs chromium (apt-get install chromium)")
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1400, 390])
def test_a_browser_shows_it_without_errors(page, scheme, width):
    sync_api = pytest.importorskip("playwright.sync_api")
    arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=arguments)
        tab = browser.new_page(color_scheme=scheme, viewport={"width": width, "height": 800})
        problems = []
        tab.on("console", lambda message: problems.append(message.text))
        tab.on("pageerror", lambda error: problems.append(str(error)))
        tab.on("requestfailed", lambda request: problems.append(request.url))
        tab.goto(page.resolve().as_uri())
        sizes = tab.evaluate("[...document.querySelectorAll('figure svg')].map(f => f.getBoundingClientRect().width)")
        assert problems == [] and len(sizes) >= 8 and all(250 < size < 700 for size in sizes)
        assert tab.evaluate("document.documentElement.scrollWidth") <= width, "wide tables scroll, the page does not"
        if width == 1400:
            tab.evaluate("document.querySelectorAll('details').forEach(part => { part.open = true; })")
            too_wide = "[...document.querySelectorAll('.scroll')].filter(box => box.scrollWidth > box.clientWidth)"
            assert tab.evaluate(f"{too_wide}.map(box => box.parentElement.dataset.name)") == []
        background = tab.evaluate("getComputedStyle(document.body).backgroundColor")
        assert background == ("rgb(255, 255, 255)" if scheme == "light" else "rgb(22, 24, 27)")
        ink = tab.evaluate("getComputedStyle(document.querySelector('figure text')).fill")
        assert ink == tab.evaluate("getComputedStyle(document.body).color")
        browser.close()


@pytest.mark.skipif(BROWSER is None, reason="needs chromium (apt-get install chromium)")
def test_tables_are_sorted_searched_explained_and_downloaded(page):
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox", "--disable-gpu"])
        tab = browser.new_page()
        tab.goto(page.resolve().as_uri())
        table = tab.locator("#results .table").first
        column = table.locator("thead th").all_inner_texts().index("NDCG@3")
        heading = table.locator("thead button").nth(column)

        def shown():
            cells = table.locator(f"tbody tr:visible td:nth-child({column + 1})")
            return [float(value) for value in cells.evaluate_all("cells => cells.map(cell => cell.dataset.v)")]

        heading.click()
        assert shown() == sorted(shown(), reverse=True) and len(shown()) == 3
        heading.click()
        assert shown() == sorted(shown())
        assert "Higher is better." in tab.locator("#tip").inner_text()
        table.locator("input[type=search]").fill("mubrar paper")
        assert len(shown()) == 1
        with tab.expect_download() as download:
            table.get_by_role("button", name="CSV").click()
        (row,) = pd.read_csv(download.value.path()).to_dict("records")
        assert row["model"] == "MuBraR_SC-paper" and row["NDCG@3"] == pytest.approx(shown()[0])
        browser.close()


@pytest.mark.skipif(BROWSER is None, reason="needs chromium (apt-get install chromium)")
def test_of_very_many_columns_the_first_are_shown():
    sync_api = pytest.importorskip("playwright.sync_api")
    Path("results").mkdir()
    columns = ["trial", *(f"option{number}" for number in range(18)), "score"]
    pd.DataFrame([range(20)], columns=columns).to_csv("results/trials.csv", index=False)
    assert main(["report", "results"]) == 0
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox", "--disable-gpu"])
        tab = browser.new_page()
        tab.goto(Path("results/report.html").resolve().as_uri())
        for name, n in (("", 16), ("all 20 columns", 20), ("fewer columns", 16)):
            if name:
                tab.get_by_role("button", name=name).click()
            assert tab.locator("thead th:visible").count() == tab.locator("tbody td:visible").count() == n
        browser.close()


def test_a_deviation_stands_below_its_value():
    table = table_of("t", pd.DataFrame({"model": ["A", "B"], "ndcg@10": [0.5, 0.4], "ndcg@10_std": [0.123456, np.nan]}))
    assert [column["heading"] for column in table["columns"]] == ["model", "NDCG@10"]
    assert [row[1]["deviation"] for row in table["rows"]] == ["± 0.1235", ""]


def made_up_run(folder, model, seed, score, **changes):
    """A result as a run leaves it, with 50 users."""
    folder = Path(folder) / f"{model}-{seed}-{len(changes)}"
    folder.mkdir(parents=True)
    config = {"seed": seed, "split_seed": None, "valid_metric": "NDCG@10", "topk": [10], "epochs": 3, "eval_args": None,
              "metrics": ["NDCG"]}  # fmt: skip
    result = {
        "name": folder.name, "label": model, "dataset": "d", "scenario": "item_cold", "seed": seed, "n_parameters": 9,
        "valid_result": {"ndcg@10": score}, "test_result": {"ndcg@10": score}, "seconds": {"training": 1.0},
        "versions": {}, "n_candidates": 500, "n_users": 50, "n_epochs": 3, "best_valid_score": score,
        "history": [{"epoch": n, "loss": 1.0, "valid": score * n / 2} for n in (1, 2)], "data": {"interactions": "x"},
        **changes, "config": {**config, **changes.get("config", {})},
    }  # fmt: skip
    (folder / "result.json").write_text(json.dumps(result))
    users = ["NA", *(f"u{n}" for n in range(1, 50))]
    table = pd.DataFrame({"user_id": users, "ndcg@10": score + 0.01 * np.sin(np.arange(50)), "n_history": range(50),
                          "n_relevant": 3})  # fmt: skip
    table.to_csv(folder / "per_user.csv", index=False)


def test_seeds_are_a_row_and_other_options_another():
    for seed in (1, 2, 3):
        made_up_run("r", "A", seed, 0.3 + seed / 1000)
        made_up_run("r", "B", seed, 0.2 + seed / 1000)
    made_up_run("r", "A", 1, 0.5, n_epochs=1, history=[{"epoch": 1, "loss": 1, "valid": 0.5}], config={"epochs": 1})
    made_up_run("r", "F", 1, 0.9, cold_fallback={"item": "behind"})
    (group,) = groups(read_runs("r"))
    assert {label: len(runs) for label, runs in group.rows.items()} == {
        "A epochs=1": 1, "A epochs=3": 3, "B": 3, "F": 1,
    }  # fmt: skip
    assert group.in_order == ["A epochs=1", "A epochs=3", "B", "F"], "what was not learned is last, however good"
    assert group.comparison.tests.set_index("model").loc["B", "n_users"] == 50, "NA is a user, too"
    found = verdict(group)
    assert found["leader"] == "A epochs=1" and "A epochs=1: trained for one epoch only" in found["cautions"]
    activity = by_activity(group)
    assert activity[activity["model"] == "B"]["users"].sum() == 150
    assert options_table(group)["epochs"].tolist() == [1, 3, 3, 3]


def test_the_verdict_says_what_splits_say():
    for seed, score in ((1, 0.30), (2, 0.31), (3, 0.32)):
        made_up_run("r", "A", seed, score)
        made_up_run("r", "B", seed, score - 0.1 - seed / 1000)
        made_up_run("r", "C", seed, score - 0.02 * (seed - 2))
    (group,) = groups(read_runs("r"))
    relations = {model: relation for relation, model, *_ in verdict(group)["others"]}
    assert group.leader in ("A", "C") and relations["B"] == AHEAD
    assert [relations[model] for model in relations if model != "B"] == [LEVEL_WITH]


def test_a_leader_by_its_other_splits_is_not_ahead_where_it_is_behind():
    for seed, score in enumerate((0.3, 0.31, 0.3, 0.9, 0.9)):
        made_up_run("r", "A", seed, score)
    for seed in range(3):
        made_up_run("r", "B", seed, 0.5)
    (group,) = groups(read_runs("r"))
    assert group.leader == "A" and verdict(group)["others"][0][:2] == (BEHIND, "B")


def test_runs_without_a_split_in_common_are_not_compared():
    for seed, label in enumerate("AB"):
        made_up_run("r", label, seed, 0.3 - 0.1 * seed)
    (group,) = groups(read_runs("r"))
    found = verdict(group)
    assert found["others"] == [(TOO_FEW, "B", "", "")] and found["basis"].startswith("without a split in common")


@pytest.mark.parametrize(
    "options, title",
    [
        ({"split_seed": 1}, "split_seed 1"),
        ({"benchmark_filename": ["a"]}, "benchmark_filename ['a']"),
        ({"eval_args": {"split": {"RS": [5, 1, 1]}}}, "eval_args.split {'RS': [5, 1, 1]}"),
    ],
)
def test_runs_whose_splits_are_drawn_in_other_ways_are_not_in_one_table(options, title):
    for seed in (1, 2):
        made_up_run("r", "A", seed, 0.3)
        made_up_run("r", "B", seed, 0.2, config=options)
    rows = {tuple(group.rows): group.title for group in groups(read_runs("r"))}
    assert set(rows) == {("A",), ("B",)} and title in rows["B",] and "topk" not in rows["B",]


def test_results_of_other_data_are_stale():
    made_up_run("r", "A", 1, 0.3, data={"interactions": "before"})
    os.utime("r/A-1-1/result.json", (0, 0))
    made_up_run("r", "B", 1, 0.2)
    (group,) = groups(read_runs("r"))
    assert group.leader == "B" and not group.comparison.entries[0].contends
    assert "made from other data than later runs" in group.comparison.entries[0].notes[0]


def test_a_result_without_the_metric_it_was_chosen_by_is_none(capsys):
    made_up_run("results", "A", 1, 0.3, test_result={"recall@10": 0.1})
    assert main(["report", "results"]) == 2 and "is not a result of a run" in capsys.readouterr().err


def test_results_that_know_less_are_shown(capsys):
    """As an earlier version left them: no history, no counts, no values for each user."""
    made_up_run("results", "A", 1, 0.3)
    path = Path("results/A-1-0/result.json")
    kept = json.loads(path.read_text())
    for name in ("history", "data", "label", "best_valid_score", "n_epochs"):
        del kept[name]
    path.write_text(json.dumps(kept))
    path.with_name("per_user.csv").unlink()
    assert main(["report", "results"]) == 0 and "0.3000" in Path("results/report.html").read_text()


def test_a_run_s_own_folder_has_a_page(monkeypatch):
    made_up_run("results", "A", 1, 0.3)
    monkeypatch.chdir("results/A-1-0")
    assert main(["report", "."]) == 0 and "0.3000" in Path("report.html").read_text()


def test_many_runs_make_a_small_page():
    for model in range(20):
        for seed in (1, 2, 3):
            made_up_run("results", f"Model{model}", seed, 0.2 + model / 100)
    assert main(["report", "results"]) == 0
    assert Path("results/report.html").stat().st_size < 400_000


def left(name, text):
    Path("results").mkdir()
    Path("results", name).write_text(text)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: None, "no such folder of results"),
        (lambda: Path("results").mkdir(), "holds no result.json"),
        (lambda: left("result.json", "{}"), "result.json | is not a result of a run"),
        (lambda: left("curve.csv", ""), "curve.csv | is not a table"),
        (lambda: left("curve.csv", "a\n1\n"), "curve.csv | is not of a study | model"),
    ],
)
def test_mistakes_are_named(capsys, make, message):
    make()
    assert main(["report", "results"]) == 2
    assert names(capsys.readouterr().err, message) and not Path("results/report.html").exists()
