"""Original ids on the outside, numbers on the inside; what is asked for, and the table that is answered."""

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from recbole_sibrar.data.modalities import SIDES
from recbole_sibrar.data.sparse import SparseRows
from recbole_sibrar.errors import DataError, OptionError, suggestion


@dataclass(frozen=True)
class Request:
    """A user to recommend for: the name in the answer, the number if known, a history, side information."""

    name: str
    known: int | None = None
    history: tuple = ()
    features: dict = field(default_factory=dict)


class Directory:
    """The users and items of a recommender.

    Args:
        tokens: {side: (N,) original ids}, position 0 is padding.
        interactions: users x items, the training interactions.
    """

    def __init__(self, tokens: dict, interactions: SparseRows):
        self.interactions = interactions
        self.tokens = {side: list(map(str, tokens[side])) for side in SIDES}
        self._number = {side: {t: n for n, t in enumerate(self.tokens[side]) if n} for side in SIDES}

    def add_item(self, token: str) -> None:
        self._number["item"][token] = len(self.tokens["item"])
        self.tokens["item"].append(token)

    def is_known(self, side: str, token: str) -> bool:
        return token in self._number[side]

    def find(self, side: str, token) -> int:
        """The number of an original id.

        Raises:
            DataError: the id is unknown.
        """
        number = self._number[side].get(str(token))
        if number is None:
            raise DataError(f"Unknown {side} id {str(token)!r}. {suggestion(token, self._number[side])}".strip())
        return number

    def requests(self, users) -> list:
        """Ids, histories and dictionaries to ``Request``s; all known users for None."""
        if users is None:
            users = self.tokens["user"][1:]
        if isinstance(users, (str, dict)):
            raise OptionError("users is a list: of ids, histories (lists of item ids) or dictionaries.")
        return [self._request(position, user) for position, user in enumerate(users)]

    def _request(self, position, user) -> Request:
        name = f"#{position}"
        if isinstance(user, dict):
            values = dict(user)
            history = tuple(self.find("item", token) for token in values.pop("history", ()))
            return Request(str(values.pop("id", name)), history=history, features=values)
        if isinstance(user, (list, tuple, set, np.ndarray)):
            return Request(name, history=tuple(self.find("item", token) for token in user))
        return Request(str(user), known=self.find("user", user))

    def candidates(self, items=None) -> Tensor:
        """(I,) bool: these items, or all."""
        allowed = torch.zeros(len(self.tokens["item"]), dtype=torch.bool)
        allowed[slice(1, None) if items is None else [self.find("item", token) for token in items]] = True
        return allowed

    def seen(self, requests) -> SparseRows:
        """requests x items: training interactions of the known users, histories of the others."""
        owners, columns = [], []
        for position, request in enumerate(requests):
            own = list(request.history)
            if request.known is not None:
                start, stop = self.interactions.indptr[request.known : request.known + 2].tolist()
                own = self.interactions.columns[start:stop].tolist()
            owners += [position] * len(own)
            columns += own
        return SparseRows.from_pairs(owners, columns, len(requests), len(self.tokens["item"]))

    def table(self, columns, names, scores: Tensor, found: Tensor, side: str = "item") -> pd.DataFrame:
        """One row for each name and found entity with a score above -inf; ``columns`` are its four headers."""
        filled = scores > -torch.inf
        rows, places = filled.nonzero(as_tuple=True)
        entities = np.array(self.tokens[side], dtype=object)[found[filled].numpy()]
        values = (np.array(names, dtype=object)[rows.numpy()], places.numpy() + 1, entities, scores[filled].numpy())
        return pd.DataFrame(dict(zip(columns, values)))


def check_k(k: int) -> None:
    if k < 1:
        raise OptionError(f"k is {k}; expected at least 1.")
