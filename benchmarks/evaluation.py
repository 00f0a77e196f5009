"""Evaluation of the full catalogue: RecBole's trainer, loader, collector and metrics against ours, on the same scores.

    python benchmarks/evaluation.py [--dataset ml-100k] [--data_path FOLDER] [--repeats 3] [--output FILE]

Embeddings are random, 64-d; every test user of the warm scenario is ranked. RecBole's path runs with its default
``eval_batch_size`` and with ours, and computes those of its metrics that are the same as ours and do not crash; ours
computes its ten. Prints a Markdown table. RecBole makes its loader once; that is timed apart.
"""

import argparse
import json
import logging
import tempfile
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from time import perf_counter

import torch
from recbole.data.dataloader import FullSortEvalDataLoader
from recbole.evaluator import metrics as recbole_metrics
from recbole.evaluator import register
from recbole.evaluator.collector import Collector
from recbole.evaluator.evaluator import Evaluator
from recbole.sampler import Sampler
from recbole.trainer.trainer import Trainer
from tabulate import tabulate
from torch import nn

from recbole_sibrar.data.splits import PHASES
from recbole_sibrar.recbole_plugin.prepared import make_config, prepare

WIDTH = 64
# Ours -> RecBole's. FScore and PL are ours alone.
SHARED = {
    "NDCG": "NDCG", "Recall": "Recall", "Precision": "Precision", "MAP": "MAP", "MRR": "MRR",
    "Coverage": "ItemCoverage", "ARP": "AveragePopularity", "APLT": "TailPercentage",
}  # fmt: skip
RECBOLE_BATCH = 4096


class Tables(nn.Module):
    """A model of RecBole's that has nothing to compute but the scores."""

    def __init__(self, tables):
        super().__init__()
        self.tables = nn.ParameterDict(tables)

    def full_sort_predict(self, interaction):
        return self.tables["user"][interaction["user_id"]] @ self.tables["item"].T


class RecBolePath:
    """RecBole's evaluation of the test split: its own classes, and nothing of ours but the data."""

    def __init__(self, ready, tables, metrics, batch_size):
        config, parts = ready.config, [loader._dataset for loader in ready.loaders]
        with settings(config, metrics, batch_size):
            self.trainer = Trainer(config, Tables(tables))
            self.trainer.eval_collector, self.trainer.evaluator = Collector(config), Evaluator(config)
            self.trainer.eval_collector.data_collect(ready.loaders[0])
            start = perf_counter()
            self.loader = FullSortEvalDataLoader(config, parts[2], Sampler(list(PHASES), parts).set_phase("test"))
            self.seconds_to_load = perf_counter() - start

    def evaluate(self):
        return Trainer.evaluate(self.trainer, self.loader, load_best_model=False)


@contextmanager
def settings(config, metrics, batch_size):
    """Within the context, RecBole's metric classes stand in its registry in place of ours."""
    before = {name: config[name] for name in ("metrics", "eval_batch_size")}
    registry = {name: dict(getattr(register, name)) for name in ("metrics_dict", "metric_information")}
    config["metrics"], config["eval_batch_size"] = metrics, batch_size
    for metric in metrics:
        register.metrics_dict[metric.lower()] = getattr(recbole_metrics, metric)
        register.metric_information[metric.lower()] = getattr(recbole_metrics, metric).metric_need
    try:
        yield
    finally:
        for name, value in before.items():
            config[name] = value
        for name, value in registry.items():
            getattr(register, name).clear()
            getattr(register, name).update(value)


def crash(ready, tables, metric):
    """What RecBole says when it computes this metric, or None."""
    try:
        RecBolePath(ready, tables, [metric], ready.config["eval_batch_size"]).evaluate()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return None


def measure(evaluate, repeats):
    """(the least seconds, the results)."""
    seconds = []
    for _ in range(repeats):
        start = perf_counter()
        result = evaluate()
        seconds.append(perf_counter() - start)
    return min(seconds), result


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="ml-100k")
    parser.add_argument("--data_path", help="the folder of converted data sets")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--output", help="also write the figures there, as JSON")
    arguments = parser.parse_args()
    logging.disable(logging.INFO)
    options = {"state": "ERROR", "show_progress": False, "scenario": "warm"}
    if arguments.data_path:
        options["data_path"] = arguments.data_path
    config = make_config("SiBraR", arguments.dataset, None, options)
    config["checkpoint_dir"] = tempfile.mkdtemp()
    ready = prepare(config)
    generator = torch.Generator().manual_seed(0)
    sizes = {"user": ready.dataset.user_num, "item": ready.dataset.item_num}
    tables = {side: torch.randn(n, WIDTH, generator=generator) for side, n in sizes.items()}
    ready.model.core.embeddings = lambda side, ids: tables[side][ids]

    crashes = {name: crash(ready, tables, theirs) for name, theirs in SHARED.items()}
    kept = [SHARED[name] for name, error in crashes.items() if error is None]
    our_batch = ready.config["eval_batch_size"]
    speed, loading = {}, {}
    for batch_size in (RECBOLE_BATCH, our_batch):
        path = RecBolePath(ready, tables, kept, batch_size)
        name = f"RecBole, eval_batch_size {batch_size:,}"
        speed[name], theirs = measure(path.evaluate, arguments.repeats if batch_size == our_batch else 1)
        loading[name] = path.seconds_to_load
    evaluate = partial(ready.trainer.evaluate, ready.loaders[2], load_best_model=False)
    speed["ours, from embeddings"], ours = measure(evaluate, arguments.repeats)
    ready.trainer._ranks_by_embeddings = lambda: False
    speed["ours, from all scores"], general = measure(evaluate, arguments.repeats)
    assert ours == general
    for metric in ("ndcg", "recall", "precision", "map", "mrr"):
        assert abs(ours[f"{metric}@10"] - theirs[f"{metric}@10"]) < 2e-6, metric

    best = speed["ours, from embeddings"]
    rows = [(name, f"{value:.3f}", f"{value / best:.1f}") for name, value in speed.items()]
    print(tabulate(rows, headers=(arguments.dataset, "seconds", "time / ours"), tablefmt="github"))
    n_users = len(ready.loaders[2].phase.users)
    print(f"{n_users:,} users, {sizes['item'] - 1:,} items, {WIDTH}-d, {torch.get_num_threads()} threads", end="; ")
    print(f"RecBole computes {', '.join(kept)}; ours its {len(ready.config['metrics'])}.")
    print(f"RecBole's loader is made in {max(loading.values()):.2f} s.")
    for name, error in crashes.items():
        if error is not None:
            print(f"RecBole's {SHARED[name]} crashes: {error}")
    if arguments.output:
        figures = {"dataset": arguments.dataset, "users": n_users, "items": sizes["item"] - 1, "width": WIDTH}
        figures |= {"threads": torch.get_num_threads(), "seconds": speed, "seconds_to_load": loading}
        Path(arguments.output).write_text(
            json.dumps({**figures, "recbole_metrics": kept, "crashes": crashes}, indent=1)
        )


if __name__ == "__main__":
    main()
