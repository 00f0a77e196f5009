"""Where users and items are both cold: one file, from the split to the tables of ``compare``."""

import json
from pathlib import Path

import pytest

from recbole_sibrar.cli import main
from recbole_sibrar.errors import OptionError
from recbole_sibrar.recbole_plugin.prepared import make_config, prepare
from recbole_sibrar.recbole_plugin.run import run
from recbole_sibrar.scenarios import COMPARED, SCENARIOS

HALF = {"eval_args": {"split": {"RS": [2, 1, 1]}}}


@pytest.mark.parametrize(
    "model, stands_in",
    [("SiBraR", []), ("ContentRidge", []), ("CLCRec", []), ("BPR", ["user", "item"]), ("Pop", ["item"])],
)
def test_models_with_content_score_both_and_others_get_what_stands_in(tiny, model, stands_in):
    result = run(model, "tiny", None, tiny.options(scenario="both_cold", **HALF))
    assert list(result.cold_fallback) == stands_in
    left_out = len(tiny.pairs) - sum(result.data_counts["interactions"].values())
    assert 0 < result.n_left_out_interactions == left_out and f"{left_out} interactions are between" in result.table()
    assert 0 <= result.test_result["ndcg@3"] <= 1


def test_nothing_of_a_cold_user_or_item_is_trained_on(tiny):
    prepared = prepare(make_config("SiBraR", "tiny", None, tiny.options(scenario="both_cold", **HALF)))
    train, _, test = prepared.loaders
    phase, rows = test.phase, train._dataset.interaction_rows()
    assert phase.cold_users[phase.users].all() and phase.cold_items[phase.candidates].all()
    assert not rows.lengths[phase.users].any() and not phase.candidates[rows.columns].any()
    for side, entities in (("user", phase.users), ("item", phase.candidates)):
        assert not prepared.model.core.entities(side).trained[entities].any()


def test_each_cold_side_needs_content(tiny):
    with pytest.raises(OptionError, match="scenario both_cold needs the user side to be single-branch"):
        run("SiBraR", "tiny", None, tiny.options(scenario="both_cold", single_branch="item", **HALF))


def test_it_is_compared_when_asked_for_and_listed(tiny, started, capsys):
    assert "both_cold" not in COMPARED and set(COMPARED) < set(SCENARIOS)
    Path("plan.yaml").write_text(f"options: {json.dumps(tiny.options(**HALF))}")
    command = ["compare", "--file", "plan.yaml", "--models", "SiBraR:S", "Pop", "--dataset", "tiny"]
    command += ["--data_path", str(tiny.folder), "--scenarios", "both_cold"]
    assert main(command) == 0
    assert [*Path("results/comparison").glob("tiny-both_cold-*.tex")], "named by its split's shares"
    assert all("both_cold" in name for name in started) and len(started) == 2
    with pytest.raises(SystemExit):
        main(["run", "--help"])
    assert "both_cold" in capsys.readouterr().out
