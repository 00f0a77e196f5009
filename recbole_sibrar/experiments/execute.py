"""Runs in processes of their own, one or several at a time: finished ones are reused, failed ones are kept."""

import ctypes
import os
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from time import sleep
from typing import IO, Any

import pandas as pd
import torch

from recbole_sibrar import checkpoint
from recbole_sibrar.errors import CheckpointError, SibrarError
from recbole_sibrar.experiments.runs import Run, changed_data, difference, finished
from recbole_sibrar.files import atomic_file, is_owned, owned
from recbole_sibrar.progress import Progress
from recbole_sibrar.recbole_plugin.prepared import DataNow
from recbole_sibrar.recbole_plugin.run import ERROR, HISTORY, PROGRESS, remove_files
from recbole_sibrar.report.result import as_json, read_per_user

INTERVAL = 1.0  # seconds between two looks at what is going on


@dataclass(frozen=True)
class Outcome:
    """What became of a run: its result, or the error that ended it."""

    run: Run
    result: dict | None = None
    error: str | None = None

    @property
    def per_user(self) -> pd.DataFrame | None:
        """As ``read_per_user``; None if the run failed or has no per-user values."""
        return None if self.result is None else read_per_user(self.run.folder, self.result)


def execute(runs: Sequence[Run], n_jobs: int = 1) -> list[Outcome]:
    """Make the runs that are not there yet, ``n_jobs`` at a time, and return an ``Outcome`` for each.

    A run that another process is making is waited for. However this process ends, those that it started end with it.

    Raises:
        KeyboardInterrupt: with a sentence that says how many runs are kept.
    """
    going: list[RunProcess] = []
    waiting, outcomes, data_now = list(runs), {}, DataNow()
    with Progress(len(runs), "run") as progress:

        def end(outcome: Outcome) -> None:
            outcomes[outcome.run.name] = outcome
            if outcome.error:
                progress.write(f"{outcome.run.name} failed: {outcome.error.splitlines()[-1]}")

        try:
            while waiting or going:
                for process in [process for process in going if process.has_ended]:
                    going.remove(process)
                    outcome = process.outcome()
                    if outcome is None:
                        waiting.append(process.run)
                    else:
                        end(outcome)
                others = []
                while waiting and len(going) < n_jobs:
                    begun = _begin(run := waiting.pop(0), data_now, n_jobs, progress)
                    if begun is None:
                        others.append(run)
                    elif isinstance(begun, Outcome):
                        end(begun)
                    else:
                        going.append(begun)
                waiting += others
                states = [*(process.state for process in going), *(f"{run.name}, by another process" for run in others)]
                progress.update(len(outcomes), "; ".join(states))
                if going:
                    going[0].wait(INTERVAL)
                elif others:
                    sleep(INTERVAL)
        except KeyboardInterrupt:
            n = sum(outcome.error is None for outcome in outcomes.values())
            raise KeyboardInterrupt(
                f"interrupted; {n} of {len(runs)} runs are finished and kept: the same command goes on where it "
                "stopped."
            ) from None
        finally:
            for process in going:
                process.kill()
    return [outcomes[run.name] for run in runs]


def _begin(run: Run, data_now: DataNow, n_jobs: int, progress: Progress) -> "Outcome | RunProcess | None":
    """The ``Outcome`` of a run that is finished or has no data, the ``RunProcess`` of another; None while another
    process is making it."""
    try:
        data = data_now.read_by(run.recbole_config)
    except SibrarError as error:
        return Outcome(run, error=str(error))
    found = finished(run, data)
    if isinstance(found, dict):
        return _outcome_of(run, found)
    if is_owned(run.folder):
        return None
    if found is not None:
        progress.write(f"{run.name} runs again: {found}")
    _forget_other_progress(run, data)
    return RunProcess(run, data, n_jobs)


def _outcome_of(run: Run, result: dict[str, Any]) -> Outcome:
    """The outcome of a finished run. If it was killed just then, what it would have gone on from is removed."""
    if (run.folder / PROGRESS).is_file() and not is_owned(run.folder):
        with suppress(OSError):
            remove_files(run.folder, (PROGRESS, HISTORY))
    return Outcome(run, result)


class RunProcess:
    """A run that goes on in a process, whose standard error is kept.

    Args:
        data: {what: fingerprint} of what it is to read.
        n_jobs: how many share the machine; each computes with its share of the threads.
    """

    def __init__(self, run: Run, data: dict[str, str], n_jobs: int = 1):
        self.run, self._data = run, data
        self._errors = tempfile.TemporaryFile("w+", errors="replace")
        self._process = start(run.command, self._errors, threads=max(1, torch.get_num_threads() // n_jobs))

    @property
    def state(self) -> str:
        """The name of the run and the last of its epochs."""
        try:
            last = pd.read_csv(self.run.folder / HISTORY).iloc[-1]
        except FileNotFoundError:  # no epoch has ended yet, or the last one has
            return self.run.name
        return f"{self.run.name}, epoch {last['epoch']:.0f}: {last['valid']:.4f}"

    @property
    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def wait(self, seconds: float) -> None:
        """Until the process ends, but no longer than so many seconds."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        self._errors.close()

    def outcome(self) -> Outcome | None:
        """Of a run that has ended; ``error.txt`` in its folder says why it failed. None if another process makes it."""
        code, found = self._process.returncode, finished(self.run, self._data)
        with self._errors as file:
            file.seek(0)
            said = file.read().strip()
        if isinstance(found, dict):  # whatever happened to the process after that
            return _outcome_of(self.run, found)
        if code and is_owned(self.run.folder):
            return None
        error = said or f"ended with exit code {code}"
        if code == 0:
            error = f"the run left no result with the options and data wanted: {found}"
        with owned(self.run.folder), atomic_file(self.run.folder / ERROR) as file:
            file.write(f"{shlex.join(self.run.command)}\nexit code {code}\n\n{error}\n")
        return Outcome(self.run, error=error)


def start(command: list[str], errors: IO[str] | int, threads: int) -> subprocess.Popen:
    """Start a command that computes with so many threads, unless the environment says how many."""
    environment = {"OMP_NUM_THREADS": str(threads), **os.environ}
    parent = os.getpid()
    return subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=errors, env=environment, preexec_fn=lambda: _end_with(parent)
    )


PR_SET_PDEATHSIG = 1  # of <sys/prctl.h>
_SYSTEM = ctypes.CDLL(None)


def _end_with(parent: int) -> None:
    """This process ends when the one that started it does, even by SIGKILL; called between fork and exec (Linux)."""
    if sys.platform == "linux":
        _SYSTEM.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)


def _forget_other_progress(run: Run, data: dict[str, str]) -> None:
    """An interrupted run goes on only with the options and data that it began with; otherwise it starts anew."""
    path = run.folder / PROGRESS
    if not path.is_file():
        return
    try:
        before = checkpoint.load(path)
        free = checkpoint.OUTSIDE_THE_RESULT | checkpoint.FREE_TO_CHANGE
        fits = not (difference(run.config, as_json(before["config"]), free) or changed_data(run, before["data"], data))
    except CheckpointError:
        fits = False
    if not fits:
        with owned(run.folder):
            remove_files(run.folder, (PROGRESS, HISTORY))
