"""The kernel ridge regression of interactions on the networks' embeddings, against its textbook forms."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge
from test_models import N_ITEMS, N_TRAINED, N_USERS, batch, build, every_model, interactions

from recbole_sibrar.data.modalities import OTHER_SIDE
from recbole_sibrar.data.sparse import SparseRows
from recbole_sibrar.models.readouts import kernel
from recbole_sibrar.models.readouts.kernel import (
    COMPLETION_PENALTY,
    JITTER,
    KERNELS,
    PENALTY,
    KernelFeatures,
    arc_cosine,
)

USERS, ITEMS = torch.arange(N_USERS), torch.arange(N_ITEMS)
WIDTH = 8


def test_the_kernel_is_that_of_rectified_units_without_end():
    generator = torch.Generator().manual_seed(0)
    rows, others = torch.randn(4, 3, generator=generator), torch.randn(5, 3, generator=generator)
    units = torch.randn(400_000, 3, generator=generator)
    expected = 2 * torch.relu(rows @ units.T) @ torch.relu(units @ others.T) / len(units)
    torch.testing.assert_close(arc_cosine(rows, others), expected, rtol=0.02, atol=0.02)


def test_features_of_landmarks_have_the_inner_products_of_the_kernel():
    landmarks = torch.randn(40, 6, generator=torch.Generator().manual_seed(1)) + 3
    features = KernelFeatures.of(landmarks)
    around = (landmarks - landmarks.mean(0)) / features.unit
    found = features(landmarks)
    torch.testing.assert_close(found @ found.T, arc_cosine(around, around), atol=5 * JITTER, rtol=0)
    assert around.square().sum(1).mean().item() == pytest.approx(1)


@pytest.mark.parametrize("landmarks", [torch.ones(5, 3), torch.zeros(1, 3), torch.full((7, 3), 0.1)])
def test_from_landmarks_that_are_all_the_same_nothing_is_seen(landmarks):
    features = KernelFeatures.of(landmarks)
    assert not features(landmarks).any() and not features(torch.eye(3)).any()


def content_of_items(model):
    encoder = model.entities("item")
    used = encoder.available & torch.tensor([name != "interactions" for name in encoder.names])
    return model.ensemble.fused_in_training("item", ITEMS, used).detach(), used.any(1)


@every_model
@pytest.mark.parametrize("networks", [1, 2])
@pytest.mark.parametrize("of, option", KERNELS.items())
def test_what_it_adds_is_the_textbook_regression_by_the_kernel(model_class, networks, of, option):
    options = {"ensemble_size": networks, option: 0.4}
    model, alone = (build(model_class, **given).eval() for given in (options, {"ensemble_size": networks}))
    sides = {"user": USERS, "item": ITEMS}
    found = {side: model.embeddings(side, ids).split(networks * WIDTH, dim=1)[0] for side, ids in sides.items()}
    assert all(torch.equal(found[side], alone.embeddings(side, ids)) for side, ids in sides.items())
    view, has = content_of_items(model) if of == "item" else (found["user"], torch.ones(N_USERS, dtype=torch.bool))
    known = has & model.entities(of).trained
    (readout,) = model.readouts
    features, _ = readout.solved()
    gram = arc_cosine(*[(view[known] - features.mean) / features.unit] * 2).double().numpy()
    centring = np.eye(len(gram)) - 1 / len(gram)
    gram = centring @ gram @ centring
    matrix = SparseRows.from_pairs(*interactions(), N_USERS, N_ITEMS).mark(torch.zeros(N_USERS, N_ITEMS))
    histories = (matrix if of == "item" else matrix.T)[:, known].double().numpy()
    expected = histories @ np.linalg.inv(gram + PENALTY * np.trace(gram) / len(gram) * np.eye(len(gram))) @ gram
    vectors = model.embeddings(OTHER_SIDE[of], sides[OTHER_SIDE[of]])[:, networks * WIDTH :]
    added = (vectors @ features(view[known]).T).double().numpy()
    added, expected = (table - table.mean(1, keepdims=True) for table in (added, expected))
    ratio = (added * expected).sum() / np.square(expected).sum()
    np.testing.assert_allclose(added, ratio * expected, atol=0.02 * np.abs(added).max())


@every_model
def test_its_scores_spread_as_far_as_the_networks_by_its_weight(model_class):
    model, twice, alone = (build(model_class, interaction_kernel=weight).eval() for weight in (0.5, 1.0, 0.0))
    torch.testing.assert_close(
        2 * model.embeddings("user", USERS)[:, WIDTH:], twice.embeddings("user", USERS)[:, WIDTH:]
    )
    content, has = content_of_items(model)
    content = content[has & model.entities("item").trained]
    known = model.entities("user").trained
    own = alone.embeddings("user", USERS)[known] @ content.T
    added = twice.embeddings("user", USERS)[known, WIDTH:] @ twice.readouts[0].solved()[0](content).T
    spreads = [(scores - scores.mean(1, keepdim=True)).square().mean().sqrt() for scores in (own, added)]
    torch.testing.assert_close(*spreads)


@every_model
def test_cold_users_have_none_of_it_and_cold_items_all(model_class):
    model = build(model_class, interaction_kernel=0.4, single_branch="both").eval()
    trained = model.entities("user").trained
    assert torch.equal(model.embeddings("user", USERS)[:, WIDTH:].any(1), trained)
    assert model.embeddings("item", ITEMS)[N_TRAINED:-1, WIDTH:].any(1).all()


def completed(left, whole, rows):
    """scikit-learn's ridge regression at ``rows``, from the embeddings ``left`` as they see each other to ``whole``."""
    of_left = KernelFeatures.of(left)
    seen = of_left(left).double().numpy()
    penalty = COMPLETION_PENALTY * np.trace(np.cov(seen.T, bias=True))
    return Ridge(alpha=penalty).fit(seen, whole.double().numpy()).predict(of_left(rows).numpy())


@every_model
@pytest.mark.parametrize("calibration", [False, True])
def test_a_new_item_that_lacks_content_has_the_features_that_it_would_have_with_it(
    model_class, calibration, monkeypatch
):
    """Against scikit-learn's ridge regression over the training items that have more, on features of their own."""
    monkeypatch.setattr(kernel, "FEWEST", 3)
    model = build(model_class, interaction_kernel=0.4, calibration=calibration, ensemble_size=2).eval()
    encoder, features = model.entities("item"), model.readouts[0].solved()[0]
    choice = torch.tensor([name in ("plot", "year") for name in encoder.names])
    known = encoder.trained.nonzero().squeeze(1)
    content = encoder.available[known] & torch.tensor([name != "interactions" for name in encoder.names])
    before = model.embeddings("item", ITEMS)
    encoder.evaluated = torch.where(encoder.trained.unsqueeze(1), encoder.evaluated, choice)
    new = (~encoder.trained).nonzero().squeeze(1)
    has_more = (content | ~choice).all(1) & (content & ~choice).any(1)
    ids, content = known[has_more], content[has_more]
    left = model.ensemble.fused_as_new("item", ids, choice.expand(len(ids), -1)).detach()
    whole = features(model.ensemble.fused_in_training("item", ids, content)).detach()
    expected = completed(left, whole, model.ensemble.embeddings("item", new))
    found = model.embeddings("item", ITEMS)
    scale = model.level.factor_and_constant[0].item() if calibration else 1.0
    columns = found[new, 2 * WIDTH :][:, : len(features.landmarks)].numpy() / scale
    np.testing.assert_allclose(columns, expected, rtol=1e-3, atol=1e-4)
    assert np.abs(columns - features(model.ensemble.embeddings("item", new)).numpy()).max() > 0.01
    assert torch.equal(found[encoder.trained], before[encoder.trained])
    for item in (3, int(new[0])):
        total = torch.stack([part.vector for part in model.parts("item", item)]).sum(0)
        torch.testing.assert_close(total, found[item])


@every_model
def test_of_users_it_counts_for_those_with_interactions(model_class):
    model = build(model_class, user_kernel=0.4, single_branch="both").eval()
    has = torch.zeros(N_USERS, dtype=torch.bool).index_fill_(0, interactions()[0], True)
    assert torch.equal(model.embeddings("user", USERS)[:, WIDTH:].any(1), has)
    assert not model.embeddings("item", ITEMS)[N_TRAINED:, WIDTH:].any()


@every_model
def test_training_knows_nothing_of_it(model_class):
    losses = []
    for weight in (0.0, 0.4):
        model = build(model_class, interaction_kernel=weight, user_kernel=weight)
        torch.manual_seed(5)
        losses.append([term.item() for term in model.loss(batch(model.options))])
    assert losses[0] == losses[1]
