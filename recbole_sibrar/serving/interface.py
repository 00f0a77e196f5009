"""What can be asked of a trained model, whichever it is; what one cannot answer ends in an ``OptionError``."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import pandas as pd
from torch import Tensor

from recbole_sibrar.data.frames import Frame, is_file
from recbole_sibrar.data.sparse import SparseRows
from recbole_sibrar.errors import OptionError
from recbole_sibrar.files import save_tensors
from recbole_sibrar.serving.directory import Directory, EntityId, Request, User, check_lists
from recbole_sibrar.serving.vocabulary import Vocabulary


class AnyRecommender(ABC):
    """Every recommender ranks; ``Recommender`` does everything else, too.

    Attributes:
        name: of the model. data: the fingerprints of what it was trained on.
        directory: its users and items. vocabulary: how tables of them are written.
    """

    name: str
    data: dict[str, Any]
    directory: Directory
    vocabulary: Vocabulary

    def __repr__(self) -> str:
        n_users, n_items = len(self.directory.tokens["user"]) - 1, int(self.directory.offered().sum())
        return f"{type(self).__name__}({self.name}, {n_users:,} users, {n_items:,} items)"

    def recommend(
        self,
        users: Iterable[User] | None = None,
        k: int = 10,
        candidates: Iterable[EntityId] | None = None,
        exclude_seen: bool = True,
    ) -> pd.DataFrame:
        """The k best items for each user.

        Args:
            users: a list of known ids, lists of item ids (histories), and dictionaries with any of ``id`` (a name for
                the answer; a known id, if nothing stands beside it), ``history`` and modalities; all known users by
                default. Users given without a name are called ``#0``, ``#1``, ... by their position.
            k: length of the lists; shorter if fewer candidates are left.
            candidates: item ids; all by default.
            exclude_seen: leave out training interactions of known users, and the histories given.

        Returns:
            a table user, rank (from 1), item, score.

        Raises:
            DataError: an unknown id. OptionError: an unknown modality, k < 1, or a user that the model cannot serve.
        """
        return self.directory.table(("user", "rank", "item", "score"), *self.ranked(users, k, candidates, exclude_seen))

    def ranked(
        self,
        users: Iterable[User] | None = None,
        k: int = 10,
        candidates: Iterable[EntityId] | None = None,
        exclude_seen: bool = True,
    ) -> tuple[list[str], Tensor, Tensor]:
        """As ``recommend``: the users' names, scores (U, k), best first, -inf behind the last, and items' numbers."""
        check_lists(k, exclude_seen)
        requests = self.directory.requests(users)
        allowed = self.directory.candidates(candidates)
        seen = self.directory.seen(requests) if exclude_seen else None
        return [request.name for request in requests], *self._best(requests, k, allowed, seen)

    @abstractmethod
    def _best(
        self, requests: Sequence[Request], k: int, allowed: Tensor, seen: SparseRows | None
    ) -> tuple[Tensor, Tensor]:
        """Scores and numbers, as of ``ranked``, of the items ``allowed``, (I,) bool, that a user has not ``seen``."""

    def reads(self, side: str) -> tuple[str, ...]:
        """The modalities of new entities that it reads."""
        return ()

    def score(self, user: User, items: Iterable[EntityId]) -> pd.Series:
        """The scores of one user for some items."""
        self._refuse()

    def similar_items(self, item: EntityId, k: int = 10) -> pd.DataFrame:
        """The items most like one."""
        self._refuse()

    def similar_users(self, user: EntityId, k: int = 10) -> pd.DataFrame:
        """The users most like one."""
        self._refuse()

    def explain(self, user: User, item: EntityId) -> pd.DataFrame:
        """What each pair of modalities adds to a score."""
        self._refuse()

    def embeddings(self, side: str) -> tuple[list[str], Tensor, dict[str, Tensor]]:
        """Ids, embeddings, and those of each modality."""
        self._refuse()

    def seen(self) -> SparseRows:
        """The training interactions, rows and columns as in ``embeddings``."""
        self._refuse()

    def add_items(self, items: Frame, given: Sequence[Collection[str]] | None = None) -> None:
        """Make new items rankable, or change what is known of old ones."""
        self._refuse()

    def remove_items(self, items: Iterable[EntityId]) -> None:
        """Offer items no longer."""
        self._refuse()

    def save(self, path: Path | str) -> None:
        """Write a checkpoint of the model with its items as they are now: added, changed and removed ones.

        Raises:
            OptionError: it is no path. WriteError: the disk is full, or may not be written to.
        """
        if not is_file(path):
            raise OptionError(f"path is {path!r:.100}; expected the path of a file.")
        save_tensors(path, self.state())

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """What ``save`` writes."""

    def _refuse(self) -> NoReturn:
        raise OptionError(
            f"{self.name} only recommends, for the users and items of its training; use SiBraR or MuBraR."
        )
