"""Options that check themselves, the base of every model's options object, and names that code of one's own adds to."""

from collections import UserDict
from collections.abc import Callable, Collection, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from typing import Any, TypeVar, cast, get_args

from recbole_sibrar.errors import OptionError, nearest


def option(
    help: str,
    choices: Collection[str] | None = None,
    low: float | None = None,
    high: float | None = None,
    needs: Any = None,
    **kwargs: Any,
) -> Any:
    """A dataclass field: one of ``choices``, or of the type of its default, between ``low`` and ``high``.

    ``needs`` says with which values of other options it has an effect, {name: values}.
    """
    return field(metadata={"help": help, "choices": choices, "low": low, "high": high, "needs": needs or {}}, **kwargs)


def names_option(help: str) -> Any:
    """A dataclass field that lists modalities: None (all), a list, or a comma-separated string."""
    return field(metadata={"help": help, "choices": None, "names": True, "needs": {}}, default=None)


def default_of(entry: Field) -> Any:
    """The default of a dataclass field."""
    return entry.default if entry.default_factory is MISSING else entry.default_factory()


Entry = TypeVar("Entry")


class Registry(UserDict[str, Entry]):
    """{name: what is known by it}, to which code of one's own adds.

    Args:
        what: the name of the registry. wrong: an entry and its name -> what is expected in their place, empty if they
            are right.

    Raises:
        OptionError: an entry is put in that is wrong.
    """

    def __init__(self, what: str, wrong: Callable[[str, Any], str], entries: Mapping[str, Entry]):
        self._what, self._wrong = what, wrong
        super().__init__(entries)

    def __setitem__(self, name: str, entry: Entry) -> None:
        if expected := self._wrong(name, entry):
            raise OptionError(f"{self._what}[{name!r}] is {entry!r}; expected {expected}.")
        super().__setitem__(name, entry)


LARGEST = 2**31 - 1

Options = TypeVar("Options", bound="CheckedOptions")


@dataclass(frozen=True)
class CheckedOptions:
    """The options that all our models have, and the checks. A subclass adds fields made with ``option``."""

    item_modalities: list | str | None = names_option("item modalities used; all by default")
    user_modalities: list | str | None = names_option("user modalities used; all by default")
    eval_item_modalities: list | str | None = names_option("item modalities left in evaluation")
    eval_user_modalities: list | str | None = names_option("user modalities left in evaluation")

    @classmethod
    def from_mapping(cls: type[Options], values: Mapping[str, Any]) -> Options:
        """Pick the options out of a mapping that may hold other keys too.

        Raises:
            OptionError: a value has the wrong type or is out of range.
        """
        return cls(**{entry.name: values[entry.name] for entry in fields(cls) if entry.name in values})

    def __post_init__(self) -> None:
        for entry in fields(self):
            self._check(entry)

    def without_effect(self, given: set[str]) -> list[str]:
        """Sentences that name those of the options ``given`` that other options leave without effect."""
        return [
            f"{entry.name} is {getattr(self, entry.name)!r}, but has an effect with {name}="
            f"{' or '.join(map(str, values))} only; {name} is {getattr(self, name)!r}."
            for entry in fields(self)
            if entry.name in given
            for name, values in entry.metadata["needs"].items()
            if getattr(self, name) not in values
        ]

    def modalities(self, side: str) -> list[str] | None:
        """The names chosen for a side; None for all."""
        return cast("list[str] | None", self.item_modalities if side == "item" else self.user_modalities)

    def eval_modalities(self, side: str) -> list[str] | None:
        """The names left in evaluation; None for all."""
        return cast("list[str] | None", self.eval_item_modalities if side == "item" else self.eval_user_modalities)

    def read_modalities(self, side: str) -> list[str] | None:
        """The names that the model reads of a side; None for all."""
        raise NotImplementedError

    @property
    def batches(self) -> str:
        """What a training step is given: ``pairs`` (``PairBatch``), ``users`` or, once per epoch, ``all_users``."""
        raise NotImplementedError

    def _check(self, entry: Field[Any]) -> None:
        value, metadata = getattr(self, entry.name), entry.metadata
        default = default_of(entry)
        if value is None and (default is None or type(None) in get_args(entry.type)):
            return
        if metadata.get("names"):
            object.__setattr__(self, entry.name, parse_names(value, entry.name))
        elif metadata["choices"]:
            if not isinstance(value, str) or value not in metadata["choices"]:
                raise OptionError(f"{entry.name} is {value!r}. {nearest(value, metadata['choices'])}")
        elif isinstance(default, bool):
            if not isinstance(value, bool):
                raise OptionError(f"{entry.name} is {value!r}; expected True or False.")
        elif isinstance(default, list):
            sizes = value if isinstance(value, (list, tuple)) else [value]
            if any(isinstance(size, bool) or not isinstance(size, int) or not 1 <= size <= LARGEST for size in sizes):
                raise OptionError(
                    f"{entry.name} is {value!r}; expected a list of positive integers such as [512, 256]."
                )
            object.__setattr__(self, entry.name, list(sizes))
        else:
            self._check_number(entry, value, integer=not isinstance(default, float))

    @staticmethod
    def _check_number(entry: Field[Any], value: Any, integer: bool) -> None:
        low, high = entry.metadata["low"], entry.metadata["high"]
        wrong_type = isinstance(value, bool) or not isinstance(value, int if integer else (int, float))
        if (
            wrong_type
            or not abs(value) < LARGEST
            or (low is not None and value < low)
            or (high is not None and value > high)
        ):
            expected = "an integer" if integer else "a number"
            bounds = f" of at least {low}" if high is None else f" between {low} and {high}"
            raise OptionError(f"{entry.name} is {value!r}; expected {expected}{bounds}.")


def parse_names(value: object, option: str) -> list[str] | None:
    """An option that lists modalities: None (all), a list, or a comma-separated string."""
    if value is None:
        return None
    if not isinstance(value, (str, list, tuple, set)):
        raise OptionError(f"{option} is {value!r}; expected a list of names such as [genres, plot].")
    names = value.split(",") if isinstance(value, str) else list(value)
    names = [str(name).strip() for name in names if str(name).strip()]
    if not names:
        raise OptionError(f"{option} is empty; name at least one modality, or leave the option out to use all.")
    return list(dict.fromkeys(names))
