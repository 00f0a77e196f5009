"""Lists that nothing was learned for, and whether a model's are better."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from recbole_sibrar.evaluation.metrics import METRICS, AccuracyMetric, Recommendations, per_user_table
from recbole_sibrar.evaluation.protocol import Phase
from recbole_sibrar.evaluation.ranking import Ranking
from recbole_sibrar.evaluation.significance import interval

POPULAR, RANDOM = "the most popular items", "lists in random order"
RELATIONS = AHEAD, SAME, LEVEL_WITH, BEHIND = "ahead of", "the same as", "not told apart from", "behind"
LISTS = 100_000
"""So many random lists at least are looked at, but no more than this of one user."""
LISTS_OF_A_USER = 100


@dataclass(frozen=True)
class Unlearned:
    """What there is to be better than.

    Attributes:
        lists: what they are, in words. value: their metric. relation: of the model's lists to them over the users at
            95 %, one of ``RELATIONS``.
    """

    lists: str
    value: float
    relation: str


def compared_with_unlearned(
    metric: str, recommendations: Recommendations, users: Tensor, phase: Phase, order: Tensor, seed: int
) -> Unlearned | None:
    """A model's lists against those of the items with most training interactions or, where the items are cold, against
    random ones.

    Args:
        metric: such as ``ndcg@10``. recommendations: the model's, of the users (U,). order: (I,) that decides ties.

    Returns:
        None for a metric that is no function of the hits, or of one user.
    """
    name, _, k = metric.partition("@")
    function, n = METRICS.get(name), len(users)
    if not isinstance(function, AccuracyMetric) or not function.higher_is_better or n < 2:
        return None
    is_random = bool(phase.cold_items[phase.positives.columns].all())
    if is_random:
        generator, draws = torch.Generator().manual_seed(seed), min(-(-LISTS // n), LISTS_OF_A_USER)
        found = [_random(recommendations, users, phase, generator) for _ in range(draws)]
    else:
        found = [_popular(recommendations, users, phase, order)]
    level, values = (
        np.mean([table for lists in some for table in per_user_table(lists, name, int(k)).values()], axis=0)
        for some in (found, [recommendations])
    )
    differences = values - level
    among = interval(differences[np.isfinite(differences)])
    relation = AHEAD if among["low"] > 0 else BEHIND if among["high"] < 0 else LEVEL_WITH
    return Unlearned(
        RANDOM if is_random else POPULAR, float(np.nanmean(level)), relation if differences.any() else SAME
    )


def _popular(recommendations: Recommendations, users: Tensor, phase: Phase, order: Tensor) -> Recommendations:
    counts = (phase.popularity * ~phase.cold_items).float().unsqueeze(1)
    lists = Ranking(phase, counts, order, recommendations.items.shape[1]).lists(users, torch.ones(len(users), 1))
    return replace(recommendations, items=lists.items, hits=lists.hits)


def _random(
    recommendations: Recommendations, users: Tensor, phase: Phase, generator: torch.Generator
) -> Recommendations:
    """The hits of one random list a user; which items they are is not said."""
    seen = phase.seen.select(users)
    n_ranked = phase.candidates.sum() - seen.keep(phase.candidates[seen.columns]).lengths
    drawn = _random_hits(recommendations.n_relevant, n_ranked, recommendations.items.shape[1], generator)
    hits = torch.stack(list(drawn), dim=1)
    is_filled = torch.arange(hits.shape[1]) < n_ranked.unsqueeze(1)
    return replace(recommendations, items=is_filled * phase.candidates.nonzero()[0], hits=hits)


def _random_hits(n_relevant: Tensor, n_ranked: Tensor, k: int, generator: torch.Generator) -> Iterator[Tensor]:
    """(U,) bool for each of k places of lists drawn without replacement."""
    left = n_relevant
    for place in range(k):
        hit = torch.rand(len(left), generator=generator) * (n_ranked - place) < left
        left = left - hit.long()
        yield hit
