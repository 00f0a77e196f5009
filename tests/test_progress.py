"""Bars where a person looks, lines now and then elsewhere."""

import io
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from recbole_sibrar import progress
from recbole_sibrar.cli import main
from recbole_sibrar.progress import Progress, duration, steps


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


def test_steps_are_told_in_a_file_where_they_take_long(clock, capsys):
    for _ in steps(range(4), "model, subsets"):
        clock[0] += 20
    assert capsys.readouterr().err.splitlines() == [
        "model, subsets: 2/4 steps, 40 s left",
        "model, subsets: 4/4 steps, 0 s left",
        "model, subsets: 4/4 steps",
    ]
    assert list(steps([1, 2], "short")) == list(steps([1, 2], "quiet", quiet=True)) == [1, 2]
    assert capsys.readouterr().err == ""


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


def test_times_as_people_say_them():
    assert [duration(seconds) for seconds in (0, 89, 91, 5400, 86400)] == [
        "0 s",
        "89 s",
        "2 min",
        "1 h 30 min",
        "24 h 0 min",
    ]


def test_a_run_says_first_what_it_does_and_where_the_rest_is(tiny):
    options = tiny.options(output_dir="my results")
    options = {name: value for name, value in options.items() if name not in ("state", "show_progress")}
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
    recommend, missing, report = (shlex.split(line)[1:] for line in lines[-3:])
    assert Path(recommend[2]).is_file() and Path(missing[1]).is_dir() and main(report) == 0
