"""Everything that we register in RecBole or replace in it, and the RecBole code that each entry relies on.

``TOUCH_POINTS`` lists the code; ``tests/test_touchpoints.py`` compares its fingerprints with the installed RecBole and
fails when RecBole changes. ``register`` does the work once, as soon as ``recbole_sibrar`` and RecBole are imported.
"""

import functools
import hashlib
import importlib
import importlib.util
import inspect
import sys
import warnings
from contextlib import contextmanager
from types import ModuleType

from recbole_sibrar.errors import SibrarError
from recbole_sibrar.hook import RECBOLE_VERSION, on_import

# "module:object" -> (first 12 digits of the SHA-256 of its source, why we rely on it)
TOUCH_POINTS = {
    "recbole.utils.utils:get_model": ("b86d292b794a", "finds a model as recbole.model.general_recommender.<name>"),
    "recbole.utils.utils:get_trainer": ("3659feba6c4b", "finds a trainer as recbole.trainer.<Name>Trainer"),
    "recbole.data.utils:create_dataset": ("1a2f76b26b3d", "replaced: it unpickles; finds a class as recbole.data.dataset.<Name>Dataset"),
    "recbole.data.utils:load_split_dataloaders": ("ad97dd4b6a7c", "replaced: it unpickles"),
    "recbole.data.utils:data_preparation": ("18a29e80ec32", "calls create_samplers and get_dataloader of its own module"),
    "recbole.data.utils:create_samplers": ("72215a13bfd8", "replaced: negatives from training items"),
    "recbole.data.utils:get_dataloader": ("ae795a50ccb6", "replaced: loaders that follow the protocol"),
    "recbole.config.configurator:Config._load_internal_config_dict": ("0c02574bc56f", "extended by our property files"),
    "recbole.config.configurator:Config._set_default_parameters": ("4cb3e261e4bb", "takes RecBole's ml-100k, whatever data_path holds"),
    "recbole.config.configurator:Config.compatibility_settings": ("5030d75b2f92", "replaced: names that numpy 2 has not"),
    "recbole.config.configurator:Config._convert_config_dict": ("48152baf9a7a", "replaced: it evaluates strings"),
    "recbole.config.configurator:Config._init_device": ("d6b946b3b2e0", "without local_rank it joins no process group"),
    "recbole.trainer.trainer:Trainer.__init__": ("3e1bd209b5a4", "makes a Collector; ours takes its place"),
    "recbole.trainer.trainer:Trainer._build_optimizer": ("81f2ebf61cca", "our models' Adam and AdamW are fused, or lazy on large tables"),
    "recbole.trainer.trainer:Trainer.evaluate": ("a24a9dde4db8", "extended by checkpoint loading and the phase"),
    "recbole.trainer.trainer:Trainer._full_sort_batch_eval": ("82664fc5e5aa", "sets scores[mask] = -inf; cold ids replaced after"),
    "recbole.trainer.trainer:Trainer._save_checkpoint": ("59378042d807", "replaced: plain data"),
    "recbole.trainer.trainer:Trainer.resume_checkpoint": ("fe7521a84a5c", "replaced: plain data"),
    "recbole.trainer.trainer:Trainer._train_epoch": ("2ee67cb58ea7", "timed; takes the loss from loss_func"),
    "recbole.trainer.trainer:Trainer._check_nan": ("b5620efb18b6", "replaced: our error, for infinity too"),
    "recbole.trainer.trainer:Trainer._valid_epoch": ("711ddf0c4623", "timed"),
    "recbole.utils.utils:get_tensorboard": ("2d129a593b53", "replaced in all processes but the first"),
    "recbole.utils.wandblogger:WandbLogger": ("25c0a438c8db", "replaced in all processes but the first"),
    "recbole.evaluator.collector:Collector": ("070cb5b45efb", "extended: lists for our metrics; .cpu() on counts mended"),
    "recbole.evaluator.register:Register": ("083510471a24", "looks metrics up in the dictionaries that we extend"),
    "recbole.evaluator.evaluator:Evaluator": ("2bb7a669961e", "makes the metrics out of metrics_dict"),
    "recbole.data.dataset.dataset:Dataset.build": ("23efe0363311", "the warm split; cold splits beside it"),
    "recbole.data.dataset.dataset:Dataset._load_feat": ("9948d02fed03", "replaced for interactions: strict and by columns"),
    "recbole.data.dataset.dataset:Dataset._fill_nan": ("b156de9924b8", "replaced: fillna(inplace=True) does nothing in pandas 3"),
    "recbole.data.dataset.dataset:Dataset._remap": ("51fd4947aa82", "its agg(len) is mended for pandas 3 by a len of its module"),
    "recbole.data.dataset.dataset:Dataset._load_data": ("9da47b33da9c", "would download an absent data set"),
    "recbole.data.dataset.dataset:Dataset._data_filtering": ("0e9dadb6063f", "raises ValueError when nothing is left"),
    "recbole.data.dataloader.general_dataloader:TrainDataLoader": ("1f41ac85f5e7", "base of PairLoader"),
    "recbole.data.dataloader.general_dataloader:FullSortEvalDataLoader": ("1c224cf8d1b1", "base of ScenarioEvalLoader"),
    "recbole.data.dataloader.abstract_dataloader:AbstractDataLoader": ("dd5c7e52c581", "base of UserLoader"),
    "recbole.model.general_recommender.pop:Pop.calculate_loss": ("7d24b7f573d4", "replaced: it counts once for each batch, and negatives too"),
    "recbole.utils.logger:init_logger": ("548f4cebce48", "wraps stdout in each run; the second time it does not"),
    "recbole.quick_start.quick_start:load_data_and_model": ("a7709915fca7", "replaced: reads our checkpoints"),
    "recbole.quick_start.quick_start:objective_function": ("517c95a67f6b", "replaced: it reports test results to the tuner"),
}  # fmt: skip

# What newer packages say of RecBole's own code.
WARNINGS = (
    "A value is trying to be set on a copy",  # pandas 2
    "A value is being set on a copy",  # pandas 3; see _mend_for_newer_packages
    "The given NumPy array is not writable",  # pandas 3 lends its columns for reading
    "`torch.cuda.amp.GradScaler",
)


def fingerprint(touch_point: str) -> str:
    """The fingerprint of the installed code of ``module:object``."""
    module, _, path = touch_point.partition(":")
    target = importlib.import_module(module)
    for name in path.split("."):
        target = inspect.getattr_static(target, name)
    target = ORIGINALS.get(touch_point, target)
    return hashlib.sha256(inspect.getsource(target).encode()).hexdigest()[:12]


# Replaced objects, so that their fingerprints stay available.
ORIGINALS = {}


def _replace(owner, name, replacement, touch_point):
    ORIGINALS[touch_point] = inspect.getattr_static(owner, name)
    setattr(owner, name, replacement)


@functools.cache
def register() -> None:
    """Make RecBole know our models, data set class, trainers, metrics, property files and checkpoints.

    Raises:
        SibrarError: RecBole is of another version.
    """
    _check_version()
    for message in WARNINGS:
        warnings.filterwarnings("ignore", message)
    _replace_configuration()
    _read_nothing_pickled()
    _replace_loaders()
    _register_metrics()
    _register_models()
    _replace_popularity_count()
    _wrap_console_once()
    _mend_for_newer_packages()
    _when_quick_start_is_imported()
    _serve_their_models()


def _check_version():
    import recbole

    if recbole.__version__ != RECBOLE_VERSION:
        raise SibrarError(
            f"RecBole {recbole.__version__} is installed, but recbole_sibrar is made for {RECBOLE_VERSION}: "
            f"pip install recbole=={RECBOLE_VERSION}"
        )


def _replace_configuration():
    from recbole.config import Config

    from recbole_sibrar.properties import parse_option
    from recbole_sibrar.recbole_plugin.config import apply_layers, own_folder

    original = Config._load_internal_config_dict

    @functools.wraps(original)
    def load_internal_config_dict(self, model, model_class, dataset):
        original(self, model, model_class, dataset)
        apply_layers(self, model, dataset)

    def convert_config_dict(self, config_dict):
        return {key: parse_option(key, value) for key, value in config_dict.items()}

    set_default_parameters = Config._set_default_parameters

    @functools.wraps(set_default_parameters)
    def set_own_data_path(self):
        given = self.final_config_dict["data_path"]
        set_default_parameters(self)
        if self.final_config_dict.get("scenario") is not None and (own := own_folder(given, self.dataset)):
            self.final_config_dict["data_path"] = str(own)

    where = "recbole.config.configurator:Config."
    _replace(Config, "_set_default_parameters", set_own_data_path, where + "_set_default_parameters")
    _replace(Config, "_load_internal_config_dict", load_internal_config_dict, where + "_load_internal_config_dict")
    _replace(Config, "_convert_config_dict", convert_config_dict, where + "_convert_config_dict")


def _read_nothing_pickled():
    """RecBole unpickles, and so executes, files of certain names beside a checkpoint and in the data set's folder."""
    import numpy as np
    import recbole.data
    import recbole.data.dataset as classes
    from recbole.data import utils
    from recbole.model.general_recommender import ldiffrec
    from recbole.utils import ModelType

    kinds = {ModelType.SEQUENTIAL: "SequentialDataset", ModelType.KNOWLEDGE: "KnowledgeBasedDataset"}

    def create_dataset(config):
        own = f"{config['model']}Dataset"
        name = own if hasattr(classes, own) else kinds.get(config["MODEL_TYPE"], "Dataset")
        dataset = getattr(classes, name)(config)
        if config["save_dataset"]:
            dataset.save()
        return dataset

    def load_split_dataloaders(config):
        return None

    for replacement in (create_dataset, load_split_dataloaders):
        name = replacement.__name__
        _replace(utils, name, replacement, f"recbole.data.utils:{name}")
        setattr(recbole.data, name, replacement)
    ldiffrec.np = ModuleType("numpy", "numpy with a load that takes arrays of numbers only")
    ldiffrec.np.__dict__.update({**vars(np), "load": lambda path, **_: np.load(path)})


def _replace_loaders():
    from recbole.data import utils
    from recbole.utils import get_model

    from recbole_sibrar.recbole_plugin.loaders import ScenarioEvalLoader, UserLoader, training_sampler

    create_samplers, get_dataloader = utils.create_samplers, utils.get_dataloader

    def own_train_loader(config):
        choose = getattr(get_model(config["model"]), "train_loader", None)
        return choose(config) if choose else None

    @functools.wraps(create_samplers)
    def create_scenario_samplers(config, dataset, built_datasets):
        if config["scenario"] is None:
            return create_samplers(config, dataset, built_datasets)
        loader = own_train_loader(config)
        needs_none = loader is not None and issubclass(loader, UserLoader)
        return None if needs_none else training_sampler(config, built_datasets[0]), None, None

    @functools.wraps(get_dataloader)
    def get_scenario_dataloader(config, phase):
        if config["scenario"] is None:
            return get_dataloader(config, phase)
        if phase != "train":
            return ScenarioEvalLoader
        return own_train_loader(config) or get_dataloader(config, phase)

    _replace(utils, "create_samplers", create_scenario_samplers, "recbole.data.utils:create_samplers")
    _replace(utils, "get_dataloader", get_scenario_dataloader, "recbole.data.utils:get_dataloader")


def _register_metrics():
    import recbole.trainer.trainer as trainer_module
    from recbole.evaluator import register as registry

    from recbole_sibrar.recbole_plugin.metrics import METRIC_CLASSES, SHORT_LIST_CLASSES, ProtocolCollector

    for name, metric in METRIC_CLASSES.items():
        registry.metrics_dict[name] = metric
        registry.metric_types[name] = metric.metric_type
        registry.metric_information[name] = metric.metric_need
        if metric.smaller and name not in registry.smaller_metrics:
            registry.smaller_metrics.append(name)
    registry.metrics_dict.update(SHORT_LIST_CLASSES)
    trainer_module.Collector = ProtocolCollector


def _register_models():
    import recbole.data.dataset
    import recbole.model.general_recommender as general
    import recbole.trainer
    from recbole.utils import get_trainer

    from recbole_sibrar.recbole_plugin import models
    from recbole_sibrar.recbole_plugin.capabilities import general_recommenders
    from recbole_sibrar.recbole_plugin.config import OUR_MODELS
    from recbole_sibrar.recbole_plugin.dataset import ScenarioDataset
    from recbole_sibrar.recbole_plugin.trainer import protocol_trainer

    for name in OUR_MODELS:
        path = f"recbole.model.general_recommender.{name.lower()}"
        module = ModuleType(path, f"recbole_sibrar's {name}, registered by {__name__}")
        module.__spec__ = importlib.util.spec_from_loader(path, loader=None)
        setattr(module, name, getattr(models, name))
        sys.modules[path] = module
        setattr(general, name, getattr(models, name))
    for name in general_recommenders():
        trainer = get_trainer(getattr(general, name).type, name)
        setattr(recbole.trainer, f"{name}Trainer", protocol_trainer(trainer))
        setattr(recbole.data.dataset, f"{name}Dataset", ScenarioDataset)


def _replace_popularity_count():
    import torch
    from recbole.model.general_recommender.pop import Pop

    def calculate_loss(self, interaction):
        items = interaction[self.ITEM_ID]
        if "label" in interaction:  # RecBole's default settings give Pop sampled negatives too
            items = items[interaction["label"] > 0]
        self.item_cnt += torch.bincount(items, minlength=self.n_items).unsqueeze(1)
        self.max_cnt = self.item_cnt.amax(dim=0)
        return torch.nn.Parameter(torch.zeros(1)).to(self.device)

    _replace(Pop, "calculate_loss", calculate_loss, "recbole.model.general_recommender.pop:Pop.calculate_loss")


def _wrap_console_once():
    """Each run wraps ``sys.stdout`` once more; after some hundred, as trials of ``tune``, printing recurses too deep."""
    from recbole.utils import logger

    logger.init = functools.cache(logger.init)


def _mend_for_newer_packages():
    """What RecBole takes from numpy, pandas and scipy and newer ones have no longer; nothing changes with older ones."""
    import numpy as np
    import pandas as pd
    from recbole.config import Config
    from recbole.data.dataset import dataset as module
    from recbole.utils import FeatureType
    from scipy.sparse import dok_matrix

    names = {"bool": np.bool_, "int": np.int_, "float": np.float64, "complex": np.complex128, "object": np.object_}
    names |= {"str": np.str_, "long": np.int_, "unicode": np.str_}

    def compatibility_settings(self):
        for name, value in names.items():
            setattr(np, name, value)

    def read_csv(*args, **kwargs):
        frame = pd.read_csv(*args, **kwargs)
        for column in frame.columns[frame.columns.astype(str).str.endswith("_seq")]:
            frame[column] = frame[column].fillna("")
        return frame

    def length(values):  # of each entry in ``series.agg(len)``, for which pandas 3 hands over the whole series
        each = isinstance(values, pd.Series) and len(values) > 0 and isinstance(values.iloc[0], np.ndarray)
        return values.map(len) if each else len(values)

    fill_sequences = module.Dataset._fill_nan

    def fill_nan(self):
        for feat in (getattr(self, name) for name in self.feat_name_list):
            for field in feat:
                if self.field2type[field] == FeatureType.TOKEN:
                    feat[field] = feat[field].fillna(0)
                elif self.field2type[field] == FeatureType.FLOAT:
                    feat[field] = feat[field].fillna(feat[field].mean())
        fill_sequences(self)

    where = "recbole.config.configurator:Config.compatibility_settings"
    _replace(Config, "compatibility_settings", compatibility_settings, where)
    _replace(module.Dataset, "_fill_nan", fill_nan, "recbole.data.dataset.dataset:Dataset._fill_nan")
    module.pd = ModuleType("pandas", "pandas with a read_csv that leaves no sequence missing")
    module.pd.__dict__.update({**vars(pd), "read_csv": read_csv})
    module.len = length
    if not hasattr(dok_matrix, "_update"):
        dok_matrix._update = lambda self, entries: self._dict.update(entries)


def _when_quick_start_is_imported():
    """Replace the functions of ``recbole.quick_start`` when somebody imports it, not before.

    It imports ``ray.tune`` for a function that is replaced; it is given an empty module, and no ray is needed.
    """
    on_import("recbole.quick_start.quick_start", _replace_quick_start, within=_without_ray)


@contextmanager
def _without_ray():
    if "ray" in sys.modules:
        yield
        return
    sys.modules["ray"] = ModuleType("ray")
    sys.modules["ray"].tune = None
    try:
        yield
    finally:
        del sys.modules["ray"]


def _replace_quick_start(module):
    from recbole_sibrar.recbole_plugin import run

    package = sys.modules.get("recbole.quick_start")
    module.create_dataset = sys.modules["recbole.data"].create_dataset
    for name in ("load_data_and_model", "objective_function"):
        _replace(module, name, getattr(run, name), f"{module.__name__}:{name}")
        if hasattr(package, name):
            setattr(package, name, getattr(run, name))


def _serve_their_models():
    from recbole_sibrar.serving import known

    def load(*arguments):
        from recbole_sibrar.recbole_plugin.serving import load_known_only

        return load_known_only(*arguments)

    known.load_with_recbole = load
