"""What stands in for missing content: against closed forms, scikit-learn and graphs by hand, and without leaks."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import naming
from sklearn.impute import KNNImputer

from recbole_sibrar.data.modalities import Modalities, Modality
from recbole_sibrar.data.sparse import SparseRows
from recbole_sibrar.errors import OptionError
from recbole_sibrar.kinds.tags import tags_modality
from recbole_sibrar.models.imputation import IMPUTERS, Imputer
from recbole_sibrar.recbole_plugin.prepared import make_config, prepare
from recbole_sibrar.recbole_plugin.run import run
from recbole_sibrar.recbole_plugin.trained import TrainedModel
from recbole_sibrar.serving.recommender import Recommender

HOWS = IMPUTERS[1:]
N = 41
TRAINED = (torch.arange(N) > 0) & (torch.arange(N) <= 30)  # 0 is padding, the last ten are cold


def some(n=N, seed=0):
    """Two vectors, a number, a category and tags; each entity lacks a random third of them."""
    generator = torch.Generator().manual_seed(seed)
    real = torch.arange(n) > 0

    def has():
        return real & (torch.rand(n, generator=generator) > 0.3)

    names = [f"t{k}" for k in range(5)]
    tags = tags_modality("tags", [names[: i % 4 + 1] for i in range(n)], names)
    entries = (
        Modality("text", "vector", has(), torch.randn(n, 3, generator=generator), 3),
        Modality("image", "vector", has(), torch.randn(n, 4, generator=generator), 4),
        Modality("year", "number", has(), 1990 + torch.arange(n).double(), 1),
        Modality("kind", "category", has(), torch.arange(n) % 7 // 3, 3, ("a", "b", "c")),
        replace(tags, available=has()),
    )
    return Modalities("item", entries)


OF_USERS = [(i, i // 4) for i in range(1, 31)]


def links(pairs=OF_USERS, n=N):
    rows, columns = zip(*pairs)
    return SparseRows.from_pairs(rows, columns, n, max(columns) + 1)


def completed(how, modalities, trained=TRAINED, interactions=None):
    return Imputer(how, modalities, trained, interactions or links()).complete(modalities.available)


def test_the_mean_is_that_of_the_training_entities_that_have_it():
    known = some()
    after = completed("mean", known)
    donors = known.available & TRAINED.unsqueeze(1)
    for m in (0, 1, 2):
        lacking = ~known.available[1:, m]
        expected = known.entries[m].values[donors[:, m]].double().mean(0)
        assert lacking.any() and torch.allclose(after.entries[m].values[1:][lacking].double(), expected, atol=1e-5)
    category, tags = known.entries[3], known.entries[4]
    most = torch.bincount(category.values[donors[:, 3]]).argmax()
    assert (after.entries[3].values[1:][~category.available[1:]] == most).all()
    rows = tags.values.select(donors[:, 4].nonzero().squeeze(1))
    n_tags = round(len(rows.columns) / len(rows.lengths))
    frequent = set(torch.bincount(rows.columns).argsort(descending=True, stable=True)[:n_tags].tolist())
    for item in (~tags.available).nonzero()[1:]:
        assert set(after.entries[4].values.select(item).columns.tolist()) == frequent


def test_zeros_are_no_tag_no_category_and_the_mean_of_a_number():
    known = some()
    after, mean = completed("zero", known), completed("mean", known)
    lacking = [(~entry.available).nonzero().squeeze(1)[1:] for entry in known.entries]
    assert not after.entries[0].values[lacking[0]].any()
    assert torch.equal(after.entries[2].values[lacking[2]], mean.entries[2].values[lacking[2]])
    assert (after.entries[3].values[lacking[3]] == -1).all()
    assert not after.entries[4].values.lengths[lacking[4]].any()


def test_the_nearest_are_those_of_scikit_learn():
    known = some()
    text, image = known.entries[:2]
    text = replace(text, available=torch.arange(N) > 0)
    after = completed("knn", Modalities("item", (text, image)))
    table = torch.cat([text.values, torch.where(image.available.unsqueeze(1), image.values, torch.nan)], 1).numpy()
    imputer = KNNImputer(n_neighbors=10).fit(table[TRAINED])
    lacking = (~image.available).nonzero().squeeze(1)[1:]
    expected = imputer.transform(table[lacking])[:, text.width :]
    assert np.allclose(after.entries[1].values[lacking], expected, atol=1e-5)


def graph(weights, known, n, hidden=()):
    """What is imputed of one number for ``n`` items, items i and j having ``weights[i, j]`` users in common.

    Args:
        known: {item: number} in training. hidden: of these in evaluation.
    """
    pairs, user = [], 0
    for (first, second), weight in weights.items():
        for _ in range(weight):
            pairs += [(first, user), (second, user)]
            user += 1
    available = torch.tensor([item in known for item in range(n)])
    values = torch.tensor([float(known.get(item, 1e6)) for item in range(n)], dtype=torch.double)
    modalities = Modalities("item", (Modality("year", "number", available, values, 1),))
    has = torch.tensor([[item in known and item not in hidden] for item in range(n)])
    return Imputer("graph", modalities, torch.arange(n) > 0, links(pairs, n)).complete(has).entries[0].values.tolist()


def test_known_values_spread_over_the_graph_and_stay():
    weighted = graph({(1, 2): 1, (2, 3): 2}, {1: 0, 3: 9}, 4)
    assert weighted[1:] == pytest.approx([0, 6, 9]), "by common users"
    path = graph({(1, 2): 1, (2, 3): 1, (3, 4): 1}, {1: 0, 4: 3}, 5)
    assert path[1:] == pytest.approx([0, 1, 2, 3], abs=1e-4)
    alone = graph({(1, 2): 1, (3, 4): 1}, {1: 0, 2: 6}, 6)
    assert alone[1:] == [0, 6, 3, 3, 3], "what nothing reaches has the mean"


def test_what_is_hidden_in_evaluation_does_not_come_back_over_the_graph():
    edges = {(1, 2): 1, (1, 3): 1, (4, 5): 1}
    before, after = (graph(edges, {1: one, 3: 9, 4: 6}, 6, hidden=(1, 4)) for one in (0, 60))
    assert before[1] == after[1] == 9 and after[2] == 60 and after[4] == 25, "known neighbours, else the mean"


@pytest.mark.parametrize("how", HOWS)
def test_neither_cold_entities_nor_what_is_masked_are_read(how):
    known = some()
    unread = ~(known.available & TRAINED.unsqueeze(1))
    other = Modalities("item", tuple(_perturbed(e, unread[:, m] & ~e.available) for m, e in enumerate(known.entries)))
    cold = Modalities("item", tuple(_perturbed(e, unread[:, m]) for m, e in enumerate(known.entries)))
    first, second, third = (completed(how, own) for own in (known, other, cold))
    for m, entry in enumerate(known.entries):
        lacking = (~entry.available).nonzero().squeeze(1)[1:]
        of_training = lacking[TRAINED[lacking]]
        assert len(of_training) and len(lacking) > len(of_training)
        for ids, after in ((lacking, second), (of_training, third)):
            assert _same(first.entries[m].features(ids), after.entries[m].features(ids))


def _perturbed(entry, rows):
    if isinstance(entry.values, SparseRows):
        shuffled = torch.where(rows, 3, torch.arange(N))
        return replace(entry, values=entry.values.select(shuffled))
    values = entry.values.clone()
    values[rows] = 2 if entry.kind == "category" else 77.0
    return replace(entry, values=values)


def _same(first, second):
    if isinstance(first, SparseRows):
        return torch.equal(first.columns, second.columns) and torch.equal(first.indptr, second.indptr)
    return torch.equal(first, second)


@pytest.mark.parametrize("how", HOWS)
def test_what_is_there_stays_and_padding_has_nothing(how):
    known = some()
    after = completed(how, known)
    assert after.available[1:].all() and not after.available[0].any()
    for before, entry in zip(known.entries, after.entries):
        there = before.available.nonzero().squeeze(1)
        assert _same(before.features(there), entry.features(there))


def splits(tiny, held_out):
    pairs = [(user, item) for user, item in tiny.pairs if item <= 20]
    tiny.interactions("train.inter", pairs)
    tiny.interactions("valid.inter", [(user, item) for user, item in tiny.pairs if 20 < item <= 25])
    tiny.interactions("test.inter", held_out)


@pytest.mark.filterwarnings("ignore:embedding_size is 8")
@pytest.mark.parametrize("how", HOWS[1:])
def test_held_out_interactions_change_nothing_that_is_imputed(tiny, how):
    found = []
    for shift in (0, 1):
        splits(tiny, [(1 + (user + shift) % tiny.n_users, item) for user, item in tiny.pairs if item > 25])
        options = tiny.options(scenario="item_cold", impute=how, benchmark_filename=["train", "valid", "test"])
        found.append(prepare(make_config("ContentRidge", "tiny", None, options)).model.core.content_in_training)
    assert found[0].available[1:].all()
    every = torch.arange(tiny.n_items + 1)
    assert all(_same(a.features(every), b.features(every)) for a, b in zip(*(own.entries for own in found)))


MODELS = {
    "SiBraR": {"single_branch": "both", "content_prior": 1.0},
    **dict.fromkeys(("ContentRidge", "KernelRidge", "CLCRec", "DropoutNet"), {}),
}


def trained(tiny, name, **options):
    return run(name, "tiny", None, tiny.options(scenario="item_cold", run_name="run", **MODELS[name], **options))


@pytest.mark.filterwarnings("ignore:embedding_size is 8")
@pytest.mark.parametrize(
    "name, how",
    [
        *((name, how) for name in ("SiBraR", "ContentRidge") for how in HOWS[1:]),
        *((n, "knn") for n in list(MODELS)[2:]),
    ],
)
def test_new_items_and_items_that_lose_content_are_imputed_as_known_ones(tiny, name, how):
    assert trained(tiny, name, impute=how).label.endswith(f"+{how}")
    check_items_that_stay_as_they_are(tiny)
    check_a_new_item(tiny)
    check_what_is_lost_in_evaluation()


@pytest.mark.filterwarnings("ignore:embedding_size is 8")
@pytest.mark.parametrize("how", HOWS)
def test_what_evaluation_hides_does_not_come_back_to_an_item_that_is_changed(tiny, how):
    trained(tiny, "ContentRidge", impute=how, missing={"rate": 0.5, "phase": "evaluation"})
    check_items_that_stay_as_they_are(tiny)


def check_items_that_stay_as_they_are(tiny):
    """An item that was removed and comes back is what it was, with the neighbours that it had."""
    model, items = Recommender.load("results/run"), [f"i{n}" for n in range(1, tiny.n_items + 1)]
    before = model.score("u1", items)
    model.remove_items(items)
    model.add_items(pd.DataFrame({"item_id": items}))
    model.save("again.pth")
    for own in (model, Recommender.load("again.pth")):
        assert np.allclose(own.score("u1", items), before, atol=1e-5)
        for item in items[:3]:
            assert own.explain("u1", item)["contribution"].sum() == pytest.approx(before[item], abs=1e-4)


def check_a_new_item(tiny):
    """A new item has the score of the cold item that has the same features."""
    model = Recommender.load("results/run")
    in_training = {model.directory.tokens["item"][n] for n in model.directory.interactions.columns.tolist()}
    numbers = [n for n in range(1, tiny.n_items + 1) if f"i{n}" not in in_training]
    cold, new = [f"i{n}" for n in numbers], [f"new i{n}" for n in numbers]
    rows = pd.DataFrame({"item_id": new})
    rows["genres"] = ["" if n == 30 else f"group{n % 2} any" for n in numbers]
    rows["year"] = [None if n % 3 == 0 else 1990.0 + n for n in numbers]
    rows["picture"] = [tiny.vectors.get(n) for n in numbers]
    model.add_items(rows)
    scores = [model.score("u1", items).to_numpy() for items in (cold, new)]
    assert np.allclose(*scores, atol=1e-5) and len(set(scores[0].round(6))) > 2
    lacking = next(item for item, n in zip(new, numbers) if n % 3 == 0)
    parts = model.explain("u1", lacking)
    assert {"genres", "year", "picture"} <= set(parts["item_modality"])
    assert parts["contribution"].sum() == pytest.approx(model.score("u1", [lacking]).iloc[0], abs=1e-4)


def check_what_is_lost_in_evaluation():
    """A cold item that loses its picture has the embedding of a new item that never had one."""
    model = TrainedModel("results/run")
    core = model.core.eval()
    cold = (~core.entities("item").trained).nonzero().squeeze(1)[1:]
    whole = core.embeddings("item", cold)
    with model.only("item", ["genres", "year"]):
        known = core.modalities["item"].rows(cold.cpu()).to(cold.device)
        entries = [replace(e, available=e.available & (e.name != "picture")) for e in known.entries]
        expected = core.embed(replace(known, entries=tuple(entries)))
        found = core.embeddings("item", cold)
    assert torch.allclose(found, expected, atol=1e-5) and not torch.allclose(found, whole, atol=1e-4)
    assert torch.allclose(core.embeddings("item", cold), whole, atol=1e-6)


def test_an_item_is_completed_once_for_all_networks(tiny, monkeypatch):
    trained(tiny, "SiBraR", impute="knn", ensemble_size=3)
    core, completed, original = TrainedModel("results/run").core.eval(), [], Imputer.complete_new
    new = core.modalities["item"].rows(torch.tensor([3]))
    monkeypatch.setattr(Imputer, "complete_new", lambda *given: completed.append(1) or original(*given))
    used = torch.ones(2, len(core.entities("item").names), dtype=torch.bool)
    for read in (core.parts, lambda *of: core.ensemble.with_modalities(*of, used), lambda _, item: core.embed(item)):
        completed.clear()
        read("item", new)
        assert len(completed) == 1


@pytest.mark.parametrize(
    "model, options, message",
    [
        ("ContentRidge", {"impute": "median"}, "impute is 'median'"),
        ("SiBraR", {"impute": "mean", "vector_storage": "disk"}, "impute | 'mean'"),
        ("BPR", {"impute": "mean"}, "impute"),
    ],
)
def test_what_cannot_be_imputed_is_refused(tiny, model, options, message):
    with pytest.raises(OptionError, match=naming(message)):
        prepare(make_config(model, "tiny", None, tiny.options(scenario="item_cold", **options)))
