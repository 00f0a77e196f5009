"""What a training step costs, beside CLCRec, RecBole's BPR and LightGCN, and beside other versions of this code.

    python benchmarks/training.py [--data_path atomic_data] [--data ml-1m citeulike-t generated] [--scenario warm]
        [--models "SiBraR, papers'" BPR] [--steps 8] [--versions FOLDER ...] [--best] [--output FILE]

``generated`` are 15,000 items with 46,000 tags and 200,000 interactions. Every model, of every version (checkouts of
this repository), is a process of its own; they take turns, step by step, and what is reported of a model is its median,
in seconds of the processor and not by the clock, so that ratios hold on a busy machine as well. ``loss`` is how far the
losses of a version's first steps are at most from those of this one, relatively: large where a version draws otherwise.
``mixed`` is with mixed precision (``enable_amp``): bfloat16 where the processor has it.

``of products``: the floating-point operations of a step's matrix products by its time, as a share of the machine's
speed at a product of two 1024 x 1024 matrices. ``of memory``: the numbers that a step's operations read and write by
its time, as a share of the machine's speed at copying 64 MiB; above 1 where they stay in a cache. ``--best`` also
trains to the best score on validation data. Prints a Markdown table for each data set.
"""

import argparse
import json
import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from statistics import median
from time import process_time
from typing import Any

PAPERS = {"preset": "paper", "embedding_size": 256, "train_batch_size": 2048}
TEN_EACH = {"train_batch_size": 20_480, "train_neg_sample_args": {"distribution": "uniform", "sample_num": 10}}
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "SiBraR, papers'": ("SiBraR", PAPERS),
    "SiBraR, papers', mixed": ("SiBraR", {**PAPERS, "enable_amp": True}),
    "SiBraR, strong": ("SiBraR", {"preset": "strong"}),
    "SiBraR, bpr": ("SiBraR", {"preset": "paper"}),
    "CLCRec": ("CLCRec", {}),
    "BPR": ("BPR", TEN_EACH),
    "LightGCN": ("LightGCN", TEN_EACH),
}
COMPARED, HERE = "BPR", str(Path(__file__).resolve().parents[1])
GENERATED = {"users": 5_000, "items": 15_000, "interactions": 200_000, "tags": 46_000, "tags_of_an_item": 20}
GATHERS, SCATTERS = ("embedding_bag", "index_select", "index.Tensor"), ("index_add", "index_copy", "index_put")


def generate(folder: Path) -> None:
    """Atomic files of ``GENERATED``."""
    import numpy as np

    rng, sizes = np.random.default_rng(0), GENERATED
    n = sizes["interactions"]
    users, items = rng.integers(sizes["users"], size=n), (rng.random(n) ** 2 * sizes["items"]).astype(int)
    pairs = sorted(set(zip(users.tolist(), items.tolist())))
    tags = (rng.random((sizes["items"], sizes["tags_of_an_item"])) ** 3 * sizes["tags"]).astype(int)
    inter = ["user_id:token\titem_id:token", *(f"u{user}\ti{item}" for user, item in pairs)]
    item = ["item_id:token\ttags:token_seq"]
    item += [f"i{number}\t{' '.join(f't{tag}' for tag in own)}" for number, own in enumerate(tags)]
    folder.mkdir()
    for name, lines in {"inter": inter, "item": item, "yaml": ["modalities: {user: {}, item: {tags: tags}}"]}.items():
        (folder / f"generated.{name}").write_text("\n".join(lines) + "\n")


# in a process of its own


def work(model: str, data: str, settings: dict[str, Any], best: bool) -> None:
    """A step for each line that comes in; the figures of a model at the end."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from recbole_sibrar.recbole_plugin.prepared import make_config, prepare

    logging.disable(logging.INFO)
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", torch.get_num_threads())))
    ready = prepare(make_config(model, data, None, {**settings, "state": "ERROR", "output_dir": tempfile.mkdtemp()}))
    if hasattr(ready.model, "pretrain"):
        ready.model.pretrain(ready.config)
    step = step_of(ready)
    say({"losses": [step() for _ in range(3)]})
    for _ in sys.stdin:
        start = process_time()
        step()
        say({"seconds": process_time() - start})
    with FlopCounterMode(display=False) as counter:
        step()
    with moved_bytes() as moved:
        step()
    figures = {"steps": len(ready.loaders[0]), "flop": counter.get_total_flops(), "bytes": moved.total, **speeds()}
    if best:
        figures |= to_the_best(prepare(ready.config))
    say(figures)


def step_of(ready: Any, is_mixed: bool | None = None) -> Callable[[], float]:
    """A step as RecBole's trainer makes it, with the next batch; its loss.

    Args:
        is_mixed: with mixed precision, as ``enable_amp`` says by default.
    """
    import torch

    device, optimizer, model = ready.config["device"], ready.trainer.optimizer, ready.model
    is_mixed = ready.config["enable_amp"] if is_mixed is None else is_mixed
    model.train()

    def batches():
        while True:
            yield from ready.loaders[0]

    drawn = batches()

    def step() -> float:
        batch = next(drawn).to(device)
        optimizer.zero_grad()
        with torch.autocast(device_type=device.type, enabled=is_mixed):
            terms = model.calculate_loss(batch)
        loss = sum(terms) if isinstance(terms, tuple) else terms
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def say(what: dict[str, Any]) -> None:
    print("=" + json.dumps(what), flush=True)


def moved_bytes():
    """Counts what each operation reads and writes; of a table with rows gathered from it or added to it, these rows."""
    import torch
    from torch import Tensor
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves

    class Moved(TorchDispatchMode):
        total = 0

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            result = function(*args, **(kwargs or {}))
            if any(name in str(function) for name in GATHERS):
                width = args[0].shape[-1] if "bag" in str(function) else 1
                read = args[1].numel() * width if isinstance(args[1], Tensor) else tree_leaves(result)[0].numel()
                self.total += 4 * read + size_of(result)
            elif any(name in str(function) for name in SCATTERS):
                self.total += 3 * max(size_of(part) for part in args[1:])
            elif not function.is_view:
                self.total += size_of((args, kwargs)) + size_of(result)
            return result

    def size_of(what: object) -> int:
        leaves = [leaf for leaf in tree_leaves(what) if isinstance(leaf, Tensor)]
        return sum(
            leaf._indices().nbytes + leaf._values().nbytes if leaf.layout == torch.sparse_coo else leaf.nbytes
            for leaf in leaves
        )

    return Moved()


def speeds() -> dict[str, float]:
    """FLOP/s of a large product and bytes/s of a large copy, of a second of processors."""
    import torch

    one, other, long = torch.randn(1024, 1024), torch.randn(1024, 1024), torch.randn(2**24)
    place = torch.empty_like(long)
    return {
        "flop_s": 2 * 1024**3 / least(lambda: one @ other),
        "bytes_s": 2 * long.nbytes / least(lambda: place.copy_(long)),
    }


def least(function: Callable[[], Any], repeats: int = 10) -> float:
    """Seconds of the processor."""
    seconds = []
    for _ in range(repeats):
        start = process_time()
        function()
        seconds.append(process_time() - start)
    return min(seconds)


def to_the_best(ready: Any) -> dict[str, float]:
    """Seconds of the processor until the best validation score, its epoch, and it."""
    start = process_time()
    score, _ = ready.trainer.fit(*ready.loaders[:2], saved=True, show_progress=False)
    scores = [epoch["valid"] for epoch in ready.trainer.history]
    n = 1 + max(range(len(scores)), key=lambda epoch: scores[epoch] or 0)
    return {"valid": float(score), "best_epoch": n, "best_seconds": (process_time() - start) * n / len(scores)}


# the others


class Worker:
    """A process that trains one model of one version."""

    def __init__(self, version: str, task: dict[str, Any]):
        environment = {**os.environ, "PYTHONPATH": version}
        command = [sys.executable, __file__, "--worker", json.dumps(task)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, cwd=version
        )
        self.losses, self.seconds = [], []

    def begin(self) -> None:
        """Wait until it has made its first steps."""
        self.losses = self.answer()["losses"]

    def answer(self) -> dict[str, Any]:
        for line in self.process.stdout:
            if line.startswith("="):
                return json.loads(line[1:])
        raise SystemExit(f"{self.process.args} ended early.")

    def step(self) -> None:
        print(file=self.process.stdin, flush=True)
        self.seconds.append(self.answer()["seconds"])

    def figures(self) -> dict[str, Any]:
        self.process.stdin.close()
        return {"losses": self.losses, "step_seconds": median(self.seconds), **self.answer()}


def measure(data: str, settings: dict[str, Any], arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Figures of each model of each version."""
    workers = {}
    for name in arguments.models:
        model, options = MODELS[name]
        task = {"model": model, "data": data, "settings": {**settings, **options}, "best": arguments.best}
        for version in dict.fromkeys([HERE, *map(os.path.abspath, arguments.versions)]):
            if version == HERE or model in ("SiBraR", "CLCRec"):
                workers[name, version] = Worker(version, task)
    for worker in workers.values():
        worker.begin()
    for _ in range(arguments.steps):
        for worker in workers.values():
            worker.step()
    return [{"data": data, "model": name, "version": v, **own.figures()} for (name, v), own in workers.items()]


def rows_of(results: list[dict[str, Any]]) -> list[tuple[str, ...]]:
    """Of one data set."""
    here = {own["model"]: own for own in results if own["version"] == HERE}
    rows = []
    for own in results:
        seconds, now = own["step_seconds"], here[own["model"]]
        epoch, compared = seconds * own["steps"], here.get(COMPARED)
        difference = max(abs(a - b) / abs(b) for a, b in zip(own["losses"], now["losses"]))
        rows.append((
            own["model"] + ("" if own is now else f" ({Path(own['version']).name})"),
            f"{1000 * seconds:.0f}",
            "" if own is now else f"{seconds / now['step_seconds']:.2f}",
            "" if own is now else f"{difference:.0e}",
            f"{epoch:.1f}",
            f"{epoch / (compared['step_seconds'] * compared['steps']):.2f}" if compared else "",
            f"{own['flop'] / seconds / own['flop_s']:.0%}",
            f"{own['bytes'] / seconds / own['bytes_s']:.0%}",
            f"{own['best_seconds']:.0f} ({own['best_epoch']}; {own['valid']:.3f})" if "best_epoch" in own else "",
        ))  # fmt: skip
    return rows


HEADERS = (
    "model", "step, CPU ms", "by ours", "loss", "epoch, CPU s", "by BPR's", "of products", "of memory",
    "CPU s to the best (epoch; score)",
)  # fmt: skip


def parser_of(description: str, models: Iterable[str], steps: int) -> argparse.ArgumentParser:
    """What a benchmark of steps is told: the data sets, the models, how many steps."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_path", default="atomic_data", help="of the data sets but ml-100k and generated")
    parser.add_argument("--data", nargs="+", default=["ml-1m", "citeulike-t", "generated"])
    parser.add_argument("--models", nargs="+", default=list(models), choices=list(models))
    parser.add_argument("--scenario", default="warm")
    parser.add_argument("--steps", type=int, default=steps)
    parser.add_argument("--output", help="also write the figures there, as JSON")
    return parser


def data_sets(arguments: argparse.Namespace) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the name of each data set, and the settings that go with it."""
    with tempfile.TemporaryDirectory() as folder:
        for data in arguments.data:
            path = None if data == "ml-100k" else os.path.abspath(arguments.data_path)
            if data == "generated":
                path = folder
                generate(Path(folder) / data)
            yield data, {"scenario": arguments.scenario, **({"data_path": path} if path else {})}


def show(data: str, scenario: str, rows: list[tuple[str, ...]], headers: tuple[str, ...]) -> None:
    """Print a data set's table."""
    from tabulate import tabulate

    print(f"\n{data}, {scenario}\n")
    print(tabulate(rows, headers=headers, tablefmt="github", disable_numparse=True), flush=True)


def main() -> None:
    parser = parser_of(__doc__, MODELS, steps=8)
    parser.add_argument("--versions", nargs="*", default=[], help="folders with other versions of this code")
    parser.add_argument("--best", action="store_true", help="also train to the best validation score")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        return work(**json.loads(arguments.worker))

    results = []
    for data, settings in data_sets(arguments):
        found = measure(data, settings, arguments)
        results += found
        show(data, arguments.scenario, rows_of(found), HEADERS)
    if arguments.output:
        Path(arguments.output).write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
