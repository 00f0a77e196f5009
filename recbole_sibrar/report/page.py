"""One self-contained HTML page from a folder of results."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from markupsafe import Markup
from matplotlib.figure import Figure

from recbole_sibrar.errors import DataError
from recbole_sibrar.files import atomic_file
from recbole_sibrar.progress import steps
from recbole_sibrar.report import collection, figures
from recbole_sibrar.report.collection import Group, StoredRun
from recbole_sibrar.report.comparison import goodness, places
from recbole_sibrar.report.glossary import explain, glossary, heading_of
from recbole_sibrar.report.html_tables import cell, table_of
from recbole_sibrar.report.studies import read_studies
from recbole_sibrar.report.verdict import signed, verdict

TEMPLATE = "page.html"
BOXES = 12  # models in the figure of the distribution over users


def write_page(folder: Path | str, path: Path | str) -> Path:
    """Gather every ``result.json`` below ``folder``, and the tables of the other commands, in one file.

    The page loads nothing from anywhere: style, script and figures (SVG) are inside.

    Raises:
        DataError: the folder is absent or holds no result; a ``result.json`` is not ours.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder of results.")
    runs, studies = collection.read_runs(folder), read_studies(folder)
    if not runs and not studies:
        raise DataError(f"{folder} holds no result.json; run a model first, or name the folder given as --output_dir.")
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("recbole_sibrar.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    groups = collection.groups(runs)
    tables = [_group(group) for group in steps(groups, "tables and figures")]
    content = {
        "title": folder.resolve().name,
        "summary": _summary(runs),
        "groups": tables,
        "datasets": _datasets(runs),
        "studies": studies,
        "runs": _runs(groups) if runs else None,
        "versions": _versions(runs),
    }
    content["glossary"] = glossary(_all_columns(content))
    with atomic_file(path) as file:
        file.write(environment.get_template(TEMPLATE).render(content))
    return Path(path)


def _summary(runs: list[StoredRun]) -> str:
    def count(what: str, values: Iterable[object]) -> str:
        n = len(set(values))
        return f"{n} {what}{'' if n == 1 else 's'}"

    results = [run.result for run in runs]
    return ", ".join(
        [
            count("run", [str(run.folder) for run in runs]),
            count("model", [result["label"] for result in results]),
            count("data set", [result["dataset"] for result in results]),
            count("scenario", [result["scenario"] for result in results]),
            count("seed", [result["seed"] for result in results]),
        ]
    )


def _all_columns(content: dict[str, Any]) -> list[str]:
    tables = [group[name] for group in content["groups"] for name in ("table", "options", "activity", "popularity")]
    tables += [table for study in content["studies"] for table in study.tables]
    tables += [table for dataset in content["datasets"] for table in dataset["tables"]] + [content["runs"]]
    return [column["key"] for table in tables if table for column in table["columns"]]


def _group(group: Group) -> dict[str, Any]:
    comparison = group.comparison
    table, metric = comparison.table.set_index("model"), comparison.valid_metric
    order = group.in_order
    heading = metric.upper()
    activity, popularity = collection.by_activity(group), collection.by_popularity(group)
    drawn = [
        (_bars(group), f"{heading} on test, the best first; whiskers: standard deviation over seeds; pale: what stands "
         "in for scores that were not trained"),
        (_training(group), "Validation by epoch, first seed; models with one epoch are not drawn"),
        (_boxes(group), f"{heading} over users: quartiles, 5th and 95th percentile, mean (diamond)"),
        (_groups_of(activity, heading, _activity_label(activity)), "Users with few to many interactions"),
        (_groups_of(popularity, f"share found at {metric.split('@')[1]}", "popularity of the item"),
         "Rare to popular items, groups of as many held-out interactions"),
    ]  # fmt: skip
    return {
        "title": group.title,
        "verdict": verdict(group),
        "notes": [(note, mark) for note, mark in comparison.notes.items()],
        "table": _result_table(group, table, order),
        "figures": [
            (figures.inline_svg(figure, f"{group.title}: {caption}"), caption) for figure, caption in drawn if figure
        ],
        "options": _options(group),
        "activity": _long(activity, "activity", group),
        "popularity": _long(popularity, "popularity", group),
    }


def _activity_label(activity: pd.DataFrame) -> str:
    return f"{activity['of'].iloc[0]} interactions of the user" if len(activity) else ""


def _result_table(group: Group, table: pd.DataFrame, order: list[str]) -> dict[str, Any]:
    comparison = group.comparison
    metrics = [f"validation {comparison.valid_metric}", *comparison.columns]
    entries = {entry.label: entry for entry in comparison.entries}
    contends = dict(zip(comparison.table["model"], comparison.contends))
    table = table.reindex(order)
    marks = {name: places(name, table[name], [contends[label] for label in order]) for name in metrics}
    tests = comparison.tests
    tests = tests[tests["metric"] == comparison.valid_metric].set_index("model") if len(tests) else tests
    headings = {name: heading_of(name) for name in metrics}
    columns = ["model", *metrics[:2], "against", *metrics[2:], "seeds", "parameters", "seconds"]
    headings |= {"against": f"{group.leader} minus it" if group.leader else "", "seconds": "training, s"}
    rows = []
    for position, label in enumerate(order):
        own, entry = table.loc[label], entries[label]
        cells = [cell(label, notes=entry.notes, pale=not entry.contends)]
        for name in metrics:
            mean, deviation = own[name], own[f"{name}_std"]
            extra = {"place": marks[name][position], "deviation": "" if pd.isna(deviation) else f"± {deviation:.4f}"}
            cells.append(cell(float(mean), **extra))
        cells.insert(3, _against(label, tests))
        cells += [
            cell(int(own["n_seeds"])),
            cell(int(own["n_parameters"]), f"{own['n_parameters']:,.0f}"),
            cell(round(float(own["training_seconds"]), 1)),
        ]
        cells[-1]["text"] = f"{own['training_seconds']:.0f}"
        rows.append(cells)
    if not len(tests):
        columns.pop(3)
        rows = [[*row[:3], *row[4:]] for row in rows]
    return {
        "name": f"results {group.title}",
        "columns": [
            {"key": key, "heading": headings.get(key, key), "tip": explain(key), "is_text": key == "model"}
            for key in columns
        ],
        "rows": rows,
    }


def _against(label: str, tests: pd.DataFrame) -> dict[str, Any]:
    if label not in tests.index:
        return cell(None)
    found = tests.loc[label]
    interval = "" if pd.isna(found["low"]) else f"{signed(found['low'])} to {signed(found['high'])}"
    return cell(float(found["difference"]), signed(found["difference"], 4), deviation=interval)


def _bars(group: Group) -> Figure | None:
    table = group.comparison.table.set_index("model").reindex(group.in_order).reset_index()
    metric = group.comparison.valid_metric
    return figures.comparison_bars(table, {metric: metric.upper()}) if len(table) > 1 else None


def _training(group: Group) -> Figure | None:
    first = {label: group.rows[label][0].result["history"] for label in group.in_order}
    drawn = {label: history for label, history in first.items() if sum(e["valid"] is not None for e in history) > 1}
    return figures.training_curves(drawn, group.comparison.valid_metric.upper()) if drawn else None


def _boxes(group: Group) -> Figure | None:
    metric = group.comparison.valid_metric
    values = {
        label: group.per_user[label][metric].dropna()
        for label in group.in_order[:BOXES]
        if label in group.per_user and metric in group.per_user[label]
    }
    return figures.user_boxes(values, metric.upper()) if values else None


def _groups_of(table: pd.DataFrame, heading: str, xlabel: str) -> Figure | None:
    if not len(table) or table["place"].nunique() < 2:
        return None
    names = table.drop_duplicates("place").sort_values("place")["group"]
    return figures.lines(table, "place", "value", "model", xlabel, heading, list(names))


def _long(table: pd.DataFrame, name: str, group: Group) -> dict[str, Any] | None:
    if not len(table):
        return None
    return table_of(f"{name} {group.title}", table.drop(columns=[c for c in ("place", "of") if c in table]))


def _options(group: Group) -> dict[str, Any] | None:
    table = collection.options_table(group)
    return table_of(f"options {group.title}", table.astype(str)) if table.shape[1] > 1 else None


def _datasets(runs: list[StoredRun]) -> list[dict[str, Any]]:
    found = []
    for name in sorted({run.result["dataset"] for run in runs}):
        own = [run for run in sorted(runs, key=lambda r: r.written) if run.result["dataset"] == name]
        counted = [run.result for run in own if run.result["data_counts"]]
        if not counted:
            continue
        splits, modalities = {}, {}
        for result in counted:
            counts = result["data_counts"]
            splits[result["scenario"]] = {
                "scenario": result["scenario"], "users": counts["users"], "items": counts["items"],
                **{f"{phase} interactions": n for phase, n in counts["interactions"].items()},
                "test users": result["n_users"], "candidates": result["n_candidates"],
            }  # fmt: skip
            for side, entries in counts["modalities"].items():
                total = counts[f"{side}s"]
                for modality, entry in entries.items():
                    if modality != "interactions":
                        modalities[side, modality] = {
                            "of": side, "modality": modality, "kind": entry["kind"], "width": entry["width"],
                            "available": entry["available"], "missing": 1 - entry["available"] / total,
                        }  # fmt: skip
        tables = [table_of(f"counts {name}", pd.DataFrame(splits.values()))]
        if modalities:
            table = table_of(f"modalities {name}", pd.DataFrame(modalities.values()))
            for row in table["rows"]:
                row[-1] |= {"text": f"{row[-1]['value']:.1%}", "bar": f"{row[-1]['value']:.1%}"}
            tables.append(table)
        found.append({"name": name, "tables": tables})
    return found


def _runs(groups: list[Group]) -> dict[str, Any]:
    columns = ["run", "data set", "scenario", "seed", "epochs", "validation", "test", "seconds", "curve", "marks"]
    rows = []
    for group in groups:
        notes = {entry.label: entry.notes for entry in group.comparison.entries}
        for label, runs in group.rows.items():
            for run in runs:
                result, metric = run.result, group.comparison.valid_metric
                rows.append(
                    [
                        cell(result["name"], details=_given(result)),
                        cell(result["dataset"]),
                        cell(result["scenario"]),
                        cell(result["seed"]),
                        cell(result["n_epochs"]),
                        cell(result["valid_result"].get(metric)),
                        cell(result["test_result"].get(metric)),
                        cell(round(result["seconds"]["training"], 1), f"{result['seconds']['training']:.1f}"),
                        cell(None, curve=_sparkline(result["history"], metric)),
                        cell("; ".join(notes[label])),
                    ]
                )
    texts = {"run", "data set", "scenario", "marks"}
    return {
        "name": "runs",
        "columns": [{"key": c, "heading": c, "tip": explain(c), "is_text": c in texts} for c in columns],
        "rows": rows,
    }


def _given(result: dict[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in result["options"].items())


def _sparkline(history: list[dict[str, Any]], metric: str, width: int = 72, height: int = 18) -> Markup | None:
    """The points of a polyline, with the best epoch; None for fewer than two."""
    seen = [(entry["epoch"], entry["valid"]) for entry in history if entry["valid"] is not None]
    if len(seen) < 2:
        return None
    first, last = seen[0][0], seen[-1][0]
    low, high = min(value for _, value in seen), max(value for _, value in seen)
    spread = (high - low) or 1

    def place(epoch: int, value: float) -> str:
        x = 2 + (width - 4) * (epoch - first) / (last - first)
        return f"{x:.0f},{height - 2 - (height - 4) * (value - low) / spread:.0f}"

    points = " ".join(place(*point) for point in seen)
    x, y = place(*seen[goodness(metric, pd.Series([value for _, value in seen])).argmax()]).split(",")
    return Markup(f'<svg class="spark" viewBox="0 0 {width} {height}"><polyline points="{points}"/>'
                  f'<circle cx="{x}" cy="{y}" r="2"/></svg>')  # fmt: skip


def _versions(runs: list[StoredRun]) -> dict[str, str]:
    """{package: versions of the runs}."""
    found: dict[str, set[str]] = {}
    for run in runs:
        for package, version in run.result["versions"].items():
            found.setdefault(package, set()).add(version)
    return {package: " and ".join(sorted(versions)) for package, versions in found.items()}
