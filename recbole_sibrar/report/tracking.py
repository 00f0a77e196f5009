"""Results as runs of MLflow or Weights & Biases: the figures, what they came from, and on which data."""

import hashlib
import importlib
import json
import math
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import pandas as pd

from recbole_sibrar.data.identity import combined
from recbole_sibrar.errors import OptionError, WriteError, not_installed
from recbole_sibrar.evaluation.missing import subset_values
from recbole_sibrar.evaluation.subsets import contributions, quality_curve
from recbole_sibrar.evaluation.trained import Trained

PROJECT = "recbole-sibrar"  # where the trackers' own environment variables name none
KEY = "recbole_sibrar.key"
IDENTITY = ("model", "variant", "preset", "dataset", "scenario", "seed")
LONGEST_PARAM = 500  # of MLflow's older servers


class Described(Protocol):
    """What a record says of the model that was studied; see ``evaluation.trained.Trained``."""

    @property
    def name(self) -> str: ...

    @property
    def path(self) -> Path: ...

    @property
    def data(self) -> dict[str, str]: ...

    @property
    def config(self) -> Any: ...


@dataclass(frozen=True)
class Record:
    """A run of a tracker.

    Attributes:
        kind: ``run``, ``missing``, ``gap``, ``trial`` or ``tune``.
        options: what the figures came from: label, data set, its fingerprint, …
        metrics: {name: value}. No name is the folder of another, as MLflow keeps a file for each.
        axis, curve: figures along something that counts, such as epochs: rows {axis: integer, name: value}.
    """

    name: str
    kind: str
    options: dict[str, Any]
    metrics: dict[str, float]
    axis: str = ""
    curve: list[dict[str, Any]] = field(default_factory=list)

    @property
    def key(self) -> str:
        """The same for the same content, so that a tracker that has it is not told again."""
        content = json.dumps(asdict(self), sort_keys=True, default=str)
        return hashlib.blake2b(content.encode(), digest_size=8).hexdigest()


def run_records(results: Iterable[dict[str, Any]]) -> list[Record]:
    """Of runs, as ``result.json`` holds them: test and validation metrics, options, seconds, and a curve of epochs."""
    return [
        Record(
            result["name"],
            "run",
            {
                **{
                    name: result[name]
                    for name in ("label", "model", "variant", "preset", "dataset", "scenario", "seed")
                },
                "fingerprint": combined(result.get("data") or {}),
                **(result.get("options") or {}),
            },
            {
                **{f"test/{name}": value for name, value in result["test_result"].items()},
                **{f"valid/{name}": value for name, value in result["valid_result"].items()},
                **{f"seconds/{name}": value for name, value in result["seconds"].items()},
                **{name: result[name] for name in ("n_epochs", "n_parameters")},
            },
            "epoch",
            [
                {"epoch": row["epoch"], "epochs/loss": row["loss"], "epochs/valid": row["valid"]}
                for row in result.get("history") or ()
            ],
        )
        for result in results
    ]


def subset_records(models: Iterable[Trained], subsets: pd.DataFrame, metric: str, **options: object) -> list[Record]:
    """Of ``report.missing.write_subset_study``: every subset, what each modality adds, and the curve of their number.

    Args:
        models: ``TrainedModel`` objects. subsets: the table of this name. options: of the study.
    """
    records = []
    for model in models:
        values = subset_values(subsets, [model.name], metric)
        metrics = {f"subset/{'+'.join(subset) or 'none'}": value for subset, value in values.items()}
        for row in contributions(values, max(values, key=len)).to_dict("records"):
            metrics |= {f"adds/{row['modality']}/{how}": row[how] for how in ("alone", "mean", "last")}
        rows = [
            {"n_modalities": row["n_modalities"], **{f"left/{name}": row[name] for name in ("mean", "min", "max")}}
            for row in quality_curve(values).to_dict("records")
        ]
        records.append(_study(model, "missing", {"metric": metric, **options}, metrics, "n_modalities", rows))
    return records


def rate_records(models: Iterable[Described], table: pd.DataFrame, metric: str, **options: object) -> list[Record]:
    """Of ``report.missing.write_rate_study``: at each rate, by where content is missing and, of several, by pattern."""
    records, several = [], table["pattern"].nunique() > 1
    for model in models:
        metrics: dict[str, float] = {}
        rows: dict[int, dict[str, float]] = {}
        own = table[(table["model"] == model.name) & (table["seed"] == model.config["seed"])]
        for row in own.to_dict("records"):
            percent = round(100 * row["rate"])
            place = f"{row['where']}, {row['pattern']}" if several else row["where"]
            metrics[f"at {100 * row['rate']:g} percent/{place}"] = row[metric]
            rows.setdefault(percent, {"percent": percent})[f"by percent/{place}"] = row[metric]
        records.append(_study(model, "missing", {"metric": metric, **options}, metrics, "percent", list(rows.values())))
    return records


def gap_records(models: Iterable[Trained], tables: dict[str, pd.DataFrame], **options: object) -> list[Record]:
    """Of ``report.gap.write_gap_study``: its table's columns; as ``subset_records``."""
    rows = {row.pop("model"): row for row in tables["gap"].to_dict("records")}
    return [_study(model, "gap", options, rows[model.name]) for model in models]


def search_records(
    name: str, of_search: dict[str, Any], trials: Sequence[Mapping[str, Any]], best: Mapping[str, Any], bigger: bool
) -> list[Record]:
    """Of ``tune``: each trial; and the search, with the best options and how the best score rose from trial to trial.

    Args:
        name: of the search. of_search: what all trials share.
        trials, best: {options, score, valid_result, seconds, error}. bigger: whether a bigger score is better.
    """
    records, curve = [], []
    so_far: float | None = None
    for number, trial in enumerate(trials, start=1):
        said = {} if trial["error"] is None else {"error": trial["error"]}
        options = {**of_search, "trial": number, **trial["options"], **said}
        metrics = {**_of_trial(trial), "seconds/training": trial["seconds"]}
        records.append(Record(f"{name}-trial{number}", "trial", options, metrics))
        if trial["score"] is not None:
            so_far = trial["score"] if so_far is None else (max if bigger else min)(so_far, trial["score"])
        curve.append({"trial": number, "trials/score": trial["score"], "trials/best": so_far})
    numbers = {"n_trials": len(trials), "n_failed": sum(trial["error"] is not None for trial in trials)}
    found = Record(name, "tune", {**of_search, **best["options"]}, {**_of_trial(best), **numbers}, "trial", curve)
    return [*records, found]


def _of_trial(trial: Mapping[str, Any]) -> dict[str, float]:
    return {"score": trial["score"], **{f"valid/{name}": value for name, value in trial["valid_result"].items()}}


def _study(model: Described, kind: str, options: dict[str, Any], metrics: dict[str, float], *curve: Any) -> Record:
    of_model = {
        "label": model.name,
        **{name: model.config[name] for name in IDENTITY},
        "fingerprint": combined(model.data),
        "checkpoint": str(model.path),
    }
    return Record(f"{kind}-{model.path.parent.name}", kind, {**of_model, **options}, metrics, *curve)


Track = Callable[[list[Record]], None]


def tracker(name: str | None) -> Track:
    """What sends a list of ``Record``s to a tracker, each once; it does nothing for None.

    Raises:
        OptionError: the tracker's package is not installed.
    """
    if name is None:
        return lambda records: None
    try:
        package = importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise OptionError(not_installed(f"--track {name}", error.name, name)) from None
    return lambda records: _send(TRACKERS[name], package, records)


def _send(send: Callable[[ModuleType, Record], None], package: ModuleType, records: Iterable[Record]) -> None:
    for record in records:
        try:
            send(package, record)
        except Exception as error:  # whatever a tracker, its server or the network comes up with
            raise WriteError(
                f"{package.__name__} did not take {record.name} ({type(error).__name__}: {error}). The results are "
                "written all the same; the same command sends what is not there yet."
            ) from error


def _to_mlflow(mlflow: ModuleType, record: Record) -> None:
    """To the experiment and the server that MLFLOW_EXPERIMENT_NAME and MLFLOW_TRACKING_URI name."""
    mlflow.set_experiment(os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT))
    if mlflow.search_runs(filter_string=f"tags.`{KEY}` = '{record.key}'", output_format="list"):
        return
    with mlflow.start_run(run_name=record.name):
        mlflow.set_tag("kind", record.kind)
        mlflow.log_params({_mlflow_name(name): str(value)[:LONGEST_PARAM] for name, value in record.options.items()})
        mlflow.log_metrics(_mlflow_metrics(record.metrics))
        for row in record.curve:
            mlflow.log_metrics(_mlflow_metrics(row, record.axis), step=row[record.axis])
        mlflow.set_tag(KEY, record.key)  # last, since a run that has it is whole


def _mlflow_metrics(values: Mapping[str, float | None], but: str | None = None) -> dict[str, float]:
    return {_mlflow_name(name): value for name, value in _numbers(values).items() if name != but}


def _mlflow_name(name: str) -> str:
    """MLflow takes letters, digits and a few signs in names.

    >>> _mlflow_name("test/ndcg@10"), _mlflow_name("subset/genres+year")
    ('test/ndcg_at_10', 'subset/genres_year')
    """
    return re.sub(r"[^\w\-. /]", "_", name.replace("@", "_at_"))


def _to_wandb(wandb: ModuleType, record: Record) -> None:
    """To the project and in the mode that WANDB_PROJECT and WANDB_MODE name."""
    run = wandb.init(
        project=os.environ.get("WANDB_PROJECT", PROJECT),
        id=record.key,
        resume="allow",
        name=record.name,
        job_type=record.kind,
        config=record.options,
    )
    if record.curve and not run.resumed:
        run.define_metric("*", step_metric=record.axis)
        for row in record.curve:
            run.log(_numbers(row))
    run.summary.update(_numbers(record.metrics))
    run.finish()


def _numbers(values: Mapping[str, float | None]) -> dict[str, float]:
    return {name: float(value) for name, value in values.items() if value is not None and not math.isnan(value)}


TRACKERS = {"mlflow": _to_mlflow, "wandb": _to_wandb}
