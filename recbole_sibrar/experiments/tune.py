"""Hyper-parameter search on validation results: trials, the best property file, the alpha/tau map."""

import importlib.util
import json
import logging
import os
import tempfile
import warnings
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import pandas as pd
import yaml

from recbole_sibrar import checkpoint
from recbole_sibrar.data.identity import combined
from recbole_sibrar.errors import OptionError, SibrarError, as_typed, not_installed
from recbole_sibrar.experiments.optuna_search import EndedEarly, optuna_search
from recbole_sibrar.experiments.space import Parameter, Space
from recbole_sibrar.files import atomic_file, owned
from recbole_sibrar.progress import Progress, duration
from recbole_sibrar.recbole_plugin.checks import check, check_validates, unscored_sides, without_effect
from recbole_sibrar.recbole_plugin.config import Config, check_dataset
from recbole_sibrar.recbole_plugin.names import model_label, run_name
from recbole_sibrar.recbole_plugin.prepared import DataNow, make_config
from recbole_sibrar.recbole_plugin.quick_start import report_to_ray
from recbole_sibrar.recbole_plugin.tuning import OnEpoch, TrialOutcome, hyperopt_search, run_trial, worst_score
from recbole_sibrar.report import figures
from recbole_sibrar.report.tables import write_csv
from recbole_sibrar.report.tracking import Record, search_records

ENGINES = {"hyperopt": ("hyperopt",), "optuna": ("optuna", "sqlalchemy"), "ray": ("ray", "hyperopt", "pyarrow")}
# Options of ours that say what a score means or where a run goes; RecBole's are told from its lists.
OF_THE_PROTOCOL = {
    "model", "dataset", "scenario", "split_seed", "eval_candidates", "map_divisor", "split_rounding", "missing",
    "eval_item_modalities", "eval_user_modalities", "modalities", "tables", "fit", "run_name", "output_dir", "resume",
}  # fmt: skip
FILES = ("trials.csv", "best.yaml", *(f"map.{suffix}" for suffix in figures.FORMATS))


@dataclass(frozen=True)
class Study:
    """A search to be made.

    Attributes:
        options: of every trial. space: what differs between them.
        cpus_per_trial, address: of Ray; an address is that of a running cluster, on whose machines the data set has to
            be under the same path.
    """

    model: str
    dataset: str
    options: dict[str, Any]
    space: Space
    n_trials: int = 30
    engine: str = "hyperopt"
    algorithm: str = "tpe"
    cpus_per_trial: int | None = None
    address: str | None = None

    def __post_init__(self) -> None:
        if not self.space.parameters:
            raise OptionError(
                f"Every option that is searched for {self.model} is given; name others with --space FILE."
            )
        if self.n_trials < 1:
            raise OptionError(f"--trials is {self.n_trials}; expected at least 1.")
        if self.engine != "ray" and (self.cpus_per_trial is not None or self.address is not None):
            raise OptionError("--cpus_per_trial and --address are options of Ray; add --engine=ray.")
        if self.cpus_per_trial is not None and self.cpus_per_trial < 1:
            raise OptionError(f"--cpus_per_trial is {self.cpus_per_trial}; expected at least 1.")
        for package in ENGINES[self.engine]:
            if importlib.util.find_spec(package) is None:
                raise OptionError(not_installed(f"--engine={self.engine}", package, "tune"))


class Trial(TrialOutcome):
    """What was tried, and what it came to."""

    options: dict[str, Any]


@dataclass
class Trials:
    """The trials so far; ``trials.csv`` is written anew after each."""

    study: Study
    config: Config
    folder: Path
    progress: Progress
    rows: list[Trial] = field(default_factory=list)

    def add(self, options: dict[str, Any], outcome: TrialOutcome, is_earlier: bool = False) -> None:
        """A trial that ended, now or in the search that this one goes on with."""
        row = Trial(options=options, **outcome)
        self.rows.append(row)
        write_csv(self.table, self.folder / "trials.csv")
        if not is_earlier:
            self._tell(row)

    def _tell(self, row: Trial) -> None:
        """A line for the trial, and the best so far."""
        n, metric = len(self.rows), self.config["valid_metric"]
        said = row["error"] or f"validation {metric} {row['score']:.4f}"
        options = ", ".join(f"{name}={_short(value)}" for name, value in row["options"].items())
        self.progress.write(f"trial {n}/{self.study.n_trials}: {said}, {duration(row['seconds'])}; {options}")
        known = any(row["score"] is not None for row in self.rows)
        self.progress.update(n, f"best {metric} {self.best['score']:.4f}" if known else "")

    @property
    def table(self) -> pd.DataFrame:
        """A row for each trial: number, options, score, validation metrics, seconds, and the error if it failed."""
        return pd.DataFrame(
            {
                "trial": number,
                **{name: _cell(value) for name, value in row["options"].items()},
                "score": row["score"],
                **{f"validation {name}": value for name, value in row["valid_result"].items()},
                "seconds": row["seconds"],
                "error": row["error"],
            }
            for number, row in enumerate(self.rows, start=1)
        )

    @property
    def best(self) -> Trial:
        """The row of the best trial, the first of equals.

        Raises:
            SibrarError: every trial failed.
        """
        scores = {index: row["score"] for index, row in enumerate(self.rows) if row["score"] is not None}
        if not scores:
            raise SibrarError(f"Every trial failed; the first with {self.rows[0]['error']}")
        choose = max if self.config["valid_metric_bigger"] else min
        return self.rows[choose(scores, key=lambda index: scores[index])]

    @property
    def ties(self) -> list[int]:
        """The numbers of other trials, with other options, that are as good as the best."""
        best = self.best
        return [
            number
            for number, row in enumerate(self.rows, start=1)
            if row["score"] == best["score"] and row["options"] != best["options"]
        ]

    @property
    def tied(self) -> str:
        """A sentence on ``ties``; empty without any."""
        if not (ties := self.ties):
            return ""
        numbers = f"trial {ties[0]} is" if len(ties) == 1 else f"trials {', '.join(map(str, ties))} are"
        return f"{numbers} as good, with other options: the first of them all was kept"

    @property
    def command(self) -> str:
        """What trains and tests a model with the best options."""
        given = {"model": self.study.model, "dataset": self.study.dataset}
        given |= {name: self.study.options[name] for name in ("data_path",) if name in self.study.options}
        options = [f"--{name}={value}" for name, value in given.items()]
        return as_typed("run", *options, "--config_files", self.folder / "best.yaml")

    def records(self) -> list[Record]:
        """For a tracker: each trial, and the search with the best of them."""
        config = self.config
        of_search = {name: config[name] for name in ("model", "dataset", "scenario", "seed")}
        of_search |= {"label": model_label(config), "fingerprint": combined(DataNow().read_by(config))}
        return search_records(self.folder.name, of_search, self.rows, self.best, bool(config["valid_metric_bigger"]))


def _cell(value: object) -> object:
    return json.dumps(value) if isinstance(value, (list, dict)) else value


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def tune(study: Study) -> Trials:
    """Run a study and write ``<output_dir>/tune-<run name>/``, whose hash is of the space, too: ``trials.csv``,
    ``best.yaml``, and ``map`` (PNG, SVG) if the space holds ``contrastive_weight`` and ``temperature``.

    Raises:
        SibrarError: an option or the space is wrong, the data set does not exist, another process is writing the
            folder, or every trial failed.
        KeyboardInterrupt: with a sentence that says what is there; the best trial so far is in ``best.yaml``.
    """
    config = make_config(study.model, study.dataset, options=study.options)
    check(config)
    check_dataset(config["data_path"], study.dataset)
    check_space(study)
    if sides := unscored_sides(study.model, config["scenario"]):
        raise OptionError(
            f"{study.model} does not score the cold {' and '.join(sides)}s of {config['scenario']}: every trial would "
            "have the score of what stands in for it. Search in another scenario, or with another model."
        )
    study = without_idle(study)
    name = f"tune-{run_name(config, also={'space': list(map(vars, study.space.parameters))})}"
    progress = Progress(study.n_trials, "trial")
    trials = Trials(study, config, Path(config["output_dir"]) / name, progress)
    with owned(trials.folder), progress:
        for path in FILES:
            (trials.folder / path).unlink(missing_ok=True)
        try:
            {"hyperopt": _hyperopt, "optuna": _optuna, "ray": _ray}[study.engine](study, trials)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(_what_is_there(trials)) from None
        _write_best(trials)
        if set(figures.MAP_OPTIONS) <= set(study.space.names):
            drawn = figures.search_map(trials.table, *figures.MAP_OPTIONS, config["valid_metric"])
            figures.save(drawn, trials.folder / "map")
    return trials


def _what_is_there(trials: Trials) -> str:
    if not any(row["error"] is None for row in trials.rows):
        return "interrupted before the first trial ended."
    _write_best(trials)
    n = len(trials.rows)
    again = "goes on" if trials.study.engine == "optuna" else "begins the search anew"
    return (
        f"interrupted in trial {n + 1}; {trials.folder} holds those that ended (trials.csv) and the best of them "
        f"(best.yaml). The same command {again}."
    )


def check_space(study: Study) -> None:
    """The model accepts every option of the space, at the extremes of its values, and scores can be compared.

    Raises:
        OptionError: naming the option.
    """
    config = _config_of(study, {})
    check_validates(config)
    fixed = OF_THE_PROTOCOL.union(*(config.parameters[kind] for kind in ("General", "Evaluation", "Dataset")))
    for parameter in study.space.parameters:
        if parameter.name in study.options:
            raise OptionError(f"{parameter.name} is both given and in the search space; leave one of them out.")
        if parameter.name in fixed:
            raise OptionError(
                f"{parameter.name} is in the search space, but it is of the protocol, and not of {study.model}: scores "
                f"could not be compared. Give it to all trials, as --{parameter.name}=value."
            )
        for value in parameter.extremes:
            try:
                config = _config_of(study, {parameter.name: value})
                check(config)
                check_validates(config)
            except OptionError as error:
                raise OptionError(f"The search space does not fit {study.model}: {error}") from None


def without_idle(study: Study) -> Study:
    """The study without the options of its space that do nothing in any trial, which are named.

    Raises:
        OptionError: none is left.
    """
    parameters, kept = study.space.parameters, []
    for parameter in parameters:
        others = [other for other in parameters if other.kind == "choice" and other is not parameter]
        reason = _idle(study, parameter, {})
        if reason and all(_idle(study, parameter, {o.name: value}) for o in others for value in o.values):
            print(f"not searched: {reason}")
        else:
            kept.append(parameter)
    if not kept:
        raise OptionError(f"No option of the search space has an effect here; choose others than {parameters[0].name}.")
    return replace(study, space=Space(tuple(kept)))


def _idle(study: Study, parameter: Parameter, options: dict[str, Any]) -> str:
    """Why an option of the space does nothing with these options; empty if it does something."""
    options = {**options, parameter.name: parameter.extremes[0]}
    return " ".join(without_effect({parameter.name}, _config_of(study, options)))


def _config_of(study: Study, options: dict[str, Any]) -> Config:
    """Of a trial, without the warnings of options that have no effect: ``without_idle`` looks at those."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return make_config(study.model, study.dataset, options={**study.options, **options})


def _hyperopt(study: Study, trials: Trials) -> None:
    from hyperopt import rand, tpe

    def trial(drawn: dict[str, Any]) -> TrialOutcome:
        options = study.space.options(drawn)
        outcome = run_trial(study.model, study.dataset, {**study.options, **options})
        trials.add(options, outcome)
        return outcome

    hyperopt_search(
        trial,
        study.space.to_hyperopt(),
        study.n_trials,
        {"tpe": tpe.suggest, "random": rand.suggest}[study.algorithm],
        trials.config["seed"],
        study.model,
        trials.config["valid_metric_bigger"],
    )


def _optuna(study: Study, trials: Trials) -> None:
    config = trials.config

    def run(options: dict[str, Any], on_epoch: OnEpoch) -> TrialOutcome:
        start = perf_counter()
        try:
            return run_trial(study.model, study.dataset, {**study.options, **options}, on_epoch)
        except EndedEarly as ended:
            return {"score": None, "valid_result": {}, "seconds": perf_counter() - start, "error": str(ended)}

    made_for = {"options": checkpoint.plain_config(config), "space": [vars(p) for p in study.space.parameters]}
    made_for |= {"algorithm": study.algorithm, "data": DataNow().read_by(config)}
    found = optuna_search(
        run, study.space, study.n_trials, study.algorithm, config["seed"], config["valid_metric_bigger"], trials.folder,
        made_for,
    )  # fmt: skip
    for options, outcome, is_earlier in found:
        trials.add(options, outcome, is_earlier)


def _ray(study: Study, trials: Trials) -> None:
    import ray
    from ray import tune as ray_tune
    from ray.tune.search.hyperopt import HyperOptSearch

    bigger = trials.config["valid_metric_bigger"]
    data_path = str(Path(trials.config["data_path"]).parent.resolve())
    trainable = ray_tune.with_parameters(
        _ray_trial, study=study, given={**study.options, "data_path": data_path}, worst=worst_score(bigger)
    )

    class Record(ray_tune.Callback):
        def on_trial_result(self, *, trial: Any, result: dict[str, Any], **_: object) -> None:  # type: ignore[override]
            trials.add(study.space.options(trial.config), result["outcome"])

    search = HyperOptSearch(
        space=study.space.to_hyperopt(),
        metric="score",
        mode="max" if bigger else "min",
        n_initial_points=study.n_trials if study.algorithm == "random" else 20,
        random_state_seed=trials.config["seed"],
    )
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    # which reads back from disk what our callback has, and says that it finds nothing
    logging.getLogger("ray.tune.analysis.experiment_analysis").setLevel(logging.ERROR)
    local = {} if study.address else {"include_dashboard": False}
    ray.init(address=study.address, log_to_driver=False, logging_level=logging.WARNING, **local)
    try:
        with tempfile.TemporaryDirectory() as scratch:
            ray_tune.run(
                trainable,
                search_alg=search,
                num_samples=study.n_trials,
                resources_per_trial={"cpu": study.cpus_per_trial or 1},
                storage_path=scratch,
                verbose=0,
                callbacks=[Record()],
                reuse_actors=True,
                raise_on_failed_trial=False,
            )
    finally:
        ray.shutdown()
    if not trials.rows:
        raise SibrarError("Ray ended without a single trial; see its log under /tmp/ray/session_latest/logs.")


def _ray_trial(drawn: dict[str, Any], study: Study, given: dict[str, Any], worst: float) -> None:
    outcome = run_trial(study.model, study.dataset, {**given, **study.space.options(drawn)})
    report_to_ray({"score": worst if outcome["score"] is None else outcome["score"], "outcome": outcome})


def _write_best(trials: Trials) -> None:
    best, study = trials.best, trials.study
    kept = {name: value for name, value in study.options.items() if name not in ("output_dir", "data_path")}
    settings = {**kept, "scenario": trials.config["scenario"], **best["options"]}
    comment = (
        f"# {trials.config['valid_metric']} {best['score']:.6f} on the validation split, the best of "
        f"{len(trials.rows)} trials (seed {trials.config['seed']}).\n"
        f"# {trials.command}\n"
    )
    if trials.tied:
        comment = f"# {trials.tied}\n{comment}"
    with atomic_file(trials.folder / "best.yaml") as file:
        file.write(comment + yaml.safe_dump(settings, sort_keys=False, allow_unicode=True))
