"""Data are what they are and not the order of their lines; a run knows the data that it read."""

import numpy as np
import pandas as pd
import pytest
import torch

from recbole_sibrar.data.identity import modality_digest
from recbole_sibrar.data.modalities import Modality
from recbole_sibrar.data.splits import SCENARIOS
from recbole_sibrar.recbole_plugin.run import make_config, prepare, run

FILES = ("inter", "user", "item", "picture")


def shuffle(tiny, *suffixes, seed=0):
    """Put the lines below the header in another order."""
    for suffix in suffixes:
        path = tiny.folder / "tiny" / f"tiny.{suffix}"
        header, *lines = path.read_text().splitlines()
        order = np.random.default_rng(seed).permutation(len(lines))
        path.write_text("\n".join([header, *(lines[place] for place in order)]) + "\n")


def change(tiny, suffix, old, new):
    path = tiny.folder / "tiny" / f"tiny.{suffix}"
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))


def read(tiny, model="SiBraR", **options):
    options |= {"single_branch": "both"} if model == "SiBraR" else {}
    return prepare(make_config(model, "tiny", None, tiny.options(**options))).dataset.read


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("model", ["SiBraR", "DropoutNet", "BPR", "MultiVAE"])
def test_the_order_of_lines_changes_nothing(tiny, scenario, model):
    first = run(model, "tiny", None, tiny.options(scenario=scenario, run_name="first"))
    shuffle(tiny, *FILES)
    second = run(model, "tiny", None, tiny.options(scenario=scenario, run_name="second"))
    assert first.test_result == second.test_result and first.valid_result == second.valid_result
    pd.testing.assert_frame_equal(*(pd.read_csv(f"results/{name}/per_user.csv") for name in ("first", "second")))


@pytest.mark.parametrize("order", ["RO", "TO"])
@pytest.mark.parametrize("benchmark", [None, ["a", "b", "c"]])
def test_nor_with_times_and_ratings_nor_in_files_of_splits(tiny, order, benchmark):
    rng = np.random.default_rng(0)
    lines = [f"u{u}\ti{i}\t{rng.integers(1, 6)}\t{1e9 + rng.integers(3)}" for u, i in tiny.pairs]
    header = "user_id:token\titem_id:token\trating:float\ttimestamp:float"
    names = ["inter"] if benchmark is None else [f"{name}.inter" for name in benchmark]
    for number, name in enumerate(names):
        tiny.file(name, header, lines[number :: len(names)])
    settings = tiny.options(benchmark_filename=benchmark, eval_args={"order": order, "split": {"RS": [0.8, 0.1, 0.1]},
                                                                     "group_by": "user", "mode": "full"})  # fmt: skip
    outcomes = []
    for seed in (0, 1):
        shuffle(tiny, *names, seed=seed)
        ready = prepare(make_config("BPR", "tiny", None, settings))
        outcomes.append([ready.dataset.read, *(loader._dataset.inter_feat["item_id"] for loader in ready.loaders)])
    assert outcomes[0][0] == outcomes[1][0]
    assert all(torch.equal(*pair) for pair in zip(outcomes[0][1:], outcomes[1][1:]))


@pytest.mark.parametrize(
    "suffix, old, new, part",
    [
        ("inter", "u1\ti25", "u1\ti2", "interactions"),
        ("inter", "\nu40\ti24", "", "interactions"),
        ("user", "u3\tM", "u3\tF", "user gender"),
        ("user", "u3\tM\t23", "u3\tM\t24", "user age"),
        ("item", "i3\tgroup1 any", "i3\tgroup1", "item genres"),
        ("item", "i4\tgroup0 any\t1994", "i4\tgroup0 any\t", "item year"),
        ("picture", "i7\t1.0 1.5", "i7\t1.0 1.25", "item picture"),
    ],
)
def test_a_change_shows_in_the_part_that_it_is_in(tiny, suffix, old, new, part):
    before = read(tiny)
    assert set(before) == {"interactions", "user gender", "user age", "item genres", "item year", "item picture"}
    change(tiny, suffix, old, new)
    after = read(tiny)
    assert {name for name in before if before[name] != after[name]} == {part}


def test_only_what_is_read_counts(tiny):
    before = read(tiny, item_modalities=["genres"])
    assert set(before) == {"interactions", "item genres", "user gender", "user age"}
    change(tiny, "picture", "i7\t1.0 1.5", "i7\t1.0 1.25")
    change(tiny, "item", "i4\tgroup0 any\t1994", "i4\tgroup0 any\t1995")
    assert read(tiny, item_modalities=["genres"]) == before
    assert set(read(tiny, "BPR")) == {"interactions"}


def test_what_is_missing_does_not_count_and_storage_neither(tiny):
    assert read(tiny, vector_storage="disk") == read(tiny, missing={"rate": 0.5})
    available = torch.tensor([False, True, False, True])
    values = torch.arange(8, dtype=torch.float16).view(4, 2)
    digests = set()
    for stored in (values, values.float(), torch.where(available.unsqueeze(1), values, 7)):
        digests.add(modality_digest(Modality("v", "vector", available, stored, 2)))
    assert len(digests) == 1
