"""RecBole's configuration: our property files and options, nothing evaluated, data sets of one's own."""

import functools
import os
from typing import Any

from recbole_sibrar.recbole_plugin.patches.replaced import replace

TOUCH_POINTS = {
    "recbole.config.configurator:Config._load_internal_config_dict": ("0c02574bc56f", "extended by our property files"),
    "recbole.config.configurator:Config._set_default_parameters": ("4cb3e261e4bb", "takes RecBole's ml-100k, whatever data_path holds"),
    "recbole.config.configurator:Config._convert_config_dict": ("48152baf9a7a", "replaced: it evaluates strings"),
    "recbole.config.configurator:Config._init_device": ("d6b946b3b2e0", "extended: it hides GPUs from the whole process; without local_rank it joins no process group"),
}  # fmt: skip

GPUS = "CUDA_VISIBLE_DEVICES"


def apply() -> None:
    from recbole.config import Config

    from recbole_sibrar.properties import parse_option
    from recbole_sibrar.recbole_plugin.capabilities import known_as
    from recbole_sibrar.recbole_plugin.config import OUR_MODELS, apply_layers, own_folder
    from recbole_sibrar.recbole_plugin.metrics import make_known
    from recbole_sibrar.recbole_plugin.patches.models import cover

    original = Config._load_internal_config_dict

    @functools.wraps(original)
    def load_internal_config_dict(self: "Config", model: str, model_class: type, dataset: str) -> None:
        original(self, model, model_class, dataset)
        make_known()
        name = known_as(model_class)
        if self.external_config_dict.get("scenario") is not None or name in OUR_MODELS:
            cover(model_class)
        apply_layers(self, name, dataset)

    def convert_config_dict(self: "Config", config_dict: dict[str, Any]) -> dict[str, Any]:
        return {key: parse_option(key, value) for key, value in config_dict.items()}

    set_default_parameters = Config._set_default_parameters

    @functools.wraps(set_default_parameters)
    def set_own_data_path(self: "Config") -> None:
        given = self.final_config_dict["data_path"]
        set_default_parameters(self)
        if self.final_config_dict.get("scenario") is not None and (own := own_folder(given, self.dataset)):
            self.final_config_dict["data_path"] = str(own)

    init_device = Config._init_device

    @functools.wraps(init_device)
    def init_device_of_run(self: "Config") -> None:
        """A run on the CPU leaves the GPUs to the runs after it."""
        visible = os.environ.get(GPUS)
        init_device(self)
        if self.final_config_dict["device"].type != "cuda":
            os.environ.pop(GPUS)
            if visible is not None:
                os.environ[GPUS] = visible

    where = "recbole.config.configurator:Config."
    replace(Config, "_init_device", init_device_of_run, where + "_init_device")
    replace(Config, "_set_default_parameters", set_own_data_path, where + "_set_default_parameters")
    replace(Config, "_load_internal_config_dict", load_internal_config_dict, where + "_load_internal_config_dict")
    replace(Config, "_convert_config_dict", convert_config_dict, where + "_convert_config_dict")
