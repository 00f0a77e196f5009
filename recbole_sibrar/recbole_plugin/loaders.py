"""Batches: RecBole's data loaders, fed with our negatives and our candidates."""

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

MOST_USERS, MOST_POSITIVES = 256, 1024

USERS_OF_MANY, STEPS_OF_MANY = 1024, 40
"""Where an epoch would have more than so many steps a batch has more users, up to so many: validation comes in time,
and what a step encodes of the items is for more of them (docs/experiments.md)."""


def batch_size(config: Config, n: int, most: int) -> int:
    """``train_batch_size``, or where it is None what suits the data's size.

    The last batch is then about as large as the others: one of a few users would be a step as long as theirs, in a
    direction that says little.

    Args:
        n: how many users or positives an epoch has. most: in a batch.
    """
    return config["train_batch_size"] or -(-n // max(LEAST_STEPS, -(-n // most)))


def most_users(n: int) -> int:
    """How many users a batch has at most, of the ``n`` of an epoch."""
    return min(max(MOST_USERS, -(-n // STEPS_OF_MANY)), USERS_OF_MANY)


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


class PairLoader(TrainDataLoader):
    """Training batches for the bpr loss: positives with their negatives (B, n)."""

    def _init_batch_size_and_step(self) -> None:
        self.step = batch_size(self.config, self.sample_size, MOST_POSITIVES)
        self.set_batch_size(self.step)

    def collate_fn(self, index: Tensor) -> Interaction:
        feat = self._dataset.inter_feat
        index = torch.as_tensor(index)
        users, items = feat[self.uid_field][index], feat[self.iid_field][index]
        negatives = self._sampler.sampler.sample(users.numpy(), self.neg_sample_num)
        return Interaction(
            {self.uid_field: users, self.iid_field: items, self.neg_item_id: torch.from_numpy(negatives)}
        )


class UserLoader(AbstractDataLoader):
    """Training batches for the softmax loss: distinct users."""

    def __init__(self, config: Config, dataset: Dataset, sampler: TrainingItemSampler | None, shuffle: bool = False):
        self.uid_field = dataset.uid_field
        self.users = dataset.inter_feat[self.uid_field].unique()
        self.sample_size = len(self.users)
        super().__init__(config, dataset, sampler, shuffle=shuffle)

    def _init_batch_size_and_step(self) -> None:
        self.step = batch_size(self.config, self.sample_size, most_users(self.sample_size))
        self.set_batch_size(self.step)

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
