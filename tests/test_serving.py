import json
import re
import subprocess
import sys
import time
import warnings
from functools import partial
from pathlib import Path
from uuid import UUID

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import names, naming
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_sibrar import Dataset, serving
from recbole_sibrar.cli import main
from recbole_sibrar.data.sparse import SparseRows
from recbole_sibrar.data.vectors import STORAGES, DiskVectors
from recbole_sibrar.errors import CheckpointError, DataError, OptionError, suggestion
from recbole_sibrar.models import MODELS
from recbole_sibrar.recbole_plugin.quick_start import load_data_and_model
from recbole_sibrar.recbole_plugin.run import run
from recbole_sibrar.recbole_plugin.trained import TrainedModel
from recbole_sibrar.serving.directory import Directory
from recbole_sibrar.serving.recommender import Recommender
from recbole_sibrar.serving.topk import top_k


def trained(tiny, model="SiBraR", **options):
    ours = {"single_branch": "both"} if model in ("SiBraR", "MuBraR") else {}
    result = run(model, "tiny", None, tiny.options(**{"scenario": "item_cold", **ours, **options}))
    return f"results/{result.name}/model.pth"


@pytest.fixture
def recommender(tiny):
    return Recommender.load(trained(tiny))


def new_item(tiny, number, name):
    """The features of item ``number`` of the tiny data set under another id."""
    return pd.DataFrame(
        {
            "item_id": [name],
            "genres": [f"group{number % 2} any"],
            "year": [None if number % 3 == 0 else 1990 + number],
            "picture": [tiny.vectors.get(number)],
        }
    )


def test_known_users_get_what_the_evaluation_ranked(tiny):
    path = trained(tiny)
    recommender = Recommender.load(path)
    _, model, dataset, _, _, test_data = load_data_and_model(path)
    users = test_data.phase.users[:5]
    scores = model.full_sort_predict({"user_id": users.to(model.device)}).view(5, -1).cpu()
    candidates = test_data.phase.candidates
    scores[:, ~candidates] = -torch.inf
    expected = dataset.id2token("item_id", scores.topk(3, dim=1).indices)
    items = dataset.id2token("item_id", candidates.nonzero().squeeze(1))
    table = recommender.recommend(dataset.id2token("user_id", users), k=3, candidates=items)
    assert table["item"].to_numpy().reshape(5, 3).tolist() == expected.tolist()
    assert table["rank"].tolist() == [1, 2, 3] * 5


@pytest.mark.parametrize("model", MODELS)
def test_vectors_on_disk_train_and_serve_as_those_in_memory(tiny, model):
    settings = tiny.options(scenario="item_cold", missing={"rate": 0.2})
    memory, disk = (run(model, "tiny", None, {**settings, "vector_storage": s, "run_name": s}) for s in STORAGES)
    assert disk.test_result == memory.test_result and disk.history == memory.history
    lists = [Recommender.load(f"results/{storage}/model.pth").recommend(["u1", "u9"], k=9) for storage in STORAGES]
    pd.testing.assert_frame_equal(*lists)
    if model == "SiBraR":
        picture = load_data_and_model("results/disk/model.pth")[1].core.modalities["item"].entries[3]
        assert isinstance(picture.values, DiskVectors)
        results = [TrainedModel(f"results/{storage}").evaluate("test")[0] for storage in STORAGES]
        assert results[0] == results[1] == memory.test_result


def test_new_items_are_embedded_a_part_at_a_time(tiny, monkeypatch):
    """A kernel holds a row of thousands of numbers for each."""
    path, sizes = trained(tiny, "KernelRidge"), []
    items = pd.concat([new_item(tiny, number, f"new{number}") for number in range(1, 6)])
    monkeypatch.setattr(serving.recommender, "AT_A_TIME", 2)
    recommender = Recommender.load(path)
    embed = recommender.model.embed
    monkeypatch.setattr(recommender.model, "embed", lambda own: sizes.append(len(own.available)) or embed(own))
    recommender.add_items(items)
    for number in range(1, 6):
        assert recommender.similar_items(f"new{number}", k=1)["cosine"][0] == pytest.approx(1)
    assert sizes == [2, 2, 1]


def test_a_new_item_scores_as_the_same_item_did_when_cold(tiny):
    path = trained(tiny)
    recommender = Recommender.load(path)
    cold = [int(token[1:]) for token in recommender.directory.tokens["item"][1:]]
    trained_items = recommender.model.entities("item").trained
    cold = [n for n in cold if not trained_items[recommender.directory.find("item", f"i{n}")]]
    for number in cold:
        recommender.add_items(new_item(tiny, number, f"new{number}"))
    for user in ("u1", "u2", "u40"):
        scores = recommender.score(user, [f"i{n}" for n in cold] + [f"new{n}" for n in cold])
        assert np.allclose(scores[: len(cold)], scores[len(cold) :], atol=1e-5)
    assert len(cold) >= 6


def test_adding_items_changes_no_old_score_and_makes_them_rankable(recommender, tiny):
    old = [f"i{n}" for n in range(1, 31)]
    before = recommender.score("u3", old)
    recommender.add_items(new_item(tiny, 5, "fresh"))
    assert (recommender.score("u3", old) == before).all()
    assert "fresh" in set(recommender.recommend(["u3"], k=40)["item"])


def test_a_model_of_some_modalities_takes_the_whole_table(tiny):
    model = Recommender.load(trained(tiny, item_modalities=["interactions", "genres"]))
    new = pd.concat([new_item(tiny, 2, "all"), new_item(tiny, 2, "some")[["item_id", "genres"]]])
    model.add_items(new)
    assert model.score("u1", ["all", "some"]).nunique() == 1
    with pytest.raises(OptionError, match="Unknown item modality 'yeer'"):
        model.add_items(new.rename(columns={"year": "yeer"}))


@pytest.mark.parametrize("single_branch", ["item", "both"])
def test_a_key_of_a_user_that_means_nothing_is_told_of_history(tiny, single_branch):
    model = Recommender.load(trained(tiny, single_branch=single_branch))
    with pytest.raises(OptionError, match="'histroy'. Did you mean 'history'"):
        model.recommend([{"id": "new", "histroy": ["i1"]}])


def test_a_user_given_as_history_and_side_information_gets_the_list_of_the_id(recommender):
    directory = recommender.directory
    start, stop = directory.interactions.indptr[directory.find("user", "u7") :][:2].tolist()
    history = [directory.tokens["item"][n] for n in directory.interactions.columns[start:stop]]
    by_id = recommender.recommend(["u7"], k=5)
    by_history = recommender.recommend([{"id": "u7", "history": history, "gender": "M", "age": 27}], k=5)
    pd.testing.assert_frame_equal(by_id, by_history)


def test_an_index_over_the_export_gives_the_lists_of_recommend(tiny):
    faiss = pytest.importorskip("faiss")
    path = trained(tiny)
    assert main(["export", "--checkpoint", path, "--output", "index"]) == 0
    users, items, seen = (
        np.load("index/user_fused.npy"),
        np.load("index/item_fused.npy"),
        np.load("index/user_seen.npz"),
    )
    ids, names = (open(f"index/{side}_ids.txt").read().split() for side in ("item", "user"))
    index = faiss.IndexFlatIP(items.shape[1])
    index.add(items)
    expected = Recommender.load(path).recommend(names, k=10)
    for user, (name, rows) in enumerate(expected.groupby("user", sort=False)):
        own = seen["items"][seen["indptr"][user] : seen["indptr"][user + 1]]
        unseen = faiss.SearchParameters(sel=faiss.IDSelectorNot(faiss.IDSelectorBatch(own)))
        found = index.search(users[user : user + 1], 10, params=unseen)[1][0]
        assert name == names[user] and [ids[place] for place in found] == rows["item"].tolist()


@pytest.mark.parametrize("suffix", ["csv", "tsv", "parquet"])
def test_all_users_in_blocks_are_all_users_at_once(tiny, suffix, monkeypatch):
    monkeypatch.setattr("recbole_sibrar.cli.serving.USERS_AT_A_TIME", 7)
    path, output = trained(tiny), f"recs.{suffix}"
    assert main(["recommend", "--checkpoint", path, "--all-users", "--k", "3", "--output", output]) == 0
    read = {"csv": pd.read_csv, "tsv": partial(pd.read_csv, sep="\t"), "parquet": pd.read_parquet}[suffix]
    expected = Recommender.load(path).recommend(k=3)
    pd.testing.assert_frame_equal(read(output), expected, check_dtype=False)
    assert len(expected) == 3 * tiny.n_users


def test_seen_items_are_left_out_unless_asked_for(recommender):
    history = ["i1", "i3", "i5"]
    assert not set(recommender.recommend([history], k=30)["item"]) & set(history)
    assert set(recommender.recommend([history], k=30, exclude_seen=False)["item"]) >= set(history)
    table = recommender.recommend([history, "u2"], k=4)
    assert table["user"].tolist() == ["#0"] * 4 + ["u2"] * 4


def test_users_by_side_information_only_and_without_anything(recommender):
    table = recommender.recommend([{"gender": "F"}, {"id": "nobody"}], k=3)
    assert np.isfinite(table["score"]).all() and table["user"].tolist() == ["#0"] * 3 + ["nobody"] * 3


PRIORS = {"content_prior": 1.5, "interaction_prior": 2.0}
EXPLAINED = {
    "SiBraR": ("SiBraR", {}, {"SiBraR"}),
    "SiBraR strong": (
        "SiBraR",
        {"preset": "strong"},
        {"SiBraR", "interaction_ridge", "interaction_kernel", "user_kernel"},
    ),
    "SiBraR strong, warm": (
        "SiBraR",
        {"preset": "strong", "scenario": "warm", "single_branch": "item"},
        {"SiBraR", "interaction_ridge", "interaction_kernel", "user_kernel"},
    ),
    "SiBraR strong, user cold": (
        "SiBraR",
        {"preset": "strong", "scenario": "user_cold"},
        {"SiBraR", "interaction_ridge", "interaction_kernel", "user_kernel", "new_user_kernel"},
    ),
    "SiBraR with priors": ("SiBraR", PRIORS, {"SiBraR", "KernelRidge", "LinearAutoencoder"}),
    "MuBraR": ("MuBraR", {}, {"MuBraR"}),
    "MuBraR strong with priors": (
        "MuBraR",
        {"preset": "strong", **PRIORS},
        {"MuBraR", "KernelRidge", "LinearAutoencoder", "interaction_ridge", "interaction_kernel", "user_kernel"},
    ),
    "ContentRidge": ("ContentRidge", {}, {"ContentRidge"}),
    "KernelRidge": ("KernelRidge", {}, {"KernelRidge"}),
    "LinearAutoencoder": ("LinearAutoencoder", {}, {"LinearAutoencoder"}),
}


@pytest.mark.parametrize("model, options, sources", EXPLAINED.values(), ids=EXPLAINED)
def test_contributions_add_up_to_the_score(tiny, model, options, sources):
    recommender = Recommender.load(trained(tiny, model, **options))
    users, items, found = ["u1", ["i2", "i4"], {"id": "nobody"}], ["i1", "i2", "i3", "i30"], set()
    if recommender.model.described("user"):
        users.append({"age": 30})
    if recommender.model.described("item"):
        recommender.add_items(new_item(tiny, 4, "new"))
        items.append("new")
    else:
        with pytest.raises(OptionError, match="reads nothing of items but their interactions"):
            recommender.add_items(new_item(tiny, 4, "new"))
    for user in users:
        for item in items:
            parts = recommender.explain(user, item)
            assert list(parts.columns) == ["user_modality", "item_modality", "source", "contribution"]
            assert parts["contribution"].sum() == pytest.approx(recommender.score(user, [item]).iloc[0], abs=1e-4)
            assert not parts.duplicated(["user_modality", "item_modality", "source"]).any()
            found |= set(parts["source"])
    assert found == sources
    if "new" in items:
        named = set(recommender.explain("u1", "new")["item_modality"])
        assert {"genres", "year", "picture"} <= named <= {"genres", "year", "picture", "(mean)"}


def test_similar_entities(recommender):
    items = recommender.similar_items("i1", k=4)
    assert list(items.columns) == ["item", "rank", "similar", "cosine"] and "i1" not in set(items["similar"])
    assert items["cosine"].is_monotonic_decreasing and items["cosine"].max() <= 1 + 1e-6
    assert len(recommender.similar_users("u1", k=3)) == 3


def test_embeddings_for_an_index(recommender, tiny):
    recommender.add_items(new_item(tiny, 29, "new"))
    ids, fused, modalities = recommender.embeddings("item")
    assert ids[-1] == "new" and set(modalities) == {"interactions", "genres", "year", "picture"}
    assert fused.shape == (31, 8) and modalities["genres"].shape == (31, 8)
    assert modalities["picture"][-1].isnan().all() and not modalities["genres"][-1].isnan().any()
    own = torch.stack([values[-1] for values in modalities.values()])
    there = ~own.isnan().any(1)
    fusion = recommender.model.ensemble.networks[0].fusion["item"]
    assert torch.allclose(fused[-1, :8], fusion(own.nan_to_num().unsqueeze(0), there.unsqueeze(0))[0], atol=1e-6)


@pytest.mark.parametrize(
    "ask, error, message",
    [
        (lambda r: r.recommend(["u99"]), DataError, "Unknown user id 'u99'. Did you mean"),
        (lambda r: r.recommend([["i99"]]), DataError, "Unknown item id 'i99'"),
        (lambda r: r.recommend([{"gendr": "F"}]), OptionError, "'gendr' | 'gender'"),
        (lambda r: r.recommend(["u1"], k=0), OptionError, "k is 0"),
        (lambda r: r.recommend("u1"), OptionError, "expected a list of ids"),
        (lambda r: r.recommend([{"age": "old"}]), DataError, "'#0' | 'old' | number"),
        (lambda r: r.add_items(pd.DataFrame({"id": ["x"]})), DataError, "must be 'item_id'"),
        (
            lambda r: r.add_items(pd.DataFrame({"item_id": ["x"], "picture": ["1 2"]})),
            DataError,
            "2 numbers; expected 3",
        ),
    ],
)
def test_wrong_questions_get_clear_answers(recommender, ask, error, message):
    with pytest.raises(error, match=naming(message)):
        ask(recommender)


def test_an_unknown_category_is_missing_with_a_warning(recommender):
    with pytest.warns(UserWarning, match="gender: X did not occur in training"):
        table = recommender.recommend([{"gender": "X"}], k=2)
    assert table["item"].tolist() == recommender.recommend([{}], k=2)["item"].tolist()
    with pytest.warns(UserWarning, match="gender: f did not occur in training and cannot be used; F did"):
        recommender.recommend([{"gender": "f"}], k=2)


@pytest.mark.parametrize("model", ["BPR", "EASE", "Pop"])
def test_checkpoints_of_recbole_models(tiny, model):
    recommender = Recommender.load(trained(tiny, model, scenario="warm"))
    table = recommender.recommend(["u1", "u2"], k=3)
    start, stop = recommender.directory.interactions.indptr[recommender.directory.find("user", "u1") :][:2].tolist()
    seen = {recommender.directory.tokens["item"][n] for n in recommender.directory.interactions.columns[start:stop]}
    assert len(table) == 6 and not seen & set(table["item"][:3])
    with pytest.raises(OptionError, match=f"{model} recommends for known users only"):
        recommender.recommend([["i1"]])
    with pytest.raises(OptionError, match="use SiBraR or MuBraR"):
        recommender.add_items(pd.DataFrame({"item_id": ["x"]}))


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 7), st.integers(1, 60), st.integers(1, 12), st.integers(0, 10**6), st.booleans())
def test_top_k_against_a_full_sort(n_users, n_items, k, seed, with_ties):
    from recbole_sibrar.serving import topk

    generator = torch.Generator().manual_seed(seed)
    users, items = torch.randn(n_users, 4, generator=generator), torch.randn(n_items, 4, generator=generator)
    if with_ties:
        users, items = users.round(), items.round()
    excluded = SparseRows.from_pairs(
        torch.randint(n_users, (6,), generator=generator),
        torch.randint(n_items, (6,), generator=generator),
        n_users,
        n_items,
    )
    allowed = torch.rand(n_items, generator=generator) > 0.3
    scores = users @ items.T
    scores[:, ~allowed] = -torch.inf
    excluded.mark(scores, -torch.inf)
    topk.USERS_AT_A_TIME, topk.ITEMS_AT_A_TIME = 3, 20
    try:
        values, found = top_k(users, items, k, excluded, allowed)
    finally:
        topk.USERS_AT_A_TIME, topk.ITEMS_AT_A_TIME = 1024, 8192
    expected = scores.sort(dim=1, descending=True, stable=True)
    filled = values > -torch.inf
    assert torch.allclose(values[filled], expected.values[:, : values.shape[1]][filled], atol=1e-6)
    assert torch.equal(filled, expected.values[:, : values.shape[1]] > -torch.inf)
    assert torch.equal(found[filled], expected.indices[:, : values.shape[1]][filled])


def test_recommend_from_the_command_line(tiny, capsys):
    path = trained(tiny)
    new_item(tiny, 6, "new").assign(picture="0.0 1.5 -6.0").to_csv("items.csv", index=False)
    base = ["recommend", "--checkpoint", path, "--k", "3"]
    capsys.readouterr()
    assert main([*base, "--users", "u1", "u2"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 7
    assert main([*base, "--history", "i2", "i4", "--new-items", "items.csv", "--candidates", "new", "i6"]) == 0
    assert "new" in capsys.readouterr().out
    assert main([*base, "--all-users", "--output", "recs.parquet"]) == 0
    recs = pd.read_parquet("recs.parquet")
    assert len(recs) == 3 * 40 and list(recs.columns) == ["user", "rank", "item", "score"]
    pd.DataFrame({"user_id": ["u1", "x"], "history": ["", "i1 i3"], "gender": ["", "F"]}).to_csv(
        "users.csv", index=False
    )
    assert main([*base, "--users-file", "users.csv", "--output", "recs.csv"]) == 0
    assert pd.read_csv("recs.csv")["user"].tolist() == ["u1"] * 3 + ["x"] * 3


def test_candidates_from_a_table(tiny, capsys):
    base = ["recommend", "--checkpoint", trained(tiny), "--users", "u1", "--include-seen", "--candidates-file"]
    Path("today.csv").write_text("item_id,stock\ni3,1\ni5,2\n")
    assert main([*base, "today.csv", "--output", "recs.csv"]) == 0
    assert sorted(pd.read_csv("recs.csv")["item"]) == ["i3", "i5"]
    Path("today.csv").write_text("sku\ni3\n")
    assert main([*base, "today.csv"]) == 2
    assert names(capsys.readouterr().err, "today.csv, line 1 | 'item_id' | sku")


def test_users_of_whom_nothing_is_read_are_told_of_the_average(tiny, capsys):
    """u0 has no interactions, and this model reads nothing else of users."""
    (tiny.folder / "tiny" / "tiny.user").open("a").write("u0\tF\t30\n")
    path = trained(tiny, single_branch="item")
    recommender = Recommender.load(path)
    with pytest.warns(UserWarning, match=naming("1 of 2 users | 'u0' | (interactions) | the average user's list")):
        table = recommender.recommend(["u1", "u0"], k=3).set_index("user")
    assert table.loc["u0", "item"].tolist() == recommender.recommend([[]], k=3)["item"].tolist()
    Path("users.csv").write_text("user_id,gender\nu1,\nstranger,F\n")
    capsys.readouterr()
    assert main(["recommend", "--checkpoint", path, "--users-file", "users.csv"]) == 2
    assert names(capsys.readouterr().err, "users.csv | 'stranger' | reads nothing of | gender | history")


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--users", "u99"], "Unknown user id 'u99'"),
        (["--users-file", "absent.csv"], "absent.csv | no such file"),
        (["--users", "u1", "--output", "x.txt"], "a table is one of .csv"),
    ],
)
def test_mistakes_when_recommending(tiny, capsys, arguments, message):
    assert main(["recommend", "--checkpoint", trained(tiny), *arguments]) == 2
    assert names(capsys.readouterr().err, message)
    assert main(["recommend", "--checkpoint", "nothing.pth", *arguments]) == 2


@pytest.mark.parametrize("kind", ["npy", "parquet"])
def test_export(tiny, kind):
    path = trained(tiny)
    for _ in range(2):
        assert main(["export", "--checkpoint", path, "--output", "index", "--format", kind]) == 0
    stored = json.loads(open(path.replace("model.pth", "result.json")).read())
    assert json.loads(open("index/data.json").read()) == {"checkpoint": path, "data": stored["data"]}
    ids = open("index/item_ids.txt").read().split()
    read = np.load if kind == "npy" else lambda p: np.stack(pd.read_parquet(p).iloc[:, 1])
    fused = {side: read(f"index/{side}_fused.{kind}") for side in ("user", "item")}
    recommender = Recommender.load(path)
    user = recommender.directory.find("user", "u5") - 1
    assert np.allclose(fused["item"] @ fused["user"][user], recommender.score("u5", ids), atol=1e-5)
    assert main(["export", "--checkpoint", path, "--output", "results"]) == 2


@pytest.mark.parametrize("modality, file", [("fused", "modality_fused"), ("brand/year", "brand%2Fyear")])
def test_each_modality_is_exported_to_a_file_of_its_own(tiny, modality, file):
    for suffix in ("item", "yaml"):
        path = tiny.folder / "tiny" / f"tiny.{suffix}"
        path.write_text(path.read_text().replace("year", modality))
    path = trained(tiny)
    assert main(["export", "--checkpoint", path, "--output", "index"]) == 0
    _, fused, modalities = Recommender.load(path).embeddings("item")
    for name, values in {"fused": fused, file: modalities[modality]}.items():
        assert np.array_equal(np.load(f"index/item_{name}.npy"), values, equal_nan=True)


def test_a_checkpoint_of_another_version_is_named(tiny):
    result = run("SiBraR", "tiny", None, tiny.options(scenario="item_cold"))
    path = f"results/{result.name}/model.pth"
    state = torch.load(path, weights_only=True)
    missing, _ = state["state_dict"].popitem()
    state["versions"]["recbole_sibrar"] = "0.0.1"
    torch.save(state, path)
    name = re.escape(missing.removeprefix("core."))
    for load in (Recommender.load, TrainedModel):
        with pytest.raises(CheckpointError, match=f"does not fit .*{name}.*written by recbole_sibrar 0.0.1"):
            load(path)


def test_the_nearest_of_very_many_ids_is_found_at_once():
    ids, start = [f"i{n}" for n in range(10**6)], time.process_time()
    assert suggestion("i9999999", ids) == "Did you mean 'i999999'?" and suggestion("i" * 10**6, ids) == ""
    assert time.process_time() - start < 1


NO_IDS = [None, "", " ", float("nan"), float("inf"), True, [], {}, ["i1"], pd.NA, np.float64("nan"), b"i1", object(),
          "i\t1", "i\n1", "i\r1", "i\0", "\ud800i1"]  # fmt: skip
CALLS = {
    "recommend": lambda r, bad: r.recommend([{"id": bad, "history": ["i1"]}]),
    "history": lambda r, bad: r.recommend([[bad]]),
    "candidates": lambda r, bad: r.recommend(["u1"], candidates=[bad]),
    "add_items": lambda r, bad: r.add_items(pd.DataFrame({"item_id": [bad]}, dtype=object)),
    "similar_items": lambda r, bad: r.similar_items(bad),
    "similar_users": lambda r, bad: r.similar_users(bad),
    "explain": lambda r, bad: r.explain("u1", bad),
    "score": lambda r, bad: r.score("u1", [bad]),
}
WRONG_ARGUMENTS = {
    **{f"k={k!r}": (lambda r, k=k: r.recommend(["u1"], k=k), "k is ") for k in (2.5, "5", True, None, float("nan"), 0)},
    "similar k": (lambda r: r.similar_items("i1", k=1.0), "k is 1.0; expected an integer of at least 1"),
    "exclude_seen": (lambda r: r.recommend(["u1"], exclude_seen="no"), "exclude_seen is 'no'; expected True or False"),
    "users text": (lambda r: r.recommend("u1"), "users is 'u1'; expected a list of ids, histories"),
    "side": (lambda r: r.embeddings("items"), "side is 'items' | 'item'"),
    "side None": (lambda r: r.embeddings(None), "side is None | item, user"),
    "path None": (lambda r: r.save(None), "path is None; expected the path"),
    "folder None": (lambda r: Dataset(None), "folder is None; expected a path"),
    "users number": (lambda r: r.recommend(1), "users is 1; expected a list"),
    "users table": (lambda r: r.recommend(pd.DataFrame({"user_id": ["u1"]})), "users is a DataFrame; expected a list"),
    "users None in a list": (lambda r: r.recommend([None]), "None is no user id; expected a text or a number"),
    "users 0-d": (lambda r: r.recommend(np.array("u1")), "expected a list of ids"),
    "history None": (lambda r: r.recommend([{"history": None}]), "history of user '#0' is None; expected a list"),
    "history text": (lambda r: r.recommend([{"id": "x", "history": "i1"}]), "history of user 'x' is 'i1'; expected"),
    "age of 400 digits": (lambda r: r.recommend([{"age": 10**400}]), "'#0': age is '1000"),
    "id of 400 digits": (lambda r: r.recommend([10**400]), "Unknown user id '1000"),
    "candidates text": (lambda r: r.recommend(["u1"], candidates="i1"), "candidates is 'i1'; expected a list of item"),
    "candidates number": (lambda r: r.recommend(["u1"], candidates=3), "candidates is 3; expected a list"),
    "score text": (lambda r: r.score("u1", "i1"), "items is 'i1'; expected a list of item ids"),
    "items list": (lambda r: r.add_items(["n"]), "items is list; expected a data frame"),
    "items padding": (lambda r: r.add_items(pd.DataFrame({"item_id": ["[PAD]"]})), "'[PAD]' stands for no item"),
    "items two columns": (
        lambda r: r.add_items(pd.DataFrame([["n", 1, 2]], columns=["item_id", "year", "year"])),
        "column 'year' occurs twice",
    ),
    **{
        f"{column}={cell!r}": (
            lambda r, column=column, cell=cell: r.add_items(pd.DataFrame({"item_id": ["n"], column: [cell]})),
            f"'n': {column} ",
        )
        for column, cell in [
            ("year", float("inf")), ("year", "-inf"), ("year", True), ("year", [1]), ("year", {}), ("year", "soon"),
            ("picture", [1, 2, float("inf")]), ("picture", [[1, 2, 3]]), ("picture", 5), ("picture", "a b c"),
            ("picture", [1, 2]), ("picture", [1e39, 0, 0]), ("picture", [1e13, 0, 0]), ("picture", {"a": 1}),
            ("genres", 5), ("genres", [float("nan")]), ("genres", [["a"]]), ("genres", {"a": 1}),
        ]
    },
}  # fmt: skip


@pytest.mark.parametrize("call", CALLS)
def test_what_is_no_id_is_told(tiny, call):
    recommender = Recommender.load(trained(tiny))
    before = len(recommender.directory.tokens["item"])
    for bad in NO_IDS:
        with pytest.raises(OptionError, match="is no (user|item) id; expected a text or a number"):
            CALLS[call](recommender, bad)
    assert len(recommender.directory.tokens["item"]) == before


@pytest.fixture(scope="module")
def shared_recommender(tmp_path_factory):
    from conftest import TinyData

    folder = tmp_path_factory.mktemp("shared")
    tiny = TinyData(folder)
    options = tiny.options(scenario="item_cold", single_branch="both", output_dir=str(folder / "results"))
    return Recommender.load(folder / "results" / run("SiBraR", "tiny", None, options).name / "model.pth")


@pytest.mark.parametrize("case", WRONG_ARGUMENTS)
def test_wrong_arguments_get_our_errors(shared_recommender, case):
    call, message = WRONG_ARGUMENTS[case]
    with pytest.raises((OptionError, DataError)) as error:
        call(shared_recommender)
    assert names(str(error.value), message)


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4) | st.sampled_from(["i1", "u1", "z"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["id", "history", "year", "x"]), inner),
    max_leaves=4,
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(["recommend", "score", "similar_items", "similar_users", "explain", "add_items"]), st.data())
def test_no_argument_ends_in_a_traceback(shared_recommender, name, data):
    arguments = data.draw(st.lists(JUNK, min_size=1, max_size=2))
    if name == "add_items":
        column = data.draw(st.sampled_from(["genres", "year", "picture"]))
        arguments = [pd.DataFrame({"item_id": pd.Series([arguments[0]], dtype=object), column: [arguments[-1]]})]
    elif name in ("score", "explain"):
        arguments = [arguments[0], arguments[-1]]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            getattr(shared_recommender, name)(*arguments)
    except (OptionError, DataError):
        pass


def test_histories_of_ids_with_blanks_in_a_table(tiny):
    names = {f"i{n}": f"Item {n}, the" for n in range(1, 31)}
    for path in (tiny.folder / "tiny").glob("tiny.*"):
        if path.suffix in (".inter", ".item", ".picture"):
            rows = [line.split("\t") for line in path.read_text().splitlines()]
            path.write_text("\n".join("\t".join(names.get(cell, cell) for cell in row) for row in rows) + "\n")
    path = trained(tiny)
    history = ["Item 1, the", "Item 2, the"]
    pd.DataFrame({"user_id": ["x"], "history": [history]}).to_csv("users.csv", index=False)
    assert main(["recommend", "--checkpoint", path, "--users-file", "users.csv", "--k", "3", "--output", "o.csv"]) == 0
    expected = Recommender.load(path).recommend([history], k=3)["item"].tolist()
    assert pd.read_csv("o.csv")["item"].tolist() == expected


@pytest.mark.parametrize("extra", [["--users", ""], ["--history", " "], ["--users", "u1", "--candidates", ""]])
def test_what_is_no_id_on_the_command_line(tiny, capsys, extra):
    assert main(["recommend", "--checkpoint", trained(tiny), *extra]) == 2
    assert "id; expected a text or a number" in capsys.readouterr().err


def test_a_known_id_alone_is_the_known_user_however_it_is_written(recommender):
    users = [{"id": "u1"}, {"user_id": "u1"}, {"id": "u1", "history": []}, {"id": "nobody"}]
    lists = recommender.recommend(["u1", *users], k=4, exclude_seen=False).groupby("user", sort=False)["item"].agg(list)
    known = recommender.recommend(["u1"], k=4, exclude_seen=False)["item"].tolist()
    assert lists["u1"] == [*known * 3, *lists["nobody"]] and lists["nobody"] != known


def test_a_uuid_is_the_id_that_tables_of_uuids_gave():
    number = UUID(int=7)
    tokens = {side: ["[PAD]", str(number)] for side in ("user", "item")}
    directory = Directory(tokens, SparseRows.from_pairs([], [], 2, 2))
    assert directory.requests([number, {"id": number}, [number]]) == directory.requests(
        [str(number), {"id": str(number)}, [str(number)]]
    )


@pytest.mark.parametrize("known, meant", [("7", "7"), ("7.0", "7.0"), ("8", "7")])
def test_a_whole_number_with_a_point_is_the_id_without_unless_it_is_one_itself(known, meant):
    tokens = {side: ["[PAD]", known] for side in ("user", "item")}
    directory = Directory(tokens, SparseRows.from_pairs([], [], 2, 2))
    for value in (7.0, np.float32(7)):
        assert directory.token("item", value) == meant
    assert directory.token("item", 7.5) == "7.5"
    if known == meant:
        assert directory.find("item", 7.0) == 1 and directory.requests([7.0, {"id": 7.0}])[1].name == meant


def test_no_user_of_a_recbole_model(tiny):
    assert Recommender.load(trained(tiny, "BPR", scenario="warm")).recommend([]).empty


def test_tables_that_could_be_misread_are_refused_with_their_line(tiny, capsys):
    path = trained(tiny)
    tables = {
        "more.csv": ("item_id,genres,year\nx,any,1999,\n", "line 2: 4 cells, expected 3"),
        "fewer.csv": ("item_id,genres,year\nx,any,1999\ny,any\n", "line 3: 2 cells, expected 3"),
        "quote.csv": ('item_id,genres,year\nx,"any,1999\ny,any",1990\n', "line 2: a cell in quotes goes on to line 3"),
        "zero.csv": ("item_id,genres,year\nx,any\0,1999\n", "line 2: a zero byte"),
    }
    for name, (text, message) in tables.items():
        with open(name, "w") as file:
            file.write(text)
        for option in (["--users", "u1", "--new-items", name], ["--users-file", name]):
            assert main(["recommend", "--checkpoint", path, *option]) == 2
            assert f"recbole-sibrar: {name}, {message}" in capsys.readouterr().err
    with open("good.csv", "w", encoding="utf-8-sig") as file:
        file.write("item_id,genres,year,picture\r\n x ,any  group1 ,NULL,-\r\n")
    assert (
        main(["recommend", "--checkpoint", path, "--users", "u1", "--new-items", "good.csv", "--candidates", "x"]) == 0
    )
    assert " 1    x " in capsys.readouterr().out


@pytest.mark.slow
def test_the_example_with_ray_writes_the_lists_of_recommend(tiny):
    pytest.importorskip("ray")
    path = trained(tiny)
    assert main(["export", "--checkpoint", path, "--output", "index"]) == 0
    example = Path(__file__).resolve().parents[1] / "docs" / "examples" / "recommend_with_ray.py"
    done = subprocess.run(
        [sys.executable, example, "index", "lists", "--k", "5", "--workers", "1"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    keys = ["user", "rank"]
    found = pd.read_parquet("lists").sort_values(keys, ignore_index=True)
    expected = Recommender.load(path).recommend(k=5).sort_values(keys, ignore_index=True)
    pd.testing.assert_frame_equal(found, expected[found.columns], check_dtype=False, atol=1e-4, check_exact=False)
