"""One recommender for known, warm and brand-new users and items, from a trained model."""

import warnings
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from recbole_sibrar import checkpoint
from recbole_sibrar.data.frames import Frame
from recbole_sibrar.data.identity import tensors_digest
from recbole_sibrar.data.modalities import INTERACTIONS, SIDES, Modalities, Modality
from recbole_sibrar.data.sparse import SparseRows
from recbole_sibrar.errors import CheckpointError, DataError, OptionError, nearest
from recbole_sibrar.kinds.vocabulary import MOST_NAMED
from recbole_sibrar.models import MODELS
from recbole_sibrar.models.core import InnerProductModel
from recbole_sibrar.serving import known
from recbole_sibrar.serving.catalogue import Catalogue, concatenated, merged
from recbole_sibrar.serving.directory import Directory, EntityId, Request, User, check_lists
from recbole_sibrar.serving.features import features_of
from recbole_sibrar.serving.interface import AnyRecommender
from recbole_sibrar.serving.topk import top_k
from recbole_sibrar.serving.vocabulary import Vocabulary

AT_A_TIME = 4096
"""So many items are embedded at once."""

ROOM = 8
"""A table that is full grows by this part of it, lest each item that is added is a copy of all."""

CORE = "core."  # before the names of a model's parameters, which RecBole's interface to it owns


class Recommender(AnyRecommender):
    """Recommends, compares and explains; make it with ``load``.

    Users can be known ids, histories (lists of item ids), side information, or any mixture; items that did not exist at
    training time are added from their side information. All embeddings are those of evaluation: every available
    modality, the mean of the training entities where there is none.

    Threads may ask at the same time, but not while one of them changes items; ``service`` sees to that.

    Args:
        model: a trained model whose capabilities name new entities, of both sides or of the one with content.
        tokens: {side: (N,) original ids}, position 0 is padding.
        interactions: users x items, the training interactions.
        data: the fingerprints of what it was trained on.
        state: the checkpoint, which ``save`` writes again.
    """

    def __init__(
        self,
        model: InnerProductModel,
        tokens: dict[str, list[str]],
        interactions: SparseRows,
        data: dict[str, Any],
        state: dict[str, Any],
    ):
        self.model, self.data, self.name, self._state = model.eval(), data, type(model).__name__, state
        self.vocabulary = Vocabulary.of(state["config"])
        self.directory = Directory(tokens, interactions, self.vocabulary)
        self.n_trained = {side: len(tokens[side]) for side in tokens}
        self._table = model.embeddings("item", torch.arange(self.n_trained["item"]))
        self._catalogue = {side: Catalogue(model.modalities[side]) for side in SIDES}
        self._told: set[tuple[str, str]] = set()
        self._load_catalogue(state["serving"].get("catalogue") or {})

    @staticmethod
    def load(path: Path | str) -> AnyRecommender:
        """A recommender for the checkpoint of any model trained by our command, or in RecBole with this plugin.

        A checkpoint holds all that is needed; the data set's files are not read. Models that take no new entities
        serve known users and items only (``KnownOnlyRecommender``), and RecBole makes its own models anew.

        Raises:
            CheckpointError: the file is not such a checkpoint. Nothing in it is executed.
            RecBoleMissing: another model's, and RecBole is not installed.
        """
        state = checkpoint.load(path)
        state.pop("optimizer", None)
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
        if not (model.capabilities.new_entities or model.capabilities.new_content):
            return known.of_core(model.eval(), tokens, interactions, state)
        held = {
            "state_dict": {f"{CORE}{name}": value for name, value in model.state_dict().items()},
            "serving": {
                **serving,
                "interactions": {"indptr": indptr, "columns": columns},
                "modalities": {side: [entry.to_plain() for entry in own.entries] for side, own in modalities.items()},
            },
        }
        return Recommender(model, tokens, interactions, state["data"], {**state, **held})

    def state(self) -> dict[str, Any]:
        catalogue = {
            side: ([self.directory.tokens[side][n] for n in known.numbers], known.rows(known.numbers))
            for side, known in self._catalogue.items()
            if known.numbers
        }
        removed = [self.directory.tokens["item"][number] for number in sorted(self.directory.removed)]
        serving = {**self._state["serving"], "catalogue": checkpoint.plain_catalogue(catalogue, removed)}
        return {**self._state, "serving": serving}

    @cached_property
    def fingerprint(self) -> str:
        """Of its parameters, whatever its catalogue is."""
        return tensors_digest(self._state["state_dict"])

    def reads(self, side: str) -> tuple[str, ...]:
        return self.model.modalities[side].names

    def _load_catalogue(self, stored: dict[str, Any]) -> None:
        for side in SIDES:
            if side in stored and stored[side]["tokens"]:
                entries = tuple(Modality.from_plain(entry) for entry in stored[side]["modalities"])
                self._put(side, stored[side]["tokens"], Modalities(side, entries))
        self.directory.removed = {self.directory.find("item", token) for token in stored.get("removed", ())}

    def _put(self, side: str, tokens: Sequence[str], features: Modalities) -> None:
        """Add entities, or change them."""
        embeddings = []
        if side == "item":
            numbered = replace(features, numbers=torch.tensor([self.directory.number(side, token) for token in tokens]))
            parts = torch.arange(len(tokens)).split(AT_A_TIME)
            embeddings = [self.model.embed(numbered.rows(part)) for part in parts]
        numbers = [self.directory.add(side, token) for token in tokens]
        self._catalogue[side].put(numbers, features)
        if embeddings:
            missing = len(self.directory.tokens[side]) - len(self._table)
            if missing > 0:
                room = missing + len(self._table) // ROOM
                self._table = torch.cat([self._table, self._table.new_zeros(room, self._table.shape[1])])
            self._table[torch.tensor(numbers)] = torch.cat(embeddings).to(self._table)

    @property
    def _items(self) -> Tensor:
        """(I, D) embeddings of all items."""
        return self._table[: len(self.directory.tokens["item"])]

    # items

    def add_items(self, items: Frame, given: Sequence[Collection[str]] | None = None) -> None:
        """Make new items rankable beside the old ones, or change what is known of old ones; no other score changes.

        Of an item that is known already the columns given are replaced, empty cells in them included, and the others
        stay, as do the interactions that the model was trained with. CLCRec and DropoutNet serve an item that they were
        trained with as they have learned it, whatever is given of it.

        Args:
            items: a data frame (pandas, Polars, Arrow) with a column ``item_id``, or what the ids were called in the
                table that the model's data set was made of, and a column for each modality (``features_of``), written
                as in that table; its columns that are no modality are left out.
            given: for each row the columns that it gives; all by default.

        Raises:
            DataError: an id is empty or occurs twice. OptionError: a column is no modality.
        """
        ids, rows = self.vocabulary.entities(items, "item", self.model.modalities["item"], "items")
        ids = [self.directory.token("item", token) for token in ids]
        seen, padding = set(), self.directory.tokens["item"][0]
        for token in ids:
            if token == padding:
                raise DataError(f"{padding!r} stands for no item; use another id.")
            if token in seen:
                raise DataError(f"Item {token!r} occurs twice; keep one row.")
            seen.add(token)
        if not self.model.described("item"):
            raise OptionError(f"This {self.name} reads nothing of items but their interactions; items cannot be added.")
        features = features_of(rows, self.model.modalities["item"], tokens=ids, told=self._told)
        if not ids:
            return
        names = frozenset(rows.columns)
        fixed: list[str] = []
        alike: dict[frozenset[str] | None, list[int]] = {}  # new items; known ones by what is given of them
        for place, token in enumerate(ids):
            own = names if given is None else names.intersection(given[place])
            if self._is_fixed(token):
                fixed += [token] if own else []
                self.directory.add("item", token)
                continue
            alike.setdefault(own if self.directory.is_known("item", token) else None, []).append(place)
        for columns, places in alike.items():
            own, tokens = features.rows(torch.tensor(places)), [ids[place] for place in places]
            if columns is not None:
                own = merged(concatenated([self._item_features(token) for token in tokens]), own, columns)
            self._put("item", tokens, own)
        self._warn_of_fixed(fixed)

    def _is_fixed(self, item: str) -> bool:
        """Whether it is embedded by what the model has learned of its id, and not by its features alone."""
        if self.model.capabilities.missing_interactions or not self.directory.is_known("item", item):
            return False
        number = self.directory.find("item", item)
        return number < self.n_trained["item"] and bool(self.model.entities("item").trained[number])

    def _warn_of_fixed(self, items: Sequence[str]) -> None:
        if items:
            self._tell_once(
                ("item", "of training"),
                f"{self.name} serves the items of its training, such as {items[0]!r}, as it has learned them: what is "
                "given of them now is not read. Train again for that.",
                stacklevel=4,
            )

    def _tell_once(self, what: tuple[str, str], message: str, stacklevel: int) -> None:
        if what not in self._told:
            self._told.add(what)
            warnings.warn(message, stacklevel=stacklevel)

    def remove_items(self, items: Iterable[EntityId]) -> None:
        """Offer these items no longer; histories may hold them still, and ``add_items`` brings them back.

        Raises:
            DataError: an unknown id.
        """
        self.directory.removed = self.directory.removed | set(self.directory.find_items(items, "items"))

    def _item_features(self, item: EntityId) -> Modalities:
        number = self.directory.find("item", item)
        if number in self._catalogue["item"]:
            return self._catalogue["item"].rows([number])
        return self.model.modalities["item"].rows(torch.tensor([number]))

    # answers

    def _best(
        self, requests: Sequence[Request], k: int, allowed: Tensor, seen: SparseRows | None
    ) -> tuple[Tensor, Tensor]:
        return top_k(self._user_embeddings(requests), self._items, k, seen, allowed)

    def score(self, user: User, items: Iterable[EntityId]) -> pd.Series:
        """The scores of one user (as in ``recommend``) for some items, by item id."""
        embedding = self._user_embeddings(self.directory.requests([user]))[0]
        numbers = self.directory.find_items(items, "items")
        names = [self.directory.tokens["item"][number] for number in numbers]
        return pd.Series((self._items[numbers] @ embedding).numpy(), index=names, name="score")

    def similar_items(self, item: EntityId, k: int = 10) -> pd.DataFrame:
        """The k items with the largest cosine to an item, itself left out: item, rank, similar, cosine."""
        return self._similar(self.directory.find("item", item), str(item), self._items, "item", k)

    def similar_users(self, user: EntityId, k: int = 10) -> pd.DataFrame:
        """The k known users with the largest cosine to a known user: user, rank, similar, cosine."""
        return self._similar(self.directory.find("user", user), str(user), self._known_users(), "user", k)

    def explain(self, user: User, item: EntityId) -> pd.DataFrame:
        """How much each pair of modalities contributes to a score: user_modality, item_modality, source, contribution.

        The contributions add up to the score. Where a model fuses modalities in a weighted sum, they are its terms;
        elsewhere Shapley values. ``source`` says whose they are: the model's, or those of what is added to it
        (``KernelRidge``, ``LinearAutoencoder``, ``interaction_ridge``, ``interaction_kernel``, ``user_kernel``,
        ``new_user_kernel``, ``calibration``). ``(mean)`` is what an entity has without any modality, or what
        calibration leaves an item of the mean.
        """
        request = self.directory.requests([user])[0]
        known, features = self._user_source(request)
        users = self.model.parts("user", features if known is None else known)
        items = self.model.parts("item", self._source("item", self.directory.find("item", item)))
        sums: dict[tuple[str, str, str], float] = {}
        for own in users:
            for other in items:
                contribution = float(own.vector @ other.vector)
                if own.source == other.source or contribution:
                    pair = own.modality, other.modality, own.source if other.source == self.name else other.source
                    sums[pair] = sums.get(pair, 0.0) + contribution
        rows = [(*pair, contribution) for pair, contribution in sums.items()]
        return pd.DataFrame(rows, columns=["user_modality", "item_modality", "source", "contribution"])

    def embeddings(self, side: str) -> tuple[list[str], Tensor, dict[str, Tensor]]:
        """ids, fused (N, D + P) and {modality: (N, D), NaN where it is missing} of the known entities and added items.

        P are the columns of what is added to a model. A closed form has no embeddings by modality, {}. Items that were
        removed are not among them.
        """
        if side not in SIDES:
            raise OptionError(f"side is {side!r:.100}. {nearest(side, SIDES)}")
        fused = self._items if side == "item" else self._known_users()
        kept = torch.ones(len(fused), dtype=torch.bool) if side == "user" else self.directory.offered()
        kept[0] = False
        ids = [token for token, is_kept in zip(self.directory.tokens[side], kept.tolist()) if is_kept]
        return ids, fused[kept], {name: table[kept] for name, table in self._by_modality(side).items()}

    def seen(self) -> SparseRows:
        """The training interactions: users x items, rows and columns as in ``embeddings``."""
        kept = self.directory.offered().nonzero().squeeze(1)
        place = torch.full((len(self.directory.tokens["item"]),), -1).index_copy_(0, kept, torch.arange(len(kept)))
        own = self.directory.interactions
        rows, columns = own.row_of_entry(), place[own.columns]
        n_users = len(self.directory.tokens["user"]) - 1
        is_there = (columns >= 0) & (rows <= n_users)  # the imagined users of by_content have no id
        return SparseRows.from_pairs(rows[is_there] - 1, columns[is_there], n_users, len(kept))

    def _by_modality(self, side: str) -> dict[str, Tensor]:
        if not hasattr(self.model, "modality_embeddings"):
            return {}
        encoder, numbers = self.model.entities(side), self._catalogue[side].numbers
        trained = torch.arange(self.n_trained[side])
        table, used = self.model.modality_embeddings(side, trained), self.model.entities(side).read
        if numbers:
            features = self._catalogue[side].rows(numbers)
            features, own = encoder.readable(features)
            table = _with_rows(table, numbers, self.model.embed_modalities(features, own))
            used = _with_rows(used, numbers, own)
        table = table.masked_fill(~used.unsqueeze(-1), torch.nan)
        return {name: table[:, m] for m, name in enumerate(encoder.names)}

    # inside

    def _user_source(self, request: Request) -> tuple[int, None] | tuple[None, Modalities]:
        """What a user's embedding is made of: (known number, None) or (None, features)."""
        if request.known is None:
            return None, self._features_of_users([request])
        source = self._source("user", request.known)
        return (source, None) if isinstance(source, int) else (None, source)

    def _features_of_users(self, requests: Sequence[Request]) -> Modalities:
        known = self.model.modalities["user"]
        self._warn_of_known(requests)
        self._warn_of_histories(requests, known)
        if INTERACTIONS in known.names:
            self._warn_of_items(requests)
        rows = pd.DataFrame([request.features for request in requests], index=range(len(requests)), dtype=object)
        # items added after training have no column in the interaction matrix
        histories = [[item for item in request.history if item < self.n_trained["item"]] for request in requests]
        names = [request.name for request in requests]
        rows = self.vocabulary.features(rows, "user", known, names)
        return features_of(rows, known, histories, names, self._told)

    def _warn_of_known(self, requests: Sequence[Request]) -> None:
        own = [r.name for r in requests if r.features and not r.history and self.directory.is_known("user", r.name)]
        if own:
            self._tell_once(
                ("user", "known"),
                f"User {own[0]!r} is known, and served as a new one by what stands beside the id, without the "
                "interactions of training; give the id alone for the known user, or a history.",
                stacklevel=3,
            )

    def _warn_of_histories(self, requests: Sequence[Request], known: Modalities) -> None:
        if INTERACTIONS not in known.names and any(request.history for request in requests):
            self._tell_once(
                (INTERACTIONS, "history"),
                f"This {self.name} reads {', '.join(known.names)} of users, and not their histories, which only leave "
                "out what a user has had.",
                stacklevel=3,
            )

    def _warn_of_average(self, numbers: Sequence[int]) -> None:
        """Known users without anything that is read all have one list."""
        if ("user", "average") in self._told or not self.reads("user"):
            return
        known, added = self.model.modalities["user"], self._catalogue["user"]
        of_training = [number for number in numbers if number < self.n_trained["user"]]
        has_any = dict(zip(of_training, known.evaluated[of_training].any(1).tolist()))
        if later := [number for number in numbers if number in added]:
            has_any.update(zip(later, added.rows(later).evaluated.any(1).tolist()))
        own = [self.directory.tokens["user"][number] for number, has in has_any.items() if not has]
        if own:
            read = ", ".join(known.names)
            self._tell_once(
                ("user", "average"),
                f"{len(own):,} of {len(numbers):,} users, such as {own[0]!r}, have nothing of what this {self.name} "
                f"reads ({read}), and get the average user's list.",
                stacklevel=5,
            )

    def _warn_of_items(self, requests: Sequence[Request]) -> None:
        """Histories of nothing but items that were added say nothing of a user."""
        first = self.n_trained["item"]
        items = {item for request in requests if min(request.history, default=0) >= first for item in request.history}
        unread = sorted({("history", self.directory.tokens["item"][item]) for item in items} - self._told)
        if unread:
            self._told.update(unread)
            named = ", ".join(repr(token) for _, token in unread[:MOST_NAMED])
            warnings.warn(
                f"A history of nothing but items that {self.name} was not trained with ({named}) counts for nothing.",
                stacklevel=3,
            )

    def _known_users(self) -> Tensor:
        """(U, D) of all known users."""
        return self._embeddings_of_known(torch.arange(len(self.directory.tokens["user"])))

    def _embeddings_of_known(self, numbers: Tensor) -> Tensor:
        is_added = numbers >= self.n_trained["user"]
        result = self._items.new_empty(len(numbers), self._items.shape[1])
        if not is_added.all():
            result[~is_added] = self.model.embeddings("user", numbers[~is_added])
        if is_added.any():
            result[is_added] = self.model.embed(self._catalogue["user"].rows(numbers[is_added].tolist()))
        return result

    def _user_embeddings(self, requests: Sequence[Request]) -> Tensor:
        result = torch.empty(len(requests), self._items.shape[1])
        known = [position for position, request in enumerate(requests) if request.known is not None]
        new = [position for position, request in enumerate(requests) if request.known is None]
        if known:
            numbers = [request.known for request in requests if request.known is not None]
            self._warn_of_average(numbers)
            result[known] = self._embeddings_of_known(torch.tensor(numbers))
        if new:
            result[new] = self.model.embed(self._features_of_users([requests[p] for p in new]))
        return result

    def _source(self, side: str, number: int) -> int | Modalities:
        """The number of an entity that is as it was in training, or the features of an added or changed one."""
        own = self._catalogue[side]
        return own.rows([number]) if number in own else number

    def _similar(self, number: int, name: str, embeddings: Tensor, side: str, k: int) -> pd.DataFrame:
        check_lists(k)
        unit = torch.nn.functional.normalize(self.model.compared(embeddings), dim=-1)
        allowed = self.directory.offered() if side == "item" else torch.ones(len(unit), dtype=torch.bool)
        allowed[[0, number]] = False
        scores, found = top_k(unit[[number]], unit, k, allowed=allowed)
        return self.directory.table((side, "rank", "similar", "cosine"), [name], scores, found, side)


def _with_rows(table: Tensor, numbers: Sequence[int], rows: Tensor) -> Tensor:
    """The table (N, ...) with rows put at these numbers, some of them behind its end."""
    numbers = torch.tensor(numbers)
    n_new = int((numbers >= len(table)).sum())
    longer = torch.cat([table, table.new_zeros(n_new, *table.shape[1:])])
    return longer.index_copy(0, numbers, rows.to(longer))
