"""Processes on this machine: started together, ended together, and told apart from others by what went wrong."""

import os
import pickle
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from logging import ERROR, getLogger
from multiprocessing import forkserver, resource_tracker
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from recbole_sibrar.errors import OptionError, SibrarError, WorkerError
from recbole_sibrar.files import atomic_file
from recbole_sibrar.recbole_plugin.distributed.exchange import is_main, join
from recbole_sibrar.recbole_plugin.distributed.world import World

# Processes are forked from one that has imported PRELOADED, once for all of them and for all runs of a Python session.
# Torch's optimizers import torch._dynamo when they are first used, which takes as long as all the rest.
START = "forkserver"
PRELOADED = ["recbole_sibrar.recbole_plugin.run", "torch._dynamo"]

SECONDS_TO_END = 5


def launch(world: World, function: Callable[..., Any], arguments: tuple[Any, ...], backend: str = "gloo") -> Any:
    """``function(*arguments)`` in each of this machine's processes.

    Args:
        function: importable by its name. backend: ``gloo`` or ``nccl``.

    Returns:
        what the first process of all machines returns; None on the machines that do not have it.

    Raises:
        WorkerError: a process was killed or lost the others. SibrarError: the one that a process raised.
        OptionError: the port is in use.
    """
    getLogger("torch.multiprocessing.spawn").setLevel(ERROR)
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # of torch's warnings while a run ends early
    store, port = None, world.port
    if world.offset == 0:
        try:
            store = dist.TCPStore(world.ip, port, is_master=True, wait_for_workers=False)
        except RuntimeError as error:
            raise OptionError(f"port {port} of {world.ip} cannot be opened: {_first_line(error)}") from None
        port = store.port
    with tempfile.TemporaryDirectory() as folder:
        job = (world, port, backend, Path(folder), function, arguments)
        _start_forkserver()
        context = mp.start_processes(_work, job, world.n_local, join=False, start_method=START)
        try:
            while not context.join():
                pass
        except mp.ProcessExitedException as error:
            raise _failure(world, context, error, Path(folder)) from None
        finally:
            _end(context.processes)
        result = Path(folder) / "result"
        return pickle.loads(result.read_bytes()) if result.is_file() else None


def _start_forkserver() -> None:
    """Start it, and with it all processes to come, deaf to Ctrl-C: it is this process that hears it and ends them."""
    mp.get_context(START).set_forkserver_preload(PRELOADED)
    resource_tracker.ensure_running()  # which unblocks the signal
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end(processes: Sequence[mp.Process]) -> None:
    """Let those that still run remove the files that they are making; kill those that do not come to it."""
    for process in processes:
        process.terminate()
    deadline = monotonic() + SECONDS_TO_END
    for process in processes:
        process.join(max(0, deadline - monotonic()))
        if process.is_alive():
            process.kill()


def _work(
    local_rank: int,
    world: World,
    port: int,
    backend: str,
    folder: Path,
    function: Callable[..., Any],
    arguments: tuple[Any, ...],
) -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # files in the making are removed
    threading.Thread(target=_end_with_launcher, daemon=True).start()
    torch.set_num_threads(max(1, torch.get_num_threads() // world.n_local))
    try:
        join(world, port, backend, world.offset + local_rank)
        result = function(*arguments)
        if is_main():
            (folder / "result").write_bytes(pickle.dumps(result))
        dist.destroy_process_group()
        return
    except SibrarError as error:
        failure = error
    except RuntimeError as error:
        if not _is_lost(error):
            raise
        failure = WorkerError(f"process {world.offset + local_rank} lost the others: {_first_line(error)}")
    with atomic_file(folder / f"error{local_rank}", "wb") as file:  # a signal may end the process here
        file.write(pickle.dumps(failure))
    sys.exit(1)


def _end_with_launcher() -> None:
    mp.parent_process().join()
    os.kill(os.getpid(), signal.SIGTERM)
    sleep(SECONDS_TO_END)  # the signal is not heard while torch waits for the others
    os._exit(1)


def _is_lost(error: Exception) -> bool:
    """Whether an error of torch says that a connection broke or was never made."""
    return isinstance(error, dist.DistError) or any(
        sign in str(error) for sign in ("gloo", "Connection", "Socket", "NCCL")
    )


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]


def _failure(world: World, context: mp.ProcessContext, error: Exception, folder: Path) -> Exception:
    """What to tell of processes that have all ended, at least one of them before its time."""
    reported = [pickle.loads(path.read_bytes()) for path in sorted(folder.glob("error*"))]
    for failure in reported:
        if isinstance(failure, SibrarError):
            return failure
    codes = [process.exitcode for process in context.processes]
    killed = [index for index, code in enumerate(codes) if code < 0 and code != -signal.SIGTERM]
    if reported and not killed:
        return reported[0]
    index = killed[0] if killed else error.error_index
    how = signal.Signals(-codes[index]).name if codes[index] < 0 else f"exit code {codes[index]}"
    return WorkerError(
        f"process {world.offset + index} of {world.size} ended with {how}, and the run with it. The same command with "
        "--resume=True goes on from the last whole epoch."
    )
