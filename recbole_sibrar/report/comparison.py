"""Tables of several models: Markdown, CSV, LaTeX and terminal, best and second best marked."""

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
from tabulate import tabulate

from recbole_sibrar.data.identity import combined
from recbole_sibrar.evaluation.metrics import METRICS
from recbole_sibrar.evaluation.protocol import departures
from recbole_sibrar.evaluation.significance import LEVEL, ratio_of, shared_split, split_tests, verdicts
from recbole_sibrar.evaluation.unlearned import LEVEL_WITH
from recbole_sibrar.files import atomic_file
from recbole_sibrar.report import figures
from recbole_sibrar.report.result import few_candidates, is_fallback, not_ahead_of
from recbole_sibrar.report.tables import escape_latex, escape_markdown, write_csv, write_markdown

DIGITS = 4
PARAMETERS = "n_parameters"
NOTE_MARKS = "†‡§¶‖"
LATEX_MARKS = dict(zip(NOTE_MARKS, ("\\dagger", "\\ddagger", "\\S", "\\P", "\\|")))
VERDICT_NAMES = {
    "n_splits": "splits",
    "difference": "difference",
    "low": "95 % from",
    "high": "to",
    "p": "p",
    "p_holm": "p (Holm)",
    "p_bonferroni": "p (Bonferroni)",
}
TEST_NAMES = {
    "n_users": "users",
    "difference": "difference",
    "d_z": "d_z",
    "t_p_holm": "t-test, p (Holm)",
    "t_p_bonferroni": "t-test, p (Bonferroni)",
    "w_p_holm": "Wilcoxon, p (Holm)",
    "w_p_bonferroni": "Wilcoxon, p (Bonferroni)",
}
DEFAULT_COLUMNS = ("recall", "coverage", "aplt")
SMALLER = {"giniindex", "averagepopularity"}
"""Metrics beside ours that are best when small: of RecBole's own, and of one's own, as results say."""


@dataclass(frozen=True)
class Entry:
    """A model of a comparison.

    Attributes:
        results: of its finished runs, one for each seed, as in ``result.json``.
        n_wanted: how many there should be. error: of a run that failed.
        stale: why it is not to be compared with the others, if it is not.
    """

    label: str
    results: tuple[dict[str, Any], ...]
    n_wanted: int
    error: str | None = None
    stale: str | None = None

    @property
    def is_fallback(self) -> bool:
        """Whether what stands in for untrained scores is what is shown of the scenario's cold side; a few entities that
        happen to be cold in another scenario are noted."""
        return any(map(is_fallback, self.results))

    @property
    def contends(self) -> bool:
        """Whether it can be the best: what was evaluated was learned, and from the data of the others."""
        return bool(self.results) and not self.is_fallback and not self.stale

    @property
    def notes(self) -> list[str]:
        """What a reader of the table must know about this row."""
        fallback = {side: found for result in self.results for side, found in result["cold_fallback"].items()}
        notes = [f"does not score cold {side}s; they get: {found}" for side, found in fallback.items()]
        if self.stale:
            notes.append(self.stale)
        relations = set(map(not_ahead_of, self.results))
        if relations and "" not in relations:
            notes.append(min(relations, key=lambda said: (not said.startswith(LEVEL_WITH), said)))
        if any(map(_was_cut_short, self.results)):
            n = max(result["n_epochs"] for result in self.results if _was_cut_short(result))
            notes.append("trained for one epoch only" if n == 1 else f"still rising after the {n} epochs it was given")
        if self.error:
            reason = self.error.splitlines()[-1]
            notes.append(f"{self.n_wanted - len(self.results)} of {self.n_wanted} runs failed: {reason}")
        return notes


def _was_cut_short(result: dict[str, Any]) -> bool:
    """Whether more epochs might have changed a result: the last of those allowed was the best or the only one."""
    scores = [epoch["valid"] for epoch in result.get("history", ()) if epoch["valid"] is not None]
    learns = result["n_parameters"] > 1 and not result.get("is_solved")
    n_epochs = result.get("n_epochs", 0)
    if not learns or is_fallback(result) or not n_epochs or n_epochs < result["config"]["epochs"]:
        return False
    return scores[-1] == result["best_valid_score"] if len(scores) > 1 else bool(scores) or n_epochs == 1


@dataclass(frozen=True)
class Comparison:
    """Models on one data set in one scenario.

    Attributes:
        split: that all seeds share, see ``significance.shared_split``; None if each seed has its own.
        valid_metric: the metric that models are chosen by, such as ``ndcg@10``.
        columns: the metrics shown. tests: the table of ``significance.verdicts``, possibly empty.
        split_tests: the table of ``significance.split_tests``, possibly empty.
        protocol: sentences on how the runs came about, those of ``protocol.departures`` first.
        in_names: what of it is not as usual, such as ``-split2020``, in the names of files.
    """

    dataset: str
    scenario: str
    seeds: list[int]
    split: str | None
    valid_metric: str
    columns: list[str]
    entries: list[Entry]
    tests: pd.DataFrame
    split_tests: pd.DataFrame = field(default_factory=pd.DataFrame)
    protocol: tuple = ()
    in_names: str = ""

    @property
    def name(self) -> str:
        return f"{self.dataset}-{self.scenario}{self.in_names}"

    @property
    def title(self) -> str:
        """``ml-100k, item_cold, seeds 2020-2022, a split for each seed``."""
        if len(self.seeds) == 1:
            seeds, split = f"seed {self.seeds[0]}", "one split"
        else:
            seeds = f"mean ± standard deviation of seeds {self.seeds[0]}-{self.seeds[-1]}"
            split = "a split for each seed"
            if self.split is not None:
                split = f"the split {'of seed' if self.split.isdigit() else 'by'} {self.split}"
        return f"{self.dataset}, {self.scenario}, {seeds}, {split}"

    @cached_property
    def table(self) -> pd.DataFrame:
        """A row for each model, unrounded: mean (and ``_std`` over seeds, NaN for one) of every metric; ``data`` is the
        fingerprint of what it read."""
        return pd.DataFrame([_row(entry, self.valid_metric) for entry in self.entries])

    @property
    def contends(self) -> list[bool]:
        """Of each row, whether it can be the best; none if there is nothing to be better than."""
        alone = sum(entry.contends for entry in self.entries) < 2
        return [entry.contends and not alone for entry in self.entries]

    @property
    def shown(self) -> dict[str, str]:
        """{column of ``table``: heading}."""
        heading = f"{self.valid_metric.upper()} (validation)"
        metrics = {name: name.upper() for name in self.columns}
        return {f"validation {self.valid_metric}": heading, **metrics, PARAMETERS: "parameters"}

    @property
    def notes(self) -> dict[str, str]:
        """{note: mark}, in the order of the rows."""
        notes = dict.fromkeys(note for entry in self.entries for note in entry.notes)
        return {note: NOTE_MARKS[n] if n < len(NOTE_MARKS) else f"({n + 1})" for n, note in enumerate(notes)}

    @property
    def remarks(self) -> list[str]:
        """Sentences that hold for the whole table."""
        remarks = list(self.protocol)
        candidates = [result["n_candidates"] for entry in self.entries for result in entry.results]
        k = int(self.valid_metric.split("@")[1])
        if candidates and (few := few_candidates(min(candidates), k)):
            remarks.append(few)
        of_models = {tuple(sorted(r["seed"] for r in entry.results)) for entry in self.entries if entry.results}
        if len(of_models) > 1:
            remarks.append("Not all models have the same seeds, so that their means are not of the same runs")
        if self.significant:
            remarks.append(f"* differs from {self.tests['reference'].iloc[0]} (p < {LEVEL}, Holm), {self.basis}")
        return remarks

    @property
    def basis(self) -> str:
        """What the tests rest on."""
        n = int(self.tests["n_splits"].max()) if len(self.tests) else 0
        if not n:
            return "without a split in common"
        return f"paired over {n} splits" if n > 1 else "paired over the users of one split, which say nothing of others"

    @property
    def significant(self) -> set[tuple[str, str]]:
        """{(metric, model)} that differ from the reference, by as many splits as there are."""
        if not len(self.tests):
            return set()
        enough = self.tests["n_splits"] == self.tests["n_splits"].max()
        found = self.tests[enough & (self.tests["p_holm"] < LEVEL)]
        return set(zip(found["metric"], found["model"]))


def compared(
    dataset: str,
    scenario: str,
    seeds: list[int],
    config: dict[str, Any],
    entries: list[Entry],
    values: dict[str, pd.DataFrame],
    reference: str,
    columns: Iterable[str],
    only_verdict: bool = False,
) -> Comparison:
    """A comparison with its tests.

    Args:
        config: of one of the runs. values: {label: per-user values}, as ``significance.verdicts`` takes them.
        only_verdict: whether to test the metric alone that models are chosen by, and not within each split.
    """
    valid_metric = config["valid_metric"].lower()
    tests, of_splits, said = pd.DataFrame(), pd.DataFrame(), departures(config)
    if reference in values:
        tested = [valid_metric] if only_verdict else list(columns)
        tests = verdicts(values, reference, tested, ratio_of(config))
        of_splits = pd.DataFrame() if only_verdict else split_tests(values, reference, columns)
        if not len(tests) and len(values) > 1:
            names = " and no ".join(name.upper() for name in tested)
            said.append(f"Nothing is tested: of each user there is no {names}")
    elif reference and len(entries) > 1:
        said.append(f"Nothing is tested: no run of {reference}, the reference, has values of users")
    return Comparison(
        dataset,
        scenario,
        seeds,
        shared_split(config),
        valid_metric,
        list(columns),
        entries,
        tests,
        of_splits,
        tuple(said),
    )


def default_columns(config: dict[str, Any]) -> list[str]:
    """The validation metric and a few others, at its cut-off."""
    valid_metric = config["valid_metric"].lower()
    k, computed = valid_metric.split("@")[1], {metric.lower() for metric in config["metrics"]}
    return list(dict.fromkeys([valid_metric, *(f"{name}@{k}" for name in DEFAULT_COLUMNS if name in computed)]))


def _row(entry: Entry, valid_metric: str) -> dict[str, Any]:
    row = {"model": entry.label, "n_seeds": len(entry.results)}
    valid = [result["valid_result"].get(valid_metric) for result in entry.results]
    row |= _mean_and_deviation(f"validation {valid_metric}", valid)
    for metric in dict.fromkeys(metric for result in entry.results for metric in result["test_result"]):
        row |= _mean_and_deviation(metric, [result["test_result"].get(metric) for result in entry.results])
    row |= _mean_and_deviation(PARAMETERS, [result["n_parameters"] for result in entry.results])
    row |= _mean_and_deviation("training_seconds", [result["seconds"]["training"] for result in entry.results])
    data = dict.fromkeys(combined(result["data"]) for result in entry.results)
    return {**row, "notes": "; ".join(entry.notes), "fallback": entry.is_fallback, "data": " ".join(data)}


def _mean_and_deviation(name: str, values: list[float | None]) -> dict[str, float]:
    values = pd.Series(values, dtype=float)
    return {name: values.mean(), f"{name}_std": values.std(ddof=1)}


def goodness(metric: str, values: pd.Series) -> pd.Series:
    """Values turned so that larger is better: popularity lift is best at 0, ARP and the Gini index when small.

    >>> goodness("pl@10", pd.Series([-0.5, 0.25])).tolist()
    [-0.5, -0.25]
    """
    name = metric.split()[-1].split("@")[0]
    if name == "pl":
        return -values.abs()
    is_smaller = not METRICS[name].higher_is_better if name in METRICS else name in SMALLER
    return -values if is_smaller else values


def places(metric: str, values: pd.Series, contends: Sequence[bool] | None = None) -> list[int]:
    """1 for the best value, 2 for the second best, 0 for others; values that look equal share a place, and if all do,
    none is the best.

    Args:
        contends: of each value, whether it can have a place; all by default.

    >>> places("ndcg@10", pd.Series([0.3, 0.20001, 0.2, 0.1]))
    [1, 2, 2, 0]
    >>> places("ndcg@10", pd.Series([0.3, 0.20001, 0.2, 0.1]), [False, True, True, True])
    [0, 1, 1, 2]
    >>> places("ndcg@10", pd.Series([0.20001, 0.2, 0.1]), [True, True, False])
    [0, 0, 0]
    """
    shown = values.round(DIGITS) if contends is None else values.round(DIGITS).where(contends)
    ranks = goodness(metric, shown).rank(method="dense", ascending=False)
    if ranks.count() > 1 and ranks.nunique() == 1:
        return [0] * len(ranks)
    return [int(rank) if rank <= 2 else 0 for rank in ranks.fillna(0)]


@dataclass(frozen=True)
class Markup:
    """How a format writes a best and a second best value, ±, the mark of a note, and a minus."""

    best: str
    second: str
    plus_minus: str
    note: str
    significant: str
    minus: str = "-"

    def cell(self, mean: float, deviation: float, place: int, differs: bool = False) -> str:
        if math.isnan(mean):
            return ""
        text = f"{mean:.{DIGITS}f}".replace("-", self.minus)
        if not math.isnan(deviation):
            text += f"{self.plus_minus}{deviation:.{DIGITS}f}"
        marked = (text, self.best.format(text), self.second.format(text))[place]
        return marked + self.significant if differs else marked


MARKDOWN = Markup("**{}**", "<u>{}</u>", " ± ", " {}", "\\*")
TERMINAL = Markup("{} ¹", "{} ²", " ± ", " {}", " *")
LATEX = Markup("\\textbf{{{}}}", "\\underline{{{}}}", " $\\pm$ ", "$^{{{}}}$", "$^{*}$", "$-$")


def cells(comparison: Comparison, markup: Markup) -> pd.DataFrame:
    """The table as text, with the columns shown."""
    marks = comparison.notes
    names = []
    for entry in comparison.entries:
        own = "".join(LATEX_MARKS.get(marks[n], marks[n]) if markup is LATEX else marks[n] for n in entry.notes)
        label = {LATEX: escape_latex, MARKDOWN: escape_markdown}.get(markup, str)(entry.label)
        names.append(label + (markup.note.format(own) if own else ""))
    shown = {"model": names}
    table = comparison.table
    for column, heading in comparison.shown.items():
        if column == PARAMETERS:
            shown[heading] = ["" if math.isnan(number) else f"{number:,.0f}" for number in table[column]]
            continue
        means = table.get(column, pd.Series([float("nan")] * len(table)))
        deviations = table.get(f"{column}_std", means * float("nan"))
        differs = [(column, entry.label) in comparison.significant for entry in comparison.entries]
        rows = zip(means, deviations, places(column, means, comparison.contends), differs)
        shown[heading] = [markup.cell(*row) for row in rows]
    return pd.DataFrame(shown)


def latex(comparison: Comparison) -> str:
    """A ``table`` environment; it needs the package booktabs."""
    table = cells(comparison, LATEX)
    notes = "".join(
        f" $^{{{LATEX_MARKS.get(mark, mark)}}}$ {escape_latex(note)}." for note, mark in comparison.notes.items()
    )
    remarks = "".join(f" {escape_latex(remark)}." for remark in comparison.remarks)
    caption = f"{escape_latex(comparison.title)}.{remarks}{notes}"
    return table.style.hide(axis="index").to_latex(
        hrules=True,
        column_format="l" + "r" * (table.shape[1] - 1),
        caption=caption,
        label=f"tab:{re.sub(r'[^A-Za-z0-9.-]+', '-', comparison.name)}",
        position_float="centering",
    )


def significance_cells(tests: pd.DataFrame, names: dict[str, str]) -> pd.DataFrame:
    """Tests as text: differences with four digits, p with two significant ones.

    Args:
        names: {column: heading}, ``VERDICT_NAMES`` or ``TEST_NAMES``.
    """
    shown = tests[[name for name in ("split", "metric", "reference", "model") if name in tests]].copy()
    shown["metric"] = shown["metric"].str.upper()
    for column, heading in names.items():
        form = "{:.2g}" if "p" in column.split("_") else "{:.0f}" if column.startswith("n_") else "{:+.4f}"
        shown[heading] = ["" if pd.isna(value) else form.format(value) for value in tests[column]]
    return shown


def terminal(comparison: Comparison) -> str:
    """The table and the verdicts on the first metric, as printed."""
    lines = [comparison.title, "", _plain(cells(comparison, TERMINAL)), "¹ best, ² second best"]
    lines += [f"{mark} {note}" for note, mark in comparison.notes.items()] + comparison.remarks
    if len(comparison.tests):
        tests = significance_cells(comparison.tests, VERDICT_NAMES)
        kept = tests[tests["metric"] == comparison.columns[0].upper()].drop(columns=["metric", "reference"])
        kept = kept.drop(columns=[VERDICT_NAMES["p_bonferroni"]])
        reference = comparison.tests["reference"].iloc[0]
        lines += ["", f"{comparison.columns[0].upper()} of {reference} minus that of, {comparison.basis}"]
        lines.append(_plain(kept))
    return "\n".join(lines)


def _plain(table: pd.DataFrame) -> str:
    return tabulate(
        table,
        headers="keys",
        showindex=False,
        disable_numparse=True,
        colalign=("left", *["right"] * (len(table.columns) - 1)),
    )


def _markdown(table: pd.DataFrame) -> str:
    return tabulate(table, headers="keys", showindex=False, disable_numparse=True, tablefmt="github")


def write_comparison(comparison: Comparison, folder: Path | str) -> None:
    """``<name>.md``, ``.csv``, ``.tex``, ``.pdf``, ``.svg``, ``.png``, and, of two models or more,
    ``-significance.md``, ``-significance.csv`` and ``-splits.csv``, the tests of each split."""
    stem = Path(folder) / comparison.name
    write_csv(comparison.table, f"{stem}.csv")
    remarks = [f"{escape_markdown(remark)}.  " for remark in comparison.remarks]
    notes = "\n".join([*remarks, *(f"{mark} {escape_markdown(note)}  " for note, mark in comparison.notes.items())])
    body = _markdown(cells(comparison, MARKDOWN))
    write_markdown({escape_markdown(comparison.title): f"{body}\n\n{notes}".rstrip()}, f"{stem}.md")
    with atomic_file(f"{stem}.tex") as file:
        file.write(latex(comparison))
    if len(comparison.tests):
        write_csv(comparison.tests, f"{stem}-significance.csv")
        write_csv(comparison.split_tests, f"{stem}-splits.csv")
        heading = escape_markdown(f"{comparison.title}: {comparison.tests['reference'].iloc[0]} against the others")
        verdict = _markdown(significance_cells(comparison.tests, VERDICT_NAMES))
        of_splits = _markdown(significance_cells(comparison.split_tests, TEST_NAMES))
        write_markdown(
            {
                heading: f"{verdict}\n\n{comparison.basis[0].upper()}{comparison.basis[1:]}. {VERDICT_EXPLANATION}",
                "Within each split": f"{of_splits}\n\n{TEST_EXPLANATION}",
            },
            f"{stem}-significance.md",
        )
    else:  # those of an earlier comparison
        for suffix in ("-significance.csv", "-splits.csv", "-significance.md"):
            Path(f"{stem}{suffix}").unlink(missing_ok=True)
    finished = comparison.table[comparison.table["n_seeds"] > 0]
    if len(finished):
        shown = {name: heading for name, heading in comparison.shown.items() if name in comparison.columns}
        figures.save(figures.comparison_bars(finished, shown), stem)


VERDICT_EXPLANATION = """\
difference: reference minus model, with its 95 % confidence interval. p: Student's t, two-sided, corrected over the
models compared on one metric. Splits share training data, so the variance of their mean is (1/n + test/train) times
that of a difference (Nadeau and Bengio, 2003)."""
TEST_EXPLANATION = """\
Paired tests on the values of a split's users, two-sided; seeds that share a split are averaged for each user. These
users are no independent evidence about other splits. d_z: mean of the differences in units of their standard
deviation."""
