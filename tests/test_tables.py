"""Rows in, rows out: whatever a table looks like, each cell arrives in its place or the file and line are named."""

import csv
import io
import json
import re
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from conftest import names, naming
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array, csr_matrix

from recbole_sibrar import Dataset
from recbole_sibrar.cli import main
from recbole_sibrar.cli.serving import users_of
from recbole_sibrar.convert.vectors import read_embeddings
from recbole_sibrar.data.atomic import read_atomic
from recbole_sibrar.data.cells import MISSING, is_marker
from recbole_sibrar.data.modalities import Modalities, Modality
from recbole_sibrar.data.tables import read_table
from recbole_sibrar.data.typed import parquet_blocks
from recbole_sibrar.errors import DataError
from recbole_sibrar.kinds import KINDS
from recbole_sibrar.kinds.category import category_modality
from recbole_sibrar.kinds.guess import guess_kind
from recbole_sibrar.kinds.number import number_modality
from recbole_sibrar.kinds.reading import parse_declarations
from recbole_sibrar.kinds.tags import tags_modality
from recbole_sibrar.serving.features import features_of
from recbole_sibrar.serving.vocabulary import Vocabulary


def write(text, name="t.csv"):
    Path(name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return name


# the reader


@pytest.mark.parametrize(
    "name, text, cells",
    [
        ("t.csv", 'id,a\n1,"x, y"\n2,"say ""hi"""\n', ["x, y", 'say "hi"']),
        ("t.csv", 'id,a\n1,12" vinyl\n2,x\n', ['12" vinyl', "x"]),
        ("t.csv", 'id,a\r\n1,"two\r\nlines"\r\n2,x\r\n', ["two\nlines", "x"]),
        ("t.csv", b"\xef\xbb\xbfid,a\n1,x\n2,\n", ["x", ""]),
        ("t.csv", b'\xef\xbb\xbf"id","a"\n"1","x"\n"2",""\n', ["x", ""]),
        ("t.csv", 'id;a\n1;"x; y, z"\n2;1,5\n', ["x; y, z", "1,5"]),  # a spreadsheet where numbers have a comma
        ("t.tsv", 'id\ta\n1\t"Heat\n2\tx\n', ['"Heat', "x"]),
        ("t.tsv", 'id\ta\n1\t"Heat\n2\tx"\n', ['"Heat', 'x"']),
        ("t.tsv", 'id\ta\n1\t"Heat"\n2\tx\n', ['"Heat"', "x"]),
        ("t.tsv", 'id\ta\n1\t"say ""hi"""\n2\tx\n', ['say "hi"', "x"]),
        ("t.tsv", 'id\ta\n1\t"a, b"\n2\tx\n', ["a, b", "x"]),  # a spreadsheet
        ("t.tsv", '"id"\t"a"\n1\t"x"\n2\tNA\n', ["x", "NA"]),  # R
        ("t.tsv", 'id\ta\n1\t"two\nlines"\n2\tx\n', ["two\nlines", "x"]),
        ("t.tsv", "id\ta\n1\tx\ry\n2\tx\n", ["x y", "x"]),
        ("t.csv", 'id,a\n1,"x"\n2,y\rz\n', ["x", "y z"]),
        ("T.CSV", "id,a\n1,x\n2,y\n", ["x", "y"]),
        ("t.csv", "id, a ,,\n1,x,,\n2,y,,\n", ["x", "y"]),  # a spreadsheet
        ("t.csv", ",id,a\n3,1,x\n7,2,y\n", ["x", "y"]),  # pandas
    ],
)
def test_quotes_marks_and_line_ends(name, text, cells):
    assert read_table(write(text, name))["a"].tolist() == cells


@pytest.mark.parametrize(
    "name, text, message",
    [
        ("t.csv", "id;a\n1;x;y\n", "line 2 | 3 cells, expected 2"),
        ("t.tsv", "id;a\n1;x\n", "line 1 | '\\t' | ';' stands between"),
        ("t.csv", 'id\t"a"\n1\t"x"\n', "line 1 | ',' | '\\t' stands between"),
        ("t.tsv", "id,a\n1,x\n", "line 1 | '\\t' | ',' stands between"),
        ("t.csv", "id,a\r1,x\r2,x\r", "carriage returns | line feeds"),
        ("t.csv", "id,a\n1,x\n2,y,\n", "line 3 | 2 | cells"),
        ("t.csv", "id,a\n1\n", "line 2 | 1 | cells"),
        ("t.csv", "id,a\n1,x\n\n2,y\n", "line 3 | 0 | 2 | cells"),
        ("t.csv", 'id,a\n1,"x\n2,y"\n3,z\n', "line 2 | line 3 | in quotes"),
        ("t.csv", 'id,a\n1,x\n2,"y\n3,z\n', "line 3: unexpected end of data; check the quotes"),
        ("t.csv", 'id,a\n1,"x" y\n', "line 2 | ',' | '\"'"),
        ("t.csv", 'id,a\n1,"two\nlines"\n2,"x\n', "line 4: unexpected end of data"),
        ("t.csv", "id,a\n1,x\0y\n", "line 2: a zero byte"),
        ("t.csv", "id,a\n1,x\n".encode("utf-16"), "line 1: a zero byte"),
        ("t.csv", b"id,a\n1,\xe9\n", "line 2: not UTF-8"),
        ("t.csv", 'id,a,b\n1,",\n2,,\n\n3,",\n', "line 2 | line 5 | in quotes"),
        ("t.tsv", 'id\ta\n1\t"\n2\tx\ty\n3\t"\n', "line 2 | line 4 | in quotes"),
        ("t.tsv", 'id\ta\n1\t"x"\ty\n', "line 2 | 3 | cells"),
    ],
)
def test_tables_that_could_be_misread(name, text, message):
    with pytest.raises(DataError, match=naming(f"{name} | {message}")):
        read_table(write(text, name))


@pytest.mark.parametrize("read", [read_table, read_embeddings])
def test_a_folder_is_no_table(read):
    Path("orders.parquet").mkdir()
    with pytest.raises(DataError, match="orders.parquet is a folder"):
        read("orders.parquet")


def test_a_text_of_two_lines_that_look_like_rows_is_taken_where_texts_of_many_lines_are_sure():
    path = write('id,a\n1,"Great, it is\nreally, good"\n2,"two\nlines"\n')
    with pytest.warns(UserWarning, match=naming("line 2 | line 3 | in quotes")):
        assert read_table(path)["a"].tolist() == ["Great, it is\nreally, good", "two\nlines"]


def test_lines_are_counted_with_those_inside_cells():
    assert read_table(write('id,a\n1,"two\nlines"\n2,x\n')).index.tolist() == [2, 4]


@pytest.mark.parametrize(
    "text, cells",
    [
        (b"\xef\xbb\xbfitem_id:token\ta:token\ni0\tx\n", ["x"]),
        (b"item_id:token\ta:token\r\ni0\tx\r\ni1\t\r\n", ["x", ""]),
        (b'item_id:token\ta:token\ni0\t"x\ni1\ty"\n', ['"x', 'y"']),
        (b"item_id:token\ta:token\ni0\tx\ry\n", "line 2: a carriage return"),
        (b"item_id:token\ta:token\ni0\tx\0y\n", "line 2: a carriage return or zero byte"),
        (b"item_id:token\ta:token\ni0\tx\ty\n", "line 2: 3 cells"),
    ],
)
def test_atomic_files(text, cells):
    path = write(text, "d.item")
    if isinstance(cells, list):
        assert read_atomic(path)["a"].tolist() == cells
    else:
        with pytest.raises(DataError, match=f"d.item, {cells}"):
            read_atomic(path)


# through the converter and back

CELL = st.one_of(
    st.sampled_from(
        ["", "x", "a b", '12" disk', '"', '""', '"a', 'b"', " x ", "x  y", "a,b", "é", "\xa0x", "7", "1e3"]
    ),
    st.sampled_from(MISSING),
    st.text("ab \"',|;\n\r\t\\-", max_size=6),
)
HEADER = ["item_id", "a", "b"]


def written(rows, separator, style=csv.QUOTE_MINIMAL):
    file = io.StringIO(newline="")
    csv.writer(file, delimiter=separator, quoting=style, lineterminator="\n").writerows(rows)
    return file.getvalue()


@st.composite
def tables(draw):
    """(file name, text, its rows or None where it is no table, whether quotes are parts of the cells)."""
    n = draw(st.integers(1, 4))
    rows = [[f"i{row}", draw(CELL), draw(CELL)] for row in range(n)]
    suffix, separator = draw(st.sampled_from([("csv", ","), ("tsv", "\t")]))
    style = draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, None]))
    if style is None:
        text = "".join(f"{separator.join(row)}\n" for row in [HEADER, *rows])
        read = list(csv.reader(io.StringIO(text, newline=""), delimiter=separator))
        assume(read == [HEADER, *rows] or text != written(read, separator))  # a csv writer's text of other cells
        if any(set(cell) & {separator, "\n"} for row in rows for cell in row):
            assume(any(len(row) != len(HEADER) for row in read))  # quotes that happen to enclose a cell
            rows = None
    else:
        text = written([HEADER, *rows], separator, style)
        lines = text.split("\n")[:-1]
        is_plain = separator == "\t" and all(line.count(separator) == len(HEADER) - 1 for line in lines)
        assume(not is_plain or len(lines) == 1 + n)  # a plain text of other cells
    if draw(st.booleans()):
        text = text.replace("\n", "\r\n")
    broken = draw(st.sampled_from(["", "", "", "more", "fewer"]))
    if broken:
        text, rows = text + f"iz{separator}x" + (separator * 2 if broken == "more" else "") + "\n", None
    is_exact = style is not None or separator == "\t"
    return f"items.{suffix}", draw(st.sampled_from(["", "\ufeff"])) + text, rows, is_exact


def expected(cell):
    return "" if is_marker(cell) else " ".join(cell.split())


def without_quotes(cell):
    return expected(cell.replace('"', " "))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tables())
@example(("items.csv", 'item_id,a,b\ni0,"x\ni1,y",z\n', None, True))
@example(("items.tsv", 'item_id\ta\tb\ni0\t\t""""\n', [["i0", "", '"']], True))
@example(("items.tsv", 'item_id\ta\tb\ni0\t\t"\r"\n', [["i0", "", "\r"]], True))
@example(("items.tsv", 'item_id\ta\tb\ni0\tx\t"a\r"\n', [["i0", "x", "a\r"]], True))
def test_a_table_comes_back_cell_by_cell_or_its_line_is_named(capsys, table):
    name, text, rows, is_exact = table
    write(text, name)
    write("user_id,item_id\n" + "".join(f"u{user},i{item}\n" for user in range(2) for item in range(4)), "orders.csv")
    command = ["convert", "table", "--name", "shop", "--interactions", "orders.csv", "--items", name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        code = main([*command, "--output", "out", "--item-modalities", "a=category", "b=category"])
    error = capsys.readouterr().err
    if code == 2:
        assert re.search(rf"recbole-sibrar: {name}, line \d+: ", error), error
        return
    assert code == 0 and rows is not None
    found = read_atomic("out/shop/shop.item").set_index("item_id")
    for token, *cells in rows:
        if is_exact:
            assert found.loc[token].tolist() == list(map(expected, cells))
        else:
            assert list(map(without_quotes, found.loc[token])) == list(map(without_quotes, cells))
    assert (found.drop(index=[row[0] for row in rows]) == "").all(axis=None)


# markers, names and ids in the converter


def convert(*arguments, name="shop"):
    return main(["convert", "table", "--name", name, "--output", "out", "--interactions", "orders.csv", *arguments])


def orders(n_users=3, n_items=4, header="user_id,item_id"):
    write(f"{header}\n" + "".join(f"u{u},i{i}\n" for u in range(n_users) for i in range(n_items)), "orders.csv")


def items_of():
    return read_atomic("out/shop/shop.item").set_index("item_id")


@pytest.mark.parametrize("marker", [*MISSING, "null", "nan", "  ", " - "])
def test_markers_of_missing_values_are_counted_and_missing(marker, capsys):
    orders()
    write(f"item_id,price,brand,tags\ni0,{marker},A,x|y\ni1,7.5,{marker},x\ni2,8,A,{marker}\ni3,9,A,y|x\n", "items.csv")
    assert convert("--items", "items.csv") == 0
    assert items_of().to_numpy().tolist() == [
        ["", "A", "x y"], ["7.5", "", "x"], ["8.0", "A", ""], ["9.0", "A", "y x"]
    ]  # fmt: skip
    said = capsys.readouterr().out
    assert "price        3 of 4 items" in said and "brand        3 of 4 items" in said
    assert (f"'price': number (guessed); missing: 1 {marker.strip()!r}" in said) == bool(marker.strip())


@pytest.mark.parametrize("separator", ["|", "||", "**", "..", "\\d"])
def test_separators_of_tags_are_no_patterns(separator):
    assert guess_kind(pd.Series([f"1st{separator}b", "b", "4th", "c"]), separator) == "tags"
    assert guess_kind(pd.Series(["1st", "abc", "1st"]), separator) == "text"


TAGS = [[f"t{n % 5}", f"t{n % 7}", f"t{n % 9}"] for n in range(60)]
NAMES = [f"{first} {last}" for first in ("Ada", "Max", "Eva") for last in "NOPQRST"]


@pytest.mark.parametrize("read, option", [("table", "--tag-separator"), ("token_seq", "seq_separator")])
@pytest.mark.parametrize(
    "cells, separator",
    [
        *(([mark.join(tags) for tags in TAGS], mark.strip()) for mark in "|,;/"),
        ([" ".join(tags) for tags in TAGS], " "),
        ([", ".join(sorted(tags)[:2]) for tags in TAGS * 3], ","),
        ([*(", ".join(tags) for tags in TAGS), "a@b"], None),
        (NAMES * 3, None),
        ([f"{name.replace(' ', ', ')}{n % 9}" for n, name in enumerate(NAMES * 3)], None),
        (["rock", "pop", ""] * 20, None),
        ([f"{1 + n % 12}/{1 + n % 28}/{2020 + n % 3}" for n in range(90)], None),
        ([",".join(str(n % k) for k in range(2, 3 + n % 3)) for n in range(90)], ","),
    ],
)
def test_tags_with_another_separator_than_expected_are_told_of_it(cells, separator, read, option, recwarn):
    column = pd.Series(["", *cells], name="genres")
    if read == "table":
        KINDS["tags"].written(column, "@", "items.csv")
    else:
        KINDS["tags"].from_column("genres", column, "@")
    said = [str(warning.message) for warning in recwarn]
    assert [names(text, f"genres | no cell holds '@' | {option} | is {separator!r}") for text in said] == [True] * (
        separator is not None
    )


@pytest.mark.parametrize("n_with, kind", [(1, "text"), (50, "tags")])
def test_a_separator_in_a_few_titles_makes_no_tags_of_them(n_with, kind):
    titles = [f"thing {n}{' | Official' if n < n_with else ''}" for n in range(99)]
    assert guess_kind(pd.Series([*titles, titles[-1]]), "|") == kind
    tags = [f"t{n % 5}, t{n % 7}{'|x' if n == 3 else ''}" for n in range(99)]
    assert guess_kind(pd.Series(tags), "|") == "category" and guess_kind(pd.Series(tags), ",") == "tags"


@pytest.mark.parametrize(
    "cells, kind", [("01234 99999", "category"), ("0 0.5 -0.5", "number"), ("007 8", "category"), ("0e1 7", "number")]
)
def test_numbers_that_begin_with_a_zero_are_codes(cells, kind):
    assert guess_kind(pd.Series(3 * cells.split()), "|") == kind


def test_which_texts_are_missing_can_be_said():
    orders()
    write("item_id,country\ni0,NA\ni1,NA\ni2,?\ni3,DE\n", "items.csv")
    assert convert("--items", "items.csv", "--item-modalities", "country=category", "--missing", "?") == 0
    assert items_of()["country"].tolist() == ["NA", "NA", "", "DE"]
    assert json.loads(Path("out/shop/conversion.json").read_text())["options"]["missing"] == ["?"]


def test_a_number_that_stands_for_a_missing_value_does_so_with_a_point_and_without(capsys):
    orders()
    write("item_id,price,brand\ni0,-1.0,-1.0\ni1,7.5,A\ni2,-1,A\ni3,9,A\n", "items.csv")
    assert convert("--items", "items.csv", "--missing=-1", "--item-modalities", "brand=category") == 0
    assert items_of()["price"].tolist() == ["", "7.5", "", "9.0"] and items_of()["brand"].iloc[0] == "-1.0"
    assert "'price': number (guessed); missing: 1 '-1'; missing: 1 of these numbers" in capsys.readouterr().out
    (declaration,) = parse_declarations({"item": {"price": {"kind": "number", "missing": [-1]}}}, "item")
    read = KINDS["number"].checked(pd.Series(["-1.0", "2", "-1", ""]), "d.item", declaration)
    assert read.isna().tolist() == [True, False, True, True]
    known = Modalities("item", (number_modality("price", np.array([np.nan, 1.0])),))
    for tables in ({"tag_separator": "|", "missing": ["-1"]}, None):
        declared = {"item": {"price": {"kind": "number", "missing": [] if tables else [-1]}}}
        read = Vocabulary.of({"modalities": declared, "tables": tables})
        rows = read.features(pd.DataFrame({"price": [-1.0, "-1", -1, 2, "2.0"]}), "item", known, range(5))
        assert features_of(rows, known).entries[0].available.tolist() == [False, False, False, True, True]


def test_ids_that_look_like_markers_stay_and_blanks_around_ids_do_not_matter():
    write("user_id,item_id\nNULL, i0\nnan,i1 \n None ,NaN\n", "orders.csv")
    write("item_id,year\ni0 ,1\n i1,2\nNaN,3\n", "items.csv")
    assert convert("--items", "items.csv") == 0
    assert items_of()["year"].tolist() == ["1.0", "2.0", "3.0"]
    assert read_atomic("out/shop/shop.user")["user_id"].tolist() == ["NULL", "nan", "None"]


@pytest.mark.parametrize("name", ["", "Unnamed: 0", "a:b", "interactions", "id", "history", "a,b", "x" * 101])
def test_a_column_that_a_later_step_cannot_take_is_refused(name, capsys):
    orders()
    write(f'item_id,"{name}"\n' + "".join(f"i{i},{i % 3}\n" for i in range(4)), "items.csv")
    assert convert("--items", "items.csv") == 2
    assert f"items.csv, line 1: the column name {name!r}" in capsys.readouterr().err
    if name not in ("interactions", "id", "history"):
        write(f'user_id,item_id,"{name}"\nu,i,1\nu,j,0\n', "orders.csv")
        assert convert() == 2
        assert f"orders.csv, line 1: the column name {name!r}" in capsys.readouterr().err
    assert not Path("out/shop").exists()


def test_a_text_may_have_a_name_that_no_modality_may(capsys):
    orders()
    write("item_id,id,year\n" + "".join(f"i{i},text {i},{i}\n" for i in range(4)), "items.csv")
    assert convert("--items", "items.csv") == 0
    write("item_id,sku\ni0,1\n", "items.csv")
    assert convert("--items", "items.csv", "--item-column", "sku") == 2
    assert "no column 'sku'" in capsys.readouterr().err
    write("user_id,item_id,sku\nu,1,i0\n", "orders.csv")
    assert convert("--item-column", "sku") == 2
    assert "a column 'item_id' stands beside 'sku'" in capsys.readouterr().err


def test_the_catalogue_stays(capsys):
    """i0 is sold and described, i3 sold only, p and q are described only; q lacks a year."""
    orders()
    write("item_id,year\ni0,1\ni1,2\ni2,\np,3\nq,NULL\n", "items.csv")
    assert convert("--items", "items.csv") == 0
    assert items_of()["year"].to_dict() == {"i0": "1.0", "i1": "2.0", "i2": "", "p": "3.0", "q": "", "i3": ""}
    said = capsys.readouterr().out
    assert "1 of 4 items have no row in items.csv, such as 'i3': kept without its features" in said
    assert "2 items without interactions are kept, such as 'p'" in said
    assert "3 users, 4 items, sparsity 0.0" in said and "year         3 of 6 items" in said
    assert convert("--items", "items.csv", "--require", "year") == 0
    assert items_of()["year"].to_dict() == {"i0": "1.0", "i1": "2.0", "p": "3.0"}
    said = capsys.readouterr().out
    assert "1 items without interactions lack year, such as 'q': dropped" in said
    assert "2 items were dropped with their interactions, such as 'i2', 'i3'" in said


@pytest.mark.parametrize("side", ["item", "user"])
def test_ids_written_in_two_ways_are_told_by_an_example_of_both(side, capsys):
    write("user_id,item_id\n7,1\n8,2\n", "orders.csv")
    write(f"{side}_id,year\n7.0,1990\n1.0,1991\n", "side.csv")
    assert convert(f"--{side}s", "side.csv") == 2
    sold = {"item": "'1'", "user": "'7'"}[side]
    assert (
        f"none of the 2 {side}s with interactions, such as {sold}, has a row; the ids of this table are like '7.0'"
        in (capsys.readouterr().err)
    )


def test_parquet_keeps_whole_numbers_with_gaps_whole():
    orders_frame = pd.DataFrame({"user_id": [1, 2], "item_id": pd.array([7, 8], dtype="Int64"), "n": [1, None]})
    orders_frame.to_parquet("orders.parquet")
    pd.DataFrame({"item_id": [7, 8], "big": pd.array([2**53 + 1, None], dtype="Int64")}).to_parquet("items.parquet")
    frame = read_table("items.parquet")
    assert frame["big"].tolist() == [str(2**53 + 1), ""] and frame["item_id"].tolist() == ["7", "8"]
    assert read_table("orders.parquet")["item_id"].tolist() == ["7", "8"]


# tables in serving

KNOWN = Modalities(
    "item",
    (
        number_modality("price", np.array([1.0, 2.0])),
        category_modality("brand", ["A B", "None"], ["A B", "None"]),
        tags_modality("tags", [["x"], ["y"]], ["x", "y"]),
    ),
)


def test_cells_of_new_entities():
    rows = pd.DataFrame(
        {
            "price": [" 7 ", "NULL", 20200101.0, "-", None],
            "brand": [" A  B ", "None", "NaN", "", "n/a"],
            "tags": ["x  y ", "N/A", "y", " ", "-"],
        }
    )
    price, brand, tags = features_of(rows, KNOWN).entries
    assert price.available.tolist() == [True, False, True, False, False] and price.values[2] == 20200101
    assert price.values.dtype == torch.double
    assert brand.available.tolist() == [True, True, False, False, False] and brand.values[:2].tolist() == [0, 1]
    assert tags.available.tolist() == [True, False, True, False, False]
    assert tags.values.select(torch.tensor([0])).columns.tolist() == [0, 1]


@pytest.mark.parametrize("cell", ["inf", "-inf", "1.8e308", "3.5e38", float("inf"), 1e39, "x"])
def test_numbers_of_new_entities_that_float32_does_not_hold(cell):
    with pytest.raises(DataError, match=naming("'new' | number")):
        features_of(pd.DataFrame({"price": [cell]}), KNOWN, tokens=["new"])


def test_a_column_of_new_entities_may_have_any_name():
    known = Modalities("item", (number_modality("self", np.array([np.nan, 1.0])),))
    frame = pd.DataFrame({"self": ["7", "-"], "x": ["", "y"]})
    read = Vocabulary(tag_separator="|").features(frame, "item", known, ["a", "b"])
    assert read["self"].tolist() == ["7", None] and read["x"].tolist() == ["", "y"]


def test_a_tag_that_looks_like_a_list_is_a_tag_where_it_was_one():
    entry = tags_modality("tags", [["[1]"], ["a"], ["1"]], ["1", "[1]", "a"])
    cells = ["[1]|a", "[1]", "['a', 1]", "['a' '1']", "[2]"]
    read = [KINDS["tags"].from_table(entry, cell, "|") for cell in cells]
    assert read == [["[1]", "a"], ["[1]"], ["['a',_1]"], ["a", "1"], ["2"]]


def test_cells_of_new_entities_are_written_as_in_atomic_files_of_ones_own():
    declared = {"tags": {"kind": "tags", "missing": ["?"]}, "plot": "vector"}
    read = Vocabulary.of({"modalities": {"item": declared}, "seq_separator": "|", "ITEM_ID_FIELD": "sku"})
    vector = Modality("plot", "vector", torch.ones(2, dtype=torch.bool), torch.zeros(2, 2), 2)
    known = Modalities("item", (tags_modality("tags", [["x"], ["a b"]], ["a b", "x"]), vector))
    table = pd.DataFrame({"sku": list("pqrs"), "tags": ["a b|x", "?", "-", ["x"]], "plot": ["1|2", "", None, [3, 4]]})
    ids, rows = read.entities(table, "item", known, "items")
    tags, plot = features_of(rows, known).entries
    assert ids == list("pqrs") and tags.available.tolist() == plot.available.tolist() == [True, False, False, True]
    assert tags.values.lengths.tolist() == [2, 0, 0, 1] and plot.values.tolist() == [[1, 2], [0, 0], [0, 0], [3, 4]]


def test_rows_of_users():
    table = pd.DataFrame(
        {
            "user_id": ["u0", " u1 ", "n", "NULL", "", "m"],
            "history": ["NULL", "", "i1  i2 ", "i1", "-", "['i1' 'i 2']"],
            "gender": ["N/A", "", "F", "-", "F", ""],
        }
    )
    assert users_of(table) == [
        "u0",
        "u1",
        {"id": "n", "history": ["i1", "i2"], "gender": "F"},
        {"id": "NULL", "history": ["i1"], "gender": "-"},
        {"id": "#4", "history": [], "gender": "F"},
        {"id": "m", "history": ["i1", "i 2"]},
    ]


def test_ids_of_another_name_are_asked_for(tmp_path, capsys):
    (tmp_path / "orders.csv").write_text("buyer,sku\na,p1\n")
    (tmp_path / "products.csv").write_text("item,tags\np1,x\n")
    command = ["convert", "table", "--name", "shop", "--interactions", str(tmp_path / "orders.csv")]
    for asked, said in (
        ([], "no column 'user_id'.*--user-column .in Python user_column. says what the users' ids"),
        (["--user-column", "buyer"], "no column 'item_id'.*--item-column"),
        (["--user-column=buyer", "--item-column=sku", "--items", str(tmp_path / "products.csv")], "'sku'.*--item-col"),
    ):
        assert main([*command, *asked]) == 2
        assert re.search(said, capsys.readouterr().err)


def test_a_column_of_texts_is_said_to_be_read_only_as_what(tmp_path, capsys):
    lines = [f"p{n},a text of its own number {n} which nobody else has" for n in range(50)]
    (tmp_path / "products.csv").write_text("\n".join(["item_id,description", *lines]) + "\n")
    (tmp_path / "orders.csv").write_text("user_id,item_id\na,p1\nb,p2\n")
    tables = ["--interactions", str(tmp_path / "orders.csv"), "--items", str(tmp_path / "products.csv")]
    assert main(["convert", "table", "--name", "shop", *tables]) == 0
    said = capsys.readouterr().out
    assert "'description': text (guessed); read by no model unless its kind is ngrams or it is encoded" in said


@pytest.mark.parametrize("ids", [["7", "x", "9"], [3, 1, 2], pd.RangeIndex(4, 10, 2), None])
def test_a_parquet_table_keeps_the_ids_of_its_index(ids):
    """Also in blocks; of numbers in a row pandas leaves no column in the file."""
    numbers = np.array([[5.0, 0.5], [1, 2], [3, 4]])
    frame = pd.DataFrame(numbers, columns=["a", "b"], index=None if ids is None else pd.Index(ids, name="item_id"))
    frame.to_parquet("t.parquet")
    blocks = pd.concat(parquet_blocks("t.parquet", n_rows=2))
    read = read_table("t.parquet")
    assert blocks[["a", "b"]].to_numpy().tolist() == numbers.tolist() and read["a"].tolist() == ["5.0", "1.0", "3.0"]
    if ids is None:
        assert read.columns.tolist() == ["a", "b"]
    else:
        assert read.columns.tolist() == ["item_id", "a", "b"] and read["item_id"].tolist() == list(map(str, ids))
        assert blocks["item_id"].tolist() == list(ids)
        vectors = read_embeddings("t.parquet")
        assert vectors.ids.tolist() == list(map(str, ids)) and vectors.values.tolist() == numbers.tolist()


@pytest.mark.parametrize(
    "text, message",
    [
        ('[{"id": 1}, 2]\n', "entry 2: int"),
        ('[{"id": 1}\n', "no JSON list"),
        ('{"id": 1}\n[1]\n', "line 2: list"),
        ('{\n"id": 1}\n', "line 1 | on each line"),
        ('{"id": 1}\n\n', "line 2 | on each line"),
        ('{"id": 1, "a": {"b": 1}}\n', "'a' | objects"),
        ("{}\n", "no line"),
    ],
)
def test_json_lines_that_are_none(text, message):
    with pytest.raises(DataError, match=naming(f"t.json | {message}")):
        read_table(write(text, "t.json"))


def test_a_json_list_is_a_table_as_json_lines_are():
    items = pd.DataFrame({"item_id": ["007", "7"], "tags": [["a b", "c"], None], "v": [[1, 2], None]})
    orders = pd.DataFrame({"user_id": ["u", "u"], "item_id": ["007", "7"]})
    for layout in ({"lines": True}, {}, {"indent": 2}):
        items.to_json("items.json", orient="records", **layout)
        orders.to_json("orders.json", orient="records", **layout)
        Dataset.from_frames("orders.json", items="items.json", folder="out/shop")
        assert Path("out/shop/shop.item").read_text().splitlines()[1:] == ["007\ta_b c", "7\t"]
        assert Path("out/shop/shop.v").read_text().splitlines()[1:] == ["007\t1 2"]


def test_json_lines_are_typed_tables():
    orders = '{"buyer": 1, "sku": "007", "timestamp": "2024-05-31T10:00:00Z"}\n{"buyer": 2, "sku": "7"}\n'
    write(orders.replace('"7"', '"7", "timestamp": 5'), "orders.jsonl")
    with pytest.raises(DataError, match=naming("orders.jsonl, line 1 | 2024-05-31 | timestamp")):
        Dataset.from_frames("orders.jsonl", user_column="buyer", item_column="sku")
    write(orders.replace("}\n{", '}\n{"timestamp": "2024-05-31T10:00:01Z", '), "orders.jsonl")
    write('{"sku": "007", "tags": ["a b", "c"], "v": [1, 2]}\n{"year": 1990, "sku": "7", "v": null}\n', "items.jsonl")
    columns = {"user_column": "buyer", "item_column": "sku"}
    Dataset.from_frames("orders.jsonl", items="items.jsonl", folder="out/shop", **columns)
    assert Path("out/shop/shop.item").read_text().splitlines()[1:] == ["007\ta_b c\t", "7\t\t1990.0"]
    assert Path("out/shop/shop.v").read_text().splitlines()[1:] == ["007\t1 2"]


def test_an_id_is_no_list():
    for orders, items in ((["a", "b"], [["a"], "b"]), ([("a", 1), "b"], None)):
        tables = None if items is None else pd.DataFrame({"item_id": items})
        with pytest.raises(DataError, match="list|expected one id"):
            Dataset.from_frames(pd.DataFrame({"user_id": [1, 2], "item_id": orders}), items=tables)


@pytest.mark.parametrize(
    "cells",
    [
        list(torch.tensor([[1.0, 2], [3, 4]], requires_grad=True)), list(csr_array([[1.0, 2], [3, 4]])),
        list(csr_matrix([[1.0, 2], [3, 4]])), [pd.array([1.0, 2]), pd.array([3.0, 4])],
    ],
    ids=["tensors", "sparse rows", "rows of sparse matrices", "arrays of pandas"],
)  # fmt: skip
def test_arrays_of_other_libraries_in_a_column_are_vectors(cells):
    """Their texts, such as tensor([1., 2.]), were texts or categories."""
    items = pd.DataFrame({"item_id": ["a", "b"], "v": pd.Series(cells, dtype=object)})
    orders = pd.DataFrame({"user_id": [1, 2], "item_id": ["a", "b"]})
    Dataset.from_frames(orders, items=items, folder="out/shop")
    assert Path("out/shop/shop.v").read_text().splitlines()[1:] == ["a\t1 2", "b\t3 4"]


@pytest.mark.parametrize("scalars", [list(torch.tensor([1.0, 2])), [np.array(1.0), np.array(2.0)]])
def test_an_array_of_one_number_is_the_number(scalars):
    items = pd.DataFrame({"item_id": ["a", "b"], "n": pd.Series(scalars, dtype=object)})
    Dataset.from_frames(pd.DataFrame({"user_id": [1, 2], "item_id": ["a", "b"]}), items=items, folder="out/shop")
    assert Path("out/shop/shop.item").read_text().splitlines() == ["item_id:token\tn:float", "a\t1.0", "b\t2.0"]


@pytest.mark.parametrize("cell", [[{"name": "Drama"}], [("name", "Drama")], [["Drama"]], [[1.0, 2.0]]])
def test_lists_of_what_is_neither_text_nor_number_are_refused(cell):
    items = pd.DataFrame({"item_id": ["a"], "genres": [cell]})
    keep = " Of an object keep what counts" if isinstance(cell[0], dict) else ""
    with pytest.raises(DataError, match=naming(f"items, line 1: genres is {cell} | a list of them.{keep}")):
        Dataset.from_frames(pd.DataFrame({"user_id": [1], "item_id": ["a"]}), items=items)


def test_objects_in_texts_are_told_of(capsys):
    genres = [f"[{{'id': {n % 3}, 'name': 'g{n % 3}'}}, {{'id': {n}, 'name': 'h{n}'}}]" for n in range(9)]
    items = pd.DataFrame({"item_id": range(9), "genres": genres})
    Dataset.from_frames(pd.DataFrame({"user_id": range(9), "item_id": range(9)}), items=items)
    assert "objects, such as \"[{'id': 0, 'name': 'g0'}" in capsys.readouterr().out


def test_what_numbers_and_dates_are_probably_is_said(capsys):
    n = 40
    items = pd.DataFrame(
        {
            "item_id": range(n),
            "price": [f"{k},50 €" for k in range(n)],
            "since": ["31.05.2024", "1.6.2024"] * (n // 2),
            "year": ["TBA", *range(1, n)],
            "size": ["S", "M"] * (n // 2),
            "code": ["01234", "04567"] * (n // 2),
        }
    )
    Dataset.from_frames(pd.DataFrame({"user_id": range(n), "item_id": range(n)}), items=items)
    lines = {line.split("'")[1]: line for line in capsys.readouterr().out.splitlines() if "item column" in line}
    assert "numbers, such as '0,50 €'? Write them like 12.5" in lines["price"]
    assert "dates, such as '31.05.2024'? Write them like 2024-05-31" in lines["since"]
    assert "numbers but for 'TBA'? Leave such cells empty" in lines["year"]
    assert lines["size"].endswith("category (guessed)") and lines["code"].endswith("category (guessed)")


def test_columns_of_which_the_same_is_said_are_one_line_where_they_are_many(capsys):
    n = 30
    items = pd.DataFrame({"item_id": range(n), "name": "tea", **{f"n{k}": [*range(n - 1), None] for k in range(50)}})
    Dataset.from_frames(pd.DataFrame({"user_id": range(n), "item_id": range(n)}), items=items)
    said = capsys.readouterr().out
    assert "  50 item columns, 'n0', 'n1', ... 'n49': number (guessed)\n" in said and "item column 'name'" in said
    assert "  n1           29 of 30 items (96.7%, not '29')\n  and 48 others, 29 to 29 of 30 items\n" in said


def test_what_a_filter_drops_is_not_said_to_count(capsys):
    orders = pd.DataFrame({"user_id": range(9), "item_id": range(9), "pieces": [1, 2, -1] * 3})
    Dataset.from_frames(orders)
    assert "3 of 9 interactions have less than 0 in pieces, and count" in capsys.readouterr().out
    Dataset.from_frames(orders, minimum={"pieces": 1})
    assert "and count" not in capsys.readouterr().out


@pytest.mark.parametrize("shown", [[True, False, False], [1, 0, 0], ["TRUE", "false", "False"]])
def test_what_was_shown_and_not_clicked_is_told_of(shown, capsys):
    orders = pd.DataFrame({"user_id": range(9), "item_id": range(9), "clicked": shown * 3})
    Dataset.from_frames(orders)
    assert "6 of 9 interactions have 0 or less in clicked, and count as the others do; --min clicked=1" in (
        capsys.readouterr().out
    )
    Dataset.from_frames(orders, minimum={"clicked": 1}, folder="out/shop")
    assert [line.split("\t")[0] for line in Path("out/shop/shop.inter").read_text().splitlines()[1:]] == ["0", "3", "6"]


def test_an_id_of_those_who_have_none_is_told_of(capsys):
    own = pd.DataFrame({"user_id": [*map(str, range(30)), "None"], "item_id": [*range(30), 0]})
    Dataset.from_frames(own)
    assert "1 of 31 rows are of the user 'None', an id like others" in capsys.readouterr().out
    Dataset.from_frames(pd.concat([own.iloc[:30], pd.DataFrame({"user_id": "guest", "item_id": range(31)})]))
    assert "31 of 61 rows are of the user 'guest', an id like others" in capsys.readouterr().out


def test_names_are_written_in_their_own_letters():
    items = pd.DataFrame({"товар 🛒": ["a", "b"], "ジャンル": ["甲|乙", "甲"]})
    orders = pd.DataFrame({"user_id": [1, 2], "товар 🛒": ["a", "b"]})
    Dataset.from_frames(orders, items=items, item_column="товар 🛒", folder="out/shop")
    declared = Path("out/shop/shop.yaml").read_text(encoding="utf-8")
    assert "item: {ジャンル: tags}" in declared and "товар 🛒" in declared


@pytest.mark.parametrize("mark", ["keine Angabe ü", "🗑L8\x85\U00010e44", "a\u2028b\u2029"])
def test_what_stands_for_a_missing_value_comes_back_from_yaml(mark):
    items = pd.DataFrame({"item_id": ["a", "b"], "kind": ["x", mark]})
    orders = pd.DataFrame({"user_id": [1, 2], "item_id": ["a", "b"]})
    Dataset.from_frames(orders, items=items, missing=[mark], folder="out/shop")
    assert yaml.safe_load(Path("out/shop/shop.yaml").read_text(encoding="utf-8"))["tables"]["missing"] == [mark]


def test_durations_are_seconds():
    items = pd.DataFrame({"item_id": ["a", "b"], "length": pd.to_timedelta([90, None], unit="s")})
    Dataset.from_frames(pd.DataFrame({"user_id": [1], "item_id": ["a"]}), items=items, folder="out/d")
    assert Path("out/d/d.item").read_text().splitlines()[1:] == ["a\t90.0", "b\t"]


def test_columns_of_interactions_that_no_model_reads_are_named(capsys):
    orders = pd.DataFrame({"user_id": [1], "item_id": ["a"], "bought": ["2024-05-31"], "price": [2.5], "rating": [3]})
    Dataset.from_frames(orders)
    said = "kept, and read by no model: bought (for splits by time call it timestamp), price\n"
    assert said in capsys.readouterr().out
    Dataset.from_frames(orders.rename(columns={"bought": "timestamp"})[["user_id", "item_id", "timestamp", "rating"]])
    assert "other columns" not in capsys.readouterr().out
