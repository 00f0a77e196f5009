"""Serving the models of RecBole and classes of one's own, which know the entities of their training only."""

from functools import partial
from typing import Any

import torch
from recbole.data.interaction import Interaction
from recbole.model.abstract_recommender import AbstractRecommender
from torch import Tensor

from recbole_sibrar.data.sparse import SparseRows
from recbole_sibrar.recbole_plugin.capabilities import capabilities_of, known_as
from recbole_sibrar.recbole_plugin.prepared import stored_model
from recbole_sibrar.serving.known import KnownOnlyRecommender


def load_known_only(
    state: dict[str, Any], tokens: dict[str, list[str]], interactions: SparseRows
) -> KnownOnlyRecommender:
    """A recommender from a checkpoint."""
    return known_only(stored_model(state), tokens, interactions, state)


def known_only(
    model: AbstractRecommender, tokens: dict[str, list[str]], interactions: SparseRows, state: dict[str, Any]
) -> KnownOnlyRecommender:
    """A recommender around a model under RecBole's interface."""
    model.eval()
    cold_sides = capabilities_of(known_as(type(model))).cold_sides
    return KnownOnlyRecommender(type(model).__name__, partial(_scores, model), cold_sides, tokens, interactions, state)


@torch.no_grad()
def _scores(model: AbstractRecommender, users: Tensor) -> Tensor:
    try:
        scores = model.full_sort_predict(Interaction({model.USER_ID: users}).to(model.device))
    except NotImplementedError:
        pairs = {
            model.USER_ID: users.repeat_interleave(model.n_items),
            model.ITEM_ID: torch.arange(model.n_items).repeat(len(users)),
        }
        scores = model.predict(Interaction(pairs).to(model.device))
    return scores.view(len(users), -1).float().cpu().clone()
