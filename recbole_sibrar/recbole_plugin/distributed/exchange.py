"""What the processes say to each other; one process alone hears what it says."""

from collections.abc import Callable
from logging import ERROR, getLogger
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from recbole.config import Config
from torch import Tensor

from recbole_sibrar.errors import OptionError
from recbole_sibrar.recbole_plugin.distributed.world import World

T = TypeVar("T")

_joined = False


def join(world: World, port: int, backend: str, process: int) -> None:
    """Become one of the processes; until then a process is on its own."""
    global _joined
    if backend == "nccl":
        torch.cuda.set_device(process - world.offset)
    store = dist.TCPStore(world.ip, port, is_master=False)
    dist.init_process_group(backend, store=store, rank=process, world_size=world.size)
    _joined = True


def rank() -> int:
    """Which process this is, from 0."""
    return dist.get_rank() if _joined else 0


def size() -> int:
    """How many processes there are."""
    return dist.get_world_size() if _joined else 1


def is_main() -> bool:
    """Whether this is the process that writes files."""
    return rank() == 0


def share(n: int, process: int | None = None) -> slice:
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


def gather(value: T) -> list[T]:
    """The values of all processes, in their order."""
    if size() == 1:
        return [value]
    values: list[Any] = [None] * size()
    dist.all_gather_object(values, value)
    return values


def from_main(function: Callable[[], T]) -> T:
    """What ``function()`` returns in the first process, in each of them."""
    if size() == 1:
        return function()
    box: list[Any] = [function() if is_main() else None]
    dist.broadcast_object_list(box)
    return box[0]


def main_first(function: Callable[[], object]) -> None:
    """``function()`` in the first process, then in the others, which find what it left on the disk."""
    if is_main():
        function()
    if size() > 1:
        dist.barrier()
    if not is_main():
        function()


def mean(losses: Any) -> Any:
    """The mean over the processes of a number, or of each of a tuple of numbers."""
    values = gather(losses)
    if isinstance(losses, tuple):
        return tuple(sum(parts) / len(parts) for parts in zip(*values))
    return sum(values) / len(values)


class _Silent:
    """Takes the place of what writes logs."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *args, **kwargs: None


def silence(config: Config) -> None:
    """Keep a process other than the first from writing logs."""
    import recbole.trainer.trainer as trainer_module

    config["show_progress"] = False
    getLogger().setLevel(ERROR)
    trainer_module.get_tensorboard = trainer_module.WandbLogger = lambda _: _Silent()
