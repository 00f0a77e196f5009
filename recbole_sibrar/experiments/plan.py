"""What a comparison is made of: models x data sets x scenarios x seeds, from the command line or a YAML file."""

import re
from dataclasses import dataclass, field, fields
from itertools import chain
from pathlib import Path
from typing import Any

from recbole_sibrar.errors import OptionError, nearest
from recbole_sibrar.files import check_plain_name
from recbole_sibrar.scenarios import COMPARED, scenario_named

NAME = re.compile(r"\w[\w.+-]*")
# Options of a run that its plan says in another way: how.
SAID_OTHERWISE = {
    "model": "models", "dataset": "datasets", "scenario": "scenarios", "seed": "seed and seeds",
    "run_name": "name, of a model", "output_dir": "output_dir, of the plan",
    "config_files": "a plan (--file) with their options under 'options', or of single models",
}  # fmt: skip


@dataclass(frozen=True)
class ModelSpec:
    """One row of a comparison: a model, its variant, its preset, and options of its own.

    Attributes:
        name: in tables and folder names; made from model, variant and preset by default.
        space: what is tuned in a plan with ``tuning``: a search space, or the name of its file; the model's own by
            default, and none if it is empty.
    """

    model: str
    variant: str | None = None
    preset: str | None = None
    name: str | None = None
    options: dict = field(default_factory=dict)
    space: dict | str | None = None

    @classmethod
    def parse(cls, given: Any) -> "ModelSpec":
        """``"SiBraR:SC:strong"``, or ``{model: SiBraR, variant: SC, preset: strong, name: x, options: {epochs: 9}}``.

        What is left out or empty is the default: ``"SiBraR:SC"``, ``"SiBraR::strong"``.

        >>> ModelSpec.parse("SiBraR::strong")
        ModelSpec(model='SiBraR', variant=None, preset='strong', name=None, options={}, space=None)
        """
        if isinstance(given, str):
            parts = given.split(":")
            if len(parts) > 3:
                raise OptionError(f"A model is {given!r}; expected MODEL:VARIANT:PRESET, such as SiBraR:SC:strong.")
            given = {name: part or None for name, part in zip(("model", "variant", "preset"), parts)}
        check_keys(given, cls, "a model")
        if not given.get("model") or not isinstance(given["model"], str):
            raise OptionError(f"A model is {given!r}; expected a name such as BPR or SiBraR:SC under 'model'.")
        spec = cls(
            **{name: value if name in ("options", "space") else _as_text(value) for name, value in given.items()}
        )
        if not all(isinstance(text or "", str) for text in (spec.variant, spec.preset, spec.name)):
            raise OptionError(f"A model is {given!r}; expected text as its variant, preset and name.")
        if spec.name is not None and not NAME.fullmatch(str(spec.name)):
            raise OptionError(
                f"The name {spec.name!r} of a model is not of letters, digits and '_', and '.+-' behind them."
            )
        if not isinstance(spec.options, dict):
            raise OptionError(f"options of {spec.model} is {spec.options!r}; expected 'option: value' lines.")
        if spec.space is not None and not isinstance(spec.space, (dict, str)):
            raise OptionError(
                f"space of {spec.model} is {spec.space!r}; expected a search space or the name of its file."
            )
        return spec

    def __str__(self) -> str:
        return f"{self.model}:{self.variant or ''}:{self.preset or ''}".rstrip(":")

    @property
    def given(self) -> dict[str, Any]:
        """Variant and preset as options of a run, where they are named."""
        return {name: value for name in ("variant", "preset") if (value := getattr(self, name))}


@dataclass(frozen=True)
class Tuning:
    """How the options of a plan's models are chosen: so many trials of each, on the splits of these seeds."""

    trials: int = 10
    seed: int = 0
    seeds: int = 3

    @classmethod
    def from_mapping(cls, values: Any) -> "Tuning":
        check_keys(values, cls, "tuning")
        return cls(**values)

    def __post_init__(self) -> None:
        check_integers(self, "tuning.", (("trials", 1), ("seed", 0), ("seeds", 1)))

    @property
    def all_seeds(self) -> range:
        return range(self.seed, self.seed + self.seeds)

    @property
    def sentences(self) -> tuple[str, ...]:
        """What a reader of the tables has to know."""
        return (
            f"At most {self.trials} trials of each model, the first with its own options, the others drawn at random; "
            f"chosen by the mean validation score of the splits of seeds {self.seed} to {self.seed + self.seeds - 1}",
            "Closed forms choose their penalty on the validation of each run, in every trial and in what is reported",
        )


@dataclass(frozen=True)
class Plan:
    """A comparison.

    Attributes:
        seed: the first; ``seeds`` counts on from it.
        fixed_split: every seed has the split of the first, so that a seed varies the initialisation alone.
        reference: the model (as in ``models``, or its name) that is tested against every other; the first by default.
        columns: metrics shown in tables and figures, such as ``ndcg@10``; a few by default.
        options: of all runs; one goes to the models that know it.
        jobs: runs at a time.
        tuning: how options are chosen before; they are as given without it. Its splits are none of those reported,
            one for each of its seeds also with ``fixed_split``.
    """

    models: tuple
    datasets: tuple = ("ml-100k",)
    scenarios: tuple = COMPARED
    seeds: int = 1
    seed: int = 2020
    fixed_split: bool = False
    reference: str | None = None
    columns: tuple | None = None
    options: dict = field(default_factory=dict)
    output_dir: str = "results"
    data_path: str | None = None
    jobs: int = 1
    tuning: Tuning | None = None

    @classmethod
    def from_mapping(cls, values: dict[str, Any]) -> "Plan":
        """A plan out of a YAML file's or the command line's values.

        Raises:
            OptionError: an unknown key, or a value of the wrong kind.
        """
        check_keys(values, cls, "a comparison")
        if not values.get("models"):
            raise OptionError("A comparison needs models, for example --models SiBraR:SC BPR.")
        values = dict(values)
        for name in ("models", "datasets", "scenarios", "columns"):
            if values.get(name) is not None:
                values[name] = _tuple(values[name])
        if values.get("columns") is not None:
            values["columns"] = tuple(dict.fromkeys(str(name).lower() for name in values["columns"]))
        values["models"] = tuple(ModelSpec.parse(given) for given in values["models"])
        values["datasets"] = tuple(map(_as_text, values.get("datasets", cls.datasets)))
        for name in ("output_dir", "data_path", "reference"):
            values[name] = _as_text(values.get(name, getattr(cls, name)))
        if values.get("tuning") is not None and not isinstance(values["tuning"], Tuning):
            values["tuning"] = Tuning.from_mapping(values["tuning"])
        return cls(**values)

    def __post_init__(self) -> None:
        for scenario in self.scenarios:
            scenario_named(scenario)
        for dataset in self.datasets:
            check_plain_name("dataset", dataset)
        for name in ("output_dir", "data_path", "reference"):
            value = getattr(self, name)
            if not isinstance(value, (str, Path)) and (value is not None or name == "output_dir"):
                raise OptionError(f"{name} is {value!r}; expected text.")
        check_integers(self, "", (("seeds", 1), ("seed", 0), ("jobs", 1)))
        shared = set(self.tuning.all_seeds) & set(self.all_seeds) if self.tuning else ()
        if shared:
            raise OptionError(
                f"The splits of seeds {', '.join(map(str, sorted(shared)))} would choose options and be reported; use "
                "other seeds for one of the two, for example seed: 10 beside tuning: {seed: 0, seeds: 3}."
            )
        if not isinstance(self.fixed_split, bool):
            raise OptionError(f"fixed_split is {self.fixed_split!r}; expected True or False.")
        if not isinstance(self.options, dict):
            raise OptionError(f"options is {self.options!r}; expected 'option: value' lines.")
        for name in chain(self.options, *(spec.options for spec in self.models)):
            if name in SAID_OTHERWISE:
                raise OptionError(f"{name} is no option that runs are given together; use {SAID_OTHERWISE[name]}.")
        for name in ("datasets", "scenarios"):
            if not getattr(self, name):
                raise OptionError(f"{name} is empty; name at least one, or leave it out.")
            if len(set(getattr(self, name))) < len(getattr(self, name)):
                raise OptionError(f"{name} names one twice: {', '.join(getattr(self, name))}.")

    @property
    def all_seeds(self) -> range:
        return range(self.seed, self.seed + self.seeds)

    @property
    def common_options(self) -> dict[str, Any]:
        """What every run is given beside its seed."""
        given = {"output_dir": self.output_dir}
        if self.data_path is not None:
            given["data_path"] = self.data_path
        return {**given, "split_seed": self.seed} if self.fixed_split else given


def check_integers(values: object, prefix: str, bounds: tuple[tuple[str, int], ...]) -> None:
    """These attributes are integers of at least so much.

    Raises:
        OptionError: naming one that is not.
    """
    for name, low in bounds:
        value = getattr(values, name)
        if isinstance(value, bool) or not isinstance(value, int) or value < low:
            meaning = f" (how many, from {prefix}seed on)" if name == "seeds" else ""
            raise OptionError(f"{prefix}{name} is {value!r}; expected an integer of at least {low}{meaning}.")


def check_keys(given: object, cls: type, what: str) -> None:
    """The keys of a mapping are the fields of a dataclass.

    Raises:
        OptionError: it is no mapping, or a key is unknown.
    """
    known = [entry.name for entry in fields(cls)]
    if not isinstance(given, dict):
        raise OptionError(f"{what} is {given!r}; expected a mapping with {', '.join(known)}.")
    for key in given:
        if key not in known:
            raise OptionError(f"Unknown key {key!r} of {what}. {nearest(key, known)}")


def _as_text(value: Any) -> Any:
    """A number that a YAML file has where a name is meant, as its text."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _tuple(value: object) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, (list, tuple)) else (value,)
