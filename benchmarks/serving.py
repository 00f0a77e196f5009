"""Batch recommendation at scale: running top-k against numpy's matmul and argpartition; a checkpoint's first answer.

    python benchmarks/serving.py [--users 200000] [--items 500000] [--measured 4096] [--checkpoint FILE]
    python benchmarks/serving.py --command --users 1000000 --items 10000

Embeddings are random, 64-d; ``--measured`` users are ranked by both ways in the same run, and all ``--users`` are held
in memory together with their lists. Prints users per second, their ratio, and the peak memory of the process. With
``--command`` it is ``recommend --all-users`` that is measured, for users of five likes each, to a Parquet file.
"""

import argparse
import resource
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import numpy as np
import torch

from recbole_sibrar import Dataset
from recbole_sibrar.files import save_tensors
from recbole_sibrar.kinds.interactions import interaction_modality
from recbole_sibrar.serving.topk import top_k

WIDTH, K, LIKED = 64, 10, 5


def numpy_top_k(users, items, rows=64):
    """The plain way: all scores of some users at once."""
    lists = []
    for start in range(0, len(users), rows):
        scores = users[start : start + rows] @ items.T
        best = np.argpartition(-scores, K, axis=1)[:, :K]
        order = np.take_along_axis(-scores, best, axis=1).argsort(axis=1)
        lists.append(np.take_along_axis(best, order, axis=1))
    return np.concatenate(lists)


def checkpoint_of(n_users, n_items, path):
    """A checkpoint of ``ContentRidge`` by content alone, with so many users put into it."""
    values = np.random.default_rng(0).normal(size=(n_items, WIDTH)).astype("float32")
    frames = Dataset.from_frames(vectors={"v": ([f"i{n}" for n in range(n_items)], values)})
    state = frames.by_content()._state
    users = torch.arange(1, n_users + 1).repeat_interleave(LIKED)
    liked = torch.randint(1, n_items + 1, (len(users),), generator=torch.Generator().manual_seed(0))
    history = interaction_modality(users, liked, n_users + 1, n_items + 1)
    state["serving"]["tokens"]["user"] += [f"u{n}" for n in range(n_users)]
    state["serving"]["modalities"]["user"] = [history.to_plain()]
    state["serving"]["interactions"] = {"indptr": history.values.indptr, "columns": history.values.columns}
    save_tensors(path, state)


def measure_command(n_users, n_items):
    with TemporaryDirectory() as folder:
        checkpoint_of(n_users, n_items, f"{folder}/model.pth")
        size = Path(folder, "model.pth").stat().st_size / 2**30
        command = [sys.executable, "-m", "recbole_sibrar.cli", "recommend", f"--checkpoint={folder}/model.pth"]
        start = perf_counter()
        subprocess.run([*command, "--all-users", f"--k={K}", f"--output={folder}/recs.parquet"], check=True)
        took = resource.getrusage(resource.RUSAGE_CHILDREN)
        peak, spent = took.ru_maxrss / 2**20, took.ru_utime + took.ru_stime
        print(f"recommend --all-users, {n_users:,} users x {n_items:,} items, checkpoint of {size:.2f} GiB: ", end="")
        print(f"{perf_counter() - start:,.0f} s ({spent:,.0f} s of CPU), peak memory {peak:.2f} GiB")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=200_000)
    parser.add_argument("--items", type=int, default=500_000)
    parser.add_argument("--measured", type=int, default=4096, help="users that both ways rank")
    parser.add_argument("--checkpoint", help="also time loading it and its first answer")
    parser.add_argument("--command", action="store_true", help="measure the command line instead")
    arguments = parser.parse_args()
    if arguments.command:
        return measure_command(arguments.users, arguments.items)
    generator = torch.Generator().manual_seed(0)
    users = torch.randn(arguments.users, WIDTH, generator=generator)
    items = torch.randn(arguments.items, WIDTH, generator=generator)
    lists = torch.zeros(arguments.users, K, dtype=torch.long)

    start = perf_counter()
    lists[: arguments.measured] = top_k(users[: arguments.measured], items, K)[1]
    ours = arguments.measured / (perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    n_plain = min(arguments.measured, 512)
    start = perf_counter()
    plain = numpy_top_k(users[:n_plain].numpy(), items.numpy())
    theirs = n_plain / (perf_counter() - start)
    assert (plain == lists[:n_plain].numpy()).mean() > 0.999
    sizes = f"{arguments.users:,} users x {arguments.items:,} items x {WIDTH}, k = {K}"
    print(f"{sizes}, {torch.get_num_threads()} threads, peak memory {peak:.2f} GiB")
    print(f"running top-k      {ours:,.0f} users/s, all users in {arguments.users / ours:,.0f} s")
    print(f"numpy argpartition {theirs:,.0f} users/s, ratio {ours / theirs:.2f}")
    if arguments.checkpoint:
        from recbole_sibrar.serving.recommender import Recommender

        start = perf_counter()
        recommender = Recommender.load(arguments.checkpoint)
        recommender.recommend(recommender.directory.tokens["user"][1:2])
        print(f"checkpoint to first answer {perf_counter() - start:.2f} s (imports included)")


if __name__ == "__main__":
    main()
