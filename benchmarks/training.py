"""Training throughput on MovieLens 100K with 10 negatives, as a ratio to RecBole's BPR in the same run.

    python benchmarks/training.py [--epochs 3] [--scenario warm]

Prints a Markdown table; positives per second count training interactions, not negatives.
"""

import argparse
import logging
import tempfile
from time import perf_counter

import torch
from tabulate import tabulate

from recbole_sibrar.recbole_plugin.run import make_config, prepare

NEGATIVES = {"distribution": "uniform", "sample_num": 10}
BPR_LOSS = {"rec_loss": "bpr", "train_batch_size": 2048}
RUNS = {
    "RecBole BPR": ("BPR", {"train_batch_size": 2048 * NEGATIVES["sample_num"]}),
    "SiBraR base": ("SiBraR", {**BPR_LOSS, "variant": "base"}),
    "SiBraR S": ("SiBraR", {**BPR_LOSS, "variant": "S"}),
    "SiBraR SC": ("SiBraR", {**BPR_LOSS, "variant": "SC"}),
    "SiBraR SC, sets of negatives": ("SiBraR", {**BPR_LOSS, "contrastive_set": "negatives"}),
    "MuBraR SC": ("MuBraR", {**BPR_LOSS, "variant": "SC"}),
    "SiBraR SC, softmax": ("SiBraR", {"variant": "SC"}),
}


def positives_per_second(model, options, scenario, epochs):
    """The best epoch of ``epochs``, after one to warm up; 64-d."""
    settings = {
        "scenario": scenario, "embedding_size": 64, "train_neg_sample_args": dict(NEGATIVES), "state": "ERROR",
        "checkpoint_dir": tempfile.mkdtemp(), **options,
    }  # fmt: skip
    ready = prepare(make_config(model, "ml-100k", None, settings))
    train_data = ready.loaders[0]
    n_positives = len(train_data._dataset.inter_feat)
    seconds = []
    for epoch in range(epochs + 1):
        start = perf_counter()
        ready.trainer._train_epoch(train_data, epoch)
        seconds.append(perf_counter() - start)
    return n_positives / min(seconds[1:])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--scenario", default="warm")
    arguments = parser.parse_args()
    logging.disable(logging.INFO)
    speed = {name: positives_per_second(*run, arguments.scenario, arguments.epochs) for name, run in RUNS.items()}
    reference = speed["RecBole BPR"]
    rows = [(name, f"{value:,.0f}", f"{reference / value:.2f}") for name, value in speed.items()]
    print(tabulate(rows, headers=("model", "positives/s", "time / BPR's"), tablefmt="github"))
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}, 64-d, 10 negatives, {arguments.scenario}")


if __name__ == "__main__":
    main()
