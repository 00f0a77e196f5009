"""Modalities taken away on purpose: who loses them, and that nothing but the masks changes."""

import pytest
import torch
from conftest import naming

from recbole_sibrar.data.missing import PATTERNS, MissingOptions, drawn, remove
from recbole_sibrar.data.modalities import Modalities, Modality
from recbole_sibrar.errors import OptionError
from recbole_sibrar.recbole_plugin.prepared import make_config, prepare

N = 1001
COUNTS = torch.arange(N)


def removed(rate, pattern="uniform", available=None, name="plot", **options):
    available = torch.arange(N) > 0 if available is None else available
    return drawn(available, rate, name, "item", MissingOptions(rate=rate, pattern=pattern, **options), COUNTS)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_the_rate_is_met_and_a_higher_one_takes_the_same_and_more(pattern):
    low, high, everything = (removed(rate, pattern) for rate in (0.3, 0.6, 1.0))
    assert low.sum() == 300 and high.sum() == 600 and everything.sum() == 1000
    assert not (low & ~high).any() and not low[0]
    assert not removed(0.0, pattern).any()
    assert not torch.equal(removed(0.3, pattern, seed=1), low)


def test_modalities_are_drawn_apart_unless_per_entity():
    assert not torch.equal(removed(0.3, name="poster"), removed(0.3))
    assert torch.equal(removed(0.3, "per_entity", name="poster"), removed(0.3, "per_entity"))


def test_unpopular_entities_lose_more():
    taken = removed(0.3, "popularity")
    assert taken[1:200].float().mean() > 2 * taken[800:].float().mean() > 0


@pytest.mark.parametrize("pattern", PATTERNS)
def test_only_what_is_there_is_taken(pattern):
    available = torch.arange(N) % 2 == 1
    assert not (removed(0.5, pattern, available) & ~available).any()


@pytest.mark.parametrize("phase, in_training, in_evaluation", [("both", 5, 5), ("train", 5, 10), ("evaluation", 10, 5)])
def test_phases(phase, in_training, in_evaluation):
    available = torch.arange(11) > 0
    known = Modalities("item", (Modality("plot", "vector", available, torch.randn(11, 2), 2),))
    after = remove(known, MissingOptions(rate=0.5, phase=phase), COUNTS[:11])
    assert after.available.sum() == in_training and after.evaluated.sum() == in_evaluation
    assert torch.equal(after.entries[0].values, known.entries[0].values)


def core(tiny, model="SiBraR", **missing):
    return prepare(make_config(model, "tiny", None, tiny.options(scenario="item_cold", missing=missing))).model.core


def test_the_option_reaches_every_model_alike(tiny):
    masks = [core(tiny, model, rate=0.5).entities("item").available for model in ("SiBraR", "MuBraR")]
    untouched = core(tiny).entities("item").available
    assert torch.equal(*masks) and masks[0].sum() < untouched.sum()
    assert torch.equal(masks[0][:, 0], untouched[:, 0]), "interactions stay unless they are named"


def test_rates_for_single_modalities(tiny):
    names = core(tiny).entities("item").names
    before, after = core(tiny).entities("item"), core(tiny, modality={"picture": 1, "interactions": 1}).entities("item")
    lost = (before.available & ~after.available).any(0)
    assert [name for name, any_lost in zip(names, lost) if any_lost] == ["interactions", "picture"]
    assert not after.available[:, names.index("picture")].any()


@pytest.mark.parametrize("phase", ["train", "evaluation"])
def test_content_that_all_entities_lose_is_survived_and_said(tiny, phase, caplog):
    options = tiny.options(scenario="item_cold", missing={"rate": 1, "phase": phase})
    ready = prepare(make_config("SiBraR", "tiny", None, options))
    ready.trainer.fit(*ready.loaders[:2], verbose=False)
    result = ready.trainer.evaluate(ready.loaders[2])
    assert 0 <= result["ndcg@3"] <= 1
    assert "None of the 3 cold items to be evaluated has a modality that SiBraR reads" in caplog.text


@pytest.mark.parametrize(
    "value, message",
    [
        ("0.3", "missing | '0.3' | mapping"),
        ({"rate": 30}, "missing.rate | 30 | 1 | number"),
        ({"rates": 0.3}, "missing | 'rates' | 'rate'"),
        ({"pattern": "uniforn"}, "missing.pattern | 'uniforn' | 'uniform'"),
        ({"modality": {"image": 2}}, "missing.modality.image | 2"),
        ({"modality": 0.3}, "missing.modality | 0.3"),
        ({"phase": "test"}, "missing.phase | 'test'"),
    ],
)
def test_wrong_values_are_named(value, message):
    with pytest.raises(OptionError, match=naming(message)):
        MissingOptions.parse(value)


def test_an_unknown_modality_is_named(tiny):
    with pytest.raises(OptionError, match=naming("missing.modality | 'pictures' | 'picture'")):
        core(tiny, modality={"pictures": 0.5})
