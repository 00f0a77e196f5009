import math

import pytest
import torch
import torch.nn.functional as F
from conftest import naming

from recbole_sibrar.data.sparse import SparseRows, gather_rows, weighted_row_sum
from recbole_sibrar.models import drawn, pairs
from recbole_sibrar.models.losses import (
    bpr,
    log_sum_exp,
    softmax_over_items,
    symmetric_info_nce,
)


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize("n, temperature", [(2, 1.0), (5, 0.5), (8, 0.1)])
def test_info_nce_of_orthogonal_entities(n, temperature):
    """All pairs but the diagonal have cosine 0: each direction is log(1 + (n - 1) exp(-1 / tau))."""
    expected = 2 * math.log(1 + (n - 1) * math.exp(-1 / temperature))
    assert symmetric_info_nce(torch.eye(n), 3 * torch.eye(n), temperature).item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("n", [2, 7])
def test_info_nce_of_indistinguishable_entities_is_chance(n):
    assert symmetric_info_nce(torch.ones(n, 4), torch.ones(n, 4), 0.1).item() == pytest.approx(
        2 * math.log(n), abs=1e-5
    )


def test_info_nce_limits_of_the_temperature(generator):
    a = torch.randn(6, 4, generator=generator)
    assert symmetric_info_nce(a, a, 1e4).item() == pytest.approx(2 * math.log(6), abs=1e-3)
    assert symmetric_info_nce(a, a, 1e-3).item() == pytest.approx(0, abs=1e-6)


def test_info_nce_against_a_loop(generator):
    a, b = torch.randn(2, 5, 3, generator=generator), torch.randn(2, 5, 3, generator=generator)
    valid = torch.tensor([[True] * 5, [True, False, True, True, False]])
    total, n = 0.0, 0
    for s in range(2):
        members = [j for j in range(5) if valid[s, j]]
        cosine = F.cosine_similarity(a[s, :, None], b[s, None], dim=-1) / 0.2
        for j in members:
            rows = torch.tensor([cosine[j, i] for i in members])
            columns = torch.tensor([cosine[i, j] for i in members])
            total += rows.logsumexp(0) - cosine[j, j] + columns.logsumexp(0) - cosine[j, j]
            n += 1
    assert symmetric_info_nce(a, b, 0.2, valid).item() == pytest.approx(float(total / n), rel=1e-5)


def test_info_nce_of_nobody_is_zero():
    """As where all content is missing, and no entity has two modalities."""
    nobody = torch.zeros(0, 4, requires_grad=True)
    for valid in (None, torch.zeros(0, dtype=torch.bool)):
        loss = symmetric_info_nce(nobody, nobody, 0.2, valid)
        loss.backward()
        assert loss.item() == 0 and not nobody.grad.isnan().any()


def test_info_nce_is_symmetric_and_ignores_what_is_not_valid(generator):
    a, b = torch.randn(5, 3, generator=generator), torch.randn(5, 3, generator=generator)
    valid = torch.tensor([True, True, False, True, True])
    loss = symmetric_info_nce(a, b, 0.3, valid)
    assert torch.allclose(loss, symmetric_info_nce(b, a, 0.3, valid))
    a[2], b[2] = 100.0, -7.0
    assert torch.allclose(loss, symmetric_info_nce(a, b, 0.3, valid))
    assert symmetric_info_nce(a, b, 0.3, torch.zeros(5, dtype=torch.bool)).item() == 0


@pytest.mark.parametrize("dim", [-1, -2])
@pytest.mark.parametrize("spread", [1, 100])
def test_log_sum_exp_and_its_gradients_are_torchs(generator, dim, spread):
    """Of near, far and masked scores; nothing that comes of it is a number too small for a processor's fast ways."""
    scores = spread * torch.randn(3, 7, 7, generator=generator)
    scores[0, 2, :3] = -1e9
    scores.requires_grad_()
    weights = 1e-9 * torch.rand(3, 7, generator=generator)
    found, expected = log_sum_exp(scores, dim), scores.logsumexp(dim)
    torch.testing.assert_close(found, expected)
    gradients = [torch.autograd.grad((sums * weights).sum(), scores)[0] for sums in (found, expected)]
    torch.testing.assert_close(*gradients, atol=1e-16, rtol=1e-5)
    assert (gradients[0].abs() > torch.finfo(torch.float32).tiny).all()


def test_bpr_against_its_formula(generator):
    positive, negative = torch.randn(4, generator=generator), torch.randn(4, 3, generator=generator)
    expected = -torch.log(torch.sigmoid(positive[:, None] - negative)).mean()
    assert torch.allclose(bpr(positive, negative), expected)
    assert bpr(torch.zeros(2), torch.zeros(2, 5)).item() == pytest.approx(math.log(2))


def test_softmax_over_the_catalogue_against_a_loop(generator):
    users, items = torch.randn(3, 4, generator=generator), torch.randn(6, 4, generator=generator)
    own = [[0, 5], [1], []]
    targets = SparseRows.from_pairs([0, 0, 1], [0, 5, 1], 3, 6)
    log_softmax = (users @ items.T).log_softmax(-1)
    expected = -sum(log_softmax[u, i] for u in range(3) for i in own[u]) / 3
    assert torch.allclose(softmax_over_items(users, items, targets), expected)


def test_softmax_over_the_catalogue_without_what_is_shown_is_that_of_a_smaller_catalogue(generator):
    users, items = torch.randn(1, 4, generator=generator), torch.randn(6, 4, generator=generator)
    loss = softmax_over_items(
        users, items, SparseRows.from_pairs([0, 0], [2, 5], 1, 6), SparseRows.from_pairs([0], [1], 1, 6)
    )
    smaller = softmax_over_items(users, items[[0, 2, 3, 4, 5]], SparseRows.from_pairs([0, 0], [1, 4], 1, 5))
    assert torch.allclose(loss, smaller)


def test_a_weighted_softmax_is_that_of_a_catalogue_that_has_an_item_so_often(generator):
    """A user's targets count once each, whatever they weigh; what weighs nothing is not there."""
    users, items = torch.randn(2, 4, generator=generator), torch.randn(5, 4, generator=generator)
    targets, weights = SparseRows.from_pairs([0, 0, 1], [0, 4, 1], 2, 5), torch.tensor([3.0, 2.0, 1.0, 2.0, 0.0])
    catalogues = [[0, 1, 1, 2, 3, 3, 4], [0, 0, 0, 1, 2, 3, 3]]
    scores = users @ items.T
    totals = [scores[u, catalogue].logsumexp(0) for u, catalogue in enumerate(catalogues)]
    expected = (2 * totals[0] - scores[0, 0] - scores[0, 4] + totals[1] - scores[1, 1]) / 3
    assert torch.allclose(softmax_over_items(users, items, targets, weights=weights), expected)


def test_weighted_row_sum_equals_the_dense_product(generator):
    matrix = SparseRows.from_pairs([0, 0, 2, 3], [1, 4, 1, 0], n_rows=5, n_columns=6)
    weights = torch.rand(4, generator=generator, dtype=torch.double)
    dense = torch.zeros(5, 6, dtype=torch.double)
    dense[matrix.row_of_entry(), matrix.columns] = weights
    table = torch.randn(6, 3, generator=generator, dtype=torch.double, requires_grad=True)
    assert torch.allclose(weighted_row_sum(matrix, table, weights), dense @ table)
    assert torch.autograd.gradcheck(lambda t: weighted_row_sum(matrix, t, weights), table)
    assert torch.autograd.gradcheck(lambda t: gather_rows(t, torch.tensor([2, 2, 0])), table)


@pytest.mark.parametrize("rows", [[2, 0, 3, 4], [3, 3, 0, 0], [1, 4], []], ids=str)
def test_sums_of_selected_rows_are_those_of_their_copies(generator, rows):
    """Sums and gradients, of most of the rows, by the transposed matrix that is kept, and of few, in several steps."""
    matrix = SparseRows.from_pairs([0, 0, 2, 3, 3], [1, 4, 1, 0, 4], n_rows=5, n_columns=6)
    for _ in range(2):
        selected, table = matrix.select(torch.tensor(rows, dtype=torch.long)), torch.randn(6, 3, generator=generator)
        table.requires_grad_()
        copied = SparseRows(selected.indptr, selected.columns, 6)
        found, expected = weighted_row_sum(selected, table), weighted_row_sum(copied, table)
        torch.testing.assert_close(found, expected)
        gradients = [torch.autograd.grad(sums.sin().sum(), table) for sums in (found, expected)]
        torch.testing.assert_close(*gradients)
    assert ("_by_column" in vars(matrix)) == (len(rows) == 4)


def test_selected_rows():
    matrix = SparseRows.from_pairs([0, 0, 2], [1, 4, 3], n_rows=3, n_columns=5)
    selected = matrix.select(torch.tensor([2, 1, 0, 2]))
    assert selected.lengths.tolist() == [1, 0, 2, 1] and selected.columns.tolist() == [3, 1, 4, 3]


@pytest.mark.parametrize("dense", [False, True])
def test_products_of_pairs_and_sets_against_loops(monkeypatch, generator, dense):
    monkeypatch.setattr(pairs, "is_dense", lambda *sizes: dense)
    users, items, second = (torch.randn(n, 4, generator=generator) for n in (5, 7, 7))
    owner, place = torch.tensor([0, 4, 4]), torch.randint(7, (3, 6), generator=generator)
    scores, products = pairs.pair_scores(users, items, owner, place), pairs.set_products(items, second, place)
    for b in range(3):
        for k in range(6):
            assert scores[b, k].item() == pytest.approx(float(users[owner[b]] @ items[place[b, k]]), abs=1e-5)
            for other in range(6):
                expected = float(items[place[b, k]] @ second[place[b, other]])
                assert products[b, k, other].item() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("contrasts", [False, True])
def test_products_of_drawn_rows_are_those_of_their_sums(monkeypatch, generator, contrasts):
    """Scores, contrasts and gradients, in several parts."""
    monkeypatch.setattr(drawn, "CACHED_NUMBERS", 2 * 3 * 4 * 5)
    users, table = (torch.randn(n, 5, generator=generator, dtype=torch.double, requires_grad=True) for n in (4, 9))
    owner, index = torch.tensor([3, 0, 3, 1, 1]), torch.randint(9, (5, 4, 3), generator=generator)
    weights = torch.rand(5, 4, 3, generator=generator, dtype=torch.double) * (index > 1)
    found = drawn.drawn_products(users, table, owner, index, weights, contrasts)
    rows = table[index]
    expected = ((rows * weights[..., None]).sum(2) * users[owner, None]).sum(-1), rows[:, :, 0] @ rows[:, :, 1].mT
    assert (found[1] is None) != contrasts
    gradients = []
    for scores, logits in (found, expected):
        total = scores.sin().sum() + (logits.cos().sum() if contrasts else 0)
        gradients.append(torch.autograd.grad(total, (users, table)))
    torch.testing.assert_close(found[0], expected[0])
    if contrasts:
        torch.testing.assert_close(found[1], expected[1])
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("negative", [torch.zeros(3), torch.zeros(2, 1), torch.zeros(3, 1, 1)])
def test_negatives_stand_in_the_rows_of_their_positives(negative):
    """Negatives (B,) would be compared with all positives, without a word."""
    with pytest.raises(ValueError, match=naming(f"(3,) | {tuple(negative.shape)} | (B, N)")):
        bpr(torch.zeros(3), negative)


@pytest.mark.parametrize("second, temperature, message", [(2, 1.0, "(3, 4) | (2, 4)"), (3, 0, "temperature is 0")])
def test_info_nce_refuses_what_it_cannot_contrast(second, temperature, message):
    with pytest.raises(ValueError, match=naming(message)):
        symmetric_info_nce(torch.ones(3, 4), torch.ones(second, 4), temperature)
