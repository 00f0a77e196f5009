"""Recommendations of models that know the users and items of their training only."""

from collections.abc import Callable, Collection, Sequence
from typing import Any

import torch
from torch import Tensor

from recbole_sibrar.data.sparse import SparseRows
from recbole_sibrar.errors import OptionError
from recbole_sibrar.hook import load_recbole
from recbole_sibrar.models.core import InnerProductModel, trained_entities
from recbole_sibrar.serving.directory import Directory, Request
from recbole_sibrar.serving.interface import AnyRecommender
from recbole_sibrar.serving.topk import best
from recbole_sibrar.serving.vocabulary import Vocabulary

# (checkpoint, tokens, interactions) -> recommender; there as soon as RecBole is imported, which such models need.
load_with_recbole: "Callable[[dict[str, Any], dict[str, list[str]], SparseRows], KnownOnlyRecommender] | None" = None


def load(state: dict[str, Any], tokens: dict[str, list[str]], interactions: SparseRows) -> "KnownOnlyRecommender":
    """From the checkpoint of one of RecBole's models, which it has to make anew.

    Raises:
        RecBoleMissing: it is not installed.
    """
    load_recbole()
    return load_with_recbole(state, tokens, interactions)


def of_core(
    model: InnerProductModel, tokens: dict[str, list[str]], interactions: SparseRows, state: dict[str, Any]
) -> "KnownOnlyRecommender":
    """Around one of our models."""
    items = model.embeddings("item", torch.arange(interactions.n_columns))

    def scores(users: Tensor) -> Tensor:
        return model.embeddings("user", users) @ items.T

    sides = model.capabilities.cold_sides
    return KnownOnlyRecommender(type(model).__name__, scores, sides, tokens, interactions, state)


class KnownOnlyRecommender(AnyRecommender):
    """A recommender around a model that takes users and items of its data set only, by id.

    Those without training interactions are served if the model scores them by their content.

    Args:
        name: of the model. scores: (U,) user numbers -> (U, I) scores, which are the caller's own.
        cold_sides: those whose entities without training interactions have scores.
        tokens, interactions: as for ``Recommender``. state: the checkpoint.
    """

    USERS_AT_A_TIME = 256

    def __init__(
        self,
        name: str,
        scores: Callable[[Tensor], Tensor],
        cold_sides: Collection[str],
        tokens: dict[str, list[str]],
        interactions: SparseRows,
        state: dict[str, Any],
    ):
        self.name, self._scores, self.data, self._state = name, scores, state["data"], state
        self.vocabulary = Vocabulary.of(state["config"])
        self.directory = Directory(tokens, interactions, self.vocabulary)
        trained = trained_entities(interactions)
        self._served = {side: torch.ones_like(mask) if side in cold_sides else mask for side, mask in trained.items()}
        self._served["item"][0] = False

    def state(self) -> dict[str, Any]:
        return self._state

    def _best(
        self, requests: Sequence[Request], k: int, allowed: Tensor, seen: SparseRows | None
    ) -> tuple[Tensor, Tensor]:
        for request in requests:
            self._refuse_new(request)
        allowed = allowed & self._served["item"]
        parts = [(torch.zeros(0, min(k, len(allowed))), torch.zeros(0, min(k, len(allowed)), dtype=torch.long))]
        for rows in torch.arange(len(requests)).split(self.USERS_AT_A_TIME) if requests else ():
            scores = self._scores(torch.tensor([requests[row].known for row in rows.tolist()]))
            scores[:, ~allowed] = -torch.inf
            if seen is not None:
                seen.select(rows).mark(scores, -torch.inf)
            parts.append(best(scores, min(k, scores.shape[1])))
        scores, items = (torch.cat(part) for part in zip(*parts))
        return scores, items

    def _refuse_new(self, request: Request) -> None:
        if request.known is None:
            raise OptionError(f"{self.name} recommends for known users only, by id; use SiBraR or MuBraR for new ones.")
        if not self._served["user"][request.known]:
            raise OptionError(f"User {request.name!r} has no training interaction, which {self.name} needs.")
