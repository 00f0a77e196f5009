"""A model for use: trained on everything, as long as validation on the split has shown to be best."""

from logging import getLogger
from pathlib import Path

from recbole.config import Config
from recbole.data import utils
from recbole.utils import get_model, get_trainer, init_seed

from recbole_sibrar import checkpoint
from recbole_sibrar.models.calibration import FACTORS
from recbole_sibrar.models.new_items import LEVEL
from recbole_sibrar.progress import Progress
from recbole_sibrar.recbole_plugin.dataset import ScenarioDataset

WHOLE_MODEL = "model-all.pth"  # in the folder of a run, beside the model that the test figures belong to


def train_on_everything(config: Config, dataset: ScenarioDataset, chosen: Path, quiet: bool) -> Path:
    """Train the same model on all interactions, those of validation and test too, and write it beside the chosen one.

    It has as many epochs as the checkpoint that validation chose; for a closed form, whose epochs are penalties, that
    is the penalty. There is nothing left to calibrate it by, so that it is calibrated as the chosen one is.

    Args:
        dataset: after ``build``.
        chosen: the checkpoint of its best epoch.
        quiet: do not say how far it is.
    """
    path = chosen.with_name(WHOLE_MODEL)
    state = checkpoint.load(chosen)
    n_epochs, parameters = state["epoch"] + 1, state["state_dict"]
    init_seed(config["seed"], config["reproducibility"])
    dataset = dataset.whole()
    sampler, *_ = utils.create_samplers(config, dataset, [dataset, None, None])
    loader = utils.get_dataloader(config, "train")(config, dataset, sampler, shuffle=config["shuffle"])
    model = get_model(config["model"])(config, dataset).to(config["device"])
    trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, model)
    trainer.epochs, trainer.trained_on = n_epochs, checkpoint.EVERYTHING
    getLogger().info(f"Training on everything for {n_epochs} epochs")
    with Progress(n_epochs, "epoch", f"{config['model']} on everything", quiet=quiet) as trainer.progress:
        trainer.fit(loader, None, saved=False)
    for name, value in model.state_dict().items():
        if name.endswith((FACTORS, LEVEL)):
            value.copy_(parameters[name])
    trainer._save_checkpoint(n_epochs - 1, verbose=False, saved_model_file=str(path))
    return path
