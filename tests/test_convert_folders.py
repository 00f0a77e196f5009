"""A conversion never destroys what it did not make, and leaves nothing behind that it did not finish."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from recbole_sibrar import files
from recbole_sibrar.cli import main
from recbole_sibrar.convert import atomic
from recbole_sibrar.files import atomic_directory, remove_unfinished

RAW = {
    "ml-1m": {
        "ratings.dat": "1::10::5::100\n2::10::4::300\n",
        "users.dat": "1::F::1::10::48067\n2::M::56::16::70072\n",
        "movies.dat": "10::Heat (1995)::Crime\n",
    },
    "onion": {"userid_trackid_timestamp.tsv": "user_id\ttrack_id\ttimestamp\n" + "1\tA\t2018-01-01 00:00:00\n" * 2},
    "amazon-vg": {
        "Video_Games.jsonl": json.dumps(
            {"user_id": "u", "parent_asin": "a", "rating": 5, "timestamp": 1_500_000_000_000, "verified_purchase": True}
        ),
        "meta_Video_Games.jsonl": json.dumps({"parent_asin": "a", "title": "A", "description": [], "images": []}),
    },
    "table": {"orders.csv": "user_id,item_id\n1,a\n2,a\n"},
}
OWN = {"ml-1m": [], "onion": ["--require"], "amazon-vg": ["--require"]}


@pytest.fixture(params=RAW)
def convert(request):
    Path("raw").mkdir()
    for name, text in RAW[request.param].items():
        Path("raw", name).write_text(text)
    source = ["--interactions", "raw/orders.csv"] if request.param == "table" else ["--raw", "raw"]
    options = ["--k-core", "0", *OWN.get(request.param, [])]
    return lambda name, output="out": main(
        ["convert", request.param, f"--name={name}", "--output", output, *source, *options]
    )


def everything(folder="."):
    return {str(path): path.read_bytes() if path.is_file() else None for path in Path(folder).rglob("*")}


def test_a_folder_that_no_conversion_made_is_left_alone(convert, capsys):
    Path("out/shop").mkdir(parents=True)
    Path("out/shop/thesis.txt").write_text("precious")
    for name in (".", "..", "", "../out", "shop", "shop/", "a/b", "/tmp/x", "a\tb", "a\n", ".shop", "-x", "x" * 101):
        before = everything()
        assert convert(name) == 2, name
        assert everything() == before
    assert "Traceback" not in capsys.readouterr().err
    Path("out/shop/conversion.json").write_text('{"a file of": "this name"}')
    before = everything()
    assert convert("shop") == 2 and everything() == before
    assert "out/shop was not made by a conversion, and is not replaced; choose another" in capsys.readouterr().err


def test_a_data_set_is_replaced_unless_it_holds_files_of_others(convert, capsys):
    assert convert("shop") == 0
    made = everything("out")
    Path("out/shop/shop.inter").write_text("edited")
    Path("out/shop/.shop.text.cache").mkdir()
    assert convert("shop") == 0 and everything("out") == made
    declared = Path("out/shop/shop.yaml")
    declared.write_text(declared.read_text() + "val_interval: {rating: '[3,inf)'}\n")
    before = everything()
    assert convert("shop") == 2 and everything() == before
    assert "shop.yaml was changed by hand, and is not replaced" in capsys.readouterr().err
    declared.unlink()
    assert convert("shop") == 0 and everything("out") == made
    Path("out/shop/shop.train.inter").write_text("my own split")
    before = everything()
    assert convert("shop") == 2 and everything() == before
    assert "holds 'shop.train.inter', which no conversion made" in capsys.readouterr().err


def test_a_data_set_of_an_earlier_version_is_replaced(convert):
    assert convert("shop") == 0
    path = Path("out/shop/conversion.json")
    path.write_text(
        json.dumps({name: value for name, value in json.loads(path.read_text()).items() if name != "files"})
    )
    assert convert("shop") == 0
    Path("out/shop/thesis.txt").touch()
    assert convert("shop") == 2


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text("abZ9._-+=/\\ \t\n\0~é東", max_size=8))
@example("2020")
def test_any_name_is_a_folder_of_its_own_or_an_error(tmp_path, name):
    """Nothing but ``out/<name>/`` is written."""
    os.chdir(tmp_path)
    Path("raw").mkdir(exist_ok=True)
    Path("raw/orders.csv").write_text(RAW["table"]["orders.csv"])
    before = everything()
    code = main(["convert", "table", f"--name={name}", "--interactions", "raw/orders.csv", "--output", "out"])
    new = {path for path in everything() if path not in before} - {"out"}
    assert code in (0, 2)
    assert all(Path(path).parts[:2] == ("out", name) for path in new)
    assert bool(new) == (code == 0) or name in os.listdir("out")


def killed(function, *arguments):
    """Call it in a process that ends inside, as kill -9 ends it: without any clearing up."""
    child = os.fork()
    if child == 0:
        try:
            function(*arguments)
        finally:
            os._exit(9)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


def content(folder):
    return {path.name: path.read_bytes() for path in Path(folder).glob("*") if path.is_file()}


def die(*_, **__):
    os._exit(9)


@pytest.mark.parametrize("exchange", [True, False])
@pytest.mark.parametrize("n_renames", range(4))
def test_a_killed_conversion_leaves_the_old_data_and_the_next_one_clears_up(monkeypatch, exchange, n_renames):
    """Killed while it writes, and before and after each renaming."""
    Path("orders.csv").write_text("user_id,item_id\n" + "".join(f"{u},{i}\n" for u in range(4) for i in range(4)))
    np.savez("v.npz", ids=np.arange(4).astype(str), values=np.ones((4, 2)))
    command = ["convert", "table", "--name", "shop", "--interactions", "orders.csv", "--output", "out"]
    assert main(command) == 0
    Path("out/.shop.notes").mkdir()  # no conversion made it
    old = content("out/shop")
    if not exchange:
        monkeypatch.setattr(files, "_exchange", lambda *_: False)
    new = [*command, "--item-vectors", "v=v.npz"]
    with monkeypatch.context() as patch:
        if n_renames == 0:
            patch.setattr(atomic, "write_vectors", die)
        else:
            original, calls = os.replace, []

            def replace(*paths):
                calls.append(paths)
                original(*paths) if len(calls) < n_renames else die()

            patch.setattr(os, "replace", replace)
            patch.setattr(files, "_remove", die)
        killed(main, new)
    kept = content("out/shop") or content("out/.shop.previous.unfinished")
    assert kept == old or {"shop.v", "conversion.json"} < set(kept)
    assert main(new) == 0
    assert sorted(os.listdir("out")) == [".shop.notes", "shop"] and Path("out/shop/shop.v").is_file()


def test_what_a_living_process_writes_is_no_leftover():
    with atomic_directory("a") as folder:
        remove_unfinished("a")
        (folder / "file").touch()
    assert os.listdir(".") == ["a"] and os.listdir("a") == ["file"]


def test_a_data_set_behind_a_link_keeps_what_is_behind(convert):
    assert convert("shop") == 0
    os.rename("out/shop", "elsewhere")
    os.symlink(os.path.abspath("elsewhere"), "out/shop")
    before = everything("elsewhere")
    assert convert("shop") == 0
    assert everything("elsewhere") == before and os.listdir("out") == ["shop"]
