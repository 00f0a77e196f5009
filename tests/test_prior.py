import pytest
import torch
from conftest import SOFTMAX

from recbole_sibrar.data.modalities import Modalities, Modality
from recbole_sibrar.data.sparse import SparseRows
from recbole_sibrar.kinds.feature_rows import DenseRows, FeatureRows
from recbole_sibrar.kinds.interactions import interaction_modality
from recbole_sibrar.models import components as components_module
from recbole_sibrar.models.batches import UserBatch
from recbole_sibrar.models.options import ModelOptions
from recbole_sibrar.models.priors import ContentPrior, InteractionPrior
from recbole_sibrar.models.priors.kernel import GAMMA, PENALTY, KernelComponents, KernelRegression
from recbole_sibrar.models.sibrar import SiBraR

N_USERS, N_ITEMS, N_TRAINED, WIDTH = 60, 50, 40, 6


def data(width=WIDTH):
    """Items of which 40 and later are cold; users like what points their way."""
    generator = torch.Generator().manual_seed(0)
    vectors = torch.randn(N_ITEMS, width, generator=generator)
    tastes = torch.randn(N_USERS, width, generator=generator)
    likes = tastes @ vectors.T + 2 * torch.randn(N_USERS, N_ITEMS, generator=generator) > width**0.5
    likes[:, N_TRAINED:] = likes[:, 0] = likes[0] = False
    users, items = likes.nonzero(as_tuple=True)
    trained = likes.any(0)
    available = torch.arange(N_ITEMS) > 0
    available[7] = available[45] = False
    item = Modalities(
        "item",
        (
            interaction_modality(items, users, N_ITEMS, N_USERS),
            Modality("plot", "vector", available, vectors, width),
        ),
    )
    return item, trained, SparseRows.from_pairs(users, items, N_USERS, N_ITEMS)


def fitted(strength=1.0, **kwargs):
    item, trained, matrix = data(**kwargs)
    prior = ContentPrior(item, trained, N_USERS, profile=0, strength=strength)
    prior.fit(matrix)
    return prior, item, trained, matrix


def dense(matrix):
    return matrix.mark(torch.zeros(len(matrix.lengths), matrix.n_columns), 1.0).double()


def similarity(features, anchors):
    """What the prior takes for the similarity of two items."""
    square = anchors.square().sum(1).mean()
    distances = (features.unsqueeze(1) - anchors).square().sum(2)
    return square * torch.exp(-GAMMA * distances / square)


def textbook_ridge(prior, trained, matrix, penalty):
    """Predictions of the textbook's kernel ridge for all items, and the score of generalised cross-validation."""
    available = prior.components.available
    features = prior.components.features(torch.arange(N_ITEMS), available).dense().double()
    known = trained & available.any(1)
    similar = similarity(features, features[known])
    similar = similar - similar[known].mean(0)  # centred in the space of the kernel's features
    similar = similar - similar.mean(1, keepdim=True)
    targets = dense(matrix)[:, known].T
    inverse = torch.linalg.inv(similar[known] + penalty * torch.eye(int(known.sum()), dtype=torch.double))
    hat = similar[known] @ inverse
    every = dense(matrix)[:, trained].T
    left = (every - every.mean(0)).square().sum() - (targets * (hat @ (2 * targets - hat @ targets))).sum()
    score = left / (len(every) - 1 - hat.trace()) ** 2
    predictions = similar @ inverse @ targets
    predictions[~available.any(1)] = 0
    return predictions.T, score


@pytest.mark.parametrize("width", [WIDTH, 90], ids=["more entities than features", "more features than entities"])
def test_it_is_the_kernel_ridge_that_generalised_cross_validation_chooses(width):
    prior, _, trained, matrix = fitted(width=width)
    results = [textbook_ridge(prior, trained, matrix, penalty) for penalty in ContentPrior.PENALTIES]
    expected = min(results, key=lambda result: result[1])[0]
    targets = dense(matrix)[:, trained]
    deviation = (targets - targets.mean(1, keepdim=True)).square().mean().sqrt()
    every = torch.arange(N_ITEMS)
    used = torch.ones(N_ITEMS, 2, dtype=torch.bool) & prior.components.available
    found = prior.of_other @ prior("item", every, used).T
    torch.testing.assert_close(found.double(), expected / deviation, atol=2e-3, rtol=1e-3)


def test_with_fewer_anchors_than_items_it_is_close(monkeypatch):
    exact = fitted()[0]
    monkeypatch.setattr(ContentPrior, "ANCHORS", 30)
    near, _, trained, _ = fitted()
    assert len(near.components.anchors) == 30 < trained.sum()
    scores = torch.stack([(prior.of_other @ prior.of_side.T).flatten() for prior in (exact, near)])
    assert torch.corrcoef(scores)[0, 1] > 0.95


def test_strength_is_a_factor_and_nothing_is_known_before_fitting():
    one, three = (fitted(strength)[0] for strength in (1.0, 3.0))
    scores = [prior.of_other @ prior.of_side.T for prior in (one, three)]
    torch.testing.assert_close(scores[1], 3 * scores[0])
    item, trained, _ = data()
    fresh = ContentPrior(item, trained, N_USERS, profile=0, strength=1.0)
    assert fresh.of_side.abs().sum() == 0 and fresh.of_other.shape == (N_USERS, ContentPrior.RANK)


def test_without_content_or_profile_it_says_nothing():
    prior, _, trained, _ = fitted()
    assert prior.of_side[7].abs().sum() == 0 and prior.of_side[~trained].abs().sum() == 0
    assert prior.of_other[0].abs().sum() == 0
    profile = torch.tensor([[True], [False]])
    shown = prior("user", torch.tensor([3, 3]), profile)
    assert torch.equal(shown[0], prior.of_other[3]) and shown[1].abs().sum() == 0


def test_without_any_content_at_all_it_stays_silent():
    item, trained, matrix = data()
    plot = item.entries[1]
    none = Modality("plot", "vector", torch.zeros_like(plot.available), plot.values, WIDTH)
    prior = ContentPrior(Modalities("item", (item.entries[0], none)), trained, N_USERS, profile=0, strength=1.0)
    prior.fit(matrix)
    assert prior.of_other.abs().sum() == 0


def test_where_everyone_took_everything_there_is_nothing_to_explain():
    item, trained, _ = data()
    everything = trained.expand(N_USERS, -1).nonzero(as_tuple=True)
    prior = ContentPrior(item, trained, N_USERS, profile=0, strength=1.0)
    prior.fit(SparseRows.from_pairs(*everything, N_USERS, N_ITEMS))
    assert prior.of_side.abs().sum() == 0


def test_new_entities_get_what_the_same_known_ones_have():
    prior, item, _, matrix = fitted()
    rows = torch.tensor([3, 44])
    entries = tuple(
        Modality(entry.name, entry.kind, entry.available[rows], entry.features(rows), entry.width)
        for entry in item.entries
    )
    used = torch.ones(2, 2, dtype=torch.bool)
    torch.testing.assert_close(prior.embed(Modalities("item", entries), used), prior("item", rows, used))
    histories = Modality("interactions", "interactions", torch.ones(2, dtype=torch.bool), matrix.select(rows), N_ITEMS)
    torch.testing.assert_close(
        prior.embed(Modalities("user", (histories,)), torch.ones(2, 1, dtype=torch.bool)), prior.of_other[rows]
    )


def test_interactions_of_cold_items_change_nothing():
    """What is held out is not in the training matrix; the content of cold items is not in the solution either."""
    item, trained, matrix = data()
    plot = item.entries[1]
    changed = torch.where(trained.unsqueeze(1), plot.values, plot.values + 100)
    other = Modalities("item", (item.entries[0], Modality("plot", "vector", plot.available, changed, WIDTH)))
    priors = [ContentPrior(modalities, trained, N_USERS, profile=0, strength=1.0) for modalities in (item, other)]
    for prior in priors:
        prior.fit(matrix)
    parts = [prior.components for prior in priors]
    assert torch.equal(parts[0].basis, parts[1].basis)
    assert torch.equal(parts[0].anchor_features, parts[1].anchor_features)
    assert torch.equal(priors[0].of_other, priors[1].of_other)


def test_it_is_part_of_the_scores_and_of_the_state():
    item, _, matrix = data()
    user = Modalities("user", (interaction_modality(matrix.row_of_entry(), matrix.columns, N_USERS, N_ITEMS),))
    options = ModelOptions(embedding_size=8, content_prior=2.0)
    model = SiBraR(options, {"user": user, "item": item}, matrix, 0)
    model.pretrain(None, show_progress=False)
    model.eval()
    users, items = (model.embeddings(side, torch.arange(1, 5)) for side in ("user", "item"))
    prior = model.ensemble.networks[0].priors["item_content_prior"]
    torch.testing.assert_close(users[:, 8:], prior.of_other[1:5])
    torch.testing.assert_close(items[:, 8:], prior.of_side[1:5], atol=1e-3, rtol=1e-3)
    again = SiBraR(options, {"user": user, "item": item}, matrix, 0)
    again.load_state_dict(model.state_dict())
    assert torch.equal(
        again.eval().embeddings("item", torch.arange(N_ITEMS)), model.embeddings("item", torch.arange(N_ITEMS))
    )


# some of the content


def two_sided(n_lacking=0):
    """Items whose poster shows what the plot tells, but for noise; some trained ones have no plot."""
    item, trained, matrix = data()
    plot = item.entries[1]
    generator = torch.Generator().manual_seed(1)
    poster = plot.values @ torch.randn(WIDTH, WIDTH, generator=generator) + 0.3 * torch.randn(
        N_ITEMS, WIDTH, generator=generator
    )
    available = plot.available & (torch.arange(N_ITEMS) > n_lacking)
    entries = (
        item.entries[0],
        Modality("plot", "vector", available, plot.values * available.unsqueeze(1), WIDTH),
        Modality("poster", "vector", plot.available, poster, WIDTH),
    )
    prior = ContentPrior(Modalities("item", entries), trained, N_USERS, profile=0, strength=1.0)
    prior.fit(matrix)
    return prior, trained & plot.available


COLD, POSTER_ALONE = torch.tensor([41, 42, 43, 44, 46, 47, 48, 49]), torch.tensor([False, False, True])


def test_the_regression_from_a_part_is_the_textbooks():
    generator = torch.Generator().manual_seed(0)
    anchors, new = (torch.randn(n, 3, generator=generator, dtype=torch.double) for n in (20, 5))
    targets = torch.randn(20, 4, generator=generator, dtype=torch.double)
    similar, square = similarity(anchors, anchors), anchors.square().sum(1).mean()
    centring = torch.eye(20, dtype=torch.double) - 1 / 20
    inverse = torch.linalg.inv(centring @ similar @ centring + PENALTY * square * torch.eye(20, dtype=torch.double))
    expected = (similarity(new, anchors) - similar.mean(0)) @ centring @ inverse @ (centring @ targets)
    regression = KernelRegression(FeatureRows((DenseRows(anchors),)), torch.zeros(20), targets)
    few, many = (torch.cat([regression(FeatureRows((DenseRows(row),))) for row in new.split(1)]) for _ in range(2))
    for found in (few, many):  # solved for each row, and once for all
        torch.testing.assert_close(found, expected + targets.mean(0))


def test_what_an_anchor_lacks_lies_in_a_direction_of_its_own():
    generator = torch.Generator().manual_seed(0)
    anchors, new = (torch.randn(n, 3, generator=generator, dtype=torch.double) for n in (20, 5))
    targets = torch.randn(20, 4, generator=generator, dtype=torch.double)
    lacking = torch.arange(20, dtype=torch.double) % 3
    whole = torch.cat([anchors, lacking.sqrt().diag()], dim=1)
    expected = KernelRegression(FeatureRows((DenseRows(whole),)), torch.zeros(20), targets)
    found = KernelRegression(FeatureRows((DenseRows(anchors),)), lacking, targets)
    new_whole = torch.cat([new, torch.zeros(5, 20, dtype=torch.double)], dim=1)
    torch.testing.assert_close(
        found(FeatureRows((DenseRows(new),))), expected(FeatureRows((DenseRows(new_whole),))), atol=1e-6, rtol=1e-6
    )


@pytest.mark.parametrize("n_anchors", [N_ITEMS, 15])
def test_components_of_incomplete_anchors_are_found_again(n_anchors, monkeypatch):
    monkeypatch.setattr(ContentPrior, "ANCHORS", n_anchors)
    components = two_sided(n_lacking=20)[0].components
    expected = components.decompose(False, None)
    torch.testing.assert_close(components.decomposed(components.known), expected, atol=1e-4, rtol=1e-4)


def test_what_is_missing_is_estimated_from_what_is_left(monkeypatch):
    prior, _ = two_sided()
    full = prior("item", COLD, torch.ones(len(COLD), 3, dtype=torch.bool))
    estimated = prior("item", COLD, POSTER_ALONE.expand(len(COLD), -1))
    monkeypatch.setattr(KernelComponents, "LEAST", N_ITEMS + 1)
    prior.components.load_state_dict(prior.components.state_dict())
    at_its_mean = prior("item", COLD, POSTER_ALONE.expand(len(COLD), -1))
    assert (estimated - full).norm() < 0.8 * (at_its_mean - full).norm()


def test_anchors_that_lack_a_modality_are_not_regressed_from():
    """Item 1 to 20 have no plot: who has a plot alone is predicted from the others alone."""
    prior, known = two_sided(n_lacking=20)
    used = torch.tensor([[False, True, False]])
    prior("item", COLD[:1], used)
    regression = prior.components._partial[True, False]
    assert len(regression.targets) == int(known[21:].sum()) < len(prior.components.anchors)


def test_of_many_kinds_the_regressions_asked_for_last_are_kept(monkeypatch):
    prior, _ = two_sided(n_lacking=20)
    monkeypatch.setattr(KernelComponents, "KEPT", 1)
    plot_alone = torch.tensor([False, True, False])
    first = prior("item", COLD, POSTER_ALONE.expand(len(COLD), -1))
    prior("item", COLD, plot_alone.expand(len(COLD), -1))
    assert list(prior.components._partial) == [(True, False)]
    torch.testing.assert_close(prior("item", COLD, POSTER_ALONE.expand(len(COLD), -1)), first)


def test_a_table_solves_the_regression_from_a_kind_once(monkeypatch):
    components = two_sided(n_lacking=20)[0].components
    components._forget_partial()
    solve, solved = components._regression, []
    monkeypatch.setattr(components_module, "ROWS", 4)
    monkeypatch.setattr(KernelComponents, "KEPT", 1)
    monkeypatch.setattr(components, "_regression", lambda kind: solved.append(kind.tolist()) or solve(kind))
    used = torch.tensor([[True, False], [False, True]]).repeat(N_ITEMS // 2, 1)
    components.table(used)
    assert sorted(solved) == [[False, True], [True, False]]


def test_anchors_that_have_most_of_a_kind_are_regressed_from():
    prior, known = two_sided(n_lacking=20)
    components = prior.components
    components.n_partial = 25
    regression = components._regression(torch.tensor([True, True]))
    n_whole = int(known[21:].sum())
    assert n_whole < len(regression.targets) == 25 < len(components.anchors)
    few = components._regression(torch.tensor([True, False]))
    assert len(few.targets) == n_whole  # the others have nothing of it


def test_entities_of_training_that_lack_content_are_estimated_too():
    prior, known = two_sided(n_lacking=20)
    lacking = known.nonzero().squeeze(1)[:3]
    assert int(lacking.max()) <= 20
    torch.testing.assert_close(prior.of_side[lacking], prior("item", lacking, POSTER_ALONE.expand(3, -1)))


def test_what_no_entity_of_training_has_is_nothing_to_lack():
    item, trained, matrix = data()
    new = Modality("trailer", "vector", ~trained, torch.ones(N_ITEMS, 2), 2)
    priors = [
        ContentPrior(Modalities("item", entries), trained, N_USERS, profile=0, strength=1.0)
        for entries in (item.entries, (*item.entries, new))
    ]
    for prior in priors:
        prior.fit(matrix)
    torch.testing.assert_close(priors[1].of_other, priors[0].of_other)
    used = item.available[COLD]
    of_cold = priors[1]("item", COLD, torch.cat([used, torch.zeros(len(COLD), 1, dtype=torch.bool)], 1))
    torch.testing.assert_close(of_cold, priors[0]("item", COLD, used))


def test_a_loaded_prior_does_not_use_what_it_estimated_before():
    prior, _ = two_sided()
    turned = ("components.basis", "components.offset")
    state = {name: -value if name in turned else value for name, value in prior.state_dict().items()}
    used = POSTER_ALONE.expand(len(COLD), -1)
    before = prior("item", COLD, used)
    prior.load_state_dict(state)
    torch.testing.assert_close(prior("item", COLD, used), -before)


# interactions


def autoencoder(strength=1.0, own=0, profile=0):
    item, trained, matrix = data()
    prior = InteractionPrior(N_ITEMS, N_USERS, own, profile, strength, seed=0)
    prior.fit(matrix)
    return prior, item, trained, matrix


def solved(trained, matrix):
    """X (X^T X + lambda)^{-1} X^T X in units of the interactions' deviation, and what an item gives itself."""
    known = dense(matrix)
    gram = known.T @ known
    penalty = InteractionPrior.SHRINKAGE * known.sum() / trained.sum()
    weights = torch.linalg.inv(gram + penalty * torch.eye(N_ITEMS, dtype=torch.double)) @ gram
    targets = known[:, trained]
    deviation = (targets - targets.mean(1, keepdim=True)).square().mean().sqrt()
    return known @ weights / deviation, weights.diagonal()


def test_it_is_the_linear_autoencoder():
    prior, _, trained, matrix = autoencoder(strength=3.0)
    scores = prior.of_other @ prior.of_side.T
    torch.testing.assert_close(scores.double(), 3 * solved(trained, matrix)[0], atol=1e-4, rtol=1e-4)


def test_ease_differs_by_a_factor_for_each_item_where_an_item_is_unknown():
    _, _, trained, matrix = autoencoder()
    scores, own = solved(trained, matrix)
    known = dense(matrix)
    penalty = InteractionPrior.SHRINKAGE * known.sum() / trained.sum()
    inverse = torch.linalg.inv(known.T @ known + penalty * torch.eye(N_ITEMS, dtype=torch.double))
    ease = torch.eye(N_ITEMS, dtype=torch.double) - inverse / inverse.diagonal()
    expected = (known @ ease)[known == 0]
    found = (scores / (1 - own))[known == 0]
    factor = found.abs().sum() / expected.abs().sum()
    torch.testing.assert_close(found, expected * factor)


def test_new_entities_are_folded_in():
    prior, item, _, matrix = autoencoder()
    rows, used = torch.tensor([3, 12]), torch.ones(2, 1, dtype=torch.bool)
    for side, histories, width in (("user", matrix, N_ITEMS), ("item", matrix.transposed(), N_USERS)):
        entry = Modality("interactions", "interactions", torch.ones(2, dtype=torch.bool), histories.select(rows), width)
        found = prior.embed(Modalities(side, (entry,)), used)
        torch.testing.assert_close(found, prior(side, rows, used), atol=1e-4, rtol=1e-3)
        assert prior.embed(Modalities(side, (entry,)), ~used).abs().sum() == 0
        assert prior(side, rows, ~used).abs().sum() == 0


def test_a_side_without_an_interaction_modality_is_known_by_its_ids():
    prior, item, _, _ = autoencoder(own=None, profile=None)
    rows, used = torch.tensor([3, 12]), torch.ones(2, 1, dtype=torch.bool)
    for side in ("user", "item"):
        assert (prior(side, rows, used).abs().sum(1) > 0).all()
        assert prior.embed(Modalities(side, item.entries[1:]), used).abs().sum() == 0


def test_an_interaction_prior_of_nothing_is_silent():
    prior = InteractionPrior(N_ITEMS, N_USERS, 0, 0, 1.0, seed=0)
    prior.fit(SparseRows.from_pairs([], [], N_USERS, N_ITEMS))
    assert prior.of_side.abs().sum() == 0 and prior.of_other.abs().sum() == 0


def test_training_does_not_see_it_and_scores_do():
    item, trained, matrix = data()
    user = Modalities("user", (interaction_modality(matrix.row_of_entry(), matrix.columns, N_USERS, N_ITEMS),))
    known = matrix.lengths.nonzero().squeeze(1)
    items = torch.tensor([item for item in range(1, N_ITEMS) if item != 45])  # 45 has nothing: the mean stands in
    losses, scores = [], []
    for strength in (0.0, 2.0):
        torch.manual_seed(0)
        model = SiBraR(
            ModelOptions(embedding_size=8, interaction_prior=strength, **SOFTMAX),
            {"user": user, "item": item},
            matrix,
            0,
        )
        model.pretrain(None, show_progress=False)
        losses.append(sum(model.loss(UserBatch(torch.arange(1, 20)))))
        model.eval()
        scores.append(model.embeddings("user", known) @ model.embeddings("item", items).T)
    assert torch.equal(*losses)
    prior, added = model.ensemble.networks[0].priors["interaction_prior"], scores[1] - scores[0]
    torch.testing.assert_close(added, prior.of_other[known] @ prior.of_side[items].T, atol=1e-4, rtol=1e-4)
    assert not added[:, ~trained[items]].any()
