"""Batch recommendation at scale: running top-k against numpy's matmul and argpartition; a checkpoint's first answer.

    python benchmarks/serving.py [--users 200000] [--items 500000] [--measured 4096] [--checkpoint FILE]

Embeddings are random, 64-d; ``--measured`` users are ranked by both ways in the same run, and all ``--users`` are held
in memory together with their lists. Prints users per second, their ratio, and the peak memory of the process.
"""

import argparse
import resource
from time import perf_counter

import numpy as np
import torch

from recbole_sibrar.serving.topk import top_k

WIDTH, K = 64, 10


def numpy_top_k(users, items, rows=64):
    """The plain way: all scores of some users at once."""
    lists = []
    for start in range(0, len(users), rows):
        scores = users[start : start + rows] @ items.T
        best = np.argpartition(-scores, K, axis=1)[:, :K]
        order = np.take_along_axis(-scores, best, axis=1).argsort(axis=1)
        lists.append(np.take_along_axis(best, order, axis=1))
    return np.concatenate(lists)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=200_000)
    parser.add_argument("--items", type=int, default=500_000)
    parser.add_argument("--measured", type=int, default=4096, help="users that both ways rank")
    parser.add_argument("--checkpoint", help="also time loading it and its first answer")
    arguments = parser.parse_args()
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
