"""The optimizer of large tables against torch's AdamW, which passes over all rows in each step."""

import pytest
import torch
from conftest import SOFTMAX

from recbole_sibrar.data.sparse import SparseRows, gather_rows, weighted_row_sum
from recbole_sibrar.models import optimizer
from recbole_sibrar.models.optimizer import TableAdamW, large_tables
from recbole_sibrar.recbole_plugin.prepared import make_config, prepare
from recbole_sibrar.recbole_plugin.run import run

ROWS, WIDTH, LR = 60, 5, 0.01


class Run:
    """A table and a layer, pulled towards targets that differ from step to step."""

    def __init__(self, is_sparse, weight_decay=0.1):
        torch.manual_seed(0)
        self.table, self.layer = (torch.nn.Parameter(torch.randn(n, WIDTH)) for n in (ROWS, WIDTH))
        parameters = [self.table, self.layer]
        if is_sparse:
            self.optimizer = TableAdamW(parameters, [self.table], LR, weight_decay)
        else:
            self.optimizer = torch.optim.AdamW(parameters, lr=LR, weight_decay=weight_decay, fused=True)

    def train(self, share, steps, first=0):
        """``share`` of the rows is read in each step; those of the first half ten times as often as the others."""
        for step in range(first, first + steps):
            generator = torch.Generator().manual_seed(step)
            drawn = torch.rand(ROWS, generator=generator) * torch.where(torch.arange(ROWS) < ROWS // 2, 1, 10)
            rows = (drawn < share).nonzero().squeeze(1)
            targets = torch.randn(len(rows), WIDTH, generator=generator)
            self.optimizer.zero_grad()
            (gather_rows(self.table, rows) @ self.layer - targets).square().mean(1).sum().backward()
            self.optimizer.step()
        return self

    @property
    def values(self):
        if isinstance(self.optimizer, TableAdamW):
            self.optimizer.finish()
        return self.table.detach()


@pytest.fixture
def always_apart(monkeypatch):
    """All tables are large, and their rows are read apart however many they are."""
    monkeypatch.setattr(optimizer, "LARGE_FROM", 1)
    monkeypatch.setattr(optimizer, "COST_OF_A_ROW", 0)


def test_reading_all_rows_is_adamw(always_apart):
    dense, sparse = (Run(is_sparse).train(share=11, steps=50) for is_sparse in (False, True))
    assert torch.equal(sparse.table, dense.table) and torch.equal(sparse.layer, dense.layer)


@pytest.mark.parametrize("weight_decay", [0.0, 0.1, 3.0])
@pytest.mark.parametrize("share", [0.5, 0.1, 0.02])
def test_rows_that_are_seldom_read_too(weight_decay, share):
    """With a share of 0.5 some steps read the whole table."""
    dense, sparse = (Run(is_sparse, weight_decay).train(share, steps=300) for is_sparse in (False, True))
    assert torch.allclose(sparse.values, dense.values, rtol=1e-3, atol=1e-4)
    assert torch.allclose(sparse.layer, dense.layer, rtol=1e-3, atol=1e-4)
    for name, value in dense.optimizer.state[dense.table].items():
        assert torch.allclose(sparse.optimizer.state[sparse.table][name], value, rtol=2e-2, atol=1e-6), name


def test_the_path_without_gradient_in_closed_form():
    """One gradient, then none: the sum of AdamW's steps, and pure decay where there was no gradient at all."""
    moved = Run(is_sparse=True)
    before = moved.table.detach().clone()
    (gather_rows(moved.table, torch.tensor([3])) * 7).sum().backward()
    for _ in range(200):
        moved.optimizer.step()
        moved.optimizer.zero_grad()
        gather_rows(moved.table, torch.tensor([40])).sum().mul(0).backward()
    decay, expected = 1 - LR * 0.1, before[3].double()
    mean = square = 0
    for step in range(1, 201):
        mean, square = 0.9 * mean + 0.1 * 7 * (step == 1), 0.999 * square + 0.001 * 49 * (step == 1)
        expected = expected * decay - LR * mean / (1 - 0.9**step) / (square / (1 - 0.999**step)) ** 0.5
    assert torch.allclose(moved.values[3], expected.float(), atol=1e-6)
    assert torch.allclose(moved.table[5], before[5] * decay**200, rtol=1e-5)


def test_a_step_writes_the_rows_that_it_reads():
    moved = Run(is_sparse=True).train(share=0.1, steps=3)
    before = moved.table.detach().clone()
    moved.optimizer.zero_grad()
    matrix = SparseRows.from_pairs([0, 0, 1], [7, 9, 9], 2, ROWS)
    weighted_row_sum(matrix, moved.table, torch.tensor([0.5, 1.0, 2.0])).sum().backward()
    assert moved.table.grad is None
    moved.optimizer.step()
    assert (moved.table != before).any(1).nonzero().squeeze(1).tolist() == [7, 9]


def test_a_table_is_read_once_in_a_step():
    moved = Run(is_sparse=True)
    gather_rows(moved.table, torch.tensor([1]))
    with pytest.raises(RuntimeError, match="once between zero_grad and step"):
        gather_rows(moved.table, torch.tensor([2]))


def test_a_stored_state_goes_on_exactly_and_is_adamws():
    whole, first, second = (Run(is_sparse=True) for _ in range(3))
    first.train(0.3, steps=20)
    state = first.optimizer.state_dict()
    with torch.no_grad():
        second.table.copy_(first.table), second.layer.copy_(first.layer)
    second.optimizer.load_state_dict(state)
    second.train(0.3, steps=20, first=20)
    whole.train(0.3, steps=20).optimizer.finish()
    whole.train(0.3, steps=20, first=20)
    assert torch.equal(second.values, whole.values) and torch.equal(second.layer, whole.layer)
    dense = Run(is_sparse=False)
    dense.optimizer.load_state_dict(state)
    assert torch.equal(dense.optimizer.state[dense.table]["exp_avg_sq"], state["state"][0]["exp_avg_sq"])


MODELS = {
    "softmax": ("SiBraR", {"preset": "strong"}),
    "bpr": ("MuBraR", {"preset": "strong", "rec_loss": "bpr", "single_branch": "both"}),
    "id": ("SiBraR", {**SOFTMAX, "plain_side": "embedding", "softmax_negatives": 7}),
    "CLCRec": ("CLCRec", {"content_side": "user"}),
    "Adam": ("SiBraR", {"learner": "adam", "weight_decay": 0.0}),
}


@pytest.mark.parametrize("model, options", MODELS.values(), ids=MODELS)
def test_whole_runs_are_those_of_adamw(tiny, request, model, options):
    settings = tiny.options(epochs=4, train_batch_size=16, **options)
    dense = run(model, "tiny", None, settings)
    request.getfixturevalue("always_apart")
    sparse = run(model, "tiny", None, settings)
    assert [e["loss"] for e in sparse.history] == pytest.approx([e["loss"] for e in dense.history], rel=1e-4)
    assert [e["valid"] for e in sparse.history] == pytest.approx([e["valid"] for e in dense.history], abs=1e-3)


def test_where_the_gradient_is_wanted_whole(tiny, monkeypatch):
    monkeypatch.setattr(optimizer, "LARGE_FROM", 30)

    def chosen(**options):
        ready = prepare(make_config("SiBraR", "tiny", None, tiny.options(**options)))
        assert [len(table) for table in large_tables(ready.model.core)] == [31, 41]
        return ready.trainer.optimizer

    assert isinstance(chosen(), TableAdamW) and len(chosen().tables) == 2
    for options in (
        {"clip_grad_norm": {"max_norm": 1}},
        {"learner": "adam"},
        {"learning_rate": 0.5, "weight_decay": 0.1},
    ):
        assert not isinstance(chosen(**options), TableAdamW)
