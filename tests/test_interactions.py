"""Interactions as RecBole's data set hands them on: times to the last digit, each pair once."""

import json
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import naming
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_sibrar.data.sparse import SparseRows
from recbole_sibrar.errors import DataError, OptionError
from recbole_sibrar.kinds.number import N_BINS, number_modality, piecewise_linear, quantile_edges
from recbole_sibrar.recbole_plugin.prepared import make_config, prepare
from recbole_sibrar.recbole_plugin.run import run
from recbole_sibrar.serving.recommender import Recommender

HEADER = "user_id:token\titem_id:token\trating:float\ttimestamp:float"
LEAVE_ONE_OUT = {"order": "TO", "split": {"LS": "valid_and_test"}}


def prepared(tiny, **options):
    return prepare(make_config("Pop", "tiny", None, tiny.options(scenario="warm", **options)))


def splits(tiny, **options):
    """The (user, item) pairs of the three splits."""
    state = prepared(tiny, **options)
    features = [loader._dataset.inter_feat for loader in state.loaders]
    names = [state.dataset.id2token(field, feature[field]) for feature in features for field in ("user_id", "item_id")]
    return [set(zip(*names[place : place + 2])) for place in (0, 2, 4)]


def write_times(tiny, texts, header=HEADER):
    """20 items of each of 5 users, shuffled; ``texts`` are the times, from the earliest to the latest."""
    rng = np.random.default_rng(0)
    items = [enumerate(rng.permutation(20)) for _ in range(5)]
    lines = [f"u{user}\ti{item}\t1\t{texts[place]}" for user, own in enumerate(items) for place, item in own]
    tiny.file("inter", header, rng.permutation(lines))
    return {tuple(line.split("\t")[:2]) for line in lines if line.endswith(f"\t{texts[-1]}")}


@pytest.mark.parametrize(
    "texts",
    [
        [str(1_500_000_000 + second) for second in range(20)],
        [f"{1_500_000_000 + step / 100:.2f}" for step in range(20)],
        [str(1_500_000_000_000_000_000 + nanosecond) for nanosecond in range(20)],
        [str(-10 + year) for year in range(20)],
        [f"{9 + step}" for step in range(20)],  # as texts 10 is before 9
    ],
)
def test_the_order_of_times_is_that_of_the_file_to_the_last_digit(tiny, texts):
    latest = write_times(tiny, texts)
    assert splits(tiny, eval_args=LEAVE_ONE_OUT)[2] == latest
    by_ratio = splits(tiny, eval_args={"order": "TO", "split": {"RS": [0.9, 0.05, 0.05]}, "group_by": "user"})
    assert by_ratio[2] == latest


@pytest.mark.parametrize(
    "header, last, eval_args, error, message",
    [
        (HEADER.replace("p:float", "p:token"), "9", LEAVE_ONE_OUT, OptionError, "'timestamp:float' | no column"),
        (HEADER, "", LEAVE_ONE_OUT, DataError, "line .*: no timestamp, but eval_args.order is TO"),
        (HEADER.replace("timestamp", "when"), "9", LEAVE_ONE_OUT, OptionError, "'timestamp:float' | no column"),
        (HEADER, "1e39", {}, DataError, "line .*: '1e39' in column 'timestamp' is not a finite number"),
        (HEADER, "9", {"split": {"TS": [0.8, 0.1, 0.1]}}, OptionError, "TS | TO"),
    ],
)
def test_times_that_cannot_be_ordered(tiny, header, last, eval_args, error, message):
    write_times(tiny, [*map(str, range(19)), last], header)
    with pytest.raises(error, match=naming(message)):
        prepared(tiny, eval_args=eval_args)


def test_other_orders_need_no_times(tiny):
    write_times(tiny, [*map(str, range(19)), ""], HEADER.replace("stamp:float", "stamp:token"))
    assert sum(map(len, splits(tiny))) == 100


# pairs


def test_repeated_pairs_count_once_the_earliest_of_each(tiny):
    """The first half of the listening has each pair three times; without a filter the rating of the earliest is 5."""
    lines = [f"u{user}\ti{item}\t{5 - copy}\t{100 + copy}" for user, item in tiny.pairs for copy in range(3)]
    tiny.file("inter", HEADER, np.random.default_rng(0).permutation(lines))
    with pytest.warns(
        UserWarning, match=f"tiny: {2 * len(tiny.pairs):,} of .* repeat a user and an item; the earliest"
    ):
        result = run("Pop", "tiny", None, tiny.options(scenario="warm", run_name="r"))
    tiny.file("inter", HEADER, [line for line in lines if line.endswith("100")])
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*repeat a user")
        once = run("Pop", "tiny", None, tiny.options(scenario="warm", run_name="once"))
    assert result.test_result == once.test_result and once.n_repeated_interactions == 0
    written = json.loads(Path("results/r/result.json").read_text())
    assert written["n_repeated_interactions"] == 2 * len(tiny.pairs) and written["n_unreachable_interactions"] == 0


def test_a_pair_is_kept_if_one_of_its_interactions_passes_the_filters(tiny):
    write_times(tiny, [*map(str, range(20))])
    path = tiny.folder / "tiny" / "tiny.inter"
    path.write_text(path.read_text() + "u0\ti0\t9\t-5\n")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert sum(map(len, splits(tiny, val_interval={"rating": "[0,5]"}))) == 100


def test_a_filter_of_features_sees_each_row_whatever_its_texts_and_ids(tiny):
    """Items 3 and later are from 1993 on; the item NA is one of them, and quotes in titles belong to the titles."""
    titles = {5: '"Heat', 9: "NA", 25: 'Heat"'}
    rows = [f"i{n}\t{titles.get(n, 'x')}\t{1990 + n}\t{n} {n + 0.5}" for n in range(1, 31)]
    tiny.file(
        "item", "item_id:token\ttitle:token\tyear:float\tsize:float_seq", [row.replace("i7\t", "NA\t") for row in rows]
    )
    pairs = [(f"u{user}", "NA" if item == 7 else f"i{item}") for user, item in tiny.pairs]
    tiny.file("inter", "user_id:token\titem_id:token", ["\t".join(pair) for pair in pairs])
    columns = {"inter": ["user_id", "item_id"], "item": "*"}
    found = set.union(*splits(tiny, load_col=columns, val_interval={"year": "[1993,inf)"}))
    assert found == {pair for pair in pairs if pair[1] not in ("i1", "i2")}
    with pytest.raises(OptionError, match=naming("val_interval.size | float_seq | token or float")):
        splits(tiny, load_col=columns, val_interval={"size": ["1"]})


def test_names_of_ones_own_for_the_fields_are_all_that_is_needed(tiny):
    lines = [f"u{user}\ti{item}\t{item % 5}\t{user * item}" for user, item in tiny.pairs]
    tiny.file("inter", HEADER, lines)
    options = tiny.options(scenario="item_cold", val_interval={"rating": "[2,inf)"})
    expected = run("ContentRidge", "tiny", None, options)
    with pytest.raises(DataError, match=naming("'sku' is needed | ITEM_ID_FIELD")):
        run("ContentRidge", "tiny", None, {**options, "ITEM_ID_FIELD": "sku"})
    for path in (tiny.folder / "tiny").glob("tiny.[iup]*"):
        path.write_text(path.read_text().replace("item_id:", "sku:").replace("user_id:", "buyer:"))
    tiny.file("inter", "buyer:token\tsku:token\tstars:float\twhen:float", lines)
    names = {"USER_ID_FIELD": "buyer", "ITEM_ID_FIELD": "sku", "RATING_FIELD": "stars", "TIME_FIELD": "when"}
    result = run("ContentRidge", "tiny", None, {**options, **names, "val_interval": {"stars": "[2,inf)"}})
    assert result.test_result == expected.test_result and result.data_counts == expected.data_counts
    assert prepared(tiny, **names, eval_args=LEAVE_ONE_OUT).dataset.inter_feat["when"].max() == 40 * 30
    Recommender.load(f"results/{result.name}").add_items(pd.DataFrame({"sku": ["new"], "genres": ["any"]}))


@pytest.mark.parametrize("model", ["Pop", "BPR"])
def test_overlapping_split_files(tiny, model):
    """The best possible recall is 1, whatever the files have in common."""
    train, valid, test = tiny.pairs[:300], tiny.pairs[300:350], tiny.pairs[350:]
    tiny.interactions("a.inter", [*train, *train[:5]])
    tiny.interactions("b.inter", [*valid, *train[:20]])
    tiny.interactions("c.inter", [*test, *test[:7], *train[:10], *valid[:3]])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        state = prepared(tiny, benchmark_filename=["a", "b", "c"])
    said = [str(warning.message) for warning in caught]
    assert any("12 of 485 interactions repeat a user and an item" in text for text in said), said
    assert any("13 of 103 interactions of the test split are in an earlier split" in text for text in said), said
    valid_phase, test_phase = (loader.phase for loader in state.loaders[1:])
    assert (valid_phase.n_unreachable, test_phase.n_unreachable) == (20, 13)
    assert len(valid_phase.positives.columns) == 50 and len(test_phase.positives.columns) == len(test)
    overlap = test_phase.seen.has(test_phase.positives.row_of_entry(), test_phase.positives.columns)
    assert not overlap.any()
    assert state.dataset.n_repeated == 12


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4))), st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)))
)
def test_which_places_of_a_sparse_matrix_are_filled(pairs, places):
    matrix = SparseRows.from_pairs(*(list(column) for column in zip(*pairs)) if pairs else ([], []), 5, 5)
    rows, columns = (torch.tensor([place[side] for place in places], dtype=torch.long) for side in (0, 1))
    assert matrix.has(rows, columns).tolist() == [place in pairs for place in places]


# numbers

LARGE = 3.4e38
NUMBERS = st.one_of(
    st.floats(-LARGE, LARGE),
    st.integers(20_000_101, 20_251_231).map(float),
    st.integers(0, 30).map(lambda second: 1.6e9 + second),
    st.sampled_from([0.0, 5e-324, 1.0, LARGE, -LARGE]),
)


@settings(max_examples=100, deadline=None)
@given(st.lists(NUMBERS, min_size=1, max_size=30), st.lists(NUMBERS, max_size=5))
def test_any_number_has_a_finite_place_and_different_ones_are_told_apart(trained, others):
    values = number_modality("n", np.array(trained)).values
    edges = quantile_edges(values)
    assert (edges.diff() > 0).all() and len(edges) == N_BINS + 1
    rows = piecewise_linear(torch.cat([values, torch.tensor(others, dtype=torch.double)]), edges)
    assert rows.dtype == torch.float and ((rows >= 0) & (rows <= 1)).all()
    least, most = rows[int(values.argmin())], rows[int(values.argmax())]
    assert (least == 0).all() and (most.sum() >= 1) == (max(trained) > min(trained))


def test_dates_and_unix_times_train_as_the_same_numbers_moved_and_scaled(tiny):
    def with_dates(change):
        rows = [f"i{item}\tgroup{item % 2}\t{change(item // 2 % 5)}" for item in range(1, 31)]
        tiny.file("item", "item_id:token\tgenres:token_seq\tyear:float", rows)
        return run("ContentRidge", "tiny", None, tiny.options(scenario="item_cold")).test_result

    small = with_dates(float)
    assert with_dates(lambda n: repr(1_583_020_800 + 2.0**-10 * n)) == small
    assert with_dates(lambda n: repr(2.0**100 * n)) == small


@pytest.mark.parametrize("text", ["1.797e308", "-3.5e38", "inf", "nan", "NULL"])
def test_a_number_that_float32_does_not_hold_is_named(tiny, text):
    tiny.file("item", "item_id:token\tgenres:token_seq\tyear:float", ["i1\ta\t1990", f"i2\ta\t{text}"])
    with pytest.raises(DataError, match=f"tiny.item, line 3: '{text}' in column 'year' is not a finite number"):
        run("ContentRidge", "tiny", None, tiny.options(scenario="item_cold"))
