"""The result of one run, as files and as a table."""

import json
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from tabulate import tabulate

from recbole_sibrar.evaluation.protocol import departures
from recbole_sibrar.evaluation.significance import split_of
from recbole_sibrar.evaluation.unlearned import BEHIND, LEVEL_WITH, SAME
from recbole_sibrar.files import write_json
from recbole_sibrar.report.tables import read_csv, write_csv
from recbole_sibrar.scenarios import SCENARIOS

CANDIDATES_PER_PLACE = 10  # with fewer, a list drawn at random holds much of what there is to find
NOT_AHEAD = (SAME, LEVEL_WITH, BEHIND)
LEARN_NOTHING = ("Pop", "Random")
RESULT, PER_USER, PER_ITEM = "result.json", "per_user.csv", "per_item.csv"


@dataclass(frozen=True)
class RunResult:
    """What ``result.json`` holds.

    ``label`` is the model with its variant, its preset and what is added to it. Seconds are wall-clock; ``epoch`` and
    ``validation`` are means over the epochs. ``history`` has an entry for each epoch: its number, the training loss,
    the validation score. ``data`` are the fingerprints of what was read: of the interactions, and of each modality
    (``data.identity``). ``dropped`` are the users and items whose interactions the filters took, {side: {count,
    examples}}. ``whole_model`` is the checkpoint trained on everything, which none of these figures belongs to.
    ``data_counts`` are numbers of users, items, interactions of each split, and entities that have each modality;
    ``options`` those given that differ from the property files; ``n_left_out_interactions`` in no part of the split.
    ``unlearned``: what lists have that nothing was learned for (``evaluation.unlearned``). ``is_solved``: in closed
    form; ``n_parameters`` are then what is solved for, and more epochs change nothing. ``smaller``: the metrics that
    are best when small.
    """

    name: str
    label: str
    model: str
    variant: str | None
    preset: str | None
    dataset: str
    scenario: str
    seed: int
    n_parameters: int
    best_valid_score: float
    valid_result: dict[str, float]
    test_result: dict[str, float]
    seconds: dict[str, float]
    n_epochs: int
    n_candidates: int
    n_users: int
    n_unreachable_interactions: int
    popularity_source: str
    n_repeated_interactions: int = 0
    n_left_out_interactions: int = 0
    is_solved: bool = False
    history: list[dict[str, Any]] = field(default_factory=list, repr=False)
    cold_fallback: dict[str, str] = field(default_factory=dict)
    dropped: dict[str, Any] = field(default_factory=dict)
    whole_model: str | None = None
    unlearned: dict[str, Any] | None = None
    modalities: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict, repr=False)
    versions: dict[str, str] = field(default_factory=dict, repr=False)
    n_threads: int | None = None
    data: dict[str, str] = field(default_factory=dict, repr=False)
    data_counts: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    smaller: list[str] = field(default_factory=list)

    def write(
        self,
        folder: Path | str,
        per_user: pd.DataFrame | dict[str, Any] | None = None,
        per_item: pd.DataFrame | dict[str, Any] | None = None,
    ) -> None:
        """``<folder>/result.json`` and, given the values, ``per_user.csv`` and ``per_item.csv``; each whole or not at
        all."""
        folder = Path(folder)
        for name, table in ((PER_USER, per_user), (PER_ITEM, per_item)):
            if table is not None:
                write_csv(pd.DataFrame(table), folder / name)
        write_json(folder / RESULT, _finite(asdict(self)))

    @property
    def few_candidates(self) -> str:
        """As the function of this name, of the list that chose the epoch."""
        return few_candidates(self.n_candidates, int(self.config["valid_metric"].split("@")[1]))

    @property
    def not_ahead(self) -> str:
        """Which lists that nothing was learned for it is not ahead of, as a sentence; empty if it is."""
        if not (said := not_ahead_of(vars(self))) or self.unlearned is None:
            return ""
        metric = self.config["valid_metric"].upper()
        return f"The model is {said}, which have {metric} {self.unlearned['value']:.4f}"

    def table(self) -> str:
        """Validation and test results side by side, and what they rest on."""
        rows = [(metric, self.valid_result.get(metric), self.test_result[metric]) for metric in self.test_result]
        lines = [
            f"{self.name}: {self.n_parameters:,} parameters, {self.n_epochs} epochs, "
            f"{self.seconds['training']:.1f} s training",
            tabulate(rows, headers=("metric", "validation", "test"), floatfmt=".4f"),
            f"{self.n_users:,} test users, {self.n_candidates:,} candidates; popularity: {self.popularity_source}",
        ]
        if self.few_candidates:
            lines.append(self.few_candidates)
        if self.not_ahead:
            lines.append(self.not_ahead)
        lines += departures(self.config)
        if self.n_unreachable_interactions:
            lines.append(
                f"{self.n_unreachable_interactions:,} test interactions cannot be found and count in no metric"
            )
        if self.n_left_out_interactions:
            lines.append(f"{self.n_left_out_interactions:,} interactions are between the parts of the split: in none")
        if self.whole_model:
            lines.append(f"{self.whole_model} was trained on everything; no test figure belongs to it")
        for side, lost in self.dropped.items():
            examples = ", ".join(map(repr, lost["examples"]))
            lines.append(f"the filters dropped {lost['count']:,} {side}s, such as {examples}")
        for side, replacement in self.cold_fallback.items():
            lines.append(f"cold {side}s are not scored by {self.model}: {replacement}")
        return "\n".join(lines)


def is_fallback(result: dict[str, Any]) -> bool:
    """Whether what stands in for scores of the scenario's cold side is what was evaluated."""
    return any(side in result.get("cold_fallback", {}) for side in SCENARIOS[result["scenario"]].cold_sides)


def not_ahead_of(result: dict[str, Any]) -> str:
    """``behind the most popular items`` and the like, of a model that learns; nothing if it is ahead of them."""
    found = result.get("unlearned")
    if not found or found["relation"] not in NOT_AHEAD or result["model"] in LEARN_NOTHING or is_fallback(result):
        return ""
    return f"{found['relation']} {found['lists']}"


def few_candidates(n: int, k: int) -> str:
    """What a reader must know of lists of k out of n candidates; nothing if there are enough."""
    if n >= CANDIDATES_PER_PLACE * k:
        return ""
    return (
        f"Only {n} candidates for lists of {k}: by chance alone a list holds much of what there is to find, and "
        "differences are small"
    )


def read_per_user(folder: Path | str, result: dict[str, Any]) -> pd.DataFrame | None:
    """The per-user values of a run: ``user``, ``seed``, ``split`` and a column for each metric; None if the
    folder has none."""
    path = Path(folder) / PER_USER
    if not path.is_file():
        return None
    table = read_csv(path, dtype={0: str})
    config = result["config"]
    return table.rename(columns={table.columns[0]: "user"}).assign(seed=config["seed"], split=split_of(config))


def as_json(value: object) -> Any:
    """A value as it comes back from a JSON file: string keys, lists, null for NaN and infinity, text for what JSON does
    not know."""
    return json.loads(json.dumps(_finite(value), default=str))


def _finite(value: object) -> Any:
    """JSON has neither NaN nor infinity: an undefined metric, or a score without validation, is null."""
    if isinstance(value, dict):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
