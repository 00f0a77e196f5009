"""RecBole's trainers: nothing is replaced in them, ``trainer.ProtocolTrainer`` extends them."""

TOUCH_POINTS = {
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
}  # fmt: skip


def apply() -> None:
    """Our trainers are registered with the models."""
