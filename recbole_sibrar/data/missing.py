"""Missing modalities on purpose: which entities lose which modality, before training or in evaluation.

Removal is a change of the availability mask and nothing else, so that every model sees the same data.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, fields, replace
from typing import Any
from zlib import crc32

import torch
from torch import Tensor

from recbole_sibrar.data.modalities import INTERACTIONS, SIDES, Modalities, Modality
from recbole_sibrar.errors import OptionError, nearest

PATTERNS = ("uniform", "popularity", "per_entity")
PHASE_CHOICES = ("both", "train", "evaluation")


@dataclass(frozen=True)
class MissingOptions:
    """The option ``missing: {rate: 0.3, modality: {image: 0.6}, pattern: uniform, phase: both, seed: 0}``.

    Attributes:
        rate: the share of the entities having a modality that lose it; of every declared modality.
        modality: {name: rate} where it differs, for either side; ``interactions`` keep all unless named here.
        pattern: who loses a modality.
            ``uniform``: drawn for each modality by itself.
            ``per_entity``: the same entities lose all modalities, so that some are left with nothing.
            ``popularity``: drawn for each modality, with odds that fall as 1 / (1 + interactions). The interactions
            are those of the whole data set: this simulates why data is missing, and no model sees the counts.
        phase: ``train``: entities lose it in training and have it back in evaluation; ``evaluation``: the reverse;
            ``both``.
        seed: of the draw. With the same seed, those who lose a modality at a rate also lose it at every higher one.
    """

    rate: float = 0.0
    modality: dict = field(default_factory=dict)
    pattern: str = "uniform"
    phase: str = "both"
    seed: int = 0

    @classmethod
    def parse(cls, value: Any) -> "MissingOptions":
        """From the option's value; None removes nothing.

        Raises:
            OptionError: naming the part that is wrong.
        """
        if not isinstance(value or {}, dict):
            raise OptionError(f"missing is {value!r}; expected a mapping such as {{rate: 0.3, pattern: uniform}}.")
        known = [entry.name for entry in fields(cls)]
        for name in value or {}:
            if name not in known:
                raise OptionError(f"missing has the key {name!r}. {nearest(name, known)}")
        return cls(**(value or {}))

    def __post_init__(self) -> None:
        if not isinstance(self.modality, dict):
            raise OptionError(f"missing.modality is {self.modality!r}; expected {{name: rate}}.")
        rates = {"rate": self.rate, **{f"modality.{name}": rate for name, rate in self.modality.items()}}
        for name, rate in rates.items():
            if isinstance(rate, bool) or not isinstance(rate, (int, float)) or not 0 <= rate <= 1:
                raise OptionError(f"missing.{name} is {rate!r}; expected a number between 0 and 1.")
        for name, choices in (("pattern", PATTERNS), ("phase", PHASE_CHOICES)):
            if getattr(self, name) not in choices:
                raise OptionError(f"missing.{name} is {getattr(self, name)!r}. {nearest(getattr(self, name), choices)}")
        if isinstance(self.seed, bool) or not isinstance(self.seed, int):
            raise OptionError(f"missing.seed is {self.seed!r}; expected an integer.")

    def check_names(self, declared: Iterable[str]) -> None:
        """Every modality named is one that the data set has.

        Args:
            declared: names of the modalities of both sides.
        """
        for name in self.modality:
            if name not in declared:
                raise OptionError(f"missing.modality names {name!r}. {nearest(name, declared)}")

    def of(self, names: Iterable[str]) -> "MissingOptions":
        """The same, of these modalities alone."""
        return replace(self, rate=0.0, modality={**dict.fromkeys(names, self.rate), **self.modality})

    def at(self, rate: float) -> "MissingOptions":
        """The same at another rate."""
        return replace(self, rate=rate)

    def rate_of(self, name: str) -> float:
        return self.modality.get(name, 0.0 if name == INTERACTIONS else self.rate)


def remove(modalities: Modalities, options: MissingOptions, n_interactions: Tensor) -> Modalities:
    """The modalities after removal.

    Args:
        n_interactions: (N,) of each entity in the whole data set, for the pattern ``popularity``.
    """
    return replace(
        modalities,
        entries=tuple(_remove(entry, modalities.side, options, n_interactions) for entry in modalities.entries),
    )


def _remove(entry: Modality, side: str, options: MissingOptions, n_interactions: torch.Tensor) -> Modality:
    rate = options.rate_of(entry.name)
    if not rate:
        return entry
    kept = entry.available & ~drawn(entry.available, rate, entry.name, side, options, n_interactions)
    if options.phase == "train":
        return replace(entry, available=kept, available_in_evaluation=entry.evaluated)
    if options.phase == "evaluation":
        return replace(entry, available_in_evaluation=kept)
    return replace(entry, available=kept, available_in_evaluation=kept)


def drawn(
    available: Tensor, rate: float, name: str, side: str, options: MissingOptions, n_interactions: Tensor
) -> Tensor:
    """(N,) bool: the ``rate`` share of the entities that have the modality, as the pattern draws them.

    Each entity has a random key, uniform or (``popularity``) Efraimidis and Spirakis' weighted one; those with the
    smallest keys are drawn, so that a higher rate draws the same entities and more.
    """
    what = SIDES.index(side) if options.pattern == "per_entity" else crc32(f"{side}.{name}".encode())
    generator = torch.Generator().manual_seed((options.seed * 2_654_435_761 + what) % 2**63)
    keys = -torch.rand(len(available), generator=generator, dtype=torch.double).log()
    if options.pattern == "popularity":
        keys = keys * (1 + n_interactions)
    has = available.nonzero().squeeze(1)
    if options.pattern == "per_entity":  # one threshold for all modalities, whoever has them
        limit = keys[1:].sort().values[: round(rate * (len(keys) - 1))]
        return available & (keys <= limit[-1]) if len(limit) else torch.zeros_like(available)
    chosen = has[keys[has].argsort()[: round(rate * len(has))]]
    return torch.zeros_like(available).index_fill_(0, chosen, True)
