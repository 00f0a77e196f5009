"""What RecBole's own users meet first: files without declarations, one option alone, a text in place of a number."""

import re

import pytest
import yaml
from conftest import naming

from recbole_sibrar.cli import main
from recbole_sibrar.errors import DataError, OptionError
from recbole_sibrar.recbole_plugin.prepared import make_config
from recbole_sibrar.recbole_plugin.run import run


@pytest.fixture
def undeclared(tiny):
    (tiny.folder / "tiny" / "tiny.yaml").unlink()
    return tiny


def test_undeclared_modalities_are_guessed_and_printed_to_paste(undeclared, capsys):
    options = undeclared.options(scenario="item_cold", single_branch="both", epochs=1)
    guessed = run("SiBraR", "tiny", None, {**options, "run_name": "guessed"})
    said = capsys.readouterr().out
    block = yaml.safe_load(said[said.index("modalities:\n") :])
    assert block["modalities"] == {
        "user": {"gender": "category", "age": "number"},
        "item": {"genres": "tags", "year": "number", "picture": "vector"},
    }
    assert "tiny.yaml declares no modalities; these are guessed" in said
    (undeclared.folder / "tiny" / "tiny.yaml").write_text(yaml.safe_dump(block, sort_keys=False))
    pasted = run("SiBraR", "tiny", None, {**options, "run_name": "pasted"})
    assert pasted.test_result == guessed.test_result and pasted.config == {**guessed.config, **_places(pasted)}
    assert "guessed" not in capsys.readouterr().out


def _places(result):
    return {name: result.config[name] for name in ("run_name", "checkpoint_dir")}


def test_guesses_follow_the_header_and_the_cells(undeclared, capsys):
    rows = [
        f"i{n}\tThe thing {n}\t{'AB'[n % 2]}\t{n % 9}\t{'N/A' if n == 4 else n}\tword{n}\t1 2" for n in range(1, 31)
    ]
    header = "item_id:token\ttitle:token\tbrand:token\tcode:token\tsize:float\tid:token\tv:float_seq"
    undeclared.file("item", header, rows)
    modalities = make_config("SiBraR", "tiny", None, undeclared.options())["modalities"]
    assert modalities["item"] == {
        "brand": "category", "code": "number", "size": {"kind": "number", "missing": ["N/A"]}, "picture": "vector"
    }  # fmt: skip
    assert re.search("# not read.*: title of items, v of items\n", capsys.readouterr().out)
    assert make_config("BPR", "tiny", None, undeclared.options(scenario="warm"))["modalities"] is None


def test_columns_that_recbole_would_not_load_are_no_guesses(undeclared):
    columns = {"inter": ["user_id", "item_id"], "item": ["item_id", "genres"]}
    loaded = make_config("SiBraR", "tiny", None, undeclared.options(load_col=columns))["modalities"]
    assert loaded == {"user": {"gender": "category", "age": "number"}, "item": {"genres": "tags", "picture": "vector"}}
    unloaded = make_config("SiBraR", "tiny", None, undeclared.options(unload_col={"user": ["age"]}))["modalities"]
    assert list(unloaded["user"]) == ["gender"] and list(unloaded["item"]) == ["genres", "year", "picture"]


def test_tags_with_another_separator_are_guessed_and_told_of_it(undeclared):
    rows = [f"i{n}\tt{n % 5}|t{n % 7}|t{n % 6}\tthe number {n}, said" for n in range(1, 31)]
    undeclared.file("item", "item_id:token\tgenres:token_seq\ttitle:token", rows)
    with pytest.warns(UserWarning, match=naming("genres | no cell holds ' ' | '|'")):
        result = run("ContentRidge", "tiny", None, undeclared.options(scenario="item_cold"))
    assert result.modalities["item"] == ["genres", "picture"]


def test_a_run_says_first_how_many_have_what(tiny, capsys):
    options = {**tiny.options(), "show_progress": True, "single_branch": "both", "epochs": 1}
    assert (
        main(["run", "--model=SiBraR", "--dataset=tiny", *(f"--{name}={value}" for name, value in options.items())])
        == 0
    )
    said = capsys.readouterr().out
    assert "\n  users with gender: 39, age: 40\n  items with genres: 29, year: 20, picture: 29\n" in said


def test_a_run_says_what_it_does_not_read(tiny, capsys):
    item_cold = tiny.options(scenario="item_cold", epochs=1, show_progress=True)
    told = "\n  not read of users: gender, age; --single_branch=both reads them\n"
    for model, own, expected in (
        ("SiBraR", {}, told), ("SiBraR", {"single_branch": "both"}, ""), ("SiBraR", {"item_modalities": ["genres"]},
         f"{told}  not read of items: year, picture; --single_branch=both"), ("ContentRidge", {}, told.split(";")[0]),
        ("Pop", {}, ""),
    ):  # fmt: skip
        arguments = {**item_cold, **own, "run_name": "again"}
        assert main(["run", f"--model={model}", "--dataset=tiny", *(f"--{n}={v}" for n, v in arguments.items())]) == 0
        said = capsys.readouterr().out
        assert expected in said and ("not read" in said) == bool(expected)


@pytest.mark.parametrize("normalized", [[], ["--normalize_all=True"]])
def test_a_run_says_that_ratings_of_zero_count(tiny, normalized, capsys):
    path = tiny.folder / "tiny" / "tiny.inter"
    header, *rows = path.read_text().splitlines()
    rated = [f"{row}\t{min(number, 5) - 3}" for number, row in enumerate(rows)]  # -3 to 0 in the first four
    path.write_text("\n".join([f"{header}\trating:float", *rated, ""]))
    options = {**tiny.options(), "show_progress": True, "run_name": "again"}
    command = ["run", "--model=Pop", "--dataset=tiny", *(f"--{name}={value}" for name, value in options.items())]
    assert main([*command, *normalized]) == 0
    said = capsys.readouterr().out
    assert f"\n  4 of {len(rows):,} interactions have a rating of 0 or less, and count as the others do; " in said
    assert "--val_interval=\"{rating: '(0,inf)'}\" leaves them out\n" in said
    assert main([*command, *normalized, "--val_interval={rating: '(0,inf)'}"]) == 0
    assert "0 or less" not in capsys.readouterr().out


def test_what_is_declared_is_not_guessed_about(tiny, capsys):
    (tiny.folder / "tiny" / "tiny.yaml").write_text("modalities: {item: {genres: tags}}\n")
    assert make_config("SiBraR", "tiny", None, tiny.options())["modalities"] == {"item": {"genres": "tags"}}
    assert not capsys.readouterr().out


@pytest.mark.parametrize(
    "options, expected",
    [
        ({"topk": 5}, "NDCG@5"),
        ({"topk": [5, 20]}, "NDCG@5"),
        ({"topk": [5, 10]}, "NDCG@10"),
        ({"topk": 5, "valid_metric": "Recall@5"}, "Recall@5"),
        ({}, "NDCG@10"),
    ],
)
def test_topk_alone_is_enough(tiny, options, expected):
    given = {name: value for name, value in tiny.options().items() if name not in ("topk", "valid_metric")}
    assert make_config("SiBraR", "tiny", None, {**given, **options})["valid_metric"] == expected


def test_topk_alone_on_the_command_line(tiny, capsys):
    options = [f"--data_path={tiny.folder}", "--epochs=1", "--show_progress=False", "--state=ERROR"]
    assert main(["run", "--model=ContentRidge", "--dataset=tiny", "--scenario=item_cold", "--topk=5", *options]) == 0
    assert "ndcg@5" in capsys.readouterr().out


def test_a_text_in_a_column_of_numbers_gets_the_declaration_that_reads_it(tiny):
    path, declared = tiny.folder / "tiny" / "tiny.item", tiny.folder / "tiny" / "tiny.yaml"
    path.write_text(path.read_text().replace("\t1995\n", "\tsoon\n").replace("\t1997\n", "\tlater\n"))
    declared.write_text("modalities: {item: {since: {kind: number, field: year, missing: [later]}}}\n")
    with pytest.raises(DataError, match="line 6: 'soon' in column 'year'") as error:
        run("SiBraR", "tiny", None, tiny.options(scenario="item_cold"))
    advised = yaml.safe_load(re.search(r"\{since.*\}", str(error.value))[0])
    assert advised == {"since": {"kind": "number", "field": "year", "missing": ["later", "soon"]}}
    declared.write_text(yaml.safe_dump({"modalities": {"item": advised}}))
    assert run("SiBraR", "tiny", None, tiny.options(scenario="item_cold", epochs=1)).modalities["item"][1] == "since"


def test_wandb_that_is_not_there_is_a_sentence(tiny, monkeypatch):
    monkeypatch.setattr("recbole_sibrar.recbole_plugin.rules.find_spec", lambda name: None)
    with pytest.raises(OptionError, match=naming("log_wandb | True | pip install")):
        make_config("SiBraR", "tiny", None, tiny.options(log_wandb=True))
