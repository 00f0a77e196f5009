"""The papers' claims, one by one, against the runs and studies below a folder: by how much, how sure, where."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from recbole_sibrar.errors import DataError
from recbole_sibrar.evaluation.significance import both_have, interval, ratio_of, split_of, verdicts
from recbole_sibrar.report.collection import Group, StoredRun, groups, protocol_of, read_runs
from recbole_sibrar.report.comparison import goodness
from recbole_sibrar.report.tables import read_csv, write_csv, write_markdown
from recbole_sibrar.scenarios import SCENARIOS

HOLDS, DOES_NOT, UNDECIDED, ONE_SPLIT, NOT_MEASURED = (
    "holds", "does not hold", "not told apart", "one split only", "not measured",
)  # fmt: skip
FEWER_PARAMETERS = 0.3  # "30 % and more"
COLUMNS = (
    "claim", "dataset", "scenario", "preset", "verdict", "measure", "difference", "low", "high", "relative", "splits",
    "remark",
)  # fmt: skip


@dataclass(frozen=True)
class Finding:
    """What is known of a claim in one place.

    Attributes:
        difference: of the two that the claim compares, larger the better for the claim; with its 95 % interval over
            ``splits`` splits. relative: to the other one.
    """

    measure: str
    difference: float = np.nan
    low: float = np.nan
    high: float = np.nan
    relative: float = np.nan
    splits: int = 0
    remark: str = ""
    is_exact: bool = False

    @property
    def verdict(self) -> str:
        if self.splits == 0:
            return NOT_MEASURED
        if self.is_exact:
            return HOLDS if self.difference > 0 else DOES_NOT
        if self.splits == 1:
            return ONE_SPLIT
        return HOLDS if self.low > 0 else DOES_NOT if self.high < 0 else UNDECIDED


@dataclass(frozen=True)
class Place:
    """A data set in a scenario with the models of one preset, and the studies of them.

    Attributes:
        studies: {file: its rows, with the ``side`` that was studied and of the run the ``label``, the ``split``, the
            ``settings`` and the ``_place_of``}.
    """

    group: Group
    preset: str
    studies: dict[str, pd.DataFrame]

    @property
    def metric(self) -> str:
        return self.group.comparison.valid_metric

    @property
    def test_to_train(self) -> float:
        return ratio_of(next(iter(self.group.rows.values()))[0].result["config"])

    def row(self, model: str) -> str | None:
        """The name of the row of ``SiBraR_SC`` in this preset; None if it is not there, or for several settings."""
        found = self._rows(model)
        return found[0] if len(found) == 1 else None

    def _rows(self, model: str) -> list[str]:
        return [name for name in self.group.rows if name.split(" ")[0] == f"{model}-{self.preset}"]

    @property
    def cautions(self) -> list[str]:
        """What sets this place apart from another one of the same data set and scenario, and what speaks against
        trusting its runs."""
        comparison = self.group.comparison
        apart = self.group.title.removeprefix(f"{comparison.dataset}, {comparison.scenario}").lstrip(", ")
        notes = [note for e in comparison.entries if f"-{self.preset}" in e.label for note in e.notes]
        return [*([apart] if apart else []), *dict.fromkeys(notes)]

    def lacking(self, *models: str) -> str:
        """Which of the models are not there as one row, in words."""
        counts = {f"{model}-{self.preset}": len(self._rows(model)) for model in models}
        return ", ".join(f"one of {n} settings of {name}" if n else name for name, n in counts.items() if n != 1)


def claims(folder: Path | str) -> pd.DataFrame:
    """A row for each claim and each place where one of its models was run, with the columns ``COLUMNS``; one row of a
    claim that nothing below the folder speaks of.

    Differences are in the direction of the claim. It holds where the 95 % interval over splits (Nadeau and Bengio) is
    above zero, and does not where it is below; splits alone decide, so that one split says nothing.

    Raises:
        DataError: a ``result.json`` is not ours.
    """
    runs = read_runs(folder)
    studies = _studies(Path(folder), runs)
    places = [Place(group, preset, studies) for group in groups(runs) for preset in _presets(group)]
    rows = []
    for claim, scenario, test in CLAIMS:
        found = [(place, test(place)) for place in places if scenario in (None, place.group.comparison.scenario)]
        rows += [_cells(claim, place, finding) for place, finding in found]
        if not found:
            rows.append({"claim": claim, "verdict": NOT_MEASURED, "splits": 0})
    return pd.DataFrame(rows, columns=list(COLUMNS))


def write_claims(folder: Path | str) -> pd.DataFrame:
    """``claims.csv`` and ``claims.md`` in the folder; what they hold."""
    table = claims(folder)
    write_csv(table, Path(folder) / "claims.csv")
    sections = {claim: own.drop(columns="claim") for claim, own in table.groupby("claim", sort=False)}
    write_markdown({"Claims": claims.__doc__.split("\n\n")[1].replace("\n    ", " ").strip(), **sections},
                   Path(folder) / "claims.md")  # fmt: skip
    return table


def _cells(claim: str, place: Place, finding: Finding) -> dict[str, Any]:
    comparison, remarks = place.group.comparison, [finding.remark, *place.cautions]
    finding = replace(finding, remark="; ".join(filter(None, remarks)))
    return {
        "claim": claim, "dataset": comparison.dataset, "scenario": comparison.scenario, "preset": place.preset,
        "verdict": finding.verdict, **{name: getattr(finding, name) for name in COLUMNS if hasattr(finding, name)},
    }  # fmt: skip


def _presets(group: Group) -> list[str]:
    """Of the runs of SiBraR and MuBraR."""
    runs = [run.result for own in group.rows.values() for run in own]
    return sorted({run["preset"] for run in runs if run["model"] in ("SiBraR", "MuBraR")} - {None})


def _studies(folder: Path, runs: list[StoredRun]) -> dict[str, pd.DataFrame]:
    """What ``missing`` and ``gap`` left of the test split, with the run of each row."""
    found: dict[str, list[pd.DataFrame]] = {"subsets.csv": [], "gap.csv": []}
    for kind, tables in found.items():
        for path in sorted(folder.rglob(kind)):
            try:
                sources = json.loads(path.with_name("data.json").read_text(encoding="utf-8"))
            except (OSError, ValueError):
                raise DataError(
                    f"{path} has no data.json beside it, which says of which runs it is; remove it."
                ) from None
            table = read_csv(path)
            for name, source in sources.items():
                run = _run_of(source, runs)
                if run is None or source.get("phase", "test") != "test":
                    continue
                where = {
                    "side": source.get("side", _usual_side(run.result["scenario"])), "label": run.result["label"],
                    "split": split_of(run.result["config"]), "settings": repr(sorted(run.settings.items())),
                    "place": _place_of(run.result),
                }  # fmt: skip
                tables.append(table[table["model"] == name].assign(**where))
    return {kind: pd.concat(tables) if tables else pd.DataFrame() for kind, tables in found.items()}


def _place_of(result: dict[str, Any]) -> str:
    """What runs of one group share."""
    return repr((result["dataset"], result["scenario"], protocol_of(result["config"])))


def _usual_side(scenario: str) -> str:
    """That which ``missing`` and ``gap`` look at unless they are told otherwise."""
    return ("item", *SCENARIOS[scenario].cold_sides)[-1]


def _run_of(source: dict[str, Any], runs: list[StoredRun]) -> StoredRun | None:
    """The run of this name that a study looked at, in its place or moved, if it is still of these data.

    Raises:
        DataError: there are several such runs.
    """
    place = Path(source["checkpoint"]).parent
    found = [
        run for run in runs
        if place.name in (run.folder.name, run.result["name"]) and run.result["data"] == source["data"]
    ]  # fmt: skip
    found = [run for run in found if run.folder.resolve() == place.resolve()] or found
    if len(found) > 1:
        folders = " and ".join(str(run.folder) for run in found)
        raise DataError(f"{folders} have the same name and data; give one of them another folder and study it again.")
    return found[0] if found else None


# tests of a claim in a place


def _best(place: Place) -> Finding:
    """SiBraR_SC against the best of all others; not against itself in another preset."""
    own = place.row("SiBraR_SC")
    contenders = [entry.label for entry in place.group.comparison.entries if entry.contends]
    means = place.group.comparison.table.set_index("model")[place.metric]
    others = means[[n for n in contenders if not n.startswith("SiBraR_SC-") and n in place.group.per_user]]
    if own is None or own not in place.group.per_user or others.empty:
        return Finding(place.metric, remark=f"lacks {place.lacking('SiBraR_SC') or 'other models'}")
    rival = goodness(place.metric, others).idxmax()
    return _against(place, own, rival, place.metric, f"{own} against {rival}, the best of {len(others)} others")


def _pair(first: str, second: str, metric: str | None = None) -> Callable[[Place], Finding]:
    """One model against another of the same preset."""

    def test(place: Place) -> Finding:
        name = place.metric if metric is None else f"{metric}@{place.metric.split('@')[1]}"
        one, other = place.row(first), place.row(second)
        if one not in place.group.per_user or other not in place.group.per_user:
            return Finding(name, remark=f"lacks {place.lacking(first, second)}")
        return _against(place, one, other, name, f"{first} against {second}")

    return test


def _against(place: Place, first: str, second: str, metric: str, remark: str) -> Finding:
    values = {name: _turned(place.group.per_user[name], metric) for name in (first, second)}
    found = verdicts(values, first, [metric], place.test_to_train)
    if found.empty:
        return Finding(metric, remark=f"{metric} was not computed")
    row, rival = found.iloc[0], both_have(values[first], values[second], metric)["second"]
    mean = rival.groupby(["split", "user"]).mean().groupby("split").mean().mean()  # of what the difference is of
    relative, n = row["difference"] / abs(mean), int(row["n_splits"])
    return Finding(metric, row["difference"], row["low"], row["high"], relative, n, remark)


def _turned(values: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Values of users whose larger ones are the better."""
    return values.assign(**{metric: goodness(metric, values[metric])}) if metric in values else values


def _parameters(place: Place) -> Finding:
    """How much more than 30 % SiBraR saves of MuBraR's parameters, in the variant SC."""
    one, other = place.row("SiBraR_SC"), place.row("MuBraR_SC")
    if one is None or other is None:
        return Finding("n_parameters", remark=f"lacks {place.lacking('SiBraR_SC', 'MuBraR_SC')}")
    n = place.group.comparison.table.set_index("model")["n_parameters"]
    saved = 1 - n[one] / n[other]
    remark = f"{n[one]:,.0f} against {n[other]:,.0f}: {saved:.0%} fewer"
    difference = saved - FEWER_PARAMETERS
    return Finding("share saved beyond 0.3", difference, relative=-saved, splits=1, remark=remark, is_exact=True)


def _left(n: int) -> Callable[[Place], Finding]:
    """SiBraR_SC against MuBraR_SC on the mean of the subsets of ``n`` modalities."""

    def test(place: Place) -> Finding:
        table = place.studies["subsets.csv"]
        return _of_study(place, table[table["n_modalities"] == n] if len(table) else table, place.metric)

    return test


def _gap(measure: str, other: str, sign: int = 1) -> Callable[[Place], Finding]:
    def test(place: Place) -> Finding:
        return _of_study(place, place.studies["gap.csv"], measure, other, sign)

    return test


def _of_study(place: Place, table: pd.DataFrame, measure: str, other: str = "MuBraR_SC", sign: int = 1) -> Finding:
    """SiBraR_SC against another model, paired over the splits that both were studied on."""
    models = ("SiBraR_SC", other)
    if len(table):
        table = table[table["place"] == _place_of(next(iter(place.group.rows.values()))[0].result)]
    if not len(table) or measure not in table:
        return Finding(measure, remark="no study of it")
    labels = [f"{model}-{place.preset}" for model in models]
    table = table[table["label"].isin(labels)]
    if (is_usual := table["side"] == _usual_side(place.group.comparison.scenario)).any():
        table = table[is_usual]
    settings = table.groupby("label")["settings"].nunique()
    if (settings > 1).any():
        return Finding(measure, remark=f"studies of several settings of {', '.join(settings.index[settings > 1])}")
    means = table.assign(value=table[measure].astype(float)).groupby(["label", "split"])["value"].mean().unstack()
    if not set(labels) <= set(means.index):
        return Finding(measure, remark=f"no study of {', '.join(sorted(set(labels) - set(means.index)))}")
    both = means.loc[labels].dropna(axis=1)
    first, second = both.to_numpy()
    ahead = goodness(measure, both.loc[labels[0]]) - goodness(measure, both.loc[labels[1]])
    found = interval(sign * ahead, place.test_to_train)
    remark = f"{models[0]} {first.mean():.4f}, {other} {second.mean():.4f}" if len(first) else "no split in common"
    relative = found["difference"] / second.mean() if len(second) else np.nan
    return Finding(measure, found["difference"], found["low"], found["high"], relative, len(first), remark)


CLAIMS: tuple[tuple[str, str | None, Callable[[Place], Finding]], ...] = (
    ("SiBraR_SC is the best in item cold start", "item_cold", _best),
    ("Modality sampling (S) lifts MuBraR", None, _pair("MuBraR_S", "MuBraR")),
    ("The contrastive loss (C) lifts SiBraR", None, _pair("SiBraR_SC", "SiBraR_S")),
    ("SiBraR_SC is ahead of MuBraR_SC with one modality left", None, _left(1)),
    ("SiBraR_SC is ahead of MuBraR_SC with two modalities left", None, _left(2)),
    ("An item's modalities are closer in SiBraR_SC than in MuBraR (cosine)", None, _gap("intra_cosine", "MuBraR")),
    (
        "An item's modalities are closer in SiBraR_SC than in MuBraR_SC (cosine)",
        None,
        _gap("intra_cosine", "MuBraR_SC"),
    ),
    ("The modality is harder to predict in SiBraR_SC than in MuBraR", None, _gap("prediction_accuracy", "MuBraR", -1)),
    (
        "The modality is harder to predict in SiBraR_SC than in MuBraR_SC",
        None,
        _gap("prediction_accuracy", "MuBraR_SC", -1),
    ),
    ("SiBraR recommends more of the long tail than MuBraR (APLT)", None, _pair("SiBraR", "MuBraR", "aplt")),
    ("SiBraR has 30 % fewer parameters than MuBraR", None, _parameters),
)
"""The claim, the scenario that it is about (None: any), and its test."""
