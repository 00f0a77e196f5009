import json
import os
import warnings
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import names, naming
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import coo_array, csc_matrix, csr_array

from recbole_sibrar.cli import main
from recbole_sibrar.convert import atomic, own_tables
from recbole_sibrar.convert.filters import k_core
from recbole_sibrar.convert.vectors import embeddings_of, read_embeddings
from recbole_sibrar.data.tables import read_table
from recbole_sibrar.data.vectors import read_vectors
from recbole_sibrar.errors import DataError, OptionError
from recbole_sibrar.kinds.reading import load_modalities, parse_declarations
from recbole_sibrar.properties import read_property_file

RATINGS = "1::10::5::100\n1::20::3::200\n2::10::4::300\n2::20::5::100\n3::30::2::400\n3::10::3::500\n2::99::5::1\n"
USERS = "1::F::1::10::48067\n2::M::56::16::70072\n3::M::25::15::55117\n"
MOVIES = (
    "10::Léon: The Pro :: cut (1994)::Film-Noir|Children's\n20::No Year::(no genres listed)\n30::Heat (1995)::Crime\n"
)


@pytest.fixture
def raw(tmp_path):
    folder = tmp_path / "raw"
    folder.mkdir()
    for name, text in (("ratings", RATINGS), ("users", USERS), ("movies", MOVIES)):
        (folder / f"{name}.dat").write_bytes(text.encode("latin-1"))
    np.savez(folder / "plot.npz", ids=["30", "10", "7"], values=np.array([[1, 0.1], [1e-3, -2], [0, 0]], "float16"))
    return folder


def convert(raw, *arguments):
    return main(["convert", "ml-1m", "--raw", str(raw), "--output", "out", "--k-core", "0", *arguments])


def rows(suffix):
    return Path(f"out/ml-1m/ml-1m.{suffix}").read_text(encoding="utf-8").splitlines()


def test_a_hand_computed_conversion(raw, capsys):
    assert convert(raw, "--item-vectors", "plot=plot.npz") == 0
    assert rows("inter")[0] == "user_id:token\titem_id:token\trating:float\ttimestamp:float"
    kept = sorted(line.split("\t")[:2] for line in rows("inter")[1:])
    assert kept == [["1", "10"], ["1", "20"], ["2", "10"], ["2", "20"], ["3", "10"]]
    assert rows("user") == [
        "user_id:token\tgender:token\tage:token\toccupation:token", "1\tF\t1\t10", "2\tM\t56\t16", "3\tM\t25\t15"
    ]  # fmt: skip
    assert rows("item") == [
        "item_id:token\ttitle:token_seq\tyear:float\tgenres:token_seq",
        "10\tLéon: The Pro :: cut\t1994.0\tFilm-Noir Children's",
        "20\tNo Year\t\t",
    ]
    assert [line.split("\t")[0] for line in rows("plot")] == ["item_id:token", "10"]
    assert read_property_file("out/ml-1m/ml-1m.yaml")["modalities"]["item"] == {
        "genres": "tags", "year": "number", "plot": "vector"
    }  # fmt: skip
    record = json.loads(Path("out/ml-1m/conversion.json").read_text())
    assert record["steps"][-1]["interactions"] == 5 and set(record["inputs"]) >= {"ratings.dat", "plot.npz"}
    out = capsys.readouterr().out
    assert "rating >= 3" in out and "(dropped 0, 1, 1)" in out and "2 vectors belong to no item" in out


def test_required_features_and_k_core(raw):
    assert convert(raw, "--item-vectors", "plot=plot.npz", "--require", "plot", "year") == 0
    assert sorted(line.split("\t")[:2] for line in rows("inter")[1:]) == [["1", "10"], ["2", "10"], ["3", "10"]]
    assert convert(raw, "--k-core", "2") == 0
    kept = sorted(line.split("\t")[:2] for line in rows("inter")[1:])
    assert kept == [["1", "10"], ["1", "20"], ["2", "10"], ["2", "20"]]


def test_users_of_other_ages_and_texts_are_not_counted(raw):
    assert convert(raw, "--ages", "18", "55") == 0
    assert sorted(line.split("\t")[:2] for line in rows("inter")[1:]) == [["3", "10"]]
    record = json.loads(Path("out/ml-1m/conversion.json").read_text())
    assert record["options"]["ages"] == [18, 55] and record["shape"]["age"] == 1 and "title" not in record["shape"]


PAPER_USERS = {user: 25 for user in "12345"} | {"6": 1, "7": 56}
PAPER_MOVIES = {movie: "Drama" for movie in "12345689"} | {"7": ""}
PAPER_RATINGS = {
    (user, movie): 3 + int(user) % 3 for user in "12345" for movie in "1234567"
}  # 6 has no plot, 7 no genre
PAPER_RATINGS |= {("6", movie): 5 for movie in "12345"}  # of user 6, who is under 18
PAPER_RATINGS |= {(user, "8"): 3 for user in "1234"} | {("5", "8"): 2}  # with user 7 there are 5 of movie 8
PAPER_RATINGS |= {("7", movie): 5 for movie in "1238"} | {("7", "9"): 4}  # without movie 9 user 7 has 4


@pytest.fixture
def paper_raw(tmp_path):
    """Of 7 users and 9 movies the papers' filters leave users 1 to 5 and movies 1 to 5: the 5-core goes 9, 7, 8."""
    folder = tmp_path / "paper"
    folder.mkdir()
    ratings = "".join(f"{user}::{movie}::{rating}::1\n" for (user, movie), rating in PAPER_RATINGS.items())
    (folder / "ratings.dat").write_text(ratings)
    (folder / "users.dat").write_text("".join(f"{user}::F::{age}::1::0\n" for user, age in PAPER_USERS.items()))
    movies = "".join(f"{movie}::Film {movie} (1990)::{genre}\n" for movie, genre in PAPER_MOVIES.items())
    (folder / "movies.dat").write_text(movies)
    plots = [f"{movie}\tA story.\n" for movie in PAPER_MOVIES if movie != "6"]
    (folder / "plots.tsv").write_text("movie_id\tplot\n" + "".join(plots) + "6\t \n")
    return folder


def paper(raw, *arguments):
    return main(["convert", "ml-1m", "--raw", str(raw), "--output", "out", "--paper", *arguments])


def test_the_papers_filters_by_hand(paper_raw, capsys):
    assert paper(paper_raw) == 0
    kept = {tuple(line.split("\t")[:2]) for line in rows("inter")[1:]}
    assert kept == {(user, movie) for user in "12345" for movie in "12345"}
    steps = json.loads(Path("out/ml-1m/conversion.json").read_text())["steps"]
    found = [(step["step"], step["users"], step["items"], step["interactions"]) for step in steps]
    assert found == [
        ("read", 7, 9, 50),
        ("rating >= 3", 7, 9, 49),
        ("users of age 10 to 80", 6, 9, 44),
        ("one per user and item", 6, 9, 44),
        ("users and items known", 6, 9, 44),
        ("items with genres", 6, 8, 39),
        ("items with plot", 6, 7, 34),
        ("5-core", 5, 5, 25),
    ]
    captured = capsys.readouterr()
    assert "(dropped 1, 2, 9)" in captured.out and "5,816" in captured.out
    assert "warning: users, items, interactions" in captured.err and "has 50 ratings, and the official" in captured.err
    assert "none was dropped" not in captured.err and "which --paper applies" not in captured.err
    assert convert(paper_raw) == 0
    assert "the filters are not the papers', which --paper applies" in capsys.readouterr().err


@pytest.mark.parametrize("row, code", [("6 \tA story.\n", 0), (" 1\tAnother.\n", 2), ("1\t\n", 0)])
def test_plots_are_one_for_a_movie(paper_raw, row, code, capsys):
    path = paper_raw / "plots.tsv"
    path.write_text(path.read_text() + row)
    assert convert(paper_raw, "--require", "plot") == code
    error = capsys.readouterr().err
    if code:
        assert names(error, "plots.tsv | line 11 | '1' | twice")
    else:
        assert ("6" in {line.split("\t")[1] for line in rows("inter")[1:]}) == row.startswith("6")


def test_ratings_in_fewer_steps_are_named(paper_raw, capsys):
    path = paper_raw / "ratings.dat"
    path.write_text(path.read_text().replace("::2::1\n", "::3::1\n").replace("::5::1\n", "::4::1\n"))
    assert paper(paper_raw) == 0
    assert "ratings from 3 to 4, and not 1 to 5, so that none was dropped" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--min-rating", "4"], "--min-rating | 4.0 | --paper | 3 | contradicts"),
        (["--k-core", "0"], "--k-core | 0 | --paper | 5 | contradicts"),
        (["--ages", "18", "80"], "--ages | 18 | 80 | --paper | contradicts"),
        (["--require", "plot"], "--require | --paper | contradicts"),
        (["--require", "plot", "genres", "--ages", "10", "80"], None),
        (["--plots", "absent.tsv"], "absent.tsv | no such file"),
    ],
)
def test_what_contradicts_the_papers_filters(paper_raw, capsys, arguments, message):
    assert paper(paper_raw, *arguments) == (0 if message is None else 2)
    assert names(capsys.readouterr().err, message or "")


def test_vectors_come_back_to_float_precision(raw):
    assert convert(raw, "--item-vectors", "plot=plot.npz", "--min-rating", "0") == 0
    declared = parse_declarations({"item": {"plot": "vector"}}, "item")
    plot = load_modalities("out/ml-1m", "ml-1m", "item", "item_id", ["[PAD]", "10", "30", "20"], declared).entries[0]
    assert plot.available.tolist() == [False, True, True, False]
    assert (plot.values[1:3].numpy() == np.array([[1e-3, -2], [1, 0.1]], "float16").astype("float32")).all()


@pytest.mark.parametrize(
    "name, change, message",
    [
        ("ratings", lambda t: t.replace("2::10::4::300", "2::10::4"), "line 3 | ratings.dat | '::' | cells"),
        ("ratings", lambda t: t.replace("::4::", "::x::"), "line 3 | ratings.dat | 'x'"),
        ("ratings", lambda t: t.replace("::4::", "::inf::"), "line 3 | ratings.dat | 'inf' | rating | finite"),
        ("ratings", lambda t: t.replace("::300", "::-inf"), "line 3 | ratings.dat | '-inf' | timestamp | finite"),
        ("ratings", lambda t: t.replace("::300", "::" + "9" * 400), "line 3 | ratings.dat | timestamp | finite"),
        ("ratings", lambda t: "", "ratings.dat | empty"),
        ("users", lambda t: t.replace("2::M", "1::M"), "line 2 | users.dat | '1' | twice"),
        ("users", lambda t: None, "users.dat | ml-1m.zip | no such file"),
        ("movies", lambda t: t.replace("20::No Year", "10::No Year"), "line 2 | movies.dat | '10' | twice"),
        ("movies", lambda t: t.encode().decode("latin-1"), "line 1 | movies.dat | UTF-8 | latin-1 | iconv"),
        ("users", lambda t: "\ufeff".encode().decode("latin-1") + t, "line 1 | users.dat | UTF-8 | latin-1"),
        ("movies", lambda t: "10,Toy Story\n", "line 1 | movies.dat | cells"),
    ],
)
def test_malformed_raw_files(raw, capsys, name, change, message):
    path = raw / f"{name}.dat"
    text = change(path.read_text(encoding="latin-1"))
    path.unlink() if text is None else path.write_text(text, encoding="latin-1")
    assert convert(raw) == 2
    error = capsys.readouterr().err
    assert names(error, message) and "Traceback" not in error and not os.path.exists("out/ml-1m")


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--require", "genre"], "Did you mean 'genres'"),
        (["--item-vectors", "plot.npz"], "expected name=file"),
        (["--item-vectors", "genres=plot.npz"], "'genres' is taken"),
        (["--item-vectors", "plot=absent.npz"], "absent.npz | no such file"),
        (["--min-rating", "6"], "No interaction is left"),
        (["--raw", "nowhere"], "nowhere: no such folder"),
    ],
)
def test_wrong_arguments(raw, capsys, arguments, message):
    assert convert(raw, *arguments) == 2
    assert names(capsys.readouterr().err, message)


@pytest.mark.parametrize(
    "save, message",
    [
        (lambda path: np.savez(path, ids=["a", "a"], values=np.ones((2, 3))), "id 'a' occurs twice"),
        (lambda path: np.savez(path, ids=["a"], values=np.array([[1, np.nan]])), "NaN | 'a' | infinity"),
        (
            lambda path: np.savez(path, ids=["a", "b"], values=np.array([[1, 1], [1, -1e20]])),
            "number above 1e+12 | 'b'",
        ),
        (lambda path: np.savez(path, ids=["a"], values=np.array([[0, -2e-12]])), "2.0e-12 | multiply them by 5e+11"),
        (lambda path: np.savez(path, ids=["a"], values=np.array([[1e-50]])), "1.0e-50 | multiply"),
        (lambda path: np.savez(path, ids=["a"], values=np.ones((2, 3))), "shape (1,) | shape (2, 3)"),
        (lambda path: np.savez(path, ids=[["a"], ["b"]], values=np.ones((2, 3))), "shape (2, 1) | shape (2, 3)"),
        (lambda path: np.savez(path, ids="a", values=np.ones((2, 3))), "shape () | shape (2, 3)"),
        (lambda path: np.savez(path, ids=["a", " "], values=np.ones((2, 3))), "row 1 | '' is empty"),
        (lambda path: np.savez(path, ids=["a", "b\tc"], values=np.ones((2, 3))), r"row 1 | 'b\tc' | tab"),
        (
            lambda path: np.savez(path, ids=np.array(["a"], object), values=np.ones((1, 3))),
            "ids | save ids.astype(str)",
        ),
        (lambda path: np.savez(path, values=np.ones((2, 3))), "no array 'ids'"),
        (lambda path: Path(path).write_bytes(b"PK broken"), "cannot be read"),
    ],
)
def test_malformed_embeddings(save, message):
    save("vectors.npz")
    with pytest.raises(DataError, match=naming(message)):
        read_embeddings("vectors.npz")


def read_as(read, values):
    if read == "embeddings":
        embeddings_of(([f"i{row}" for row in range(len(values))], values), "v")
    else:
        rows = [f"i{row}\t{' '.join(map(str, vector))}\n" for row, vector in enumerate(values)]
        Path("d.v").write_text("".join(["item_id:token\tv:float_seq\n", *rows]))
        read_vectors("d.v")


@pytest.mark.parametrize("read", ["embeddings", "atomic"])
@pytest.mark.parametrize("largest, others, warns", [(1, 1, False), (1e4, 1, True), (1e4, 0, False), (5, 1, False)])
def test_a_number_that_hides_all_others_is_named(largest, others, warns, read, recwarn):
    read_as(read, np.random.default_rng(0).normal(size=(100, 8)) * [others, largest, *[others] * 6])
    said = [str(warning.message) for warning in recwarn if warning.category is UserWarning]
    assert [names(text, "8 numbers | number 2 | 100.00% | modality of its own") for text in said] == [True] * warns


@pytest.mark.parametrize("read", ["embeddings", "atomic"])
@pytest.mark.parametrize("far, warns", [([1e9], True), ([-9999.0] * 9, True), ([0.0] * 9, False), ([20.0], False)])
def test_a_few_vectors_that_hide_all_others_are_named(far, warns, read, recwarn):
    values = np.random.default_rng(0).normal(size=(100, 3))
    values[5 : 5 + len(far)] = np.array(far)[:, None]
    read_as(read, values)
    said = [str(warning.message) for warning in recwarn if "times as large" in str(warning.message)]
    assert [names(text, f"{len(far)} of 100 | 'i5' | {abs(far[0]):.1e}") for text in said] == [True] * warns


@pytest.mark.parametrize("first", ["a,0.5,1", "a,5,7", "7,0,1", "a,,", "0,1,2", "item_id,2,3"])
def test_a_table_of_vectors_without_a_header_loses_no_row(first):
    Path("v.csv").write_text(f"{first}\nb,2.5,2\n")
    with pytest.raises(DataError, match=naming(f"v.csv, line 1 | header | {first.split(',')[0]}")):
        read_embeddings("v.csv")


@pytest.mark.parametrize("header", ["id,0,1", "trackId,1,2", ",0,1", "sku,0,1,2", "0,1,2,3", "sku,mean,0.5"])
def test_names_of_columns_may_be_numbers(header):
    Path("v.csv").write_text(f"{header}\na{',1.5' * header.count(',')}\n")
    assert read_embeddings("v.csv").ids.tolist() == ["a"]


@pytest.mark.parametrize("column", ["item_id", "itemId", "id", "ID"])
@pytest.mark.parametrize("read", [read_embeddings, lambda path: embeddings_of(pd.read_csv(path), "v")])
def test_numbers_of_rows_are_no_ids(column, read):
    pd.DataFrame({"x": [0.5, 1.5], column: [1, 0], "solid": [2, 3]}).to_csv("v.csv")
    with pytest.raises(DataError, match=naming(f"line 1 | '{column}' first | index=False")):
        read("v.csv")
    pd.DataFrame({"x": [0.5, 1.5], "solid": [2, 3]}).to_csv("v.csv")
    assert read("v.csv").ids.tolist() == ["0", "1"]


GAPS = {
    "table": pd.DataFrame({"id": list("abc"), "x": [None, 1.0, 3.0], "y": [None, 2.0, 4.0]}),
    "integers": pd.DataFrame(
        {"id": list("abc"), "x": pd.array([None, 1, 3], "Int64"), "y": pd.array([None, 2, 4], "Int64")}
    ),
    "lists": pd.DataFrame({"id": list("abc"), "v": [None, [1.0, 2.0], [3.0, 4.0]]}),
    "last": pd.DataFrame({"id": list("bca"), "v": [[1.0, 2.0], [3.0, 4.0], None]}),
    "one number": pd.DataFrame({"id": list("abc"), "x": pd.array([None, 1, 3], "Int64")}),
}


@pytest.mark.parametrize("suffix, given", [*product(["csv", "tsv", "parquet", "jsonl"], GAPS)])
def test_a_row_of_a_file_without_a_vector(suffix, given):
    frame = GAPS[given]
    if suffix == "parquet":
        frame.to_parquet("v.parquet")
    elif suffix == "jsonl":
        frame.to_json("v.jsonl", orient="records", lines=True)
    else:
        frame.to_csv(f"v.{suffix}", sep="\t" if suffix == "tsv" else ",", index=False)
    vectors = read_embeddings(f"v.{suffix}")
    assert vectors.ids.tolist() == ["b", "c"] and vectors.values[:, 0].tolist() == [1, 3]


def test_a_vector_with_a_gap_within():
    pd.DataFrame({"id": ["a"], "v": [[1, None]]}).to_parquet("v.parquet")
    Path("v.csv").write_text("id,x,y\na,1,\n")
    Path("w.csv").write_text("id,v\na,[1 2]\nb,[]\nc,[3]\n")
    for name, message in (("v.parquet", "NaN | 'a'"), ("v.csv", "line 2 | ''"), ("w.csv", "line 4 | 1 | 2")):
        with pytest.raises(DataError, match=naming(f"{name} | {message}")):
            read_embeddings(name)


def test_vectors_of_two_lengths_and_columns_beside_them_are_named():
    two = '{"id": "a", "v": [1, 2]}\n{"id": "b", "v": [1, 2, 3]}\n'
    Path("v.jsonl").write_text(two)
    with pytest.raises(DataError, match=naming("v.jsonl: 3 numbers for id 'b', expected 2 | are another modality")):
        read_embeddings("v.jsonl")
    Path("v.jsonl").write_text(two.replace(', "v"', ', "model": "m1", "v"'))
    with pytest.raises(DataError, match=naming("v.jsonl: model of id 'a' is 'm1' | Leave the column out")):
        read_embeddings("v.jsonl")


def test_the_keys_of_json_lines_come_in_any_order_but_in_the_first_line():
    Path("v.jsonl").write_text('{"id": 1, "v": [1, 2]}\n{"v": [3, 4], "id": 2}\n{"id": 3}\n')
    vectors = read_embeddings("v.jsonl")
    assert vectors.ids.tolist() == ["1", "2"] and vectors.values.tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
@pytest.mark.parametrize(
    "row, message",
    [
        ({"id": "a", "v": ["x", "y"]}, "'x'"),
        ({"id": "a", "v": {"x": 1}}, "float | dict"),
        ({"v": [1, 2], "id": "a"}, "v, which comes first | is a list"),
    ],
)
def test_vectors_that_are_none(row, message, suffix):
    frame = pd.DataFrame([row])
    frame.to_parquet("v.parquet") if suffix == "parquet" else frame.to_json("v.jsonl", orient="records", lines=True)
    with pytest.raises(DataError, match=naming(f"v.{suffix} | {message}")):
        read_embeddings(f"v.{suffix}")


@pytest.mark.parametrize("form", ["mapping", "pair", "frame"])
def test_a_vector_of_another_length_is_named(form):
    ids, rows = ["a", "b", "c"], [[1.0, 2.0], [3.0], [4.0, 5.0]]
    sources = {"mapping": dict(zip(ids, rows)), "pair": (ids, rows), "frame": pd.DataFrame({"id": ids, "v": rows})}
    with pytest.raises(OptionError, match=naming("'v' | that of 'b' holds 1, most hold 2")):
        embeddings_of(sources[form], "v")


@pytest.mark.parametrize("read", ["embeddings", "atomic"])
def test_a_vector_that_stands_for_a_missing_one_is_named(read):
    values = np.random.default_rng(0).normal(size=(60, 9))
    with_none = values.copy()
    with_none[20:30] = 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_as(read, values)
        read_as(read, np.eye(9)[np.arange(60) % 9])  # as of a category
    with pytest.warns(UserWarning, match="17% of the vectors are one and the same, that of 'i20'; where it stands"):
        read_as(read, with_none)


def test_ids_of_vectors_are_those_of_tables():
    """Without blanks around them, a byte order mark before them, or other ends of lines than those of text files."""
    np.save("v.npy", np.arange(6.0).reshape(3, 2))
    Path("v.ids.txt").write_bytes("\ufeffa \r\n b\u2028c\r\nd\x85\x1ce\r\n".encode())
    assert read_embeddings("v.npy").ids.tolist() == ["a", "b\u2028c", "d\x85\x1ce"]
    Path("v.csv").write_text("id,x\n a , 1\n b , 2\n")
    assert read_embeddings("v.csv").ids.tolist() == ["a", "b"]


@pytest.mark.parametrize("block_bytes", [8, 1 << 24])
@pytest.mark.parametrize(
    "name, text, ids",
    [
        ("v.tsv", 'id\tx\na\t0\n7"\t1\n7\t2\n', ["a", '7"', "7"]),
        ("v.csv", 'id,x\na,0\n"7""",1\n7,2\n', ["a", '7"', "7"]),
        ("v.csv", 'id,x\na,0\n7",1\n"b, c",2\n', ["a", '7"', "b, c"]),
        ("v.csv", '"id","x"\n"a","0"\n"7","1"\n"b","2"\n', ["a", "7", "b"]),
        ("v.tsv", 'id\tx\n"a"\t0\n7\t1\n"""b"\t2\n', ['"a"', "7", '"""b"']),
    ],
)
def test_quotes_in_ids_of_vectors_are_those_of_tables(name, text, ids, block_bytes, monkeypatch):
    monkeypatch.setattr("recbole_sibrar.data.lines.BLOCK_BYTES", block_bytes)
    Path(name).write_text(text)
    vectors = read_embeddings(name)
    assert vectors.ids.tolist() == ids == read_table(name)["id"].tolist() and vectors.values.tolist() == [[0], [1], [2]]


@pytest.mark.parametrize(
    "source", [{None: [1.0]}, ([None], [[1.0]]), pd.DataFrame({"id": [None], "x": [1.0], "y": [1.0]})]
)
def test_a_vector_of_nobody(source):
    with pytest.raises(DataError, match="'text' have a row without an id"):
        embeddings_of(source, "text")


MASKED = np.ma.masked_equal(np.array([[1, 2], [-1, -1], [3, 4]], "float32"), -1)
TENSOR = torch.tensor([[1, 2], [torch.nan, torch.nan], [3, 4]], requires_grad=True)


@pytest.mark.parametrize("values", [MASKED, MASKED.astype(int), TENSOR, TENSOR.bfloat16()])
@pytest.mark.parametrize("form", [lambda values: (list("abc"), values), lambda values: dict(zip("abc", values))])
def test_masked_arrays_and_tensors_with_a_gradient(values, form):
    vectors = embeddings_of(form(values), "text")
    assert vectors.ids.tolist() == ["a", "c"] and vectors.values.tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize("dtype", ["bool", "int64", "float32", "float64"])
@pytest.mark.parametrize("form", [csr_array, coo_array, csc_matrix])
def test_sparse_matrices_are_arrays(form, dtype, monkeypatch):
    monkeypatch.setattr("recbole_sibrar.convert.vectors.BLOCK_NUMBERS", 4)
    values = np.eye(3, dtype=dtype)
    for source, rows in (((list("abc"), form(values)), None), (form(values), list("abc"))):
        vectors = embeddings_of(source, "text", rows)
        assert vectors.ids.tolist() == list("abc") and np.array_equal(vectors.values, values)


@pytest.mark.parametrize("values", [np.eye(2) * 1j, np.eye(2, dtype="complex64"), csr_array([[1j]]), [[1j, 2], [3, 4]]])
def test_complex_numbers_are_no_vectors(values):
    with pytest.raises(OptionError, match="'text' are no table of numbers"):
        embeddings_of((["a", "b"], values), "text")


def test_vectors_of_others_than_those_with_interactions():
    pairs = pd.DataFrame({"user_id": ["a", "b"], "item_id": ["1", "2"]})
    with pytest.raises(DataError, match=naming("None of the 2 items | '1' | '1.0'")):
        own_tables.convert("d", "out", pairs, item_vectors={"v": (np.array([1.0, 2.0]), np.eye(2))})
    assert not Path("out/d").exists()
    own_tables.convert("d", "out", pairs, item_vectors={"v": ([1, 3], np.eye(2))})


@pytest.mark.parametrize("suffix", ["npz", "npy", "tsv", "csv.gz", "jsonl.gz", "parquet"])
def test_formats_of_embeddings(suffix):
    ids, values = np.array(["7", "x"]), np.array([[0.5, -1], [3, 2]], "float32")
    path = f"v.{suffix}"
    frame = pd.concat([pd.DataFrame({"id": ids}), pd.DataFrame(values)], axis=1).rename(columns=str)
    if suffix == "npz":
        np.savez(path, ids=ids, values=values)
    elif suffix == "npy":
        np.save(path, values)
        Path("v.ids.txt").write_text("7\nx\n")
    elif suffix == "parquet":
        frame.to_parquet(path)
    elif suffix == "jsonl.gz":
        frame.to_json(path, orient="records", lines=True)
    else:
        frame.to_csv(path, sep="\t" if suffix == "tsv" else ",", index=False)
    vectors = read_embeddings(path)
    assert vectors.ids.tolist() == ["7", "x"] and (vectors.values == values).all()
    assert read_embeddings(path, ["x"]).values.tolist() == [[3, 2]]


def test_an_interruption_leaves_the_old_output(raw, monkeypatch):
    assert convert(raw, "--item-vectors", "plot=plot.npz") == 0
    before = rows("inter")

    def fail(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(atomic, "write_vectors", fail)
    assert convert(raw, "--item-vectors", "plot=plot.npz", "--min-rating", "5") == 130
    assert rows("inter") == before and sorted(os.listdir("out")) == ["ml-1m"]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=40, unique=True), st.integers(0, 4))
def test_k_core_against_a_loop(pairs, k):
    kept = set(pairs)
    while True:
        smaller = {(u, i) for u, i in kept if sum(u == v for v, _ in kept) >= k and sum(i == j for _, j in kept) >= k}
        if smaller == kept:
            break
        kept = smaller
    frame = pd.DataFrame(pairs, columns=["user_id", "item_id"], dtype=int)
    assert set(k_core(frame, k).itertuples(index=False, name=None)) == kept


SHARED = Path(os.environ.get("SIBRAR_SHARED_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))


@pytest.mark.skipif(not (SHARED / "ml-1m").is_dir(), reason=f"the real MovieLens 1M is not at {SHARED / 'ml-1m'}")
@pytest.mark.parametrize(
    "require, expected",
    [
        ((), (6040, 3407, 999557)),
        (("--paper",), (5818, 3396, 971811)),  # the ratings of this file cannot be dropped by the threshold
    ],
)
def test_the_real_corpus(require, expected):
    assert main(["convert", "ml-1m", "--raw", str(SHARED / "ml-1m"), "--output", "out", *require]) == 0
    last = json.loads(Path("out/ml-1m/conversion.json").read_text())["steps"][-1]
    assert (last["users"], last["items"], last["interactions"]) == expected
