"""Small raw files of each corpus in its true format, with results computed by hand."""

import bz2
import errno
import gzip
import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import names
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recbole_sibrar.cli import main
from recbole_sibrar.convert import encoders, onion
from recbole_sibrar.data.vectors import read_vectors
from recbole_sibrar.kinds.reading import load_modalities, parse_declarations
from recbole_sibrar.properties import read_property_file

EVENTS = """user_id\ttrack_id\ttimestamp
1\tAAA\t2018-01-01 00:00:00
1\tAAA\t2018-12-31 23:59:59
1\tBBB\t2018-03-01 00:00:00
1\tBBB\t2017-03-01 00:00:00
2\tAAA\t2018-03-01 00:00:00
2\tAAA\t2018-03-02 00:00:00
2\tAAA\t2018-03-03 00:00:00
2\tCCC\t2018-03-01 00:00:00
2\tCCC\t2018-03-01 00:00:00
3\tCCC\t2018-03-01 00:00:00
3\tCCC\t2018-05-01 00:00:00
3\tDDD\t2018-05-01 00:00:00
3\tDDD\t2018-05-01 00:00:00
"""
USERS = (
    "user_id\tcountry\tage\tgender\tcreation_time\n1\tAT\t30\tm\tx\n2\tUS\t-1\tf\tx\n3\t\t22\tn\tx\n4\tDE\t1\tf\tx\n"
)
GENRES = "id\tgenres\nAAA\trock,soft rock\nCCC\tpop\nZZZ\tjazz\nDDD\t\n"
LYRICS = "ID\t0\t1\nAAA\t0.1\t-2\nCCC\t1e-3\t4\nZZZ\t5\t6\n"


@pytest.fixture
def raw(tmp_path):
    folder = tmp_path / "raw"
    folder.mkdir()
    files = {"userid_trackid_timestamp": EVENTS, "id_genres": GENRES, "id_lyrics_bert": LYRICS}
    for name, text in files.items():
        (folder / f"{name}.tsv.bz2").write_bytes(bz2.compress(text.encode()))
    (folder / "users.tsv").write_text(USERS)
    return folder


def convert(corpus, raw, *arguments):
    return main(["convert", corpus, "--raw", str(raw), "--output", "out", "--k-core", "0", *arguments])


def rows(name, suffix):
    return Path(f"out/{name}/{name}.{suffix}").read_text(encoding="utf-8").splitlines()


def test_onion_by_hand(raw, capsys):
    assert convert("onion", raw, "--require") == 0
    assert rows("onion", "inter") == [
        "user_id:token\titem_id:token\tplays:float", "1\tAAA\t2", "2\tAAA\t3", "2\tCCC\t2", "3\tCCC\t2", "3\tDDD\t2"
    ]  # fmt: skip
    assert rows("onion", "user") == [
        "user_id:token\tgender:token\tcountry:token\tage:float", "1\tm\tAT\t30.0", "2\tf\tUS\t", "3\t\t\t22.0"
    ]  # fmt: skip
    assert rows("onion", "item") == ["item_id:token\tgenres:token_seq", "AAA\trock soft_rock", "CCC\tpop", "DDD\t"]
    assert [line.split("\t")[0] for line in rows("onion", "lyrics")] == ["item_id:token", "AAA", "CCC"]
    modalities = read_property_file("out/onion/onion.yaml")["modalities"]
    assert modalities == {
        "user": {"gender": "category", "country": "category", "age": "number"},
        "item": {"genres": "tags", "lyrics": "vector"},
    }
    record = json.loads(Path("out/onion/conversion.json").read_text())
    assert [step["interactions"] for step in record["steps"][:2]] == [6, 5]
    assert len(record["inputs"]) == 4 and record["shape"]["genres"] == 3
    captured = capsys.readouterr()
    assert "13 events (dropped 1 of other years)" in captured.out
    assert "13,610" in captured.out and "warning: users, items" in captured.err


def test_onion_with_the_papers_filters(raw):
    assert convert("onion", raw) == 0
    assert rows("onion", "inter")[1:] == ["1\tAAA\t2", "2\tAAA\t3", "2\tCCC\t2"]
    assert convert("onion", raw, "--year", "2017", "--min-plays", "1", "--require") == 2  # BBB has no vector
    assert convert("onion", raw, "--year", "2017", "--min-plays", "1", "--require", "--features") == 0
    assert rows("onion", "inter")[1:] == ["1\tBBB\t1"]


WIDE = {"musicnn": "id_musicnn", "ivec256": "id_ivec256", "jukebox": "id_jukebox", "image": "id_resnet"}


def test_onion_with_paper(raw, capsys):
    """Five users and tracks with all features, and others that lack one thing each."""
    users = {"u1": 30, "u2": 10, "u3": 80, "u4": 22, "u5": 40, "young": 9, "old": 81, "ageless": -1}
    lines = [f"{name}\tAT\t{age}\tf\tx\n" for name, age in users.items()]
    lines += ["nowhere\t\t30\tf\tx\n", "neither\tAT\t30\tn\tx\n"]
    (raw / "users.tsv").write_text("user_id\tcountry\tage\tgender\tcreation_time\n" + "".join(lines))
    everyone, tracks = [*users, "nowhere", "neither"], ["t1", "t2", "t3", "t4", "t5", "mute", "once", "rare"]
    pairs = [(user, track) for user in everyone for track in tracks if track != "rare"] + [("u1", "rare")]
    events = [f"{u}\t{t}\t2018-0{n}-01 00:00:00\n" for u, t in pairs for n in ((1, 2) if t != "once" else (1,))]
    header = "user_id\ttrack_id\ttimestamp\n"
    (raw / "userid_trackid_timestamp.tsv.bz2").write_bytes(bz2.compress((header + "".join(events)).encode()))
    (raw / "id_genres.tsv.bz2").write_bytes(
        bz2.compress(("id\tgenres\n" + "".join(f"{t}\trock\n" for t in tracks)).encode())
    )
    table = "id\ta\n" + "".join(f"{track}\t0.5\n" for track in tracks)
    (raw / "id_lyrics_bert.tsv.bz2").write_bytes(bz2.compress(table.encode()))
    for feature, file in WIDE.items():
        assert main(["convert", "onion", "--raw", str(raw), "--output", "out", "--paper"]) == 2
        assert f"{file}.tsv: no such file, but tracks are to have {feature}" in capsys.readouterr().err
        (raw / f"{file}.tsv").write_text(table.replace("mute\t0.5\n", "") if feature == "image" else table)
    assert main(["convert", "onion", "--raw", str(raw), "--output", "out", "--paper"]) == 0
    kept = {tuple(line.split("\t")[:2]) for line in rows("onion", "inter")[1:]}
    assert kept == {(f"u{user}", f"t{track}") for user in range(1, 6) for track in range(1, 6)}
    captured = capsys.readouterr()
    assert f"{len(events):,} events (dropped 0 of other years)" in captured.out
    assert "check that the downloads are complete" in captured.err
    (raw / "users.tsv").unlink()
    assert main(["convert", "onion", "--raw", str(raw), "--output", "out", "--paper"]) == 2
    assert "users.tsv: no such file; LFM-2b's users say who is of age 10 to 80" in capsys.readouterr().err


def test_onion_counts_and_tf_idf(raw):
    (raw / "userid_trackid_count.tsv").write_text("user_id\ttrack_id\tcount\n1\tAAA\t7\n2\tCCC\t1\n2\tAAA\t2\n")
    (raw / "id_genres.tsv.bz2").unlink()
    (raw / "id_genres_tf-idf.tsv").write_text("id\trock\tsoft rock\nAAA\t0.0\t0.5\nCCC\t1\t0\n")
    assert convert("onion", raw, "--year", "0") == 0
    assert rows("onion", "inter")[1:] == ["1\tAAA\t7", "2\tAAA\t2"]
    assert rows("onion", "item")[1:] == ["AAA\tsoft_rock"]


@pytest.mark.parametrize(
    "cell, message", [("nan", None), ("", None), ("N/A", None), ("x", "line 3 | 'x'"), ("True", "line 3 | 'True'")]
)
def test_onion_genres_in_columns(raw, cell, message, capsys):
    (raw / "id_genres.tsv.bz2").unlink()
    (raw / "id_genres.tsv").write_text(f"id\trock\tsoft rock\nAAA\t0\t1\nCCC\t1\t{cell}\n")
    assert convert("onion", raw) == (2 if message else 0)
    if message:
        assert names(capsys.readouterr().err, f"id_genres.tsv | {message} | 'soft rock' | number")
    else:
        assert rows("onion", "item")[1:] == ["AAA\tsoft_rock", "CCC\trock"]


def test_blocks_do_not_change_the_counts(raw, monkeypatch):
    path = raw / "userid_trackid_timestamp.tsv.bz2"
    whole = onion.count_plays(path, 2018)
    monkeypatch.setattr("recbole_sibrar.data.lines.BLOCK_BYTES", 50)
    monkeypatch.setattr(onion.PairCounts, "MIN_MERGE", 1)
    pd.testing.assert_frame_equal(onion.count_plays(path, 2018), whole)


@pytest.mark.parametrize("half", [False, True])
def test_vectors_come_back(raw, half, monkeypatch):
    monkeypatch.setattr("recbole_sibrar.data.vectors.BLOCK_ROWS", 1)
    assert convert("onion", raw, *(["--float16"] if half else [])) == 0
    expected = np.array([[0.1, -2], [1e-3, 4]], "float16" if half else "float32")
    cached = read_vectors("out/onion/onion.lyrics")[1]
    assert cached.dtype == expected.dtype and (cached == expected).all()
    cache = Path("out/onion/.onion.lyrics.cache/source.json")
    cache.write_text("{}")  # stale: the text is parsed
    assert (read_vectors("out/onion/onion.lyrics")[1] == expected.astype("float32")).all()
    declared = parse_declarations({"item": {"lyrics": "vector"}}, "item")
    loaded = load_modalities("out/onion", "onion", "item", "item_id", ["[PAD]", "CCC", "AAA"], declared).entries[0]
    assert (loaded.values[1:].numpy() == expected[::-1].astype("float32")).all()


REVIEWS = [
    ("u1", "a", 5, "2016-01-01", True),
    ("u1", "a", 1, "2017-01-01", True),  # the second of this pair
    ("u1", "b", 4, "2019-12-31", True),
    ("u2", "a", 3, "2018-06-01", True),
    ("u2", "b", 3, "2018-06-01", False),  # unverified
    ("u2", "c", 3, "2018-06-01", True),  # without a picture
    ("u3", "b", 2, "2015-12-31", True),  # too early
    ("u3", "a", 2, "2020-01-01", True),  # too late
]


def write_amazon(folder, edition, suffix=""):
    folder.mkdir(exist_ok=True)
    opener = {"": open, ".gz": gzip.open, ".bz2": bz2.open}[suffix]
    stamps = [int(pd.Timestamp(day, tz="UTC").timestamp()) for _, _, _, day, _ in REVIEWS]
    if edition == 2023:
        reviews = [
            {"user_id": u, "parent_asin": i, "rating": r, "timestamp": t * 1000 + 7, "verified_purchase": v}
            for (u, i, r, _, v), t in zip(REVIEWS, stamps)
        ]
        picture = {"images": [{"large": "http://x/large.jpg", "hi_res": None}]}
        names, key = ("Video_Games.jsonl", "meta_Video_Games.jsonl"), "parent_asin"
    else:
        reviews = [
            {"reviewerID": u, "asin": i, "overall": r, "unixReviewTime": t, "verified": v}
            for (u, i, r, _, v), t in zip(REVIEWS, stamps)
        ]
        picture = {"imageURL": ["http://x/small.jpg"], "imageURLHighRes": ["http://x/large.jpg"]}
        names, key = ("Video_Games_5.json", "meta_Video_Games.json"), "asin"
    meta = [
        {key: "a", "title": "Game\tA", "description": ["One.", "Two\n"], **picture},
        {key: "b", "title": "Game B", "description": ["Three"], **picture},
        {key: "a", "title": "again", "description": [], **picture},
        {key: "c", "title": "Game C", "description": ["Four"]},
    ]
    for name, objects in zip(names, (reviews, meta)):
        with opener(folder / f"{name}{suffix}", "wt") as file:
            file.write("".join(json.dumps(item) + "\n" for item in objects))
    return folder


@pytest.mark.parametrize("edition, suffix", [(2023, ".gz"), (2023, ""), (2018, ".gz"), (2018, ".bz2")])
def test_amazon_by_hand(tmp_path, edition, suffix, capsys):
    raw = write_amazon(tmp_path / "amazon", edition, suffix)
    np.savez(raw / "text.npz", ids=["b", "a"], values=np.array([[1, 2], [3, 4]], "float32"))
    assert convert("amazon-vg", raw, "--item-vectors", "text=text.npz") == 0
    kept = sorted(line.split("\t")[:3] for line in rows("amazon-vg", "inter")[1:])
    assert kept == [["u1", "a", "5.0"], ["u1", "b", "4.0"], ["u2", "a", "3.0"]]
    told = "8 reviews (dropped 1 that are no verified purchase, then 2 of other years)"
    assert told in capsys.readouterr().out
    assert rows("amazon-vg", "item")[1:] == ["a\tGame A\tOne. Two\thttp://x/large.jpg", *rows("amazon-vg", "item")[2:]]
    assert [line.split("\t")[0] for line in rows("amazon-vg", "text")[1:]] == ["b", "a"]


def test_amazon_with_paper(tmp_path, capsys):
    """Five users and games that are whole, and others that lack one thing each."""
    raw = tmp_path / "amazon"
    raw.mkdir()
    games = {game: {"title": game, "description": ["Long."], "images": [{"large": "x"}]} for game in ["g1", "g2", "g3"]}
    games |= {game: {"title": game, "description": "Short.", "images": ["y"]} for game in ["g4", "g5"]}
    games["untold"] = {"title": "untold", "description": [], "images": ["y"]}
    games["unseen"] = {"title": "unseen", "description": "Short.", "images": []}
    games["unnamed"] = {"title": "", "description": "Short.", "images": ["y"]}
    games["rare"] = games["g1"]
    pairs = [(f"u{n}", game, True, "2016-01-01") for n in range(1, 6) for game in games if game != "rare"]
    pairs += [("u1", "rare", True, "2019-12-31")] + [("unsure", game, game != "g1", "2017-01-01") for game in games]
    pairs = [pair for pair in pairs if pair[:2] != ("unsure", "rare")]
    pairs += [("late", game, True, "2020-01-01") for game in games]
    reviews = [
        {
            "user_id": u,
            "parent_asin": g,
            "rating": 5,
            "timestamp": pd.Timestamp(t).value // 10**6,
            "verified_purchase": v,
        }
        for u, g, v, t in pairs
    ]
    meta = [{"parent_asin": game, **values} for game, values in games.items()]
    for name, objects in (("Video_Games.jsonl", reviews), ("meta_Video_Games.jsonl", meta)):
        (raw / name).write_text("".join(json.dumps(entry) + "\n" for entry in objects))
    for name in ("title", "description"):
        np.savez(raw / f"{name}.npz", ids=list(games), values=np.ones((len(games), 3), "float32"))
    vectors = ["--item-vectors", "title=title.npz", "description=description.npz"]
    command = ["convert", "amazon-vg", "--raw", str(raw), "--output", "out", "--paper"]
    assert main([*command, *vectors]) == 0
    kept = {tuple(line.split("\t")[:2]) for line in rows("amazon-vg", "inter")[1:]}
    assert kept == {(f"u{user}", f"g{game}") for user in range(1, 6) for game in range(1, 6)}
    modalities = read_property_file("out/amazon-vg/amazon-vg.yaml")["modalities"]["item"]
    assert modalities == {"title": "vector", "description": "vector"}
    assert rows("amazon-vg", "item")[0] == "item_id:token\timage_url:token_seq"
    assert main([*command, "--unverified"]) == 2
    assert "--unverified contradicts --paper, which stands for without --unverified" in capsys.readouterr().err


def test_amazon_titles_and_descriptions_are_encoded_apart(tmp_path, monkeypatch):
    raw = write_amazon(tmp_path / "amazon", 2023)
    read = []

    def load(_):
        return lambda texts: read.extend(texts) or np.array([[len(text)] for text in texts], "float32")

    monkeypatch.setitem(encoders.LOADERS, "text", load)
    assert convert("amazon-vg", raw, "--encode", "title=text", "description=text", "text=text") == 0
    assert read == ["Game A", "Game B", "One. Two", "Three", "Game A One. Two", "Game B Three"]
    assert [line.split("\t") for line in rows("amazon-vg", "description")[1:]] == [["a", "8"], ["b", "5"]]


def test_amazon_options(tmp_path):
    raw = write_amazon(tmp_path / "amazon", 2023)
    assert convert("amazon-vg", raw, "--unverified", "--years", "2015", "2020", "--require") == 0
    assert len(rows("amazon-vg", "inter")) == 1 + 7


@pytest.mark.parametrize(
    "images, address",
    [
        ([None], ""),
        (None, ""),
        ([], ""),
        ({}, ""),
        ({"hi_res": [None], "large": [None]}, ""),
        ({"hi_res": [None, "second"], "large": ["first", "other"]}, "first"),
        ({"hi_res": [None, "second"], "large": [None, "other"], "variant": ["MAIN", "PT01"]}, "second"),
        ({"hi_res": [], "large": ["first"]}, "first"),
        ({"hi_res": None, "large": "first"}, "first"),
        ([None, {"hi_res": None, "large": None}, {"thumb": "small"}], "small"),
        ([{"hi_res": "", "large": "first"}, "second"], "first"),
        (["first", "second"], "first"),
        ("first", "first"),
        ([["first"], 3, {"hi_res": 3}], ""),
    ],
)
def test_amazon_pictures_in_all_forms(tmp_path, images, address):
    raw = write_amazon(tmp_path / "amazon", 2023)
    meta = [{"parent_asin": item, "title": "T", "description": "text", "images": images} for item in "abc"]
    (raw / "meta_Video_Games.jsonl").write_text("".join(json.dumps(item) + "\n" for item in meta))
    assert convert("amazon-vg", raw, "--require") == 0
    assert rows("amazon-vg", "item")[1] == f"a\tT\ttext\t{address}"


@pytest.fixture
def shop(tmp_path):
    (tmp_path / "orders.csv").write_text("buyer,product,rating\n1,x,5\n1,y,2\n2,x,4\n2,z,4\n1,x,1\n")
    (tmp_path / "products.csv").write_text(
        'product,tags,price,maker,about\nx,red|very big,1.5,A,"Says ""hi"", twice"\ny,red,,A,long\nz,,3,B,other\n'
    )
    (tmp_path / "buyers.tsv").write_text("buyer\tage\n1\t30\n2\t\n")
    np.save(tmp_path / "text.npy", np.array([[1.5, 2], [3, 4]], "float32"))
    (tmp_path / "text.ids.txt").write_text("z\nx\n")
    np.savez(tmp_path / "face.npz", ids=["2"], values=np.ones((1, 3), "float32"))
    return tmp_path


def table(*arguments):
    words = ["convert", "table", "--name", "shop", "--output", "out", "--user-column", "buyer", "--item-column"]
    return main([*words, "product", "--interactions", "orders.csv", *arguments])


def test_a_table_by_hand(shop, capsys):
    files = [
        "--items",
        "products.csv",
        "--item-modalities",
        "maker=category",
        "--users",
        "buyers.tsv",
        "--item-vectors",
        "text=text.npy",
    ]
    assert table(*files, "--user-vectors", "face=face.npz", "--min", "rating=2") == 0
    assert rows("shop", "inter") == [
        "user_id:token\titem_id:token\trating:float", "1\tx\t5", "1\ty\t2", "2\tx\t4", "2\tz\t4"
    ]  # fmt: skip
    assert rows("shop", "item") == [
        "item_id:token\ttags:token_seq\tprice:float\tmaker:token\tabout:token_seq",
        'x\tred very_big\t1.5\tA\tSays "hi", twice', "y\tred\t\tA\tlong", "z\t\t3.0\tB\tother",
    ]  # fmt: skip
    assert rows("shop", "user") == ["user_id:token\tage:float", "1\t30.0", "2\t"]
    assert rows("shop", "text") == ["item_id:token\ttext:float_seq", "z\t1.5 2", "x\t3 4"]
    assert rows("shop", "face")[0] == "user_id:token\tface:float_seq"
    assert read_property_file("out/shop/shop.yaml")["modalities"] == {
        "user": {"age": "number", "face": "vector"},
        "item": {"tags": "tags", "price": "number", "maker": "category", "text": "vector"},
    }
    assert "not 'y'" in capsys.readouterr().out
    assert (
        table("--items", "products.csv", "--item-modalities", "maker=tags", "about=category", "--require", "tags") == 0
    )
    assert [line.split("\t")[1] for line in rows("shop", "inter")[1:]] == ["x", "y", "x"]
    assert read_property_file("out/shop/shop.yaml")["modalities"]["item"]["about"] == "category"


@pytest.mark.parametrize("suffix", [".tsv", ".csv.gz", ".tsv.bz2", ".json", ".jsonl.bz2", ".parquet"])
def test_formats_of_tables(shop, suffix):
    frame = pd.read_csv("products.csv")
    path = f"products{suffix}"
    if suffix == ".parquet":
        frame.to_parquet(path)
    elif "json" in suffix:
        frame.to_json(path, orient="records", lines=True)
    else:
        frame.to_csv(path, sep="\t" if "tsv" in suffix else ",", index=False)
    assert table("--items", path) == 0
    assert rows("shop", "item")[1] == 'x\tred very_big\t1.5\tA\tSays "hi", twice'


def cut(path):
    path.write_bytes(path.read_bytes()[:-20])


def edit(old, new):
    def change(path):
        data = bz2.decompress(path.read_bytes()).replace(old.encode(), new if isinstance(new, bytes) else new.encode())
        path.write_bytes(bz2.compress(data))

    return change


@pytest.mark.parametrize(
    "name, change, message",
    [
        ("userid_trackid_timestamp", cut, "line 1 | cut off"),
        ("userid_trackid_timestamp", lambda p: p.write_bytes(b"plain text"), "damaged or cut off"),
        ("userid_trackid_timestamp", lambda p: p.write_bytes(bz2.compress(b"")), "the file is empty"),
        ("userid_trackid_timestamp", lambda p: p.unlink(), "Zenodo | no such file"),
        ("userid_trackid_timestamp", edit("1\tBBB\t2018", "1\tBBB 2018"), "line 4 | 2 | 3 | cells"),
        ("userid_trackid_timestamp", edit("1\tBBB\t2018", "1\tBBB\t\t2018"), "line 4 | 3 | cells"),
        ("userid_trackid_timestamp", edit("2018-12-31", "31.12.2018"), "line 3 | '31.12.2018 23:59:59'"),
        ("userid_trackid_timestamp", edit("track_id", "song"), "no column 'track_id'"),
        ("userid_trackid_timestamp", edit("2\tAAA\t2018-03-02", b"2\tA\xe9\t2018-03-02"), "line 7: not UTF-8"),
        ("id_lyrics_bert", edit("-2", "nan"), "line 2 | NaN | 'AAA' | infinity"),
        ("id_lyrics_bert", edit("-2", "1e99"), "line 2 | NaN | 'AAA' | infinity"),
        ("id_lyrics_bert", edit("-2", "x"), "line 2 | 'x'"),
        ("id_lyrics_bert", edit("CCC\t1e-3\t4", "CCC\t1"), "line 3 | 2 | cells"),
        ("id_lyrics_bert", edit("CCC", "AAA"), "id 'AAA' occurs twice"),
        ("id_lyrics_bert", edit("AAA", "XXX"), None),
        ("id_genres", edit("CCC", "AAA"), "line 3 | 'AAA' | twice"),
    ],
)
def test_malformed_onion(raw, capsys, name, change, message):
    assert convert("onion", raw) == 0
    before = rows("onion", "inter")
    capsys.readouterr()
    change(raw / f"{name}.tsv.bz2")
    code, error = convert("onion", raw), capsys.readouterr().err
    if message is None:
        assert code == 0
        return
    assert code == 2 and names(error, message) and "Traceback" not in error
    assert rows("onion", "inter") == before and os.listdir("out") == ["onion"]


REVIEW = '{"user_id": "u", "parent_asin": "a", "rating": 5, "timestamp": 1, "verified_purchase": true}\n'


@pytest.mark.parametrize(
    "text, message",
    [
        ("{broken\n", "line 1 | JSON"),
        ("[1]\n", "entry 1: int, expected a list of objects"),
        ('{"user_id": "u"}\n', "line 1 | 'parent_asin'"),
        ('{"user_id": "u", "parent_asin": "a", "rating": "x", "timestamp": 1, "verified_purchase": true}\n', "'x'"),
        (REVIEW.replace("1", "NaN"), "nan"),
        (REVIEW.replace("true", '"false"'), "'false' | number"),
        ("", "the file is empty"),
    ],
)
def test_malformed_amazon(tmp_path, capsys, text, message):
    raw = write_amazon(tmp_path / "amazon", 2023)
    (raw / "Video_Games.jsonl").write_text(text)
    assert convert("amazon-vg", raw) == 2
    assert names(capsys.readouterr().err, message) and not os.path.exists("out/amazon-vg")


@pytest.mark.parametrize(
    "file, text, message",
    [
        ("orders.csv", "buyer,product\n1,x,3\n", "line 2 | 3 | cells"),
        ("orders.csv", 'buyer,product\n"1",x\n"2"\n', "line 3 | 1 | 2 | cells"),
        ("orders.csv", 'buyer,product\n"1,x\n', "check the quotes"),
        ("orders.csv", "buyer,product\n1,\n", "line 2 | item_id | empty"),
        ("orders.csv", "buyer,item\n1,x\n", "no column 'product'"),
        ("orders.csv", "buyer,product\n", "no line below the header"),
        ("products.csv", "product,price\nx,1\nx,2\n", "line 3 | 'x' | twice"),
        ("products.csv", "product,a,a\nx,1,2\n", "'a' | twice"),
        ("products.csv", "product,price\nx,1\ny,inf\n", "line 3 | 'inf' | 'price' | finite"),
    ],
)
def test_malformed_tables(shop, capsys, file, text, message):
    (shop / file).write_text(text)
    assert table("--items", "products.csv") == 2
    error = capsys.readouterr().err
    assert names(error, message) and "Traceback" not in error and not os.path.exists("out/shop")


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--item-modalities", "tag=tags"], "Did you mean 'tags'"),
        (["--item-modalities", "tags=tag"], "unknown kind. Did you mean 'tags'"),
        (["--item-modalities", "price=number", "tags"], "name=kind | genres=tags"),
        (["--item-modalities", "maker=number"], "'A' | 'maker' | finite"),
        (["--item-vectors", "tags=text.npy"], "'tags' is taken"),
        (["--item-vectors", "face=face.npz"], "no vector belongs to any of the 3 items"),
        (["--item-vectors", "a=text.npy", "--user-vectors", "a=face.npz"], "'a' is taken"),
        (["--min", "rating=x"], "expected a number"),
        (["--min", "ratings=1"], "Did you mean 'rating'"),
        (["--users", "buyers.txt"], "buyers.txt | no such file"),
    ],
)
def test_wrong_options_of_a_table(shop, capsys, arguments, message):
    assert table("--items", "products.csv", *arguments) == 2
    assert names(capsys.readouterr().err, message)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.one_of(st.binary(max_size=80), st.text('buyer,product\n"1x\t|\r', max_size=60).map(str.encode)))
def test_any_bytes_give_one_message_or_a_data_set(shop, capsys, data):
    (shop / "products.csv").write_bytes(b"product,tags\n" + data)
    code = table("--items", "products.csv")
    captured = capsys.readouterr()
    assert code in (0, 2) and "Traceback" not in captured.err
    if code == 2:
        assert captured.err.count("recbole-sibrar: ") == 1
    assert not any(name.startswith(".shop") for name in os.listdir("out"))


def test_a_full_disk_leaves_the_old_output(raw, monkeypatch, capsys):
    assert convert("onion", raw) == 0
    before = rows("onion", "inter")

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    for place in ("recbole_sibrar.convert.atomic.write_cache", "pandas.DataFrame.to_csv"):
        with monkeypatch.context() as patch:
            patch.setattr(place, full)
            assert convert("onion", raw, "--require") == 2
        error = capsys.readouterr().err
        assert "No space left on device" in error and "What was there before is as it was" in error
        assert rows("onion", "inter") == before and os.listdir("out") == ["onion"]
