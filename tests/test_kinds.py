"""Every kind of modality goes through training, missing values, closed forms and serving, and needs no other file."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import rows_of_trained

from recbole_sibrar.cli import main
from recbole_sibrar.errors import DataError
from recbole_sibrar.kinds import DECLARED, KINDS, LINEAR_INPUTS, WEIGHTS, Inputs, known_to
from recbole_sibrar.kinds.category import category_modality
from recbole_sibrar.kinds.ngrams import hashed
from recbole_sibrar.kinds.number import number_modality
from recbole_sibrar.kinds.reading import load_modalities, parse_declarations
from recbole_sibrar.models.features import LinearFeatures
from recbole_sibrar.recbole_plugin.run import run
from recbole_sibrar.serving.recommender import Recommender

# For each declared kind: the cell of an item of group 0 or 1, and what a request may and must not hold.
CELLS = {
    "vector": (lambda group, item: f"{group} {item / 30} 0.5", [1, 0.5, 0.5], "text"),
    "category": (lambda group, item: f"g{group}", "g1", ["g1"]),
    "number": (lambda group, item: 1990 + group, 1991, "many"),
    "tags": (lambda group, item: f"g{group} t{item % 3}", ["g1", "t2"], 7),
    "ngrams": (lambda group, item: ("The Quiet Heat", "A Loud Parade")[group] + f" {item % 3}", "Loud parades!", 7),
}
LACKING = 30


@pytest.fixture(params=DECLARED)
def data(request, tiny):
    """The tiny data with items that have the modality ``content`` of one kind, alone; item 30 lacks it."""
    kind = KINDS[request.param]
    cell, _, _ = CELLS[kind.name]
    rows = [f"i{item}\t{'' if item == LACKING else cell(item % 2, item)}" for item in range(1, tiny.n_items + 1)]
    suffix = "item" if kind.column_type else "content"
    tiny.file(suffix, f"item_id:token\tcontent:{kind.column_type or 'float_seq'}", rows)
    (tiny.folder / "tiny" / "tiny.yaml").write_text(f"modalities: {{item: {{content: {kind.name}}}}}\n")
    tiny.kind = kind
    return tiny


def content(data):
    declarations = parse_declarations({"item": {"content": data.kind.name}}, "item")
    tokens = ["[PAD]", *(f"i{item}" for item in range(1, data.n_items + 1))]
    return load_modalities(data.folder / "tiny", "tiny", "item", "item_id", tokens, declarations)


@pytest.mark.parametrize("model", ["SiBraR", "ContentRidge", "KernelRidge"])
def test_a_kind_is_trained_solved_and_served(data, model):
    result = run(model, "tiny", None, data.options(scenario="item_cold", run_name="run", epochs=3))
    assert 0 <= result.test_result["ndcg@3"] <= 1
    recommender = Recommender.load(f"results/{result.name}/model.pth")
    _, given, wrong = CELLS[data.kind.name]
    recommender.add_items(pd.DataFrame({"item_id": ["new"], "content": pd.Series([given], dtype=object)}))
    found = recommender.recommend(["u1"], candidates=["new"], k=1)
    assert found["item"].tolist() == ["new"] and np.isfinite(found["score"]).all()
    with pytest.raises(DataError, match=r"content (is|holds) .*expected"):
        recommender.add_items(pd.DataFrame({"item_id": ["newer"], "content": pd.Series([wrong], dtype=object)}))


def test_what_is_missing_is_a_mask_and_never_read(data):
    known = content(data)
    entry, trained = known.entries[0], torch.arange(data.n_items + 1) > 3
    assert (~entry.available).nonzero().squeeze(1).tolist() == [0, LACKING]
    entry = known_to(known, trained).entries[0]
    assert not (entry.available & ~known.entries[0].available).any()
    projection = data.kind.projection(entry, rows_of_trained(trained), [4], LINEAR_INPUTS)
    rows = projection(projection.stored(entry.available.nonzero().squeeze(1)))
    assert rows.shape == (int(entry.available.sum()), 4) and torch.isfinite(rows).all()
    features = LinearFeatures(known_to(known, trained), trained, WEIGHTS)
    ids = torch.arange(data.n_items + 1)
    table = features(ids, entry.available.unsqueeze(1)).dense()
    assert not table[[0, LACKING]].any() and table[1:LACKING].any(1).all()
    assert table[(trained & entry.available)].mean(0).abs().max() < 1e-4
    assert table[1:LACKING:2].mean(0).sub(table[2:LACKING:2].mean(0)).norm() > 0.1, "the columns tell the groups apart"


def test_a_request_with_a_known_value_is_the_known_entity(data):
    """What serving parses has the features that reading the files gave."""
    entry = content(data).entries[0]
    cell = CELLS[data.kind.name][0](1, 1)
    parsed = data.kind.parse(entry, [cell, None], ["new", "other"], set())
    assert parsed.available.tolist() == [True, False]
    block = data.kind.blocks(entry, torch.ones(data.n_items + 1, dtype=torch.bool), WEIGHTS)[0]
    expected = block.columns_of(block.stored(torch.tensor([1])))
    assert torch.allclose(block.columns_of(parsed.features(torch.tensor([0]))), expected)


@pytest.mark.parametrize("vocabulary", [("1", "7"), ("1.0", "7.0")])
@pytest.mark.parametrize("cell", [7, 7.0, np.int64(7), np.float32(7)])
def test_a_whole_number_is_one_category_with_and_without_a_point(vocabulary, cell):
    entry = category_modality("code", ["x"], vocabulary)
    told = {("code", str(value)) for value in (1.5, True, 10**400, np.inf)}
    parsed = KINDS["category"].parse(entry, [cell, 1.5, True, None, 10**400, np.inf], list("abcdef"), told)
    assert parsed.available.tolist() == [True] + [False] * 5 and parsed.values[0] == 1


@pytest.mark.parametrize("number", [29.99, 0.1, -1e9, 0.0, 1.7e18])
def test_one_and_the_same_number_has_no_deviation(number):
    """An item with another number is not some 10^16 standard deviations away."""
    n = 1000
    entry, trained = number_modality("price", np.append(np.full(n, number), number + 5)), torch.arange(n + 1) < n
    assert KINDS["number"].projection(entry, rows_of_trained(trained), [1], Inputs()).deviation == 1
    assert not KINDS["number"].blocks(entry, trained, WEIGHTS)[0].factor
    spread = number_modality("price", np.append(np.arange(n), number))
    of_spread = KINDS["number"].projection(spread, rows_of_trained(trained), [1], Inputs()).deviation
    assert of_spread == torch.arange(n).double().std(correction=0)


def test_the_average_of_one_value_is_the_value(data):
    entry = content(data).entries[0]
    there = entry.available.nonzero().squeeze(1)
    values = entry.features(there)
    again = data.kind.from_columns(data.kind.columns(values, entry), entry)
    block = data.kind.blocks(entry, torch.ones(data.n_items + 1, dtype=torch.bool), WEIGHTS)[0]
    assert torch.equal(block.columns_of(again), block.columns_of(values))


def test_a_column_of_ngrams_is_asked_for_and_never_guessed(tmp_path):
    Path("orders.csv").write_text("user_id,item_id\n" + "".join(f"u{n},i{n % 4}\n" for n in range(12)))
    Path("items.csv").write_text("item_id,title\ni0,The Quiet Heat\ni1,A Loud Parade\ni2,\ni3,Quiet Days\n")
    common = ["convert", "table", "--name", "shop", "--interactions", "orders.csv", "--items", "items.csv"]
    assert main([*common, "--output", "guessed"]) == 0
    assert "title:" not in Path("guessed/shop/shop.yaml").read_text()
    assert main([*common, "--output", "asked", "--item-modalities", "title=ngrams"]) == 0
    assert "title: ngrams" in Path("asked/shop/shop.yaml").read_text()
    assert "title:token_seq" in Path("asked/shop/shop.item").read_text()


def test_texts_that_share_words_or_letters_share_buckets():
    def overlap(first, second):
        return len(set(hashed(first)) & set(hashed(second)))

    assert overlap("The Quiet Heat", "quiet heat") > overlap("The Quiet Heat", "A quiet day") > 0
    assert overlap("parade", "parades") > 0 and overlap("parade", "Heat") == 0
    assert hashed("") == hashed("...") == []
