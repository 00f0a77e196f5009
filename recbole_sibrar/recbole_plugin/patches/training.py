"""RecBole's trainers, which ``trainer.ProtocolTrainer`` extends: by themselves they refuse a scenario."""

import functools
from typing import TYPE_CHECKING

from recbole_sibrar.errors import OptionError
from recbole_sibrar.recbole_plugin.patches.replaced import replace

if TYPE_CHECKING:
    from recbole.config import Config
    from recbole.model.abstract_recommender import AbstractRecommender
    from recbole.trainer import Trainer

TOUCH_POINTS = {
    "recbole.trainer.trainer:Trainer.__init__": ("3e1bd209b5a4", "makes a Collector; ours takes its place; refuses a scenario"),
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
}  # fmt: skip


def apply() -> None:
    """Our trainers are registered with the models; RecBole's own would rank all items, and say nothing."""
    from recbole.trainer import Trainer

    from recbole_sibrar.recbole_plugin.trainer import ProtocolTrainer

    original = Trainer.__init__

    @functools.wraps(original)
    def init(self: "Trainer", config: "Config", model: "AbstractRecommender") -> None:
        if config["scenario"] is not None and not isinstance(self, ProtocolTrainer):
            raise OptionError(
                f"{type(self).__name__} knows no scenario, but it is {config['scenario']}; make the trainer with "
                "recbole.utils.get_trainer(config['MODEL_TYPE'], config['model'])(config, model), or, if it is one's "
                f"own: class {type(self).__name__}(ProtocolTrainer, Trainer), with {ProtocolTrainer.__module__}."
            )
        original(self, config, model)

    replace(Trainer, "__init__", init, "recbole.trainer.trainer:Trainer.__init__")
