"""What every model supports: ours by their declarations, RecBole's by what the protocol does for them."""

import importlib.util
import inspect

import recbole.model.general_recommender as general
from recbole.model.abstract_recommender import AbstractRecommender
from tabulate import tabulate

from recbole_sibrar.errors import OptionError
from recbole_sibrar.models import MODELS
from recbole_sibrar.models.core import Capabilities

# RecBole's models that score without an embedding or a profile of the entity.
CONTENT_FREE = {"Pop": Capabilities(cold_users=True), "Random": Capabilities(cold_users=True, cold_items=True)}

# RecBole's models that a run cannot serve, and why.
UNSERVED = {"RaCT": "RecBole trains it in three separate stages, and a run is one"}
if importlib.util.find_spec("faiss") is None:
    UNSERVED["NCL"] = "it needs faiss, which is not installed"

# RecBole's models in closed form: what they solve for, arrays and matrices beside a parameter that does nothing.
SOLVED = {
    **dict.fromkeys(("EASE", "SLIMElastic", "ADMMSLIM"), ("item_similarity",)),
    **dict.fromkeys(("ItemKNN", "AsymKNN"), ("w",)),
    "NCEPLRec": ("user_embeddings", "item_embeddings"),
    "Pop": ("item_cnt",),
    "Random": (),
}

COLUMNS = {
    "cold_items": "cold items",
    "cold_users": "cold users",
    "missing_modalities": "missing modalities",
    "new_content": "new by content",
    "new_entities": "new users and items",
    "pretraining": "pre-training",
}
OTHERS = "RecBole's other general recommenders"


def known_as(model_class: type) -> str:
    """The name of a model class; of one that derives from ours that of ours, whose options it has."""
    cores = getattr(model_class, "core_class", object).__mro__
    return next((core.__name__ for core in cores if core in MODELS.values()), model_class.__name__)


def capabilities_of(name: str) -> Capabilities:
    """Of one of our models, or of RecBole's."""
    return MODELS[name].capabilities if name in MODELS else CONTENT_FREE.get(name, Capabilities())


def solves(name: str) -> bool:
    """Whether a model is in closed form, one of ours or of RecBole's."""
    return MODELS[name].closed_form if name in MODELS else name in SOLVED


def capability_table() -> str:
    """Markdown: one row for each of our models and of RecBole's that differ from the rest, one for the rest."""
    rows = [
        [name, *("yes" if getattr(capabilities_of(name), column) else "" for column in COLUMNS)]
        for name in (*MODELS, *CONTENT_FREE, OTHERS)
    ]
    return tabulate(rows, headers=("model", *COLUMNS.values()), tablefmt="github")


def other_models() -> list[str]:
    """The names behind the last row of the table."""
    return [name for name in general_recommenders() if name not in (*MODELS, *CONTENT_FREE, *UNSERVED)]


def is_ones_own(model_class: type) -> bool:
    """Whether a general recommender is neither RecBole's nor ours.

    Raises:
        OptionError: it has the name of one of these, by which RecBole would find that.
    """
    own = model_class.__name__
    known = next((name for name in general_recommenders() if name.lower() == own.lower()), None)
    if known is not None and getattr(general, known) is not model_class:
        raise OptionError(
            f"model is the class {own!r} of {model_class.__module__}, but RecBole finds models by their names, and "
            f"there is another {known}; give the class another name."
        )
    return known is None


def general_recommenders() -> list[str]:
    """The names of RecBole's general recommenders and ours."""
    return sorted(
        name
        for name, value in vars(general).items()
        if inspect.isclass(value) and issubclass(value, AbstractRecommender)
    )
