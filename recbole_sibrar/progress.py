"""How far long work is: one bar where a person looks on, plain lines now and then in a file or a pipe."""

import sys
from collections.abc import Iterable, Iterator, Sized
from time import perf_counter
from typing import TypeVar

from tqdm import tqdm

T = TypeVar("T")

INTERVAL = 30.0  # seconds between two lines
SECONDS_TO_APPEAR = 1  # of a bar that goes away again
BYTES = "B"


class Progress:
    """Of work in countable steps, on standard error.

    Args:
        total: steps; None if it is not known.
        unit: what a step is called; BYTES for bytes, which are scaled.
        at_most: whether fewer steps may do.
        passing: the bar comes when it has lasted a second, and goes away at the end.
        quiet: nothing is said.
    """

    def __init__(
        self,
        total: int | None,
        unit: str = "",
        name: str = "",
        at_most: bool = False,
        passing: bool = False,
        quiet: bool = False,
    ):
        self._total, self._unit, self._name, self._passing, self._quiet = total, unit, name, passing, quiet
        self._begin = self._said = perf_counter()
        self._done, self._state, self._first = 0, "", 0
        self._bar, self._at_most = None, "at most " if at_most else ""
        if sys.stderr.isatty() and not quiet:
            title = "{desc} " if name else ""
            units = f" {unit}s" if unit and unit != BYTES else unit
            counts = f"{{n_fmt}}/{{total_fmt}}{units}, {{elapsed}}, {self._at_most}{{remaining}} left"
            self._bar = tqdm(
                total=total,
                desc=name,
                bar_format=f"{title}{{bar:20}} {counts}{{postfix}}" if total else None,
                unit=unit or "it",
                unit_scale=unit == BYTES,
                dynamic_ncols=True,
                leave=not passing,
                delay=SECONDS_TO_APPEAR if passing else 0,
                file=sys.stderr,
            )

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def begin_at(self, done: int) -> None:
        """Steps that were done before, which say nothing of the time that is left."""
        self._done = self._first = done
        if self._bar is not None and self._passing:
            self._bar.initial = self._bar.n = self._bar.last_print_n = done
        elif self._bar is not None:
            self._bar.initial = done
            self._bar.reset(self._total)

    def update(self, done: int, state: str = "") -> None:
        """So many steps are done, and what there is to say of them."""
        self._done, self._state = done, state
        if self._bar is not None and self._passing:
            self._bar.update(done - self._bar.n)
        elif self._bar is not None:
            self._bar.set_postfix_str(state, refresh=False)
            self._bar.n = done
            self._bar.refresh()
        elif perf_counter() - self._said >= INTERVAL:
            self._say(self._left())

    def advance(self, steps: int = 1) -> None:
        """So many more steps are done."""
        self.update(self._done + steps, self._state)

    def write(self, line: str) -> None:
        """A line that stays."""
        if self._quiet:
            return
        if self._bar is not None:
            self._bar.write(line, file=sys.stderr)
        else:
            print(line, file=sys.stderr, flush=True)

    def close(self) -> None:
        """Leaves the last state."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
        elif self._said > self._begin:  # else it was over before there was anything to say
            self._say("")

    def _say(self, left: str) -> None:
        self._said = perf_counter()
        name = f"{self._name}: " if self._name else ""
        self.write(name + ", ".join(part for part in (self._counts(), self._state, left) if part))

    def _counts(self):
        if self._unit == BYTES:
            counts = [f"{tqdm.format_sizeof(n)}B" for n in (self._done, self._total) if n is not None]
        else:
            counts = [str(n) for n in (self._done, self._total) if n is not None]
        unit = f" {self._unit}s" if self._unit and self._unit != BYTES else ""
        return f"{'/'.join(counts)}{unit}"

    def _left(self) -> str:
        n = self._done - self._first
        seconds = perf_counter() - self._begin
        if not n or self._total is None:
            return ""
        return f"{self._at_most}{duration(seconds / n * (self._total - self._done))} left"


def duration(seconds: float) -> str:
    """A time as people say it.

    >>> duration(42.3), duration(312), duration(7500)
    ('42 s', '5 min', '2 h 5 min')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def steps(items: Iterable[T], name: str, total: int | None = None, quiet: bool = False) -> Iterator[T]:
    """The items one after the other; on a terminal with a bar that goes away, elsewhere with a line now and then."""
    total = len(items) if total is None and isinstance(items, Sized) else total
    with Progress(total, name=name, passing=True, quiet=quiet) as progress:
        for item in items:
            yield item
            progress.advance()
