"""Conversion and loading at the papers' size: peak memory and seconds of each step, each in a process of its own.

    python benchmarks/conversion.py onion [--scale 1] [--events 50000000] [--folder FOLDER] [--float16] [--epoch]
    python benchmarks/conversion.py amazon-vg

Makes raw files in the corpus's own format with random content (kept in FOLDER for the next time), converts them, loads
the modalities twice (the second time the files are in the system's cache), and prints a Markdown table. ``--scale``
multiplies the numbers of users and items. Needs about 7 GB of disk for Onion.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
from multiprocessing import get_context
from pathlib import Path
from time import perf_counter

import numpy as np
from tabulate import tabulate
from tqdm import tqdm

ONION = {"users": 5192, "items": 13_610, "years": 10}
ONION_FEATURES = {"musicnn": 50, "ivec256": 86, "jukebox": 4800, "resnet": 4096, "lyrics_bert": 768}
AMAZON = {"users": 60_000, "items": 20_000, "reviews": 4_600_000}
AMAZON_VECTORS = {"text": 768, "image": 2048}
CHUNK = 1 << 20


def make_onion(folder, scale, n_events):
    """Events of users that like few tracks, spread over ten years; a line is put together from byte columns."""
    rng = np.random.default_rng(0)
    n_users, n_items = (max(int(ONION[name] * scale), 50) for name in ("users", "items"))
    users = np.array([f"{10_000_000 + user}" for user in range(n_users)], dtype="S8").view("u1").reshape(-1, 8)
    tokens = [f"{item:016d}" for item in range(n_items)]
    tracks = np.array(tokens, dtype="S16").view("u1").reshape(-1, 16)
    dates = np.array(
        [f"{year}-{month:02d}-15 12:30:00" for year in range(2011, 2021) for month in range(1, 13)], dtype="S19"
    )
    dates = dates.view("u1").reshape(-1, 19)
    with open(folder / "userid_trackid_timestamp.tsv", "wb") as file, tqdm(total=n_events, desc="events") as bar:
        file.write(b"user_id\ttrack_id\ttimestamp\n")
        for start in range(0, n_events, CHUNK):
            n = min(CHUNK, n_events - start)
            user = rng.integers(0, n_users, n)
            liked = (rng.random(n) ** 3 * 120).astype(np.int64)
            item = (user * 7919 + liked * 104_729) % n_items
            lines = np.full((n, 8 + 1 + 16 + 1 + 19 + 1), ord("\t"), dtype="u1")
            lines[:, :8], lines[:, 9:25] = users[user], tracks[item]
            lines[:, 26:45], lines[:, 45] = dates[rng.integers(0, len(dates), n)], ord("\n")
            file.write(lines.tobytes())
            bar.update(n)
    with open(folder / "users.tsv", "w") as file:
        file.write("user_id\tcountry\tage\tgender\tcreation_time\n")
        for user in range(n_users):
            file.write(f"{10_000_000 + user}\tC{rng.integers(152)}\t{rng.integers(15, 70)}\t{'mf'[user % 2]}\tx\n")
    with open(folder / "id_genres.tsv", "w") as file:
        file.write("id\tgenres\n")
        for token in tokens:
            file.write(f"{token}\t{','.join(f'genre {tag}' for tag in rng.integers(0, 853, 4))}\n")
    for name, width in ONION_FEATURES.items():
        with open(folder / f"id_{name}.tsv", "w") as file:
            file.write("\t".join(["id", *map(str, range(width))]) + "\n")
            form = "\t".join(["%.6f"] * width)
            for token in tqdm(tokens, desc=name):
                file.write(f"{token}\t{form % tuple(rng.standard_normal(width).tolist())}\n")


def make_amazon(folder, scale, n_events):
    rng = np.random.default_rng(0)
    n_users, n_items = (max(int(AMAZON[name] * scale), 50) for name in ("users", "items"))
    n_reviews = n_events or int(AMAZON["reviews"] * scale)
    user = rng.integers(0, n_users, n_reviews)
    item = (rng.random(n_reviews) ** 2 * n_items).astype(int)
    time = rng.integers(1_262_304_000, 1_690_000_000, n_reviews) * 1000
    text = "x" * 300
    with open(folder / "Video_Games.jsonl", "w") as file:
        for u, i, t in zip(tqdm(user.tolist(), desc="reviews"), item.tolist(), time.tolist()):
            line = {"rating": 5.0, "title": "t", "text": text, "images": [], "asin": f"B{i:09d}"}
            line |= {"parent_asin": f"B{i:09d}", "user_id": f"A{u:027d}", "timestamp": t, "helpful_vote": 0}
            file.write(json.dumps({**line, "verified_purchase": u % 5 != 0}) + "\n")
    with open(folder / "meta_Video_Games.jsonl", "w") as file:
        for i in range(n_items):
            line = {"parent_asin": f"B{i:09d}", "title": f"Game {i}", "description": [text, text]}
            file.write(json.dumps({**line, "images": [{"large": f"http://x/{i}.jpg", "hi_res": None}]}) + "\n")
    for name, width in AMAZON_VECTORS.items():
        values = rng.standard_normal((n_items, width)).astype("float32")
        np.savez(folder / f"{name}.npz", ids=[f"B{i:09d}" for i in range(n_items)], values=values)


MAKERS = {"onion": make_onion, "amazon-vg": make_amazon}
LOAD = """
import sys, time
import numpy as np
from pathlib import Path
from recbole_sibrar.data.atomic import read_atomic
from recbole_sibrar.kinds.reading import load_modalities, parse_declarations
from recbole_sibrar.properties import read_property_file
import resource
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
start = time.perf_counter()
folder, name = Path(sys.argv[1]), sys.argv[2]
declared = read_property_file(folder / f"{name}.yaml")["modalities"]
for side in ("user", "item"):
    tokens = ["[PAD]", *read_atomic(folder / f"{name}.{side}", [f"{side}_id"])[f"{side}_id"]]
    loaded = load_modalities(folder, name, side, f"{side}_id", tokens, parse_declarations(declared, side))
vectors = sum(e.values.numel() * e.values.element_size() for e in loaded.entries if e.kind == "vector")
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(f"loaded in {time.perf_counter() - start:.2f} s; vectors {vectors / 2**20:.0f} MiB, "
      f"added to the peak {(peak - before) / 2**10:.0f} MiB", file=sys.stderr)
"""
EPOCH = """
import logging, sys, time, resource
from recbole_sibrar.recbole_plugin.prepared import make_config, prepare
settings = {"data_path": sys.argv[1], "scenario": "item_cold", "variant": "SC", "state": "ERROR"}
ready = prepare(make_config("SiBraR", sys.argv[2], None, settings))
data = ready.loaders[0]
start = time.perf_counter()
ready.trainer._train_epoch(data, 0)
seconds = time.perf_counter() - start
n = len(data._dataset.inter_feat)
print(f"one epoch of SiBraR_SC: {n} positives in {seconds:.1f} s, {n / seconds:.0f} positives/s", file=sys.stderr)
"""


def measure(step, words) -> tuple:
    """Run a process; (step, seconds, peak memory in MiB)."""
    start = perf_counter()
    process = subprocess.Popen(words)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{step} failed with status {status}")
    return step, f"{perf_counter() - start:.1f}", f"{usage.ru_maxrss / 2**10:,.0f}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", choices=MAKERS)
    parser.add_argument("--scale", type=float, default=1)
    parser.add_argument("--events", type=int, help="lines of events or reviews (default: 50 million, 4.6 million)")
    parser.add_argument("--folder", type=Path, default=Path("/tmp/conversion"))
    parser.add_argument("--float16", action="store_true")
    parser.add_argument("--epoch", action="store_true", help="also train SiBraR_SC for one epoch, item cold start")
    arguments = parser.parse_args()
    raw = arguments.folder / f"{arguments.corpus}-{arguments.scale:g}-{arguments.events}"
    if not (raw / "complete").is_file():
        raw.mkdir(parents=True, exist_ok=True)
        n_events = arguments.events or (50_000_000 if arguments.corpus == "onion" else None)
        # In a process of its own: the peak memory of a child counts the parent's at the time of the fork.
        maker = get_context("spawn").Process(target=MAKERS[arguments.corpus], args=(raw, arguments.scale, n_events))
        maker.start()
        maker.join()
        if maker.exitcode:
            sys.exit("the raw files could not be made")
        (raw / "complete").touch()
    output = arguments.folder / "atomic_data"
    words = [sys.executable, "-m", "recbole_sibrar.cli", "convert", arguments.corpus, "--raw", raw, "--output", output]
    words += ["--float16"] if arguments.float16 else []
    if arguments.corpus == "amazon-vg":
        words += ["--item-vectors", *(f"{name}={name}.npz" for name in AMAZON_VECTORS)]
    load = [sys.executable, "-c", LOAD, output / arguments.corpus, arguments.corpus]
    rows = [measure("convert", words), measure("load, first", load), measure("load, second", load)]
    if arguments.epoch:
        rows.append(measure("train one epoch", [sys.executable, "-c", EPOCH, output, arguments.corpus]))
    size = sum(path.stat().st_size for path in raw.iterdir()) / 2**30
    print(tabulate(rows, headers=(arguments.corpus, "seconds", "peak MiB"), tablefmt="github"))
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**10
    print(f"raw files {size:.1f} GiB, largest process {children:,.0f} MiB")


if __name__ == "__main__":
    main()
