"""What a scenario has to say: which side is cold, how the interactions are split, and which items are ranked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from torch import Tensor

from recbole_sibrar.data.splits import SPLIT_ROUNDINGS, draw_entities


@dataclass(frozen=True)
class Split:
    """
    Attributes:
        rows: for train, valid and test the indices of their interactions; the others are left out.
        entities: {side: for train, valid and test the entities drawn for them}, of the cold sides.
    """

    rows: list[np.ndarray]
    entities: dict[str, list[np.ndarray]]


class Scenario:
    """One way to split and to rank; the names in ``scenarios.SCENARIOS`` are what ``--scenario`` takes.

    Attributes:
        name: of the option.
        help: in a few words.
        cold_sides: whose entities of validation and test have no training interaction; those of the others may have.
            Without any, RecBole splits each user's interactions.
        options: options of our models that win over a preset's and the data set's, for the models that have them.
        is_compared: whether ``compare`` runs it unasked.
    """

    name: ClassVar[str]
    help: ClassVar[str]
    cold_sides: ClassVar[tuple[str, ...]] = ()
    options: ClassVar[dict[str, Any]] = {"single_branch": "item", "content_side": "item"}
    is_compared: ClassVar[bool] = True

    def split(
        self, entities: Mapping[str, np.ndarray], ratios: Sequence[float], seed: int, rounding: str = SPLIT_ROUNDINGS[0]
    ) -> Split:
        """Split by the entities of the cold sides: an interaction is in a part if all of them are.

        Args:
            entities: {side: (N,) its entity of each interaction}.
            ratios: the shares of *entities* for train, valid, test. rounding: one of ``SPLIT_ROUNDINGS``.
        """
        drawn = {}
        for side in self.cold_sides:  # with one seed for both, of as many users as items the same places would be drawn
            own = seed if side == self.cold_sides[-1] else (seed, 1)
            drawn[side] = draw_entities(entities[side], ratios, own, rounding)
        part_of = np.stack([part[np.searchsorted(ids, entities[side])] for side, (ids, part) in drawn.items()])
        rows = [np.flatnonzero((part_of == phase).all(axis=0)) for phase in range(3)]
        return Split(rows, {side: [ids[part == p] for p in range(3)] for side, (ids, part) in drawn.items()})

    def candidates(self, everything: Tensor, trained: Tensor, own: Tensor) -> Tensor:
        """(I,) bool, the items that are ranked.

        Args:
            everything: (I,) bool, all but the padding.
            trained: (I,) bool, items with training interactions.
            own: (I,) bool, items of the phase's split.
        """
        return everything
