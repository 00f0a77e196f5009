"""RecBole's evaluator: our metrics under its names, and a collector that gathers what they need."""

TOUCH_POINTS = {
    "recbole.evaluator.collector:Collector": ("070cb5b45efb", "extended: lists for our metrics; .cpu() on counts mended"),
    "recbole.evaluator.register:Register": ("083510471a24", "looks metrics up in the dictionaries that we extend"),
    "recbole.evaluator.evaluator:Evaluator": ("2bb7a669961e", "makes the metrics out of metrics_dict"),
}  # fmt: skip


def apply() -> None:
    import recbole.trainer.trainer as trainer_module
    from recbole.evaluator import register

    from recbole_sibrar.recbole_plugin.metrics import SHORT_LIST_CLASSES, ProtocolCollector, make_known

    make_known()
    register.metrics_dict.update(SHORT_LIST_CLASSES)
    trainer_module.Collector = ProtocolCollector
