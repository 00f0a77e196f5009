"""New items and known ones in one list."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from test_models import N_ITEMS, N_USERS, batch, build, every_model, interactions

from recbole_sibrar import checkpoint
from recbole_sibrar.data.modalities import Modalities
from recbole_sibrar.data.sparse import SparseRows
from recbole_sibrar.models import new_items as module
from recbole_sibrar.models.new_items import AS_THEY_ARE, FEWEST, LEVEL, fitted_level
from recbole_sibrar.recbole_plugin.run import run
from recbole_sibrar.recbole_plugin.trained import TrainedModel
from recbole_sibrar.serving.recommender import Recommender

USERS, ITEMS = torch.arange(N_USERS), torch.arange(N_ITEMS)
NEW = torch.arange(100) >= 70


def chosen(of_new, of_known, constant, n_users=400, seed=0):
    """Users who choose one of 100 items by a logit of their scores, and do not see a tenth of them."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(n_users, 100))
    is_new = NEW.numpy()
    logits = np.where(is_new, of_new * scores + constant, of_known * scores)
    seen = rng.random(logits.shape) < 0.9
    order = np.argsort(np.where(seen, -logits - rng.gumbel(size=logits.shape), np.inf), axis=1)
    targets = np.zeros_like(seen)
    np.put_along_axis(targets, order[:, :1], True, axis=1)
    return scores, targets, seen


def test_level_maximises_the_likelihood_of_what_was_chosen():
    scores, targets, there = chosen(0.5, 1.5, 0.4)
    is_new = NEW.numpy()

    def loss(theta):
        logits = np.where(is_new, theta[0] * scores + theta[2], theta[1] * scores)
        logits = np.where(there, logits, -np.inf)
        return (np.log(np.exp(logits).sum(1)) * targets.sum(1)).sum() - logits[targets].sum()

    of_new, of_known, constant = minimize(loss, np.zeros(3)).x
    found = fitted_level(torch.tensor(scores), NEW, torch.tensor(targets), torch.tensor(there))
    assert found.tolist() == pytest.approx([of_new / of_known, constant / of_known], rel=1e-3, abs=1e-3)
    assert found.tolist() == pytest.approx([0.5 / 1.5, 0.4 / 1.5], abs=0.15)


@pytest.mark.parametrize(("of_new", "of_known"), [(-1.0, 1.0), (1.0, -1.0)])
def test_scores_of_what_users_like_less_are_left_as_they_are(of_new, of_known):
    scores, targets, there = map(torch.tensor, chosen(of_new, of_known, 0.0))
    assert torch.equal(fitted_level(scores, NEW, targets, there), AS_THEY_ARE)


@pytest.mark.parametrize("kind", [NEW, ~NEW])
def test_few_interactions_with_either_say_nothing(kind):
    scores, targets, there = map(torch.tensor, chosen(0.5, 1.5, 0.4))
    rows, columns = (targets & kind).nonzero().T
    targets[rows[FEWEST - 1 :], columns[FEWEST - 1 :]] = False
    assert torch.equal(fitted_level(scores, NEW, targets, there), AS_THEY_ARE)


@every_model
@pytest.mark.parametrize("weight", [0.0, 0.5])
@pytest.mark.parametrize("prior", [0.0, 0.7])
def test_hidden_interactions_are_read_of_neither_side(model_class, weight, prior):
    options = {"calibration": True, "single_branch": "both", "ensemble_size": 2}
    options |= {"interaction_ridge": weight, "interaction_kernel": weight}
    options |= {"content_prior": prior, "interaction_prior": prior}
    model, pairs = build(model_class, **options).eval(), SparseRows.from_pairs(*interactions(), N_USERS, N_ITEMS)
    hidden = pairs.keep(torch.arange(pairs.n_entries) % 4 == 0)
    for side, ids, rows in (("user", USERS, hidden), ("item", ITEMS, hidden.transposed())):
        profiles = (pairs if side == "user" else pairs.transposed()).without(rows.row_of_entry(), rows.columns)
        has = profiles.lengths > 0
        own, *content = model.modalities[side].entries
        expected = model.embed(Modalities(side, (replace(own, values=profiles), *content)))
        found = model._embeddings_without(side, ids, hidden)
        torch.testing.assert_close(found[has], expected[has], rtol=1e-3, atol=1e-4)
        differ = (found - model.embeddings(side, ids)).abs().amax(1) > 1e-3
        assert torch.equal(differ & model.entities(side).trained, rows.lengths > 0)


@every_model
def test_scores_of_new_items_alone_are_in_the_same_order_and_training_goes_on_without(model_class):
    model = build(model_class, calibration=True, ensemble_size=2, interaction_ridge=0.5).eval()
    model.level.factor_and_constant.copy_(torch.tensor([1.7, 0.4]))
    users, found = model.embeddings("user", USERS), model.embeddings("item", ITEMS)
    features = model.modalities["item"].rows(ITEMS)
    is_new = ~model.entities("item").read[:, model.entities("item").names.index("interactions")]
    torch.testing.assert_close(model.embed(features), found)
    model.level.reset()
    before = users @ model.embeddings("item", ITEMS).T
    torch.testing.assert_close(users @ found.T, torch.where(is_new, 1.7 * before + 0.4, before))
    model.level.factor_and_constant.fill_(3)
    model.loss(batch(model.options))
    assert torch.equal(model.level.factor_and_constant, AS_THEY_ARE)


@every_model
def test_what_all_new_items_have_makes_none_alike(model_class):
    options = {"ensemble_size": 2, "interaction_ridge": 0.5, "interaction_kernel": 0.5}
    model, alone = (build(model_class, calibration=given, **options).eval() for given in (True, False))
    assert (
        model.compared(model.embeddings("item", ITEMS)).shape == alone.compared(alone.embeddings("item", ITEMS)).shape
    )


STRONG = {"preset": "strong", "epochs": 3, "ensemble_size": 2}


def test_a_run_finds_a_level_and_every_reader_of_the_checkpoint_has_it(tiny, monkeypatch):
    monkeypatch.setattr(module, "FEWEST", 1)
    monkeypatch.setattr(module, "HELD_OUT", 0.5)
    run("SiBraR", "tiny", None, tiny.options(scenario="item_cold", fit="all", run_name="run", **STRONG))
    states = (checkpoint.load(f"results/run/{name}.pth")["state_dict"] for name in ("model", "model-all"))
    level, of_all = (state[f"core.{LEVEL}"] for state in states)
    assert not torch.equal(level, AS_THEY_ARE) and torch.equal(level, of_all)
    trained, served = TrainedModel("results/run"), Recommender.load("results/run/model.pth")
    items = trained.core.eval().embeddings("item", torch.arange(31))
    torch.testing.assert_close(served._items, items)
    new = int(trained.phase("test").candidates.nonzero()[0])
    assert items[new, -1] == level[1]
    users, names = served.directory.tokens["user"], served.directory.tokens["item"]
    shares = served.explain(users[1], names[new])
    assert set(shares["user_modality"][shares["source"] == "calibration"]) == {"(all)"}
    assert shares["contribution"].sum() == pytest.approx(served.score(users[1], [names[new]]).iloc[0], abs=1e-4)
