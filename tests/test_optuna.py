"""The search with Optuna: the same draws again, what is kept, what ends early."""

from pathlib import Path

import pandas as pd
import pytest
from conftest import folder_of

from recbole_sibrar import cli
from recbole_sibrar.experiments.optuna_search import STARTUP_TRIALS, WARMUP_EPOCHS, EndedEarly, optuna_search
from recbole_sibrar.experiments.space import Space
from recbole_sibrar.recbole_plugin.trainer import ProtocolTrainer

pytest.importorskip("optuna")
SPACE = {
    "learning_rate": {"loguniform": [1e-4, 1e-1]},
    "dropout": {"uniform": [0.0, 0.5]},
    "embedding_size": {"quniform": [8, 24, 8]},
    "encoder_hidden_sizes": {"choice": [[], [4]]},
}


def search(n_trials, folder="s", run=None, made_for="this"):
    run = run or (lambda options, _: outcome(options["learning_rate"]))
    return list(optuna_search(run, Space.from_mapping(SPACE), n_trials, "tpe", 1, True, Path(folder), made_for))


def outcome(score, error=None):
    return {"score": score, "valid_result": {"ndcg@3": score}, "seconds": 1.0, "error": error}


def test_draws_are_in_the_space_and_the_same_again():
    first, second = search(12, "a"), search(12, "b")
    assert [options for options, *_ in first] == [options for options, *_ in second]
    for options, *_ in first:
        assert 1e-4 <= options["learning_rate"] <= 1e-1 and 0 <= options["dropout"] <= 0.5
        assert options["embedding_size"] in (8, 16, 24) and options["encoder_hidden_sizes"] in ([], [4])
    assert len({options["learning_rate"] for options, *_ in first}) == 12


def test_an_interrupted_search_goes_on():
    def interrupt(options, _):
        seen.append(options)
        if len(seen) == 3:
            raise KeyboardInterrupt
        return outcome(0.1)

    seen = []
    with pytest.raises(KeyboardInterrupt):
        search(5, run=interrupt)
    again = search(5)
    assert [is_earlier for *_, is_earlier in again] == [True, True, False, False, False]
    assert [options for options, *_ in again[:2]] == seen[:2]
    assert not any(is_earlier for *_, is_earlier in search(2, made_for="another")), "another search begins anew"


def test_a_trial_behind_the_others_ends_early():
    def run(options, on_epoch):
        score = 0.1 if len(ended) == STARTUP_TRIALS else 0.5
        try:
            for epoch in range(20):
                on_epoch(epoch, score)
        except EndedEarly as error:
            ended.append(epoch)
            return outcome(None, str(error))
        ended.append(None)
        return outcome(score)

    ended = []
    found = search(STARTUP_TRIALS + 2, run=run)
    assert ended == [*[None] * STARTUP_TRIALS, WARMUP_EPOCHS, None]
    assert found[STARTUP_TRIALS][1]["error"].startswith(f"ended early after epoch {WARMUP_EPOCHS + 1}")


def test_the_command_goes_on_where_it_was_interrupted(tiny, capsys, monkeypatch):
    Path("space.yaml").write_text("learning_rate: {loguniform: [1.0e-3, 1.0e-1]}")
    options = [f"--{name}={value}" for name, value in tiny.options(scenario="item_cold").items()]
    command = ["tune", "--engine=optuna", "--dataset=tiny", "--trials=3", "--space=space.yaml", *options]
    original, fits = ProtocolTrainer.fit, []

    def fit(self, *args, **kwargs):
        fits.append(self)
        if len(fits) == 2:
            raise KeyboardInterrupt
        return original(self, *args, **kwargs)

    monkeypatch.setattr(ProtocolTrainer, "fit", fit)
    assert cli.main(command) == 130
    said = capsys.readouterr().err
    assert "interrupted in trial 2" in said and "The same command goes on." in said
    assert cli.main(command) == 0 and len(fits) == 4
    table = pd.read_csv(folder_of("tune-SiBraR_SC-paper-tiny-item_cold-seed2020") / "trials.csv")
    assert table["trial"].tolist() == [1, 2, 3] and table["score"].notna().all()
    assert "trial 1/3" not in capsys.readouterr().err
    tiny.interactions("inter", tiny.pairs[:-1])
    assert cli.main(command) == 0 and len(fits) == 7, "scores of other data do not count"
