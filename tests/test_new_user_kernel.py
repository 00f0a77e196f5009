"""The kernel ridge regression that scores users without interactions, against its textbook forms."""

import numpy as np
import pytest
import test_models
import torch
from sklearn.linear_model import Ridge
from test_interaction_kernel import ITEMS, USERS, WIDTH, completed
from test_models import N_ITEMS, N_USERS, batch, every_model, side_modalities

from recbole_sibrar.data.modalities import INTERACTIONS, Modalities, Modality
from recbole_sibrar.data.sparse import SparseRows
from recbole_sibrar.models.readouts import kernel
from recbole_sibrar.models.readouts.new_users import SHARPER, left_out_errors

N_KNOWN = 20
"""Users with interactions; the others have their face alone, and one not even that."""


@pytest.fixture
def build(monkeypatch):
    """``test_models.build`` with users whose faces (and voices) are vectors, of whom some are new."""
    users, items = test_models.interactions()
    pairs = users[users < N_KNOWN], items[users < N_KNOWN]
    monkeypatch.setattr(test_models, "interactions", lambda: pairs)

    def built(model_class, face=None, voice=None, **options):
        modalities = side_modalities()
        there = torch.arange(N_USERS) % 5 > 0
        if face is None:
            face = torch.randn(N_USERS, 4, generator=torch.Generator().manual_seed(6))
        own = Modality("face", "vector", there, face, 4)
        entries = [modalities["user"].entries[0], own]
        if voice is not None:
            entries.append(Modality("voice", "vector", torch.ones_like(there), voice, 3))
        modalities["user"] = Modalities("user", tuple(entries))
        return test_models.build(
            model_class, modalities, **{"single_branch": "both", "new_user_kernel": 0.4, **options}
        ).eval()

    return built


def known_by_content(model):
    """(T,) users of training with content, (T, D) their embeddings by it, (T, I) what they have."""
    encoder = model.entities("user")
    used = encoder.available & torch.tensor([name != INTERACTIONS for name in encoder.names])
    ids = (encoder.trained & used.any(1)).nonzero().squeeze(1)
    has = SparseRows.from_pairs(*test_models.interactions(), N_USERS, N_ITEMS).mark(torch.zeros(N_USERS, N_ITEMS))
    return ids, model.ensemble.fused_in_training("user", ids, used[ids]).detach(), has[ids].double().numpy()


def regression(rows, targets, penalty):
    return Ridge(alpha=penalty).fit(rows, targets)


def test_errors_of_rows_that_are_left_out_are_those_of_regressions_without_them():
    generator = np.random.default_rng(0)
    rows, targets = generator.normal(size=(12, 4)), generator.normal(size=(12, 3))
    basis, values, _ = np.linalg.svd(rows - rows.mean(0), full_matrices=False)
    penalties = [0.1, 3.0]
    expected = [
        np.mean(
            [
                np.square(
                    targets[n]
                    - regression(np.delete(rows, n, 0), np.delete(targets, n, 0), penalty).predict(rows[n : n + 1])
                ).sum()
                for n in (2, 5, 7)
            ]
        )
        for penalty in penalties
    ]
    given = basis[[2, 5, 7]], values**2, targets.T @ basis, (targets - targets.mean(0))[[2, 5, 7]], penalties
    given = [torch.tensor(table) for table in given]
    torch.testing.assert_close(left_out_errors(*given[:2], 12, *given[2:]), torch.tensor(expected).double())


@every_model
@pytest.mark.parametrize("networks", [1, 2])
def test_a_new_user_has_the_scores_of_the_textbook_regression(model_class, networks, build, monkeypatch):
    monkeypatch.setattr("recbole_sibrar.models.readouts.new_users.PENALTIES", (0.3,))
    model = build(model_class, ensemble_size=networks)
    ids, view, has = known_by_content(model)
    features, _ = model.readouts[0].solved()
    rows = features(view).double().numpy()
    penalty = SHARPER * 0.3 * np.square(rows - rows.mean(0)).sum() / len(rows)
    textbook = regression(rows, has, penalty)

    new = torch.tensor([21, 22, 23])
    wide = networks * WIDTH
    found, own = model.embeddings("user", new), model.ensemble.embeddings("user", new)
    items = model.embeddings("item", ITEMS)
    torch.testing.assert_close(found[:, :wide], own)
    added = (found[:, wide:] @ items[:, wide:].T).double().numpy()
    expected = textbook.predict(features(own).double().numpy())
    trained = model.entities("item").trained.numpy()
    ratio = (added * expected).sum() / np.square(expected).sum()
    np.testing.assert_allclose(added, ratio * expected, atol=1e-3 * np.abs(added).max())

    def spread(scores):
        return np.sqrt(np.square(scores - scores.mean(1, keepdims=True)).mean())

    networks_own = view @ model.ensemble.embeddings("item", ITEMS[trained]).T
    assert spread(ratio * textbook.predict(rows)[:, trained]) == pytest.approx(
        0.4 * spread(networks_own.numpy()), rel=1e-3
    )


@every_model
def test_a_new_user_who_lacks_content_has_the_features_that_she_would_have_with_it(model_class, build, monkeypatch):
    """Against scikit-learn's ridge regression over the known users who have more."""
    monkeypatch.setattr(kernel, "FEWEST", 3)
    voice = torch.randn(N_USERS, 3, generator=torch.Generator().manual_seed(8))
    model = build(model_class, voice=voice)
    encoder, features = model.entities("user"), model.readouts[0].solved()[0]
    lacks, choice = torch.tensor([21, 22]), torch.tensor([name == "face" for name in encoder.names])
    complete = model.embeddings("user", USERS)
    encoder.evaluated[lacks] &= choice
    ids, whole, _ = known_by_content(model)
    has_face = encoder.available[ids][:, choice].squeeze(1)
    ids, whole = ids[has_face], whole[has_face]
    left = model.ensemble.fused_as_new("user", ids, choice.expand(len(ids), -1)).detach()
    expected = completed(left, features(whole), model.ensemble.embeddings("user", lacks))
    found = model.embeddings("user", USERS)
    np.testing.assert_allclose(found[lacks, WIDTH:], expected, rtol=1e-3, atol=1e-4)
    others = torch.ones(N_USERS, dtype=torch.bool).index_fill_(0, lacks, False)
    assert torch.equal(found[others], complete[others]) and not torch.equal(found[lacks], complete[lacks])
    total = torch.stack([part.vector for part in model.parts("user", 21)]).sum(0)
    torch.testing.assert_close(total, found[21])


@every_model
def test_where_content_says_nothing_it_is_popularity(model_class, build):
    """Nobody's content, or that of a user who has none."""
    for face, users in ((torch.ones(N_USERS, 4), [21, 22]), (None, [20, 20])):
        model = build(model_class, face=face)
        _, _, has = known_by_content(model)
        own, items = model.embeddings("user", torch.tensor(users)), model.embeddings("item", ITEMS)
        added = own[:, WIDTH:] @ items[:, WIDTH:].T
        popularity = torch.tensor(has).float().mean(0)
        torch.testing.assert_close(added / added.sum(1, keepdim=True), (popularity / popularity.sum()).expand(2, -1))


@every_model
def test_users_with_interactions_have_none_of_it_and_new_items_nothing(model_class, build):
    model = build(model_class)
    has = model.entities("user").trained
    assert torch.equal(model.embeddings("user", USERS)[:, WIDTH:].any(1), ~has)
    assert torch.equal(model.embeddings("item", ITEMS)[:, WIDTH:].any(1), model.entities("item").trained)


@every_model
def test_training_knows_nothing_of_it(model_class, build):
    losses = []
    for weight in (0.0, 0.4):
        model = build(model_class, new_user_kernel=weight).train()
        torch.manual_seed(5)
        losses.append([term.item() for term in model.loss(batch(model.options))])
    assert losses[0] == losses[1]
