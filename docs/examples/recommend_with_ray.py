"""Lists for millions of users with Ray: an export is read, Parquet is written, by as many workers as you have.

    recbole-sibrar export --checkpoint results/RUN/model.pth --output index
    python docs/examples/recommend_with_ray.py index lists --k 10 --workers 2

Each worker has the items in memory and reads the rows of its users from the memory-mapped file. ``lists``, a new
folder, gets a Parquet file for each block of users with the columns user, rank (from 1), item and score, without what
a user has had already. On a cluster (``RAY_ADDRESS``) the folders are on storage that all machines reach.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
import ray
import torch
from ray.util import ActorPool

from recbole_sibrar.data.sparse import SparseRows
from recbole_sibrar.serving.topk import top_k

USERS_AT_A_TIME = 65_536


@ray.remote
class Lists:
    """A worker and what it keeps."""

    def __init__(self, index: str, output: str, k: int):
        folder, self.output, self.k = Path(index), Path(output), k
        self.users = np.load(folder / "user_fused.npy", mmap_mode="r")
        self.items = torch.from_numpy(np.load(folder / "item_fused.npy"))
        self.ids = {side: _lines(folder / f"{side}_ids.txt") for side in ("user", "item")}
        seen = np.load(folder / "user_seen.npz")
        self.seen = SparseRows(torch.from_numpy(seen["indptr"]), torch.from_numpy(seen["items"]), len(self.items))

    def write(self, start: int) -> int:
        """The lists of the block of users from ``start`` on; how many rows they have."""
        rows = torch.arange(start, min(start + USERS_AT_A_TIME, len(self.users)))
        users = torch.from_numpy(self.users[start : start + USERS_AT_A_TIME].copy())
        scores, items = top_k(users, self.items, self.k, self.seen.select(rows))
        user, place = (scores > -torch.inf).nonzero(as_tuple=True)
        lists = pd.DataFrame(
            {
                "user": self.ids["user"][rows[user]],
                "rank": place.numpy() + 1,
                "item": self.ids["item"][items[user, place]],
                "score": scores[user, place].numpy(),
            }
        )
        lists.to_parquet(self.output / f"part-{start:012d}.parquet", index=False)
        return len(lists)


def _lines(path: Path) -> np.ndarray:
    return np.array(path.read_text(encoding="utf-8").split("\n")[:-1], dtype=object)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("index", type=Path, help="a folder that export made")
    parser.add_argument("output", type=Path, help="a new folder for the lists")
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    index, output = arguments.index.resolve(), arguments.output.resolve()
    output.mkdir(parents=True)
    workers = ActorPool([Lists.remote(str(index), str(output), arguments.k) for _ in range(arguments.workers)])
    starts = range(0, len(np.load(index / "user_fused.npy", mmap_mode="r")), USERS_AT_A_TIME)
    n_rows = sum(workers.map_unordered(lambda worker, start: worker.write.remote(start), starts))
    print(f"{n_rows:,} rows written to {output}")


if __name__ == "__main__":
    main()
