"""Negatives: training items that a user has not interacted with in training."""

from collections.abc import Sequence

import numpy as np

from recbole_sibrar.errors import DataError


class NegativeSampler:
    """Draws negatives for users, from the training items only, never one of the user's own.

    Uniform draws are exact and need no rejection: with a user's items sorted, s_0 < s_1 < ..., the r-th item that the
    user has *not* is r + #{j : s_j - j <= r}, one binary search for each draw.

    RecBole's sampler draws from every item that occurs in the data set: in item cold start it would train the test
    items as negatives.

    Args:
        users, items: (N,) the training interactions.
        n_users: ids run from 0 to n_users - 1.
        seed: of the draws.
        popularity_power: None for uniform draws; otherwise the probability of an item is its number of training
            interactions to this power.
        user_tokens: (n_users,) names for the error message.

    Raises:
        DataError: a user has interacted with every training item.
    """

    MAX_REJECTIONS = 1000

    def __init__(
        self,
        users: np.ndarray | Sequence[int],
        items: np.ndarray | Sequence[int],
        n_users: int,
        seed: int,
        popularity_power: float | None = None,
        user_tokens: Sequence[str] | np.ndarray | None = None,
    ):
        self.rng = np.random.default_rng(seed)
        self.items, ranks = np.unique(items, return_inverse=True)
        n_items = len(self.items)
        keys = np.unique(np.asarray(users, dtype=np.int64) * n_items + ranks)
        owners, ranks = keys // n_items, keys % n_items
        self.start = np.searchsorted(owners, np.arange(n_users + 1))
        self.n_free = n_items - np.diff(self.start)
        full = np.flatnonzero(self.n_free == 0)
        if len(full):
            name = full[0] if user_tokens is None else user_tokens[full[0]]
            drop = (
                f"filter them, for example with user_inter_num_interval='[1,{n_items - 1}]', or " if n_items > 1 else ""
            )
            raise DataError(
                f"User {name!r} has interacted with all {n_items} training items, so no negative exists for this user "
                f"({len(full)} such users); {drop}train without negatives (SiBraR and MuBraR with rec_loss=softmax)."
            )
        self.stride = n_items + 1
        self.shifted = owners * self.stride + ranks - (np.arange(len(ranks)) - self.start[owners])
        self.seen = keys
        self.cumulative: np.ndarray | None = None
        if popularity_power is not None:
            weights = np.unique(items, return_counts=True)[1].astype(float) ** popularity_power
            self.cumulative = np.cumsum(weights / weights.sum())

    def sample(self, users: np.ndarray, n: int) -> np.ndarray:
        """(B,) users -> (B, n) item ids, independent draws with replacement."""
        users = np.asarray(users, dtype=np.int64)
        owners = np.repeat(users, n)
        draw = self._uniform if self.cumulative is None else self._popularity
        return self.items[draw(owners)].reshape(len(users), n)

    def _uniform(self, owners: np.ndarray) -> np.ndarray:
        rank = (self.rng.random(len(owners)) * self.n_free[owners]).astype(np.int64)
        position = np.searchsorted(self.shifted, owners * self.stride + rank, side="right")
        return rank + position - self.start[owners]

    def _popularity(self, owners: np.ndarray) -> np.ndarray:
        assert self.cumulative is not None
        ranks = np.empty(len(owners), dtype=np.int64)
        open_ = np.arange(len(owners))
        for _ in range(self.MAX_REJECTIONS):
            ranks[open_] = np.minimum(
                np.searchsorted(self.cumulative, self.rng.random(len(open_)), side="right"), len(self.items) - 1
            )
            open_ = open_[self._is_seen(owners[open_], ranks[open_])]
            if not len(open_):
                return ranks
        ranks[open_] = self._uniform(owners[open_])
        return ranks

    def _is_seen(self, owners: np.ndarray, ranks: np.ndarray) -> np.ndarray:
        keys = owners * len(self.items) + ranks
        position = np.minimum(np.searchsorted(self.seen, keys), len(self.seen) - 1)
        return self.seen[position] == keys
