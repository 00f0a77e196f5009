"""A run in several processes: each does its share of every training step and of the evaluated users.

Each process makes the same batches, with the same negatives and the same draws of modalities, because all of these come
from generators seeded alike. What is shared out is the costly part:

* training, our models: the rows that go through ``InnerProductModel.rowwise``, the encoding of a step's entities. The
  embeddings are gathered with their gradients, and each process computes the loss of the whole batch.
* training, RecBole's models: the rows of the batch, each share weighted by its size.
* evaluation: the users. Their lists are gathered, and each process computes the metrics of all of them, so that all
  decide alike when to stop.

The gradients are averaged by ``DistributedDataParallel``.

Equal to one process, up to the order of summation: batches, negatives, modalities, contrastive sets, losses, gradients,
batch normalisation of our models, metrics. Not equal: the draws of dropout and of the order of cold items that a model
without content cannot rank, since each process has a generator of its own for them. A RecBole model whose loss is no
mean over the rows of its batch (regularisation, in-batch negatives) takes it over a process's share, as with RecBole's
own distributed training; BPR's is one.

With one process, the functions here that the rest of the code calls return what they are given.
"""

import os
import pickle
import signal
import sys
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from logging import ERROR, getLogger
from multiprocessing import forkserver, resource_tracker
from pathlib import Path
from time import monotonic, sleep

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn

from recbole_sibrar.errors import OptionError, SibrarError, WorkerError

NAMES = ("nproc", "world_size", "ip", "port", "group_offset")

# Processes are forked from one that has imported PRELOADED, once for all of them and for all runs of a Python session.
# Torch's optimizers import torch._dynamo when they are first used, which takes as long as all the rest.
START = "forkserver"
PRELOADED = ["recbole_sibrar.recbole_plugin.run", "torch._dynamo"]

SECONDS_TO_END = 5

DEFAULTS = dict(zip(NAMES, (1, -1, "localhost", 5678, 0)))


@dataclass(frozen=True)
class World:
    """The processes of a run, on this machine and on others.

    Attributes:
        size: of all machines. n_local: on this machine. offset: how many come before this machine's.
        ip, port: where they meet, on the machine with offset 0; port 0 for a free one.
    """

    size: int
    n_local: int
    offset: int
    ip: str
    port: int

    @classmethod
    def of(cls, settings) -> "World":
        """From RecBole's options; the port is a free one where all processes are on this machine.

        Raises:
            OptionError: one of them is of the wrong type or does not fit the others.
        """
        given = {name: DEFAULTS[name] if settings.get(name) is None else settings[name] for name in NAMES}
        given["port"] = _whole_number(given["port"])
        for name in ("nproc", "world_size", "port", "group_offset"):
            if isinstance(given[name], bool) or not isinstance(given[name], int):
                raise OptionError(f"{name} is {given[name]!r}; expected an integer.")
        n_local, size, offset = given["nproc"], given["world_size"], given["group_offset"]
        if n_local < 1:
            raise OptionError(f"nproc is {n_local}; expected at least 1, the number of processes on this machine.")
        size = n_local if size == -1 else size
        if offset < 0 or offset + n_local > size:
            raise OptionError(
                f"world_size is {size}, but nproc={n_local} and group_offset={offset} make processes "
                f"{offset} to {offset + n_local - 1}; world_size counts those of all machines, group_offset those of "
                "the machines before this one."
            )
        if not 0 <= given["port"] < 2**16:
            raise OptionError(f"port is {given['port']}; expected a number below 65536.")
        is_free = settings.get("port") is None and size == n_local
        return cls(size, n_local, offset, str(given["ip"]), 0 if is_free else given["port"])


def _whole_number(value):
    return int(value) if isinstance(value, str) and value.isdecimal() else value


def check_processes(settings: dict) -> None:
    """Check the options of ``World``; drop them where they say that a run is one process.

    Raises:
        OptionError: see ``World.of``.
    """
    if World.of(settings).size == 1:
        for name in NAMES:
            settings.pop(name, None)


def check_shareable(config) -> None:
    """The model's training can be shared by several processes, and there is a GPU for each if GPUs are used.

    Raises:
        OptionError: it has no gradient to average, or a trainer of its own; or there are too few GPUs.
    """
    from recbole.trainer import Trainer
    from recbole.utils import get_model, get_trainer

    name = config["model"]
    reason = None
    if getattr(getattr(get_model(name), "core_class", None), "closed_form", False):
        reason = "is solved in closed form and has no gradients to average"
    elif (base := get_trainer(config["MODEL_TYPE"], name).__bases__[1]) is not Trainer:
        reason = f"is trained by RecBole's {base.__name__}, whose steps cannot be shared"
    if reason:
        raise OptionError(f"{name} {reason}; leave nproc and world_size out.")
    n_gpus = torch.cuda.device_count() if config["device"].type == "cuda" else None
    n_local = World.of(config.final_config_dict).n_local
    if n_gpus is not None and n_gpus < n_local:
        raise OptionError(
            f"nproc is {n_local}, but gpu_id={config['gpu_id']!r} names {n_gpus} GPU(s): name one for each process, or "
            "none with --gpu_id= to train on CPUs."
        )


# launching


def launch(world: World, function: Callable, arguments: tuple, backend: str = "gloo"):
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


def _start_forkserver():
    """Start it, and with it all processes to come, deaf to Ctrl-C: it is this process that hears it and ends them."""
    mp.get_context(START).set_forkserver_preload(PRELOADED)
    resource_tracker.ensure_running()  # which unblocks the signal
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end(processes):
    """Let those that still run remove the files that they are making; kill those that do not come to it."""
    for process in processes:
        process.terminate()
    deadline = monotonic() + SECONDS_TO_END
    for process in processes:
        process.join(max(0, deadline - monotonic()))
        if process.is_alive():
            process.kill()


def _work(local_rank, world, port, backend, folder, function, arguments):
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # files in the making are removed
    threading.Thread(target=_end_with_launcher, daemon=True).start()
    torch.set_num_threads(max(1, torch.get_num_threads() // world.n_local))
    try:
        _join(world, port, backend, world.offset + local_rank)
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
    (folder / f"error{local_rank}").write_bytes(pickle.dumps(failure))
    sys.exit(1)


def _end_with_launcher():
    mp.parent_process().join()
    os.kill(os.getpid(), signal.SIGTERM)
    sleep(SECONDS_TO_END)  # the signal is not heard while torch waits for the others
    os._exit(1)


_joined = False


def _join(world, port, backend, process):
    global _joined
    if backend == "nccl":
        torch.cuda.set_device(process - world.offset)
    store = dist.TCPStore(world.ip, port, is_master=False)
    dist.init_process_group(backend, store=store, rank=process, world_size=world.size)
    _joined = True


def _is_lost(error):
    """Whether an error of torch says that a connection broke or was never made."""
    return isinstance(error, dist.DistError) or any(
        sign in str(error) for sign in ("gloo", "Connection", "Socket", "NCCL")
    )


def _first_line(error):
    return str(error).strip().splitlines()[0]


def _failure(world, context, error, folder):
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


# what the processes say to each other


def rank() -> int:
    """Which process this is, from 0."""
    return dist.get_rank() if _joined else 0


def size() -> int:
    """How many processes there are."""
    return dist.get_world_size() if _joined else 1


def is_main() -> bool:
    """Whether this is the process that writes files."""
    return rank() == 0


def share(n: int, process: int = None) -> slice:
    """Which of n rows are a process's, this one's by default: consecutive ones, in the order of the processes."""
    process = rank() if process is None else process
    return slice(process * n // size(), (process + 1) * n // size())


def share_of_users(users: Tensor) -> Tensor:
    """(U,) evaluated users -> those that this process scores.

    Raises:
        OptionError: there are fewer users than processes.
    """
    if len(users) < size():
        raise OptionError(f"{size()} processes are to share the evaluation of {len(users)} users; use fewer.")
    return users[share(len(users))]


def gather(value) -> list:
    """The values of all processes, in their order."""
    if size() == 1:
        return [value]
    values = [None] * size()
    dist.all_gather_object(values, value)
    return values


def from_main(function: Callable):
    """What ``function()`` returns in the first process, in each of them."""
    if size() == 1:
        return function()
    box = [function() if is_main() else None]
    dist.broadcast_object_list(box)
    return box[0]


def main_first(function: Callable) -> None:
    """``function()`` in the first process, then in the others, which find what it left on the disk."""
    if is_main():
        function()
    if size() > 1:
        dist.barrier()
    if not is_main():
        function()


def mean(losses):
    """The mean over the processes of a number, or of each of a tuple of numbers."""
    values = gather(losses)
    if isinstance(losses, tuple):
        return tuple(sum(parts) / len(parts) for parts in zip(*values))
    return sum(values) / len(values)


class _Silent:
    """Takes the place of what writes logs."""

    def __getattr__(self, name):
        return lambda *args, **kwargs: None


def silence(config) -> None:
    """Keep a process other than the first from writing logs."""
    import recbole.trainer.trainer as trainer_module

    config["show_progress"] = False
    getLogger().setLevel(ERROR)
    trainer_module.get_tensorboard = trainer_module.WandbLogger = lambda _: _Silent()


# training


class _GatherRows(torch.autograd.Function):
    """The rows of all processes; a row's gradient is the sum of its gradients in all of them."""

    @staticmethod
    def forward(ctx, rows, lengths):
        ctx.lengths = lengths
        padded = rows.new_zeros(max(lengths), *rows.shape[1:])
        padded[: len(rows)] = rows
        parts = [torch.empty_like(padded) for _ in lengths]
        dist.all_gather(parts, padded)
        return torch.cat([part[:length] for part, length in zip(parts, lengths)])

    @staticmethod
    def backward(ctx, gradient):
        gradient = gradient.contiguous()
        dist.all_reduce(gradient)
        return _own(gradient, ctx.lengths), None


def _own(rows, lengths):
    """This process's of the gathered rows of all, which have these numbers of them."""
    return rows.split(lengths)[rank()]


def shared_rows(function: Callable, *rows: Tensor) -> Tensor:
    """``function(*rows)``, each process doing its share.

    Args:
        function: of tensors (N, ...), each row by itself, to (N, D...). rows: the same in all processes.

    Returns:
        (N, D...), the same in all processes.
    """
    n = len(rows[0])
    result = function(*(entry[share(n)] for entry in rows))
    bounds = [share(n, process) for process in range(size())]
    return _GatherRows.apply(result, [bound.stop - bound.start for bound in bounds])


def _normalise_by_all_rows(layer):
    """Let a batch normalisation see the rows of all processes while it is trained."""

    def whole(layer, inputs):
        if layer.training:
            layer.lengths = gather(len(inputs[0]))
            return (_GatherRows.apply(inputs[0], layer.lengths),)

    def own(layer, inputs, output):
        if layer.training:
            return _own(output, layer.lengths)

    layer.register_forward_pre_hook(whole)
    layer.register_forward_hook(own)


class SharedLoss(nn.Module):
    """The loss of a step as a module for ``DistributedDataParallel``, with the parameters of the model but no buffers.

    Buffers, the features of all entities among them, are the same in all processes; nothing has to send them around.

    Args:
        model: one of RecBole's or of our adapters.
    """

    def __init__(self, model):
        super().__init__()
        self.calculate_loss = model.calculate_loss
        self.shared_parameters = nn.ParameterList(model.parameters())
        self.splits_batch = not hasattr(model, "core")
        if not self.splits_batch:
            model.core.rowwise = shared_rows
            for layer in model.modules():
                if isinstance(layer, nn.BatchNorm1d):
                    _normalise_by_all_rows(layer)

    def forward(self, interaction):
        """RecBole's batch, the same in all processes, to the loss or its terms, the mean of which is the batch's."""
        if not self.splits_batch:
            return self.calculate_loss(interaction)
        n = len(interaction)
        own = share(n)
        weight = size() * (own.stop - own.start) / n
        losses = self.calculate_loss(interaction[own if weight else slice(0, 1)])
        return tuple(loss * weight for loss in losses) if isinstance(losses, tuple) else losses * weight


def shared_loss(model):
    """The ``loss_func`` of RecBole's trainers, with gradients averaged over the processes; None for one process."""
    if size() == 1:
        return None
    loss = SharedLoss(model)
    return nn.parallel.DistributedDataParallel(loss, find_unused_parameters=loss.splits_batch)
