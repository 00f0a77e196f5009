"""The page: self-contained, complete, and free of errors in a real browser."""

import json
import re
import shutil
import sys
from pathlib import Path

import pytest
from conftest import TinyData, folder_of

from recbole_sibrar.cli import main
from recbole_sibrar.recbole_plugin.run import run

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
            ["missing", runs[0], "--rates", "0", "0.5", "--retrain", "--output", "results/rates"],
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
        f"{result['test_result']['ndcg@3']:.4f}", "behind all other candidates", "learning_rate: 0.001",
        "SiBraR_SC-paper<small>", f"{result['n_parameters']:,}",
        "recbole 1.2.1", "Embeddings by modality", "Quality against the modalities left", "share of entities that lose",
    ):  # fmt: skip
        assert expected in text
    assert "uniform0.5-seed0" not in text, "runs with data taken away are no competitors"


def test_text_of_a_result_cannot_become_markup(page):
    path = folder_of("BPR-tiny-item_cold-seed2020") / "result.json"
    result = json.loads(path.read_text())
    path.write_text(json.dumps({**result, "name": "<script>alert(1)</script>"}))
    assert main(["report", "results"]) == 0
    assert "<script>" not in page.read_text()


@pytest.mark.skipif(BROWSER is None, reason="needs chromium (apt-get install chromium)")
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 380])
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
        pictures = tab.evaluate("[...document.images].map(image => image.complete && image.naturalWidth > 0)")
        assert problems == [] and len(pictures) >= 5 and all(pictures)
        assert tab.evaluate("document.documentElement.scrollWidth") <= width, "wide tables scroll, the page does not"
        background = tab.evaluate("getComputedStyle(document.body).backgroundColor")
        assert background == ("rgb(255, 255, 255)" if scheme == "light" else "rgb(22, 24, 27)")
        browser.close()


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: None, "no such folder of results"),
        (lambda: Path("results").mkdir(), "holds no result.json"),
        (lambda: (Path("results").mkdir(), Path("results/result.json").write_text("{}")), "is not a result of a run"),
    ],
)
def test_mistakes_are_named(capsys, make, message):
    make()
    assert main(["report", "results"]) == 2
    assert message in capsys.readouterr().err and not Path("results/report.html").exists()
