"""One run: configuration -> data -> model -> training -> test -> result files, as ``run_recbole`` and more."""

from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from logging import getLogger
from pathlib import Path
from time import perf_counter
from typing import Any

from recbole.config import Config
from recbole.model.abstract_recommender import AbstractRecommender

from recbole_sibrar import checkpoint
from recbole_sibrar.checkpoint import MODEL
from recbole_sibrar.files import owned, remove_leftovers
from recbole_sibrar.progress import Progress
from recbole_sibrar.recbole_plugin import distributed
from recbole_sibrar.recbole_plugin.checks import begin_log, check
from recbole_sibrar.recbole_plugin.everything import WHOLE_MODEL, train_on_everything
from recbole_sibrar.recbole_plugin.names import model_label, run_folder
from recbole_sibrar.recbole_plugin.outcome import announcement, data_counts, per_item, per_user, result_of
from recbole_sibrar.recbole_plugin.prepared import make_config, prepare
from recbole_sibrar.report.result import PER_ITEM, PER_USER, RESULT, RunResult

PROGRESS, HISTORY = "progress.pth", "progress.csv"
ERROR = "error.txt"  # what ``compare`` knows of a run that failed
OUTCOME = (RESULT, PER_USER, PER_ITEM, ERROR)


def run(
    model: str | type[AbstractRecommender] | None,
    dataset: str | None,
    config_files: Sequence[Path | str] | None = None,
    options: dict[str, Any] | None = None,
) -> RunResult | None:
    """Train on the training split, choose the epoch on the validation split, evaluate once on the test split.

    Writes ``<output_dir>/<run name>/``, which no other process may write at the same time: ``result.json``,
    ``per_user.csv``, ``per_item.csv`` and ``model.pth``, the best epoch's checkpoint; with ``fit=all`` also
    ``model-all.pth``, trained on everything for as many epochs, which no test figure belongs to. What another run left
    there is removed first.
    ``progress.pth``, from which an interrupted run continues with ``resume``, and ``progress.csv``, losses and
    validation scores, are there while training goes on.

    With ``nproc`` or ``world_size`` above 1 this starts processes that share the work (``distributed``) and import the
    script that called it: guard the call with ``if __name__ == "__main__":``. The first process writes the files.

    Returns:
        the result; None where it is another machine's to write (``group_offset``).

    Raises:
        SibrarError: whatever is wrong with the options or the data; another process is writing the folder.
        WorkerError: one of several processes was killed.
        KeyboardInterrupt: with a sentence that says what is saved.
    """
    config = make_config(model, dataset, config_files, options)
    world = distributed.World.of(config.final_config_dict)
    try:
        if world.size == 1:
            return _run(config)
        check(config)
        distributed.check_shareable(config)
        backend = "nccl" if config["device"].type == "cuda" else "gloo"
        return distributed.launch(world, _run_process, (model, dataset, config_files, options), backend)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(_what_is_saved(run_folder(config) / PROGRESS)) from None


def _what_is_saved(path: Path) -> str:
    if not path.is_file():
        return "interrupted before the end of the first epoch; nothing is saved."
    n = checkpoint.load(path)["next_epoch"]
    epochs = "epoch 1 is" if n == 1 else f"epochs 1-{n} are"
    return f"interrupted in epoch {n + 1}; {epochs} saved: the same command with --resume=True goes on."


def _run_process(*arguments: Any) -> RunResult:
    return _run(make_config(*arguments))


def _run(config: Config) -> RunResult:
    folder = run_folder(config)
    with owned(folder) if distributed.is_main() else nullcontext():
        return _run_in(folder, config)


def _run_in(folder: Path, config: Config) -> RunResult:
    config["checkpoint_dir"] = str(folder)
    log = None
    if distributed.is_main():
        log = begin_log(config)
    else:
        distributed.silence(config)
    getLogger().info(config)
    prepared = prepare(config)
    counts = data_counts(prepared)
    quiet = not config["show_progress"] or not distributed.is_main()
    if not quiet:
        print("\n".join(announcement(prepared, counts, folder, log)), flush=True)
    trainer, (train_data, valid_data, test_data) = prepared.trainer, prepared.loaders
    trainer.saved_model_file = str(folder / MODEL)
    trainer.progress_file, trainer.history_file = folder / PROGRESS, folder / HISTORY
    resumes = config["resume"] and distributed.from_main(trainer.progress_file.is_file)
    if resumes:
        trainer.resume_progress(trainer.progress_file, train_data)
    if distributed.is_main():  # so that no file is of another run than the others
        remove_files(folder, (*OUTCOME, WHOLE_MODEL, *(() if resumes else (MODEL, PROGRESS, HISTORY))))

    start = perf_counter() - sum(map(sum, trainer.seconds.values()))  # of the epochs before it was interrupted
    with Progress(trainer.epochs, "epoch", model_label(config), at_most=True, quiet=quiet) as trainer.progress:
        best_score, valid_result = trainer.fit(train_data, valid_data, saved=True)
    trained = perf_counter()
    test_result = trainer.evaluate(test_data, load_best_model=True)
    seconds = {"training": trained - start, "test": perf_counter() - trained}
    whole = train_on_everything(config, prepared.dataset, folder / MODEL, quiet) if config["fit"] == "all" else None
    figures = float(best_score), dict(valid_result or {}), dict(test_result)
    result = result_of(prepared, folder.name, counts, *figures, seconds, whole and whole.name)
    if distributed.is_main():
        result.write(folder, per_user(prepared), per_item(prepared))
        remove_files(folder, (PROGRESS, HISTORY))
    return result


def remove_files(folder: Path, names: Iterable[str]) -> None:
    """Remove files of a run, and what killed processes have left of them."""
    remove_leftovers(folder, names)
    for name in names:
        (folder / name).unlink(missing_ok=True)
