"""SiBraR and MuBraR under RecBole's model interface: batches in, losses and scores out."""

from contextlib import contextmanager

import torch
from recbole.model.abstract_recommender import GeneralRecommender
from recbole.utils import InputType

from recbole_sibrar.data.modalities import INTERACTIONS, SIDES
from recbole_sibrar.errors import OptionError
from recbole_sibrar.models import MODELS
from recbole_sibrar.models.batches import PairBatch, UserBatch
from recbole_sibrar.recbole_plugin.config import DEFAULT_SCENARIO, model_options
from recbole_sibrar.recbole_plugin.dataset import ScenarioDataset
from recbole_sibrar.recbole_plugin.loaders import PairLoader, UserLoader


class BranchAdapter(GeneralRecommender):
    """Adapts a ``BranchRecommender`` to RecBole.

    Attributes:
        core_class: the model.
        serves_cold: sides whose entities without training interactions the model scores by their content.
    """

    input_type = InputType.PAIRWISE
    core_class = None
    serves_cold = frozenset(SIDES)

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        if not isinstance(dataset, ScenarioDataset):
            raise OptionError(
                f"{type(self).__name__} needs recbole_sibrar's data set class, got {type(dataset).__name__}; "
                "make it with recbole.data.create_dataset(config)."
            )
        self.options = model_options(config)
        modalities = {side: dataset.modalities(side, self._names(side)) for side in SIDES}
        self.core = self.core_class(self.options, modalities, dataset.interaction_rows(), config["seed"])
        self.core.requirements(config["scenario"] or DEFAULT_SCENARIO)
        self._item_embeddings = None

    def _names(self, side):
        return self.options.modalities(side) if self.options.is_single_branch(side) else [INTERACTIONS]

    @staticmethod
    def check_options(config):
        """Raise an ``OptionError`` for a wrong option, before any data is read."""
        model_options(config)

    @staticmethod
    def train_loader(config):
        """The data loader that makes the batches of the configured loss."""
        return PairLoader if model_options(config).rec_loss == "bpr" else UserLoader

    def calculate_loss(self, interaction):
        users = interaction[self.USER_ID]
        if self.NEG_ITEM_ID in interaction:
            batch = PairBatch(users, interaction[self.ITEM_ID], interaction[self.NEG_ITEM_ID])
        else:
            batch = UserBatch(users)
        terms = self.core.loss(batch)
        return terms if len(terms) > 1 else terms[0]

    def predict(self, interaction):
        with self._scoring():
            users = self.core.embeddings("user", interaction[self.USER_ID])
            items = self.core.embeddings("item", interaction[self.ITEM_ID])
        return (users * items).sum(-1)

    def full_sort_predict(self, interaction):
        with self._scoring():
            users = self.core.embeddings("user", interaction[self.USER_ID])
            return (users @ self._all_items().T).view(-1)

    def _all_items(self):
        """(n_items, D), computed once for each evaluation."""
        if self._item_embeddings is None or self.training:
            self._item_embeddings = self.core.embeddings(
                "item", torch.arange(self.n_items, device=self.core.step.device)
            )
        return self._item_embeddings

    def train(self, mode=True):
        self._item_embeddings = None
        return super().train(mode)

    @contextmanager
    def _scoring(self):
        """Scores are made without dropout and gradients, also when RecBole asks for them while training."""
        training = self.core.training
        self.core.eval()
        try:
            with torch.no_grad():
                yield
        finally:
            self.core.train(training)


class SiBraR(BranchAdapter):
    core_class = MODELS["SiBraR"]


class MuBraR(BranchAdapter):
    core_class = MODELS["MuBraR"]
