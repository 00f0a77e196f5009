"""The ridge regression of interactions on the networks' embeddings, against its textbook form."""

import numpy as np
import pytest
import torch
from test_models import MODELS, N_ITEMS, N_TRAINED, N_USERS, batch, build, every_model, interactions

from recbole_sibrar.data.sparse import SparseRows
from recbole_sibrar.models.readouts.readout import ridge_table, spread
from recbole_sibrar.models.readouts.ridge import PENALTY

USERS, ITEMS = torch.arange(N_USERS), torch.arange(N_ITEMS)
BOTH = {"single_branch": "both"}


def textbook(views, there, histories):
    """The coefficients of a ridge regression for each history, in which an entity is the mean of its views."""
    rows = np.concatenate([view[has] for view, has in zip(views, there)])
    mean = rows.mean(0)
    covariance = np.cov(rows.T, bias=True)
    design = np.stack([
        np.mean([view[n] - mean for view, has in zip(views, there) if has[n]] or [0 * mean], axis=0)
        for n in range(len(views[0]))
    ])  # fmt: skip
    penalised = there.any(0).sum() * covariance + PENALTY * np.trace(covariance) * np.eye(len(mean))
    return histories @ design @ np.linalg.inv(penalised)


@pytest.mark.parametrize("n_views", [1, 2, 3])
def test_sums_of_the_table_are_the_textbook_ridge(n_views):
    rng = np.random.default_rng(0)
    views, there = rng.normal(size=(n_views, 12, 4)) + 3, rng.random((n_views, 12)) > 0.3
    there[:, 5] = False
    histories = rng.integers(0, 2, (7, 12))
    table, _ = ridge_table(torch.tensor(views, dtype=torch.float), torch.tensor(there), PENALTY)
    found = torch.tensor(histories, dtype=torch.float) @ table
    np.testing.assert_allclose(found, textbook(views, there, histories), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("views", [torch.full((2, 5, 3), 0.1), torch.zeros(2, 0, 3)], ids=["all the same", "none"])
def test_embeddings_that_say_nothing_add_nothing(views):
    table, covariance = ridge_table(views, torch.ones(views.shape[:2], dtype=torch.bool), PENALTY)
    assert not table.any() and not covariance.any() and table.shape == views.shape[1:]


def halves(model, side, ids):
    return model.embeddings(side, ids).chunk(2, dim=1)


@every_model
@pytest.mark.parametrize("networks", [1, 2])
def test_scores_are_those_of_the_networks_and_both_regressions(model_class, networks):
    model = build(model_class, interaction_ridge=0.4, ensemble_size=networks, **BOTH).eval()
    alone = build(model_class, ensemble_size=networks, **BOTH).eval()
    e_users, e_items = alone.embeddings("user", USERS), alone.embeddings("item", ITEMS)
    users, again = halves(model, "user", USERS)
    items, of_ridge = halves(model, "item", ITEMS)
    torch.testing.assert_close(items, e_items)
    has = torch.zeros(N_USERS).index_fill_(0, interactions()[0], 1.0).unsqueeze(1)
    torch.testing.assert_close(again, e_users * has)
    w_users = users - e_users
    assert not w_users[has.squeeze(1) == 0].any() and not of_ridge[N_TRAINED:].any()
    views = torch.stack([e_items[1:N_TRAINED], content_of_items(model)[1:N_TRAINED]])
    matrix = SparseRows.from_pairs(*interactions(), N_USERS, N_ITEMS).mark(torch.zeros(N_USERS, N_ITEMS))
    expected = torch.from_numpy(
        textbook(views.double().numpy(), there_of_items(model)[:, 1:N_TRAINED].numpy(), matrix[:, 1:N_TRAINED].numpy())
    ).to(w_users)
    ratio = (w_users * expected).sum() / expected.square().sum()
    torch.testing.assert_close(w_users, ratio * expected, rtol=1e-3, atol=1e-5)


def there_of_items(model):
    available = model.entities("item").available
    is_content = torch.tensor([name != "interactions" for name in model.entities("item").names])
    return torch.stack([available.any(1), (available & is_content).any(1)])


def content_of_items(model):
    encoder = model.entities("item")
    is_content = torch.tensor([name != "interactions" for name in encoder.names])
    return model.ensemble.fused_in_training("item", ITEMS, encoder.available & is_content).detach()


@every_model
def test_its_scores_spread_as_far_as_the_networks_by_its_weight(model_class):
    embeddings = {}
    for weight in (0.0, 0.5, 1.0):
        model = build(model_class, interaction_ridge=weight).eval()
        known = model.entities("user").trained
        embeddings[weight] = model.embeddings("user", USERS[known])
    own, width = embeddings[0.0], embeddings[0.0].shape[1]
    added = [embeddings[weight][:, :width] - own for weight in (0.5, 1.0)]
    torch.testing.assert_close(added[1], 2 * added[0])
    views = torch.stack([model.ensemble.embeddings("item", ITEMS), content_of_items(model)])
    trained = model.entities("item").trained
    _, covariance = ridge_table(views[:, trained], there_of_items(model)[:, trained], PENALTY)
    torch.testing.assert_close(spread(added[1], covariance), spread(own, covariance))


@every_model
def test_a_new_user_with_a_known_history_has_the_known_vector_and_parts_add_up(model_class):
    model = build(model_class, interaction_ridge=0.4, joint_modality=True, **BOTH).eval()
    for side in ("user", "item"):
        known = torch.arange(1, 20)
        new = model.entities(side).in_training.rows(known)
        torch.testing.assert_close(model.embed(new), model.embeddings(side, known))
        for entity in (3, new.rows(torch.tensor([2]))):
            total = torch.stack([part.vector for part in model.parts(side, entity)]).sum(0)
            torch.testing.assert_close(total, model.embeddings(side, torch.tensor([3]))[0])


@every_model
def test_users_known_by_their_ids_have_it_too(model_class):
    model = build(model_class, interaction_ridge=0.4, plain_side="embedding").eval()
    known = model.entities("user").trained
    added = model.embeddings("user", USERS) - torch.cat([model.ensemble.embeddings("user", USERS)] * 2, 1)
    assert torch.equal(added[:, :8].any(1), known) and not added[known, 8:].any()
    total = torch.stack([part.vector for part in model.parts("user", 3)]).sum(0)
    torch.testing.assert_close(total, model.embeddings("user", torch.tensor([3]))[0])


def test_it_is_learned_from_training_and_added_where_interactions_are_read():
    model = build(MODELS[0], interaction_ridge=0.4, **BOTH).eval()
    users, items = model.entities("user"), model.entities("item")
    before = model.embeddings("user", USERS)
    items.kept = torch.tensor([name == "year" for name in items.names])
    torch.testing.assert_close(model.embeddings("user", USERS), before)
    assert not halves(model, "item", ITEMS)[1].any()
    users.kept = torch.tensor([name != "interactions" for name in users.names])
    own, again = halves(model, "user", USERS)
    torch.testing.assert_close(own, model.ensemble.embeddings("user", USERS))
    assert not again.any()


@every_model
def test_training_knows_nothing_of_it(model_class):
    losses = []
    for weight in (0.0, 0.4):
        model = build(model_class, interaction_ridge=weight)
        torch.manual_seed(5)
        losses.append([term.item() for term in model.loss(batch(model.options))])
    assert losses[0] == losses[1]


def test_items_are_alike_by_what_cold_ones_have_too():
    with_ridge, alone = (build(MODELS[0], interaction_ridge=weight).eval() for weight in (0.4, 0.0))
    compared = with_ridge.compared(with_ridge.embeddings("item", ITEMS))
    torch.testing.assert_close(compared, alone.compared(alone.embeddings("item", ITEMS)))
