"""From Python: a data set made of tables, a model trained on it, and what the model recommends."""

import tempfile
import warnings
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import pandas as pd

from recbole_sibrar import checkpoint
from recbole_sibrar.convert import own_tables
from recbole_sibrar.convert.encoders import Encode
from recbole_sibrar.data.atomic import has_rows
from recbole_sibrar.data.frames import Table, is_file
from recbole_sibrar.errors import DataError, OptionError
from recbole_sibrar.hook import load_recbole
from recbole_sibrar.properties import QUIET
from recbole_sibrar.report.result import RunResult
from recbole_sibrar.scenarios import DEFAULT_SCENARIO
from recbole_sibrar.serving.content import by_content
from recbole_sibrar.serving.directory import EntityId, User
from recbole_sibrar.serving.interface import AnyRecommender
from recbole_sibrar.serving.recommender import Recommender


class Dataset:
    """Interactions, and what is known of users and items.

    Args:
        folder: of atomic files, such as a conversion made; ``from_frames`` makes one.

    Raises:
        OptionError: it is no path. DataError: there is no data set in it.
    """

    def __init__(self, folder: Path | str):
        if not is_file(folder):
            raise OptionError(f"folder is {folder!r:.100}; expected a path. Dataset.from_frames takes tables.")
        self.folder = Path(folder)
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self._interactions()

    @classmethod
    def from_frames(
        cls,
        interactions: Table | None = None,
        *,
        items: Table | None = None,
        users: Table | None = None,
        vectors: dict[str, Any] | None = None,
        user_vectors: dict[str, Any] | None = None,
        kinds: dict[str, str] | None = None,
        user_column: str = "user_id",
        item_column: str = "item_id",
        tag_separator: str = "|",
        missing: Sequence[str] | None = None,
        minimum: dict[str, float] | None = None,
        k_core: int = 0,
        require: Sequence[str] = (),
        encode: dict[str, str] | Encode | None = None,
        folder: Path | str | None = None,
    ) -> "Dataset":
        """From data frames of pandas, Polars or Arrow, or files; what becomes of each column is guessed and printed.

        The same as ``recbole-sibrar convert table`` makes of the same tables as files.

        Args:
            interactions: a user and an item in each row; None where there are none yet.
            items, users: a row of features for each, ids in the same column. Those without interactions stay.
            vectors, user_vectors: {name: vectors} of items and users: an array (or sparse matrix) with a row for each
                row of the table, {id: vector}, (ids, array), a data frame or a file. None, or a row of NaN, where there
                is none.
            kinds: {column: a kind in ``convert.assemble.TYPES``}, where the guess is wrong; a text is left out.
            user_column, item_column: of the ids.
            tag_separator: between the tags of a cell.
            missing: texts that stand for a missing value, as the empty cell does.
            minimum: {column of the interactions: smallest value to keep}.
            k_core: of the k-core; 0 turns it off.
            require: drop users and items that lack one of these features.
            encode: {text column: "text"}, to make vectors of texts (``pip install 'recbole-sibrar[encoders]'``), or a
                ``convert.encoders.Encode``.
            folder: where the data set is to be kept, such as ``atomic_data/shop``; it lives as long as this object by
                default.

        Raises:
            OptionError, DataError: naming the table and the column or row.
        """
        temporary = tempfile.TemporaryDirectory(prefix="recbole-sibrar-") if folder is None else None
        place = Path(temporary.name) / "frames" if temporary is not None else Path(str(folder))
        if isinstance(encode, dict):
            encode = Encode(encode, place.parent)
        path = own_tables.convert(
            place.name,
            place.parent,
            interactions,
            users=users,
            items=items,
            user_column=user_column,
            item_column=item_column,
            user_vectors=user_vectors,
            item_vectors=vectors,
            tag_separator=tag_separator,
            minimum=minimum,
            k=k_core,
            require=require,
            encode=encode,
            missing=missing,
            kinds=kinds,
        )
        dataset = cls(path)
        dataset._temporary = temporary
        return dataset

    def fit(
        self,
        model: str = "SiBraR",
        *,
        scenario: str = DEFAULT_SCENARIO,
        output_dir: Path | str | None = None,
        **options: Any,
    ) -> "Fitted":
        """Train a model, choose its epoch on validation data and test it, as ``recbole-sibrar run`` does.

        Where there are no interactions yet, the items' content alone recommends (``by_content``).

        Args:
            model, scenario, options: as on the command line, for example ``scenario="item_cold", preset="strong"``;
                with ``fit="all"`` the model is then trained on everything.
            output_dir: where the run's folder goes; by default nothing is kept but what ``Fitted.save`` writes.

        Raises:
            RecBoleMissing: RecBole's trainer is not installed. SibrarError: as ``recbole_plugin.run.run``.
        """
        for name in ("dataset", "data_path"):
            if name in options:
                raise OptionError(f"{name} is {options[name]!r}, but it is this data set that is fitted; leave it out.")
        if output_dir is not None and not is_file(output_dir):
            raise OptionError(f"output_dir is {output_dir!r:.100}; expected a path.")
        if not self.has_interactions:
            return Fitted(self.by_content())
        load_recbole()
        from recbole_sibrar.recbole_plugin.run import run

        temporary = tempfile.TemporaryDirectory(prefix="recbole-sibrar-") if output_dir is None else None
        where = str(output_dir) if temporary is None else temporary.name
        own = {"data_path": str(self.folder.parent), "output_dir": where, "scenario": scenario}
        result = run(model, self.folder.name, None, {**QUIET, **options, **own})
        assert result is not None  # of the only machine
        for said in filter(None, (result.few_candidates, result.not_ahead)):
            warnings.warn(said, stacklevel=2)
        path = Path(result.config["checkpoint_dir"]) / (result.whole_model or checkpoint.MODEL)
        return Fitted(Recommender.load(path), result, temporary)

    def __repr__(self) -> str:
        return f"Dataset({str(self.folder)!r})"

    @property
    def has_interactions(self) -> bool:
        return has_rows(self._interactions())

    def _interactions(self) -> Path:
        """Their file, which is gone where this is a pickled copy of a data set without a folder of its own."""
        path = self.folder / f"{self.folder.name}.inter"
        if not path.is_file():
            raise DataError(
                f"{self.folder} holds no {path.name}; make it with Dataset.from_frames, folder=... where it is to stay."
            )
        return path

    def by_content(self) -> Recommender:
        """Recommendations for liked items by what is known of all items; in closed form, without interactions."""
        return by_content(self.folder)


class Fitted:
    """A trained model: what it came to, and its recommendations.

    Attributes:
        recommender: its ``Recommender``, whose methods are those of this object too: ``recommend``, ``add_items``, ...
        result: the run's ``RunResult``; None where there were no interactions.
    """

    def __init__(
        self,
        recommender: AnyRecommender,
        result: RunResult | None = None,
        temporary: tempfile.TemporaryDirectory[str] | None = None,
    ):
        self.recommender, self.result, self._temporary = recommender, result, temporary

    def evaluate(self) -> dict[str, float]:
        """{metric: value} on the held-out test data, such as ``ndcg@10``.

        Raises:
            OptionError: the model was trained on everything, or on nothing.
        """
        if self.result is None:
            raise OptionError("There are no interactions yet: nothing was trained, and nothing held out.")
        if self.result.whole_model:
            raise OptionError(
                "This model was trained on everything; no test figure belongs to it. Those of the model of the split "
                "alone are result.test_result."
            )
        return dict(self.result.test_result)

    def recommend(
        self,
        users: Iterable[User] | None = None,
        k: int = 10,
        candidates: Iterable[EntityId] | None = None,
        exclude_seen: bool = True,
    ) -> pd.DataFrame:
        """See ``Recommender.recommend``."""
        return self.recommender.recommend(users, k, candidates, exclude_seen)

    def __repr__(self) -> str:
        if self.result is None or self.result.whole_model:
            return f"Fitted({self.recommender!r})"
        figures = ", ".join(f"{name} {value:.4f}" for name, value in islice(self.result.test_result.items(), 2))
        return f"Fitted({self.recommender!r}, {self.result.scenario}: {figures})"

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *dir(self.recommender)]

    def __getattr__(self, name: str) -> Any:
        if name == "recommender":
            raise AttributeError(name)
        return getattr(self.recommender, name)
