"""Figures, each a function from tables to a matplotlib figure; files for a paper, and SVG inside a page.

A figure is as wide as a column of a paper, with type that can be read at that size, and has no title: its caption has.
"""

import io
import re
import warnings
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path as Outline
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from recbole_sibrar.files import atomic_file

# Okabe and Ito's palette, told apart by colour-blind readers, with grey for their yellow, which white paper swallows.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#7F7F7F")
MARKERS = "osD^vPX*"
DASHES = ("-", "--", ":")  # of more lines than there are colours
FORMATS = ("pdf", "svg", "png")
MAP_OPTIONS = ("temperature", "contrastive_weight")  # of a search, of which there is a map
WITHOUT_DATE = {"pdf": {"CreationDate": None}, "svg": {"Date": None}, "png": {}}
COLUMN = 3.35  # inches, of a column in a paper of two
LINKED = 5  # entities whose modalities are joined by lines
LONGEST_NAME = 40  # characters
LEGEND_LINE = 0.13  # inches, of a model in the legend
LINES = 8  # models that a figure of lines tells apart
NAMED = 23  # modalities in the legend of a picture
PAPER: Any = {
    "font.size": 8, "axes.labelsize": 8, "xtick.labelsize": 7, "ytick.labelsize": 7, "legend.fontsize": 7,
    "axes.titlesize": 8, "lines.linewidth": 1.2, "lines.markersize": 3.5, "axes.linewidth": 0.6,
    "xtick.major.width": 0.6, "ytick.major.width": 0.6, "legend.handlelength": 2.8, "legend.columnspacing": 1.2,
    "axes.spines.top": False, "axes.spines.right": False, "svg.hashsalt": "recbole_sibrar", "pdf.fonttype": 42,
    "text.parse_math": False,  # names with dollars are names
}  # fmt: skip

P = ParamSpec("P")


def _at_paper_size(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """A function that draws with the sizes of ``PAPER``."""

    @wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with matplotlib.rc_context(PAPER):
            return draw(*args, **kwargs)

    return drawn


def save(figure: Figure, stem: Path | str) -> list[Path]:
    """Write ``<stem>.pdf``, ``.svg`` and ``.png``; the same figure gives the same bytes."""
    paths = [Path(f"{stem}.{suffix}") for suffix in FORMATS]
    with matplotlib.rc_context(PAPER):
        for path, suffix in zip(paths, FORMATS):
            with atomic_file(path, "wb") as file:
                figure.savefig(file, format=suffix, dpi=300, metadata=WITHOUT_DATE[suffix])
    return paths


def inline_svg(figure: Figure, description: str) -> str:
    """An ``<svg>`` element for a page, whose style sheet gives the colours: ``--c0`` ... and the colour of the text.

    Args:
        description: read out in place of the picture.
    """
    buffer = io.StringIO()
    with matplotlib.rc_context({**PAPER, "svg.fonttype": "none"}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from")  # letters, for which a browser has a font
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    svg = buffer.getvalue()
    svg = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    svg = re.sub(r' id="[A-Za-z]+[A-Za-z.0-9]*_\d+"', "", svg)
    svg = re.sub(r' (?:d|x|y|transform)="[^"]+"', _rounded, svg)
    svg = re.sub(r"M (\S+) (\S+) \nL (\S+) \2 \n", _dot, svg)
    svg = re.sub(r"font: (?:\w+ )?([\d.]+px) [^;\"]+", r"font-size: \1", svg)
    for place, colour in enumerate(COLOURS):
        shown = "currentColor" if colour == "#000000" else f"var(--c{place})"
        svg = svg.replace(colour.lower(), shown)
    svg = re.sub(r"<svg [^>]*?viewBox=\"([^\"]+)\"[^>]*>", _svg_tag(description), svg, count=1)
    return re.sub(r"\n\s*", "\n", svg)


def _dot(line: re.Match[str]) -> str:
    x, y, end = line.groups()
    return f"M{x} {y}h0" if abs(float(end) - float(x)) < 0.5 else line[0]


def _rounded(attribute: re.Match[str]) -> str:
    return re.sub(r"-?\d+\.\d{2,}", lambda number: f"{float(number[0]):.1f}", attribute[0])


def _svg_tag(description: str) -> str:
    text = description.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;").replace("\\", "/")
    return rf'<svg viewBox="\1" role="img" aria-label="{text}" xmlns:xlink="http://www.w3.org/1999/xlink">'


def _axes(width: float = COLUMN, height: float = 2.3, columns: int = 1, rows: int = 1) -> tuple[Figure, np.ndarray]:
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False).flatten()


def style(position: int) -> dict[str, str]:
    """Colour and marker of the n-th model or modality of a figure."""
    return {"color": COLOURS[position % len(COLOURS)], "marker": MARKERS[position % len(MARKERS)]}


def _cut(name: str) -> str:
    """A model's name as far as there is room for it beside or below the axes."""
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"


def _shown(name: object) -> str:
    """A label of a legend, which leaves out those that begin with an underscore."""
    return f" {name}" if str(name).startswith("_") else str(name)


def _legend(figure: Figure, axis: Axes, columns: int = 2) -> None:
    """Below the axes, where it hides nothing."""
    handles, labels = axis.get_legend_handles_labels()
    if len(labels) < 2:
        return
    labels = list(map(_cut, labels))
    ncols = columns if max(map(len, labels)) < 28 else 1
    figure.legend(handles, labels, loc="outside lower center", ncols=ncols, frameon=False)


@_at_paper_size
def quality_curves(curves: dict[str, pd.DataFrame], metric: str) -> Figure:
    """Quality against the number of modalities left, with the range over the subsets of each size.

    Args:
        curves: {model: table of ``evaluation.subsets.quality_curve``}.
    """
    figure, (axis,) = _axes(height=2.5 + LEGEND_LINE * max(0, len(curves) - 4))
    for position, (model, curve) in enumerate(curves.items()):
        axis.plot(curve["n_modalities"], curve["mean"], label=_shown(model), **style(position))
        axis.fill_between(curve["n_modalities"], curve["min"], curve["max"], color=style(position)["color"], alpha=0.12)
    sizes = sorted({size for curve in curves.values() for size in curve["n_modalities"]})
    axis.set(xlabel="modalities left", ylabel=metric.upper(), xticks=sizes)
    _legend(figure, axis)
    return figure


@_at_paper_size
def degradation_panels(table: pd.DataFrame, metric: str) -> Figure:
    """A metric against the share of the content that is left; a panel for each pattern (across) and place of the loss.

    Args:
        table: of ``evaluation.missing.over_seeds``; intervals are shaded where there are few models.
    """
    panels = list(table[["where", "pattern"]].drop_duplicates().itertuples(index=False))
    columns, models = table["pattern"].nunique(), list(dict.fromkeys(table["model"]))
    rows = table["where"].nunique()
    height = 1.9 * rows + 0.6 + LEGEND_LINE * len(models)
    figure, axes = _axes(COLUMN * columns, height, columns, rows)
    lowest, highest = table[metric].min(), table[metric].max()  # intervals of two runs may reach far beyond
    margin = max((highest - lowest) / 4, highest / 20, 1e-6)
    for axis, (where, pattern) in zip(axes, panels):
        for position, name in enumerate(models):
            own = table[(table["where"] == where) & (table["pattern"] == pattern) & (table["model"] == name)]
            left, look = 100 * (1 - own["rate"]), {"label": _shown(name), **style(position)}
            axis.plot(left, own[metric], linestyle=DASHES[position // len(COLOURS) % len(DASHES)], **look)
            if len(models) <= LINES:
                axis.fill_between(left, own["low"], own["high"], color=look["color"], alpha=0.1, linewidth=0)
        axis.set(xlabel="% of the content left", ylabel=metric.upper(), ylim=(lowest - margin, highest + margin))
        axis.invert_xaxis()
        if len(panels) > 1:
            axis.set_title(f"missing in {where}, {pattern}")
    _legend(figure, axes[0])
    return figure


@_at_paper_size
def lines(
    table: pd.DataFrame, x: str, y: str, group: str, xlabel: str, ylabel: str, names: Sequence[str] | None = None
) -> Figure:
    """A line for each value of a column, at most ``LINES``; the others are left out.

    Args:
        names: of the places on the x axis, where these are numbered.
    """
    figure, (axis,) = _axes(height=2.5)
    for position, (name, own) in enumerate(table.groupby(group, sort=False)):
        if position < LINES:
            axis.plot(own[x], own[y], label=_shown(name), **style(position))
    axis.set(xlabel=xlabel, ylabel=ylabel)
    if names is not None:
        axis.set_xticks(range(len(names)), names)
    _legend(figure, axis)
    return figure


@_at_paper_size
def tsne_panels(panels: dict[str, pd.DataFrame], names: dict[str, list[str]], linked: int = LINKED) -> Figure:
    """A t-SNE picture for each model, coloured by modality, lines between the modalities of a few entities.

    Args:
        panels: {model: table of ``evaluation.gap.tsne_points``}. names: {model: modality names}.
        linked: of how many entities the modalities are joined by lines.
    """
    columns = min(len(panels), 2)
    rows = -(-len(panels) // columns)
    everything = list(dict.fromkeys(name for own in names.values() for name in own))
    named = everything if len(everything) <= NAMED else everything[: NAMED - 1]
    figure, axes = _axes(COLUMN * columns, 3.1 * rows + 0.4 + LEGEND_LINE * (len(named) // 3), columns, rows)
    for axis in axes[len(panels) :]:
        axis.set_axis_off()
    for axis, (model, points) in zip(axes, panels.items()):
        for place, name in enumerate(names[model]):
            own = points[points["modality"] == place]
            _dots(axis, own[["x", "y"]].to_numpy(), COLOURS[everything.index(name) % len(COLOURS)])
        complete = points.groupby("entity").size().sort_values(ascending=False, kind="stable").index[:linked]
        for entity in complete:
            own = points[points["entity"] == entity]
            axis.plot(own["x"], own["y"], color=COLOURS[6], linewidth=0.7, alpha=0.8)
            for place, x, y in zip(own["modality"], own["x"], own["y"]):
                look = style(everything.index(names[model][place]))
                axis.plot(x, y, markersize=4.5, markeredgecolor=COLOURS[6], markeredgewidth=0.6, **look)
        axis.set(xticks=[], yticks=[])
        axis.set_xlabel(model)
        axis.spines[["left", "bottom"]].set_visible(False)
    for place, name in enumerate(named):
        axes[0].plot([], [], linestyle="", label=_shown(name), **style(place))
    if len(named) < len(everything):
        axes[0].plot([], [], linestyle="", label=f"… and {len(everything) - len(named):,} others")
    axes[0].plot([], [], color=COLOURS[6], linewidth=0.7, label="one item or user" if linked else None)
    _legend(figure, axes[0], columns=3)
    return figure


def _dots(axis: Axes, points: np.ndarray, colour: str, size: float = 2.2) -> None:
    """One path for all points, each a stroke with round ends and hardly a length: a tenth of the size in SVG."""
    if len(points):
        vertices = np.repeat(points, 2, axis=0)
        vertices[1::2, 0] += 1e-3 * np.ptp(points[:, 0])  # a stroke without any length is not drawn in PNG
        outline = Outline(vertices, np.tile([Outline.MOVETO, Outline.LINETO], len(points)))
        outline.should_simplify = False
        axis.add_patch(
            PathPatch(outline, facecolor="none", edgecolor=colour, linewidth=size, capstyle="round", alpha=0.55)
        )
        axis.update_datalim(points)
        axis.autoscale_view()


@_at_paper_size
def training_curves(histories: dict[str, list[dict[str, Any]]], metric: str) -> Figure:
    """The validation metric of each epoch; a line for each model.

    Args:
        histories: {model: [{"epoch", "valid"}]}.
    """
    figure, (axis,) = _axes(height=2.5)
    for position, (model, history) in enumerate(list(histories.items())[:LINES]):
        seen = [entry for entry in history if entry["valid"] is not None]
        look = {**style(position), "markersize": 2}
        axis.plot([entry["epoch"] for entry in seen], [entry["valid"] for entry in seen], label=_shown(model), **look)
    axis.set(xlabel="epoch", ylabel=f"validation {metric}")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    _legend(figure, axis)
    return figure


@_at_paper_size
def comparison_bars(table: pd.DataFrame, columns: dict[str, str]) -> Figure:
    """A panel of bars for each metric, a bar for each model, with the standard deviation over seeds.

    Args:
        table: rows with ``model``, the metrics, and ``<metric>_std`` (NaN for one seed); where there is a column
            ``fallback``, rows of that kind are pale.
        columns: {metric: heading}.
    """
    n = len(columns)
    figure, axes = _axes(COLUMN if n == 1 else 2 * COLUMN, 0.6 + 0.22 * len(table), n)
    places, names = range(len(table)), list(map(_cut, table["model"]))
    pale = table["fallback"].to_numpy(dtype=bool) if "fallback" in table else np.zeros(len(table), dtype=bool)
    for axis, (metric, heading) in zip(axes, columns.items()):
        bars = axis.barh(places, table[metric], color=COLOURS[0], height=0.62)
        for bar, is_pale in zip(bars, pale):
            bar.set_alpha(0.35 if is_pale else 1)
        deviations = table[f"{metric}_std"].to_numpy(dtype=float)
        known = np.isfinite(deviations)
        axis.errorbar(
            table[metric].to_numpy()[known], np.arange(len(table))[known], xerr=deviations[known], fmt="none",
            ecolor=COLOURS[6], elinewidth=0.8, capsize=1.5,
        )  # fmt: skip
        axis.set(yticks=list(places), yticklabels=names if axis is axes[0] else [], xlabel=heading)
        axis.xaxis.set_major_locator(MaxNLocator(4))
        axis.tick_params(axis="y", length=0)
        axis.invert_yaxis()
    return figure


@_at_paper_size
def user_boxes(values: dict[str, pd.Series], heading: str) -> Figure:
    """The distribution over users: quartiles, 5th and 95th percentile, and the mean as a diamond.

    Args:
        values: {model: (U,) values of its users}.
    """
    figure, (axis,) = _axes(height=0.6 + 0.24 * len(values))
    boxes = axis.boxplot(
        list(values.values()), orientation="horizontal", whis=(5, 95), showfliers=False, showmeans=True, widths=0.55,
        patch_artist=True, meanprops={"marker": "D", "markersize": 3, "markerfacecolor": COLOURS[1],
        "markeredgecolor": COLOURS[1]}, medianprops={"color": COLOURS[6], "linewidth": 1.2},
    )  # fmt: skip
    for box in boxes["boxes"]:
        box.set(facecolor=COLOURS[0], alpha=0.35, linewidth=0.6)
    axis.set(yticks=range(1, len(values) + 1), yticklabels=list(map(_cut, values)), xlabel=heading)
    axis.tick_params(axis="y", length=0)
    axis.invert_yaxis()
    return figure


@_at_paper_size
def search_map(trials: pd.DataFrame, x: str, y: str, metric: str, n_bins: int = 8) -> Figure:
    """The best score in each cell of two options, both on logarithmic axes, with the trials as dots.

    Dashed lines bound the ratios y/x between 1e-3 and 1e-1, where the papers find the best ratio of alpha to tau.

    Args:
        trials: rows with ``x``, ``y`` and ``score`` (NaN for a failed trial). Values not above 0 are left out.
        n_bins: cells of each axis, if it has more different values.
    """
    shown = trials[(trials[x] > 0) & (trials[y] > 0) & trials["score"].notna()]
    figure, (axis,) = _axes(height=2.6)
    axis.set(xscale="log", yscale="log", xlabel=x, ylabel=y)
    if shown.empty:
        return figure
    edges = [_log_edges(shown[name].to_numpy(), n_bins) for name in (x, y)]
    cells = [np.searchsorted(edge, shown[name], side="right") - 1 for name, edge in zip((x, y), edges)]
    best = np.full((len(edges[1]) - 1, len(edges[0]) - 1), np.nan)
    for column, row, score in zip(*cells, shown["score"]):
        best[row, column] = np.fmax(best[row, column], score)
    mesh = axis.pcolormesh(*edges, best, cmap="viridis")
    axis.plot(shown[x], shown[y], "o", color="white", markeredgecolor="black", markersize=3)
    for ratio in (1e-3, 1e-1):
        axis.plot(edges[0][[0, -1]], ratio * edges[0][[0, -1]], "--", color="grey", linewidth=1)
    for scale in (axis.xaxis, axis.yaxis):
        scale.set_major_locator(LogLocator(subs=(1, 3)))
        scale.set_major_formatter("{x:g}")
        scale.set_minor_formatter(NullFormatter())
    axis.set(xlim=edges[0][[0, -1]], ylim=edges[1][[0, -1]])
    figure.colorbar(mesh, ax=axis, label=f"validation {metric}")
    return figure


@_at_paper_size
def paired_maps(table: pd.DataFrame, metric: str) -> Figure:
    """The papers' quality over temperature and contrastive weight, and ours below it, on one scale of colours.

    Args:
        table: a row for each cell: ``contrastive_weight``, ``temperature``, ``paper``, ``ours`` (NaN leaves it empty).
    """
    figure, axes = _axes(height=4.2, rows=2)
    grids = [table.pivot(index="contrastive_weight", columns="temperature", values=name) for name in ("paper", "ours")]
    values = table[["paper", "ours"]].to_numpy()
    low, high = np.nanmin(values), np.nanmax(values)
    for axis, grid, heading in zip(axes, grids, ("the papers", "ours")):
        mesh = axis.imshow(grid, cmap="viridis", vmin=low, vmax=high, origin="lower", aspect="auto")
        axis.set(title=heading, ylabel="α", xticks=range(grid.shape[1]), yticks=range(grid.shape[0]))
        axis.set_xticklabels([f"{value:g}" for value in grid.columns])
        axis.set_yticklabels([f"{value:g}" for value in grid.index])
        for (row, column), value in np.ndenumerate(grid.to_numpy()):
            if np.isfinite(value):
                colour = "white" if value < (low + high) / 2 else "black"
                axis.text(column, row, f"{value:.3f}", ha="center", va="center", color=colour, fontsize=6)
    axes[-1].set_xlabel("τ")
    figure.colorbar(mesh, ax=list(axes), label=metric)
    return figure


def _log_edges(values: np.ndarray, n_bins: int) -> np.ndarray:
    """Bounds of cells: half-way between neighbouring values if they are few, else even in the logarithm."""
    points = np.unique(np.log(values.astype(float)))
    if len(points) == 1:
        return np.exp(points[0] + np.array([-0.5, 0.5]))
    if len(points) <= n_bins:
        middles = (points[1:] + points[:-1]) / 2
        outer = [2 * points[0] - middles[0], 2 * points[-1] - middles[-1]]
        return np.exp(np.array([outer[0], *middles, outer[1]]))
    edges = np.linspace(points[0], points[-1], n_bins + 1)
    edges[-1] += 1e-9 * max(1.0, abs(edges[-1]))
    return np.exp(edges)
