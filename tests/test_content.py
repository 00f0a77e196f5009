"""Before anything was bought: recommendations by content alone."""

import json
import shlex
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import names
from shop import Shop

from recbole_sibrar import Dataset
from recbole_sibrar.cli import main
from recbole_sibrar.cli.serving import without_known
from recbole_sibrar.errors import DataError, OptionError
from recbole_sibrar.serving.content import PENALTY, by_content
from recbole_sibrar.serving.recommender import Recommender


@pytest.fixture
def shop():
    return Shop()


@pytest.fixture
def dataset(shop):
    return Dataset.from_frames(items=shop.products, vectors={"text": shop.text}, item_column="sku")


def test_liked_items_bring_their_department(shop):
    products = shop.products.drop(columns=["price", "since"])
    model = Dataset.from_frames(items=products, vectors={"text": shop.text}, item_column="sku").fit()
    lists = model.recommend([["p2", "p4"], {"id": "me", "history": ["p1"]}], k=8)
    departments = lists["item"].str[1:].astype(int) % 2
    assert (departments == lists["user"].map({"#0": 0, "me": 1})).all()
    assert not {"p2", "p4"} & set(lists["item"][lists["user"] == "#0"])
    with pytest.raises(OptionError, match="nothing was trained, and nothing held out"):
        model.evaluate()
    with pytest.raises(DataError, match="Unknown user id 'b1'"):
        model.recommend(["b1"])


def test_whole_numbers_with_a_point_are_the_ids_without():
    items = pd.DataFrame({"item_id": [1, 2, 3], "tags": ["tea|green", "tea|cup", "cup|green"]})
    model = Dataset.from_frames(items=items).fit()
    added = pd.DataFrame({"item_id": [2.0, 9.0], "tags": ["tea", "tea"]})
    assert without_known(added, model)["item_id"].tolist() == [9.0]
    model.add_items(added)
    assert set(model.recommend([[1.0]], k=9)["item"]) == {"2", "3", "9"}
    assert without_known(added, model).empty


def test_separators_and_names_of_ones_own():
    rows = [("1", "tea", "green leaf", "1 0.5"), ("2", "tea", "cup", "0 2"), ("3", "cup", "green leaf", "1 1")]

    def scores(name, between, within, item):
        path = Path(name)
        path.mkdir()
        lines = [f"{item}:token{between}tags:token_seq", *(f"{i}{between}{a}{within}{b}" for i, a, b, _ in rows)]
        (path / f"{name}.item").write_text("\n".join(lines) + "\n")
        lines = [f"{item}:token{between}v:float_seq", *(f"{i}{between}{v.replace(' ', within)}" for i, _, _, v in rows)]
        (path / f"{name}.v").write_text("\n".join(lines) + "\n")
        (path / f"{name}.yaml").write_text(
            f"field_separator: {between!r}\nseq_separator: {json.dumps(within)}\nITEM_ID_FIELD: {item}\n"
            "modalities: {item: {tags: tags, v: vector}}\n"
        )
        model = by_content(path)
        tags = sorted(model.model.modalities["item"].entries[0].vocabulary)
        model.add_items(pd.DataFrame({item: ["4"], "tags": [f"tea{within}cup"]}))
        return tags, model.recommend([["1"]], k=3)["score"].tolist()

    tags, found = scores("a", ",", "|", "sku")
    assert tags == ["cup", "green leaf", "tea"]
    rows = [(i, a, b.replace(" ", "_"), v) for i, a, b, v in rows]
    assert found == scores("b", "\t", " ", "item_id")[1]


def test_scores_against_the_closed_form_in_numpy():
    rng = np.random.default_rng(0)
    ids, values = [f"i{n:02}" for n in range(20)], rng.normal(size=(20, 3)).astype("float32")
    model = Dataset.from_frames(vectors={"text": (ids, values)}).fit()
    features = model.model.components.features  # what a row of X is, is tested elsewhere
    everything = torch.arange(1, 21)
    rows = features(everything, torch.ones(20, 1, dtype=torch.bool))
    rows = rows.dense().double().numpy()
    inverse = np.linalg.inv(rows.T @ rows + PENALTY * 20 * np.eye(rows.shape[1]))
    expected = rows @ inverse @ (rows[3] + rows[7])
    found = model.score(["i03", "i07"], ids).to_numpy()
    assert np.allclose(found - found.mean(), expected - expected.mean(), atol=1e-5)


def test_the_same_call_is_answered_by_the_trained_model_when_there_is_one(shop):
    for interactions in (None, shop.orders):
        data = Dataset.from_frames(interactions, items=shop.products, vectors={"text": shop.text}, **shop.columns)
        model = data.fit("ContentRidge", scenario="item_cold")
        model.add_items(shop.new_product(2, "new"))
        assert "new" in set(model.recommend([["p2", "p4"]], k=60)["item"])


def test_it_is_saved_explained_and_compared_as_a_trained_one(shop, dataset):
    model = dataset.fit()
    model.add_items(shop.new_product(2, "new"))
    model.remove_items(["p6"])
    model.save("content.pth")
    again = Recommender.load("content.pth")
    pd.testing.assert_frame_equal(again.recommend([["p2"]], k=60), model.recommend([["p2"]], k=60))
    parts = again.explain(["p2"], "new")
    assert parts["contribution"].sum() == pytest.approx(again.score(["p2"], ["new"]).iloc[0], abs=1e-5)
    assert again.similar_items("p2", k=1)["similar"].tolist() == ["new"] and again.recommend().empty
    for kind in ("npy", "parquet"):
        assert main(["export", "--checkpoint=content.pth", "--output=index", f"--format={kind}"]) == 0
        ids = {side: Path(f"index/{side}_ids.txt").read_text().split() for side in ("user", "item")}
        assert ids == {"user": [], "item": again.embeddings("item")[0]}
        seen = np.load("index/user_seen.npz")
        assert seen["indptr"].tolist() == [0] and not len(seen["items"])


def test_on_the_command_line(shop, capsys, monkeypatch):
    shop.write()
    tables = ["--items", "products.csv", "--item-column", "sku", "--item-vectors", "text=text.npz"]
    assert main(["convert", "table", "--name", "shop", "--output", "my out", *tables]) == 0
    asked = ["--history", "p2", "p4", "--k", "3", "--output", "recs.csv"]
    said = shlex.split(capsys.readouterr().out.partition("next:\n")[2])
    assert said == ["recbole-sibrar", "recommend", "--dataset", "my out/shop", "--history", "ITEM"]
    assert main([*said[1:-2], *asked]) == 0
    expected = by_content("my out/shop").recommend([["p2", "p4"]], k=3)["item"].tolist()
    assert pd.read_csv("recs.csv")["item"].tolist() == expected
    assert main(["run", "--dataset=shop", "--data_path=my out", "--state=ERROR"]) == 2
    assert names(
        capsys.readouterr().err, "my out/shop/shop.inter | nothing to train on | recommend --dataset 'my out/shop'"
    )
    assert main(["convert", "table", "--name", "shop", "--output", "my out"]) == 2
    assert "Neither interactions nor items are given" in capsys.readouterr().err
    assert main(["recommend", "--dataset", "my out", *asked]) == 2
    assert "my out holds no my out.yaml" in capsys.readouterr().err
    Path("my out/shop/shop.text").rename("text")
    assert main(["recommend", "--dataset", "my out/shop", *asked]) == 2
    assert names(capsys.readouterr().err, "my out/shop/shop.text | no such file | 'text' is declared")
    Path("text").rename("my out/shop/shop.text")
    monkeypatch.chdir("my out/shop")
    assert main(["recommend", "--dataset", ".", "--all-users"]) == 0
    assert "nothing to recommend" in capsys.readouterr().out
