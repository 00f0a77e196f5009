"""The tables that ``missing``, ``gap``, ``tune`` and ``reproduce`` left below a folder, as sections of the page."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from recbole_sibrar.errors import DataError
from recbole_sibrar.evaluation.missing import over_seeds
from recbole_sibrar.report import figures
from recbole_sibrar.report.html_tables import table_of
from recbole_sibrar.report.tables import read_csv

OF_EARLIER_RATES = {"where": "evaluation", "pattern": "uniform"}  # what earlier versions did not write
HEADINGS = {
    "contributions": "What each modality adds", "curve": "By the number of modalities left", "subsets": "Every subset",
    "rates": "Every rate and run", "rates-mean": "Every rate",
    "gap": "The gap", "pairs": "Pairs of modalities", "trials": "Every trial",
}  # fmt: skip

Drawn = tuple[str, list[tuple[Figure, str]], tuple[str, ...]]
"""A title, figures with captions, and the names of the tables."""


@dataclass(frozen=True)
class Section:
    """A study: its title, figures as (SVG, caption), and tables of the page, the first of which is open."""

    title: str
    drawn: list[tuple[str, str]]
    tables: list[dict[str, Any]]


def read_studies(folder: Path | str) -> list[Section]:
    """One section for each study below a folder.

    Raises:
        DataError: a table is not what a study leaves.
    """
    sections = []
    for kind, read in KINDS.items():
        for path in sorted(Path(folder).rglob(kind)):
            where = path.parent.relative_to(folder)
            try:
                title, drawn, names = read(path)
            except (LookupError, ValueError, StopIteration) as error:
                raise DataError(f"{path} is not of a study ({type(error).__name__}: {error}); remove it.") from None
            files = [path.with_name(f"{name}.csv") for name in names]
            tables = [_table(file, f"{file.stem} {where}") for file in files if file.is_file()]
            svgs = [(figures.inline_svg(figure, caption), caption) for figure, caption in drawn]
            sections.append(Section(f"{title} ({where})", svgs, tables))
    return sections


def _table(path: Path, name: str) -> dict[str, Any]:
    table = read_csv(path)
    if "model" in table:
        table = table[["model", *table.columns.drop("model")]]
    return table_of(name, table, HEADINGS.get(path.stem, path.stem))


def _curve(path: Path) -> Drawn:
    table = read_csv(path)
    metric = table["metric"].iloc[0] if "metric" in table else "metric"
    curves = dict(list(table.groupby("model", sort=False)))
    caption = f"{metric.upper()} against the modalities left: mean, and range over the subsets of each size"
    return "Quality against the modalities left", [(figures.quality_curves(curves, metric), caption)], (
        "contributions", "curve", "subsets",
    )  # fmt: skip


def _rates(path: Path) -> Drawn:
    table = read_csv(path)
    table = table.assign(**{name: usual for name, usual in OF_EARLIER_RATES.items() if name not in table})
    means = path.with_name("rates-mean.csv")
    if means.is_file():  # the metric's name stands before its interval, and may have no length (gauc)
        names = list(read_csv(means))
        metric = names[names.index("low") - 1]
    else:
        metric = next(name for name in table if "@" in name)
    caption = f"{metric.upper()} against the content left"
    return caption, [(figures.degradation_panels(over_seeds(table, metric), metric), caption)], ("rates-mean", "rates")


def _gap(path: Path) -> Drawn:
    drawn, points = [], path.with_name("tsne.csv")
    if points.is_file():
        for model, own in read_csv(points).groupby("model", sort=False):
            names = list(dict.fromkeys(own["modality"]))
            numbered = own.assign(modality=own["modality"].map(names.index))
            caption = f"Embeddings of {model} by modality (t-SNE); lines join the modalities of one item or user"
            drawn.append((figures.tsne_panels({model: numbered}, {model: names}), caption))
    return "Embeddings by modality", drawn, ("gap", "pairs")


def _trials(path: Path) -> Drawn:
    table = read_csv(path)
    drawn = []
    if set(figures.MAP_OPTIONS) <= set(table) and table["score"].notna().any():
        drawn.append((figures.search_map(table, *figures.MAP_OPTIONS, "score"), "The best score for each α and τ"))
    return "Search", drawn, ("trials",)


def _paper(path: Path) -> Drawn:
    return "The papers' figures and ours", [], (path.stem,)


def _contrast(path: Path) -> Drawn:
    table = read_csv(path)
    caption = "NDCG@10 over α and τ, the papers' and ours"
    drawn = [(figures.paired_maps(table, "NDCG@10"), caption)] if table["ours"].notna().any() else []
    return caption, drawn, (path.stem,)


KINDS = {"curve.csv": _curve, "rates.csv": _rates, "gap.csv": _gap, "trials.csv": _trials, "*-paper.csv": _paper,
         "*-contrast.csv": _contrast}  # fmt: skip
