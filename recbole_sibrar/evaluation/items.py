"""What became of each item in an evaluation: how often it was to be found, shown, and found."""

from collections.abc import Iterable

import torch
from torch import Tensor

from recbole_sibrar.evaluation.metrics import Recommendations


def per_item_table(recommendations: Recommendations, n_relevant: Tensor, ks: Iterable[int]) -> dict[str, Tensor]:
    """Counts for each candidate, from which quality by popularity is computed.

    Args:
        n_relevant: (I,) held-out interactions with each item. ks: cut-offs, none larger than the lists.

    Returns:
        {"item": (C,) the candidates, "popularity": (C,) as the metrics have it, "n_relevant": (C,), and for each
        cut-off "lists@k", the lists that hold the item, and "hits@k", those of users for whom it was held out}.

    >>> recommendations = Recommendations(
    ...     items=torch.tensor([[1, 2], [1, 0]]),
    ...     hits=torch.tensor([[True, False], [False, False]]),
    ...     n_relevant=torch.tensor([1, 1]),
    ...     candidates=torch.tensor([False, True, True]),
    ...     popularity=torch.tensor([0.0, 3.0, 5.0]),
    ...     profile_popularity=torch.tensor([2.0, 2.0]),
    ... )
    >>> table = per_item_table(recommendations, torch.tensor([0, 1, 1]), [2])
    >>> table["lists@2"].tolist(), table["hits@2"].tolist()
    ([2, 1], [1, 0])
    """
    items = recommendations.candidates.nonzero().squeeze(1)
    table = {"item": items, "popularity": recommendations.popularity[items], "n_relevant": n_relevant[items]}
    for k in ks:
        shown, found = recommendations.items[:, :k], recommendations.filled_hits[:, :k]
        for name, where in (("lists", shown > 0), ("hits", found)):
            table[f"{name}@{k}"] = torch.bincount(shown[where], minlength=len(recommendations.candidates))[items]
    return table
