"""Writing files whole or not at all: everything goes to a neighbour first and is renamed when complete."""

import errno
import os
import shutil
import signal
import tempfile
import threading
from contextlib import contextmanager
from pathlib import Path

import torch

from recbole_sibrar.errors import WriteError

# What an OSError says when it is about the disk, and not about a file that the program should not have asked for.
STORAGE_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS, errno.EACCES, errno.EPERM}


def make_folder(path) -> Path:
    """The folder, made with its parents if it is not there.

    Raises:
        WriteError: it cannot be made.
    """
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WriteError(f"The folder {path} cannot be made: {error.strerror}. Choose another one.") from None
    return Path(path)


@contextmanager
def _naming(path):
    """Turn an error of the disk into one that names what was being written."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        cause = error
        while cause is not None and not isinstance(cause, OSError):  # torch.save hides it behind one of its own
            cause = cause.__context__
        if cause is None or cause.errno not in STORAGE_ERRORS:
            raise
        raise WriteError(
            f"{path} cannot be written: {cause.strerror}. What was there before is as it was; free some space or "
            "choose another place."
        ) from error


@contextmanager
def atomic_file(path, mode="w", encoding="utf-8", newline=None):
    """Open a file that replaces ``path`` only when the block ends without an exception.

    Raises:
        WriteError: the disk is full, or may not be written to.
    """
    path = Path(path)
    make_folder(path.parent)
    with _naming(path), _replacing(path, mode, encoding, newline) as file:
        yield file


@contextmanager
def _replacing(path, mode, encoding, newline):
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    temporary = Path(name)
    try:
        binary = "b" in mode
        with os.fdopen(handle, mode, encoding=None if binary else encoding, newline=newline) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def save_tensors(path, state) -> None:
    """``torch.save``, whole or not at all; Ctrl-C waits, since torch's writer may abort the process when interrupted.

    Raises:
        WriteError: the disk is full, or may not be written to.
    """
    with _interrupts_held_back(), atomic_file(path, "wb") as file:
        torch.save(state, file)


@contextmanager
def _interrupts_held_back():
    handler = signal.getsignal(signal.SIGINT)
    if not callable(handler) or threading.current_thread() is not threading.main_thread():
        yield
        return
    held = []
    signal.signal(signal.SIGINT, lambda *signal_and_frame: held.append(signal_and_frame))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
    if held:
        handler(*held[0])


def remove_leftovers(folder, names) -> None:
    """Remove what ``atomic_file`` was writing when the process was killed."""
    for name in names:
        for path in Path(folder).glob(f".{name}.*"):
            path.unlink(missing_ok=True)


@contextmanager
def atomic_directory(path):
    """Yield an empty directory that takes the place of ``path`` only when the block ends without an exception.

    Raises:
        WriteError: the disk is full, or may not be written to.
    """
    path = Path(path)
    make_folder(path.parent)
    with _naming(path), _replacing_directory(path) as folder:
        yield folder


@contextmanager
def _replacing_directory(path):
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    previous = path.with_name(f".{path.name}.previous")
    try:
        yield temporary
        temporary.chmod(0o755)
        shutil.rmtree(previous, ignore_errors=True)
        if path.exists():
            os.replace(path, previous)
        os.replace(temporary, path)
        shutil.rmtree(previous, ignore_errors=True)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        if previous.exists() and not path.exists():
            os.replace(previous, path)
        raise
