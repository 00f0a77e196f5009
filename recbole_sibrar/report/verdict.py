"""What a comparison comes to, in sentences."""

from typing import Any

import pandas as pd

from recbole_sibrar.evaluation.significance import LEVEL
from recbole_sibrar.report.collection import Group
from recbole_sibrar.report.comparison import goodness

AHEAD, LEVEL_WITH, TOO_FEW = "ahead of", "not told apart from", "too few splits in common with"
BEHIND = "on the splits in common behind"


def verdict(group: Group) -> dict[str, Any]:
    """The best model, what it is ahead of, what cannot be told apart from it, and what speaks against trusting that.

    Returns:
        ``leader``; ``sentence``; ``others``, a (relation, model, difference, interval) for each other model; ``basis``,
        what the relations rest on; ``cautions``.
    """
    comparison, leader = group.comparison, group.leader
    found = {"leader": leader, "others": [], "basis": "", "cautions": _cautions(group)}
    if leader is None:
        said = "No model here scores what is ranked: only what stands in for untrained scores was evaluated."
        return {**found, "sentence": said}
    metric = comparison.valid_metric
    own = comparison.table.set_index("model").loc[leader]
    n_seeds = int(own["n_seeds"])
    sentence = (
        f"{metric.upper()} {own[metric]:.4f} on test, {own[f'validation {metric}']:.4f} on validation "
        f"({'one seed' if n_seeds == 1 else f'mean of {n_seeds} seeds'})."
    )
    rows = _relations(group, metric)
    if not rows:
        return {**found, "sentence": f"{sentence} Nothing else here can be compared with it."}
    return {**found, "sentence": sentence, "others": rows, "basis": f"{comparison.basis}; p < {LEVEL} after Holm"}


def _relations(group: Group, metric: str) -> list[tuple[str, str, str, str]]:
    tests = group.comparison.tests
    contenders = {entry.label for entry in group.comparison.entries if entry.contends} - {group.leader}
    if not len(tests) or not contenders:
        return []
    own = tests[(tests["metric"] == metric) & tests["model"].isin(contenders)].set_index("model")
    n_splits = max(1, group.comparison.tests["n_splits"].max())
    rows = []
    for model in (label for label in group.in_order if label in own.index):
        row = own.loc[model]
        is_better = goodness(metric, pd.Series([row["difference"]])).iloc[0] > 0
        relation = (AHEAD if is_better else BEHIND) if row["p_holm"] < LEVEL else LEVEL_WITH
        if row["n_splits"] < n_splits:
            relation = TOO_FEW
        interval = "" if row["low"] != row["low"] else f"{signed(row['low'])} to {signed(row['high'])}"
        rows.append((relation, model, signed(row["difference"]), interval))
    return sorted(rows, key=lambda row: (BEHIND, LEVEL_WITH, AHEAD, TOO_FEW).index(row[0]))


def signed(value: float, digits: int = 3) -> str:
    """A difference with its sign, as it is printed; nothing where there is none.

    >>> signed(-0.0123), signed(float("nan"))
    ('−0.012', '')
    """
    return "" if value != value else f"{value:+.{digits}f}".replace("-", "−")


def _cautions(group: Group) -> list[str]:
    comparison = group.comparison
    cautions = [remark for remark in comparison.remarks if not remark.startswith("*")]
    table, metric = comparison.table.set_index("model"), comparison.valid_metric
    contenders = [entry.label for entry in comparison.entries if entry.contends]
    chosen = goodness(metric, table.loc[contenders, f"validation {metric}"].dropna())
    if group.leader and len(chosen) and chosen.idxmax() != group.leader:
        cautions.append(f"Validation would have chosen {chosen.idxmax()}, not {group.leader}")
    marked: dict[str, list[str]] = {}
    for entry in comparison.entries:
        for note in entry.notes:
            marked.setdefault(note, []).append(entry.label)
    cautions += [f"{', '.join(labels)}: {note}" for note, labels in marked.items()]
    return cautions
