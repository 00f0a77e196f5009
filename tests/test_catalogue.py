"""The whole catalogue is served: what was never bought, what is new, what changed, what is gone."""

import warnings
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow
import pytest
import torch
from conftest import naming
from shop import Shop

from recbole_sibrar import Dataset
from recbole_sibrar.cli import main
from recbole_sibrar.data import encoders
from recbole_sibrar.errors import DataError, OptionError
from recbole_sibrar.recbole_plugin.run import run
from recbole_sibrar.serving.recommender import Recommender

MODELS = {
    "SiBraR": {"single_branch": "both", "epochs": 1, "embedding_size": 8},
    "MuBraR strong": {"preset": "strong", "epochs": 1, "embedding_size": 8, "content_prior": 1.0},
    "SiBraR user": {"single_branch": "user", "epochs": 1, "embedding_size": 8},
    "ContentRidge": {"epochs": 2},
    "KernelRidge": {"epochs": 2},
}


@pytest.fixture(scope="module")
def shop():
    return Shop()


@pytest.fixture(scope="module")
def dataset(shop):
    tables = {"items": shop.products, "users": shop.buyers, "vectors": {"text": shop.text}}
    return Dataset.from_frames(shop.orders, **tables, **shop.columns)


def fitted(dataset, name="ContentRidge", scenario="item_cold", **options):
    small = {"epochs": 1, "embedding_size": 8}
    options = {"topk": [3], "valid_metric": "NDCG@3", **MODELS.get(name, small), **options}
    return dataset.fit(name.split()[0], scenario=scenario, **options)


@pytest.fixture(scope="module")
def checkpoint(dataset, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.pth"
    fitted(dataset, "SiBraR").save(path)
    return path


@pytest.fixture
def model(checkpoint):
    return Recommender.load(checkpoint)


@pytest.mark.parametrize("name", MODELS)
def test_what_was_never_bought_is_served_and_changes_no_metric(shop, dataset, name):
    model = fitted(dataset, name, "user_cold" if name == "SiBraR user" else "item_cold")
    bare = Dataset.from_frames(
        shop.orders,
        items=shop.products[: shop.n_bought],
        users=shop.buyers[: shop.n_buyers],
        vectors={"text": shop.text[: shop.n_bought]},
        **shop.columns,
    )
    without = fitted(bare, name, "user_cold" if name == "SiBraR user" else "item_cold")
    assert model.evaluate() == without.evaluate()
    if name == "SiBraR user":
        assert len(model.directory.tokens["item"]) == shop.n_bought + 1
        assert model.recommend(["b40"], k=3)["score"].notna().all()
        return
    served = model.recommend(["b2", "b41"], k=100, exclude_seen=False)
    assert set(served["item"]) == set(shop.products["sku"]) and set(served["user"]) == {"b2", "b41"}
    cold = [f"p{n}" for n in range(shop.n_bought, shop.n_products)]
    model.add_items(pd.concat(shop.new_product(int(sku[1:]), f"new {sku}") for sku in cold))
    scores = [model.score("b2", cold).to_numpy(), model.score("b2", [f"new {sku}" for sku in cold]).to_numpy()]
    assert np.allclose(*scores, rtol=1e-5, atol=1e-6)  # products of other numbers of rows may round otherwise
    assert set(without.recommend(["b2"], k=100, exclude_seen=False)["item"]) == set(
        shop.products["sku"][: shop.n_bought]
    )


@pytest.mark.parametrize("name", ["CLCRec", "DropoutNet"])
def test_networks_of_content_serve_the_whole_catalogue_to_known_users(shop, dataset, name):
    model = fitted(dataset, name)
    cold = [f"p{n}" for n in range(shop.n_bought, shop.n_products)]
    assert set(model.recommend(["b2"], k=100, exclude_seen=False)["item"]) == set(shop.products["sku"])
    model.add_items(pd.concat(shop.new_product(int(sku[1:]), f"new {sku}") for sku in cold))
    scores = [model.score("b2", cold).to_numpy(), model.score("b2", [f"new {sku}" for sku in cold]).to_numpy()]
    assert np.allclose(*scores, atol=1e-6) and scores[0].std() > 0
    for item in ("p1", "p40", "new p40", "new p31"):
        table = model.explain("b2", item)
        assert table["contribution"].sum() == pytest.approx(model.score("b2", [item]).item(), abs=1e-5)
        assert ("interactions" in set(table["item_modality"])) == (item == "p1")
    model.remove_items(["new p30"])
    model.save("again.pth")
    again = Recommender.load("again.pth")
    pd.testing.assert_frame_equal(again.recommend(["b2"], k=100), model.recommend(["b2"], k=100))
    with pytest.raises(OptionError):
        model.recommend([{"city": "A"}])
    if name == "CLCRec":
        with pytest.raises(OptionError, match=naming("CLCRec | the id of each user | DropoutNet")):
            model.recommend([["p1", "p3"]])
        return
    (user, *_), ids, seen = model.embeddings("user")[0], model.embeddings("item")[0], model.seen()
    history = [ids[column] for column in seen.columns[: seen.indptr[1]]]
    known, new = model.score(user, ids), model.score([*history, "new p31"], ids)
    assert np.allclose(known, new, atol=0.02 * known.std()) and known.std() > 0
    table = model.explain(["p0", "p2"], "p1")
    assert table["contribution"].sum() == pytest.approx(model.score(["p0", "p2"], ["p1"]).item(), abs=1e-5)


@pytest.mark.parametrize("name", ["CLCRec", "DropoutNet"])
def test_networks_of_content_keep_what_they_have_learned_of_an_item(shop, dataset, name):
    model = fitted(dataset, name)
    (trained,) = (model.directory.tokens["item"][n] for n in model.directory.interactions.columns[:1].tolist())
    before = model.score("b2", shop.products["sku"])
    model.remove_items([trained, "p40"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.add_items(pd.DataFrame({"sku": [trained, "p40"]}))
    assert np.allclose(model.score("b2", shop.products["sku"]), before, atol=1e-6)
    assert {trained, "p40"} <= set(model.recommend(["b2"], k=100, exclude_seen=False)["item"])
    with pytest.warns(UserWarning, match=naming(f"{name} | {trained!r} | not read")):
        model.add_items(pd.DataFrame({"sku": [trained, "p40"], "tags": "metal"}))
    changed = model.score("b2", shop.products["sku"]) - before
    assert changed[trained] == 0 and changed["p40"] != 0
    assert model.explain("b2", trained)["contribution"].sum() == pytest.approx(before[trained], abs=1e-5)


@pytest.mark.parametrize("name", ["CLCRec", "DropoutNet"])
def test_a_history_that_a_model_cannot_read_is_said_once(shop, dataset, name):
    model = fitted(dataset, name, "user_cold")
    with pytest.warns(UserWarning, match=naming(f"{name} | city | histories")):
        lists = model.recommend([{"city": "A"}, {"city": "A", "history": ["p1"]}], k=100)
    own = [lists["item"][lists["user"] == user].tolist() for user in ("#0", "#1")]
    assert [item for item in own[0] if item != "p1"] == own[1]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.recommend([["p1"]])


def test_a_known_user_who_is_served_as_a_new_one_is_said_once(model):
    with pytest.warns(UserWarning, match=naming("'b2' is known | as a new one | the id alone")):
        model.recommend([{"id": "b2", "city": "B"}], k=3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.recommend([{"id": "b3", "city": "B"}, {"id": "b2"}, {"id": "b2", "history": ["p1"], "city": "B"}], k=3)


def test_a_history_of_items_that_were_added_is_said_once(shop, model):
    model.add_items(pd.concat([shop.new_product(2, "new"), shop.new_product(3, "newer")]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.recommend([[], ["p1", "new"], "b2"])
    with pytest.warns(UserWarning, match=naming("'new' | 'p40' | counts for nothing")):
        model.recommend([["new", "p40"]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.recommend([["new"], ["p40"]])
    with pytest.warns(UserWarning, match="'newer'"):
        model.recommend([["newer", "new"]])


def test_the_shop_s_known_answer(shop, dataset):
    model = fitted(dataset, epochs=20)
    lists = model.recommend(["b2", "b3"], k=4, candidates=[f"p{n}" for n in range(shop.n_bought, shop.n_products)])
    departments = lists["item"].str[1:].astype(int) % 2
    assert (departments == lists["user"].map({"b2": 0, "b3": 1})).all()


def filtered(dataset, **settings):
    settings = {"data_path": str(dataset.folder.parent), "state": "ERROR", "show_progress": False, **settings}
    result = run("ContentRidge", "frames", None, {"scenario": "item_cold", **settings})
    return result, Recommender.load(f"results/{result.name}")


def test_what_a_filter_of_interactions_drops_is_counted_and_served_as_a_cold_one(shop, dataset):
    columns = {"load_col": {"inter": ["user_id", "item_id", "stars"]}, "val_interval": {"stars": "[4,inf)"}}
    result, model = filtered(dataset, item_inter_num_interval="[9,inf)", **columns)
    n_items, example = result.dropped["item"]["count"], result.dropped["item"]["examples"][0]
    assert 0 < n_items < shop.n_bought and example in set(shop.orders["sku"])
    assert f"the filters dropped {n_items} items, such as '{example}'" in result.table()
    assert set(model.recommend(k=100, exclude_seen=False)["item"]) == set(shop.products["sku"])
    model.add_items(shop.new_product(int(example[1:]), "the same"))
    assert model.score("b2", [example]).item() == model.score("b2", ["the same"]).item()


def test_what_a_filter_of_features_drops_is_not_served(shop, dataset):
    columns = {"inter": ["user_id", "item_id"], "item": ["item_id", "price"]}
    cheap = shop.products.loc[pd.to_numeric(shop.products["price"], errors="coerce") < 5, "sku"]
    result, model = filtered(dataset, load_col=columns, val_interval={"price": "[5,inf)"})
    served = set(model.recommend(k=100, exclude_seen=False)["item"])
    bought = set(shop.orders["sku"])
    assert result.dropped["item"]["count"] > 0 and not served & set(cheap) & bought


def test_interactions_that_recbole_drops_for_want_of_a_row_are_told_of(tiny):
    tiny.file("user", "user_id:token\tage:float", [f"u{n}\t{n}" for n in range(2, 99)])
    columns = {"load_col": {"inter": ["user_id", "item_id"], "user": ["user_id", "age"]}}
    with pytest.warns(UserWarning, match=naming("1 of | 'u1' | tiny.user | filter_inter_by_user_or_item=False")):
        result = run("Pop", "tiny", None, tiny.options(**columns))
    assert result.dropped["user"] == {"count": 1, "examples": ["u1"]}
    kept = run("Pop", "tiny", None, tiny.options(**columns, filter_inter_by_user_or_item=False))
    assert not kept.dropped


def test_a_filter_of_features_that_keeps_the_interactions_is_refused(shop, dataset):
    columns = {"inter": ["user_id", "item_id"], "item": ["item_id", "price"]}
    with pytest.raises(OptionError, match=naming("val_interval.price | filter_inter_by_user_or_item=False")):
        filtered(dataset, load_col=columns, val_interval={"price": "[5,inf)"}, filter_inter_by_user_or_item=False)
    users = [f"b{n}" for n in range(30)]
    result, _ = filtered(dataset, val_interval={"user_id": users}, filter_inter_by_user_or_item=False)
    assert result.dropped["user"]["count"] == 10


@pytest.mark.parametrize("how", [{"k_core": 3}, {"minimum": {"stars": 3}}])
def test_what_a_filter_takes_in_conversion_stays_in_the_catalogue(shop, how, capsys):
    tables = {"items": shop.products, "users": shop.buyers, "vectors": {"text": shop.text}}
    rare = pd.DataFrame({"buyer": ["b1", "b2"], "sku": ["p31", "p35"], "stars": [1, 2]})
    orders = pd.concat([shop.orders, rare])
    data = Dataset.from_frames(orders, **tables, **shop.columns, **how)
    rows = pd.read_csv(data.folder / "frames.inter", sep="\t")
    assert set(rows["item_id:token"]) == set(shop.orders["sku"])
    said = "2 items lost their interactions to the filters and are kept without, such as 'p31', 'p35'"
    assert said in capsys.readouterr().out
    served = fitted(data).recommend(["b2"], k=100, exclude_seen=False)
    assert set(served["item"]) == set(shop.products["sku"])
    kept = Dataset.from_frames(orders, **tables, **shop.columns, **how, require=["price"])
    described = pd.read_csv(kept.folder / "frames.item", sep="\t", dtype=str)
    assert set(described["item_id:token"]) == set(shop.products.loc[shop.products["price"].notna(), "sku"])


def test_a_known_item_is_changed_and_no_other_score(shop, model):
    others = [sku for sku in shop.products["sku"] if sku not in ("p1", "p31")]
    before = {user: model.score(user, others) for user in ("b2", "b41")}
    old = model.score("b2", ["p1", "p31"])
    model.add_items(shop.products[shop.products["sku"].isin(["p1", "p31"])].assign(tags="green tea"))
    assert (model.score("b2", ["p1", "p31"]) != old).all()
    assert all((model.score(user, others) == scores).all() for user, scores in before.items())
    assert len(model.directory.tokens["item"]) == shop.n_products + 1
    model.add_items(shop.products[shop.products["sku"].isin(["p1", "p31"])])
    assert np.allclose(model.score("b2", ["p1", "p31"]), old, atol=1e-6)


def test_what_was_replaced_is_not_held(shop, model, checkpoint):
    once = Recommender.load(checkpoint)
    rows = [pd.concat([shop.new_product(n, "new"), shop.new_product(n + 1, "p1")]) for n in (4, 5)]
    for row in rows * 20:
        model.add_items(row)
    once.add_items(rows[1])
    own = model._catalogue["item"]
    assert sum(len(block.available) for block in own._blocks) <= 2 * len(own.numbers)
    for item in ("p1", "new", "p40"):
        pd.testing.assert_frame_equal(model.explain("b2", item), once.explain("b2", item))


def test_an_item_is_added_without_a_copy_of_all(shop, model):
    def place(row):
        model.add_items(row)
        return model._items.data_ptr()

    assert len({place(shop.new_product(4, f"new {n}")) for n in range(40)}) < 10
    assert place(shop.new_product(5, "p1")) == place(shop.new_product(5, "new 3"))


def test_columns_that_are_not_given_stay_and_empty_cells_are_missing(shop, model):
    def named(item):
        return set(model.explain("b2", item)["item_modality"])

    before = named("p2")
    model.add_items(pd.DataFrame({"item_id": ["p2", "p32"], "price": [3.5, None]}))
    assert named("p2") == before >= {"tags", "price", "since", "text"} and named("p32") == {"tags", "text"}


@pytest.mark.parametrize("phase", ["train", "evaluation"])
def test_what_is_not_given_is_what_evaluation_read(shop, dataset, phase):
    model, items = fitted(dataset, missing={"rate": 0.5, "phase": phase}), shop.products["sku"].tolist()
    before = model.score("b2", items)
    model.add_items(pd.DataFrame({"item_id": items}))
    assert np.allclose(model.score("b2", items), before, atol=1e-6)


@pytest.mark.parametrize("nothing", [None, float("nan"), [np.nan] * 3, [None] * 3, np.full(3, np.nan), "nan nan nan"])
def test_a_vector_of_nothing_is_missing_as_in_the_tables(model, nothing):
    model.add_items(pd.DataFrame({"item_id": ["p2"], "text": [nothing]}))
    assert {"tags"} <= set(model.explain("b2", "p2")["item_modality"]) <= {"interactions", "tags", "price", "since"}


def test_removed_items_are_not_offered_until_they_are_added_again(shop, model):
    before = model.recommend(["b2"], k=100)
    scores = model.score("b2", shop.products["sku"])
    model.remove_items(["p30", "p31"])
    after = model.recommend(["b2"], k=100)
    kept = before[~before["item"].isin(["p30", "p31"])]
    assert after[["item", "score"]].to_numpy().tolist() == kept[["item", "score"]].to_numpy().tolist()
    assert (model.score("b2", shop.products["sku"]) == scores).all()
    assert not {"p30", "p31"} & {*model.similar_items("p32", k=100)["similar"], *model.embeddings("item")[0]}
    assert model.recommend([["p30"]], k=1)["item"].notna().all()
    with pytest.raises(DataError, match="'p30' was removed"):
        model.recommend(["b2"], candidates=["p30"])
    with pytest.raises(DataError, match="Unknown item id 'p99'"):
        model.remove_items(["p99"])
    model.add_items(pd.DataFrame({"sku": ["p30"]}))
    assert "p30" in set(model.recommend(["b2"], k=100)["item"])


def test_a_saved_model_keeps_its_catalogue(shop, model):
    model.add_items(pd.concat([shop.new_product(4, "new"), shop.new_product(5, "p1")]))
    model.remove_items(["p2", "p40"])
    model.save("again.pth")
    again = Recommender.load("again.pth")
    pd.testing.assert_frame_equal(again.recommend(k=100), model.recommend(k=100))
    pd.testing.assert_frame_equal(again.explain("b41", "new"), model.explain("b41", "new"))
    again.add_items(pd.DataFrame({"sku": ["p40"], "price": [1]}))
    again.save("again.pth")
    assert "p40" in set(Recommender.load("again.pth").recommend(["b2"], k=100)["item"])
    assert torch.load("again.pth", weights_only=True)["serving"]["catalogue"]["removed"] == ["p2"]


def test_a_file_that_is_written_over_while_it_is_served_takes_nothing_away(shop, checkpoint):
    with open("model.pth", "w+b") as file:
        file.write(checkpoint.read_bytes())
        file.flush()
        model = Recommender.load("model.pth")
        file.seek(0)
        file.write(bytes(checkpoint.stat().st_size))
    before = Recommender.load(checkpoint)
    for own in (before, model):
        own.add_items(shop.new_product(4, "p1"))
    model.save("again.pth")
    for own in (model, Recommender.load("again.pth")):
        pd.testing.assert_frame_equal(own.recommend(k=100), before.recommend(k=100))


def test_serving_takes_what_the_converter_took(shop, model, capsys):
    row = shop.new_product(2, "new").assign(tags="green  tea | drink", price=" 3.0 ", since="N/A")
    for frame in (row, pyarrow.Table.from_pandas(row)):
        model.add_items(frame)
        assert model.score("b2", ["new"]).iloc[0] == _score(model, shop.new_product(2, "other").assign(since=None))
    row.assign(tags=[["green tea", "drink"]]).drop(columns="text").to_parquet("new.parquet")
    row.drop(columns="text").to_csv("new.csv", index=False)
    row.drop(columns="text").to_json("new.jsonl", orient="records", lines=True)
    pd.DataFrame({"buyer": ["b2", "x"], "city": ["", "B"], "history": ["", "p2 p4"]}).to_csv("users.csv", index=False)
    Path("users.jsonl").write_text('{"buyer": "b2"}\n{"buyer": "x", "city": "B", "history": ["p2", "p4"]}\n')
    model.save("model.pth")
    printed = []
    for users, file in product(["users.csv", "users.jsonl"], ["new.parquet", "new.csv", "new.jsonl"]):
        asked = ["--users-file", users, "--new-items", file, "--candidates", "new", "p3"]
        assert main(["recommend", "--checkpoint", "model.pth", *asked]) == 0
        printed.append(capsys.readouterr().out)
    assert len(set(printed)) == 1 and printed[0].count("new") == 2
    assert model.recommend([{"buyer": "x", "city": "B"}], k=1)["user"].tolist() == ["x"]


@pytest.mark.parametrize("name", ["SiBraR item", "BPR"])
def test_known_users_in_the_whole_table_of_users_are_known(shop, name, capsys):
    buyers = shop.buyers.assign(name=[f"A buyer called {n}" for n in range(len(shop.buyers))])
    data = Dataset.from_frames(shop.orders, items=shop.products, users=buyers, **shop.columns)
    own, printed = fitted(data, name, "warm", output_dir="results", run_name="r"), []
    capsys.readouterr()
    for columns in (["buyer"], ["buyer", "name"], ["buyer", "name", "city"]):
        buyers.loc[:2, columns].to_csv("users.csv", index=False)
        assert main(["recommend", "--checkpoint", "results/r/model.pth", "--users-file", "users.csv"]) == 0
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1] == printed[2]
    frames = [own.recommend([user]) for user in ("b2", {"buyer": "b2", "name": "A buyer called 2"})]
    pd.testing.assert_frame_equal(*frames)


def _score(model, row):
    model.add_items(row)
    return model.score("b2", row["sku"]).iloc[0]


def test_tags_that_training_never_saw_are_listed_once(shop, model):
    with pytest.warns(UserWarning, match="tags: blue_ish, red did not occur in training"):
        model.add_items(pd.DataFrame({"sku": ["a", "b"], "tags": ["red|drink", "blue ish|red"]}))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.add_items(pd.DataFrame({"sku": ["c"], "tags": ["red|metal"]}))


@pytest.mark.parametrize(
    "items, message",
    [
        (pd.DataFrame({"skuu": ["a"]}), "one must be 'sku' or 'item_id'"),
        (pd.DataFrame({"sku": ["a"], "taggs": ["x"]}), "'taggs' | 'tags'"),
        (pd.DataFrame({"sku": ["a", "a"]}), "Item 'a' occurs twice"),
        ([{"sku": "a"}], "items is list; expected a data frame"),
    ],
)
def test_wrong_items(model, items, message):
    with pytest.raises((DataError, OptionError), match=naming(message)):
        model.add_items(items)


def test_a_block_of_tables_that_means_nothing_is_named(shop):
    data = Dataset.from_frames(shop.orders, items=shop.products, folder="out/shop", **shop.columns)
    declared = data.folder / "shop.yaml"
    declared.write_text(declared.read_text().replace("tag_separator", "tag_seperator"))
    with pytest.raises(OptionError, match=naming("tables | 'tag_seperator' | 'tag_separator'")):
        data.by_content()


def test_raw_texts_go_through_the_encoder_of_the_training_vectors(shop, monkeypatch):
    def load(model):
        assert model == "some/model"
        return lambda texts: np.array([[len(text), text.count("t")] for text in texts], dtype="float32")

    monkeypatch.setitem(encoders.LOADERS, "text", load)
    from recbole_sibrar.convert.encoders import Encode

    encode = Encode({"title": "text"}, "out", text_model="some/model")
    data = Dataset.from_frames(shop.orders, items=shop.products, encode=encode, folder="out/shop", **shop.columns)
    model = fitted(data)
    title = shop.products["title"][40]
    given = {
        "raw": title,
        "vector": [float(len(title)), float(title.count("t"))],
        "written": f"{len(title)} {title.count('t')}",
    }
    model.add_items(pd.DataFrame({"sku": list(given), "title": list(given.values())}))
    assert model.score("b2", list(given)).nunique() == 1


@pytest.mark.parametrize("name", ["ContentRidge", "SiBraR"])
def test_vectors_of_items_that_nobody_had_are_not_read(shop, name):
    pictures = {f"p{n}": [n, 1.0] for n in range(shop.n_bought, shop.n_products)}
    tables = {"items": shop.products, "users": shop.buyers, **shop.columns}
    lists = [
        fitted(Dataset.from_frames(shop.orders, vectors=vectors, **tables), name).recommend(k=60)
        for vectors in ({"picture": pictures}, None)
    ]
    assert set(lists[0]["item"]) == set(lists[1]["item"]) and len(set(lists[0]["item"])) == shop.n_products
    if name == "ContentRidge":
        pd.testing.assert_frame_equal(*lists)


def test_vectors_of_nobody_are_refused(shop):
    data = Dataset.from_frames(shop.orders, items=shop.products, vectors={"text": shop.text}, **shop.columns)
    path = data.folder / f"{data.folder.name}.text"
    path.write_text("item_id:token\ttext:float_seq\nP1\t1 2\n")
    with pytest.raises(DataError, match=naming("none of its 1 ids | 'P1' | Write them in the same way")):
        fitted(data)
