"""RecBole's models: ours under its names, each general recommender with our trainer and data set, its popularity, its chance."""

import importlib.util
import sys
from types import ModuleType
from typing import TYPE_CHECKING

from recbole_sibrar.errors import OptionError
from recbole_sibrar.recbole_plugin.patches.replaced import replace

if TYPE_CHECKING:
    from recbole.data.interaction import Interaction
    from recbole.model.abstract_recommender import AbstractRecommender

TOUCH_POINTS = {
    "recbole.utils.utils:get_model": ("b86d292b794a", "finds a model as recbole.model.general_recommender.<name>"),
    "recbole.utils.utils:get_trainer": ("3659feba6c4b", "finds a trainer as recbole.trainer.<Name>Trainer"),
    "recbole.model.general_recommender.pop:Pop.calculate_loss": ("7d24b7f573d4", "replaced: it counts once for each batch, and negatives too"),
    "recbole.model.general_recommender.random:Random.full_sort_predict": ("22eb55d0aa8d", "replaced: all users of a batch get the same list"),
}  # fmt: skip


def apply() -> None:
    _register_models()
    _replace_popularity_count()
    _replace_random_scores()


def _register_models() -> None:
    import recbole.model.general_recommender as general

    from recbole_sibrar.recbole_plugin.capabilities import general_recommenders
    from recbole_sibrar.recbole_plugin.config import OUR_MODELS
    from recbole_sibrar.recbole_plugin.models import ADAPTERS

    for name in OUR_MODELS:
        _make_known(ADAPTERS[name])
        setattr(general, name, ADAPTERS[name])
    for name in general_recommenders():
        _follow_protocol(getattr(general, name))


def cover(model_class: "type[AbstractRecommender]") -> None:
    """A scenario is asked for with this model, which is RecBole's, ours, or a class of the user's own.

    Raises:
        OptionError: it is no general recommender, or has the name of another one, by which RecBole would find that.
    """
    from recbole.model.abstract_recommender import GeneralRecommender

    from recbole_sibrar.recbole_plugin.capabilities import is_ones_own

    name = model_class.__name__
    if not issubclass(model_class, GeneralRecommender):
        raise OptionError(f"scenario is given, but {name} is no general recommender, which the protocol is for.")
    if is_ones_own(model_class):
        _make_known(model_class)
        _follow_protocol(model_class)


def _make_known(model_class: "type[AbstractRecommender]") -> None:
    """RecBole finds the class by its name."""
    name = model_class.__name__
    path = f"recbole.model.general_recommender.{name.lower()}"
    module = ModuleType(path, f"{model_class.__module__}.{name}, registered by {__name__}")
    module.__spec__ = importlib.util.spec_from_loader(path, loader=None)
    setattr(module, name, model_class)
    sys.modules[path] = module


def _follow_protocol(model_class: "type[AbstractRecommender]") -> None:
    """RecBole finds our trainer and data set for the class."""
    import recbole.data.dataset
    import recbole.trainer
    from recbole.utils import get_trainer

    from recbole_sibrar.recbole_plugin.dataset import ScenarioDataset
    from recbole_sibrar.recbole_plugin.trainer import ProtocolTrainer, protocol_trainer

    name = model_class.__name__
    trainer = get_trainer(model_class.type, name)
    if not issubclass(trainer, ProtocolTrainer):
        setattr(recbole.trainer, f"{name}Trainer", protocol_trainer(trainer))
    setattr(recbole.data.dataset, f"{name}Dataset", ScenarioDataset)


def _replace_popularity_count() -> None:
    import torch
    from recbole.model.general_recommender.pop import Pop

    def calculate_loss(self: Pop, interaction: "Interaction") -> torch.Tensor:
        items = interaction[self.ITEM_ID]
        if "label" in interaction:  # RecBole's default settings give Pop sampled negatives too
            items = items[interaction["label"] > 0]
        self.item_cnt += torch.bincount(items, minlength=self.n_items).unsqueeze(1)
        self.max_cnt = self.item_cnt.amax(dim=0)
        return torch.nn.Parameter(torch.zeros(1)).to(self.device)

    replace(Pop, "calculate_loss", calculate_loss, "recbole.model.general_recommender.pop:Pop.calculate_loss")


def _replace_random_scores() -> None:
    import torch
    from recbole.model.general_recommender.random import Random

    def full_sort_predict(self: Random, interaction: "Interaction") -> torch.Tensor:
        n_users = len(interaction[self.USER_ID])
        return torch.rand(n_users * self.n_items, device=self.device)

    touch_point = "recbole.model.general_recommender.random:Random.full_sort_predict"
    replace(Random, "full_sort_predict", full_sort_predict, touch_point)
