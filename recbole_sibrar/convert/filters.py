"""Filters of interactions, and the log of what each step kept and dropped."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd


@dataclass
class StepLog:
    """Prints and remembers users, items and interactions after each step of a conversion."""

    steps: list = field(default_factory=list)
    first: dict = field(default_factory=dict)

    def record(self, step: str, interactions: pd.DataFrame) -> pd.DataFrame:
        """Note the state after ``step`` and hand the interactions through."""
        if not self.steps:
            self.first = {name: interactions[name].unique() for name in ("user_id", "item_id")}
        counts = {
            "users": int(interactions["user_id"].nunique()),
            "items": int(interactions["item_id"].nunique()),
            "interactions": len(interactions),
        }
        line = ", ".join(f"{value:,} {name}" for name, value in counts.items())
        if self.steps:
            before = self.steps[-1]
            line += f" (dropped {', '.join(f'{before[name] - value:,}' for name, value in counts.items())})"
        print(f"{step:<28} {line}")
        self.steps.append({"step": step, **counts})
        return interactions

    def name_dropped(self, side: Any, interactions: pd.DataFrame) -> None:
        """Count and name the users or items that had interactions after the first step and have none left."""
        first = self.first[side.id_field]
        dropped = first[~pd.Index(first).isin(interactions[side.id_field])]
        is_kept = pd.Index(dropped).isin(side.cold)
        for some, what in (
            (dropped[~is_kept], "were dropped with their interactions"),
            (dropped[is_kept], "lost their interactions to the filters and are kept without"),
        ):
            if len(some):
                examples = ", ".join(repr(str(token)) for token in some[:3])
                print(f"{len(some):,} {side.name}s {what}, such as {examples}")


def k_core(interactions: pd.DataFrame, k: int) -> pd.DataFrame:
    """The largest subset in which every user and every item has at least ``k`` interactions; unchanged for k < 2.

    >>> k_core(pd.DataFrame({"user_id": [1, 1, 2, 2, 3], "item_id": [7, 8, 7, 8, 9]}), 2)["user_id"].tolist()
    [1, 1, 2, 2]
    """
    users, items = (pd.factorize(interactions[name])[0] for name in ("user_id", "item_id"))
    kept = np.arange(len(interactions))
    while True:
        enough = (np.bincount(users[kept])[users[kept]] >= k) & (np.bincount(items[kept])[items[kept]] >= k)
        if enough.all():
            return interactions.iloc[kept]
        kept = kept[enough]


def first_of_each_pair(interactions: pd.DataFrame) -> pd.DataFrame:
    """One interaction per (user, item), the earliest by ``timestamp``."""
    ordered = interactions.sort_values("timestamp", kind="stable") if "timestamp" in interactions else interactions
    return ordered.drop_duplicates(["user_id", "item_id"])


def of_ages(interactions: pd.DataFrame, users: pd.DataFrame, ages: tuple[int, int]) -> pd.DataFrame:
    """The interactions of users whose ``age`` is known and from the first of two numbers to the second."""
    kept = users["user_id"][users["age"].astype(float).between(*ages)]
    return interactions[interactions["user_id"].isin(kept)]
