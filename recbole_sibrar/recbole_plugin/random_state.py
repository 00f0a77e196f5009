"""The state of every random generator that training draws from, as plain data."""

import random
from typing import Any

import numpy as np
import torch
from recbole.data.dataloader.abstract_dataloader import AbstractDataLoader


def capture(train_data: AbstractDataLoader) -> dict[str, Any]:
    """The states of Python's, numpy's and torch's generators, of the loader's shuffling and of the negatives."""
    name, keys, position, has_gauss, gauss = np.random.get_state()
    version, internal, gauss_next = random.getstate()
    negatives = _negatives(train_data)
    return {
        "python": [version, list(internal), gauss_next],
        "numpy": [name, torch.from_numpy(keys.astype(np.int64)), position, has_gauss, gauss],
        "torch": torch.get_rng_state(),
        "gpu": torch.cuda.get_rng_state() if torch.cuda.is_initialized() else None,
        "loader": train_data.generator.get_state(),
        "negatives": negatives.bit_generator.state if negatives is not None else None,
    }


def restore(train_data: AbstractDataLoader, state: dict[str, Any]) -> None:
    """Put the generators back into the state that ``capture`` found."""
    version, internal, gauss_next = state["python"]
    random.setstate((version, tuple(internal), gauss_next))
    name, keys, position, has_gauss, gauss = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), position, has_gauss, gauss))
    torch.set_rng_state(state["torch"])
    if state.get("gpu") is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["gpu"])
    train_data.generator.set_state(state["loader"])
    if state["negatives"] is not None:
        _negatives(train_data).bit_generator.state = state["negatives"]


def _negatives(train_data: AbstractDataLoader) -> np.random.Generator | None:
    sampler = getattr(train_data._sampler, "sampler", None)
    return getattr(sampler, "rng", None)
