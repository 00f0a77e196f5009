"""RecBole's evaluator: our metrics under its names, and a collector that gathers what they need."""

TOUCH_POINTS = {
    "recbole.evaluator.collector:Collector": ("070cb5b45efb", "extended: lists for our metrics; .cpu() on counts mended"),
    "recbole.evaluator.register:Register": ("083510471a24", "looks metrics up in the dictionaries that we extend"),
    "recbole.evaluator.evaluator:Evaluator": ("2bb7a669961e", "makes the metrics out of metrics_dict"),
}  # fmt: skip


def apply() -> None:
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
