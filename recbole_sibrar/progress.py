"""How far long work is: one bar where a person looks on, plain lines now and then in a file or a pipe."""

import sys
from collections.abc import Collection, Iterator
from time import perf_counter
from typing import TypeVar

from tqdm import tqdm

T = TypeVar("T")

INTERVAL = 30.0  # seconds between two lines


class Progress:
    """Of work in countable steps, on standard error.

    Args:
        total: steps. unit: what a step is called. at_most: whether fewer steps may do.
        quiet: nothing is said.
    """

    def __init__(self, total: int, unit: str, name: str = "", at_most: bool = False, quiet: bool = False):
        self._total, self._unit, self._name, self._quiet = total, unit, name, quiet
        self._begin = self._said = perf_counter()
        self._done, self._state, self._first = 0, "", 0
        self._bar, self._at_most = None, "at most " if at_most else ""
        if sys.stderr.isatty() and not quiet:
            counts = f"{{n_fmt}}/{{total_fmt}} {unit}s, {{elapsed}}, {self._at_most}{{remaining}} left"
            form, title = f"{{desc}}{{bar:20}} {counts}{{postfix}}", f"{name} " if name else ""
            self._bar = tqdm(total=total, desc=title, bar_format=form, dynamic_ncols=True, file=sys.stderr)

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def begin_at(self, done: int) -> None:
        """Steps that were done before, which say nothing of the time that is left."""
        self._done = self._first = done
        if self._bar is not None:
            self._bar.initial = done
            self._bar.reset(self._total)

    def update(self, done: int, state: str = "") -> None:
        """So many steps are done, and what there is to say of them."""
        self._done, self._state = done, state
        if self._bar is not None:
            self._bar.set_postfix_str(state, refresh=False)
            self._bar.n = done
            self._bar.refresh()
        elif perf_counter() - self._said >= INTERVAL:
            self._say(self._left())

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
        parts = [f"{self._name}: " if self._name else "", f"{self._done}/{self._total} {self._unit}s"]
        self.write("".join(parts) + "".join(f", {part}" for part in (self._state, left) if part))

    def _left(self) -> str:
        n = self._done - self._first
        seconds = perf_counter() - self._begin
        return f"{self._at_most}{duration(seconds / n * (self._total - self._done))} left" if n else ""


def duration(seconds: float) -> str:
    """A time as people say it.

    >>> duration(42.3), duration(312), duration(7500)
    ('42 s', '5 min', '2 h 5 min')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def steps(items: Collection[T], name: str, quiet: bool = False) -> Iterator[T]:
    """The items one after the other; on a terminal with a bar that goes away at the end, elsewhere with a line now and
    then."""
    if quiet or sys.stderr.isatty():
        yield from tqdm(items, desc=name, leave=False, disable=quiet, file=sys.stderr)
        return
    with Progress(len(items), "step", name) as progress:
        for done, item in enumerate(items, start=1):
            yield item
            progress.update(done)
