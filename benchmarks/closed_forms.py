"""How long ContentRidge, KernelRidge and LinearAutoencoder take, penalties and evaluation included, and their memory.

    python benchmarks/closed_forms.py [--data_path atomic_data] [--corpora ml-100k ml-1m ...] [--sizes tags large]
        [--output FILE]

Corpora are run from their files (item cold start, autoencoder warm) to the best penalty on validation data. The sizes
are random data in memory: ``tags``, 15,000 items with 46,000 tags and 200,000 interactions; ``large``, 1 million users,
500,000 items and 20 million interactions. There each of 5 penalties is followed by the embeddings of all items and of
1,024 users. Every row is a process of its own. Prints a Markdown table; peaks are those of the process.
"""

import argparse
import json
import logging
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter, process_time

import numpy as np
import torch
from tabulate import tabulate

from recbole_sibrar.data.modalities import Modalities, Modality
from recbole_sibrar.data.sparse import SparseRows
from recbole_sibrar.kinds.interactions import interaction_modality
from recbole_sibrar.models import MODELS
from recbole_sibrar.models.batches import UserBatch

MODELS_OF = {
    "tags": ("ContentRidge", "KernelRidge", "LinearAutoencoder"),
    "large": ("LinearAutoencoder", "ContentRidge"),
}
SIZES = {
    "tags": {"users": 5_000, "items": 15_000, "interactions": 200_000, "tags": 46_000, "tags_of_an_item": 20},
    "large": {"users": 1_000_000, "items": 500_000, "interactions": 20_000_000, "width": 256},
}
PENALTIES, EMBEDDED_USERS = 5, 1024


def peak():
    """Of this process, in GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def generated(sizes):
    """Modalities of both sides and the interactions."""
    rng = np.random.default_rng(0)
    n_users, n_items, n = sizes["users"], sizes["items"], sizes["interactions"]
    users = torch.from_numpy(rng.integers(1, n_users, n))
    items = torch.from_numpy((rng.random(n) ** 2 * (n_items - 1)).astype(np.int64) + 1)
    available = torch.arange(n_items) > 0
    if "tags" in sizes:
        k = sizes["tags_of_an_item"]
        tags = (rng.random(n_items * k) ** 3 * sizes["tags"]).astype(np.int64)
        values = SparseRows.from_pairs(np.repeat(np.arange(n_items), k), tags, n_items, sizes["tags"])
        content = Modality("tags", "tags", available, values, sizes["tags"])
    else:
        values = torch.from_numpy(rng.standard_normal((n_items, sizes["width"]), dtype=np.float32)).half()
        content = Modality("vectors", "vector", available, values, sizes["width"])
    interactions = SparseRows.from_pairs(users, items, n_users, n_items)
    rows, columns = interactions.row_of_entry(), interactions.columns
    modalities = {
        "user": Modalities("user", (interaction_modality(rows, columns, n_users, n_items),)),
        "item": Modalities("item", (interaction_modality(columns, rows, n_items, n_users), content)),
    }
    return modalities, interactions


def on_generated(size, name):
    modalities, interactions = generated(SIZES[size])
    before, start, cpu = peak(), perf_counter(), process_time()
    model_class = MODELS[name]
    model = model_class(model_class.options_class(), modalities, interactions, 0).eval()
    model.pretrain(None, True)
    users = torch.arange(1, EMBEDDED_USERS + 1)
    first = None
    for _ in range(PENALTIES):
        model.loss(UserBatch(users))
        model.embeddings("item", torch.arange(SIZES[size]["items"]))
        model.embeddings("user", users)
        first = first or perf_counter() - start
    total = perf_counter() - start
    return {
        "seconds": total, "first": first, "cpu": process_time() - cpu, "penalties": PENALTIES, "data_gib": before,
        "gib": peak(), "numbers": model.n_parameters,
    }  # fmt: skip


def on_corpus(corpus, name, data_path):
    from recbole_sibrar.recbole_plugin.prepared import make_config, prepare

    logging.disable(logging.INFO)
    scenario = "warm" if name == "LinearAutoencoder" else "item_cold"
    settings = {"scenario": scenario, "state": "ERROR"}
    if data_path is not None:
        settings["data_path"] = data_path
    config = make_config(name, corpus, None, settings)
    config["checkpoint_dir"] = tempfile.mkdtemp()
    ready = prepare(config)
    before, start, cpu = peak(), perf_counter(), process_time()
    score, _ = ready.trainer.fit(*ready.loaders[:2], saved=True, show_progress=False)
    return {
        "seconds": perf_counter() - start, "first": ready.trainer.seconds["train"][0], "cpu": process_time() - cpu,
        "penalties": len(ready.trainer.history), "data_gib": before, "gib": peak(), "valid": float(score),
        "numbers": ready.trainer.model.core.n_parameters,
    }  # fmt: skip


def in_a_process(**task):
    command = [sys.executable, __file__, "--worker", json.dumps(task)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return {**task, **json.loads(done.stdout.splitlines()[-1])}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_path", help="of the corpora but ml-100k, which comes with RecBole")
    parser.add_argument("--corpora", nargs="*", default=["ml-100k"])
    parser.add_argument("--sizes", nargs="*", default=["tags"], choices=tuple(SIZES))
    parser.add_argument("--models", nargs="+", default=["ContentRidge", "KernelRidge", "LinearAutoencoder"])
    parser.add_argument("--output", help="also write the figures there, as JSON")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        task = json.loads(arguments.worker)
        print(json.dumps({"size": on_generated, "corpus": on_corpus}[task.pop("kind")](*task.values())))
        return
    results = []
    for corpus in arguments.corpora:
        path = None if corpus == "ml-100k" else arguments.data_path
        for name in arguments.models:
            results.append(in_a_process(kind="corpus", data=corpus, model=name, data_path=path))
    for size in arguments.sizes:
        for name in MODELS_OF[size]:
            if name in arguments.models:
                results.append(in_a_process(kind="size", data=size, model=name))
    rows = [
        (
            own["data"], own["model"], own["penalties"], f"{own['seconds']:.1f}", f"{own['cpu']:.1f}",
            f"{own['first']:.1f}", f"{own['data_gib']:.2f}", f"{own['gib']:.2f}", f"{own['numbers']:,}",
            f"{own['valid']:.3f}" if "valid" in own else "",
        )
        for own in results
    ]  # fmt: skip
    headers = (
        "data", "model", "penalties", "s", "CPU s", "first, s", "before, GiB", "peak, GiB", "numbers", "validation",
    )  # fmt: skip
    print(tabulate(rows, headers=headers, tablefmt="github", disable_numparse=True))
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}")
    if arguments.output:
        Path(arguments.output).write_text(
            json.dumps({"threads": torch.get_num_threads(), "results": results}, indent=1)
        )


if __name__ == "__main__":
    main()
