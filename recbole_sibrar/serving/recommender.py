"""One recommender for known, warm and brand-new users and items, from a trained model."""

import pandas as pd
import torch
from torch import Tensor

from recbole_sibrar import checkpoint
from recbole_sibrar.data.modalities import Modalities, Modality
from recbole_sibrar.data.sparse import SparseRows
from recbole_sibrar.errors import CheckpointError, DataError, OptionError
from recbole_sibrar.models import MODELS
from recbole_sibrar.models.core import InnerProductModel
from recbole_sibrar.models.recommender import BranchRecommender
from recbole_sibrar.serving import known
from recbole_sibrar.serving.directory import Directory, as_id, check_lists
from recbole_sibrar.serving.features import features_of
from recbole_sibrar.serving.topk import top_k

CORE = "core."  # before the names of a model's parameters, which RecBole's interface to it owns


class Recommender:
    """Recommends, compares and explains; make it with ``load``.

    Users can be known ids, histories (lists of item ids), side information, or any mixture; items that did not exist at
    training time are added from their side information. All embeddings are those of evaluation: every available
    modality, the mean of the training entities where there is none.

    Args:
        model: a trained model whose capabilities name new entities.
        tokens: {side: (N,) original ids}, position 0 is padding.
        interactions: users x items, the training interactions.
        data: the fingerprints of what it was trained on.
    """

    def __init__(self, model: InnerProductModel, tokens: dict, interactions: SparseRows, data: dict):
        self.model, self.data, self.name = model.eval(), data, type(model).__name__
        self.directory = Directory(tokens, interactions)
        self.n_trained = {side: len(tokens[side]) for side in tokens}
        self._items = model.embeddings("item", torch.arange(self.n_trained["item"]))
        self._new_items = []

    @staticmethod
    def load(path):
        """A recommender for the checkpoint of any model trained by our command, or in RecBole with this plugin.

        A checkpoint holds all that is needed; the data set's files are not read. Models that take no new entities
        serve known users and items only (``KnownOnlyRecommender``), and RecBole makes its own models anew.

        Raises:
            CheckpointError: the file is not such a checkpoint. Nothing in it is executed.
            RecBoleMissing: another model's, and RecBole is not installed.
        """
        state = checkpoint.load(path)
        serving = state.get("serving")
        if not serving:
            raise CheckpointError(f"{path} was written without the training data, so that nothing can be recommended.")
        tokens = serving["tokens"]
        indptr, columns = (serving["interactions"][name].clone() for name in ("indptr", "columns"))
        interactions = SparseRows(indptr, columns, len(tokens["item"]))
        config = state["config"]
        model_class = MODELS.get(config["model"])
        if model_class is None:
            return known.load(state, tokens, interactions)
        modalities = {
            side: Modalities(side, tuple(Modality.from_plain(entry) for entry in entries))
            for side, entries in serving["modalities"].items()
        }
        model = model_class(model_class.options_class.from_mapping(config), modalities, interactions, config["seed"])
        parameters = {name[len(CORE) :]: value for name, value in state["state_dict"].items()}
        checkpoint.load_parameters(model, parameters, state["versions"])
        if not model.capabilities.new_entities:
            return known.of_core(model.eval(), tokens, interactions, state["data"])
        return Recommender(model, tokens, interactions, state["data"])

    # items

    def add_items(self, items: pd.DataFrame) -> None:
        """Make new items rankable beside the old ones, whose scores do not change.

        Args:
            items: a column ``item_id`` and one column per modality (see ``features_of``).

        Raises:
            DataError: an id is not new. OptionError: a column is no modality.
        """
        if not isinstance(items, pd.DataFrame):
            raise OptionError(f"items is {type(items).__name__}; expected a pandas DataFrame with a column 'item_id'.")
        if not items.columns.is_unique:
            twice = items.columns[items.columns.duplicated()][0]
            raise DataError(f"The new items have two columns {twice!r}; keep one of them.")
        if "item_id" not in items:
            raise DataError(f"The new items have the columns {list(items.columns)}; one must be 'item_id'.")
        ids = [as_id("item", token) for token in items["item_id"]]
        seen = {self.directory.tokens["item"][0]}
        for token in ids:
            if self.directory.is_known("item", token) or token in seen:
                raise DataError(f"Item {token!r} exists already; new items need new ids.")
            seen.add(token)
        if not self.model.described("item"):
            raise OptionError(f"This {self.name} reads nothing of items but their interactions; items cannot be added.")
        features = features_of(items.drop(columns="item_id"), self.model.modalities["item"], tokens=ids)
        self._items = torch.cat([self._items, self.model.embed(features)])
        self._new_items.append(features)
        for token in ids:
            self.directory.add_item(token)

    # answers

    def recommend(self, users=None, k: int = 10, candidates=None, exclude_seen: bool = True) -> pd.DataFrame:
        """The k best items for each user.

        Args:
            users: a list of known ids, lists of item ids (histories), and dictionaries with any of ``id`` (a name for
                the answer), ``history`` and modalities; all known users by default. Users given without a name are
                called ``#0``, ``#1``, ... by their position.
            k: length of the lists; shorter if fewer candidates are left.
            candidates: item ids; all by default.
            exclude_seen: leave out training interactions of known users, and the histories given.

        Returns:
            a table user, rank (from 1), item, score.

        Raises:
            DataError: an unknown id. OptionError: an unknown modality, or k < 1.
        """
        check_lists(k, exclude_seen)
        requests = self.directory.requests(users)
        allowed = self.directory.candidates(candidates)
        excluded = self.directory.seen(requests) if exclude_seen else None
        scores, items = top_k(self._user_embeddings(requests), self._items, k, excluded, allowed)
        names = [request.name for request in requests]
        return self.directory.table(("user", "rank", "item", "score"), names, scores, items)

    def score(self, user, items) -> pd.Series:
        """The scores of one user (as in ``recommend``) for some items, by item id."""
        embedding = self._user_embeddings(self.directory.requests([user]))[0]
        numbers = self.directory.find_items(items, "items")
        names = [self.directory.tokens["item"][number] for number in numbers]
        return pd.Series((self._items[numbers] @ embedding).numpy(), index=names, name="score")

    def similar_items(self, item, k: int = 10) -> pd.DataFrame:
        """The k items with the largest cosine to an item, itself left out: item, rank, similar, cosine."""
        return self._similar(self.directory.find("item", item), str(item), self._items, "item", k)

    def similar_users(self, user, k: int = 10) -> pd.DataFrame:
        """The k known users with the largest cosine to a known user: user, rank, similar, cosine."""
        embeddings = self.model.embeddings("user", torch.arange(self.n_trained["user"]))
        return self._similar(self.directory.find("user", user), str(user), embeddings, "user", k)

    def explain(self, user, item) -> pd.DataFrame:
        """How much each pair of modalities contributes to a score: user_modality, item_modality, source, contribution.

        The contributions add up to the score. Where a model fuses modalities in a weighted sum, they are its terms;
        elsewhere Shapley values. ``source`` says whose they are: the model's, or those of what is added to it
        (``KernelRidge``, ``LinearAutoencoder``). ``(mean)`` is what an entity has without any modality.
        """
        request = self.directory.requests([user])[0]
        known, features = self._user_source(request)
        users = self.model.parts("user", features if known is None else known)
        rows = []
        for own in users:
            for other in self.model.parts("item", self._item_source(item)):
                contribution = float(own.vector @ other.vector)
                if own.source == other.source or contribution:
                    source = own.source if other.source == self.name else other.source
                    rows.append((own.modality, other.modality, source, contribution))
        return pd.DataFrame(rows, columns=["user_modality", "item_modality", "source", "contribution"])

    def embeddings(self, side: str) -> tuple:
        """ids, fused (N, D + P) and {modality: (N, D), NaN where it is missing} of the known entities and added items.

        P are the columns of what is added to a model. A closed form has no embeddings by modality, {}.
        """
        known = torch.arange(1, self.n_trained[side])
        fused = [self.model.embeddings(side, known)]
        if side == "item":
            fused.append(self._items[self.n_trained["item"] :])
        return self.directory.tokens[side][1:], torch.cat(fused), self._by_modality(side, known)

    def _by_modality(self, side, known):
        if not isinstance(self.model, BranchRecommender):
            return {}
        encoder = self.model.sides[side]
        parts = [(self.model.modality_embeddings(side, known), self.model.used_in_evaluation(side)[known])]
        for features in self._new_items if side == "item" else ():
            used = features.available & encoder.in_evaluation
            with torch.no_grad():
                parts.append((encoder.embed(features, used), used))
        table = torch.cat([values.masked_fill(~mask.unsqueeze(-1), torch.nan) for values, mask in parts])
        return {name: table[:, m] for m, name in enumerate(encoder.names)}

    # inside

    def _user_source(self, request):
        """What a user's embedding is made of: (known number, None) or (None, features)."""
        if request.known is not None:
            return request.known, None
        return None, self._features_of_users([request])

    def _features_of_users(self, requests) -> Modalities:
        rows = pd.DataFrame([request.features for request in requests], index=range(len(requests)))
        # items added after training have no column in the interaction matrix
        histories = [[item for item in request.history if item < self.n_trained["item"]] for request in requests]
        return features_of(rows, self.model.modalities["user"], histories, [request.name for request in requests])

    def _user_embeddings(self, requests) -> Tensor:
        result = torch.empty(len(requests), self._items.shape[1])
        known = [position for position, request in enumerate(requests) if request.known is not None]
        new = [position for position, request in enumerate(requests) if request.known is None]
        if known:
            result[known] = self.model.embeddings("user", torch.tensor([requests[p].known for p in known]))
        if new:
            result[new] = self.model.embed(self._features_of_users([requests[p] for p in new]))
        return result

    def _item_source(self, item):
        """A known item's number, or the features of an added one."""
        number = self.directory.find("item", item)
        if number < self.n_trained["item"]:
            return number
        position = number - self.n_trained["item"]
        for features in self._new_items:
            n = len(features.available)
            if position < n:
                return features.rows(torch.tensor([position]))
            position -= n
        raise AssertionError("every added item has features")

    def _similar(self, number, name, embeddings, side, k):
        check_lists(k)
        unit = torch.nn.functional.normalize(embeddings, dim=-1)
        allowed = torch.ones(len(unit), dtype=torch.bool)
        allowed[[0, number]] = False
        scores, found = top_k(unit[[number]], unit, k, allowed=allowed)
        return self.directory.table((side, "rank", "similar", "cosine"), [name], scores, found, side)
