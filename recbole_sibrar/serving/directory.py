"""Original ids on the outside, numbers on the inside; what is asked for, and the table that is answered."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from recbole_sibrar.data.modalities import SIDES
from recbole_sibrar.data.sparse import SparseRows
from recbole_sibrar.errors import DataError, OptionError, suggestion
from recbole_sibrar.serving.vocabulary import Vocabulary

EntityId = str | int | UUID
"""Of a user or an item, as the data set has it; the text of a number is the same id."""

User = EntityId | Sequence[EntityId] | dict[str, Any]
"""A known user's id, a history, or any of a new user's id, history and modalities."""


@dataclass(frozen=True)
class Request:
    """A user to recommend for: the name in the answer, the number if known, a history, side information."""

    name: str
    known: int | None = None
    history: tuple[int, ...] = ()
    features: dict[str, Any] = field(default_factory=dict)


class Directory:
    """The users and items of a recommender.

    Args:
        tokens: {side: (N,) original ids}, position 0 is padding.
        interactions: users x items, the training interactions.
        vocabulary: how users are written.
    """

    def __init__(self, tokens: dict[str, list[str]], interactions: SparseRows, vocabulary: Vocabulary | None = None):
        vocabulary = vocabulary or Vocabulary()
        self.interactions, self.user_keys = interactions, vocabulary.user_keys
        self._left_out = vocabulary.no_modality("user")
        self.tokens = {side: list(map(str, tokens[side])) for side in SIDES}
        self._number = {side: {t: n for n, t in enumerate(self.tokens[side]) if n} for side in SIDES}
        self.removed: set[int] = set()

    def add(self, side: str, token: str) -> int:
        """The number of an id, a new one if it is not known; an item that was removed is offered again."""
        number = self.number(side, token)
        if number == len(self.tokens[side]):
            self._number[side][token] = number
            self.tokens[side].append(token)
        if side == "item":
            self.removed.discard(number)
        return number

    def offered(self) -> Tensor:
        """(I,) bool: the items that were not removed."""
        offered = torch.ones(len(self.tokens["item"]), dtype=torch.bool)
        offered[[0, *self.removed]] = False
        return offered

    def number(self, side: str, token: str) -> int:
        """The number of an id; of one that is not known that of the next new one."""
        return self._number[side].get(token, len(self.tokens[side]))

    def token(self, side: str, value: object) -> str:
        """An id as text; 45.0, as a column with gaps has it, is 45, unless 45.0 is itself an id.

        Raises:
            OptionError: it is no id, as ``as_id`` says.
        """
        text = as_id(side, value)
        if isinstance(value, (float, np.floating)) and float(value).is_integer() and not self.is_known(side, text):
            return str(int(value))
        return text

    def is_known(self, side: str, token: str) -> bool:
        return token in self._number[side]

    def is_offered(self, token: str) -> bool:
        """Whether there is an item of this id that was not removed."""
        number = self._number["item"].get(token, 0)
        return number != 0 and number not in self.removed

    def find(self, side: str, token: EntityId) -> int:
        """The number of an original id.

        Raises:
            DataError: the id is unknown.
        """
        token = self.token(side, token)
        number = self._number[side].get(token)
        if number is None:
            raise DataError(f"Unknown {side} id {token!r}. {suggestion(token, self._number[side])}".strip())
        return number

    def find_items(self, items: Iterable[EntityId], what: str) -> list[int]:
        """The numbers of a list of item ids; ``what`` is its name in messages."""
        return [self.find("item", item) for item in as_list(items, what, "a list of item ids")]

    def requests(self, users: Iterable[User] | None) -> list[Request]:
        """Ids, histories and dictionaries to ``Request``s; all known users for None."""
        if users is None:
            users = self.tokens["user"][1:]
        users = as_list(users, "users", "a list of ids, histories (lists of item ids) or dictionaries")
        return [self._request(position, user) for position, user in enumerate(users)]

    def _request(self, position: int, user: User) -> Request:
        name = f"#{position}"
        if isinstance(user, dict):
            values = {key: value for key, value in user.items() if key not in self._left_out}
            key = next((key for key in ("id", *self.user_keys) if key in values), None)
            name = name if key is None else self.token("user", values.pop(key))
            if key is not None and not values and self.is_known("user", name):
                return Request(name, known=self.find("user", name))
            history = self.find_items(values.pop("history", ()), f"history of user {name!r}")
            return Request(name, history=tuple(history), features=values)
        if isinstance(user, (list, tuple, set, np.ndarray, pd.Series)):
            return Request(name, history=tuple(self.find_items(user, f"history of user {name!r}")))
        return Request(self.token("user", user), known=self.find("user", user))

    def candidates(self, items: Iterable[EntityId] | None = None) -> Tensor:
        """(I,) bool: these items, or all that are offered.

        Raises:
            DataError: one of the items was removed.
        """
        if items is None:
            return self.offered()
        numbers = self.find_items(items, "candidates")
        for number in numbers:
            if number in self.removed:
                raise DataError(f"Item {self.tokens['item'][number]!r} was removed; add it again to have it ranked.")
        allowed = torch.zeros(len(self.tokens["item"]), dtype=torch.bool)
        allowed[numbers] = True
        return allowed

    def seen(self, requests: Sequence[Request]) -> SparseRows:
        """requests x items: training interactions of the known users, histories of the others."""
        owners, columns, n_trained = [], [], len(self.interactions.indptr) - 1
        for position, request in enumerate(requests):
            own = list(request.history)
            if request.known is not None and request.known < n_trained:
                start, stop = self.interactions.indptr[request.known : request.known + 2].tolist()
                own = self.interactions.columns[start:stop].tolist()
            owners += [position] * len(own)
            columns += own
        return SparseRows.from_pairs(owners, columns, len(requests), len(self.tokens["item"]))

    def table(
        self, columns: Sequence[str], names: Sequence[str], scores: Tensor, found: Tensor, side: str = "item"
    ) -> pd.DataFrame:
        """One row for each name and found entity with a score above -inf; ``columns`` are its four headers."""
        filled = scores > -torch.inf
        rows, places = filled.nonzero(as_tuple=True)
        entities = np.array(self.tokens[side], dtype=object)[found[filled].numpy()]
        values = (np.array(names, dtype=object)[rows.numpy()], places.numpy() + 1, entities, scores[filled].numpy())
        return pd.DataFrame(dict(zip(columns, values)))


def as_id(side: str, value: object) -> str:
    """An id as text.

    Raises:
        OptionError: it is neither text, number nor UUID: nothing, NaN, the empty text, a list; or a text with a tab, a
            line break, or what no file holds.
    """
    value = value.item() if isinstance(value, np.generic) else str(value) if isinstance(value, UUID) else value
    is_text = isinstance(value, str) and value.strip() != ""
    is_number = (
        isinstance(value, int) and not isinstance(value, bool) or isinstance(value, float) and math.isfinite(value)
    )
    if not is_text and not is_number:
        raise OptionError(f"{value!r} is no {side} id; expected a text or a number.")
    if is_text and set(str(value)) & set("\t\r\n"):
        raise OptionError(f"{value!r} is no {side} id; expected a text or a number, without a tab or a line break.")
    if is_text and not _is_writable(str(value)):
        raise OptionError(f"{value!r} is no {side} id; expected a text or a number, of whole characters.")
    return str(value)


def _is_writable(text: str) -> bool:
    """Whether a file can hold it: no zero byte, no half of a pair of surrogates."""
    return "\0" not in text and (text.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in text))


def as_list(values: object, what: str, expected: str) -> list[Any]:
    """Any sequence, array, series or set as a list; not a text, nor what has keys."""
    if isinstance(values, (str, bytes, dict, pd.DataFrame)) or not isinstance(values, Iterable):
        raise OptionError(f"{what} is {_short(values)}; expected {expected}.")
    if isinstance(values, (np.ndarray, Tensor)) and values.ndim == 0:
        raise OptionError(f"{what} is {values!r}; expected {expected}.")
    return list(values)


def _short(value: object) -> str:
    return f"a {type(value).__name__}" if isinstance(value, pd.DataFrame) else repr(value)[:100]


def check_lists(k: object, exclude_seen: object = True) -> None:
    """The arguments that say what lists are wanted.

    Raises:
        OptionError: k is no integer of at least 1, or ``exclude_seen`` no bool.
    """
    if isinstance(k, (bool, np.bool_)) or not isinstance(k, (int, np.integer)) or k < 1:
        raise OptionError(f"k is {k!r}; expected an integer of at least 1.")
    if not isinstance(exclude_seen, (bool, np.bool_)):
        raise OptionError(f"exclude_seen is {exclude_seen!r}; expected True or False.")
