"""Figures, each a function from tables to a matplotlib figure, and the one way to save them."""

from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from recbole_sibrar.files import atomic_file

# Okabe and Ito's palette: told apart by colour-blind readers.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")
MARKERS = "osD^vPX*"
FORMATS = ("png", "svg")
PANELS_PER_ROW = 3


def save(figure: Figure, stem) -> list:
    """Write ``<stem>.png`` and ``<stem>.svg``; the same figure gives the same bytes."""
    paths = [Path(f"{stem}.{suffix}") for suffix in FORMATS]
    with matplotlib.rc_context({"svg.hashsalt": "recbole_sibrar"}):
        for path, suffix in zip(paths, FORMATS):
            with atomic_file(path, "wb") as file:
                figure.savefig(file, format=suffix, dpi=150, metadata={"Date": None} if suffix == "svg" else None)
    return paths


def _axes(width=6.4, height=4.2, columns=1, rows=1):
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).flatten()
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
    return figure, axes


def style(position: int) -> dict:
    """Colour and marker of the n-th model or modality of a figure."""
    return {"color": COLOURS[position % len(COLOURS)], "marker": MARKERS[position % len(MARKERS)]}


def quality_curves(curves: dict, metric: str) -> Figure:
    """Quality against the number of modalities left, with the range over the subsets of each size.

    Args:
        curves: {model: table of ``evaluation.subsets.quality_curve``}.
    """
    figure, (axis,) = _axes()
    for position, (model, curve) in enumerate(curves.items()):
        axis.plot(curve["n_modalities"], curve["mean"], label=model, **style(position))
        axis.fill_between(curve["n_modalities"], curve["min"], curve["max"], color=style(position)["color"], alpha=0.12)
    sizes = sorted({size for curve in curves.values() for size in curve["n_modalities"]})
    axis.set(xlabel="modalities left", ylabel=metric.upper(), xticks=sizes)
    axis.legend(frameon=False)
    return figure


def degradation_curves(table, metric: str) -> Figure:
    """A metric against the share of entities that lose their modalities; a line for each value of ``model``."""
    figure, (axis,) = _axes()
    for position, (model, own) in enumerate(table.groupby("model", sort=False)):
        axis.plot(own["rate"], own[metric], label=model, **style(position))
    axis.set(xlabel="share of entities without the modality", ylabel=metric.upper())
    axis.legend(frameon=False)
    return figure


def tsne_panels(panels: dict, names: dict, linked: int) -> Figure:
    """A t-SNE picture for each model, coloured by modality, lines between the modalities of a few entities.

    Args:
        panels: {model: table of ``evaluation.gap.tsne_points``}. names: {model: modality names}.
        linked: of how many entities the modalities are joined by lines.
    """
    columns = min(len(panels), PANELS_PER_ROW)
    rows = -(-len(panels) // columns)
    figure, axes = _axes(4.6 * columns + 1.2, 4.4 * rows, columns, rows)
    for axis in axes[len(panels) :]:
        axis.set_axis_off()
    for axis, (model, points) in zip(axes, panels.items()):
        for position, name in enumerate(names[model]):
            own = points[points["modality"] == position]
            axis.scatter(own["x"], own["y"], s=6, alpha=0.5, linewidths=0, label=name, **style(position))
        complete = points.groupby("entity").size().sort_values(ascending=False, kind="stable").index[:linked]
        for entity in complete:
            own = points[points["entity"] == entity]
            axis.plot(own["x"], own["y"], color="black", linewidth=0.8, alpha=0.8)
            for position, x, y in zip(own["modality"], own["x"], own["y"]):
                axis.plot(x, y, markersize=6, markeredgecolor="black", markeredgewidth=0.8, **style(position))
        axis.set(title=model, xticks=[], yticks=[])
        axis.spines[["left", "bottom"]].set_visible(False)
    axes[columns - 1].legend(frameon=False, markerscale=2, loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def training_curves(history: list, metric: str) -> Figure:
    """Training loss and validation metric of each epoch, side by side.

    Args:
        history: [{"epoch", "loss", "valid"}].
    """
    figure, axes = _axes(8, 3, 2)
    epochs = [entry["epoch"] for entry in history]
    for axis, key, label in zip(axes, ("loss", "valid"), ("training loss", f"validation {metric}")):
        axis.plot(epochs, [entry[key] for entry in history], color=COLOURS[0], marker="o", markersize=3)
        axis.set(xlabel="epoch", ylabel=label)
    return figure


def comparison_bars(table, columns: dict, title: str) -> Figure:
    """A panel of bars for each metric, a bar for each model, with the standard deviation over seeds.

    Args:
        table: rows with ``model``, the metrics, and ``<metric>_std`` (NaN for one seed).
        columns: {metric: heading}.
    """
    figure, axes = _axes(1.5 + 2.6 * len(columns), 1.2 + 0.32 * len(table), len(columns))
    places = range(len(table))
    for axis, (metric, heading) in zip(axes, columns.items()):
        colours = [COLOURS[place % len(COLOURS)] for place in places]
        axis.barh(places, table[metric], xerr=table[f"{metric}_std"].fillna(0), color=colours, height=0.7)
        axis.set(yticks=list(places), yticklabels=[] if axis is not axes[0] else list(table["model"]), xlabel=heading)
        axis.invert_yaxis()
    figure.suptitle(title, fontsize="medium")
    return figure


def search_map(trials, x: str, y: str, metric: str, n_bins: int = 8) -> Figure:
    """The best score in each cell of two options, both on logarithmic axes, with the trials as dots.

    Dashed lines bound the ratios y/x between 1e-3 and 1e-1, where the papers find the best ratio of alpha to tau.

    Args:
        trials: rows with ``x``, ``y`` and ``score`` (NaN for a failed trial). Values not above 0 are left out.
        n_bins: cells of each axis, if it has more different values.
    """
    shown = trials[(trials[x] > 0) & (trials[y] > 0) & trials["score"].notna()]
    figure, (axis,) = _axes(6, 4.6)
    axis.set(xscale="log", yscale="log", xlabel=x, ylabel=y)
    if shown.empty:
        return figure
    edges = [_log_edges(shown[name].to_numpy(), n_bins) for name in (x, y)]
    cells = [np.searchsorted(edge, shown[name], side="right") - 1 for name, edge in zip((x, y), edges)]
    best = np.full((len(edges[1]) - 1, len(edges[0]) - 1), np.nan)
    for column, row, score in zip(*cells, shown["score"]):
        best[row, column] = np.fmax(best[row, column], score)
    mesh = axis.pcolormesh(*edges, best, cmap="viridis")
    axis.plot(shown[x], shown[y], "o", color="white", markeredgecolor="black", markersize=4)
    for ratio in (1e-3, 1e-1):
        axis.plot(edges[0][[0, -1]], ratio * edges[0][[0, -1]], "--", color="grey", linewidth=1)
    for scale in (axis.xaxis, axis.yaxis):
        scale.set_major_locator(LogLocator(subs=(1, 3)))
        scale.set_major_formatter("{x:g}")
        scale.set_minor_formatter(NullFormatter())
    axis.set(xlim=edges[0][[0, -1]], ylim=edges[1][[0, -1]])
    figure.colorbar(mesh, ax=axis, label=f"validation {metric}")
    return figure


def _log_edges(values, n_bins):
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
