"""From tables in memory to recommendations."""

import json
import pickle
import warnings
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow
import pytest
import torch
import yaml
from conftest import names, naming
from shop import Shop

from recbole_sibrar import Dataset
from recbole_sibrar.checkpoint import load
from recbole_sibrar.cli import main
from recbole_sibrar.convert.vectors import embeddings_of
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


def test_a_pickled_data_set_says_that_its_folder_went_with_the_first(shop):
    data = frames(shop)
    copied = pickle.loads(pickle.dumps(data))
    assert copied.has_interactions
    folder = data.folder
    del data
    with pytest.raises(DataError, match=naming(f"{folder} | frames.inter | folder=")):
        copied.fit("Pop")


def test_from_two_tables_and_vectors_with_gaps_to_a_product_that_never_existed(shop):
    data = Dataset.from_frames(shop.orders, items=shop.products, vectors={"text": shop.text}, **shop.columns)
    model = data.fit("ContentRidge", scenario="item_cold", topk=[3], valid_metric="NDCG@3")
    assert model.evaluate()["ndcg@3"] > 0.5
    model.add_items(pd.DataFrame({"item_id": ["tea", "tool"], "text": [[1.0, 0.5, 0.9], [-1.0, 0.5, 0.9]]}))
    assert model.recommend(["b2", "b3"], k=1, candidates=["tea", "tool"])["item"].tolist() == ["tea", "tool"]
    assert not list(Path().glob("*.inter")) and not Path("results").exists()


def printed(cells):
    """As ``to_csv`` writes arrays of numpy."""
    return None if cells is None else str(np.array(cells, dtype=object))


def as_tuple(cells):
    return cells if cells and not isinstance(cells[0], str) else str(tuple(cells or []))


def as_array(cells):
    """As Postgres copies arrays."""
    return (
        "{" + ",".join(cell if isinstance(cell, str) and " " not in cell else json.dumps(cell) for cell in cells) + "}"
    )


WRITTEN = {
    "no": lambda cells: cells, "json": json.dumps, "str": str, "numpy": printed, "tuple": as_tuple, "postgres": as_array
}  # fmt: skip


@pytest.mark.parametrize("written", WRITTEN.values(), ids=WRITTEN)
def test_lists_are_tags_or_vectors_and_kinds_can_be_said(shop, written, capsys):
    cells = [None if np.isnan(row).any() else written(row.tolist()) for row in shop.text]
    tags = [written([] if pd.isna(cell) else cell.split("|")) for cell in shop.products["tags"]]
    dataset = frames(shop, items=shop.products.assign(tags=tags, text=cells), vectors=None, folder="a/shop")
    assert files(dataset.folder) == files(frames(shop, folder="b/shop").folder)
    said = capsys.readouterr().out
    assert "item column 'tags': tags (lists)" in said and "item column 'text': vector (lists)" in said
    frames(shop, kinds={"since": "category", "city": "text"}, folder="a/shop")
    said = capsys.readouterr().out
    assert "item column 'since': category\n" in said and "user column 'city': text" in said


@pytest.mark.parametrize("make", [list, set, np.array, pd.Series, pd.Index])
@pytest.mark.parametrize("cells", [[[28, 12], [12, 35]], [["28", "12"], ["12", "35"]]])
def test_lists_of_numbers_are_tags_where_they_are_said_to_be(shop, make, cells):
    tags = [None if n % 7 == 0 else make(cells[n % 2]) for n in range(shop.n_products)]
    dataset = frames(shop, items=shop.products.assign(tags=tags), kinds={"tags": "tags"})
    assert set(read_atomic(dataset.folder / "frames.item")["tags"].map(lambda cell: frozenset(cell.split()))) == {
        frozenset(), frozenset(["12", "28"]), frozenset(["12", "35"])
    }  # fmt: skip


@pytest.mark.parametrize(
    "vectors",
    [
        lambda ids, rows: {token: row for token, row in zip(ids, rows) if not np.isnan(row).any()},
        lambda ids, rows: {token: None if np.isnan(row).any() else row for token, row in zip(ids, rows)},
        lambda ids, rows: (ids[::-1], rows[::-1]),
        lambda ids, rows: pd.DataFrame(rows.astype(float)).assign(id=ids)[["id", 0, 1, 2]],
        lambda ids, rows: pd.DataFrame({"id": ids, "v": [None if np.isnan(row[0]) else row for row in rows]}),
        lambda ids, rows: pd.DataFrame(rows, ids),
        lambda ids, rows: pd.Series([None if np.isnan(row[0]) else row for row in rows], ids),
        lambda ids, rows: pd.Series(list(rows), pd.Index(ids, name="sku")),
    ],
    ids=[
        "mapping", "mapping with None", "ids and array", "wide frame", "frame of lists", "index of texts",
        "column with gaps", "column with an index that has a name",
    ],
)  # fmt: skip
def test_forms_of_vectors(shop, vectors):
    ids = shop.products["sku"].tolist()
    dataset = frames(shop, vectors={"text": vectors(ids, shop.text)})
    found = dict(zip(*read_vectors(dataset.folder / "frames.text")))
    assert found.keys() == set(ids) - {"p3"}
    assert all(np.array_equal(found[token], row) for token, row in zip(ids, shop.text) if token != "p3")


def test_arguments_may_be_of_any_type_that_says_the_same(shop):
    counts = {"minimum": {"stars": 4}, "k_core": 2}
    plain = {**counts, "missing": ["?", "x"], "require": ["tags"], "kinds": {"since": "text"}}
    same = {
        "missing": {"?", "x"},
        "minimum": {np.str_("stars"): np.float32(4)},
        "k_core": np.int64(2),
        "require": np.array(["tags"]),
        "kinds": {"since": np.str_("text")},
        "tag_separator": np.str_("|"),
        "vectors": {np.str_("text"): shop.text},
    }
    assert files(frames(shop, **same, folder="a/shop").folder) == files(frames(shop, **plain, folder="b/shop").folder)
    for missing in (np.array(["?"]), pd.Series(["?"]), pd.Index(["?"])):
        frames(shop, missing=missing)


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
    "vectors whose index may be none of ids": (
        lambda s: frames(s, vectors={"text": pd.Series(list(s.text))}), "'text' | index | [0] | {id: vector}"
    ),
    "ragged": (lambda s: frames(s, vectors={"text": {"p1": [1], "p2": [1, 2]}}), "'text' are no table of numbers"),
    "NaN": (lambda s: frames(s, vectors={"text": {"p1": [1, np.nan]}}), "NaN, infinity | id 'p1'"),
    "text beside lists": (lambda s: frames(s, items=s.products.assign(v=[[1, 2]] * 59 + ["x"])), "line 60 | v | 'x'"),
    "lists of several lengths": (
        lambda s: frames(s, items=s.products.assign(v=["[1]"] + ["[1, 2]"] * 59)), "line 2 | v | [1, 2] | v=tags"
    ),
    "text beside lists that are texts": (
        lambda s: frames(s, items=s.products.assign(v=["a|b"] + ["['a', 'b']"] * 59)), "line 1 | v | 'a|b' | no list"
    ),
    "text that UTF-8 cannot hold in a list": (
        lambda s: frames(s, items=s.products.assign(v=['["\\ud800"]'] * 60)), "line 1 | v | UTF-8"
    ),
    "gap in a list": (
        lambda s: frames(s, items=s.products.assign(tags=[[1, np.nan]] * 60), kinds={"tags": "tags"}), "line 1 | nan"
    ),
    "list and kind": (
        lambda s: frames(s, items=s.products.assign(tags=[[1, 2]] * 60), kinds={"tags": "number"}), "[1, 2] | number"
    ),
    "mixed": (
        lambda s: frames(s, items=s.products.assign(tags=[["x", 7]] * 60)), "items, line 1: tags is ['x', 7]"
    ),
    "folder": (lambda s: Dataset("nowhere"), "nowhere holds no nowhere.inter; make it with Dataset.from_frames"),
    "lists as ids": (lambda s: frames(s, convert=lambda f: f.assign(buyer=[[1]] * len(f))), "user_id is [1]"),
    "no ids": (lambda s: frames(s, convert=lambda f: f.assign(buyer=None)), "interactions, line 1: user_id or"),
    "no rating": (lambda s: frames(s, convert=lambda f: f.assign(rating=[None, *range(1, len(f))])), "line 1 | rating"),
    "a column of several tables": (
        lambda s: frames(s, items=s.products.assign(city="A", item_city="B"), vectors=None), "'city' | 'item_city'"
    ),
    "nothing": (lambda s: Dataset.from_frames(pd.DataFrame()), "interactions: no line below the header"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_wrong_tables_get_a_sentence(shop, case):
    call, message = WRONG[case]
    with pytest.raises((OptionError, DataError)) as error:
        call(shop)
    assert names(str(error.value), message)


ARGUMENTS = (
    "user_column", "item_column", "tag_separator", "kinds", "minimum", "k_core", "require", "missing", "vectors",
    "user_vectors", "encode",
)  # fmt: skip
NOTHING_OF_THE_KIND = (
    5, -1, 1.5, True, float("nan"), "", "x", b"x", [1], ["x", None], {1: "x"}, {"x": [1]}, {"x": None}, {"stars": "3"},
    {"stars": float("inf")}, {"since": ["number"]}, object(),
)  # fmt: skip


@pytest.mark.parametrize("argument", ARGUMENTS)
def test_an_argument_of_any_type_gives_a_data_set_or_a_sentence(shop, argument):
    refused = 0
    for value in NOTHING_OF_THE_KIND:
        try:
            frames(shop, **{argument: value})
        except (OptionError, DataError) as error:
            refused += 1
            assert len(str(error)) > 20
    assert refused > 10


@pytest.mark.parametrize(
    "given, message",
    [
        ({"dataset": "x"}, "dataset | 'x' | this data set"),
        ({"data_path": None}, "data_path | None | this data set"),
        ({"output_dir": object()}, "output_dir | expected a path"),
        ({"model": np.array(["Pop", "BPR"])}, "Unknown model"),
    ],
)
def test_what_fit_cannot_take(shop, given, message):
    with pytest.raises(OptionError, match=naming(message)):
        frames(shop).fit(**{"model": "Pop", **given})
    assert not Path("log").exists()


@pytest.mark.parametrize(
    "cell", [b"x", {"a": 1}, 1j, "\ud800", "a\0b", ["a", "\ud800"], ["a\0", "b"]], ids=lambda cell: repr(cell)
)
@pytest.mark.parametrize("place", ["feature", "id", "interactions"])
def test_cells_that_no_text_file_can_hold(shop, cell, place):
    """A data set would be written that cannot be read, or that holds what Python calls the object."""
    column = {"feature": "title", "id": "sku", "interactions": "note"}[place]
    table = shop.orders.assign(note="x") if place == "interactions" else shop.products
    cells = table[column].astype(object).tolist()
    cells[4] = cell
    table = table.assign(**{column: pd.Series(cells, table.index, dtype=object)})
    with pytest.raises(DataError, match=naming(f"{column}")):
        Dataset.from_frames(table, **shop.columns) if place == "interactions" else frames(
            shop, items=table, vectors=None
        )


def test_sets_are_tags_in_an_order_of_their_own(shop):
    tags = [None if pd.isna(cell) else set(cell.split("|")) for cell in shop.products["tags"]]
    dataset = frames(shop, items=shop.products.assign(tags=tags))
    written = read_atomic(dataset.folder / "frames.item")["tags"]
    assert set(written) == {"", "drink green_tea", "metal power_tools"}


def test_cells_are_what_a_person_means():
    frame = pd.DataFrame(
        {
            "whole": [1.0, np.nan],
            "fraction": [1.5, np.nan],
            "day": pd.to_datetime(["1970-01-02", None]),
            "flag": [True, None],
            "text": ["7", None],
            "moment": pd.Series([np.datetime64("1970-01-02T00:00:00", "ns"), None], [10, 11], object),
            "date": pd.Series([np.datetime64("1970-01-02"), None], [10, 11], object),
            "month": pd.Series([pd.Period("1970-01"), None], [10, 11], object),
            "range": pd.cut(pd.Series([1, None], [10, 11]), [0, 2]),
        },
        index=pd.Index([10, 11], name="sku"),
    )
    plain = plain_frame(frame, "x")
    assert plain.to_dict("list") == {
        "sku": [10, 11], "whole": [1, None], "fraction": [1.5, None], "day": ["1970-01-02T00:00:00", None],
        "flag": [True, None], "text": ["7", None], "moment": ["1970-01-02T00:00:00", None],
        "date": ["1970-01-02", None], "month": ["1970-01", None], "range": ["(0.0, 2.0]", None],
    }  # fmt: skip
    assert type(plain["whole"][1]) is int and plain.index.tolist() == [1, 2]


@pytest.mark.parametrize("library", ["pandas", "arrow"])
@pytest.mark.parametrize("index", [pd.Index([7, 9], name="sku"), pd.RangeIndex(7, 11, 2, name="sku")])
def test_an_index_with_a_name_is_the_first_column(library, index):
    frame = LIBRARIES[library](pd.DataFrame({"x": [1, 2], "y": [3, 4]}, index))
    assert plain_frame(frame, "x").to_dict("list") == {"sku": [7, 9], "x": [1, 2], "y": [3, 4]}
    vectors = embeddings_of(frame, "text")
    assert vectors.ids.tolist() == ["7", "9"] and vectors.values.tolist() == [[1, 3], [2, 4]]


DAYS = {
    "days": ("2024-02-29", 1709164800),
    "minutes": ("2024-02-29 10:15", 1709201700),
    "with a zone": ("2024-02-29T10:15:00+02:00", 1709194500),
    "UTC, with a fraction": ("2024-02-29 10:15:00.250Z", 1709201700.25),
    "without an end": ("9999-12-31", 253402214400),
}


@pytest.mark.parametrize("written", DAYS)
def test_dates_are_seconds_from_files_from_frames_and_in_serving(shop, written, capsys):
    """One text for an item has to be one number, wherever it comes from."""
    text, number = DAYS[written]
    days = [None if n % 4 == 0 else f"2023-01-{1 + n % 28:02}" if n else text for n in range(shop.n_products)]
    days[2] = text
    products = shop.products.assign(since=days)
    moments = [None if day is None else datetime.fromisoformat(day[:10]) for day in days]
    orders = shop.orders.assign(timestamp=text)
    orders.to_csv("orders.csv", index=False)
    products.to_csv("products.csv", index=False)
    own = {"vectors": {"text": shop.text}, **shop.columns}
    one = Dataset.from_frames("orders.csv", items="products.csv", **own, folder="a/shop")
    assert "item column 'since': number (guessed), dates as seconds since 1970" in capsys.readouterr().out
    other = Dataset.from_frames(orders, items=products, **own, folder="b/shop")
    assert files(one.folder) == files(other.folder)
    assert set(read_atomic(one.folder / "shop.inter")["timestamp"].astype(float)) == {number}
    items = read_atomic(one.folder / "shop.item").set_index("item_id")["since"]
    assert float(items["p2"]) == number and items["p4"] == ""
    if written == "days":
        third = Dataset.from_frames(orders, items=products.assign(since=moments), **own, folder="c/shop")
        assert files(third.folder) == files(one.folder)
    model = one.by_content()
    rows = [{"sku": "text", "since": text}, {"sku": "number", "since": number}]
    model.add_items(pd.DataFrame(rows, dtype=object))
    model.add_items(pd.DataFrame({"sku": ["moment"], "since": [datetime.fromtimestamp(number, timezone.utc)]}))
    scores = model.score(["p2"], ["text", "number", "moment"])
    assert scores.nunique() == 1 and scores.iloc[0] != model.score(["p2"], ["p4"]).iloc[0]
    with pytest.raises(DataError, match=naming("'x': | since | '2024-02-30' | a date such as | seconds")):
        model.add_items(pd.DataFrame({"sku": ["w", "x"], "since": ["2024-02-28", "2024-02-30"]}))


@pytest.mark.parametrize(
    ("cells", "wrong"),
    [
        (["2024-02-29", "soon"], 1),
        (["2024-02-29", "2024-02-30"], 1),
        (["2024-02-30", "2024-02-29"], 0),
        (["2024-02", "2024-03"], 0),
        (["5", "2024-02-29"], 1),
    ],
)
def test_what_are_not_all_dates_are_texts(shop, cells, wrong, capsys):
    frames(shop, convert=lambda frame: frame.assign(since=(cells * 60)[: len(frame)]) if "price" in frame else frame)
    said = capsys.readouterr().out
    assert "'since': category (guessed)" in said and "as seconds" not in said
    with pytest.raises(
        DataError, match=naming(f"line {1 + wrong} | timestamp | '{cells[wrong]}' | 2024-05-31 10:15:00")
    ):
        frames(shop, convert=lambda frame: frame.assign(timestamp=(cells * 200)[: len(frame)]))


@pytest.mark.parametrize("separator", [",", ", ", ";", "/"])
def test_tags_with_another_separator_are_told_of_it(shop, separator, capsys):
    tags = [None if pd.isna(cell) else cell.replace("|", separator) for cell in shop.products["tags"]]
    tags[1::6] = [separator.join(["hand made", "metal", "sale"])] * len(tags[1::6])
    tags[2::6] = [separator.join(["sale", "drink"])] * len(tags[2::6])
    tags[3::6] = ["drink"] * len(tags[3::6])
    tags[4::6] = ["metal"] * len(tags[4::6])
    frames(shop, items=shop.products.assign(tags=tags), vectors=None)
    said = capsys.readouterr().out
    assert f"'tags': category (guessed); tags with {separator.strip()!r} between them?" in said
    assert "'title': text (guessed); read by no model unless its kind is ngrams or it is encoded\n" in said
    frames(shop, items=shop.products.assign(tags=tags), vectors=None, tag_separator=separator.strip())
    assert "'tags': tags (guessed)\n" in capsys.readouterr().out


def test_columns_of_several_tables_are_modalities_of_each(shop, capsys):
    """RecBole knows a column by its name alone; items have a buyer, a city, tags, a date and a title beside others."""
    orders = shop.orders.assign(city="A", title="x")
    items = shop.products.assign(city=["A", "B"] * 30, buyer="b1", day="2024-05-31")
    buyers = shop.buyers.assign(tags="a|b", day=["old", "new", "old"] * 14 + ["new"])
    dataset = Dataset.from_frames(orders, items=items, users=buyers, **shop.columns, require=["tags"])
    assert "user_city, user_tags, user_day, item_tags, item_title, item_city, item_day" in capsys.readouterr().out
    declared = yaml.safe_load((dataset.folder / "frames.yaml").read_text())["modalities"]
    assert declared["item"]["city"] == {"kind": "category", "field": "item_city"}
    assert declared["user"]["day"] == {"kind": "category", "field": "user_day"} and "buyer" in declared["item"]
    assert set(read_atomic(dataset.folder / "frames.item")["item_title"]) >= {"The thing called 1"}
    model = dataset.fit("ContentRidge", scenario="item_cold", epochs=1)
    model.add_items(items.iloc[:2].assign(sku=["new 0", "new 1"]))
    assert model.recommend(["b1"], 1, ["new 1"])["item"].tolist() == ["new 1"]
    model = dataset.fit("ContentRidge", scenario="user_cold", epochs=1)
    assert len(model.recommend([{"buyer": "b", "city": "A", "day": "old", "tags": "b"}], 2)) == 2


def test_rows_of_interactions_that_may_be_none(shop, capsys):
    """Who was not signed in, dislikes, what came back, and columns that no model could read."""
    orders = shop.orders.assign(rating=[0, -1, *range(1, len(shop.orders) - 1)], n=1, flags=[["a"]] * len(shop.orders))
    orders.loc[[4, 6], "n"], orders.loc[2, "buyer"], orders.loc[3, "sku"] = -2, None, ""
    orders.loc[[8, 9], "buyer"] = "null"
    dataset = Dataset.from_frames(orders, **shop.columns)
    said = capsys.readouterr().out
    n = len(orders)
    assert names(said, f"2 of {n} rows without | such as line 3 | hold lists | flags | 2 of {n - 2} rows | user 'null'")
    assert names(said, f"2 of {n - 2} interactions have 0 or less in rating | rating=3 | less than 0 in n | n=1")
    assert len(read_atomic(dataset.folder / "frames.inter")) == n - 2
    dataset = Dataset.from_frames(orders, **shop.columns, minimum={"rating": 3, "n": 1})
    assert len(read_atomic(dataset.folder / "frames.inter")) == n - 6
    assert "or less" not in capsys.readouterr().out.split("rating >=")[1]


def test_a_folder_is_a_table_in_parts(shop, capsys):
    arguments = [*shop.write(), "--name", "shop", "--output"]
    assert main(["convert", "table", *arguments, "a"]) == 0
    for name, rows in (
        ("d=1/p.csv.gz", slice(0, 99)),
        ("d=2/p.parquet", slice(99, 150)),
        ("z.jsonl", slice(150, None)),
    ):
        part = Path("orders.csv.parts", name)
        part.parent.mkdir(parents=True, exist_ok=True)
        some = shop.orders[rows]
        if name.endswith("jsonl"):
            some[some.columns[::-1]].to_json(part, orient="records", lines=True)
        else:
            some.to_csv(part, index=False) if "csv" in name else some.to_parquet(part)
    for mark in ("_SUCCESS", "d=1/.p.csv.gz.crc"):
        Path("orders.csv.parts", mark).write_text("")
    arguments[arguments.index("orders.csv")] = "orders.csv.parts"
    assert main(["convert", "table", *arguments, "b"]) == 0
    assert files(Path("a/shop")) == files(Path("b/shop"))
    record = json.loads(Path("b/shop/conversion.json").read_text())
    assert len(record["inputs"]) == 6 and "orders.csv.parts/d=2/p.parquet" in record["inputs"]
    Path("orders.csv.parts/x.csv").write_text("buyer,sku,stars\nb1,p1,\nb1,p2,five\n")
    (Path("orders.csv.parts") / "z.jsonl").write_text('{"buyer": ["b1"], "sku": "p1", "stars": 1}\n')
    assert main(["convert", "table", *arguments, "c"]) == 2
    assert "orders.csv.parts, line 1 of z.jsonl: user_id is ['b1']" in capsys.readouterr().err
    Path("orders.csv.parts/x.csv").write_text("buyer,sku\nb1,p1\n")
    assert main(["convert", "table", *arguments, "c"]) == 2
    assert names(capsys.readouterr().err, "orders.csv.parts | 'stars' | x.csv")
    Path("empty").mkdir()
    with pytest.raises(DataError, match=naming("empty | folder without a table")):
        Dataset.from_frames("empty")


def test_ids_in_another_spelling_are_named(shop, capsys):
    buyers = shop.buyers.assign(buyer=[f"{'B' if n < 7 else 'b'}{n}" for n in range(len(shop.buyers))])
    text = {f"{'P' if n % 2 else 'p'}{n}": row for n, row in enumerate(shop.text) if n != 3}
    frames(shop, users=buyers, vectors={"text": text})
    said = capsys.readouterr().out
    assert "10 users without interactions are kept, such as 'B0'; 7 of them" in said and "'B0' as 'b0'" in said
    assert "29 vectors belong to no item that was kept; 29 of them" in said and "'P1' as 'p1'" in said
    frames(shop)
    assert "spelling" not in capsys.readouterr().out


def test_what_a_notebook_shows(shop):
    data = Dataset.from_frames(shop.orders, items=shop.products, **shop.columns, folder="a/shop")
    model = data.fit("ContentRidge", scenario="item_cold", epochs=1)
    model.remove_items(["p7"])
    whole = data.fit("ContentRidge", scenario="item_cold", epochs=1, fit="all")
    figure = f"ndcg@10 {model.evaluate()['ndcg@10']:.4f}"
    assert repr(data) == "Dataset('a/shop')"
    assert names(repr(model), f"Recommender(ContentRidge, 40 users, 59 items) | item_cold | {figure}")
    assert "60 items" in repr(whole) and "ndcg" not in repr(whole)
    assert {"evaluate", "recommend", "add_items", "similar_items"} <= set(dir(model))
    assert len(repr(model.result)) < 2500


def test_users_with_few_interactions_leave_nothing_to_validate(shop):
    few = shop.orders.groupby("buyer").head(2)
    with pytest.raises(DataError, match=naming("valid split is empty | 2.0 on average | user_cold")):
        Dataset.from_frames(few, **shop.columns).fit("Pop", scenario="warm")
    Dataset.from_frames(few, **shop.columns).fit("Pop", scenario="user_cold")


def test_values_in_another_case_are_named(shop, capsys):
    tags = [f"{'Sale' if n < 9 else 'sale'} |x" for n in range(shop.n_products)]
    frames(shop, items=shop.products.assign(tags=tags, size=["M", "m "] * 30), vectors=None)
    said = capsys.readouterr().out
    assert "'size': category (guessed); 'M' and 'm' are two categories" in said
    assert "'tags': tags (guessed); 'Sale' and 'sale' are two tags" in said


def test_few_candidates_are_said(shop):
    with pytest.warns(UserWarning, match=naming("candidates for lists of 10")):
        frames(shop).fit("Pop", scenario="warm")
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "Only")
        frames(shop).fit("Pop", scenario="warm", topk=[2], valid_metric="NDCG@2")
