"""Training throughput on MovieLens 100K with 10 negatives, as a ratio to RecBole's BPR in the same run.

    python benchmarks/training.py [--epochs 3] [--scenario warm] [--output FILE]

Prints a Markdown table; positives per second count training interactions, not negatives. Beside RecBole's BPR
stands a loop in plain PyTorch with nothing but two embedding tables. ``of matmul``: the floating-point operations of an
epoch's matrix products by its time, as a share of the machine's speed at a product of two 1024 x 1024 matrices.
"""

import argparse
import json
import logging
import tempfile
from pathlib import Path
from time import perf_counter

import torch
import torch.nn.functional as F
from tabulate import tabulate
from torch.utils.flop_counter import FlopCounterMode

from recbole_sibrar.recbole_plugin.run import make_config, prepare

NEGATIVES = {"distribution": "uniform", "sample_num": 10}
BATCH, WIDTH = 2048, 64
PAPER = {"preset": "paper", "train_batch_size": BATCH}
RUNS = {
    "RecBole BPR": ("BPR", {"train_batch_size": BATCH * NEGATIVES["sample_num"]}),
    "SiBraR base": ("SiBraR", {**PAPER, "variant": "base"}),
    "SiBraR S": ("SiBraR", {**PAPER, "variant": "S"}),
    "SiBraR SC": ("SiBraR", {**PAPER, "variant": "SC"}),
    "SiBraR SC, a draw for each entity": ("SiBraR", {**PAPER, "modality_draw": "entity"}),
    "MuBraR SC": ("MuBraR", {**PAPER, "variant": "SC"}),
    "SiBraR SC, strong": ("SiBraR", {"preset": "strong"}),
}


def prepared(model, options, scenario):
    settings = {
        "scenario": scenario, "embedding_size": WIDTH, "train_neg_sample_args": dict(NEGATIVES), "state": "ERROR",
        "checkpoint_dir": tempfile.mkdtemp(), **options,
    }  # fmt: skip
    return prepare(make_config(model, "ml-100k", None, settings))


def plain_loop(data):
    """An epoch of matrix factorisation with bpr: two embedding tables, negatives drawn from all items."""
    dataset = data._dataset
    users, items = (dataset.inter_feat[field] for field in (dataset.uid_field, dataset.iid_field))
    tables = [torch.nn.Embedding(n, WIDTH) for n in (dataset.user_num, dataset.item_num)]
    optimizer = torch.optim.Adam([table.weight for table in tables])

    def epoch():
        for rows in torch.randperm(len(users)).split(BATCH):
            negatives = torch.randint(1, dataset.item_num, (len(rows), NEGATIVES["sample_num"]))
            optimizer.zero_grad()
            user = tables[0](users[rows]).unsqueeze(1)
            positive = (user * tables[1](items[rows]).unsqueeze(1)).sum(-1)
            F.softplus((user * tables[1](negatives)).sum(-1) - positive).mean().backward()
            optimizer.step()

    return epoch


def measure(epoch, epochs):
    """(least seconds of an epoch after one to warm up, FLOP of its matrix products)."""
    with FlopCounterMode(display=False) as counter:
        epoch()
    seconds = []
    for _ in range(epochs):
        start = perf_counter()
        epoch()
        seconds.append(perf_counter() - start)
    return min(seconds), counter.get_total_flops()


def matmul_speed(n=1024, repeats=10):
    """FLOP/s of the product of two n x n matrices."""
    first, second = torch.randn(n, n), torch.randn(n, n)
    seconds = []
    for _ in range(repeats):
        start = perf_counter()
        first @ second
        seconds.append(perf_counter() - start)
    return 2 * n**3 / min(seconds)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--scenario", default="warm")
    parser.add_argument("--output", help="also write the figures there, as JSON")
    arguments = parser.parse_args()
    logging.disable(logging.INFO)
    ready = {name: prepared(*run, arguments.scenario) for name, run in RUNS.items()}
    loops = {
        name: lambda own=own: own.trainer._train_epoch(own.loaders[0], 0, show_progress=False)
        for name, own in ready.items()
    }
    data = ready["RecBole BPR"].loaders[0]
    n_positives = len(data._dataset.inter_feat)
    loops = {"plain PyTorch BPR": plain_loop(data), **loops}
    machine = matmul_speed()
    figures = {}
    for name, loop in loops.items():
        seconds, flop = measure(loop, arguments.epochs)
        figures[name] = {"positives_per_second": n_positives / seconds, "of_matmul": flop / seconds / machine}
    speeds = {name: figure["positives_per_second"] for name, figure in figures.items()}
    rows = [
        (
            name,
            f"{speeds[name]:,.0f}",
            f"{speeds['RecBole BPR'] / speeds[name]:.2f}",
            f"{speeds['plain PyTorch BPR'] / speeds[name]:.2f}",
            f"{figure['of_matmul']:.1%}",
        )
        for name, figure in figures.items()
    ]
    headers = ("model", "positives/s", "time / BPR's", "time / plain loop's", "of matmul")
    print(tabulate(rows, headers=headers, tablefmt="github"))
    print(
        f"{torch.get_num_threads()} threads, torch {torch.__version__}, {WIDTH}-d, 10 negatives, {arguments.scenario}"
    )
    print(f"The machine's matrix product: {machine / 1e9:,.0f} GFLOP/s.")
    if arguments.output:
        settings = {"threads": torch.get_num_threads(), "torch": torch.__version__, "scenario": arguments.scenario}
        Path(arguments.output).write_text(
            json.dumps({**settings, "matmul_flops": machine, "models": figures}, indent=1)
        )


if __name__ == "__main__":
    main()
