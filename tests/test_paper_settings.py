"""The papers' settings and search spaces as data: beside what the authors have, and by name on the command line."""

from dataclasses import fields
from pathlib import Path

import pandas as pd
import pytest
import yaml
from conftest import naming

from recbole_sibrar import cli, properties
from recbole_sibrar.errors import OptionError
from recbole_sibrar.experiments import published
from recbole_sibrar.experiments.space import Space, named_space
from recbole_sibrar.experiments.tune import Study, check_space, without_idle
from recbole_sibrar.models import MODELS
from recbole_sibrar.properties import props_folder, read_layers
from recbole_sibrar.recbole_plugin.checks import check
from recbole_sibrar.recbole_plugin.prepared import make_config

NETWORKS = ("SiBraR", "MuBraR")
TABLES = [(d, s) for d in published.paper_datasets() for s in published.paper_scenarios(d)]
MODALITIES = {
    "ml-1m": {"item": {"genres", "plot"}, "user": {"age", "gender", "occupation"}},
    "onion": {
        "item": {"genres", "musicnn", "ivec256", "jukebox", "image", "lyrics"},
        "user": {"gender", "country"},
    },
    "amazon-vg": {"item": {"title", "description", "image"}, "user": set()},
}

FIXED = {
    "preset": "paper",
    "projection_size": 512,
    "activation": "relu",
    "activate_projections": "dense",
    "activate_input": False,
    "activate_output": True,
    "batch_norm": True,
    "normalize_input": True,
    "input_dropout": 0.02,
    "interaction_scaling": "raw",
    "interaction_dropout": 0.0,
    "tag_weighting": "mean",
    "plain_activation": "selu",
    "fusion": "mean",
    "rec_loss": "bpr",
    "modality_sampling": "fixed",
    "n_sampled_modalities": None,
    "contrastive_similarity": "inner",
    "contrastive_set": "negatives",
    "train_batch_size": 256,
}
"""Of the authors' larger networks, on every data set."""

OF_DATASET = {
    "ml-1m": {"plain_side": "interactions", "epochs": 50},
    "onion": {"plain_side": "interactions", "epochs": 50, "encoder_hidden_sizes": [512, 512, 512, 256, 256]},
    "amazon-vg": {
        "plain_side": "embedding",
        "epochs": 20,
        "encoder_hidden_sizes": [512, 512, 512],
        "item_modalities": ["interactions", "title"],
    },
}

BROAD = {
    "learning_rate": (1e-5, 1e-2),
    "weight_decay": (1e-6, 1e-2),
    "contrastive_weight": (1e-6, 1e-3),
    "temperature": (1e-3, 0.5),
}
RANGES = {
    "ml-1m": {**BROAD, "input_dropout": (1e-3, 0.3)},
    "onion": BROAD,
    "amazon-vg": {
        "learning_rate": (5e-5, 5e-4),
        "weight_decay": (1e-6, 1e-4),
        "contrastive_weight": (1e-5, 1e-4),
        "temperature": (1e-2, 0.5),
        "embedding_size": (500, 768),
    },
}
"""What the authors searched on a logarithmic scale, and widths."""
WARM_ML_1M = {"embedding_size": (128, 768)}
LAYERS = [[512] * 4, [512] * 3, [256] * 4, [256] * 3]
OF_MF = {"embedding_size": (64, 512), "learning_rate": (1e-5, 1e-2), "weight_decay": (1e-6, 1e-2)}
GUESSED = {
    "DMF": {"user_hidden_size_list", "item_hidden_size_list"},
    "CLCRec": {"content_weight", "swap_probability", "temperature"},
    "DropoutNet": {"preference_dropout"},
}
"""Options of models of whose search the authors' code says nothing."""


def space_of(model, dataset, scenario):
    return {parameter.name: parameter for parameter in named_space("paper", model, dataset, scenario).parameters}


def configured(model, dataset, scenario, **options):
    given = {**published.settings(dataset, scenario, model), **options}
    return make_config(model, dataset, options={**given, "scenario": scenario})


@pytest.mark.filterwarnings("ignore:.*but has an effect with variant=SC only")
@pytest.mark.parametrize("dataset, scenario", TABLES)
def test_every_setting_is_one_that_its_model_takes(dataset, scenario):
    for spec in published.paper_models().values():
        config = configured(spec.model, dataset, scenario, **spec.given)
        check(config)
        if spec.model not in ("Pop", "Random"):
            assert config["train_neg_sample_args"]["sample_num"] == 10
            assert (config["learner"], config["stopping_step"], config["valid_metric"]) == ("adamw", 5, "NDCG@10")


@pytest.mark.parametrize("dataset, scenario", TABLES)
def test_the_networks_are_the_authors(dataset, scenario):
    assert published.settings(dataset, scenario, "SiBraR") == published.settings(dataset, scenario, "MuBraR")
    config = configured("SiBraR", dataset, scenario)
    wanted = {**FIXED, **OF_DATASET[dataset]}
    assert {name: config[name] for name in wanted} == wanted
    assert config["single_branch"] == ("user" if scenario == "user_cold" else "item")
    for side, known in MODALITIES[dataset].items():
        assert set(config[f"{side}_modalities"] or ()) <= {"interactions", *known}


@pytest.mark.parametrize("dataset, scenario", TABLES)
def test_the_space_of_the_networks_is_the_authors(dataset, scenario):
    spaces = [space_of(model, dataset, scenario) for model in NETWORKS]
    assert spaces[0] == spaces[1]
    space, ranges = spaces[0], RANGES[dataset] | (WARM_ML_1M if (dataset, scenario) == ("ml-1m", "warm") else {})
    for name, bounds in ranges.items():
        found = space.pop(name)
        assert found.extremes == bounds
        assert found.kind == ("quniform" if name == "embedding_size" else "loguniform")
    if dataset == "ml-1m":
        assert list(space.pop("encoder_hidden_sizes").values) == LAYERS
    if (dataset, scenario) == ("ml-1m", "warm") or dataset == "onion":
        assert space.pop("plain_side").values == ("interactions", "embedding")
    choices = space.pop("item_modalities").values if "item_modalities" in space else ()
    assert not space and bool(choices) == (scenario != "user_cold" and dataset != "amazon-vg")
    for choice in choices:
        assert choice[0] == "interactions" and set(choice[1:]) <= MODALITIES[dataset]["item"]
    if dataset == "ml-1m" and choices:
        one_or_all = [["genres"], ["plot"], ["genres", "plot"]]
        assert [choice[1:] for choice in choices] == one_or_all


def test_the_settings_lie_in_the_spaces():
    for dataset, scenario in TABLES:
        for model in (*NETWORKS, "MF", *GUESSED):
            settings = published.settings(dataset, scenario, model)
            for name, parameter in space_of(model, dataset, scenario).items():
                if name not in settings:
                    assert name in GUESSED[model]
                elif parameter.kind == "choice":
                    assert settings[name] in parameter.values
                else:
                    low, high = parameter.extremes
                    assert low <= settings[name] <= high, (dataset, scenario, model, name)


def test_the_space_of_the_baselines_is_that_of_mf():
    for dataset, scenario in TABLES:
        for model in ("MF", *GUESSED):
            space = space_of(model, dataset, scenario)
            known = {name: value for name, value in OF_MF.items() if model != "DMF" or name != "embedding_size"}
            assert {name: space[name].extremes for name in known} == known
            assert set(space) - set(known) == GUESSED.get(model, set())


def test_every_option_of_a_space_is_one_that_its_model_takes():
    for dataset, scenario in TABLES:
        for model in (*NETWORKS, "MF", *set(GUESSED) & set(MODELS)):
            options_class = MODELS[model].options_class
            names = {entry.name for entry in fields(options_class)}
            settings = published.settings(dataset, scenario, model)
            own = {name: value for name, value in settings.items() if name in names}
            for name, parameter in space_of(model, dataset, scenario).items():
                for value in parameter.extremes:
                    if name not in ("learning_rate", "weight_decay"):
                        assert name in names
                        options_class.from_mapping({**own, name: value})


@pytest.mark.parametrize("model", ["SiBraR", "MF", "DMF", "CLCRec", "DropoutNet"])
def test_a_study_takes_settings_and_space(model):
    space = named_space("paper/ml-1m", model, "other", "warm")
    settings = published.settings("ml-1m", "warm", model)
    fixed = {name: value for name, value in settings.items() if name not in space.names}
    check_space(Study(model, "ml-1m", {**fixed, "scenario": "warm"}, space))


# by name on the command line


def test_layers_add_up(tmp_path):
    files = {
        "all.yaml": "{a: 1, b: 1, c: 1}",
        "X+Y.yaml": "{b: 2}",
        "d/Y.yaml": "{c: 3}",
        "d/all.yaml": "{a: 4}",
        "d/s/X.yaml": "{a: 5}",
        "e/Z.yaml": "{}",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    found = {
        ("d", "s", "X"): {"a": 5, "b": 2, "c": 1},
        ("d", "s", "Y"): {"a": 4, "b": 2, "c": 3},
        ("d", "t", "X"): {"a": 4, "b": 2, "c": 1},
        ("f", "s", "X"): {"a": 1, "b": 2, "c": 1},
        ("e", "s", "Z"): {"a": 1, "b": 1, "c": 1},
        ("d", "s", "Z"): {},
        ("d", "s", "X+Y"): {},
    }
    assert {key: read_layers(tmp_path, key[:2], key[2]) for key in found} == found


@pytest.fixture
def paper(tiny, tmp_path, monkeypatch):
    """Settings and a space of a paper about the tiny data set."""
    (tmp_path / "props").mkdir()
    for path in props_folder().iterdir():
        if path.name not in ("paper", "search"):
            (tmp_path / "props" / path.name).symlink_to(path.resolve())
    settings, searched = tmp_path / "props" / "paper" / "tiny", tmp_path / "props" / "search" / "paper" / "tiny"
    for folder in (settings, searched):
        (folder / "item_cold").mkdir(parents=True)
    (settings / "SiBraR.yaml").write_text("embedding_size: 12\ncontrastive_weight: 0.5\nlearning_rate: 0.02\n")
    (settings / "item_cold" / "SiBraR.yaml").write_text("embedding_size: 6\nitem_modalities: [genres]\n")
    (searched / "SiBraR.yaml").write_text(
        "contrastive_weight: {loguniform: [1.0e-3, 1.0]}\nlearning_rate: {loguniform: [1.0e-3, 1.0e-1]}\n"
    )
    for module in ("recbole_plugin.config", "experiments.space"):
        monkeypatch.setattr(f"recbole_sibrar.{module}.props_folder", lambda: tmp_path / "props")
    return {name: value for name, value in tiny.options(scenario="item_cold").items() if name != "embedding_size"}


def test_the_papers_settings_in_a_run(paper):
    config = make_config("SiBraR", "tiny", ["paper"], paper)
    assert (config["embedding_size"], config["item_modalities"], config["learning_rate"]) == (6, ["genres"], 0.02)
    warm = make_config("SiBraR", "other", ["paper/tiny"], {**paper, "scenario": "warm", "learning_rate": 0.5})
    assert (warm["embedding_size"], warm["item_modalities"], warm["learning_rate"]) == (12, None, 0.5)
    Path("mine.yaml").write_text("scenario: warm\nmodel: SiBraR\n")
    without = {name: value for name, value in paper.items() if name != "scenario"}
    assert make_config(None, "tiny", ["mine.yaml", "paper"], without)["embedding_size"] == 12
    Path("paper").write_text("embedding_size: 3\n")
    assert make_config("SiBraR", "tiny", ["paper"], paper)["embedding_size"] == 3


@pytest.mark.parametrize(
    "name, model, message",
    [
        ("paper", "SiBraR", "'other' | paper/tiny"),
        ("paper/tinny", "SiBraR", "no data set 'tinny'; .*Did you mean 'tiny'"),
        ("paper/tiny", "BPR", "paper/tiny | BPR"),
    ],
)
def test_what_the_papers_do_not_have(paper, name, model, message):
    with pytest.raises(OptionError, match=naming(message)):
        make_config(model, "other", [name], paper)
    with pytest.raises(OptionError, match=naming(message)):
        named_space(name, model, "other", "warm")


def test_tune_with_the_papers_settings_and_space(paper, capsys):
    given = [
        f"--{name}={value}" for name, value in paper.items() if name not in ("learning_rate", "contrastive_weight")
    ]
    command = ["tune", "--model=SiBraR", "--dataset=tiny", "--config_files", "paper", "--space", "paper", "--trials=2"]
    assert cli.main([*command, *given]) == 0
    (folder,) = Path("results").glob("tune-*")
    trials, best = pd.read_csv(folder / "trials.csv"), yaml.safe_load((folder / "best.yaml").read_text())
    assert trials["error"].isna().all() and trials["learning_rate"].between(1e-3, 1e-1).all()
    assert best["embedding_size"] == 6 and best["item_modalities"] == ["genres"]
    assert "not searched" not in capsys.readouterr().out
    assert cli.main([*command, *given, "--variant=S"]) == 0
    assert "not searched: contrastive_weight is 0.001, but has an effect with variant=SC" in capsys.readouterr().out
    (folder,) = Path("results").glob("tune-SiBraR_S-*")
    assert "contrastive_weight" not in pd.read_csv(folder / "trials.csv")


def test_an_option_that_another_of_the_space_gives_an_effect_is_searched():
    space = {"plain_activation": {"choice": ["selu", "relu"]}, "plain_side": {"choice": ["embedding", "interactions"]}}
    study = Study(
        "SiBraR", "ml-100k", {"plain_side": "embedding"}, Space.from_mapping({"temperature": {"uniform": [0.1, 1]}})
    )
    for names, kept in ((["plain_activation", "plain_side"], 2), (["plain_activation"], 0)):
        searched = Study("SiBraR", "ml-100k", study.options, Space.from_mapping({name: space[name] for name in names}))
        if kept:
            assert len(without_idle(searched).space.parameters) == kept
        else:
            with pytest.raises(OptionError, match="No option of the search space has an effect"):
                without_idle(searched)


def test_a_file_named_like_the_papers_is_a_file(tmp_path):
    assert properties.names_paper("paper/ml-1m") and not properties.names_paper("papers/ml-1m")
