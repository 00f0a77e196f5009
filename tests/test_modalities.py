import json
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from conftest import naming

from recbole_sibrar.data import vectors
from recbole_sibrar.data.atomic import read_atomic
from recbole_sibrar.data.modalities import Modality
from recbole_sibrar.errors import DataError, OptionError
from recbole_sibrar.kinds import KINDS
from recbole_sibrar.kinds.interactions import interaction_modality
from recbole_sibrar.kinds.reading import load_modalities, parse_declarations

TOKENS = ["[PAD]", "b", "a", "c"]
DECLARED = {
    "item": {"genres": {"kind": "tags", "field": "class"}, "year": "number", "colour": "category", "plot": "vector"}
}
ITEMS = "item_id:token\tclass:token_seq\tyear:float\tcolour:token\na\tx y\t1990\tred\nb\t\t\t\nd\tz\t1\tblue\n"
PLOTS = "item_id:token\tplot:float_seq\na\t1 0.25 -3e-2\nd\t9 9 9\nb\t0 0 0\n"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "d.item").write_text(ITEMS)
    (tmp_path / "d.plot").write_text(PLOTS)
    return tmp_path


def load(folder, declared=DECLARED, tokens=TOKENS, **options):
    return load_modalities(folder, "d", "item", "item_id", tokens, parse_declarations(declared, "item"), **options)


def test_features_are_aligned_and_missing_values_are_missing(folder):
    modalities = load(folder)
    assert modalities.names == ("genres", "year", "colour", "plot")
    expected = [[False] * 4, [False, False, False, True], [True] * 4, [False] * 4]
    assert modalities.available.tolist() == expected
    genres, year, colour, plot = modalities.entries
    assert genres.values.lengths.tolist() == [0, 0, 2, 0] and genres.width == 2
    assert year.values[2] == 1990 and colour.width == 1
    assert torch.equal(plot.values[2], torch.tensor([1, 0.25, -3e-2]))


@pytest.mark.parametrize("first", ["number", "category", "tags"])
def test_one_column_may_be_several_modalities(folder, first):
    (folder / "d.item").write_text("item_id:token\tage:token\na\t18\nb\t-1\nc\t007\n")
    kinds = sorted(["number", "category", "tags"], key=lambda kind: kind != first)
    declared = {kind: {"kind": kind, "field": "age", "missing": ["-1"] if kind == "number" else []} for kind in kinds}
    read = {entry.name: entry for entry in load(folder, {"item": declared}).entries}
    assert read["number"].available.tolist() == [False, False, True, True] and read["number"].values[3] == 7
    for kind in ("category", "tags"):
        assert read[kind].vocabulary == ("-1", "007", "18") and read[kind].available.tolist() == [
            False,
            True,
            True,
            True,
        ]


def test_blanks_around_and_within_a_category_do_not_count(folder):
    (folder / "d.item").write_text("item_id:token\tcolour:token\na\tdeep  red \nb\tdeep red\nc\t \n")
    (colour,) = load(folder, {"item": {"colour": "category"}}).entries
    assert colour.vocabulary == ("deep red",) and colour.available.tolist() == [False, True, True, False]
    assert KINDS["category"].parse(colour, [" deep red"], ["new"], set()).available.tolist() == [True]


def test_a_zero_vector_is_not_missing(folder):
    plot = load(folder).entries[3]
    assert plot.available[1] and not plot.values[1].any()


def test_interactions_are_a_modality_of_those_who_have_some():
    entry = interaction_modality([1, 3, 3], [2, 1, 2], n_rows=4, n_columns=3)
    assert entry.available.tolist() == [False, True, False, True] and entry.width == 3


def test_vectors_are_cached_until_the_file_changes(folder, monkeypatch):
    first = vectors.read_vectors(folder / "d.plot")
    monkeypatch.setattr(vectors, "_parse", lambda *_: pytest.fail("parsed although cached"))
    again = vectors.read_vectors(folder / "d.plot")
    assert isinstance(again[1], np.memmap) and (again[1] == first[1]).all() and (again[0] == first[0]).all()
    monkeypatch.undo()
    (folder / "d.plot").write_text(PLOTS.replace("0.25", "0.75"))
    stamp = json.loads((folder / ".d.plot.cache" / "source.json").read_text())
    assert vectors.read_vectors(folder / "d.plot")[1][0, 1] == 0.75 and stamp["size"] == len(PLOTS)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_vectors_on_disk_are_those_in_memory(folder, dtype):
    rows = [np.array([[1, 0.25, -3e-2], [9, 9, 9], [0, 0, 0]], dtype)]
    vectors.write_cache(folder / "d.plot", np.array(["a", "d", "b"]), rows, (3, 3), dtype)
    memory, disk = (load(folder, vector_storage=storage).entries[3] for storage in vectors.STORAGES)
    assert isinstance(disk.values, vectors.DiskVectors) and torch.equal(disk.available, memory.available)
    for asked in ([2, 1, 2], [1], []):
        asked = torch.tensor(asked, dtype=torch.long)
        found = disk.features(asked)
        assert torch.equal(found, memory.features(asked)) and str(found.dtype) == f"torch.{dtype}"
    torch.save(disk.to_plain(), "plain.pth")
    again = Modality.from_plain(torch.load("plain.pth", weights_only=True, mmap=True))
    assert torch.equal(again.values[again.available], memory.values[memory.available])
    with open(folder / ".d.plot.cache" / "values.npy", "r+b") as file:
        file.truncate(file.seek(0, 2) - 1)
    with pytest.raises(DataError, match="values.npy ends early; remove its folder"):
        disk.features(torch.tensor([1]))


def test_vectors_load_without_a_writable_folder(folder, monkeypatch):
    def refuse(path):
        raise OSError("read-only")

    monkeypatch.setattr(vectors, "atomic_directory", refuse)
    with pytest.warns(UserWarning, match="read-only.*held in memory"):
        assert isinstance(load(folder, vector_storage="disk").entries[3].values, torch.Tensor)


@pytest.mark.parametrize(
    "name, text, message",
    [
        ("d.item", ITEMS.replace("1990", "19x0"), "line 2 | '19x0' | 'year' | finite"),
        ("d.item", ITEMS.replace("b\t\t\t", "b\t\t"), "line 3 | 4 | cells"),
        ("d.item", ITEMS.replace("red", "red\tgreen"), "line 2 | 5 | 4 | cells"),
        ("d.item", ITEMS.replace("d\tz", "a\tz"), "line 4 | item_id | 'a' | twice"),
        ("d.item", ITEMS.replace("year:float", "yaer:float"), "'year' | 'yaer' | no column"),
        ("d.item", ITEMS.replace("year:float", "year"), "'year' | 'field:type'"),
        ("d.item", "", "the file is empty"),
        ("d.item", ITEMS.splitlines()[0] + "\n", "no line below the header"),
        ("d.plot", PLOTS.replace("9 9 9", "9 9"), "line 3 | 2 | 'd'"),
        ("d.plot", PLOTS.replace("9 9 9", "9 nan 9"), "line 3 | NaN | 'd' | infinity"),
        ("d.plot", PLOTS.replace("9 9 9", "9 -1e20 9"), "line 3 | above 1e+12 | 'd'"),
        ("d.plot", "item_id:token\tplot:float_seq\na\t1e-12 0\n", "d.plot | 1.0e-12 | multiply them by 1e+12"),
        ("d.plot", PLOTS.replace("9 9 9", "9 x 9"), "line 3: could not convert"),
        ("d.plot", PLOTS.replace("d\t", "a\t"), "id 'a' occurs twice"),
        ("d.plot", "item_id:token\tplot:float_seq\n", "no vector in the file"),
    ],
)
def test_malformed_files_are_named_with_line_and_expectation(folder, name, text, message):
    (folder / name).write_text(text)
    with pytest.raises(DataError, match=naming(message)):
        load(folder)


@pytest.mark.parametrize("name, declared", [("d.item", {"year": "number"}), ("d.plot", {"plot": "vector"})])
@pytest.mark.parametrize("tokens", [["1", "2"], [" a", "b "]])
def test_ids_that_are_none_of_the_interactions(folder, name, declared, tokens):
    with pytest.raises(DataError, match=naming(f"{name} | 3 ids | 'a' | 2 with interactions | {tokens[-1]!r}")):
        load(folder, {"item": declared}, ["[PAD]", *tokens])


def test_not_utf8(folder):
    (folder / "d.item").write_bytes(ITEMS.encode().replace(b"red", b"r\xe9d"))
    with pytest.raises(DataError, match="not UTF-8"):
        read_atomic(folder / "d.item")


@pytest.mark.parametrize("missing, message", [("d.item", "d.item: no such file"), ("d.plot", "d.plot: no such file")])
def test_absent_files(folder, missing, message):
    (folder / missing).unlink()
    with pytest.raises(DataError, match=naming(message)):
        load(folder)


@pytest.mark.parametrize(
    "declared, message",
    [
        ({"item": {"genres": "tag"}}, "modalities.item.genres"),
        ({"itms": {}}, "Did you mean 'item'"),
        (["genres"], "expected {user"),
        ({"item": {"interactions": "vector"}}, "undeclared"),
    ],
)
def test_malformed_declarations(declared, message):
    with pytest.raises(OptionError, match=naming(message)):
        parse_declarations(declared, "item")


@pytest.mark.parametrize("declared", [{"item_id": "category"}, {"code": {"kind": "tags", "field": "item_id"}}])
def test_ids_are_no_modality(folder, declared):
    with pytest.raises(DataError, match=naming("d.item | 'item_id' | ids | modalities.item")):
        load(folder, {"item": declared})


def test_unknown_modality_is_named(folder):
    with pytest.raises(OptionError, match=naming("'genre' | 'genres'")):
        load(folder).select(["genre"])


def test_of_several_that_read_a_vector_file_first_one_makes_the_copy(tmp_path, monkeypatch):
    path, parsed, parse = tmp_path / "x.plot", [], vectors._parse
    path.write_text("item_id:token\tplot:float_seq\n" + "".join(f"i{row}\t{row} 1\n" for row in range(300)))

    def slowly(*arguments):
        parsed.append(1)
        time.sleep(0.2)
        return parse(*arguments)

    monkeypatch.setattr(vectors, "_parse", slowly)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: vectors.read_vectors(path), range(4)))
    assert len(parsed) == 1 and all((values[:, 0] == np.arange(300)).all() for _, values in found)
