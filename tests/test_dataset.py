"""From tables in memory to recommendations."""

from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow
import pytest
import torch
from conftest import names
from shop import Shop

from recbole_sibrar import Dataset
from recbole_sibrar.checkpoint import load
from recbole_sibrar.cli import main
from recbole_sibrar.data.atomic import read_atomic
from recbole_sibrar.data.frames import plain_frame
from recbole_sibrar.data.vectors import read_vectors
from recbole_sibrar.errors import DataError, OptionError
from recbole_sibrar.recbole_plugin.run import run


@pytest.fixture
def shop():
    return Shop()


def polars(frame):
    return pytest.importorskip("polars").from_pandas(frame)


LIBRARIES = {"pandas": lambda frame: frame, "arrow": pyarrow.Table.from_pandas, "polars": polars}


def frames(shop, convert=lambda frame: frame, **changes):
    tables = {"items": convert(shop.products), "users": convert(shop.buyers), "vectors": {"text": shop.text}}
    return Dataset.from_frames(convert(shop.orders), **{**tables, **shop.columns, **changes})


def files(folder):
    """{suffix: text} of a data set, but for what says when and from what it was made."""
    return {path.suffix: path.read_bytes() for path in Path(folder).glob("*.*") if path.name[0] not in ".c"}


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_data_set_of_frames_is_that_of_the_files(shop, library, capsys):
    assert main(["convert", "table", "--name", "shop", "--output", "out", *shop.write()]) == 0
    said = capsys.readouterr().out
    dataset = frames(shop, LIBRARIES[library], folder="kept/shop")
    assert files(dataset.folder) == files("out/shop")
    ids, values = read_vectors(dataset.folder / "shop.text")
    assert np.array_equal(values, read_vectors("out/shop/shop.text")[1]) and len(ids) == shop.n_products - 1
    assert said.startswith(capsys.readouterr().out)


def test_a_model_of_frames_is_that_of_the_files_bit_for_bit(shop):
    assert main(["convert", "table", "--name", "shop", "--output", "out", *shop.write()]) == 0
    options = {"scenario": "item_cold", "epochs": 2, "embedding_size": 8, "topk": [3], "valid_metric": "NDCG@3"}
    expected = run("SiBraR", "shop", None, {**options, "data_path": "out", "show_progress": False, "state": "ERROR"})
    model = frames(shop, folder="kept/shop").fit("SiBraR", **options, output_dir="here")
    assert model.evaluate() == expected.test_result and model.result.history == expected.history
    before, after = (load(f"{r.config['checkpoint_dir']}/model.pth") for r in (expected, model.result))
    assert before["state_dict"].keys() == after["state_dict"].keys() and before["data"] == after["data"]
    assert all(torch.equal(before["state_dict"][name], value) for name, value in after["state_dict"].items())


def test_from_two_tables_and_vectors_with_gaps_to_a_product_that_never_existed(shop):
    data = Dataset.from_frames(shop.orders, items=shop.products, vectors={"text": shop.text}, **shop.columns)
    model = data.fit("ContentRidge", scenario="item_cold", topk=[3], valid_metric="NDCG@3")
    assert model.evaluate()["ndcg@3"] > 0.5
    model.add_items(pd.DataFrame({"item_id": ["tea", "tool"], "text": [[1.0, 0.5, 0.9], [-1.0, 0.5, 0.9]]}))
    assert model.recommend(["b2", "b3"], k=1, candidates=["tea", "tool"])["item"].tolist() == ["tea", "tool"]
    assert not list(Path().glob("*.inter")) and not Path("results").exists()


def test_lists_are_tags_or_vectors_and_kinds_can_be_said(shop, capsys):
    cells = [None if np.isnan(row).any() else row.tolist() for row in shop.text]
    tags = [None if cell is None else cell.split("|") for cell in shop.products["tags"]]
    dataset = frames(shop, items=shop.products.assign(tags=tags, text=cells), vectors=None, folder="a/shop")
    assert files(dataset.folder) == files(frames(shop, folder="b/shop").folder)
    said = capsys.readouterr().out
    assert "item column 'tags': tags (lists)" in said and "item column 'text': vector (lists)" in said
    frames(shop, kinds={"since": "category", "city": "text"}, folder="a/shop")
    said = capsys.readouterr().out
    assert "item column 'since': category\n" in said and "user column 'city': text" in said


@pytest.mark.parametrize(
    "vectors",
    [
        lambda ids, rows: {token: row for token, row in zip(ids, rows) if not np.isnan(row).any()},
        lambda ids, rows: {token: None if np.isnan(row).any() else row for token, row in zip(ids, rows)},
        lambda ids, rows: (ids[::-1], rows[::-1]),
        lambda ids, rows: pd.DataFrame(rows.astype(float)).assign(id=ids)[["id", 0, 1, 2]],
        lambda ids, rows: pd.DataFrame({"id": ids, "v": [None if np.isnan(row[0]) else row for row in rows]}),
    ],
    ids=["mapping", "mapping with None", "ids and array", "wide frame", "frame of lists"],
)
def test_forms_of_vectors(shop, vectors):
    ids = shop.products["sku"].tolist()
    dataset = frames(shop, vectors={"text": vectors(ids, shop.text)})
    found = dict(zip(*read_vectors(dataset.folder / "frames.text")))
    assert found.keys() == set(ids) - {"p3"}
    assert all(np.array_equal(found[token], row) for token, row in zip(ids, shop.text) if token != "p3")


WRONG = {
    "no frame": (lambda s: Dataset.from_frames(7), "interactions is int; expected a data frame"),
    "ids": (lambda s: Dataset.from_frames(s.orders), "interactions, line 1: no column 'user_id'"),
    "item ids": (lambda s: frames(s, items=s.products.rename(columns={"sku": "id"})), "items, line 1: no column 'sku'"),
    "twice": (lambda s: frames(s, items=pd.concat([s.products] * 2)), "items, line 61: id 'p0' occurs twice"),
    "columns": (lambda s: frames(s, items=pd.concat([s.products] * 2, axis=1)), "items: column 'sku' occurs twice"),
    "kind": (lambda s: frames(s, kinds={"tags": "list"}), "unknown kind"),
    "column": (lambda s: frames(s, kinds={"sinse": "number"}), "'sinse' is no column of users or items. Did you mean"),
    "rows": (lambda s: frames(s, vectors={"text": s.text[1:]}), "an array of 59 rows, but its table has 60 rows"),
    "table": (lambda s: frames(s, user_vectors={"f": s.text}, users=None), "array of 60 rows, but there is no table"),
    "name": (lambda s: frames(s, vectors={"tags": s.text}), "'tags' is taken"),
    "ragged": (lambda s: frames(s, vectors={"text": {"p1": [1], "p2": [1, 2]}}), "'text' are no table of numbers"),
    "NaN": (lambda s: frames(s, vectors={"text": {"p1": [1, np.nan]}}), "NaN or infinity for id 'p1'"),
    "mixed": (
        lambda s: frames(s, items=s.products.assign(tags=[["x", 7]] * 60)), "items, line 1: tags is ['x', 7]"
    ),
    "folder": (lambda s: Dataset("nowhere"), "nowhere holds no nowhere.inter; make it with Dataset.from_frames"),
    "orders": (lambda s: frames(s, convert=lambda f: f.assign(x=[[1]] * len(f))), "column 'x' holds lists"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_wrong_tables_get_a_sentence(shop, case):
    call, message = WRONG[case]
    with pytest.raises((OptionError, DataError)) as error:
        call(shop)
    assert names(str(error.value), message)


def test_cells_are_what_a_person_means():
    frame = pd.DataFrame(
        {
            "whole": [1.0, np.nan],
            "fraction": [1.5, np.nan],
            "day": pd.to_datetime(["1970-01-02", None]),
            "flag": [True, None],
            "text": ["7", None],
        },
        index=pd.Index([10, 11], name="sku"),
    )
    plain = plain_frame(frame, "x")
    assert plain.to_dict("list") == {
        "sku": [10, 11], "whole": [1, None], "fraction": [1.5, None], "day": [86400, None], "flag": [True, None],
        "text": ["7", None],
    }  # fmt: skip
    assert type(plain["whole"][1]) is int and plain.index.tolist() == [1, 2]


def test_times_of_orders_are_seconds(shop):
    orders = shop.orders.assign(timestamp=[datetime(1970, 1, 1, 0, 0, n % 60) for n in range(len(shop.orders))])
    dataset = Dataset.from_frames(orders, **shop.columns)
    assert read_atomic(dataset.folder / "frames.inter")["timestamp"].astype(float).max() == 59
