"""One run: configuration -> data -> model -> training -> test -> result files, as ``run_recbole`` and more."""

import hashlib
import inspect
import json
import re
import warnings
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from importlib.metadata import version
from importlib.util import find_spec
from logging import getLogger
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.data.dataloader.abstract_dataloader import AbstractDataLoader
from recbole.model.abstract_recommender import AbstractRecommender
from recbole.utils import get_model, get_trainer, init_seed

from recbole_sibrar import checkpoint
from recbole_sibrar.checkpoint import MODEL
from recbole_sibrar.data.modalities import SIDES
from recbole_sibrar.data.splits import PHASES
from recbole_sibrar.errors import CheckpointError, OptionError, SibrarError, nearest
from recbole_sibrar.evaluation.items import per_item_table
from recbole_sibrar.evaluation.metrics import METRICS, per_user_table
from recbole_sibrar.evaluation.protocol import Phase
from recbole_sibrar.evaluation.significance import split_of
from recbole_sibrar.evaluation.unlearned import compared_with_unlearned
from recbole_sibrar.files import check_plain_name, owned, remove_leftovers
from recbole_sibrar.kinds import DECLARED
from recbole_sibrar.models.priors import PRIORS
from recbole_sibrar.progress import Progress
from recbole_sibrar.recbole_plugin import distributed
from recbole_sibrar.recbole_plugin.capabilities import SOLVED, general_recommenders
from recbole_sibrar.recbole_plugin.checks import begin_log, check, check_sizes, options_blamed, without_effect
from recbole_sibrar.recbole_plugin.config import (
    DEFAULT_DATASET,
    DEFAULT_MODEL,
    command_line_hidden,
    read_config_files,
)
from recbole_sibrar.recbole_plugin.dataset import ScenarioDataset, StoredSplit
from recbole_sibrar.recbole_plugin.everything import WHOLE_MODEL, train_on_everything
from recbole_sibrar.recbole_plugin.rules import is_integer
from recbole_sibrar.recbole_plugin.trainer import ProtocolTrainer, cold_fallback
from recbole_sibrar.report.result import PER_ITEM, PER_USER, RESULT, RunResult, as_json
from recbole_sibrar.scenarios import DEFAULT_SCENARIO

PROGRESS, HISTORY = "progress.pth", "progress.csv"
ERROR = "error.txt"  # what ``compare`` knows of a run that failed
OUTCOME = (RESULT, PER_USER, PER_ITEM, ERROR)
IN_THE_NAME = {"model", "dataset", "scenario", "seed", "split_seed", "variant", "preset", "impute"}
OF_FIGURES = ("benchmark_filename", "eval_args", "eval_candidates", "map_divisor", "split_rounding")
SHORT = re.compile(r"[\w.+=-]{1,40}")
PACKAGES = ("recbole", "torch", "numpy", "pandas", "scipy", "scikit-learn")


def make_config(
    model: str | type[AbstractRecommender] | None,
    dataset: str | None,
    config_files: Sequence[Path | str] | None = None,
    options: dict[str, Any] | None = None,
) -> Config:
    """The effective configuration of a run under the protocol; ``sys.argv`` is not read.

    Args:
        model, dataset: names, or a model class of one's own; None for those that the files or options name, or the
            defaults.

    Raises:
        OptionError: an unknown model or option, or a value that it does not take or that has no effect.
    """
    options = options or {}
    name = model.__name__ if inspect.isclass(model) else model
    settings = {**read_config_files(config_files or (), options, name, dataset), **options}
    name = _named("model", name, settings, DEFAULT_MODEL)
    dataset = _named("dataset", dataset, settings, DEFAULT_DATASET)
    models = general_recommenders()
    if not inspect.isclass(model) and str(name) not in models:
        raise OptionError(f"Unknown model {name!r}; the protocol covers general recommenders. {nearest(name, models)}")
    check_plain_name("dataset", dataset)
    if settings.get("checkpoint_dir") is not None:
        raise OptionError(
            f"checkpoint_dir is {settings['checkpoint_dir']!r}, but a run's files go to <output_dir>/<run_name>/; use "
            "output_dir and run_name."
        )
    if settings.get("scenario") is None:
        settings["scenario"] = DEFAULT_SCENARIO
    given = set(settings)
    distributed.check_processes(settings)
    try:
        with command_line_hidden():
            config = Config(model=model if inspect.isclass(model) else name, dataset=dataset, config_dict=settings)
    except SibrarError:
        raise
    except (ValueError, KeyError, TypeError, NotImplementedError, RuntimeError, AttributeError) as error:
        raise OptionError(f"RecBole refuses the configuration: {error}") from error
    for sentence in without_effect(given, config):
        warnings.warn(sentence, stacklevel=2)
    return config


def _named(what: str, argument: str | None, settings: dict[str, Any], default: str) -> str:
    """The model or data set: the argument, or what files and options name."""
    found = settings.pop(what, None)
    name = argument if argument is not None else found if found is not None else default
    return str(name) if is_integer(name) else name


@dataclass
class Prepared:
    """Everything before training. The random state is what ``run_recbole`` has at this point."""

    config: Config
    dataset: ScenarioDataset
    loaders: tuple[AbstractDataLoader, AbstractDataLoader, AbstractDataLoader]
    model: AbstractRecommender
    trainer: ProtocolTrainer


def prepare(config: Config) -> Prepared:
    with options_blamed(config):
        return _prepare(config)


def _prepare(config: Config) -> Prepared:
    init_seed(config["seed"], config["reproducibility"])
    model_class = get_model(config["model"])
    dataset = create_dataset(config)
    getLogger().info(dataset)
    check_sizes(config, dataset)
    loaders = data_preparation(config, dataset)
    init_seed(config["seed"] + config["local_rank"], config["reproducibility"])
    model = model_class(config, loaders[0]._dataset).to(config["device"])
    getLogger().info(model)
    trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, model)
    if not distributed.is_main():
        init_seed(config["seed"] + distributed.rank(), config["reproducibility"])
    return Prepared(config, dataset, loaders, model, trainer)


class DataNow:
    """The fingerprints of data sets as their files are, each read once; nothing is trained."""

    def __init__(self):
        self._opened = {}

    def read_by(self, config: Config) -> dict[str, str]:
        """{what: fingerprint} of all that a run of this configuration reads.

        Raises:
            SibrarError: the data set cannot be read.
        """
        names = {*config.parameters["Dataset"], "dataset", "benchmark_filename", "modalities", "scenario"}
        key = repr([(name, config[name]) for name in sorted(names)])
        if key not in self._opened:
            self._opened[key] = create_dataset(config)
            self._opened[key].inter_feat = None
        dataset, own = self._opened[key], getattr(get_model(config["model"]), "read_modalities", None)
        return dataset.read_of({side: own(config, side) for side in SIDES} if own else {})


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


def run_folder(config: Config) -> Path:
    """Where the files of a run go."""
    return Path(config["output_dir"]) / (config["run_name"] or run_name(config))


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
    counts = _data_counts(prepared)
    quiet = not config["show_progress"] or not distributed.is_main()
    if not quiet:
        print("\n".join(_announcement(prepared, counts, folder, log)), flush=True)
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
    tested = perf_counter()
    phase = test_data.phase
    tables, unlearned = (_per_user(prepared, phase), _per_item(prepared, phase)), _unlearned(prepared, phase)
    whole = train_on_everything(config, prepared.dataset, folder / MODEL, quiet) if config["fit"] == "all" else None

    result = RunResult(
        name=folder.name,
        label=model_label(config),
        model=config["model"],
        variant=config["variant"],
        preset=config["preset"],
        dataset=config["dataset"],
        scenario=config["scenario"],
        seed=config["seed"],
        n_parameters=_n_parameters(prepared.model),
        best_valid_score=float(best_score),
        valid_result=dict(valid_result or {}),
        test_result=dict(test_result),
        seconds={
            "training": trained - start,
            "epoch": _mean(trainer.seconds["train"]),
            "validation": _mean(trainer.seconds["valid"]),
            "test": tested - trained,
        },
        n_epochs=trainer.n_finished_epochs,
        history=trainer.history,
        n_candidates=int(phase.candidates.sum()),
        n_users=len(phase.users),
        n_unreachable_interactions=phase.n_unreachable,
        n_repeated_interactions=prepared.dataset.n_repeated,
        n_left_out_interactions=prepared.dataset.n_left_out,
        is_solved=type(prepared.model).__name__ in SOLVED,
        popularity_source=phase.popularity_source,
        cold_fallback=cold_fallback(prepared.model, phase),
        dropped={
            side: {"count": len(ids), "examples": sorted(ids)[:3]}
            for side, ids in prepared.dataset.dropped.items()
            if ids
        },
        modalities=_modalities(prepared.model),
        data_counts=counts,
        options=as_json(_options_of_its_own(config, {})),
        config=checkpoint.plain_config(config),
        versions={package: version(package) for package in PACKAGES},
        n_threads=torch.get_num_threads(),
        data=dict(prepared.dataset.read),
        whole_model=None if whole is None else whole.name,
        unlearned=unlearned,
    )
    if distributed.is_main():
        result.write(folder, *tables)
        remove_files(folder, (PROGRESS, HISTORY))
    return result


def _announcement(prepared: Prepared, counts: dict[str, Any], folder: Path, log: str | None) -> list[str]:
    """In a few lines what is going to happen, with what (``_data_counts``), and where it is written."""
    config, dataset = prepared.config, prepared.dataset
    n = [f"{number:,}" for number in counts["interactions"].values()]
    left_out = f", {dataset.n_left_out:,} between the parts left out" if dataset.n_left_out else ""
    seeds = f"seed {config['seed']}, split {split_of(config.final_config_dict)}"
    better = f"stops after {config['stopping_step']} without a better validation {config['valid_metric']}"
    if not prepared.trainer.eval_step:
        better = "nothing is validated, the last epoch is tested"
    content = {
        side: [f"{name}: {own['available']:,}" for name, own in entries.items() if own["kind"] in DECLARED]
        for side, entries in counts["modalities"].items()
    }
    return [
        f"{model_label(config)} on {config['dataset']}, {config['scenario']}, {seeds}",
        f"  {counts['users']:,} users, {counts['items']:,} items; interactions: {n[0]} to train, {n[1]} to "
        f"validate, {n[2]} to test{left_out}",
        *(f"  {side}s with {', '.join(own)}" for side, own in content.items() if own),
        f"  {_n_parameters(prepared.model):,} parameters on {config['device']}, {torch.get_num_threads()} threads",
        f"  at most {prepared.trainer.epochs} epochs; {better}",
        f"  results: {folder}; configuration and log: {log}",
    ]


def remove_files(folder: Path, names: Iterable[str]) -> None:
    """Remove files of a run, and what killed processes have left of them."""
    remove_leftovers(folder, names)
    for name in names:
        (folder / name).unlink(missing_ok=True)


def run_name(
    config: Config,
    label: str | None = None,
    known: dict[str, Any] | None = None,
    also: dict[str, Any] | None = None,
) -> str:
    """``SiBraR_SC-paper-ml-100k-item_cold-seed2020``; with a split of its own ``...-split1-seed2020``.

    Behind it stand the options that differ from the property files, so that runs with different options do not share a
    folder: as ``-embedding_size=32`` if they are short, else as a hash of them.

    Args:
        label: the model's name, ``model_label`` by default.
        known: options that need not be told, being what runs of this kind are given.
        also: what else tells it from others.
    """
    name = f"{label or model_label(config)}-{config['dataset']}-{config['scenario']}{_split_told(config)}"
    return f"{name}-seed{config['seed']}{_told({**_options_of_its_own(config, known or {}), **(also or {})})}"


def protocol_name(config: Config, known: dict[str, Any] | None = None) -> str:
    """What of a run's protocol gives figures of the same name another meaning, as in the names of runs: nothing as a
    rule, ``-split2020``, ``-eval_candidates=all``.

    Args:
        known: options that need not be told.
    """
    options = _options_of_its_own(config, known or {})
    return _split_told(config) + _told({name: options[name] for name in OF_FIGURES if name in options})


def _split_told(config: Config) -> str:
    return "" if config["split_seed"] is None else f"-split{config['split_seed']}"


def _told(options: dict[str, Any]) -> str:
    """``-embedding_size=32`` if it is short, else a hash."""
    if not options:
        return ""
    text = "-".join(f"{key}={value}" for key, value in options.items())
    if not SHORT.fullmatch(text):
        text = hashlib.blake2b(json.dumps(options, default=str).encode(), digest_size=4).hexdigest()
    return f"-{text}"


def _options_of_its_own(config: Config, known: dict[str, Any]) -> dict[str, Any]:
    """Those given that make a difference and are not what the property files say."""
    usual = {**config.internal_config_dict, **known}
    ignored = IN_THE_NAME | checkpoint.OUTSIDE_THE_RESULT
    given = config.external_config_dict
    return {name: given[name] for name in sorted(set(given) - ignored) if given[name] != usual.get(name)}


def model_label(config: Config) -> str:
    """The papers' name of a model with its variant, its preset, and what is added to it: ``SiBraR_SC-paper``,
    ``MuBraR-strong``, ``SiBraR_S-strong+KernelRidge``, ``ContentRidge+knn`` (its imputer)."""
    variant, preset = config["variant"], config["preset"]
    name = config["model"] if variant in (None, "base") else f"{config['model']}_{variant}"
    added = [f"+{prior.model}" for option, prior in PRIORS.items() if config[option]]
    if config["impute"] not in (None, "none"):
        added.append(f"+{config['impute']}")
    return "".join([name, f"-{preset}" if preset else "", *added])


def _mean(seconds: list[float]) -> float:
    return sum(seconds) / len(seconds) if seconds else 0.0


def _n_parameters(model: AbstractRecommender) -> int:
    """Of models in closed form what is solved for; the numbers that are not zero where it is sparse."""
    core, name = getattr(model, "core", None), type(model).__name__
    if core is not None:
        return core.n_parameters
    if name in SOLVED:
        found = [getattr(model, part) for part in SOLVED[name]]
        return sum(part.numel() if isinstance(part, torch.Tensor) else part.size for part in found)
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def _modalities(model: AbstractRecommender) -> dict[str, list[str]]:
    core = getattr(model, "core", None)
    return {side: list(core.modalities[side].names) for side in SIDES} if core is not None else {}


def _data_counts(prepared: Prepared) -> dict[str, Any]:
    """What the run rested on: users, items, interactions of each split, and how many entities have each modality."""
    dataset, core = prepared.dataset, getattr(prepared.model, "core", None)
    known = core.modalities if core is not None else {}
    return {
        "users": dataset.user_num - 1,
        "items": dataset.item_num - 1,
        "interactions": {name: len(loader._dataset.inter_feat) for name, loader in zip(PHASES, prepared.loaders)},
        "modalities": {
            side: {
                entry.name: {"kind": entry.kind, "width": entry.width, "available": int(entry.available[1:].sum())}
                for entry in modalities.entries
            }
            for side, modalities in known.items()
        },
    }


def _per_user(prepared: Prepared, phase: Phase) -> dict[str, Any] | None:
    """{"user": original ids, metric@k: values, ``n_history`` and ``n_relevant``: interactions} of the last evaluation;
    the history is what comes before the evaluated split."""
    collector, config = prepared.trainer.eval_collector, prepared.config
    if collector.recommendations is None:
        return None
    metrics = [metric.lower() for metric in config["metrics"] if metric.lower() in METRICS]
    table = per_user_table(collector.recommendations, metrics, config["topk"])
    field = prepared.dataset.uid_field
    return {
        field: prepared.dataset.id2token(field, collector.users),
        **{key: v.numpy() for key, v in table.items()},
        "n_history": phase.seen.lengths[collector.users].numpy(),
        "n_relevant": collector.recommendations.n_relevant.numpy(),
    }


def _unlearned(prepared: Prepared, phase: Phase) -> dict[str, Any] | None:
    """As ``compared_with_unlearned``, of the last evaluation."""
    collector, config = prepared.trainer.eval_collector, prepared.config
    if collector.recommendations is None:
        return None
    order, metric = collector.order(len(phase.candidates)), config["valid_metric"].lower()
    found = compared_with_unlearned(metric, collector.recommendations, collector.users, phase, order, config["seed"])
    return None if found is None else asdict(found)


def _per_item(prepared: Prepared, phase: Phase) -> dict[str, Any] | None:
    """As ``per_item_table``, with original ids."""
    recommendations, dataset = prepared.trainer.eval_collector.recommendations, prepared.dataset
    if recommendations is None:
        return None
    n_relevant = torch.bincount(phase.positives.columns, minlength=dataset.item_num)
    table = per_item_table(recommendations, n_relevant, prepared.config["topk"])
    items = dataset.id2token(dataset.iid_field, table.pop("item"))
    return {dataset.iid_field: items, **{name: values.numpy() for name, values in table.items()}}


def prepare_trained(path: Path | str, **options: Any) -> Prepared:
    """As ``prepare``, with the configuration and the parameters of a checkpoint; ``options`` win over the former.

    Raises:
        DataError: the data are not those that the model was trained on. CheckpointError: it was trained on all of them,
            or is of a class of one's own that this process has not seen.
    """
    state = checkpoint.load(path)
    if state.get("trained_on", checkpoint.SPLIT) != checkpoint.SPLIT:
        raise CheckpointError(
            f"{path} was trained on {checkpoint.EVERYTHING}. It is for use; evaluate the {MODEL} beside it."
        )
    _check_seen(state["config"]["model"])
    with command_line_hidden():
        config = Config(config_dict={**state["config"], **options})
    begin_log(config)
    prepared = prepare(config)
    checkpoint.check_same_data(path, state["data"], prepared.dataset.read, config["dataset"])
    checkpoint.restore(prepared.model, state)
    prepared.trainer.eval_collector.data_collect(prepared.loaders[0])  # as in RecBole's fit, for some of its metrics
    return prepared


def _check_seen(name: str) -> None:
    if find_spec(f"recbole.model.general_recommender.{name.lower()}") is None:
        raise CheckpointError(
            f"The checkpoint is of {name}, a model class of one's own that this process has not seen; make it known "
            f"first, from Python: recbole_sibrar.recbole_plugin.patches.models.cover({name})."
        )


def stored_model(state: dict[str, Any]) -> AbstractRecommender:
    """The model under RecBole's interface that a checkpoint holds; the data set's files are not read.

    Raises:
        CheckpointError: it is of a class of the user's own that this process has not seen.
    """
    name = state["config"]["model"]
    _check_seen(name)
    with command_line_hidden():
        config = Config(config_dict=state["config"])
    init_seed(config["seed"], config["reproducibility"])
    model = get_model(name)(config, StoredSplit(config, state["serving"])).to(config["device"])
    checkpoint.restore(model, state)
    return model
