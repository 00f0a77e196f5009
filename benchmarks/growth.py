"""How a training step, loading and memory grow with the data; every size in a process of its own.

    python benchmarks/growth.py [--growing interactions items modalities] [--output FILE]
    python benchmarks/growth.py --full [--folder FOLDER] [--steps 5] [--priors content_prior=1.5] [--output FILE]

Data are random and made in memory: the interactions, the items, or the item modalities grow. SiBraR_SC, 64-d, trains
with bpr (2,048 positives with 10 negatives each) and with the softmax of batches of 1,024 users, over the catalogue or
over negatives as the model decides; then 1,024 users are ranked. Also, once, the loading of interactions from an atomic
file, which goes through RecBole's pandas code.

``--full``: 1 million users, 500,000 items, 50 million interactions, three modalities of 512 dimensions in float16 that
stay on disk, 1.5 GB in FOLDER; the time of an epoch is extrapolated from the steps. Prints Markdown tables.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from time import process_time
from types import SimpleNamespace

import numpy as np
import torch
from tabulate import tabulate

from recbole_sibrar.data.modalities import Modalities, Modality
from recbole_sibrar.data.negatives import NegativeSampler
from recbole_sibrar.data.sparse import SparseRows
from recbole_sibrar.data.vectors import DiskVectors
from recbole_sibrar.evaluation.ranking import Ranking
from recbole_sibrar.kinds.interactions import interaction_modality
from recbole_sibrar.models.batches import PairBatch, UserBatch
from recbole_sibrar.models.optimizer import TableAdamW, large_tables
from recbole_sibrar.models.options import ModelOptions
from recbole_sibrar.models.sibrar import SiBraR

BASE = {"users": 10_000, "items": 15_000, "interactions": 250_000, "modalities": 1, "width": 128, "disk": False}
FULL = {
    "users": 1_000_000, "items": 500_000, "interactions": 50_000_000, "modalities": 3, "width": 512, "disk": True,
}  # fmt: skip
GROWING = {
    "interactions": (250_000, 1_000_000, 4_000_000),
    "items": (15_000, 100_000, 500_000),
    "modalities": (1, 4, 16),
}
SOFTMAX = {"rec_loss": "softmax", "contrastive_set": "batch", "modality_draw": "entity"}
LOSSES = {"bpr": {}, "softmax": SOFTMAX}
BATCH = {"bpr": 2048, "softmax": 1024}
N_NEGATIVES, RANKED_USERS, ROWS_WRITTEN = 10, 1024, 4096
LOADED_INTERACTIONS = 1_000_000


def peak():
    """Of this process, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def timed(function, *args):
    """What it gives, and its seconds of all processors."""
    start = process_time()
    return function(*args), process_time() - start


def draw_interactions(sizes, rng):
    """(N,) users and (N,) items, some of which are more popular."""
    n_users, n_items, n = sizes["users"], sizes["items"], sizes["interactions"]
    users = rng.integers(1, n_users, n)
    items = (rng.random(n, dtype=np.float32) ** 2 * (n_items - 1)).astype(np.int64) + 1
    return users, np.minimum(items, n_items - 1)


def draw_vectors(sizes, folder, number, rng):
    """A vector modality of all items, in memory or in a file."""
    shape = sizes["items"], sizes["width"]
    available = torch.ones(shape[0], dtype=torch.bool)
    available[0] = False
    if not sizes["disk"]:
        values = torch.from_numpy(rng.standard_normal(shape, dtype=np.float32).astype(np.float16))
        return Modality(f"v{number}", "vector", available, values, shape[1])
    path = Path(folder) / f"vectors{number}-{shape[0]}x{shape[1]}.float16"
    if not path.is_file():
        with open(path, "wb") as file:
            for start in range(0, shape[0], ROWS_WRITTEN):
                rows = min(ROWS_WRITTEN, shape[0] - start)
                file.write(rng.standard_normal((rows, shape[1]), dtype=np.float32).astype(np.float16).tobytes())
    values = DiskVectors(np.memmap(path, np.float16, "r", shape=shape), torch.arange(shape[0]))
    return Modality(f"v{number}", "vector", available, values, shape[1])


def build(sizes, loss, priors, folder, seconds):
    """The model, the interactions, and a function that draws the batch of a step."""
    rng = np.random.default_rng(0)
    users, items = draw_interactions(sizes, rng)
    vectors = [draw_vectors(sizes, folder, number, rng) for number in range(sizes["modalities"])]
    n_users, n_items = sizes["users"], sizes["items"]
    pairs = torch.from_numpy(users), torch.from_numpy(items)
    interactions, seconds["sparse rows"] = timed(SparseRows.from_pairs, *pairs, n_users, n_items)
    start = process_time()
    modalities = {
        "user": Modalities("user", (interaction_modality(*pairs, n_users, n_items),)),
        "item": Modalities("item", (interaction_modality(*reversed(pairs), n_items, n_users), *vectors)),
    }
    model = SiBraR(ModelOptions(**LOSSES[loss], **priors), modalities, interactions, 0)
    seconds["model"] = process_time() - start
    if priors:
        _, seconds["priors"] = timed(model.pretrain, None, False)
    size = BATCH[loss]
    if loss == "softmax":
        known = (interactions.lengths > 0).nonzero().squeeze(1)
        return model, interactions, lambda: UserBatch(known[torch.randint(len(known), (size,))])
    sampler, seconds["negatives"] = timed(NegativeSampler, users, items, n_users, 0)

    def batch():
        rows = rng.integers(0, len(users), size)
        return PairBatch(*(part[rows] for part in pairs), torch.from_numpy(sampler.sample(users[rows], N_NEGATIVES)))

    return model, interactions, batch


def train(model, batch, n_steps):
    """Seconds of each step and of its parts: drawing, loss, gradients, optimizer."""
    optimizer = TableAdamW(model.parameters(), large_tables(model), lr=0.003, weight_decay=0.1)
    parts = []
    for _ in range(n_steps + 1):
        drawn, drawing = timed(batch)
        optimizer.zero_grad()
        terms, forward = timed(model.loss, drawn)
        _, backward = timed(sum(terms).backward)
        _, update = timed(optimizer.step)
        parts.append({"batch": drawing, "forward": forward, "backward": backward, "optimizer": update})
    return {name: float(np.median([part[name] for part in parts[1:]])) for name in parts[0]}


def rank(model, interactions, seconds):
    """The lists of some users over the whole catalogue."""
    model.eval()
    every = torch.arange(interactions.n_columns)
    items, seconds["embedding all items"] = timed(model.embeddings, "item", every)
    candidates = every > 0
    phase = SimpleNamespace(candidates=candidates, positives=interactions, seen=interactions)
    users = torch.arange(1, RANKED_USERS + 1)
    with torch.no_grad():
        ranking = Ranking(phase, items, torch.randperm(len(every)), 10)
        lists, seconds["ranking 1,024 users"] = timed(lambda: ranking.lists(users, model.embeddings("user", users)))
    assert not lists.hits.any()


def work(arguments):
    """One size, in a process of its own."""
    sizes, seconds = arguments["sizes"], {}
    before = peak()
    model, interactions, batch = build(sizes, arguments["loss"], arguments["priors"], arguments["folder"], seconds)
    built = peak()
    step = train(model, batch, arguments["steps"])
    trained = peak()
    if arguments["rank"]:
        rank(model, interactions, seconds)
    peaks = {"imports": before, "built": built, "trained": trained, "ranked": peak()}
    n_steps = sizes["interactions"] if arguments["loss"] == "bpr" else sizes["users"]
    return {
        "sizes": sizes, "loss": arguments["loss"], "n_parameters": model.n_parameters, "seconds": seconds, "step": step,
        "peak_mib": peaks, "steps_of_an_epoch": -(-n_steps // BATCH[arguments["loss"]]),
    }  # fmt: skip


def load(arguments):
    """RecBole's data set and our loaders from an atomic file, in a process of its own."""
    from recbole_sibrar.recbole_plugin.prepared import make_config, prepare

    before, rng = peak(), np.random.default_rng(0)
    users, items = draw_interactions({**BASE, "interactions": LOADED_INTERACTIONS}, rng)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "grown").mkdir()
        lines = "".join(f"u{user}\ti{item}\n" for user, item in set(zip(users.tolist(), items.tolist())))
        (Path(folder) / "grown" / "grown.inter").write_text("user_id:token\titem_id:token\n" + lines)
        n_lines = lines.count("\n")
        del lines, users, items
        config = make_config("SiBraR", "grown", None, {"data_path": folder, "state": "ERROR"})
        config["checkpoint_dir"] = folder
        _, seconds = timed(prepare, config)
    return {"interactions": n_lines, "seconds": seconds, "peak_mib": {"imports": before, "loaded": peak()}}


def in_a_process(kind, **arguments):
    command = [sys.executable, __file__, "--worker", json.dumps({"kind": kind, **arguments})]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def table(results):
    """Markdown: a row for each size and loss."""
    rows = []
    for label, result in results:
        step, seconds, peaks = result["step"], result["seconds"], result["peak_mib"]
        rows.append(
            (
                label, result["loss"], f"{sum(step.values()) * 1e3:,.0f}",
                *(f"{step[part] * 1e3:,.0f}" for part in ("batch", "forward", "backward", "optimizer")),
                f"{seconds['sparse rows']:.2f}", f"{seconds['negatives']:.2f}" if "negatives" in seconds else "",
                f"{seconds['model']:.2f}", *(
                    f"{seconds[name]:.2f}" if name in seconds else ""
                    for name in ("embedding all items", "ranking 1,024 users")
                ),
                *(f"{peaks[name]:,.0f}" for name in ("imports", "built", "trained", "ranked")),
            )
        )  # fmt: skip
    headers = (
        "data", "loss", "step, ms", "batch", "forward", "backward", "optimizer", "sparse rows, s", "negatives, s",
        "model, s", "all items, s", "ranking, s", "imports, MiB", "built", "trained", "ranked",
    )  # fmt: skip
    return tabulate(rows, headers=headers, tablefmt="github")


def grow(growing, losses, steps):
    """The sizes of the plain benchmark."""
    results = []
    for name in growing:
        for size in GROWING[name]:
            sizes = {**BASE, name: size}
            for loss in losses:
                result = in_a_process("work", sizes=sizes, loss=loss, priors={}, folder=None, steps=steps, rank=True)
                results.append((f"{size:,} {name}", result))
    return results


def grow_to_full(folder, steps, priors):
    """The large size, and what an epoch would take."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    results = []
    for loss in LOSSES:
        result = in_a_process(
            "work", sizes=FULL, loss=loss, priors=priors, folder=str(folder), steps=steps, rank=loss == "bpr"
        )
        results.append(("full", result))
        hours = result["steps_of_an_epoch"] * sum(result["step"].values()) / 3600
        print(f"{loss}: {result['n_parameters']:,} parameters, an epoch of {result['steps_of_an_epoch']:,} steps takes")
        print(
            f"  {hours:.2f} h; peaks {', '.join(f'{name} {mib:,.0f}' for name, mib in result['peak_mib'].items())} MiB"
        )
        print(f"  {', '.join(f'{name} {value:.2f} s' for name, value in result['seconds'].items())}")
    return results


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--growing", nargs="+", default=list(GROWING), choices=list(GROWING))
    parser.add_argument("--losses", nargs="+", default=list(LOSSES), choices=list(LOSSES))
    parser.add_argument("--steps", type=int, default=5, help="measured, after one to warm up")
    parser.add_argument("--full", action="store_true")
    parser.add_argument(
        "--folder", type=Path, default=Path(tempfile.gettempdir()) / "growth", help="of --full's vectors"
    )
    parser.add_argument(
        "--priors", nargs="+", default=[], metavar="NAME=STRENGTH", help="content_prior, interaction_prior of --full"
    )
    parser.add_argument("--output", help="also write the figures there, as JSON")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        task = json.loads(arguments.worker)
        print(json.dumps({"work": work, "load": load}[task["kind"]](task)))
        return
    priors = {name: float(strength) for name, strength in (entry.split("=") for entry in arguments.priors)}
    results = (
        grow_to_full(arguments.folder, arguments.steps, priors)
        if arguments.full
        else grow(arguments.growing, arguments.losses, arguments.steps)
    )
    print(table(results))
    figures = {"threads": torch.get_num_threads(), "results": [{"data": name, **result} for name, result in results]}
    if not arguments.full:
        figures["loading"] = loading = in_a_process("load")
        print(
            f"Loading {loading['interactions']:,} interactions from a file: {loading['seconds']:.1f} s, peak "
            f"{loading['peak_mib']['loaded']:,.0f} MiB (with what writes the file)."
        )
    if arguments.output:
        Path(arguments.output).write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
