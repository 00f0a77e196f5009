"""From a checkpoint to a recommender."""

import pandas as pd
import torch
from recbole.data.interaction import Interaction

from recbole_sibrar import checkpoint
from recbole_sibrar.data.modalities import Modalities, Modality
from recbole_sibrar.data.sparse import SparseRows
from recbole_sibrar.errors import CheckpointError, OptionError
from recbole_sibrar.models import MODELS
from recbole_sibrar.models.core import trained_entities
from recbole_sibrar.recbole_plugin.capabilities import capabilities_of
from recbole_sibrar.recbole_plugin.run import load_data_and_model
from recbole_sibrar.serving.directory import Directory, check_k
from recbole_sibrar.serving.recommender import Recommender

CORE = "core."


def load_recommender(path):
    """See ``Recommender.load``."""
    state = checkpoint.load(path)
    serving = state.get("serving")
    if not serving:
        raise CheckpointError(f"{path} was written without the training data, so that nothing can be recommended.")
    tokens = serving["tokens"]
    indptr, columns = (serving["interactions"][name].clone() for name in ("indptr", "columns"))
    matrix = SparseRows(indptr, columns, len(tokens["item"]))
    config = state["config"]
    if not capabilities_of(config["model"]).new_entities:
        return KnownOnlyRecommender(path, tokens, matrix)
    modalities = {
        side: Modalities(side, tuple(Modality.from_plain(entry) for entry in entries))
        for side, entries in serving["modalities"].items()
    }
    model_class = MODELS[config["model"]]
    model = model_class(model_class.options_class.from_mapping(config), modalities, matrix, config["seed"])
    parameters = {name[len(CORE) :]: value for name, value in state["state_dict"].items()}
    checkpoint.load_parameters(model, parameters, state["versions"])
    return Recommender(model, tokens, matrix)


class KnownOnlyRecommender:
    """A recommender around a model that takes users and items of its data set only, by id.

    Those without training interactions are served if the model scores them by their content.
    """

    USERS_AT_A_TIME = 256

    def __init__(self, path, tokens, interactions):
        _, self.model, *_ = load_data_and_model(path)
        self.model.eval()
        self.name = type(self.model).__name__
        self.directory = Directory(tokens, interactions)
        trained = trained_entities(interactions)
        cold = capabilities_of(self.name).cold_sides
        self._served = {side: torch.ones_like(mask) if side in cold else mask for side, mask in trained.items()}
        self._served["item"][0] = False

    def recommend(self, users=None, k: int = 10, candidates=None, exclude_seen: bool = True) -> pd.DataFrame:
        """As ``Recommender.recommend``, for the users and items that the model can score.

        Raises:
            OptionError: a user is not known by id, or had no interaction in training.
        """
        check_k(k)
        requests = self.directory.requests(users)
        for request in requests:
            self._refuse_new(request)
        allowed = self.directory.candidates(candidates) & self._served["item"]
        seen = self.directory.seen(requests) if exclude_seen else None
        parts = []
        for rows in torch.arange(len(requests)).split(self.USERS_AT_A_TIME):
            scores = self._scores([requests[row].known for row in rows.tolist()])
            scores[:, ~allowed] = -torch.inf
            if seen is not None:
                seen.select(rows).mark(scores, -torch.inf)
            parts.append(scores.topk(min(k, scores.shape[1]), dim=1))
        scores, items = (torch.cat(part) for part in zip(*parts))
        names = [request.name for request in requests]
        return self.directory.table(("user", "rank", "item", "score"), names, scores, items)

    @torch.no_grad()
    def _scores(self, numbers):
        users = torch.tensor(numbers)
        try:
            scores = self.model.full_sort_predict(Interaction({self.model.USER_ID: users}))
        except NotImplementedError:
            n_items = self.model.n_items
            pairs = {
                self.model.USER_ID: users.repeat_interleave(n_items),
                self.model.ITEM_ID: torch.arange(n_items).repeat(len(users)),
            }
            scores = self.model.predict(Interaction(pairs))
        return scores.view(len(users), -1).float().clone()

    def _refuse_new(self, request):
        if request.known is None:
            raise OptionError(f"{self.name} recommends for known users only, by id; use SiBraR or MuBraR for new ones.")
        if not self._served["user"][request.known]:
            raise OptionError(f"User {request.name!r} has no training interaction, which {self.name} needs.")

    def _unsupported(self, *_, **__):
        raise OptionError(
            f"{self.name} only recommends, for the users and items of its training; use SiBraR or MuBraR."
        )

    add_items = score = similar_items = similar_users = explain = embeddings = _unsupported
