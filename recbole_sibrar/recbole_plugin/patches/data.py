"""RecBole's data: nothing unpickled, loaders and negatives that follow the protocol."""

import functools
from types import ModuleType
from typing import TYPE_CHECKING, Any

from recbole_sibrar.errors import OptionError
from recbole_sibrar.recbole_plugin.patches.replaced import replace

if TYPE_CHECKING:
    from recbole.config import Config
    from recbole.data.dataloader import AbstractDataLoader
    from recbole.data.dataset import Dataset

TOUCH_POINTS = {
    "recbole.data.utils:create_dataset": ("1a2f76b26b3d", "replaced: it unpickles; finds a class as recbole.data.dataset.<Name>Dataset"),
    "recbole.data.utils:load_split_dataloaders": ("ad97dd4b6a7c", "replaced: it unpickles"),
    "recbole.data.utils:data_preparation": ("18a29e80ec32", "calls create_samplers and get_dataloader of its own module"),
    "recbole.data.utils:create_samplers": ("72215a13bfd8", "replaced: negatives from training items"),
    "recbole.data.utils:get_dataloader": ("ae795a50ccb6", "replaced: loaders that follow the protocol"),
    "recbole.data.dataset.dataset:Dataset.build": ("23efe0363311", "the warm split; cold splits beside it"),
    "recbole.data.dataset.dataset:Dataset._calcu_split_ids": ("c662af92e6f8", "where a split by shares ends; replaced with split_rounding=up"),
    "recbole.data.dataset.dataset:Dataset._load_feat": ("9948d02fed03", "replaced for interactions: strict and by columns"),
    "recbole.data.dataset.dataset:Dataset._load_data": ("9da47b33da9c", "would download an absent data set"),
    "recbole.data.dataset.dataset:Dataset._data_filtering": ("0e9dadb6063f", "raises ValueError when nothing is left"),
    "recbole.data.dataloader.general_dataloader:TrainDataLoader": ("1f41ac85f5e7", "base of PairLoader"),
    "recbole.data.dataloader.general_dataloader:FullSortEvalDataLoader": ("1c224cf8d1b1", "base of ScenarioEvalLoader"),
    "recbole.data.dataloader.abstract_dataloader:AbstractDataLoader": ("dd5c7e52c581", "base of UserLoader"),
}  # fmt: skip


def apply() -> None:
    _read_nothing_pickled()
    _replace_loaders()


def _read_nothing_pickled() -> None:
    """RecBole unpickles, and so executes, files of certain names beside a checkpoint and in the data set's folder."""
    import numpy as np
    import recbole.data
    import recbole.data.dataset as classes
    from recbole.data import utils
    from recbole.model.general_recommender import ldiffrec
    from recbole.utils import ModelType

    from recbole_sibrar.recbole_plugin.checks import check

    kinds = {ModelType.SEQUENTIAL: "SequentialDataset", ModelType.KNOWLEDGE: "KnowledgeBasedDataset"}

    def create_dataset(config: "Config") -> "Dataset":
        if config["scenario"] is not None:
            check(config)
        own = f"{config['model']}Dataset"
        name = own if hasattr(classes, own) else kinds.get(config["MODEL_TYPE"], "Dataset")
        dataset = getattr(classes, name)(config)
        if config["save_dataset"]:
            dataset.save()
        return dataset

    def load_split_dataloaders(config: "Config") -> None:
        return None

    for replacement in (create_dataset, load_split_dataloaders):
        name = replacement.__name__
        replace(utils, name, replacement, f"recbole.data.utils:{name}")
        setattr(recbole.data, name, replacement)
    ldiffrec.np = ModuleType("numpy", "numpy with a load that takes arrays of numbers only")
    ldiffrec.np.__dict__.update({**vars(np), "load": lambda path, **_: np.load(path)})


def _replace_loaders() -> None:
    from recbole.data import dataset as classes
    from recbole.data import utils
    from recbole.utils import get_model

    from recbole_sibrar.recbole_plugin.dataset import ScenarioDataset
    from recbole_sibrar.recbole_plugin.loaders import ScenarioEvalLoader, UserLoader, training_sampler

    create_samplers, get_dataloader = utils.create_samplers, utils.get_dataloader

    def own_train_loader(config: "Config") -> "type[AbstractDataLoader] | None":
        choose = getattr(get_model(config["model"]), "train_loader", None)
        return choose(config) if choose else None

    @functools.wraps(create_samplers)
    def create_scenario_samplers(
        config: "Config", dataset: "Dataset", built_datasets: "list[Dataset]"
    ) -> tuple[Any, ...]:
        wanted = getattr(classes, f"{config['model']}Dataset", None)
        if wanted is ScenarioDataset and not isinstance(dataset, ScenarioDataset):
            raise OptionError(
                f"{config['model']} needs recbole_sibrar's data set class, got {type(dataset).__name__}; make it with "
                "recbole.data.create_dataset(config)."
            )
        if config["scenario"] is None:
            return create_samplers(config, dataset, built_datasets)
        loader = own_train_loader(config)
        needs_none = loader is not None and issubclass(loader, UserLoader)
        return None if needs_none else training_sampler(config, built_datasets[0]), None, None

    @functools.wraps(get_dataloader)
    def get_scenario_dataloader(config: "Config", phase: str) -> "type[AbstractDataLoader]":
        if config["scenario"] is None:
            return get_dataloader(config, phase)
        if phase != "train":
            return ScenarioEvalLoader
        return own_train_loader(config) or get_dataloader(config, phase)

    replace(utils, "create_samplers", create_scenario_samplers, "recbole.data.utils:create_samplers")
    replace(utils, "get_dataloader", get_scenario_dataloader, "recbole.data.utils:get_dataloader")
