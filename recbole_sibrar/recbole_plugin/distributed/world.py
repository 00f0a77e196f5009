"""How many processes a run has, where they are, and what they cannot share."""

from dataclasses import dataclass
from typing import Any

import torch
from recbole.config import Config

from recbole_sibrar.errors import OptionError

NAMES = ("nproc", "world_size", "ip", "port", "group_offset")
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
    def of(cls, settings: dict[str, Any]) -> "World":
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


def _whole_number(value: object) -> object:
    return int(value) if isinstance(value, str) and value.isdecimal() else value


def check_processes(settings: dict[str, Any]) -> None:
    """Check the options of ``World``; drop them where they say that a run is one process.

    Raises:
        OptionError: see ``World.of``.
    """
    if World.of(settings).size == 1:
        for name in NAMES:
            settings.pop(name, None)


def check_shareable(config: Config) -> None:
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
