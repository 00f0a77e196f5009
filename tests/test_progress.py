"""Bars where a person looks, lines now and then elsewhere."""

import io
import itertools
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from recbole_sibrar import progress
from recbole_sibrar.convert import atomic, download, vectors
from recbole_sibrar.data import tables
from recbole_sibrar.progress import Progress, duration


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until it is moved."""
    now = [0.0]
    monkeypatch.setattr(progress, "perf_counter", lambda: now[0])
    return now


def test_a_file_gets_a_line_now_and_then(clock, capsys):
    with Progress(100, "epoch", "BPR", at_most=True) as work:
        for done in range(1, 62):
            clock[0] += 1
            work.update(done, f"best {done}")
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "BPR: 30/100 epochs, best 30, at most 70 s left",
        "BPR: 60/100 epochs, best 60, at most 40 s left",
        "BPR: 61/100 epochs, best 61",
    ]


def test_what_was_done_before_says_nothing_of_the_time(clock, capsys):
    with Progress(100, "epoch") as work:
        work.begin_at(90)
        clock[0] += 40
        work.update(91)
    assert capsys.readouterr().err.splitlines()[0] == "91/100 epochs, 6 min left"


def test_short_and_quiet_work_says_nothing(clock, capsys):
    with Progress(3, "run") as work:
        work.update(3)
    with Progress(3, "run", quiet=True) as work:
        clock[0] += 100
        work.update(1)
        work.write("a line")
    assert capsys.readouterr().err == ""


def test_a_terminal_gets_one_bar_and_the_lines_that_stay(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    with Progress(4, "epoch", "BPR") as work:
        work.begin_at(1)
        work.update(2, "best 0.3")
        work.write("something failed")
    said = sys.stderr.getvalue()
    assert "BPR" in said and "2/4 epochs" in said and "best 0.3" in said and "something failed\n" in said


class Blocks(io.BytesIO):
    """A download of a body in blocks of four bytes."""

    def read(self, size):
        return super().read(4)


def reads(folder):
    (folder / "orders.csv").write_text("1,2\n" * 4)
    return [lines for _, lines in tables.line_blocks(folder / "orders.csv")]


def writes(folder):
    values = np.zeros((4, 8), np.float32)
    atomic.write_vectors(folder / "shop.text", "text", "item_id", vectors.Vectors.of(list("abcd"), values))


def downloads(folder, mode="wb", total=16):
    download._store(Blocks(b"x" * 16), folder / "films.zip.part", mode, total)


def goes_on_downloading(folder):
    (folder / "films.zip.part").write_bytes(b"x" * 1600)
    downloads(folder, "ab", 1616)


LONG_WORK = {
    reads: (r"orders\.csv: [\d.]+B/16\.0B(, \d+ s left)?", 3),
    writes: (r"writing text: \d/4 vectors(, \d+ s left)?", 3),
    downloads: (r"films\.zip: [\d.]+B/16\.0B(, \d+ s left)?", 3),
    lambda folder: downloads(folder, total=None): (r"films\.zip: [\d.]+B", 3),
    goes_on_downloading: (r"films\.zip: 1\.6\dkB/1\.62kB(, \d+ s left)?", 3),
    lambda folder: list(progress.steps(range(4), "encoding text")): (r"encoding text: \d/4(, \d+ s left)?", 3),
    lambda folder: list(progress.steps(iter("abcd"), "texts")): (r"texts: \d", 3),
}


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(tables, "BLOCK_BYTES", 4)
    monkeypatch.setattr(vectors, "BLOCK_NUMBERS", 8)


@pytest.mark.parametrize("work", LONG_WORK)
def test_long_work_is_a_line_now_and_then_in_a_file_and_a_passing_bar_on_a_terminal(
    work, small_blocks, tmp_path, monkeypatch, capsys
):
    ticks = itertools.count()
    monkeypatch.setattr(progress, "perf_counter", lambda: 20.0 * next(ticks))
    work(tmp_path)
    form, at_least = LONG_WORK[work]
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) >= at_least and all(re.fullmatch(form, line) for line in lines), lines

    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setattr(progress, "SECONDS_TO_APPEAR", 0)
    work(tmp_path)
    said = sys.stderr.getvalue()
    assert lines[0].split(":")[0] in said and "\n" not in said and said.endswith("\r")


def test_short_work_says_nothing_anywhere(tmp_path, small_blocks, monkeypatch, capsys):
    for work in LONG_WORK:
        work(tmp_path)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(sys, "stderr", Terminal())
    for work in LONG_WORK:
        work(tmp_path)
    assert sys.stderr.getvalue().strip() == ""


def test_times_as_people_say_them():
    assert [duration(seconds) for seconds in (0, 89, 91, 5400, 86400)] == [
        "0 s",
        "89 s",
        "2 min",
        "1 h 30 min",
        "24 h 0 min",
    ]


def test_a_run_says_first_what_it_does_and_where_the_rest_is(tiny):
    options = {name: value for name, value in tiny.options().items() if name not in ("state", "show_progress")}
    command = [sys.executable, "-m", "recbole_sibrar.cli", "run", "--model=SiBraR", "--dataset=tiny"]
    done = subprocess.run(
        [*command, *(f"--{name}={value}" for name, value in options.items())], capture_output=True, text=True
    )
    lines = done.stdout.splitlines()
    assert done.returncode == 0 and lines[0] == "SiBraR_SC-paper on tiny, warm, seed 2020, split 2020"
    assert "40 users, 30 items" in lines[1] and len(lines) < 40
    log = Path(next(line for line in lines if "log:" in line).partition("log: ")[2])
    assert "learning_rate" in log.read_text() and "learning_rate" not in done.stdout + done.stderr
    assert lines[-4] == "next:" and all(line.startswith("  recbole-sibrar ") for line in lines[-3:])
