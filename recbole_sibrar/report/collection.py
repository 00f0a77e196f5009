"""The runs below a folder, put together: seeds of one model as a row, rows of one data set and scenario as a table."""

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from recbole_sibrar.checkpoint import FREE_TO_DIFFER
from recbole_sibrar.data.splits import SPLIT_ROUNDINGS
from recbole_sibrar.errors import DataError
from recbole_sibrar.evaluation.metrics import MAP_DIVISORS
from recbole_sibrar.report.comparison import SMALLER, Comparison, Entry, compared, goodness
from recbole_sibrar.report.result import PER_ITEM, RESULT, read_per_user
from recbole_sibrar.report.tables import read_csv

NEEDED = (
    "name", "dataset", "scenario", "seed", "n_parameters", "test_result", "valid_result", "seconds", "config",
    "versions", "n_candidates",
)  # fmt: skip
OPTIONAL = {
    "history": [],
    "cold_fallback": {},
    "data": {},
    "data_counts": {},
    "options": {},
    "n_epochs": 0,
    "smaller": [],
}
OPTIONAL_OPTIONS = {
    "epochs": 0, "eval_args": None, "split_seed": None, "map_divisor": MAP_DIVISORS[0],
    "split_rounding": SPLIT_ROUNDINGS[0],
}  # fmt: skip
# What may differ between the runs of a row.
OF_A_SEED = FREE_TO_DIFFER | {"seed", "run_name", "data_path", "resume"}
# Runs that differ in one of them, or in how their splits are drawn, are not in one table.
NOT_COMPARABLE = (
    "benchmark_filename", "eval_candidates", "map_divisor", "split_rounding", "split_seed", "topk", "valid_metric",
)  # fmt: skip

OF_A_CURVE = re.compile(r"-draw\d+$")
"""The end of the name of a run that ``missing`` trains at a rate."""


@dataclass(frozen=True)
class StoredRun:
    """A finished run: its folder, what ``result.json`` holds, and when it was written."""

    folder: Path
    result: dict[str, Any]
    written: float

    @property
    def settings(self) -> dict[str, Any]:
        """The options that runs of one row share."""
        return {name: value for name, value in self.result["config"].items() if name not in OF_A_SEED}

    @property
    def per_user(self) -> pd.DataFrame | None:
        return read_per_user(self.folder, self.result)

    @property
    def per_item(self) -> pd.DataFrame | None:
        path = self.folder / PER_ITEM
        return read_csv(path, dtype={0: str}) if path.is_file() else None


def read_runs(folder: Path | str) -> list[StoredRun]:
    """Every finished run below a folder, but for those of ``missing --where both``, which are points of a curve, and
    trials of a plan.

    Raises:
        DataError: a ``result.json`` is not ours.
    """
    paths = sorted(Path(folder).rglob(RESULT))
    return [
        StoredRun(path.parent, _read(path), path.stat().st_mtime) for path in paths if not _belongs_to_a_study(path)
    ]


def _belongs_to_a_study(path: Path) -> bool:
    folder = path.resolve().parents[1]
    if folder.name == "runs":
        return bool(OF_A_CURVE.search(path.parent.name)) or (folder.parent / "rates.csv").is_file()
    return folder.name == "tuning"


def _read(path: Path) -> dict[str, Any]:
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
        usual = {"label": result["name"], "best_valid_score": None, **OPTIONAL}
        result = {**usual, **{key: result[key] for key in NEEDED}, **result}
        result["test_result"][result["config"]["valid_metric"].lower()], result["seconds"]["training"]
        SMALLER.update(result["smaller"])
        return {**result, "config": {**OPTIONAL_OPTIONS, **result["config"]}}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path} is not a result of a run ({type(error).__name__}: {error}); remove it.") from None


@dataclass(frozen=True)
class Group:
    """The runs that can be compared with each other.

    Attributes:
        title: the data set, the scenario, and what else sets them apart from other groups.
        rows: {label: runs, one for each seed}.
        leader: the label of the best row; None where nothing was learned.
        per_user: {label: per-user values of its runs}.
    """

    title: str
    rows: dict[str, list[StoredRun]]
    comparison: Comparison
    leader: str | None
    per_user: dict[str, pd.DataFrame]

    @property
    def in_order(self) -> list[str]:
        """Labels, the best first by the test metric that models are chosen by; those that do not contend last."""
        table, metric = self.comparison.table, self.comparison.valid_metric
        order = pd.DataFrame(
            {
                "model": table["model"],
                "out": [not contends for contends in self.comparison.contends],
                "score": -goodness(metric, table[metric]),
            }
        )
        return order.sort_values(["out", "score"], kind="stable")["model"].tolist()


def groups(runs: list[StoredRun]) -> list[Group]:
    """The runs, by data set and scenario."""
    current = _current_data(runs)
    found = defaultdict(list)
    for run in runs:
        found[run.result["dataset"], run.result["scenario"], protocol_of(run.result["config"])].append(run)
    made = []
    for (dataset, scenario, protocol), members in sorted(found.items(), key=lambda entry: entry[0]):
        alike = [own for *where, own in found if where == [dataset, scenario]]
        apart = [f"{name} {json.loads(text)}" for name, text in protocol if any((name, text) not in a for a in alike)]
        made.append(_group(dataset, scenario, members, current, apart))
    return made


def protocol_of(config: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    """What runs of one table share: (option, value as JSON)."""
    of_split = {f"eval_args.{name}": value for name, value in (config["eval_args"] or {}).items()}
    options = {name: config.get(name) for name in NOT_COMPARABLE} | of_split
    return tuple((name, json.dumps(value, sort_keys=True)) for name, value in sorted(options.items()))


def _current_data(runs: list[StoredRun]) -> dict[str, dict[str, str]]:
    """{data set: {what: fingerprint}}, of the newest run that read it."""
    current: dict[str, dict[str, str]] = defaultdict(dict)
    for run in sorted(runs, key=lambda run: run.written):
        current[run.result["dataset"]].update(run.result["data"])
    return current


def _group(
    dataset: str, scenario: str, members: list[StoredRun], current: dict[str, dict[str, str]], apart: list[str]
) -> Group:
    rows = _rows(members)
    entries = []
    for label, runs in rows.items():
        changed = [name for name, value in runs[0].result["data"].items() if current[dataset][name] != value]
        stale = f"made from other data than later runs ({', '.join(changed)} changed since)" if changed else None
        entries.append(Entry(label, tuple(run.result for run in runs), len(runs), stale=stale))
    config = members[0].result["config"]
    metric = config["valid_metric"].lower()
    columns = list(dict.fromkeys(name for run in members for name in run.result["test_result"]))
    contenders = [entry for entry in entries if entry.contends]
    scores = pd.Series(
        {entry.label: pd.Series([r["test_result"].get(metric) for r in entry.results], dtype=float).mean()
         for entry in contenders}, dtype=float,
    )  # fmt: skip
    leader = None if scores.dropna().empty else goodness(metric, scores.dropna()).idxmax()
    seeds = sorted({run.result["seed"] for run in members})
    values = _per_user(rows)
    comparison = compared(dataset, scenario, seeds, config, entries, values, leader, columns, only_verdict=True)
    return Group(", ".join([dataset, scenario, *apart]), rows, comparison, leader, values)


def _per_user(rows: dict[str, list[StoredRun]]) -> dict[str, pd.DataFrame]:
    tables = {label: [table for run in runs if (table := run.per_user) is not None] for label, runs in rows.items()}
    return {label: pd.concat(parts, ignore_index=True) for label, parts in tables.items() if parts}


def _rows(members: list[StoredRun]) -> dict[str, list[StoredRun]]:
    """{label: runs that differ in their seed alone}; of a seed that was run twice the later one. Where a label stands
    for several settings, these are in the name."""
    by_label: dict[str, dict[str, Any]] = defaultdict(dict)
    for run in sorted(members, key=lambda run: run.written):
        settings = json.dumps([run.settings, run.result["data"]], sort_keys=True, default=str)
        by_label[run.result["label"]].setdefault(settings, {})[run.result["seed"]] = run
    rows = {}
    for label, kinds in by_label.items():
        firsts = [next(iter(kind.values())) for kind in kinds.values()]
        for first, kind in zip(firsts, kinds.values()):
            own = {name: first.settings.get(name) for name in differing([run.settings for run in firsts])}
            name = " ".join([label, *(f"{option}={value}" for option, value in own.items())])
            name = name if name not in rows else f"{name} ({first.result['name']})"
            rows[name] = [kind[seed] for seed in sorted(kind)]
    return dict(sorted(rows.items()))


def differing(settings: Sequence[dict[str, Any]]) -> list[str]:
    """The options in which some of the mappings that have them differ.

    >>> differing([{"a": 1, "b": 2}, {"a": 1, "b": 3}, {"a": 1}])
    ['b']
    """
    names = sorted({name for own in settings for name in own})
    return [name for name in names if len({repr(own[name]) for own in settings if name in own}) > 1]


def options_table(group: Group) -> pd.DataFrame:
    """A row for each model, a column for each option that was given to some run and is not the same for all; empty
    cells where a model has no such option."""
    firsts = {label: runs[0] for label, runs in group.rows.items()}
    given = {name for run in firsts.values() for name in run.result["options"]} - OF_A_SEED
    candidates = given.union(_within_labels(list(firsts.values())))
    names = [name for name in differing([run.settings for run in firsts.values()]) if name in candidates]
    return pd.DataFrame(
        [{"model": label, **{n: run.settings.get(n, "") for n in names}} for label, run in firsts.items()]
    )


def _within_labels(runs: list[StoredRun]) -> list[str]:
    """The options in which runs of one label differ."""
    labels = {run.result["label"] for run in runs}
    return [n for label in labels for n in differing([r.settings for r in runs if r.result["label"] == label])]


def by_activity(group: Group, n_groups: int = 4) -> pd.DataFrame:
    """The mean of the metric over users with few to many interactions: ``model``, ``group``, ``users``, ``value``, and
    the group's ``place``. Where no user has a history, by the interactions to be found."""
    metric = group.comparison.valid_metric
    rows = []
    for label in group.in_order:
        table = group.per_user.get(label)
        if table is None or metric not in table or "n_history" not in table:
            continue
        counts = table["n_history"] if table["n_history"].any() else table["n_relevant"]
        what = "earlier" if table["n_history"].any() else "held out"
        for place, (name, own) in enumerate(_parts(counts, n_groups)):
            chosen = table.loc[own, metric].dropna()
            rows.append({"model": label, "place": place, "group": name, "of": what, "users": len(chosen),
                         "value": chosen.mean()})  # fmt: skip
    return pd.DataFrame(rows)


def by_popularity(group: Group, n_groups: int = 4) -> pd.DataFrame:
    """The share of held-out interactions that are found, for rare to popular items: ``model``, ``group``, ``items``,
    ``value`` and the group's ``place``; each group holds about as many interactions."""
    k = group.comparison.valid_metric.split("@")[1]
    rows = []
    for label in group.in_order:
        parts = [table for run in group.rows[label] if (table := run.per_item) is not None and f"hits@{k}" in table]
        if not parts:
            continue
        table = pd.concat(parts, ignore_index=True)
        table = table[table["n_relevant"] > 0]
        for place, (name, own) in enumerate(_parts(table["popularity"], n_groups, table["n_relevant"])):
            chosen = table.loc[own]
            rows.append({"model": label, "place": place, "group": name, "items": len(chosen),
                         "value": chosen[f"hits@{k}"].sum() / chosen["n_relevant"].sum()})  # fmt: skip
    return pd.DataFrame(rows)


def _parts(counts: pd.Series, n_groups: int, weights: pd.Series | None = None) -> Iterator[tuple[str, pd.Index]]:
    """[(name, index)] of rising counts, each group of about the same weight; equal counts are in one group."""
    weight = pd.Series(1, index=counts.index) if weights is None else weights
    by_count = weight.groupby(counts).sum()
    before = (by_count.cumsum() - by_count / 2) / by_count.sum()
    place = (before * n_groups).astype(int).clip(upper=n_groups - 1)
    for _, own in place.groupby(place):
        low, high = int(own.index.min()), int(own.index.max())
        yield (f"{low}–{high}" if low < high else str(low)), counts.index[counts.isin(own.index)]
