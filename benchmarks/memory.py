"""Peak memory and time of SiBraR_SC with vectors in memory and on disk, each in a process of its own.

    python benchmarks/memory.py [--items 20000] [--widths 768 1024 2048] [--float16] [--softmax-negatives 512]

Makes random interactions and vector modalities in a temporary folder (the vectors in their binary form only, which
is all that training reads), and trains one epoch, item cold start. Prints a Markdown table. Peaks are those of the
process: after the imports, with the epoch, and with a checkpoint and the test too. Writing the checkpoint goes through
the mapped file, whose pages count here although the system takes them back when it needs them.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from tabulate import tabulate

from recbole_sibrar.data.vectors import BLOCK_ROWS, STORAGES, write_cache

N_USERS, PER_USER = 3000, 30
RUN = """
import json, resource, sys, time
from recbole_sibrar.recbole_plugin.prepared import make_config, prepare
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
peaks, settings = [peak()], json.loads(sys.argv[1])
config = make_config("SiBraR", "vectors", None, settings)
config["checkpoint_dir"] = settings["data_path"]
ready = prepare(config)
ready.trainer._training_split = ready.loaders[0]._dataset
start = time.perf_counter()
ready.trainer._train_epoch(ready.loaders[0], 0)
seconds = time.perf_counter() - start
peaks.append(peak())
ready.trainer._save_checkpoint(0, verbose=False)
ready.trainer.evaluate(ready.loaders[2])
print(json.dumps([*peaks, peak(), seconds]))
"""


def make_data(folder, n_items, widths, dtype):
    """The data set ``vectors``."""
    rng = np.random.default_rng(0)
    ids = np.array([f"i{item}" for item in range(n_items)])
    with open(folder / "vectors.inter", "w") as file:
        file.write("user_id:token\titem_id:token\n")
        for user in range(N_USERS):
            items = rng.choice(n_items, PER_USER, replace=False)
            file.writelines(f"u{user}\ti{item}\n" for item in items)
    for width in widths:
        path = folder / f"vectors.v{width}"
        path.write_text(f"item_id:token\tv{width}:float_seq\n")
        sizes = [min(BLOCK_ROWS, n_items - start) for start in range(0, n_items, BLOCK_ROWS)]
        blocks = (rng.standard_normal((size, width), dtype="float32") for size in sizes)
        write_cache(path, ids, blocks, (n_items, width), dtype)
    declared = ", ".join(f"v{width}: vector" for width in widths)
    (folder / "vectors.yaml").write_text(f"modalities: {{item: {{{declared}}}}}\n")


def measure(folder, storage, options):
    settings = {
        "data_path": str(folder), "scenario": "item_cold", "state": "ERROR", "show_progress": False,
        "vector_storage": storage, **options,
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", RUN, json.dumps(settings)], stdout=subprocess.PIPE, text=True, check=True, cwd=folder
    )
    return json.loads(done.stdout.splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=20_000)
    parser.add_argument("--widths", type=int, nargs="+", default=[768, 1024, 2048])
    parser.add_argument("--float16", action="store_true")
    parser.add_argument("--softmax-negatives", type=int, default=512, help="0: every step reads all training items")
    arguments = parser.parse_args()
    dtype = np.dtype("float16" if arguments.float16 else "float32")
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "vectors"
        data.mkdir()
        make_data(data, arguments.items, arguments.widths, dtype)
        options = {"preset": "strong", "softmax_negatives": arguments.softmax_negatives}
        results = {storage: measure(Path(folder), storage, options) for storage in STORAGES}
    rows = [
        (storage, *(f"{peak:,.0f}" for peak in peaks), f"{seconds:.1f}", f"{seconds / results['memory'][-1]:.2f}")
        for storage, (*peaks, seconds) in results.items()
    ]
    headers = ("vectors", "imports, MiB", "one epoch, MiB", "and test, MiB", "epoch, s", "time / memory's")
    print(tabulate(rows, headers=headers, tablefmt="github"))
    size = arguments.items * sum(arguments.widths) * dtype.itemsize / 2**20
    print(f"{arguments.items:,} items, vectors of {size:,.0f} MiB ({dtype}), {N_USERS * PER_USER:,} interactions")


if __name__ == "__main__":
    main()
