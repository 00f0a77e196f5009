import pytest
import torch

from recbole_sibrar.data.modalities import Modalities, Modality, interaction_modality
from recbole_sibrar.data.sparse import SparseRows
from recbole_sibrar.models.options import ModelOptions
from recbole_sibrar.models.prior import RANK, ContentPrior
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
    prior = ContentPrior(item, trained, N_USERS, profile=0)
    prior.fit(matrix, strength)
    return prior, item, trained, matrix


def dense(matrix):
    return matrix.mark(torch.zeros(len(matrix.lengths), matrix.n_columns), 1.0).double()


def ridge(prior, trained, matrix, penalty):
    """Predictions of the textbook's ridge for all items, and the score of generalised cross-validation."""
    every = torch.arange(N_ITEMS)
    features = prior.features(every, prior.available).double()
    known, targets = features[trained], dense(matrix)[:, trained].T
    inverse = torch.linalg.inv(known.T @ known + penalty * torch.eye(known.shape[1], dtype=torch.double))
    hat = known @ inverse @ known.T
    left = targets - targets.mean(0) - hat @ targets
    score = left.square().sum() / (len(known) - 1 - hat.trace()) ** 2
    return (features @ inverse @ known.T @ targets).T, score


@pytest.mark.parametrize("width", [WIDTH, 90], ids=["more entities than features", "more features than entities"])
def test_it_is_the_ridge_that_generalised_cross_validation_chooses(width):
    prior, _, trained, matrix = fitted(width=width)
    results = [ridge(prior, trained, matrix, penalty) for penalty in ContentPrior.PENALTIES]
    expected = min(results, key=lambda result: result[1])[0]
    targets = dense(matrix)[:, trained]
    deviation = (targets - targets.mean(1, keepdim=True)).square().mean().sqrt()
    every = torch.arange(N_ITEMS)
    used = torch.ones(N_ITEMS, 2, dtype=torch.bool) & prior.available
    found = prior.of_other @ prior("item", every, used).T
    torch.testing.assert_close(found.double(), expected / deviation, atol=2e-3, rtol=1e-3)


def test_strength_is_a_factor_and_nothing_is_known_before_fitting():
    one, three = (fitted(strength)[0] for strength in (1.0, 3.0))
    scores = [prior.of_other @ prior.of_content.T for prior in (one, three)]
    torch.testing.assert_close(scores[1], 3 * scores[0])
    item, trained, _ = data()
    fresh = ContentPrior(item, trained, N_USERS, profile=0)
    assert fresh.of_content.abs().sum() == 0 and fresh.of_other.shape == (N_USERS, RANK)


def test_without_content_or_profile_it_says_nothing():
    prior, _, trained, _ = fitted()
    assert prior.of_content[7].abs().sum() == 0 and prior.of_content[~trained].abs().sum() == 0
    assert prior.of_other[0].abs().sum() == 0
    profile = torch.tensor([[True], [False]])
    shown = prior("user", torch.tensor([3, 3]), profile)
    assert torch.equal(shown[0], prior.of_other[3]) and shown[1].abs().sum() == 0


def test_without_any_content_at_all_it_stays_silent():
    item, trained, matrix = data()
    plot = item.entries[1]
    none = Modality("plot", "vector", torch.zeros_like(plot.available), plot.values, WIDTH)
    prior = ContentPrior(Modalities("item", (item.entries[0], none)), trained, N_USERS, profile=0)
    prior.fit(matrix, 1.0)
    assert prior.of_other.abs().sum() == 0


def test_where_everyone_took_everything_there_is_nothing_to_explain():
    item, trained, _ = data()
    everything = trained.expand(N_USERS, -1).nonzero(as_tuple=True)
    prior = ContentPrior(item, trained, N_USERS, profile=0)
    prior.fit(SparseRows.from_pairs(*everything, N_USERS, N_ITEMS), 1.0)
    assert prior.of_content.abs().sum() == 0


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
    priors = [ContentPrior(modalities, trained, N_USERS, profile=0) for modalities in (item, other)]
    for prior in priors:
        prior.fit(matrix, 1.0)
    assert torch.equal(priors[0].coefficients, priors[1].coefficients)
    assert torch.equal(priors[0].of_other, priors[1].of_other)


def test_it_is_part_of_the_scores_and_of_the_state():
    item, _, matrix = data()
    user = Modalities("user", (interaction_modality(matrix.row_of_entry(), matrix.columns, N_USERS, N_ITEMS),))
    options = ModelOptions(embedding_size=8, prior_strength=2.0)
    model = SiBraR(options, {"user": user, "item": item}, matrix, 0)
    model.pretrain(None, show_progress=False)
    model.eval()
    users, items = (model.embeddings(side, torch.arange(1, 5)) for side in ("user", "item"))
    prior = model.priors["item"]
    torch.testing.assert_close(users[:, 8:], prior.of_other[1:5])
    torch.testing.assert_close(items[:, 8:], prior.of_content[1:5])
    again = SiBraR(options, {"user": user, "item": item}, matrix, 0)
    again.load_state_dict(model.state_dict())
    assert torch.equal(
        again.eval().embeddings("item", torch.arange(N_ITEMS)), model.embeddings("item", torch.arange(N_ITEMS))
    )
