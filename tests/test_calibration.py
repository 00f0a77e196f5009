"""What validation says of the modalities of items that have no interactions."""

from pathlib import Path

import numpy as np
import pytest
import torch
from test_models import N_ITEMS, N_TRAINED, N_USERS, batch, build, every_model, side_modalities

from recbole_sibrar import checkpoint
from recbole_sibrar.data.modalities import Modality
from recbole_sibrar.data.sparse import SparseRows
from recbole_sibrar.models import calibration as module
from recbole_sibrar.models.calibration import FACTORS, FEWEST, MOST, Calibration, slope
from recbole_sibrar.models.new_items import LEVEL
from recbole_sibrar.recbole_plugin.prepared import make_config, prepare
from recbole_sibrar.recbole_plugin.run import run
from recbole_sibrar.recbole_plugin.trained import TrainedModel
from recbole_sibrar.serving.recommender import Recommender

USERS, ITEMS = torch.arange(N_USERS), torch.arange(N_ITEMS)


def test_the_slope_is_that_of_least_squares():
    rng = np.random.default_rng(0)
    users, items, interactions = rng.normal(size=(50, 3)), rng.normal(size=(9, 3)), rng.integers(0, 2, (50, 9))
    scores = users @ items.T
    centred = [table - table.mean(1, keepdims=True) for table in (scores, interactions)]
    expected = np.linalg.lstsq(centred[0].reshape(-1, 1), centred[1].reshape(-1), rcond=None)[0]
    found, errors = slope(*map(torch.tensor, (items, interactions.T @ users, users.T @ users)))
    assert found.item() == pytest.approx(expected.item()) and 0 < errors.norm() < 1


NAMES = ("interactions", "good", "weak", "noise")


def fitted(lengths, n_items=400, names=NAMES, missing=0.0, says=1.0, seed=0):
    """Factors where the embedding from a choice of modalities is the truth times its length, and noise; the truth
    ``says`` so much of who likes what."""
    generator = torch.Generator().manual_seed(seed)
    truth, users = torch.randn(n_items, 4, generator=generator), torch.randn(300, 4, generator=generator)
    noise = torch.randn(n_items, 4, generator=generator)
    likes = (says * truth @ users.T + 2 * torch.randn(n_items, 300, generator=generator) > 2).float()

    def embed(places, used):
        chosen = [name for name, there in zip(names, used[0].tolist()) if there and name != "interactions"]
        length = max((lengths[name] for name in chosen if name != "noise"), default=0.0)
        return (length * truth + (lengths["noise"] if "noise" in chosen else 0.0) * noise)[places]

    calibration = Calibration(names, 4)
    available = torch.rand(n_items, len(names), generator=generator) >= missing
    calibration.fit(embed, available, likes @ users, users.T @ users)
    return {
        tuple(name for name, there in zip(names, calibration.choice(number).tolist()) if there): factor
        for number, factor in enumerate(calibration.factors.tolist())
    }


def test_what_is_too_short_is_lengthened_and_what_is_noise_is_not_trusted():
    factors = fitted({"good": 1.0, "weak": 0.25, "noise": 0.5})
    assert factors[()] == factors["good", "weak", "noise"] == 1 and factors["good",] == pytest.approx(1.25, abs=0.05)
    assert factors["weak",] == pytest.approx(4 * factors["good",], rel=0.05) and factors["noise",] < 0.3
    assert 1 < factors["weak", "noise"] < factors["weak",]


@pytest.mark.parametrize("seed", [13, 18])
def test_where_all_that_an_item_has_says_nothing_no_part_of_it_is_thought_much_of(seed):
    lengths = {"good": 1.0, "weak": 0.25, "noise": 1.0}
    assert max(fitted(lengths, FEWEST, says=0.0, seed=seed).values()) < 2


@pytest.mark.parametrize("n_items", [0, 1, FEWEST - 1])
def test_few_items_leave_embeddings_as_they_are(n_items):
    assert set(fitted({"good": 1.0, "weak": 0.25, "noise": 0.5}, n_items=n_items).values()) == {1.0}


def test_embeddings_that_are_all_the_same_are_left_alone():
    assert set(fitted({"good": 0.0, "weak": 0.0, "noise": 0.0}).values()) == {1.0}
    assert fitted({"good": 1.0, "weak": 0.0, "noise": 0.0})["weak",] == 1


def test_more_modalities_than_there_are_choices_for_are_left_alone():
    calibration = Calibration(tuple(f"m{n}" for n in range(MOST + 1)), 3)
    factors, added = calibration(torch.rand(6, MOST + 1) > 0.5, None)
    assert (factors == 1).all() and not added.any()


@every_model
@pytest.mark.parametrize("networks", [1, 2])
def test_embeddings_of_items_without_interactions_are_scaled_around_the_mean_of_training(model_class, networks):
    options = {"ensemble_size": networks, "single_branch": "both"}
    model, alone = (build(model_class, calibration=given, **options).eval() for given in (True, False))
    model.level.reset()
    assert torch.equal(model.embeddings("user", USERS)[:, :-1], alone.embeddings("user", USERS))
    encoder = model.entities("item")
    with_interactions = encoder.read[:, encoder.names.index("interactions")]
    found, plain = model.embeddings("item", ITEMS)[:, :-1], alone.embeddings("item", ITEMS)
    assert torch.equal(found[with_interactions], plain[with_interactions])
    item = int((~with_interactions & encoder.read.any(1)).nonzero()[0])
    used = encoder.read[item]
    same = (encoder.trained & (encoder.available | ~used).all(1)).nonzero().squeeze(1)
    for network, before, own in zip(model.ensemble.networks, plain[item].split(8), found[item].split(8)):
        factor = network.calibration.factors[int(sum(1 << n for n, there in enumerate(used[1:].tolist()) if there))]
        mean = network.fused_in_training("item", same, used.expand(len(same), -1)).mean(0)
        torch.testing.assert_close(own, mean + factor * (before - mean))


@every_model
def test_the_training_of_all_networks_is_as_without(model_class):
    model, alone = (build(model_class, calibration=given, ensemble_size=2) for given in (True, False))
    ours, others = model.state_dict(), alone.state_dict()
    assert all(torch.equal(ours[name], value) for name, value in others.items())
    assert ours.keys() - others.keys() == {LEVEL, *(f"ensemble.networks.{n}.calibration.factors" for n in (0, 1))}


@every_model
def test_nothing_held_out_changes_nothing(model_class):
    model = build(model_class, calibration=True, ensemble_size=2).eval()
    model.level.reset()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.calibrate(SparseRows.from_pairs([], [], N_USERS, N_ITEMS), ITEMS[20:])
    model.calibrate(SparseRows.from_pairs([1], [22], N_USERS, N_ITEMS), ITEMS[:0])
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@every_model
def test_what_evaluation_does_not_read_is_not_calibrated_by(model_class, monkeypatch):
    cold = Modality("year", "number", ITEMS > N_TRAINED, torch.rand(N_ITEMS), 1)
    options = {"calibration": True, "eval_item_modalities": ["interactions", "plot", "year"]}
    model, seen = build(model_class, side_modalities(year=cold), **options), []
    monkeypatch.setattr(Calibration, "fit", lambda self, embed, available, *_: seen.append(available))
    model.calibrate(SparseRows.from_pairs([1, 2], [22, 23], N_USERS, N_ITEMS), ITEMS[N_TRAINED:])
    names = model.entities("item").names
    assert {name for name, any_has in zip(names, seen[0].any(0).tolist()) if any_has} == {"plot"}


@every_model
def test_training_goes_on_uncalibrated(model_class):
    model = build(model_class, calibration=True, ensemble_size=2)
    model.loss(batch(model.options))
    assert all((values == 1).all() for name, values in model.named_buffers() if name.endswith(FACTORS))


STRONG = {"preset": "strong", "epochs": 3, "ensemble_size": 2}


def factors_in(path):
    return {name: value for name, value in checkpoint.load(path)["state_dict"].items() if name.endswith(FACTORS)}


def test_a_run_calibrates_its_best_epoch_and_every_reader_of_the_checkpoint_agrees(tiny, monkeypatch):
    monkeypatch.setattr(module, "FEWEST", 2)
    options = tiny.options(scenario="item_cold", fit="all", **STRONG)
    with_it, without = (
        run("SiBraR", "tiny", None, {**options, "calibration": given, "run_name": str(given)})
        for given in (True, False)
    )
    assert with_it.history == without.history and with_it.best_valid_score == without.best_valid_score
    factors = factors_in("results/True/model.pth")
    assert [len(values) for values in factors.values()] == [8, 8]
    assert any((values != 1).any() for values in factors.values())
    assert not factors_in("results/False/model.pth")
    parameters = [checkpoint.load(f"results/{given}/model.pth")["state_dict"] for given in (True, False)]
    assert all(torch.equal(parameters[0][name], value) for name, value in parameters[1].items())
    trained = TrainedModel("results/True")
    assert trained.evaluate("test")[0] == pytest.approx(with_it.test_result)
    served = Recommender.load("results/True/model.pth")
    torch.testing.assert_close(served._items, trained.core.embeddings("item", torch.arange(31)))
    whole = factors_in("results/True/model-all.pth")
    assert all(torch.equal(whole[name], values) for name, values in factors.items())


@pytest.mark.parametrize("scenario", ["warm", "user_cold"])
def test_items_that_happen_to_be_cold_in_another_scenario_are_nothing_to_calibrate_by(tiny, scenario):
    tiny.interactions("inter", tiny.pairs + [(1 + n % 40, 31 + n) for n in range(400)])
    items = [f"i{n}\tgroup{n % 2}\t{1990 + n % 7}" for n in range(1, 431)]
    tiny.file("item", "item_id:token\tgenres:token_seq\tyear:float", items)
    options = {"scenario": scenario, "eval_candidates": "all", "run_name": "run"}
    run("SiBraR", "tiny", None, tiny.options(**options, **STRONG))
    assert all((values == 1).all() for values in factors_in("results/run/model.pth").values())


def test_what_is_not_saved_is_not_calibrated(tiny):
    prepared = prepare(make_config("SiBraR", "tiny", None, tiny.options(scenario="item_cold", **STRONG)))
    train_data, valid_data, _ = prepared.loaders
    prepared.trainer.fit(train_data, valid_data, False, False)
    assert len(prepared.trainer.history) == 3 and not list(Path(".").rglob("*.pth"))
