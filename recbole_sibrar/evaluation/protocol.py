"""The evaluation protocol: for each scenario and phase, the users, the candidates, and the popularity of items."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from recbole_sibrar.data.sparse import SparseRows
from recbole_sibrar.errors import DataError, OptionError, nearest
from recbole_sibrar.scenarios.scenario import Scenario

CANDIDATE_CHOICES = ("scenario", "all", "phase")

DEPARTURES = {
    ("eval_candidates", "all"): "Generalised cold start: all items are ranked (eval_candidates=all)",
    ("eval_candidates", "phase"): (
        "Only the items that occur in the evaluated split are ranked (eval_candidates=phase), which looks at its labels"
        " where items are warm"
    ),
    ("map_divisor", "relevant_items"): (
        "MAP divides by the number of a user's relevant items, also where that is more than k "
        "(map_divisor=relevant_items)"
    ),
    ("split_rounding", "up"): "Validation and test get at least their share, rounded up (split_rounding=up)",
}


def departures(config: Mapping[str, Any]) -> list[str]:
    """Sentences on what of a run's protocol is not as usual.

    >>> departures({"eval_candidates": "scenario", "split_rounding": "up"})
    ['Validation and test get at least their share, rounded up (split_rounding=up)']
    """
    return [sentence for (name, value), sentence in DEPARTURES.items() if config.get(name) == value]


def described(config: Mapping[str, Any]) -> str:
    """The options in which protocols differ, as ``eval_candidates=scenario map_divisor=possible_hits ...``."""
    return " ".join(f"{name}={config[name]}" for name in dict.fromkeys(name for name, _ in DEPARTURES))


@dataclass(frozen=True)
class Phase:
    """One evaluation, of the validation or the test split. U users and I items, internal ids, 0 is padding.

    Attributes:
        name: ``valid`` or ``test``.
        candidates: (I,) bool, the items that are ranked.
        positives: U x I, the held-out interactions with candidates.
        seen: U x I, the users' earlier interactions, taken out of their rankings.
        popularity: (I,) float, how often an item was interacted with, by ``popularity_source``.
        popularity_source: where the popularity comes from, in words.
        profile_popularity: (U,) float, mean popularity of the items in a user's profile; NaN without a profile.
        cold_users: (U,) bool, without training interactions. cold_items: (I,) bool, likewise.
        n_unreachable: held-out interactions with items that are no candidates, or that the user had earlier already, so
            that they are taken out of the ranking; they count in no metric.
    """

    name: str
    candidates: Tensor
    positives: SparseRows
    seen: SparseRows
    popularity: Tensor
    popularity_source: str
    profile_popularity: Tensor
    cold_users: Tensor
    cold_items: Tensor
    n_unreachable: int

    @property
    def users(self) -> Tensor:
        """(U,) the users who have something to find, ascending."""
        return (self.positives.lengths > 0).nonzero().squeeze(1)


def build_phases(
    scenario: Scenario,
    parts: dict[str, tuple[Tensor, Tensor]],
    n_users: int,
    n_items: int,
    eval_candidates: str = "scenario",
    drawn: dict[str, Tensor] | None = None,
) -> dict[str, Phase]:
    """The users, candidates and popularity of validation and test.

    ========== ================================ ==========================================
    scenario   candidates ("scenario")          candidates ("all")
    ========== ================================ ==========================================
    warm       all items                        the same
    user_cold  items with training interactions the same and items without
    item_cold  the items of the phase's split   all items; validation never the test items
    both_cold  the items of the phase's split   all items; validation never the test items
    ========== ================================ ==========================================

    With "phase" they are the items of the phase's split in every scenario. Where items are warm that looks at the
    labels: which items nobody of the phase interacted with.

    The popularity of an item is its number of training interactions; where items are cold, and that is 0 for every
    candidate, a cold item's number of interactions in the evaluated split stands in for it. The profile of a user is
    the user's training interactions, or the held-out ones where users are cold.

    Args:
        parts: {"train" | "valid" | "test": (users, items)}, two (N,) int64 tensors each.
        drawn: {"valid" | "test": (n,) the items of the phase's split}; those with interactions in it by default.

    Raises:
        DataError: a split has no interaction that could be found.
    """
    if eval_candidates not in CANDIDATE_CHOICES:
        raise OptionError(f"eval_candidates is {eval_candidates!r}. {nearest(eval_candidates, CANDIDATE_CHOICES)}")
    train_users, train_items = parts["train"]
    train_count = torch.bincount(train_items, minlength=n_items)
    cold_users = torch.bincount(train_users, minlength=n_users) == 0
    cold_items = train_count == 0
    phases = {}
    for name, earlier in (("valid", ("train",)), ("test", ("train", "valid"))):
        users, items = parts[name]
        own_count = torch.bincount(items, minlength=n_items)
        own = own_count > 0
        if drawn is not None:
            own = own.index_fill(0, drawn[name], True)
        candidates = _candidates(eval_candidates, scenario, name, ~cold_items, own)
        popularity, source = train_count.double(), "training interactions"
        if "item" in scenario.cold_sides:
            popularity = torch.where(cold_items, own_count, train_count).double()
            source = f"training interactions; for items without any, interactions of the {name} split"
        profile = parts[name] if "user" in scenario.cold_sides else parts["train"]
        earlier_users, earlier_items = (torch.cat(column) for column in zip(*(parts[phase] for phase in earlier)))
        seen = SparseRows.from_pairs(earlier_users, earlier_items, n_users, n_items)
        repeated = seen.has(users, items)
        if repeated.any():
            warnings.warn(
                f"{int(repeated.sum()):,} of {len(users):,} interactions of the {name} split are in an earlier split "
                "too, so that they cannot be found and count in no metric.",
                stacklevel=2,
            )
        reachable = candidates[items] & ~repeated
        if not reachable.any():
            raise DataError(
                f"The {name} split of scenario {scenario.name} has no interaction with a candidate item that is new to "
                "its user; more data may have one, or the split of another seed."
            )
        phases[name] = Phase(
            name=name,
            candidates=candidates,
            positives=SparseRows.from_pairs(users[reachable], items[reachable], n_users, n_items),
            seen=seen,
            popularity=popularity,
            popularity_source=source,
            profile_popularity=profile_popularity(*profile, popularity, n_users),
            cold_users=cold_users,
            cold_items=cold_items,
            n_unreachable=int((~reachable).sum()),
        )
    return phases


def _candidates(choice: str, scenario: Scenario, phase: str, warm: Tensor, own: Tensor) -> Tensor:
    """(I,) bool, the items that are ranked; ``warm`` have training interactions, ``own`` are of the phase's split."""
    if choice == "phase":
        return own
    everything = torch.ones_like(own)
    everything[0] = False
    if choice == "scenario":
        return scenario.candidates(everything, warm, own)
    if scenario.cold_sides and phase == "valid":
        return everything & (warm | own)
    return everything


def profile_popularity(users: Tensor, items: Tensor, popularity: Tensor, n_users: int) -> Tensor:
    """(n_users,) the mean popularity of each user's items; NaN for a user without any."""
    total = torch.zeros(n_users, dtype=torch.double).index_add_(0, users, popularity[items])
    return total / torch.bincount(users, minlength=n_users)
