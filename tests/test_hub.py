"""Models and vectors on the Hugging Face Hub: a folder that stands for it, and the real package where there is one."""

import inspect
import json
import re
import shutil
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from conftest import naming

from recbole_sibrar import cli, hub
from recbole_sibrar.dataset import Dataset
from recbole_sibrar.errors import CheckpointError, DataError, OptionError
from recbole_sibrar.recbole_plugin.run import run
from recbole_sibrar.report.card import model_card
from recbole_sibrar.serving.recommender import Recommender


class FakeHub(ModuleType):
    """What is used of huggingface_hub, with <folder>/<kind>/<owner>/<name>/<file> for the Hub."""

    def __init__(self, folder):
        super().__init__("huggingface_hub")
        self.folder, self.private, self.fetched = folder, {}, []
        self.HfApi = lambda: self
        self.CommitOperationAdd = SimpleNamespace

    def create_repo(self, repo_id, repo_type, private, exist_ok):
        assert exist_ok and repo_id.split("/")[0] != "somebody-else", "403 Forbidden\nand more"
        self.private.setdefault(repo_id, private)

    def create_commit(self, repo_id, operations, commit_message, repo_type):
        for operation in operations:
            target = self.folder / repo_type / repo_id / operation.path_in_repo
            target.parent.mkdir(parents=True, exist_ok=True)
            content = operation.path_or_fileobj
            target.write_bytes(content if isinstance(content, bytes) else Path(content).read_bytes())
        return SimpleNamespace(commit_url=f"https://hub/{repo_id}/commit/1")

    def hf_hub_download(self, repo_id, filename, repo_type, revision):
        self.fetched.append((repo_id, filename, revision))
        path = self.folder / repo_type / repo_id / filename
        if not path.is_file():
            raise FileNotFoundError(f"404: {repo_id}/{filename}")
        return str(path)


@pytest.fixture
def fake(tmp_path, monkeypatch):
    fake = FakeHub(tmp_path / "hub")
    monkeypatch.setitem(sys.modules, "huggingface_hub", fake)
    return fake


@pytest.fixture
def trained(tiny):
    options = tiny.options(
        scenario="item_cold", run_name="r", fit="all", output_dir=str(tiny.folder.parent / "results")
    )
    return tiny.folder.parent / "results" / run("ContentRidge", "tiny", None, options).name


def card_of(text):
    _, head, body = text.split("---\n", 2)
    return yaml.safe_load(head), body


def test_what_was_pushed_recommends_as_before(tiny, trained, fake, capsys):
    assert cli.main(["push", str(trained), "me/films"]) == 0
    assert "pushed: https://hub/me/films/commit/1" in capsys.readouterr().out
    assert fake.private == {"me/films": True}
    expected = Recommender.load(trained / "model.pth").recommend(["u1", ["i3"]], k=4)
    pd.testing.assert_frame_equal(Recommender.load("hub:me/films").recommend(["u1", ["i3"]], k=4), expected)
    assert cli.main(["recommend", "--checkpoint", "hub:me/films@v2", "--users", "u1"]) == 0
    assert fake.fetched == [("me/films", "model.pth", None), ("me/films", "model.pth", "v2")]
    assert cli.main(["missing", "hub:me/films", "--data_path", str(tiny.folder), "--output", "missing"]) == 0


def test_the_card_says_what_the_result_says(trained, fake):
    result = json.loads((trained / "result.json").read_text())
    assert cli.main(["push", str(trained), "me/films", "--public", "--license", "mit"]) == 0
    repository = fake.folder / "model" / "me" / "films"
    assert {path.name for path in repository.iterdir()} == {"model.pth", "result.json", "README.md"}
    assert fake.private == {"me/films": False}
    head, body = card_of((repository / "README.md").read_text())
    (indexed,) = head["model-index"][0]["results"]
    figures = {metric["type"]: metric["value"] for metric in indexed["metrics"]}
    assert figures == {name: round(value, 4) for name, value in result["test_result"].items()}
    assert head["license"] == "mit" and "mit, as whoever pushed" in body
    for said in ("item_cold", "40 users", "30 items", "personal data", "genres", 'load("hub:me/films")'):
        assert said in body
    assert f"{result['test_result']['ndcg@3']:.4f}" in body and "trained on everything" not in body


def test_what_is_pushed_does_not_say_where_it_was_made(trained, fake, tmp_path):
    path = trained / "model.pth"
    state = torch.load(path, weights_only=True)
    tables = {"encoders": {"plot": {"kind": "text", "model": str(tmp_path / "minilm")}}}
    torch.save({**state, "config": {**state["config"], "tables": tables, "field_separator": "/"}}, path)
    before = path.read_bytes()
    assert str(tmp_path) in repr(state["config"]) and str(tmp_path) in (trained / "result.json").read_text()
    assert cli.main(["push", str(trained), "me/films"]) == 0
    repository = fake.folder / "model" / "me" / "films"
    for file in ("result.json", "README.md"):
        assert str(tmp_path) not in (repository / file).read_text()
    assert str(tmp_path).encode() not in (repository / "model.pth").read_bytes()
    pushed = torch.load(repository / "model.pth", weights_only=True)
    assert pushed["config"]["tables"]["encoders"]["plot"]["model"] == "minilm"
    assert pushed["config"]["field_separator"] == "/" and pushed["config"]["seed"] == state["config"]["seed"]
    assert all(torch.equal(tensor, pushed["state_dict"][name]) for name, tensor in state["state_dict"].items())
    assert path.read_bytes() == before  # the run itself still knows


def test_an_unknown_licence_is_called_so_and_a_whole_model_has_no_figures_of_its_own(trained, fake):
    assert cli.main(["push", str(trained / "model-all.pth"), "me/all"]) == 0
    repository = fake.folder / "model" / "me" / "all"
    head, body = card_of((repository / "README.md").read_text())
    assert head["license"] == "unknown" and "model-index" not in head and "Unknown. The licence of tiny" in body
    assert "was trained on everything; no test figure belongs to it" in body
    assert torch.load(repository / "model.pth", weights_only=True)["trained_on"].startswith("everything")


def test_a_checkpoint_without_a_result_is_pushed_with_a_card_that_says_so(trained, fake, tmp_path):
    path = tmp_path / "alone" / "shop.pth"
    path.parent.mkdir()
    Recommender.load(trained / "model.pth").save(path)
    assert cli.main(["push", str(path), "me/shop"]) == 0
    head, body = card_of((fake.folder / "model" / "me" / "shop" / "README.md").read_text())
    assert "model-index" not in head and "no `result.json`" in body


def test_the_result_of_another_run_in_the_folder_is_not_pushed(tiny, trained, fake):
    other = run("Pop", "tiny", None, tiny.options(output_dir=str(tiny.folder), run_name="other"))
    shutil.copy(tiny.folder / other.name / "model.pth", trained / "other.pth")
    assert cli.main(["push", str(trained / "other.pth"), "me/other"]) == 0
    repository = fake.folder / "model" / "me" / "other"
    assert "no `result.json`" in (repository / "README.md").read_text() and not (repository / "result.json").exists()


def test_a_card_shows_the_name_of_the_data_as_it_is():
    config = {"model": "BPR", "dataset": "a<b>", "scenario": "warm", "preset": "a`b"}
    card = model_card("me/shop", {"config": config, "versions": {"recbole_sibrar": "1"}, "data": {}}, None)
    assert card.count("a&lt;b&gt;") == 3 and "<b>" not in card and "preset: a\\`b" in card


@pytest.mark.parametrize("suffix", ["npz", "npy"])
def test_vectors_come_back_as_they_were(fake, tmp_path, suffix, capsys):
    ids, values = [f"i{n}" for n in range(5)], np.arange(15, dtype=np.float32).reshape(5, 3)
    if suffix == "npz":
        np.savez(tmp_path / "text.npz", ids=ids, values=values)
    else:
        np.save(tmp_path / "text.npy", values)
        (tmp_path / "text.ids.txt").write_text("\n".join(ids) + "\n")
    assert cli.main(["push", str(tmp_path / f"text.{suffix}"), "me/vectors"]) == 0
    said = capsys.readouterr().out
    assert f"--item-vectors text=hub:me/vectors/text.{suffix}" in said
    _, body = card_of((fake.folder / "dataset" / "me" / "vectors" / "README.md").read_text())
    assert "5 vectors of 3 numbers" in body
    for path in tmp_path.glob("text.*"):
        path.unlink()
    source = f"hub:me/vectors/text.{suffix}"
    pairs = pd.DataFrame({"user_id": list("aabb"), "item_id": ["i0", "i1", "i1", "i2"]})
    pairs.to_csv("orders.csv", index=False)
    command = ["convert", "table", "--name", "shop", "--interactions", "orders.csv", "--item-vectors", f"text={source}"]
    assert cli.main([*command, "--output", "from_files"]) == 0
    assert [file for _, file, _ in fake.fetched] == [f"text.{suffix}", *hub.beside(f"text.{suffix}")]  # each once
    Dataset.from_frames(pairs, vectors={"text": source}, folder="from_frames/shop")
    files = [Path(folder, "shop", "shop.text").read_text() for folder in ("from_files", "from_frames")]
    assert files[0] == files[1] and "i4\t12" in files[0]


def test_nothing_on_the_hub_is_unpickled(fake):
    class Evil:
        def __reduce__(self):
            return (Path("pwned").touch, ())

    path = fake.folder / "model" / "me" / "evil" / "model.pth"
    path.parent.mkdir(parents=True)
    torch.save({"format": Evil()}, path)
    with pytest.raises(CheckpointError):
        Recommender.load("hub:me/evil")
    assert not Path("pwned").exists()


@pytest.mark.parametrize("address", ["hub:films", "hub:me/films@", "hub:", "hub:me/films/", "hub:/films"])
def test_what_is_no_address_is_named(fake, address):
    with pytest.raises(OptionError, match=f"{re.escape(address)} is no address .*expected hub:owner/name"):
        Recommender.load(address)
    assert not fake.fetched


def test_the_hub_says_no_in_a_sentence(fake, trained, capsys):
    with pytest.raises(DataError, match=naming("hub:me/none | model.pth | 404 | HF_TOKEN")):
        Recommender.load("hub:me/none")
    assert cli.main(["push", str(trained), "somebody-else/films"]) == 2
    assert "did not take the model somebody-else/films (AssertionError: 403 Forbidden)" in capsys.readouterr().err
    assert cli.main(["push", str(trained), "films"]) == 2
    assert "expected owner/name" in capsys.readouterr().err
    assert cli.main(["push", "nowhere", "me/films"]) == 2


def test_a_package_that_is_not_installed_is_named(monkeypatch, trained):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    for act in (lambda: Recommender.load("hub:me/films"), lambda: hub.push({}, "me/films", "model")):
        with pytest.raises(
            OptionError, match="huggingface_hub, which is not installed: pip install 'recbole-sibrar.hub"
        ):
            act()
    Recommender.load(trained / "model.pth")


def test_the_real_package_takes_these_calls_and_reads_its_cache(trained, tmp_path, monkeypatch):
    real, fake = pytest.importorskip("huggingface_hub"), FakeHub(tmp_path)
    pairs = [(fake.create_repo, real.HfApi.create_repo), (fake.create_commit, real.HfApi.create_commit)]
    pairs += [(fake.hf_hub_download, real.hf_hub_download)]
    for own, other in pairs:
        assert set(inspect.signature(own).parameters) <= set(inspect.signature(other).parameters)
    real.CommitOperationAdd(path_in_repo="README.md", path_or_fileobj=b"card")
    cache = tmp_path / "cache" / "models--me--films"
    (cache / "snapshots" / "0").mkdir(parents=True)
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text("0")
    shutil.copy(trained / "model.pth", cache / "snapshots" / "0" / "model.pth")
    monkeypatch.setattr(real.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(real.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    expected = Recommender.load(trained / "model.pth").recommend(["u1"], k=3)
    pd.testing.assert_frame_equal(Recommender.load("hub:me/films").recommend(["u1"], k=3), expected)
    with pytest.raises(DataError, match=naming("hub:me/none | model.pth")):
        Recommender.load("hub:me/none")
