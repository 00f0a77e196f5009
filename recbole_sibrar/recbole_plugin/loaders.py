"""Batches: RecBole's data loaders, fed with our negatives and our candidates."""

from dataclasses import dataclass

import numpy as np
import torch
from recbole.config import Config
from recbole.data.dataloader import FullSortEvalDataLoader, TrainDataLoader
from recbole.data.dataloader.abstract_dataloader import AbstractDataLoader
from recbole.data.dataset import Dataset
from recbole.data.interaction import Interaction
from torch import Tensor

from recbole_sibrar.data.negatives import NegativeSampler
from recbole_sibrar.errors import OptionError
from recbole_sibrar.recbole_plugin import distributed

LEAST_STEPS = 15
"""An epoch has so many steps at least: early stopping waits for epochs, and a few of a step or two would be no wait."""

RATE = 0.001
"""The learning rate of a usual batch; Adam's goes with the root of how many times as large a batch is."""


@dataclass(frozen=True)
class Sizes:
    """How many users or positives a batch has.

    Attributes:
        usual: at most so many, where that is no more than ``steps`` an epoch.
        steps: of more it has as many as make so many steps, up to ``most``: validation comes in time, and what a step
            encodes of the items is for more of them (docs/experiments.md).
    """

    usual: int
    steps: int
    most: int

    def of(self, n: int) -> int:
        """How many of the ``n`` of an epoch.

        The last batch is about as large as the others: one of a few users would be a step as long as theirs, in a
        direction that says little.
        """
        most = min(max(self.usual, -(-n // self.steps)), self.most)
        return -(-n // max(LEAST_STEPS, -(-n // most)))


USERS, POSITIVES = Sizes(usual=256, steps=40, most=1024), Sizes(usual=1024, steps=200, most=4096)


class TrainingItemSampler:
    """RecBole's sampler interface around ``NegativeSampler``: negatives are training items."""

    def __init__(self, dataset: Dataset, distribution: str, alpha: float, seed: int):
        self.sampler = NegativeSampler(
            dataset.inter_feat[dataset.uid_field].numpy(),
            dataset.inter_feat[dataset.iid_field].numpy(),
            dataset.user_num,
            seed,
            popularity_power=alpha if distribution == "popularity" else None,
            user_tokens=dataset.field2id_token[dataset.uid_field],
        )

    def sample_by_user_ids(self, user_ids: np.ndarray, item_ids: np.ndarray, num: int) -> Tensor:
        """(B,) users -> (num * B,) items, RecBole's order: the first negative of every row, then the second, ..."""
        return torch.from_numpy(self.sampler.sample(np.asarray(user_ids), num).T.ravel())


def training_sampler(config: Config, dataset: Dataset) -> TrainingItemSampler | None:
    """The sampler that ``train_neg_sample_args`` asks for, or None."""
    arguments = config["train_neg_sample_args"]
    if arguments["distribution"] == "none":
        return None
    return TrainingItemSampler(dataset, arguments["distribution"], arguments["alpha"], config["seed"])


class TrainLoader:
    """Mixed into a loader of RecBole's: a ``train_batch_size`` that is None suits the data."""

    sizes: Sizes

    def _init_batch_size_and_step(self) -> None:
        self.step = self.config["train_batch_size"] or self.sizes.of(self.sample_size)
        self.set_batch_size(self.step)

    @property
    def learning_rate(self) -> float:
        """What suits its batches, where none is given."""
        return RATE * max(1, self.step / self.sizes.usual) ** 0.5


class PairLoader(TrainLoader, TrainDataLoader):
    """Training batches for the bpr loss: positives with their negatives (B, n)."""

    sizes = POSITIVES

    def collate_fn(self, index: Tensor) -> Interaction:
        feat = self._dataset.inter_feat
        index = torch.as_tensor(index)
        users, items = feat[self.uid_field][index], feat[self.iid_field][index]
        negatives = self._sampler.sampler.sample(users.numpy(), self.neg_sample_num)
        return Interaction(
            {self.uid_field: users, self.iid_field: items, self.neg_item_id: torch.from_numpy(negatives)}
        )


class UserLoader(TrainLoader, AbstractDataLoader):
    """Training batches for the softmax loss: distinct users."""

    sizes = USERS

    def __init__(self, config: Config, dataset: Dataset, sampler: TrainingItemSampler | None, shuffle: bool = False):
        self.uid_field = dataset.uid_field
        self.users = dataset.inter_feat[self.uid_field].unique()
        self.sample_size = len(self.users)
        super().__init__(config, dataset, sampler, shuffle=shuffle)

    def collate_fn(self, index: Tensor) -> Interaction:
        return Interaction({self.uid_field: self.users[torch.as_tensor(index)]})


class AllUsersLoader(UserLoader):
    """One training batch, of all users."""

    def _init_batch_size_and_step(self) -> None:
        self.step = self.sample_size
        self.set_batch_size(self.step)


class ScenarioEvalLoader(FullSortEvalDataLoader):
    """Evaluation batches under the protocol.

    RecBole's trainer sets ``scores[history] = -inf``; here ``history`` are the row and column numbers of all that the
    users have seen earlier. ``ProtocolTrainer`` takes out what is no candidate.
    """

    def __init__(self, config: Config, dataset: Dataset, sampler: TrainingItemSampler | None, shuffle: bool = False):
        if config["eval_args"]["mode"][dataset.phase.name] != "full":
            raise OptionError(
                f"eval_args.mode is {config['eval_args']['mode']!r}; the protocol ranks all candidates: use 'full'."
            )
        self.phase = dataset.phase
        self.uid_field, self.iid_field = dataset.uid_field, dataset.iid_field
        self.is_sequential = False
        self.users = distributed.share_of_users(self.phase.users)
        self.sample_size = len(self.users)
        AbstractDataLoader.__init__(self, config, dataset, sampler, shuffle=False)

    def collate_fn(self, index: Tensor) -> tuple[Interaction, tuple[Tensor, Tensor], Tensor, Tensor]:
        users = self.users[torch.as_tensor(index)]
        seen, positives = self.phase.seen.select(users), self.phase.positives.select(users)
        history = seen.row_of_entry(), seen.columns
        return Interaction({self.uid_field: users}), history, positives.row_of_entry(), positives.columns
