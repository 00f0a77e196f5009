"""Tables of several models: Markdown, CSV, LaTeX and terminal, best and second best marked."""

import math
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd
from tabulate import tabulate

from recbole_sibrar.data.identity import combined
from recbole_sibrar.evaluation.metrics import METRICS
from recbole_sibrar.files import atomic_file
from recbole_sibrar.report import figures
from recbole_sibrar.report.tables import escape_markdown, write_csv, write_markdown

DIGITS = 4
PARAMETERS = "n_parameters"
NOTE_MARKS = "†‡§¶‖"
LATEX_MARKS = dict(zip(NOTE_MARKS, ("\\dagger", "\\ddagger", "\\S", "\\P", "\\|")))
LATEX_ESCAPES = str.maketrans(
    {
        **{character: f"\\{character}" for character in "&%$#_{}"},
        **{"\\": "\\textbackslash{}", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}"},
        **{"<": "\\textless{}", ">": "\\textgreater{}", "±": "$\\pm$"},
    }
)
TEST_NAMES = {
    "difference": "difference",
    "d_z": "d_z",
    "t_p_holm": "t-test, p (Holm)",
    "t_p_bonferroni": "t-test, p (Bonferroni)",
    "w_p_holm": "Wilcoxon, p (Holm)",
    "w_p_bonferroni": "Wilcoxon, p (Bonferroni)",
}


@dataclass(frozen=True)
class Entry:
    """A model of a comparison.

    Attributes:
        results: of its finished runs, one for each seed, as in ``result.json``.
        n_wanted: how many there should be. error: of a run that failed.
    """

    label: str
    results: tuple
    n_wanted: int
    error: str | None = None

    @property
    def notes(self) -> list:
        """What a reader of the table must know about this row."""
        notes = []
        for result in self.results[:1]:
            for side, replacement in result["cold_fallback"].items():
                notes.append(f"does not score cold {side}s; they get: {replacement}")
        if self.error:
            reason = self.error.splitlines()[-1]
            notes.append(f"{self.n_wanted - len(self.results)} of {self.n_wanted} runs failed: {reason}")
        return notes


@dataclass(frozen=True)
class Comparison:
    """Models on one data set in one scenario.

    Attributes:
        split_seed: of the split that all seeds share; None if each seed has its own.
        valid_metric: the metric that models are chosen by, such as ``ndcg@10``.
        columns: the metrics shown. tests: the table of ``compare_with_reference``, possibly empty.
    """

    dataset: str
    scenario: str
    seeds: list
    split_seed: int | None
    valid_metric: str
    columns: list
    entries: list
    tests: pd.DataFrame

    @property
    def name(self) -> str:
        return f"{self.dataset}-{self.scenario}"

    @property
    def title(self) -> str:
        """``ml-100k, item_cold, seeds 2020-2022, a split for each seed``."""
        if len(self.seeds) == 1:
            seeds, split = f"seed {self.seeds[0]}", "one split"
        else:
            seeds = f"mean ± standard deviation of seeds {self.seeds[0]}-{self.seeds[-1]}"
            split = "a split for each seed" if self.split_seed is None else f"the split of seed {self.split_seed}"
        return f"{self.dataset}, {self.scenario}, {seeds}, {split}"

    @cached_property
    def table(self) -> pd.DataFrame:
        """A row for each model, unrounded: mean (and ``_std`` over seeds, NaN for one) of every metric; ``data`` is the
        fingerprint of what it read."""
        return pd.DataFrame([_row(entry, self.valid_metric) for entry in self.entries])

    @property
    def shown(self) -> dict:
        """{column of ``table``: heading}."""
        heading = f"{self.valid_metric.upper()} (validation)"
        metrics = {name: name.upper() for name in self.columns}
        return {f"validation {self.valid_metric}": heading, **metrics, PARAMETERS: "parameters"}

    @property
    def notes(self) -> dict:
        """{note: mark}, in the order of the rows."""
        notes = dict.fromkeys(note for entry in self.entries for note in entry.notes)
        return {note: NOTE_MARKS[n] if n < len(NOTE_MARKS) else f"({n + 1})" for n, note in enumerate(notes)}


def _row(entry, valid_metric):
    row = {"model": entry.label, "n_seeds": len(entry.results)}
    valid = [result["valid_result"].get(valid_metric) for result in entry.results]
    row |= _mean_and_deviation(f"validation {valid_metric}", valid)
    for metric in dict.fromkeys(metric for result in entry.results for metric in result["test_result"]):
        row |= _mean_and_deviation(metric, [result["test_result"].get(metric) for result in entry.results])
    row |= _mean_and_deviation(PARAMETERS, [result["n_parameters"] for result in entry.results])
    row |= _mean_and_deviation("training_seconds", [result["seconds"]["training"] for result in entry.results])
    data = dict.fromkeys(combined(result["data"]) for result in entry.results)
    return {**row, "notes": "; ".join(entry.notes), "data": " ".join(data)}


def _mean_and_deviation(name, values):
    values = pd.Series(values, dtype=float)
    return {name: values.mean(), f"{name}_std": values.std(ddof=1)}


def goodness(metric: str, values: pd.Series) -> pd.Series:
    """Values turned so that larger is better: popularity lift is best at 0, ARP when small.

    >>> goodness("pl@10", pd.Series([-0.5, 0.25])).tolist()
    [-0.5, -0.25]
    """
    name = metric.split()[-1].split("@")[0]
    if name == "pl":
        return -values.abs()
    return values if name not in METRICS or METRICS[name].higher_is_better else -values


def places(metric: str, values: pd.Series) -> list:
    """1 for the best value, 2 for the second best, 0 for others; values that look equal share a place.

    >>> places("ndcg@10", pd.Series([0.3, 0.20001, 0.2, 0.1]))
    [1, 2, 2, 0]
    """
    ranks = goodness(metric, values.round(DIGITS)).rank(method="dense", ascending=False)
    return [int(rank) if rank <= 2 else 0 for rank in ranks.fillna(0)]


@dataclass(frozen=True)
class Markup:
    """How a format writes a best and a second best value, ± and the mark of a note."""

    best: str
    second: str
    plus_minus: str
    note: str

    def cell(self, mean, deviation, place) -> str:
        if math.isnan(mean):
            return ""
        text = f"{mean:.{DIGITS}f}"
        if not math.isnan(deviation):
            text += f"{self.plus_minus}{deviation:.{DIGITS}f}"
        return (text, self.best.format(text), self.second.format(text))[place]


MARKDOWN = Markup("**{}**", "<u>{}</u>", " ± ", " {}")
TERMINAL = Markup("{} ¹", "{} ²", " ± ", " {}")
LATEX = Markup("\\textbf{{{}}}", "\\underline{{{}}}", " $\\pm$ ", "$^{{{}}}$")


def cells(comparison: Comparison, markup: Markup) -> pd.DataFrame:
    """The table as text, with the columns shown."""
    marks = comparison.notes
    names = []
    for entry in comparison.entries:
        own = "".join(LATEX_MARKS.get(marks[n], marks[n]) if markup is LATEX else marks[n] for n in entry.notes)
        label = {LATEX: _latex, MARKDOWN: escape_markdown}.get(markup, str)(entry.label)
        names.append(label + (markup.note.format(own) if own else ""))
    shown = {"model": names}
    table = comparison.table
    for column, heading in comparison.shown.items():
        if column == PARAMETERS:
            shown[heading] = ["" if math.isnan(number) else f"{number:,.0f}" for number in table[column]]
            continue
        means = table.get(column, pd.Series([float("nan")] * len(table)))
        deviations = table.get(f"{column}_std", means * float("nan"))
        rows = zip(means, deviations, places(column, means))
        shown[heading] = [markup.cell(mean, deviation, place) for mean, deviation, place in rows]
    return pd.DataFrame(shown)


def _latex(text):
    return text.translate(LATEX_ESCAPES)


def latex(comparison: Comparison) -> str:
    """A ``table`` environment; it needs the package booktabs."""
    table = cells(comparison, LATEX)
    notes = "".join(f" $^{{{LATEX_MARKS.get(mark, mark)}}}$ {_latex(note)}." for note, mark in comparison.notes.items())
    caption = f"{_latex(comparison.title)}.{notes}"
    return table.style.hide(axis="index").to_latex(
        hrules=True,
        column_format="l" + "r" * (table.shape[1] - 1),
        caption=caption,
        label=f"tab:{re.sub(r'[^A-Za-z0-9.-]+', '-', comparison.name)}",
        position_float="centering",
    )


def significance_cells(comparison: Comparison) -> pd.DataFrame:
    """The tests as text: differences with four digits, p with two significant ones."""
    tests = comparison.tests
    shown = tests[["metric", "reference", "model", "n_users"]].rename(columns={"n_users": "users"})
    shown["metric"] = shown["metric"].str.upper()
    for column, heading in TEST_NAMES.items():
        form = "{:.2g}" if "_p" in column else "{:+.4f}"
        shown[heading] = [form.format(value) for value in tests[column]]
    return shown


def terminal(comparison: Comparison) -> str:
    """The table and the tests of the first metric, as printed."""
    lines = [comparison.title, "", _plain(cells(comparison, TERMINAL)), "¹ best, ² second best"]
    lines += [f"{mark} {note}" for note, mark in comparison.notes.items()]
    if len(comparison.tests):
        tests = significance_cells(comparison)
        kept = tests[tests["metric"] == comparison.columns[0].upper()].drop(columns=["metric", "reference"])
        kept = kept.drop(columns=[name for name in TEST_NAMES.values() if "Bonferroni" in name])
        lines += ["", f"{comparison.columns[0].upper()} of {comparison.tests['reference'].iloc[0]} minus that of"]
        lines.append(_plain(kept))
    return "\n".join(lines)


def _plain(table):
    return tabulate(
        table,
        headers="keys",
        showindex=False,
        disable_numparse=True,
        colalign=("left", *["right"] * (len(table.columns) - 1)),
    )


def _markdown(table):
    return tabulate(table, headers="keys", showindex=False, disable_numparse=True, tablefmt="github")


def write_comparison(comparison: Comparison, folder) -> None:
    """``<data set>-<scenario>.md``, ``.csv``, ``.tex``, ``.png``, ``.svg``, and ``-significance.md``, ``.csv``."""
    stem = Path(folder) / comparison.name
    write_csv(comparison.table, f"{stem}.csv")
    notes = "\n".join(f"{mark} {escape_markdown(note)}  " for note, mark in comparison.notes.items())
    body = _markdown(cells(comparison, MARKDOWN))
    write_markdown({escape_markdown(comparison.title): f"{body}\n\n{notes}".rstrip()}, f"{stem}.md")
    with atomic_file(f"{stem}.tex") as file:
        file.write(latex(comparison))
    if len(comparison.tests):
        write_csv(comparison.tests, f"{stem}-significance.csv")
        heading = escape_markdown(f"{comparison.title}: {comparison.tests['reference'].iloc[0]} against the others")
        write_markdown(
            {heading: f"{_markdown(significance_cells(comparison))}\n\n{EXPLANATION}"},
            f"{stem}-significance.md",
        )
    finished = comparison.table[comparison.table["n_seeds"] > 0]
    if len(finished):
        shown = {name: heading for name, heading in comparison.shown.items() if name in comparison.columns}
        figures.save(figures.comparison_bars(finished, shown, comparison.title), stem)


EXPLANATION = """\
Paired tests on per-user values, two-sided; a user counts once, with the mean over the seeds that both models share.
difference: reference minus model. d_z: mean of the differences in units of their standard deviation.
p: corrected over the models compared on one metric."""
