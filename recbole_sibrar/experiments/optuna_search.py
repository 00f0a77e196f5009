"""Trials that Optuna draws, kept in an SQLite file: a search that was interrupted goes on, bad trials end early."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from recbole_sibrar.experiments.space import Space
from recbole_sibrar.files import make_folder
from recbole_sibrar.recbole_plugin.tuning import OnEpoch, TrialOutcome

if TYPE_CHECKING:
    import optuna

STORAGE = "optuna.db"  # in the folder of the search
STARTUP_TRIALS, WARMUP_EPOCHS = 5, 5  # before a trial can be ended for being worse than the median


def optuna_search(
    run: Callable[[dict[str, Any], OnEpoch], TrialOutcome],
    space: Space,
    n_trials: int,
    algorithm: str,
    seed: int,
    bigger: bool,
    folder: str | Path,
    made_for: dict[str, Any],
) -> Iterator[tuple[dict[str, Any], TrialOutcome, bool]]:
    """Run trials until there are ``n_trials``, those of an interrupted search of the same kind among them.

    Args:
        run: (options, on_epoch) -> as ``run_trial``, calling ``on_epoch`` with (epoch, validation score).
        algorithm: ``tpe`` or ``random``. bigger: whether a bigger score is better.
        folder: where ``optuna.db`` is. made_for: plain data that an earlier search has to agree with.

    Yields:
        (options, outcome, whether it is of the earlier search) of each trial; of one that was ended early ``score`` is
        None and ``error`` says so.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    sampler = {"tpe": optuna.samplers.TPESampler, "random": optuna.samplers.RandomSampler}[algorithm]
    study = _open(optuna, folder, made_for, bigger)
    done = [past for past in study.trials if "outcome" in past.user_attrs]
    for past in done[:n_trials]:
        yield space.options(past.params), json.loads(past.user_attrs["outcome"]), True
    study.sampler = sampler(seed=seed + len(done))
    for _ in range(n_trials - len(done)):
        trial = study.ask()
        options = space.options(space.drawn_by_optuna(trial))
        outcome = run(options, _report_to(trial))
        trial.set_user_attr("outcome", json.dumps(outcome))
        if outcome["score"] is not None:
            study.tell(trial, outcome["score"])
        else:
            state = optuna.trial.TrialState
            study.tell(trial, state=state.PRUNED if str(outcome["error"]).startswith(ENDED) else state.FAIL)
        yield options, outcome, False


ENDED = "ended early"


class EndedEarly(Exception):
    """A trial that is worse than the median of the others at the same epoch."""


def _report_to(trial: optuna.Trial) -> OnEpoch:
    def on_epoch(epoch: int, score: float) -> None:
        trial.report(score, epoch)
        if trial.should_prune():
            raise EndedEarly(f"{ENDED} after epoch {epoch + 1}, below the median of the trials before")

    return on_epoch


def _open(optuna: ModuleType, folder: str | Path, made_for: dict[str, Any], bigger: bool) -> optuna.Study:
    """The study in the folder if it was made for the same, else a new one."""
    make_folder(folder)
    path = Path(folder) / STORAGE
    given = {
        "study_name": "search",
        "storage": f"sqlite:///{path}",
        "direction": "maximize" if bigger else "minimize",
        "pruner": optuna.pruners.MedianPruner(STARTUP_TRIALS, WARMUP_EPOCHS),
    }
    made_for = json.loads(json.dumps(made_for, default=str))
    if path.is_file():
        study = optuna.create_study(**given, load_if_exists=True)
        if study.user_attrs.get("made_for") == made_for:
            return study
        path.unlink()
    study = optuna.create_study(**given)
    study.set_user_attr("made_for", made_for)
    return study
