"""Trials of a hyper-parameter search, and RecBole's ``HyperTuning`` that draws them."""

import contextlib
import io
from collections.abc import Callable, Iterator
from time import perf_counter
from typing import Any, TypedDict

import numpy as np
from recbole.trainer import HyperTuning

from recbole_sibrar.errors import SibrarError
from recbole_sibrar.properties import QUIET
from recbole_sibrar.recbole_plugin.checks import begin_log
from recbole_sibrar.recbole_plugin.prepared import make_config, prepare


class TrialOutcome(TypedDict):
    """What a trial came to.

    ``score`` is ``valid_metric`` at the best epoch, None of a trial that failed or was ended early; ``error`` says why.
    """

    score: float | None
    valid_result: dict[str, float]
    seconds: float
    error: str | None


OnEpoch = Callable[[int, float], None]
"""Called with the number of each epoch and its validation score; it may end the trial by an exception."""


def run_trial(model: str, dataset: str, options: dict[str, Any], on_epoch: OnEpoch | None = None) -> TrialOutcome:
    """Train with some options and look at the validation split alone; the test split is never evaluated."""
    start = perf_counter()
    valid_result: dict[str, float] = {}
    score, error = None, None
    try:
        config = make_config(model, dataset, options={**QUIET, **options})
        begin_log(config)
        prepared = prepare(config)
        train_data, valid_data, _ = prepared.loaders
        score, valid_result = prepared.trainer.fit(
            train_data,
            valid_data,
            verbose=False,
            saved=False,
            show_progress=config["show_progress"],
            callback_fn=on_epoch,
        )
        score, valid_result = float(score), dict(valid_result)
    except (SibrarError, ValueError, RuntimeError, ArithmeticError) as failure:
        error = f"{type(failure).__name__}: {failure}"
    return {"score": score, "valid_result": valid_result, "seconds": perf_counter() - start, "error": error}


def worst_score(bigger: bool) -> float:
    """What a tuner is told of a failed trial."""
    return -np.inf if bigger else np.inf


def hyperopt_search(
    trial: Callable[[dict[str, Any]], TrialOutcome],
    space: dict[str, Any],
    n_trials: int,
    suggest: Callable[..., Any],
    seed: int,
    model: str,
    bigger: bool,
) -> None:
    """Run trials that hyperopt draws, through RecBole's ``HyperTuning``.

    Args:
        trial: {option: what was drawn} -> as ``run_trial``. space: of hyperopt. suggest: hyperopt's ``tpe.suggest`` or
            ``rand.suggest``. bigger: whether a bigger score is better.
    """

    def objective(drawn: dict[str, Any], _: object) -> dict[str, Any]:
        outcome = trial(drawn)
        score = worst_score(bigger) if outcome["score"] is None else outcome["score"]
        return {
            "model": model,
            "best_valid_score": score,
            "valid_score_bigger": bigger,
            "best_valid_result": outcome["valid_result"],
            "test_result": "not evaluated",
        }

    def seeded(new_ids: list[int], domain: Any, trials: Any, _: object) -> Any:
        state = np.random.SeedSequence([seed, len(trials.trials)]).generate_state(1)
        return suggest(new_ids, domain, trials, int(state[0] % 2**31))

    tuning = HyperTuning(objective, space=space, algo=seeded, max_evals=n_trials, early_stop=n_trials + 1)
    with contextlib.redirect_stdout(io.StringIO()), _without_hyperopts_bar():
        tuning.run()


@contextlib.contextmanager
def _without_hyperopts_bar() -> Iterator[None]:
    from hyperopt import progress

    usual = progress.default_callback
    progress.default_callback = progress.no_progress_callback
    try:
        yield
    finally:
        progress.default_callback = usual
