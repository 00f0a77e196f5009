"""Our models under RecBole's model interface: batches in, losses and scores out."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from recbole.config import Config
from recbole.data.dataloader.abstract_dataloader import AbstractDataLoader
from recbole.data.interaction import Interaction
from recbole.model.abstract_recommender import GeneralRecommender
from recbole.utils import InputType
from torch import Tensor

from recbole_sibrar.checked import CheckedOptions
from recbole_sibrar.data.modalities import SIDES
from recbole_sibrar.models import MODELS
from recbole_sibrar.models.batches import PairBatch, UserBatch
from recbole_sibrar.recbole_plugin.dataset import ScenarioDataset
from recbole_sibrar.recbole_plugin.loaders import AllUsersLoader, PairLoader, UserLoader
from recbole_sibrar.scenarios import DEFAULT_SCENARIO

LOADERS = {"pairs": PairLoader, "users": UserLoader, "all_users": AllUsersLoader}


class Adapter(GeneralRecommender):
    """Adapts an ``InnerProductModel`` to RecBole.

    Attributes:
        core_class: the model.
    """

    input_type = InputType.PAIRWISE
    core_class = None

    def __init__(self, config: Config, dataset: ScenarioDataset):
        super().__init__(config, dataset)
        self.options = self._options(config)
        modalities = {side: dataset.modalities(side, self.options.read_modalities(side)) for side in SIDES}
        self.core = self.core_class(self.options, modalities, dataset.interaction_rows(), config["seed"])
        self.core.requirements(config["scenario"] or DEFAULT_SCENARIO)
        self._item_embeddings: Tensor | None = None

    @classmethod
    def _options(cls, config: Config) -> CheckedOptions:
        return cls.core_class.options_class.from_mapping(config.final_config_dict)

    @classmethod
    def check_options(cls, config: Config) -> None:
        """Raise an ``OptionError`` for a wrong option, before any data is read."""
        cls._options(config)

    @classmethod
    def without_effect(cls, config: Config, given: set[str]) -> list[str]:
        """Sentences that name those of the options ``given`` that other options leave without effect."""
        return cls._options(config).without_effect(given)

    @classmethod
    def read_modalities(cls, config: Config, side: str) -> list[str] | None:
        """Which modalities of a side the configured model reads, None for all."""
        return cls._options(config).read_modalities(side)

    @classmethod
    def train_loader(cls, config: Config) -> type[AbstractDataLoader]:
        """The data loader that makes the batches of the configured loss."""
        return LOADERS[cls._options(config).batches]

    def pretrain(self, config: Config) -> None:
        """What the model needs to have been done before it is trained."""
        self.core.pretrain(Path(config["output_dir"]) / ".pretrained", config["show_progress"])

    def calculate_loss(self, interaction: Interaction) -> Any:
        users = interaction[self.USER_ID]
        if self.NEG_ITEM_ID in interaction:
            batch = PairBatch(users, interaction[self.ITEM_ID], interaction[self.NEG_ITEM_ID])
        else:
            batch = UserBatch(users)
        terms = self.core.loss(batch)
        return terms if len(terms) > 1 else terms[0]

    def predict(self, interaction: Interaction) -> Tensor:
        with self._scoring():
            users = self.core.embeddings("user", interaction[self.USER_ID])
            items = self.core.embeddings("item", interaction[self.ITEM_ID])
        return (users * items).sum(-1)

    def full_sort_predict(self, interaction: Interaction) -> Tensor:
        return (self.user_embeddings(interaction[self.USER_ID]) @ self.item_embeddings().T).view(-1)

    @property
    def ranks_by_embeddings(self) -> bool:
        """Whether scores are the inner products; a class of one's own may make them otherwise."""
        return type(self).full_sort_predict is Adapter.full_sort_predict

    def user_embeddings(self, users: Tensor) -> Tensor:
        """(U,) ids -> (U, D), for scoring."""
        with self._scoring():
            return self.core.embeddings("user", users)

    def item_embeddings(self) -> Tensor:
        """(n_items, D), for scoring, computed once for each evaluation."""
        if self._item_embeddings is None or self.training:
            with self._scoring():
                everything = torch.arange(self.n_items, device=self.core.step.device)
                self._item_embeddings = self.core.embeddings("item", everything)
        return self._item_embeddings

    def train(self, mode: bool = True) -> "Adapter":
        self._item_embeddings = None
        return super().train(mode)

    @contextmanager
    def _scoring(self) -> Iterator[None]:
        """Scores are made without dropout and gradients, also when RecBole asks for them while training."""
        training = self.core.training
        self.core.eval()
        try:
            with torch.no_grad():
                yield
        finally:
            self.core.train(training)


ADAPTERS: dict[str, type[Adapter]] = {
    name: type(name, (Adapter,), {"core_class": core_class, "__module__": __name__})
    for name, core_class in MODELS.items()
}
globals().update(ADAPTERS)  # RecBole and pickle look for a class by the name of its module
