"""What a GPU brings: a training step, a closed form, an evaluation, beside the processors of the same machine.

    python benchmarks/gpu.py [--data_path atomic_data] [--data ml-1m citeulike-t generated] [--scenario warm]
        [--models "SiBraR, papers'" ContentRidge] [--steps 20] [--output FILE]

A step includes making its batch, on one thread; ``processors`` use all of the machine. ``mixed`` is of our models with
mixed precision (``enable_amp``). ``busy`` is the share of a step in which the GPU computes, ``kernels`` how many
operations it is given for one, ``copies`` how often a step waits for a number to come back, and how many tables are
sent. Of a closed form a step is a penalty, after what is done once. Prints a Markdown table for each data set.
"""

import json
import logging
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile
from training import MODELS, data_sets, parser_of, show, step_of

from recbole_sibrar.recbole_plugin.prepared import make_config, prepare

CLOSED_FORMS = ("ContentRidge", "KernelRidge", "LinearAutoencoder")
ALL = {**MODELS, **{name: (name, {}) for name in CLOSED_FORMS}}


def measured(name: str, data: str, settings: dict[str, Any], n_steps: int) -> dict[str, Any]:
    """Figures of a model on one device."""
    model, options = ALL[name]
    settings = {**settings, "state": "ERROR", "show_progress": False, "output_dir": tempfile.mkdtemp()}
    ready = prepare(make_config(model, data, None, {**options, **settings}))
    own, is_on_gpu = ready.model, ready.config["device"].type == "cuda"
    once = seconds_of(lambda: own.pretrain(ready.config)) if hasattr(own, "pretrain") else 0.0
    step = step_of(ready)
    figures = {"once": once, "step": step_seconds(step, n_steps), "steps": len(ready.loaders[0])}
    if is_on_gpu:
        figures |= of_the_gpu(step, figures["step"])
        figures["mebibytes"] = torch.cuda.max_memory_allocated() / 2**20
        if hasattr(own, "core") and name not in CLOSED_FORMS:
            figures["mixed"] = step_seconds(step_of(ready, is_mixed=True), n_steps)
    own.eval()
    figures["evaluation"] = seconds_of(lambda: ready.trainer.evaluate(ready.loaders[2], load_best_model=False))
    return figures


def step_seconds(step: Callable[[], Any], n_steps: int) -> float:
    for _ in range(3):
        step()
    return median(seconds_of(step) for _ in range(n_steps))


def seconds_of(function: Callable[[], Any]) -> float:
    start = perf_counter()
    function()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return perf_counter() - start


def of_the_gpu(step: Callable[[], Any], seconds: float) -> dict[str, float]:
    """What it does in a step."""
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as seen:
        step()
        torch.cuda.synchronize()
    events = [event for event in seen.events() if event.device_type == DeviceType.CUDA]
    copies = [event.name for event in events if event.name.startswith("Memcpy")]
    return {
        "busy": sum(event.device_time for event in events) / 1e6 / seconds,
        "kernels": len(events) - len(copies),
        "back": sum("DtoH" in name for name in copies),
        "sent": sum("HtoD" in name for name in copies),
    }


def row_of(name: str, found: dict[str, dict[str, Any]]) -> tuple[str, ...]:
    cpu, gpu = found["cpu"], found["gpu"]
    return (
        name,
        f"{1000 * cpu['step']:.1f}",
        f"{1000 * gpu['step']:.1f}",
        f"{cpu['step'] / gpu['step']:.1f}",
        f"{1000 * gpu['mixed']:.1f}" if "mixed" in gpu else "",
        f"{gpu['busy']:.0%}",
        f"{gpu['kernels']}",
        f"{gpu['back']} / {gpu['sent']}",
        f"{gpu['step'] * gpu['steps']:.1f}",
        f"{cpu['once']:.1f} / {gpu['once']:.1f}",
        f"{cpu['evaluation']:.2f} / {gpu['evaluation']:.2f}",
        f"{gpu['mebibytes']:.0f}",
    )


HEADERS = (
    "model", "step, processors, ms", "GPU, ms", "ratio", "mixed, ms", "busy", "kernels", "copies back / sent",
    "epoch, GPU, s", "once, s", "evaluation, s", "GPU's MiB",
)  # fmt: skip


def main() -> None:
    arguments = parser_of(__doc__, ALL, steps=20).parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("torch finds no GPU.")
    logging.disable(logging.INFO)
    print(f"{torch.cuda.get_device_name()}, {os.cpu_count()} processors, torch {torch.__version__}")
    devices = {"cpu": {"use_gpu": False}, "gpu": {"use_gpu": True, "gpu_id": "0"}}
    results: dict[str, dict[str, Any]] = {}
    for data, settings in data_sets(arguments):
        results[data] = {}
        for name in arguments.models:
            results[data][name] = {
                where: measured(name, data, {**settings, **device}, arguments.steps)
                for where, device in devices.items()
            }
            if arguments.output:
                Path(arguments.output).write_text(json.dumps(results, indent=1))
        show(data, arguments.scenario, [row_of(name, found) for name, found in results[data].items()], HEADERS)


if __name__ == "__main__":
    main()
