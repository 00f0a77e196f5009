"""Whole runs on the tiny data set: traps of the protocol, RecBole's own entry points, reproducibility."""

import json
import math
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import naming
from recbole.config import Config
from recbole.data import data_preparation
from recbole.data.dataset import Dataset as StockDataset

from recbole_sibrar.errors import CheckpointError, OptionError, SibrarError
from recbole_sibrar.evaluation.protocol import CANDIDATE_CHOICES
from recbole_sibrar.recbole_plugin.config import OUR_MODELS
from recbole_sibrar.recbole_plugin.prepared import make_config, prepare
from recbole_sibrar.recbole_plugin.quick_start import load_data_and_model
from recbole_sibrar.recbole_plugin.run import run
from recbole_sibrar.recbole_plugin.trainer import ProtocolTrainer
from recbole_sibrar.report.collection import read_runs
from recbole_sibrar.report.comparison import SMALLER, goodness
from recbole_sibrar.serving.recommender import Recommender

SCENARIOS = ["warm", "user_cold", "item_cold"]
every_scenario = pytest.mark.parametrize("scenario", SCENARIOS)


def prepared(tiny, model="SiBraR", **options):
    return prepare(make_config(model, "tiny", None, tiny.options(**options)))


def trained(tiny, model="SiBraR", **options):
    """(prepared, validation result, test result)."""
    ready = prepared(tiny, model, **options)
    train_data, valid_data, test_data = ready.loaders
    _, valid_result = ready.trainer.fit(train_data, valid_data, verbose=False)
    return ready, valid_result, ready.trainer.evaluate(test_data)


def entities(loader, field):
    return set(loader._dataset.inter_feat[field].tolist())


@every_scenario
@pytest.mark.parametrize("model", [*OUR_MODELS, "BPR", "Pop", "Random", "EASE", "MultiVAE"])
def test_every_scenario_gives_complete_results(tiny, scenario, model):
    result = run(model, "tiny", None, tiny.options(scenario=scenario))
    folder = f"results/{result.name}"
    stored = json.loads(open(f"{folder}/result.json").read())
    metrics = {f"{m}@3" for m in "ndcg recall precision map mrr fscore coverage arp aplt pl".split()}
    assert set(stored["test_result"]) == set(stored["valid_result"]) == metrics
    assert all(value is not None and math.isfinite(value) for value in stored["test_result"].values())
    assert stored["popularity_source"] and stored["n_candidates"] > 0 and stored["versions"]["recbole"] == "1.2.1"
    assert (scenario == "item_cold") == ("interactions of the test split" in stored["popularity_source"])
    table = pd.read_csv(f"{folder}/per_user.csv")
    assert len(table) == stored["n_users"] and table["user_id"].str.startswith("u").all()
    assert table["ndcg@3"].mean() == pytest.approx(stored["test_result"]["ndcg@3"], abs=1e-6)
    assert os.path.isfile(f"{folder}/model.pth")


@pytest.mark.parametrize("option", ["eval_step", "epochs"])
def test_without_validation_there_is_no_score(tiny, capsys, option):
    result = run("BPR", "tiny", None, tiny.options(**{option: 0, "show_progress": True}))
    stored = json.loads(open(f"results/{result.name}/result.json").read(), parse_constant=pytest.fail)
    assert stored["best_valid_score"] is None and "nothing is validated" in capsys.readouterr().out


# trap 1: negatives


@pytest.mark.parametrize("model, options", [("SiBraR", {}), ("CLCRec", {}), ("BPR", {}), ("DMF", {})])
@pytest.mark.parametrize("distribution", ["uniform", "popularity"])
def test_cold_items_are_never_negatives(tiny, model, options, distribution):
    sampling = {"distribution": distribution, "sample_num": 5}
    ready = prepared(tiny, model, scenario="item_cold", train_neg_sample_args=sampling, **options)
    train_data = ready.loaders[0]
    training_items = entities(train_data, "item_id")
    seen = set()
    for _ in range(5):
        for batch in train_data:
            seen |= set(batch["item_id"].tolist())
            if "neg_item_id" in batch:
                seen |= set(batch["neg_item_id"].flatten().tolist())
    assert seen == training_items and len(training_items) < tiny.n_items


def test_softmax_covers_the_training_catalogue_only(tiny):
    ready = prepared(tiny, scenario="item_cold")
    assert set(ready.model.core.ensemble.networks[0].catalogue.tolist()) == entities(ready.loaders[0], "item_id")


# trap 2: nothing cold in training, nothing of the test split in validation


@every_scenario
def test_splits_are_apart(tiny, scenario):
    train_data, valid_data, test_data = prepared(tiny, scenario=scenario).loaders
    field = {"user_cold": "user_id", "item_cold": "item_id"}.get(scenario)
    if field:
        parts = [entities(loader, field) for loader in (train_data, valid_data, test_data)]
        assert not (parts[0] & parts[1] or parts[0] & parts[2] or parts[1] & parts[2])
        assert len(set.union(*parts)) == (tiny.n_users if field == "user_id" else tiny.n_items)
    pairs = [
        set(zip(loader._dataset.inter_feat["user_id"].tolist(), loader._dataset.inter_feat["item_id"].tolist()))
        for loader in (train_data, valid_data, test_data)
    ]
    assert not (pairs[0] & pairs[1] or pairs[0] & pairs[2] or pairs[1] & pairs[2])


@every_scenario
def test_cold_entities_have_no_interactions_in_any_model_input(tiny, scenario):
    ready = prepared(tiny, scenario=scenario, single_branch="both")
    train = ready.loaders[0]._dataset
    for side, field in (("user", "user_id"), ("item", "item_id")):
        encoder = ready.model.core.entities(side)
        has_interactions = encoder.available[:, encoder.names.index("interactions")]
        assert set(has_interactions.nonzero().squeeze(1).tolist()) == set(train.inter_feat[field].tolist())
    rows = ready.model.core.entities("item").projections[0]
    assert len(rows.columns) == len(train.inter_feat)


def test_interactions_of_one_time_are_in_no_order_of_ids(tiny):
    lines = [f"u{user}\ti{item}\t5" for user, item in tiny.pairs]
    last = []
    for seed, written in ((1, lines), (2, lines[::-1])):
        tiny.file("inter", "user_id:token\titem_id:token\ttimestamp:float", written)
        split = {"split": {"LS": "valid_and_test"}, "order": "TO"}
        ready = prepared(tiny, "Pop", scenario="warm", eval_args=split, seed=seed)
        last.append(
            dict(zip(*(ready.loaders[2]._dataset.inter_feat[name].tolist() for name in ("user_id", "item_id"))))
        )
    assert last[0] == last[1]
    largest = Counter()
    for loader in ready.loaders:
        feat = loader._dataset.inter_feat
        for user, item in zip(feat["user_id"].tolist(), feat["item_id"].tolist()):
            largest[user] = max(largest[user], item)
    assert np.mean([last[0][user] == item for user, item in largest.items()]) < 0.5


@pytest.mark.parametrize("scenario", ["warm", "item_cold"])
@pytest.mark.parametrize("model", [*OUR_MODELS, "BPR"])
def test_training_and_validation_do_not_see_the_test_split(tiny, scenario, model):
    """Two data sets that differ in the test file alone train the same model and choose the same epoch."""
    part = {"warm": lambda pair: sum(pair) % 10, "item_cold": lambda pair: pair[1] % 10}[scenario]
    parts = [[p for p in tiny.pairs if part(p) not in (0, 1)], [p for p in tiny.pairs if part(p) == 0]]
    tests = [p for p in tiny.pairs if part(p) == 1]
    outcomes = []
    for test in (tests, tests[::-1][: len(tests) // 2]):
        tiny.write()
        for name, pairs in zip(("a", "b", "c"), (*parts, test)):
            tiny.interactions(f"{name}.inter", pairs)
        options = {"scenario": scenario, "benchmark_filename": ["a", "b", "c"], "epochs": 3}
        ready, valid_result, test_result = trained(tiny, model, **options)
        embeddings = [p.detach().sum().item() for name, p in ready.model.named_parameters() if "embedding" not in name]
        outcomes.append((embeddings, {k: v for k, v in valid_result.items() if k != "coverage@3"}, test_result))
    assert outcomes[0][0] == outcomes[1][0]
    assert outcomes[0][1] == outcomes[1][1]
    assert outcomes[0][2] != outcomes[1][2]


def test_given_splits_that_break_the_scenario_are_refused(tiny):
    for name, pairs in (("a", tiny.pairs[::2]), ("b", tiny.pairs[1::4]), ("c", tiny.pairs[3::4])):
        tiny.interactions(f"{name}.inter", pairs)
    from recbole_sibrar.errors import DataError

    with pytest.raises(DataError, match="The split files break item_cold: .* items"):
        prepared(tiny, scenario="item_cold", benchmark_filename=["a", "b", "c"])


# trap 4: untrained ids


@pytest.mark.parametrize("scenario, table", [("item_cold", "item_embedding"), ("user_cold", "user_embedding")])
@pytest.mark.parametrize("candidates", CANDIDATE_CHOICES)
def test_untrained_embeddings_of_recbole_models_never_score(tiny, scenario, table, candidates):
    ready, _, before = trained(tiny, "BPR", scenario=scenario, eval_candidates=candidates)
    phase = ready.loaders[2].phase
    cold = phase.cold_users if scenario == "user_cold" else phase.cold_items
    with torch.no_grad():
        getattr(ready.model, table).weight[cold] = torch.randn(int(cold.sum()), 8) * 100
    assert ready.trainer.evaluate(ready.loaders[2], load_best_model=False) == before


def test_a_cold_user_of_a_model_without_content_gets_the_popular_items(tiny):
    fallback = run("BPR", "tiny", None, tiny.options(scenario="user_cold"))
    popular = run("Pop", "tiny", None, tiny.options(scenario="user_cold"))
    assert fallback.test_result == popular.test_result
    assert fallback.cold_fallback == {"user": "training popularity"} and popular.cold_fallback == {}


def test_chance_is_another_for_each_user(tiny):
    """RecBole's Random gives all users of a batch the same list, the authors' has coverage 1."""
    ready = prepared(tiny, "Random", scenario="warm")
    ready.trainer.evaluate(ready.loaders[2], load_best_model=False)
    lists = ready.trainer.eval_collector.recommendations.items
    assert len(lists.unique(dim=0)) > len(lists) // 2 and len(lists.unique()) == ready.dataset.item_num - 1


@pytest.mark.parametrize(
    "model, scenario, n_epochs",
    [("BPR", "item_cold", 1), ("BPR", "user_cold", 1), ("BPR", "warm", 3), ("EASE", "warm", 1)],
)
@pytest.mark.parametrize("eval_step", [1, 2])
def test_a_model_with_nothing_to_train_has_one_epoch_and_is_validated(tiny, model, scenario, n_epochs, eval_step):
    result = run(model, "tiny", None, tiny.options(scenario=scenario, epochs=3, eval_step=eval_step))
    assert result.n_epochs == n_epochs and result.valid_result


# trap 5: no modality at all, ties


def test_an_item_without_any_modality_is_scored(tiny):
    options = {"scenario": "item_cold", "item_modalities": ["interactions", "picture"]}
    ready, _, result = trained(tiny, **options)
    scores = ready.model.full_sort_predict({"user_id": torch.arange(1, 41)})
    assert torch.isfinite(scores).all() and math.isfinite(result["ndcg@3"])


def test_ties_are_not_broken_by_the_numbers_of_items(tiny):
    """Items are numbered in the order of their ids; constant scores must not recommend the first ones."""
    ready = prepared(tiny, "Pop", scenario="item_cold", eval_candidates="scenario")
    ready.trainer.fit(*ready.loaders[:2], verbose=False)
    ready.trainer.evaluate(ready.loaders[2])
    lists = ready.trainer.eval_collector.recommendations.items
    candidates = ready.loaders[2].phase.candidates.nonzero().squeeze(1)
    assert len(lists.unique()) == len(candidates)


# the seed of the split


@every_scenario
def test_split_seed_fixes_the_split_and_leaves_the_initialisation_to_the_seed(tiny, scenario):
    def splits_and_start(**options):
        ready = prepared(tiny, scenario=scenario, **options)
        pairs = [
            set(zip(*(loader._dataset.inter_feat[field].tolist() for field in ("user_id", "item_id"))))
            for loader in ready.loaders
        ]
        return pairs, sum(p.detach().abs().sum().item() for p in ready.model.parameters())

    first, start = splits_and_start(seed=1)
    assert splits_and_start(seed=1, split_seed=1) == (first, start)
    fixed, other_start = splits_and_start(seed=2, split_seed=1)
    assert fixed == first and other_start != start
    assert splits_and_start(seed=1, split_seed=2)[0] == splits_and_start(seed=2)[0] != first


def test_split_seed_must_be_a_number(tiny):
    with pytest.raises(OptionError, match=naming("split_seed | 'a' | integer")):
        prepared(tiny, split_seed="a")


# the candidates and the seen items


@every_scenario
def test_only_candidates_are_recommended_and_nothing_seen(tiny, scenario):
    ready, _, _ = trained(tiny, scenario=scenario)
    phase, collector = ready.loaders[2].phase, ready.trainer.eval_collector
    lists = collector.recommendations.items
    assert phase.candidates[lists[lists > 0]].all()
    for user, row in zip(collector.users, lists):
        seen = phase.seen.select(user.unsqueeze(0)).columns
        assert not set(row.tolist()) & set(seen.tolist())


def test_fewer_candidates_than_places(tiny):
    result = run("SiBraR", "tiny", None, tiny.options(scenario="item_cold", topk=[3, 25]))
    assert result.n_candidates < 25 and math.isfinite(result.test_result["ndcg@25"])


@every_scenario
@pytest.mark.parametrize("topk", [3, 40])
@pytest.mark.parametrize("names", [None, ["interactions", "genres"]], ids=["all", "ties"])
def test_lists_from_embeddings_are_those_of_all_scores(tiny, monkeypatch, scenario, topk, names):
    """Cold items with tags alone have equal scores; the lists may be longer than the candidates are many."""
    options = {"scenario": scenario, "item_modalities": names, "topk": [topk], "valid_metric": f"NDCG@{topk}"}
    ready, _, result = trained(tiny, **options)
    lists = ready.trainer.eval_collector.recommendations
    monkeypatch.setattr(ProtocolTrainer, "_ranks_by_embeddings", lambda self: False)
    assert ready.trainer.evaluate(ready.loaders[2]) == result
    expected = ready.trainer.eval_collector.recommendations
    for name in ("items", "hits", "n_relevant"):
        assert getattr(lists, name).equal(getattr(expected, name)), name


# modalities


def test_evaluation_can_be_restricted_to_some_modalities(tiny):
    whole = run("SiBraR", "tiny", None, tiny.options(scenario="item_cold", epochs=8))
    tags = run("SiBraR", "tiny", None, tiny.options(scenario="item_cold", epochs=8, eval_item_modalities="genres"))
    assert whole.test_result != tags.test_result and whole.modalities == tags.modalities


@pytest.mark.parametrize("preset", ["paper", "strong"])
def test_content_is_used_in_item_cold_start(tiny, preset):
    """Users like the items of their own group, which tags and vectors tell; half of the candidates are of each."""
    split = {"split": {"RS": [4, 3, 3]}}
    options = {"topk": [2], "valid_metric": "NDCG@2", "learning_rate": 0.02, "epochs": 30, "eval_args": split}
    options |= {"preset": preset, "train_batch_size": 32}
    ready, _, _ = trained(tiny, scenario="item_cold", item_modalities=["interactions", "genres", "picture"], **options)
    collector, dataset = ready.trainer.eval_collector, ready.dataset
    users = [int(token[1:]) % 2 for token in dataset.id2token("user_id", collector.users)]
    items = [
        [int(token[1:]) % 2 for token in dataset.id2token("item_id", row)] for row in collector.recommendations.items
    ]
    own_group = [user == item for user, row in zip(users, items) for item in row]
    assert sum(own_group) / len(own_group) > 0.9


# RecBole's own entry points


@every_scenario
def test_stock_run_recbole_gives_the_same_numbers(tiny, scenario):
    from recbole.quick_start import run_recbole

    options = tiny.options(scenario=scenario)
    ours = run("SiBraR", "tiny", None, options)
    stock = run_recbole(model="SiBraR", dataset="tiny", config_dict=options)
    assert dict(stock["test_result"]) == ours.test_result and dict(stock["best_valid_result"]) == ours.valid_result


def test_stock_baseline_under_the_protocol(tiny):
    from recbole.quick_start import run_recbole

    options = tiny.options(scenario="user_cold")
    stock = run_recbole(model="BPR", dataset="tiny", config_dict=options)
    assert dict(stock["test_result"]) == run("BPR", "tiny", None, options).test_result


def test_a_model_class_of_ones_own_follows_the_protocol_with_options_of_its_own(tiny):
    from recbole.model.general_recommender import BPR
    from recbole.quick_start import run_recbole

    class Mine(BPR):
        def __init__(self, config, dataset):
            assert config["width"] == 5
            super().__init__(config, dataset)

    options = tiny.options(scenario="user_cold", eval_args={"split": {"RS": [0.5, 0.25, 0.25]}})
    stock = run_recbole(model=Mine, dataset="tiny", config_dict={**options, "width": 5})
    assert dict(stock["test_result"]) == run("BPR", "tiny", None, options).test_result


@pytest.mark.parametrize("scenario", ["item_cold", None])
def test_a_class_that_derives_from_one_of_our_models_has_its_preset_and_scores_cold_items(tiny, scenario):
    from recbole.model.general_recommender import SiBraR
    from recbole.quick_start import run_recbole

    class Mine(SiBraR):
        def __init__(self, config, dataset):
            assert config["width"] == 5
            super().__init__(config, dataset)

    options = tiny.options(scenario=scenario, preset="strong", ensemble_size=1)
    own = run_recbole(model=Mine, dataset="tiny", config_dict={**options, "width": 5})
    assert dict(own["test_result"]) == run("SiBraR", "tiny", None, options).test_result
    served = Recommender.load(next(Path("saved").glob("Mine-*")))
    path = run("SiBraR", "tiny", None, options).config["checkpoint_dir"]
    pd.testing.assert_frame_equal(
        served.recommend(["u1", "u40"], k=30), Recommender.load(path).recommend(["u1", "u40"], k=30)
    )
    with pytest.raises(OptionError, match="Mine only recommends"):
        served.similar_items("i1")


def test_a_class_of_ones_own_says_how_it_scores_whatever_is_computed_of_that(tiny):
    from recbole.model.general_recommender import SiBraR

    class Reversed(SiBraR):
        def full_sort_predict(self, interaction):
            return -super().full_sort_predict(interaction)

    class Against(SiBraR):
        def user_embeddings(self, users):
            return -super().user_embeddings(users)

    found = [
        run(model, "tiny", None, tiny.options(scenario="item_cold", metrics=metrics)).test_result["ndcg@3"]
        for model in (SiBraR, Reversed, Against)
        for metrics in (["NDCG"], ["NDCG", "GAUC"])
    ]
    assert found[0] == found[1] != found[2] and set(found[2:]) == {found[2]}


def test_a_class_of_ones_own_leaves_results_and_a_checkpoint_that_says_whose_it_is(tiny):
    from recbole.model.general_recommender import BPR

    class Mine(BPR):
        pass

    result = run(Mine, "tiny", None, tiny.options(scenario="warm"))
    assert result.label == "Mine" and result.test_result == run("BPR", "tiny", None, tiny.options()).test_result
    path = f"results/{result.name}/model.pth"
    assert type(load_data_and_model(path)[1]) is Mine and len(Recommender.load(path).recommend(["u1"], k=2)) == 2
    del sys.modules["recbole.model.general_recommender.mine"]
    for load in (load_data_and_model, Recommender.load):
        with pytest.raises(CheckpointError, match=naming("Mine | cover(Mine)")):
            load(path)


def test_a_metric_and_a_fusion_of_ones_own(tiny, monkeypatch):
    """Put into ``METRICS`` and ``FUSIONS`` by one's own code, after everything is imported."""
    from recbole.evaluator import register

    from recbole_sibrar.evaluation.metrics import METRICS, Metric
    from recbole_sibrar.models.fusion import FUSIONS, AttentionFusion

    class Misses(Metric):
        name, higher_is_better, empty = "misses", False, "NaN without a list."

        def per_user(self, recommendations, k):
            return 1 - recommendations.filled_hits[:, :k].any(1).double()

    for known in (register.metrics_dict, register.metric_types, register.metric_information):
        monkeypatch.setitem(known, "misses", None)  # taken out again after the test
    monkeypatch.setitem(METRICS, "misses", Misses())
    monkeypatch.setitem(FUSIONS, "own", AttentionFusion)
    options = {"scenario": "item_cold", "metrics": ["Hit", "Misses"], "valid_metric": "Misses@1", "topk": [1]}
    own = run("SiBraR", "tiny", None, tiny.options(**options, fusion="own"))
    assert own.test_result["misses@1"] == pytest.approx(1 - own.test_result["hit@1"])
    assert own.best_valid_score == min(epoch["valid"] for epoch in own.history)
    assert pd.read_csv(f"results/{own.name}/per_user.csv")["misses@1"].isin([0, 1]).all()
    assert own.test_result == run("SiBraR", "tiny", None, tiny.options(**options, fusion="attention")).test_result
    assert len(Recommender.load(f"results/{own.name}").recommend(["u1"], k=3)) == 3
    monkeypatch.delitem(METRICS, "misses")  # as where ``report`` runs
    assert read_runs("results")[0].result["smaller"] == ["misses"]
    assert goodness("misses@1", pd.Series([0.5])).tolist() == [-0.5]
    SMALLER.discard("misses")


def test_what_is_no_metric_or_fusion_is_refused_where_it_is_made_known():
    from recbole_sibrar.evaluation.metrics import METRICS, NDCG, Metric
    from recbole_sibrar.models.fusion import FUSIONS, MeanFusion

    cases = [("ndcg", NDCG, "NDCG()"), ("dcg", NDCG(), "'ndcg'"), ("nothing", Metric(), "per_user | overall")]
    for name, entry, message in cases:
        with pytest.raises(OptionError, match=naming(f"METRICS[{name!r}] | {message}")):
            METRICS[name] = entry
    for entry in (MeanFusion(2, 3), torch.nn.Linear):
        with pytest.raises(OptionError, match=naming("FUSIONS['own'] | subclass of Fusion")):
            FUSIONS.update(own=entry)
    assert "own" not in FUSIONS and "nothing" not in METRICS and isinstance(METRICS["ndcg"], NDCG)


def of_ones_own(monkeypatch, per_user):
    """A metric with this name, known for the time of a test."""
    from recbole.evaluator import register

    from recbole_sibrar.evaluation.metrics import METRICS, Metric

    for known in (register.metrics_dict, register.metric_types, register.metric_information):
        monkeypatch.setitem(known, "own", None)
    monkeypatch.setitem(METRICS, "own", type("Own", (Metric,), {"name": "own", "per_user": per_user})())


@pytest.mark.parametrize(
    "per_user, message",
    [
        (lambda _, lists, k: lists.hits[:, :k].double(), naming("per_user | Own | (27, 3) | (27,)")),
        (lambda _, lists, k: lists.n_relevant * torch.nan, naming("OWN@3 | validation | NaN | valid_metric")),
    ],
    ids=["of another shape", "without a value"],
)
def test_a_metric_of_ones_own_that_cannot_be_used(tiny, monkeypatch, per_user, message):
    of_ones_own(monkeypatch, per_user)
    with pytest.raises(SibrarError, match=message):
        run("SiBraR", "tiny", None, tiny.options(scenario="item_cold", metrics=["NDCG", "Own"], valid_metric="own@3"))


def test_an_error_in_a_metric_of_ones_own_stays_as_it_is(tiny, monkeypatch):
    of_ones_own(monkeypatch, lambda _, lists, k: lists.nothing)
    with pytest.raises(AttributeError, match="nothing"):
        run("SiBraR", "tiny", None, tiny.options(metrics=["NDCG", "Own"]))


def test_weights_of_another_shape_are_named(tiny, monkeypatch):
    from recbole_sibrar.models.fusion import FUSIONS, Fusion

    class Own(Fusion):
        def weights(self, embeddings, used, index):
            return used.float()

    monkeypatch.setitem(FUSIONS, "own", Own)
    with pytest.raises(OptionError, match=naming("weights of Own | expected | , 1) | , 8)")):
        run("SiBraR", "tiny", None, tiny.options(fusion="own"))


@pytest.mark.parametrize("name", ["BPR", "Bpr", "SiBraR", "sibrar"])
def test_a_class_of_ones_own_does_not_have_the_name_of_another_model(tiny, name):
    from recbole.model.general_recommender import BPR

    with pytest.raises(OptionError, match=naming(f"{name} | another")):
        Config(type(name, (BPR,), {}), "tiny", config_dict=tiny.options(scenario="warm"))


def test_an_error_in_a_class_of_ones_own_stays_as_it_is(tiny):
    from recbole.model.general_recommender import BPR

    class Faulty(BPR):
        def calculate_loss(self, interaction):
            return self.nothing

    with pytest.raises(AttributeError, match="nothing"):
        run(Faulty, "tiny", None, tiny.options())


def test_what_is_no_option_of_a_class_of_ones_own_is_said_where_it_resembles_one(tiny):
    from recbole.model.general_recommender import BPR

    class Mine(BPR):
        pass

    with pytest.warns(UserWarning, match=naming("learning_rat | Mine | 'learning_rate'")):
        Config(Mine, "tiny", config_dict=tiny.options(scenario="warm", learning_rat=0.1, width=5))


def test_a_listwise_class_of_ones_own_wants_no_negatives(tiny):
    from recbole.model.general_recommender import BPR
    from recbole.utils import InputType

    class Mine(BPR):
        input_type = InputType.LISTWISE

        def calculate_loss(self, interaction):
            users, items = self(interaction[self.USER_ID], interaction[self.ITEM_ID])
            return torch.nn.functional.cross_entropy(users @ self.item_embedding.weight.T, interaction[self.ITEM_ID])

    with pytest.raises(OptionError, match=naming("train_neg_sample_args | Mine | None")):
        run(Mine, "tiny", None, tiny.options())
    assert run(Mine, "tiny", None, tiny.options(train_neg_sample_args=None)).n_epochs == 2


def test_recboles_trainer_by_itself_refuses_a_scenario(tiny):
    """It would rank all items, those of the other splits too."""
    from recbole.trainer import Trainer

    class Mine(Trainer):
        pass

    class Ours(ProtocolTrainer, Trainer):
        pass

    ready = prepared(tiny, "BPR", scenario="item_cold")
    for trainer in (Trainer, Mine):
        with pytest.raises(OptionError, match=naming("item_cold | get_trainer | ProtocolTrainer")):
            trainer(ready.config, ready.model)
    trainer = Ours(ready.config, ready.model)
    trainer.fit(*ready.loaders[:2], verbose=False)
    assert trainer.evaluate(ready.loaders[2]) == trained(tiny, "BPR", scenario="item_cold")[2]


@pytest.mark.parametrize(
    "options, message",
    [
        ({"valid_metric": "MRR@7"}, "valid_metric | MRR@7 | mrr@3"),
        ({"valid_metric": "Hit@3"}, "valid_metric | Hit@3"),
        ({"train_neg_sample_args": None}, "train_neg_sample_args | BPR"),
    ],
)
def test_recboles_run_checks_what_our_run_checks(tiny, options, message):
    from recbole.quick_start import run_recbole

    with pytest.raises(OptionError, match=naming(message)):
        run_recbole(model="BPR", dataset="tiny", config_dict=tiny.options(scenario="warm", **options))


@pytest.mark.parametrize("files", [{"epochs": 1}, "my.yaml", Path("my.yaml")])
def test_options_in_the_place_of_property_files_are_named(tiny, files):
    with pytest.raises(OptionError, match=naming(f"config_files | {files!r} | options")):
        run("Pop", "tiny", files)


def test_recboles_run_says_what_has_no_effect(tiny):
    from recbole.quick_start import run_recbole

    with pytest.warns(UserWarning, match=naming("learning_rate | EASE")):
        run_recbole(model="EASE", dataset="tiny", config_dict=tiny.options(scenario="warm", learning_rate=0.1))


@pytest.mark.parametrize("model", ["SASRec", "FM"])
def test_a_scenario_is_for_general_recommenders(tiny, model):
    with pytest.raises(OptionError, match=naming(f"scenario | {model}")):
        Config(model, "tiny", config_dict=tiny.options(scenario="warm"))


@pytest.mark.parametrize("model", ["BPR", "SiBraR"])
def test_a_data_set_of_recboles_class_is_refused(tiny, model):
    config = Config(model, "tiny", config_dict=tiny.options())
    with pytest.raises(OptionError, match=naming(f"{model} | Dataset | create_dataset")):
        data_preparation(config, StockDataset(config))


def test_stock_recbole_without_a_scenario_takes_our_metrics(tiny):
    from recbole.quick_start import run_recbole

    settings = {
        "data_path": str(tiny.folder), "epochs": 1, "state": "ERROR", "topk": [3], "load_col": None,
        "metrics": ["NDCG", "FScore", "ARP", "APLT", "PL", "Coverage", "ItemCoverage", "AveragePopularity"],
        "valid_metric": "NDCG@3", "show_progress": False,
    }  # fmt: skip
    result = run_recbole(model="BPR", dataset="tiny", config_dict=settings)["test_result"]
    assert all(math.isfinite(value) for value in result.values())
    assert result["arp@3"] == pytest.approx(result["averagepopularity@3"], abs=1e-3)


@pytest.mark.parametrize("metrics", [["Recall", "Hit", "PL"], ["AUC", "LogLoss"]])
def test_stock_recbole_without_a_scenario_ranks_sampled_candidates_and_reads_labels(tiny, metrics):
    from recbole.quick_start import run_recbole

    settings = {
        "data_path": str(tiny.folder), "epochs": 1, "state": "ERROR", "topk": [3], "load_col": None,
        "eval_args": {"split": {"LS": "valid_and_test"}, "mode": "uni9"}, "metrics": metrics,
        "valid_metric": "AUC" if "AUC" in metrics else "Recall@3", "show_progress": False,
    }  # fmt: skip
    result = run_recbole(model="BPR", dataset="tiny", config_dict=settings)["test_result"]
    assert all(math.isfinite(value) for value in result.values())
    assert result.get("recall@3") == result.get("hit@3"), "of one item to be found for each user"


@pytest.mark.parametrize("model", ["SiBraR", "BPR"])
@pytest.mark.parametrize("scenario", ["warm", "item_cold"])
def test_recboles_metrics_over_lists_shorter_than_k(tiny, model, scenario):
    """Against loops over the lists alone: nothing that is no candidate counts, and nothing stands in for it."""
    theirs = ["ItemCoverage", "AveragePopularity", "ShannonEntropy", "GiniIndex", "TailPercentage", "Hit"]
    settings = tiny.options(scenario=scenario, metrics=["NDCG", *theirs], topk=[1, 3, 25, 99], tail_ratio=0.5)
    ready = prepared(tiny, model=model, **{**settings, "epochs": 1})
    train, _, test = ready.loaders
    ready.trainer.fit(train, ready.loaders[1], saved=False)
    found = ready.trainer.evaluate(test, load_best_model=False)
    made, n_items = ready.trainer.eval_collector.recommendations, ready.dataset.item_num
    popularity = Counter(train._dataset.inter_feat["item_id"].tolist())
    tail = sorted(popularity, key=lambda item: (popularity[item], item))[: max(int(len(popularity) * 0.5), 1)]
    assert (made.items[:, -1] == 0).all(), "no list is full"
    for k in settings["topk"]:
        lists = [[item for item in row if item] for row in made.items[:, :k].tolist()]
        counts = sorted(Counter(item for row in lists for item in row).values())
        total, places = sum(counts), range(n_items - len(counts) + 1, n_items + 1)
        expected = {
            "itemcoverage": len(counts) / n_items,
            "averagepopularity": np.mean([np.mean([popularity[item] for item in row]) for row in lists]),
            "tailpercentage": np.mean([np.mean([item in tail for item in row]) for row in lists]),
            "shannonentropy": -sum(c / total * np.log(c / total) for c in counts) / len(counts),
            "giniindex": sum((2 * i - n_items - 1) * c for i, c in zip(places, counts)) / total / n_items,
            "hit": float(made.hits[:, :k].any(1).double().mean()),
        }
        assert {name: found[f"{name}@{k}"] for name in expected} == pytest.approx(expected, abs=1e-5)


def test_checkpoint_and_load_data_and_model(tiny):
    from recbole.quick_start import load_data_and_model as stock

    result = run("SiBraR", "tiny", None, tiny.options(scenario="item_cold"))
    path = f"results/{result.name}/model.pth"
    torch.load(path, weights_only=True)
    for load in (stock, load_data_and_model):
        config, model, dataset, train_data, valid_data, test_data = load(path)
        ready = prepare(config)
        ready.trainer.model = model
        again = ready.trainer.evaluate(test_data, load_best_model=False)
        assert dict(again) == result.test_result


@pytest.mark.parametrize("model", ["EASE", "Pop", "ItemKNN"])
def test_checkpoints_of_models_that_keep_matrices(tiny, model):
    result = run(model, "tiny", None, tiny.options())
    _, loaded, *_ = load_data_and_model(f"results/{result.name}/model.pth")
    assert torch.isfinite(loaded.full_sort_predict({"user_id": torch.arange(1, 5)})).all()


def test_hyper_tuning_sees_validation_results_only(tiny, monkeypatch):
    pytest.importorskip("ray", reason="RecBole's objective reports to Ray")
    from ray import tune
    from recbole.quick_start import objective_function
    from recbole.trainer import HyperTuning

    reported = []
    monkeypatch.setattr(tune, "report", lambda metrics: reported.append(metrics))
    (settings := tiny.folder / "settings.yaml").write_text(
        "\n".join(f"{key}: {value}" for key, value in tiny.options(model="SiBraR", dataset="tiny").items())
    )
    tuning = HyperTuning(
        objective_function,
        space=None,
        params_dict={"choice": {"learning_rate": [0.001, 0.01], "encoder_hidden_sizes": ["[4]"]}},
        fixed_config_file_list=[str(settings)],
        algo="random",
        max_evals=2,
    )
    tuning.run()
    results = list(tuning.params2result.values())
    assert [dict(result["best_valid_result"]) for result in results] == reported[-len(results) :]
    ours = run("SiBraR", "tiny", [settings], {**tuning.best_params, "encoder_hidden_sizes": [4]})
    assert ours.best_valid_score == tuning.best_score


@pytest.mark.parametrize("metric, mode", [("GAUC", "full"), ("AUC", "uni9")])
def test_recboles_objective_without_a_scenario_chooses_by_recboles_metrics(tiny, metric, mode):
    from recbole.quick_start import objective_function

    settings = {
        "model": "BPR", "dataset": "tiny", "data_path": str(tiny.folder), "epochs": 1, "state": "ERROR",
        "metrics": [metric], "valid_metric": metric, "eval_args": {"mode": mode}, "show_progress": False,
    }  # fmt: skip
    found = objective_function(config_dict=settings, saved=False)
    assert found["best_valid_score"] == found["best_valid_result"][metric.lower()] > 0


def test_run_recbole_says_what_it_does_not_read(tiny):
    from recbole.quick_start import run_recbole

    ours = {"fit": "all", "run_name": "mine", "output_dir": "there", "resume": True}
    with pytest.warns(UserWarning, match="run_recbole does not read fit, output_dir, resume, run_name"):
        run_recbole(model="Pop", dataset="tiny", config_dict=tiny.options(scenario="warm", **ours))


def test_recboles_exhaustive_search_tries_everything_once():
    pytest.importorskip("hyperopt")
    from recbole.trainer import HyperTuning

    tried = []

    def objective(drawn, _):
        tried.append((drawn["a"], drawn["b"]))
        found = {"model": "m", "best_valid_result": {}, "test_result": {}}
        return {**found, "best_valid_score": drawn["a"] + drawn["b"], "valid_score_bigger": True}

    Path("space.txt").write_text("a choice [1,2]\nb choice [3,4]\n")
    tuning = HyperTuning(objective, params_file="space.txt", algo="exhaustive")
    tuning.run()
    assert sorted(tried) == [(1, 3), (1, 4), (2, 3), (2, 4)] and tuning.best_params == {"a": 2, "b": 4}


# the same seed


def test_the_same_seed_gives_the_same_numbers_in_separate_processes(tiny):
    arguments = [f"--{key}={value}" for key, value in tiny.options(epochs=3, scenario="item_cold").items()]
    results = []
    for name in ("first", "second"):
        command = [
            sys.executable,
            "-m",
            "recbole_sibrar.cli",
            "run",
            "--dataset=tiny",
            f"--run_name={name}",
            *arguments,
        ]
        subprocess.run(command, check=True, capture_output=True, env={**os.environ, "PYTHONHASHSEED": "random"})
        results.append(json.loads(open(f"results/{name}/result.json").read()))
    assert results[0]["test_result"] == results[1]["test_result"]
    assert results[0]["valid_result"] == results[1]["valid_result"]
    assert open("results/first/per_user.csv").read() == open("results/second/per_user.csv").read()


def test_a_result_of_few_candidates_says_so(tiny):
    result = run("Pop", "tiny", None, tiny.options(scenario="item_cold"))
    assert result.n_candidates < 30 and f"Only {result.n_candidates} candidates for lists of 3" in result.table()
    many = run("Pop", "tiny", None, tiny.options(scenario="warm", topk=[2], valid_metric="NDCG@2"))
    assert many.n_candidates >= 20 and "candidates for lists" not in many.table()
