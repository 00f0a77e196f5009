"""The service under load on the loopback, beside what numpy alone would take; a data frame's first recommendation.

    python benchmarks/service.py [--items 50000] [--clients 1 16 100] [--seconds 10]

A catalogue of random vectors, 128-d, ``ContentRidge`` by content alone, so that what is measured is serving. Each
client asks for ten items for one history of five, as fast as it is answered. numpy's bound is one inner product with
all items and an ``argpartition``, without HTTP. The clients share the cores with the service.
"""

import argparse
import asyncio
import json
import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter, process_time

import httpx
import numpy as np

from recbole_sibrar import Dataset

WIDTH, LIKED, K = 128, 5, 10


async def ask(port, n_items, seconds, rng, taken):
    """One client on one connection; plain streams, since a library's client takes longer than the service."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    end = perf_counter() + seconds
    while perf_counter() < end:
        liked = [f"i{n}" for n in rng.integers(0, n_items, LIKED)]
        body = json.dumps({"users": [liked], "k": K}).encode()
        start = perf_counter()
        writer.write(b"POST /recommend HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n")
        writer.write(b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
        head = await reader.readuntil(b"\r\n\r\n")
        answer = json.loads(await reader.readexactly(int(re.search(rb"(?i)content-length: (\d+)", head)[1])))
        assert len(answer["recommendations"][0]["items"]) == K
        taken.append(perf_counter() - start)
    writer.close()


async def load(port, n_clients, n_items, seconds):
    taken = []
    await asyncio.gather(*(ask(port, n_items, seconds, np.random.default_rng(n), taken) for n in range(n_clients)))
    return np.array(taken)


def wait_for(address, patience=120):
    end = perf_counter() + patience
    while perf_counter() < end:
        try:
            return httpx.get(f"{address}/health")
        except httpx.ConnectError:
            time.sleep(0.2)
    raise TimeoutError(address)


def cpu_seconds(pid):
    """That a process has used (Linux)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def numpy_bound(items, n=200):
    rng, taken = np.random.default_rng(0), []
    for _ in range(n):
        user = items[rng.integers(0, len(items), LIKED)].sum(0)
        start = perf_counter()
        scores = items @ user
        best = np.argpartition(-scores, K)[:K]
        best[np.argsort(-scores[best])]
        taken.append(perf_counter() - start)
    return np.array(taken)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=50_000)
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 16, 100])
    parser.add_argument("--seconds", type=float, default=10)
    arguments = parser.parse_args()
    values = np.random.default_rng(0).normal(size=(arguments.items, WIDTH)).astype("float32")
    start, spent = perf_counter(), process_time()
    model = Dataset.from_frames(vectors={"v": ([f"i{n}" for n in range(arguments.items)], values)}).fit()
    model.recommend([["i0", "i1"]])
    took = f"{perf_counter() - start:.1f} s, {process_time() - spent:.1f} s of CPU"
    print(f"from a frame to the first recommendation: {took}")
    bound = numpy_bound(model.embeddings("item")[1].numpy())
    print(f"numpy: {1 / bound.mean():.0f} answers/s, p99 {np.quantile(bound, 0.99) * 1e3:.1f} ms")
    with TemporaryDirectory() as folder, socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        model.save(f"{folder}/model.pth")
        free.close()
        command = [sys.executable, "-m", "recbole_sibrar.cli", "serve", f"--checkpoint={folder}/model.pth"]
        service = subprocess.Popen([*command, f"--port={port}"])
        try:
            wait_for(f"http://127.0.0.1:{port}")
            for n_clients in arguments.clients:
                before = cpu_seconds(service.pid)
                taken = asyncio.run(load(port, n_clients, arguments.items, arguments.seconds))
                rate, p50, p99 = len(taken) / arguments.seconds, *(np.quantile(taken, [0.5, 0.99]) * 1e3)
                spent = (cpu_seconds(service.pid) - before) / len(taken) * 1e3
                print(f"{n_clients} clients: {rate:.0f} requests/s, p50 {p50:.0f} ms, p99 {p99:.0f} ms; ", end="")
                print(f"{spent:.1f} ms of the service's CPU for each", flush=True)
        finally:
            service.terminate()
            service.wait()


if __name__ == "__main__":
    main()
