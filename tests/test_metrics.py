"""Every metric against a plain loop, most against rmet and RecBole too; and what must hold for all of them.

A new metric costs one function here (``of_<name>``) and the invariants apply to it by themselves.
"""

import math
from dataclasses import replace

import numpy as np
import pytest
import recbole.evaluator.metrics as recbole_metrics
import rmet
import torch
from conftest import naming
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_sibrar.errors import OptionError
from recbole_sibrar.evaluation import metrics as ours
from recbole_sibrar.evaluation.metrics import METRICS, Recommendations, evaluate, long_tail, per_user_table

NAN = float("nan")
ACCURACY = {name: metric.function for name, metric in METRICS.items() if isinstance(metric, ours.AccuracyMetric)}
PER_USER = [name for name in METRICS if name != "coverage"]


# ---- plain loops; a list is what is left of the first k places without the empty ones; None = undefined


def _gain(ranks):
    return sum(1 / math.log2(rank + 1) for rank in ranks)


def _hit_ranks(case):
    return [rank for rank, item in enumerate(case.list, start=1) if item in case.relevant]


def _mean(numbers):
    return sum(numbers) / len(numbers) if numbers else None


def of_ndcg(case):
    return _gain(_hit_ranks(case)) / _gain(range(1, min(case.k, len(case.relevant)) + 1)) if case.relevant else None


def of_recall(case):
    return len(_hit_ranks(case)) / len(case.relevant) if case.relevant else None


def of_precision(case):
    return len(_hit_ranks(case)) / case.k if case.relevant else None


def of_map(case):
    precisions = [sum(hit <= rank for hit in _hit_ranks(case)) / rank for rank in _hit_ranks(case)]
    return sum(precisions) / min(len(case.relevant), case.k) if case.relevant else None


def of_mrr(case):
    return 1 / min(_hit_ranks(case), default=math.inf) if case.relevant else None


def of_fscore(case):
    if not case.relevant:
        return None
    p, r = of_precision(case), of_recall(case)
    return 2 * p * r / (p + r) if p + r else 0.0


def of_arp(case):
    return _mean([case.popularity[item] for item in case.list])


def of_aplt(case):
    return _mean([item in case.tail for item in case.list])


def of_pl(case):
    if not case.list or not case.profile_popularity or math.isnan(case.profile_popularity):
        return None
    return (of_arp(case) - case.profile_popularity) / case.profile_popularity


class World:
    """Lists, relevant items and popularity in plain Python; ``recommendations`` holds the same in tensors."""

    def __init__(self, lists, relevant, candidates, popularity, profile_popularity, n_places):
        self.lists, self.relevant, self.candidates = lists, relevant, candidates
        self.popularity, self.profile_popularity, self.n_places = popularity, profile_popularity, n_places
        by_popularity = sorted(candidates, key=lambda item: (popularity[item], item))
        self.tail = set(by_popularity[: 8 * len(candidates) // 10])

    @property
    def recommendations(self):
        padded = [ranked + [0] * (self.n_places - len(ranked)) for ranked in self.lists]
        return Recommendations(
            items=torch.tensor(padded),
            hits=torch.tensor([[item in own for item in row] for row, own in zip(padded, self.relevant)]),
            n_relevant=torch.tensor([len(own) for own in self.relevant]),
            candidates=torch.tensor([item in self.candidates for item in range(len(self.popularity))]),
            popularity=torch.tensor(self.popularity),
            profile_popularity=torch.tensor(self.profile_popularity),
        )


class Case:
    """One user's list, cut at k."""

    def __init__(self, world, user, k):
        self.k, self.list, self.relevant = k, world.lists[user][:k], world.relevant[user]
        self.popularity, self.tail = world.popularity, world.tail
        self.profile_popularity = world.profile_popularity[user]


@st.composite
def worlds(draw):
    """Users without relevant items or profile, empty and short lists, ties in popularity, few candidates."""
    n_users, n_places = draw(st.integers(1, 4)), draw(st.integers(1, 6))
    items = list(range(1, draw(st.integers(1, 8)) + 1))
    candidates = draw(st.sets(st.sampled_from(items), min_size=1))
    lists = [draw(st.permutations(sorted(candidates)))[: draw(st.integers(0, n_places))] for _ in range(n_users)]
    relevant = [draw(st.sets(st.sampled_from(sorted(candidates)))) for _ in range(n_users)]
    popularity = [0.0, *(float(draw(st.integers(0, 3))) for _ in items)]
    profile = [draw(st.sampled_from([NAN, 0.0, 0.5, 1.0, 3.0])) for _ in range(n_users)]
    return World(lists, relevant, candidates, popularity, profile, n_places)


def world_and_k():
    return worlds().flatmap(lambda world: st.tuples(st.just(world), st.integers(1, world.n_places)))


def close(found, expected):
    expected = NAN if expected is None else expected
    return found == pytest.approx(expected, abs=1e-12, nan_ok=True)


@pytest.mark.parametrize("name", PER_USER)
@given(world_and_k())
@settings(max_examples=80, deadline=None)
def test_against_a_loop(name, drawn):
    world, k = drawn
    expected = [globals()[f"of_{name}"](Case(world, user, k)) for user in range(len(world.lists))]
    values = METRICS[name].per_user(world.recommendations, k)
    assert values.dtype == torch.float64 and values.shape == (len(world.lists),)
    assert all(close(*pair) for pair in zip(values.tolist(), expected))
    assert close(METRICS[name].value(world.recommendations, k), _mean([v for v in expected if v is not None]))


@given(world_and_k())
@settings(max_examples=80, deadline=None)
def test_coverage_and_long_tail_against_a_loop(drawn):
    world, k = drawn
    recommendations = world.recommendations
    shown = {item for ranked in world.lists for item in ranked[:k]}
    assert close(METRICS["coverage"].value(recommendations, k), len(shown) / len(world.candidates))
    assert METRICS["coverage"].per_user(recommendations, k) is None
    assert set(recommendations.tail.nonzero().flatten().tolist()) == world.tail


# ---- other packages; every list is full and every user has something to find

N_USERS, N_ITEMS = 30, 14


@pytest.fixture
def ranking():
    """(logits, targets) over items 1 .. N_ITEMS in columns 0 .. N_ITEMS - 1."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.rand(N_USERS, N_ITEMS, generator=generator)
    targets = (torch.rand(N_USERS, N_ITEMS, generator=generator) < torch.rand(N_USERS, 1, generator=generator)).long()
    targets[:, 0] = 1
    return logits, targets


@pytest.fixture
def recommendations(ranking):
    logits, targets = ranking
    columns = logits.argsort(dim=1, descending=True)
    popularity = torch.cat([torch.zeros(1, dtype=torch.long), targets.sum(0) // 4])
    return Recommendations(
        items=columns + 1,
        hits=targets.gather(1, columns).bool(),
        n_relevant=targets.sum(1),
        candidates=torch.arange(N_ITEMS + 1) > 0,
        popularity=popularity.double(),
        profile_popularity=torch.ones(N_USERS),
    )


IN_RMET = {
    "ndcg": rmet.ndcg,
    "recall": rmet.recall,
    "precision": rmet.precision,
    "map": rmet.average_precision,
    "mrr": rmet.reciprocal_rank,
    "fscore": rmet.f_score,
}


@pytest.mark.parametrize("k", [1, 3, 10, N_ITEMS])
@pytest.mark.parametrize("name", IN_RMET)
def test_against_rmet(name, k, ranking, recommendations):
    logits, targets = ranking
    expected = IN_RMET[name](logits, targets, k).double()
    if name == "map":
        recommendations = replace(recommendations, map_divisor="relevant_items")
    assert torch.allclose(METRICS[name].per_user(recommendations, k), expected, atol=1e-6)


def test_both_divisors_of_map_against_numpy(recommendations):
    hits, n_relevant, k = recommendations.hits.numpy(), recommendations.n_relevant.numpy(), 3
    assert (n_relevant > k).any() and (n_relevant <= k).any(), "the divisors have to differ, and to agree"
    at_hits = [[row[: r + 1].mean() for r in range(k) if row[r]] for row in hits]
    for divisor, n in (("possible_hits", np.minimum(n_relevant, k)), ("relevant_items", n_relevant)):
        found = METRICS["map"].per_user(replace(recommendations, map_divisor=divisor), k)
        assert np.allclose(found, [sum(row) / own for row, own in zip(at_hits, n)], rtol=0, atol=1e-12)
    with pytest.raises(OptionError, match="map_divisor is 'k'"):
        METRICS["map"].value(replace(recommendations, map_divisor="k"), k)


@pytest.mark.parametrize("k", [1, 3])
def test_coverage_against_rmet(k, ranking, recommendations):
    few = replace(
        recommendations,
        **{
            field: getattr(recommendations, field)[:4]
            for field in ("items", "hits", "n_relevant", "profile_popularity")
        },
    )
    expected = rmet.coverage(ranking[0][:4], k)
    assert 0 < expected < 1 and METRICS["coverage"].value(few, k) == pytest.approx(expected)


@pytest.fixture
def in_recbole(monkeypatch):
    """RecBole's metric class -> an instance. Its ``Config`` restores the aliases that numpy removed."""
    monkeypatch.setattr(np, "float", np.float64, raising=False)
    config = {"topk": [1], "metric_decimal_place": 4, "tail_ratio": ours.LONG_TAIL_SHARE}
    return lambda name: getattr(recbole_metrics, name)(config)


@pytest.mark.parametrize("name", ["NDCG", "Recall", "Precision", "MAP", "MRR"])
def test_accuracy_against_recbole(name, in_recbole, recommendations):
    arguments = [recommendations.hits.numpy(), recommendations.n_relevant.numpy()]
    expected = in_recbole(name).metric_info(*arguments[: 1 if name in ("Precision", "MRR") else 2])
    for k in range(1, N_ITEMS + 1):
        found = METRICS[name.lower()].per_user(recommendations, k)
        assert np.allclose(found, expected[:, k - 1], rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "name, theirs, prepare",
    [
        ("arp", "AveragePopularity", "get_pop"),
        ("aplt", "TailPercentage", "get_tail"),
    ],
)
def test_popularity_against_recbole(name, theirs, prepare, in_recbole, recommendations):
    metric = in_recbole(theirs)
    counts = dict(enumerate(recommendations.popularity.tolist()[1:], start=1))
    assert len(set(counts.values())) < len(counts), "ties are part of the test"
    expected = metric.metric_info(getattr(metric, prepare)(recommendations.items.numpy(), counts))
    for k in range(1, N_ITEMS + 1):
        assert np.allclose(METRICS[name].per_user(recommendations, k), expected[:, k - 1], rtol=0, atol=1e-12)


# ---- what must hold for every metric


@pytest.mark.parametrize("name", METRICS)
@given(world_and_k())
@settings(max_examples=40, deadline=None)
def test_invariants(name, drawn):
    world, k = drawn
    metric, recommendations = METRICS[name], world.recommendations
    value = metric.value(recommendations, k)
    low, high = metric.range
    assert math.isnan(value) or low - 1e-12 <= value <= high + 1e-12

    backwards = World(
        world.lists[::-1],
        world.relevant[::-1],
        world.candidates,
        world.popularity,
        world.profile_popularity[::-1],
        world.n_places,
    ).recommendations
    assert close(metric.value(backwards, k), value)
    values = metric.per_user(recommendations, k)
    if values is not None:
        assert torch.equal(metric.per_user(backwards, k).flip(0).nan_to_num(-9), values.nan_to_num(-9))

    popularity, candidates = recommendations.popularity.clone(), recommendations.candidates.clone()
    popularity[0], candidates[0] = 1e9, True
    perturbed = replace(
        recommendations,
        hits=recommendations.hits | (recommendations.items == 0),
        popularity=popularity,
        candidates=candidates,
    )
    assert close(metric.value(perturbed, k), value), "what item 0 and empty places hold must not matter"

    longer = World(
        world.lists, world.relevant, world.candidates, world.popularity, world.profile_popularity, world.n_places + 3
    ).recommendations
    assert close(metric.value(longer, k), value), "places after k must not matter"


@pytest.mark.parametrize("name", METRICS)
def test_metric_says_what_it_is(name):
    metric = METRICS[name]
    assert metric.name == name and metric.range[0] < metric.range[1] and metric.empty.endswith(".")
    assert isinstance(metric.higher_is_better, bool) and type(metric).__doc__


def test_directions():
    assert {name for name, metric in METRICS.items() if not metric.higher_is_better} == {"arp", "pl"}


@pytest.mark.parametrize("name", ACCURACY)
def test_perfect_and_worst_ranking(name):
    hits = torch.tensor([[True, True, True, False], [False, False, False, True]])
    assert ACCURACY[name](hits, torch.tensor([3, 1]), 3).tolist() == [1.0, 0.0]


@pytest.mark.parametrize("name", ["ndcg", "map", "mrr"])
@pytest.mark.parametrize("n_relevant", [1, 2, 3, 7])
def test_ranking_metrics_are_1_whenever_nothing_could_stand_higher(name, n_relevant):
    hits = torch.arange(4)[None] < n_relevant
    assert ACCURACY[name](hits, torch.tensor([n_relevant]), 4).item() == pytest.approx(1)


@pytest.mark.parametrize("name", ["ndcg", "map", "mrr"])
def test_a_hit_counts_more_the_higher_it_stands(name):
    values = ACCURACY[name](torch.eye(5, dtype=torch.bool), torch.full((5,), 2), 5)
    assert (values.diff() < 0).all() and (values > 0).all()


def test_moving_an_empty_place_up_does_not_change_popularity(recommendations):
    items = torch.tensor([[0, 3, 0, 5], [3, 5, 0, 0]])
    values = ours.average_recommendation_popularity(items, recommendations.popularity, 4)
    assert values[0] == values[1]


# ---- the empty cases


def test_nothing_to_compute_from():
    world = World([[], [1]], [{1}, set()], {1, 2}, [0.0, 1.0, 1.0], [1.0, NAN], 2)
    table = per_user_table(world.recommendations, METRICS, [2])
    assert list(table) == [f"{name}@2" for name in PER_USER]
    for name in ACCURACY:
        assert close(table[f"{name}@2"][0].item(), 0) and table[f"{name}@2"][1].isnan()
    assert table["arp@2"][0].isnan() and table["aplt@2"][0].isnan() and table["pl@2"].isnan().all()
    assert math.isnan(evaluate(world.recommendations, ["pl"], [2])["pl@2"])


@pytest.mark.parametrize("name", METRICS)
def test_no_users_at_all(name):
    empty = Recommendations(
        items=torch.zeros(0, 3, dtype=torch.long),
        hits=torch.zeros(0, 3, dtype=torch.bool),
        n_relevant=torch.zeros(0, dtype=torch.long),
        candidates=torch.tensor([False, True]),
        popularity=torch.zeros(2),
        profile_popularity=torch.zeros(0),
    )
    assert close(METRICS[name].value(empty, 3), 0 if name == "coverage" else None)


def test_coverage_without_candidates():
    assert math.isnan(ours.coverage(torch.zeros(2, 2, dtype=torch.long), torch.zeros(4, dtype=torch.bool), 2))


@pytest.mark.parametrize(
    "n, share, size", [(5, 0.8, 4), (4, 0.8, 3), (1, 0.8, 0), (0, 0.8, 0), (100, 0.29, 29), (7, 1.0, 7), (7, 0.0, 0)]
)
def test_long_tail_of_equally_popular_items(n, share, size):
    tail = long_tail(torch.ones(n + 1), torch.ones(n + 1, dtype=torch.bool), share)
    assert tail.nonzero().flatten().tolist() == list(range(1, size + 1))


# ---- errors


def test_evaluate_gives_one_number_per_metric_and_cut_off(recommendations):
    result = evaluate(recommendations, ["recall", "coverage"], [1, 5])
    assert list(result) == ["recall@1", "recall@5", "coverage@1", "coverage@5"]
    assert all(type(value) is float for value in result.values())


@pytest.mark.parametrize("function", [evaluate, per_user_table])
def test_unknown_metric(function, recommendations):
    with pytest.raises(OptionError, match="Did you mean 'ndcg'"):
        function(recommendations, iter(["recall", "ndgc"]), [1])


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("k", [0, -1, N_ITEMS + 1])
def test_k_outside_the_lists(name, k, recommendations):
    with pytest.raises(ValueError, match=f"k is {k}, expected 1 to {N_ITEMS}"):
        METRICS[name].value(recommendations, k)


def test_share_out_of_range():
    with pytest.raises(ValueError, match="share is 80"):
        long_tail(torch.ones(3), torch.ones(3, dtype=torch.bool), 80)


@pytest.mark.parametrize(
    "field, shape",
    [
        ("items", (3,)),
        ("hits", (N_USERS, 2)),
        ("n_relevant", (N_USERS, 1)),
        ("candidates", (1, N_ITEMS)),
        ("popularity", (N_ITEMS,)),
        ("profile_popularity", (N_ITEMS,)),
    ],
)
def test_shapes_that_do_not_agree(field, shape, recommendations):
    with pytest.raises(ValueError, match=f"{field} has shape") as error:
        replace(recommendations, **{field: torch.zeros(shape, dtype=getattr(recommendations, field).dtype)})
    assert str(shape) in str(error.value)


@pytest.mark.parametrize("name", ACCURACY)
@pytest.mark.parametrize(
    "n_relevant, message",
    [([2, 2], "n_relevant | (2,) | (1,)"), ([1], "n_relevant is 1 in row 0 | 2 hits"), ([[2]], "(1, 1) | (1,)")],
)
def test_a_list_has_no_more_hits_than_there_are_relevant_items(name, n_relevant, message):
    """Numbers of other users were broadcast, and NDCG was 1.5."""
    with pytest.raises(ValueError, match=naming(message)):
        ACCURACY[name](torch.tensor([[True, True]]), torch.tensor(n_relevant), 2)


@pytest.mark.parametrize("name", ACCURACY)
def test_hits_are_flags_whatever_their_type(name):
    hits, n_relevant = torch.tensor([[2, 0, 5]]), torch.tensor([3])
    assert torch.equal(ACCURACY[name](hits, n_relevant, 3), ACCURACY[name](hits > 0, n_relevant, 3))


def test_one_list_is_no_table_of_lists():
    with pytest.raises(ValueError, match=naming("(3,) | (users, places)")):
        ours.ndcg(torch.ones(3, dtype=torch.bool), torch.tensor([3]), 3)


@pytest.mark.parametrize("item", [-1, 4])
def test_lists_name_items_that_there_are(item):
    """-1 was the last item."""
    with pytest.raises(ValueError, match=naming(f"items | {item} | 0 to 3")):
        Recommendations(
            items=torch.tensor([[1, item]]),
            hits=torch.zeros(1, 2, dtype=torch.bool),
            n_relevant=torch.tensor([1]),
            candidates=torch.ones(4, dtype=torch.bool),
            popularity=torch.ones(4),
            profile_popularity=torch.ones(1),
        )
