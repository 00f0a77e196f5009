"""Every option works as it is documented, or a sentence names it before anything is loaded."""

import json
import warnings
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from conftest import names, naming
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from recbole.utils import get_model

from recbole_sibrar.cli import main
from recbole_sibrar.errors import OptionError, SibrarError
from recbole_sibrar.properties import read_property_file
from recbole_sibrar.recbole_plugin.capabilities import UNSERVED, general_recommenders
from recbole_sibrar.recbole_plugin.checks import HARMLESS, check
from recbole_sibrar.recbole_plugin.config import valid_names
from recbole_sibrar.recbole_plugin.prepared import make_config
from recbole_sibrar.recbole_plugin.run import run


@pytest.fixture
def refused(tiny, monkeypatch):
    """The sentence with which a run of options is refused, before the data set is read."""
    (tiny.folder / "tiny" / "tiny.inter").unlink()

    def run_and_say(model="Pop", **options):
        with pytest.raises(OptionError) as error:
            check(make_config(model, "tiny", None, tiny.options(**{"scenario": "warm", **options})))
        return str(error.value)

    return run_and_say


@pytest.mark.parametrize(
    "options, message",
    [
        ({"threshold": {"rating": 4}}, "threshold | {'rating': 4} | no effect"),
        ({"device": "cuda"}, "device | 'cuda' | GPUs | gpu_id | no effect"),
        ({"checkpoint_dir": "there"}, "checkpoint_dir | 'there'"),
        ({"valid_metric_bigger": False}, "valid_metric_bigger | False | no effect"),
        ({"repeatable": True}, "repeatable | True"),
        ({"worker": 2}, "worker | 2 | no effect"),
        ({"alias_of_user_id": ["a"]}, "alias_of_user_id | ['a']"),
        ({"MAX_ITEM_LIST_LENGTH": 20}, "MAX_ITEM_LIST_LENGTH | 20 | no effect"),
        ({"neg_sampling": {"uniform": 1}}, "use train_neg_sample_args"),
        ({"config_files": "x.yaml"}, "config_files | 'x.yaml'"),
        ({"variant": "SC"}, "variant | 'SC' | Pop"),
        ({"seed": "abc"}, "seed | 'abc' | 0 | integer"),
        ({"seed": True}, "seed | True | integer"),
        ({"seed": 2**40}, "at most 4294967295"),
        ({"state": "loud"}, "state | 'loud' | CRITICAL | DEBUG"),
        ({"state": 3}, "state | 3 | INFO"),
        ({"learner": "adamm"}, "learner | 'adamm'"),
        ({"learner": "sparse_adam"}, "learner | 'sparse_adam'"),
        ({"gpu_id": "first"}, "gpu_id | 'first' | GPUs | number"),
        ({"show_progress": "maybe"}, "show_progress | 'maybe' | True or False"),
        ({"weight_decay": float("nan")}, "weight_decay | nan | number"),
        ({"learning_rate": 0}, "learning_rate | 0 | 0 | number"),
        ({"epochs": 2.5}, "epochs | 2.5 | integer"),
        ({"clip_grad_norm": 5}, "clip_grad_norm | 5 | {max_norm: 1} | mapping"),
        ({"topk": []}, "topk | [] | list"),
        ({"metrics": []}, "metrics | [] | list"),
        ({"metrics": ["AUC"]}, "no metric named 'AUC' for ranked lists"),
        ({"valid_metric": "NDCG"}, "valid_metric | 'NDCG' | NDCG@10"),
        ({"metrics": ["GAUC", "NDCG"], "valid_metric": "GAUC@3"}, "valid_metric | 'GAUC@3' | ndcg@3"),
        ({"metrics": ["PL", "NDCG"], "valid_metric": "PL@3"}, "valid_metric | 'PL@3' | best at 0 | ndcg@3"),
        ({"field_separator": ""}, "field_separator | '' | character"),
        ({"seq_separator": "\t"}, "field_separator | seq_separator | both"),
        ({"USER_ID_FIELD": "item_id"}, "USER_ID_FIELD | ITEM_ID_FIELD | 'item_id' | both"),
        ({"load_col": ["user_id"]}, "load_col | ['user_id'] | column"),
        ({"unused_col": {"inter": ["user_id"]}}, "unused_col.inter | 'user_id'"),
        ({"rm_dup_inter": "some"}, "rm_dup_inter | 'some'"),
        ({"user_inter_num_interval": 5}, "user_inter_num_interval | 5"),
        ({"item_inter_num_interval": "[5,3]"}, "item_inter_num_interval | '[5,3]'"),
        ({"val_interval": {"rating": "3-5"}}, "val_interval | {'rating': '3-5'}"),
        ({"val_interval": "rating>=3"}, "val_interval | 'rating>=3'"),
        ({"benchmark_filename": ["a", "b"]}, "benchmark_filename | ['a', 'b'] | list"),
        ({"eval_args": {"split": {"RS": [0.8, 0.2]}}}, "[0.8, 0.2] | ratios"),
        ({"eval_args": {"split": {"RS": ["0.8", 1, 1]}}}, "['0.8', 1, 1] | ratios"),
        ({"eval_args": {"split": {"LS": "last"}}}, "eval_args.split | {'LS': 'last'} | {LS: valid_and_test}"),
        ({"eval_args": {"split": {"XS": 1}}}, "{RS: [0.8, 0.1, 0.1]} | {LS: valid_and_test}"),
        ({"eval_args": {"order": "XX"}}, "eval_args.order | 'XX' | RO"),
        ({"eval_args": {"group_by": "item"}}, "eval_args.group_by | 'item'"),
        ({"eval_args": {"sort": 1}}, "eval_args | {'sort': 1} | mapping"),
        ({"eval_args": {"order": "TO"}, "scenario": "item_cold"}, "eval_args.order | 'TO' | no effect"),
        ({"eval_args": {"split": {"LS": "valid_and_test"}}, "scenario": "user_cold"}, "user_cold | RS"),
        ({"train_neg_sample_args": {"distribution": "zipf"}}, "train_neg_sample_args | 'distribution' | 'zipf'"),
        ({"train_neg_sample_args": {"alpha": 0.5}}, "alpha | 0.5 | no effect"),
        ({"run_name": "../esc"}, "run_name | '../esc'"),
        ({"run_name": "x" * 252}, "run_name | 252"),
        ({"run_name": [1]}, "run_name | [1] | folder"),
        ({"output_dir": ["x"]}, "output_dir | ['x'] | path"),
        ({"log_wandb": 1}, "log_wandb | 1 | True or False"),
        ({"modalities": 3}, "modalities | 3"),
    ],
    ids=lambda value: None if isinstance(value, str) else "-".join(value),
)  # fmt: skip
def test_wrong_values_and_options_without_effect_are_refused(refused, options, message):
    assert names(refused(**options), message)


@pytest.mark.parametrize("name, value", [
    ("val_interval", {"rating": "[3,inf)"}), ("user_inter_num_interval", "[2,inf)"), ("rm_dup_inter", "first"),
    ("item_inter_num_interval", "[2,inf)"), ("eval_args", {"order": "TO"}), ("eval_args", {"split": {"RS": [6, 2, 2]}}),
])  # fmt: skip
def test_what_split_files_leave_without_effect(refused, name, value):
    assert "has no effect" in refused(benchmark_filename=["a", "b", "c"], **{name: value})


@pytest.mark.parametrize(
    "model, options, message",
    [
        ("BPR", {"embedding_size": 0}, "embedding_size | 0 | 1 | integer"),
        ("LightGCN", {"n_layers": "two"}, "n_layers | 'two' | integer"),
        ("NeuMF", {"mlp_hidden_size": [64, -1]}, "mlp_hidden_size | [64, -1] | [128, 64] | list"),
        ("NGCF", {"node_dropout": 1.5}, "node_dropout | 1.5 | 0 | 0.99 | number"),
        ("SGL", {"type": "XX"}, "type | 'XX' | ED | ND | RW"),
        ("MultiVAE", {"anneal_cap": None}, "anneal_cap | None | number"),
        ("NAIS", {"reg_weights": [0.1]}, "reg_weights | [0.1] | list"),
        ("NAIS", {"pretrain_path": "absent.pth"}, "pretrain_path | 'absent.pth' | file"),
        ("EASE", {"reg_weight": "much"}, "reg_weight | 'much' | number"),
        ("CLCRec", {"reg_weight": {1, 2}}, "reg_weight | {1, 2} | 0 | number"),
        ("SiBraR", {"embedding_size": 10**30}, "embedding_size is"),
        ("SiBraR", {"item_modalities": 3.5}, "item_modalities | 3.5 | [genres, plot] | list"),
    ],
)
def test_options_of_models(refused, model, options, message):
    if model != "SiBraR":
        options = {"embedding_size": 8, **options}
    assert names(refused(model, **options), message)


def test_negatives_that_a_model_needs(tiny):
    for model in ("BPR", "CLCRec"):
        with pytest.raises(OptionError, match=f"train_neg_sample_args is None, but {model} learns from negatives"):
            run(model, "tiny", None, tiny.options(train_neg_sample_args=None))


def test_an_error_inside_recbole_names_the_options_that_are_not_defaults(tiny):
    with pytest.raises(OptionError, match=naming("NeuMF | use_pretrain=True")):
        run("NeuMF", "tiny", None, tiny.options(use_pretrain=True))


@pytest.mark.parametrize(
    "model, options, message",
    [
        ("Pop", {"embedding_size": 8}, "embedding_size | 8 | Pop"),
        ("BPR", {"reg_weight": 0.1}, "reg_weight | 0.1 | BPR"),
        ("Pop", {"learning_rate": 0.1}, "learning_rate | 0.1 | Pop"),
        ("ContentRidge", {"train_batch_size": 9, "weight_decay": 0.1}, "train_batch_size | 9 | ContentRidge"),
        ("BPR", {"missing": {"rate": 0.5}}, "missing | {'rate': 0.5} | BPR"),
        *(
            (model, {"missing": {"modality": {"interactions": 0.5}}}, f"missing | interactions | {model}")
            for model in ("MF", "CLCRec", "DropoutNet")
        ),
        ("MF", {"vector_storage": "disk"}, "vector_storage | 'disk' | MF"),
        ("SiBraR", {"temperature": 0.2, "variant": "S"}, "temperature | 0.2 | variant=SC"),
        ("SiBraR", {"softmax_negatives": 9}, "softmax_negatives | 9 | rec_loss=softmax"),
        ("BPR", {"gpu_id": "0"}, "gpu_id | '0'"),
        ("BPR", {"use_gpu": True}, "use_gpu | True"),
        ("BPR", {"ip": "localhost"}, "ip | no effect | one process"),
        (
            "SiBraR",
            {"preset": "strong", "train_neg_sample_args": {"sample_num": 2}},
            "SiBraR | without negatives",
        ),
    ],
)
def test_warnings_name_what_has_no_effect(tiny, monkeypatch, model, options, message):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    kept = {name: value for name, value in tiny.options().items() if name != "embedding_size"}
    with pytest.warns(UserWarning, match=naming(message)):
        make_config(model, "tiny", None, {**kept, **options})


@pytest.mark.parametrize("model", ["SiBraR", "KernelRidge", "LinearAutoencoder"])
def test_missing_interactions_give_no_warning_where_they_are_read(tiny, recwarn, model):
    make_config(model, "tiny", None, {"data_path": str(tiny.folder), "missing": {"modality": {"interactions": 0.5}}})
    assert not [warning for warning in recwarn if "missing" in str(warning.message)]


def test_defaults_give_no_warning(tiny, recwarn):
    make_config("SiBraR", "tiny", None, {"data_path": str(tiny.folder)})
    assert not [warning for warning in recwarn if "effect" in str(warning.message) or "GPU" in str(warning.message)]


def test_values_of_numpy_are_those_of_python(tiny):
    options = {"epochs": 2, "learning_rate": 0.5, "topk": [3], "contrastive_weight": 0.25, "missing": {"rate": 0.5}}
    of_numpy = {
        "epochs": np.int64(2), "learning_rate": np.float32(0.5), "topk": np.array([3]),
        "contrastive_weight": np.float64(0.25), "missing": {"rate": np.float64(0.5)},
    }  # fmt: skip
    ours, theirs = (make_config("SiBraR", "tiny", None, tiny.options(**own)) for own in (options, of_numpy))
    for name, value in options.items():
        assert theirs[name] == ours[name] and type(theirs[name]) is type(value)


def test_use_gpu_false_is_the_cpu(tiny):
    assert make_config("BPR", "tiny", None, tiny.options(use_gpu=False))["gpu_id"] == ""


@pytest.mark.parametrize("name", ["2020", "1e3", "007", "None-1", "a b", "2020-01-01", "mañana", "{x}"])
def test_text_stays_text(tiny, name):
    folder, options = tiny.folder.rename(tiny.folder.with_name(name)), tiny.options(run_name=name, output_dir=name)
    arguments = [f"--{key}={value}" for key, value in {**options, "data_path": folder}.items()]
    assert main(["run", "--model=Pop", "--dataset=tiny", *arguments]) == 0
    assert Path(name, name, "result.json").is_file()


def test_names_in_a_property_file_and_on_the_command_line(tiny):
    yaml = tiny.folder / "tiny" / "tiny.yaml"
    yaml.write_text(yaml.read_text().replace("genres: tags", "2020: {kind: tags, field: genres}"))
    Path("mine.yaml").write_text("item_modalities: 2020\nrun_name: 2021\n")
    common = ["run", "--dataset=tiny", *(f"--{key}={value}" for key, value in tiny.options().items())]
    assert main([*common, "--config_files", "mine.yaml"]) == 0
    assert main([*common, "--item_modalities=2020,year", "--run_name=both"]) == 0
    assert main([*common, "--item_modalities=['2020', year]", "--run_name=list"]) == 0
    assert [Path("results", name, "result.json").is_file() for name in ("2021", "both", "list")] == [True] * 3


@pytest.mark.parametrize("text", ["epochs: 1\nseed: 2\nepochs: 3\n", "missing: {rate: 0, phase: train, rate: 1}\n"])
def test_a_key_that_is_there_twice_is_refused(text):
    Path("twice.yaml").write_text(text)
    with pytest.raises(OptionError, match=naming(f"twice.yaml | {'epochs' if 'epochs' in text else 'rate'} | twice")):
        read_property_file("twice.yaml")


def test_keys_may_be_merged():
    Path("merged.yaml").write_text("a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\n")
    assert read_property_file("merged.yaml")["b"] == {"x": 1, "y": 3}


def _result(name):
    return json.loads(Path("results", name, "result.json").read_text())


def test_model_and_data_set_of_a_property_file(tiny):
    Path("mine.yaml").write_text("model: BPR\ndataset: tiny\n")
    options = [f"--{key}={value}" for key, value in tiny.options().items()]
    assert main(["run", "--config_files", "mine.yaml", "--scenario=warm", *options, "--run_name=file"]) == 0
    assert main(["run", "--config_files", "mine.yaml", "--model=Pop", *options, "--run_name=line"]) == 0
    assert [_result(name)["model"] for name in ("file", "line")] == ["BPR", "Pop"]


def test_an_option_with_blanks_after_files(tiny):
    Path("my file.yaml").write_text("missing: {rate: 0.1}\n")
    options = [f"--{key}={value}" for key, value in tiny.options(run_name="r").items()]
    files = ["--config_files", "my file.yaml", "--missing={rate: 0.3, seed: 1}"]
    assert main(["run", "--dataset=tiny", *files, *options]) == 0
    assert _result("r")["config"]["missing"] == {"rate": 0.3, "seed": 1}


@pytest.mark.parametrize("as_text", [True, False])
def test_split_files_as_text_or_list(tiny, as_text):
    for part, name in enumerate(("train", "valid", "test")):
        tiny.interactions(f"{name}.inter", [pair for place, pair in enumerate(tiny.pairs) if place % 3 == part])
    names = "train, valid,test" if as_text else ["train", "valid", "test"]
    run("Pop", "tiny", None, tiny.options(benchmark_filename=names))


def test_separators_of_ones_own_reach_all_files(tiny):
    base = make_config("SiBraR", "tiny", None, tiny.options())
    own = tiny.folder / "tiny"
    expected = _tags(base)
    for path in own.glob("tiny.*"):
        if path.suffix != ".yaml":
            path.write_text(path.read_text().replace(" ", "|").replace("\t", ","))
    assert _tags(make_config("SiBraR", "tiny", None, tiny.options(field_separator=",", seq_separator="|"))) == expected
    with pytest.raises(Exception, match="field_separator is"):
        run("SiBraR", "tiny", None, tiny.options())


def _tags(config):
    from recbole.data import create_dataset

    genres = create_dataset(config).build()[0].modalities("item", ["genres", "picture"]).entries[0]
    return genres.vocabulary, genres.values.columns.tolist()


def test_a_data_set_of_ones_own_with_recboles_name(tiny):
    tiny.name = "ml-100k"
    tiny.write()
    result = run("SiBraR", "ml-100k", None, tiny.options())
    assert result.n_users == tiny.n_users and result.modalities["item"] == ["interactions", "genres", "year", "picture"]
    assert result.config["val_interval"] is None and result.config["normalize_all"] is None


@pytest.mark.parametrize(
    "change, message",
    [
        (("user_id:token", "user_id:float"), "tiny.inter | user_id"),
        (("item_id:token", "item_id:float"), "tiny.inter | item_id"),
    ],
)
def test_ids_are_token(tiny, capsys, change, message):
    path = tiny.folder / "tiny" / "tiny.inter"
    path.write_text(path.read_text().replace("u", "").replace("ser_id", "user_id").replace("i", "").replace(
        "user_d", "user_id").replace("tem_d", "item_id").replace(*change))  # fmt: skip
    assert main(["run", "--model=Pop", "--dataset=tiny", *(f"--{k}={v}" for k, v in tiny.options().items())]) == 2
    assert names(capsys.readouterr().err, message)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"val_interval": {"price": "[3,inf)"}}, "val_interval | 'price' | no column"),
        ({"val_interval": {"user_id": "[3,inf)"}}, "val_interval.user_id | '[3,inf)'"),
        ({"eval_args": {"order": "TO"}}, "'timestamp:float' | no column"),
        ({"eval_args": {"split": {"TS": [8, 1, 1]}}}, "'timestamp:float' | no column"),
        ({"normalize_field": ["price"]}, "Field [price] does not exist"),
    ],
)
def test_options_that_the_data_cannot_follow(tiny, options, message):
    with pytest.raises(OptionError) as error:
        run("Pop", "tiny", None, tiny.options(**options))
    assert names(str(error.value), message)


@pytest.mark.parametrize("name", ["", ".", "..", "tiny/", "../data/tiny", "x" * 252, "a\nb", "a\\b"])
def test_names_of_data_sets_are_plain(tiny, capsys, name):
    assert main(["run", f"--dataset={name}", *(f"--{k}={v}" for k, v in tiny.options().items())]) == 2
    assert "dataset " in capsys.readouterr().err


@pytest.mark.parametrize("name", ["data_path", "output_dir"])
@pytest.mark.parametrize("path", ["x" * 256, "x/" * 1025, 10**400, "a\0b"], ids=["name", "path", "number", "null"])
def test_paths_that_no_system_takes(tiny, name, path):
    with pytest.raises(OptionError) as error:
        run("Pop", "tiny", None, tiny.options(**{name: path}))
    assert str(error.value).startswith(f"{name} is ")


def test_a_recbole_model_that_does_not_fit_the_data_is_named(tiny, monkeypatch):
    code = "def fails(self, interaction): raise ValueError('Sample larger than population')"
    exec(compile(code, "<recbole>", "exec"), recboles := {})  # code of a test would be one's own
    monkeypatch.setattr(get_model("BPR"), "calculate_loss", recboles["fails"])
    options = {name: value for name, value in tiny.options().items() if name in HARMLESS}
    with pytest.raises(OptionError) as error:
        run("BPR", "tiny", None, options)
    assert all(part in str(error.value) for part in ("BPR", "tiny", "Sample larger than population"))
    for innocent in ({"metrics": ["NDCG"]}, {"load_col": {"inter": ["user_id", "item_id"]}}):
        with pytest.raises(OptionError) as error:
            run("BPR", "tiny", None, {**options, **innocent})
        assert str(next(iter(innocent.values()))) not in str(error.value)


# every option of every model, with values of every kind

FEW = {"epochs": 1, "topk": [3], "valid_metric": "NDCG@3", "state": "ERROR", "show_progress": False}
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 9) | st.sampled_from([-(2**63), 2**31, 2**70, 10**400]),
    st.floats(-2, 2) | st.sampled_from([float("nan"), float("inf"), -float("inf"), 1e308, 5e-324]),
    st.text(max_size=6) | st.sampled_from(["[3,inf)", "a,b", "user", "rating", "last", "{", "\x00", "../x", "2020"]),
    st.lists(st.none() | st.booleans() | st.integers(-1, 9) | st.floats(-1, 2) | st.text(max_size=3), max_size=4),
    st.dictionaries(
        st.sampled_from(["inter", "user_id", "rating", "split", "order", "mode", "RS", "rate", "item", "max_norm", 3]),
        st.none() | st.integers(-1, 9) | st.text(max_size=3) | st.lists(st.integers(-1, 9) | st.text(max_size=3)),
        max_size=3,
    ),
    st.just({1, 2}) | st.just((1, 2)) | st.just(b"x") | st.just(object()),
)


def options_of(model):
    config = make_config(model, "ml-100k", None, {})
    return sorted(valid_names(config.internal_config_dict, config.parameters))


def refused_or_fine(model, options):
    """A configuration that is refused is refused with a sentence of ours."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            check(make_config(model, "ml-100k", None, {**FEW, **options}))
        except SibrarError as error:
            assert str(error).strip()
            return False
    return True


NOT_RUN = {"dataset", "model", "data_path", "nproc", "world_size"}  # others would be waited for


@pytest.mark.slow
@pytest.mark.parametrize("model", [name for name in general_recommenders() if name not in UNSERVED])
@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_no_value_of_any_option_of_any_model_ends_in_a_traceback(tiny, model, data):
    """What is not refused is run, but for what is long."""
    name = data.draw(st.sampled_from(options_of(model)))
    value = data.draw(VALUES)
    large = isinstance(value, int) and value > 9
    if refused_or_fine(model, {name: value}) and not large and name not in NOT_RUN:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with suppress(SibrarError):
                run(model, "tiny", None, {**FEW, "data_path": str(tiny.folder), "run_name": "r", name: value})
