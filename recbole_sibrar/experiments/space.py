"""A search space: which options are tuned, over which values, and where it is found."""

import math
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from recbole_sibrar.errors import OptionError, nearest
from recbole_sibrar.properties import PAPER, names_paper, parse_value, props_folder, read_paper, read_property_file

if TYPE_CHECKING:
    import optuna

# Kind: what its list holds.
KINDS = {
    "choice": "values",
    "uniform": "[low, high]",
    "loguniform": "[low, high]: uniform in the logarithm",
    "quniform": "[low, high, step]: low, low + step, ...",
}


@dataclass(frozen=True)
class Parameter:
    """One option and its values. Bounds are the values themselves, also of ``loguniform``."""

    name: str
    kind: str
    values: tuple

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise OptionError(f"{self.name} is drawn by {self.kind!r}. {nearest(self.kind, KINDS)}")
        if self.kind == "choice":
            if not self.values:
                raise OptionError(f"{self.name}: choice has no values.")
            return
        numbers = [v for v in self.values if isinstance(v, (int, float)) and not isinstance(v, bool)]
        n_expected = 3 if self.kind == "quniform" else 2
        if len(numbers) != len(self.values) or len(numbers) != n_expected:
            raise OptionError(
                f"{self.name}: {self.kind} is {list(self.values)}; expected {KINDS[self.kind].split(':')[0]}."
            )
        low, high = numbers[:2]
        if not low < high:
            raise OptionError(f"{self.name}: {self.kind} goes from {low} to {high}; the first must be the lower.")
        if self.kind == "loguniform" and low <= 0:
            raise OptionError(f"{self.name}: loguniform goes from {low}; it must be above 0. Use uniform.")
        if self.kind == "quniform" and self.values[2] <= 0:
            raise OptionError(f"{self.name}: quniform has the step {self.values[2]}; it must be above 0.")

    @property
    def n_steps(self) -> int:
        """Of ``quniform``: how many steps fit between the bounds."""
        low, high, step = self.values
        return int((high - low) / step + 1e-9)

    def to_hyperopt(self) -> object:
        """What hyperopt draws: the position of a choice, the number of steps, or the value itself."""
        from hyperopt import hp

        if self.kind == "choice":
            return hp.choice(self.name, list(range(len(self.values))))
        if self.kind == "quniform":
            return hp.uniformint(self.name, 0, self.n_steps)
        bounds = [math.log(value) for value in self.values] if self.kind == "loguniform" else self.values
        return getattr(hp, self.kind)(self.name, *bounds)

    def drawn_by_optuna(self, trial: "optuna.Trial") -> object:
        """The same, of a trial of Optuna."""
        if self.kind == "choice":
            return trial.suggest_categorical(self.name, list(range(len(self.values))))
        if self.kind == "quniform":
            return trial.suggest_int(self.name, 0, self.n_steps)
        return trial.suggest_float(self.name, *self.values, log=self.kind == "loguniform")

    def value(self, drawn: float) -> Any:
        """The option's value for what was drawn. Numbers have six digits; integers stay integers in steps."""
        if self.kind == "choice":
            return self.values[int(drawn)]
        if self.kind == "quniform":
            low, _, step = self.values
            number = low + step * int(drawn)
            return number if isinstance(number, int) else float(f"{number:.6g}")
        return float(f"{drawn:.6g}")

    @property
    def extremes(self) -> tuple[Any, ...]:
        """Values that a model must accept: every choice, or the bounds."""
        if self.kind == "choice":
            return self.values
        ends = (0, self.n_steps) if self.kind == "quniform" else self.values
        return tuple(self.value(end) for end in ends)


@dataclass(frozen=True)
class Space:
    """The options that are tuned."""

    parameters: tuple

    @classmethod
    def from_mapping(cls, mapping: dict[str, Any]) -> "Space":
        """``{learning_rate: {loguniform: [1e-4, 1e-2]}, embedding_size: {choice: [64, 128]}}``.

        Raises:
            OptionError: it is empty, or an entry has another form.

        >>> space = Space.from_mapping({"embedding_size": {"choice": [64, 128]}})
        >>> space.options({"embedding_size": 1})
        {'embedding_size': 128}
        """
        if not mapping:
            raise OptionError(
                "The search space is empty; it needs lines such as 'embedding_size: {choice: [64, 128]}'."
            )
        parameters = []
        for name, entry in mapping.items():
            if not isinstance(entry, dict) or len(entry) != 1 or not isinstance(next(iter(entry.values())), list):
                raise OptionError(
                    f"{name} is {entry!r} in the search space; expected one of "
                    + ", ".join(f"{{{kind}: {what.split(':')[0]}}}" for kind, what in KINDS.items())
                    + "."
                )
            ((kind, values),) = entry.items()
            parameters.append(Parameter(name, kind, tuple(parse_value(value) for value in values)))
        return cls(tuple(parameters))

    @property
    def names(self) -> list[str]:
        return [parameter.name for parameter in self.parameters]

    def to_hyperopt(self) -> dict[str, Any]:
        return {parameter.name: parameter.to_hyperopt() for parameter in self.parameters}

    def drawn_by_optuna(self, trial: "optuna.Trial") -> dict[str, Any]:
        return {parameter.name: parameter.drawn_by_optuna(trial) for parameter in self.parameters}

    def drawn_at_random(self, generator: np.random.Generator) -> dict[str, Any]:
        """A trial's options, each drawn by itself."""
        from hyperopt.pyll.stochastic import sample

        return self.options(sample(self.to_hyperopt(), rng=generator))

    def options(self, drawn: dict[str, Any]) -> dict[str, Any]:
        """A trial's options from what was drawn."""
        return {parameter.name: parameter.value(drawn[parameter.name]) for parameter in self.parameters}


def named_space(name: str | Path, model: str, dataset: str, scenario: str) -> Space:
    """A search space: of a file, see ``find_space``, or what the authors searched, ``paper`` or ``paper/<data set>``.

    Raises:
        OptionError: there is none, or it is malformed.
    """
    if names_paper(name):
        return Space.from_mapping(read_paper(props_folder() / "search" / PAPER, name, model, dataset, scenario))
    return read_space(find_space(name, model))


def own_space(model: str, given: Collection[str]) -> Space:
    """The space that ships for a model, without the options that are ``given``, which are named.

    Raises:
        OptionError: there is none.
    """
    space = read_space(find_space(None, model))
    for name in space.names:
        if name in given:
            print(f"not searched: {name}, which is given for {model}")
    return Space(tuple(parameter for parameter in space.parameters if parameter.name not in given))


def find_space(path: str | Path | None, model: str) -> Path:
    """The file of a search space: the one named (also one that ships with the package), or the model's own.

    Raises:
        OptionError: there is none.
    """
    shipped = props_folder() / "search"
    if path is None:
        path = shipped / f"{model.lower()}.yaml"
        if not path.is_file():
            raise OptionError(f"No search space for {model} ships with the package; name one with --space FILE.")
        return path
    of_package = shipped / Path(path).name
    return of_package if of_package.is_file() and not Path(path).is_file() else Path(path)


def read_space(path: str | Path) -> Space:
    """Raises OptionError, naming the file, if it is absent or malformed."""
    try:
        return Space.from_mapping(read_property_file(path))
    except OptionError as error:
        message = str(error)
        raise OptionError(message if str(path) in message else f"{path}: {message}") from None
