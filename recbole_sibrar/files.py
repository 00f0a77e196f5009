"""Writing files whole or not at all: everything goes to a neighbour first and is renamed when complete."""

import ctypes
import errno
import fcntl
import glob
import json
import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import torch
from filelock import FileLock, Timeout

from recbole_sibrar.errors import BusyError, OptionError, WriteError

# What an OSError says when it is about the disk, and not about a file that the program should not have asked for.
STORAGE_ERRORS = {
    errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS, errno.EACCES, errno.EPERM,
    errno.ENAMETOOLONG, errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ELOOP, errno.EBUSY,
}  # fmt: skip
LONGEST_NAME = 128  # bytes; what is made of a name, such as that of a run's folder, has to fit into 255


def check_plain_name(what: str, name: str) -> None:
    """The name of a file or folder, and not of another place.

    Raises:
        OptionError: it is empty, too long, a path, or holds what no name should.
    """
    if not isinstance(name, str) or name in ("", ".", "..") or "/" in name or "\\" in name or not name.isprintable():
        raise OptionError(f"{what} is {name!r}; expected a plain name, without slashes, and not '.' or '..'.")
    if len(name.encode("utf-8", "surrogatepass")) > LONGEST_NAME:
        raise OptionError(f"{what} has {len(name)} characters ({name[:20]}…); expected at most {LONGEST_NAME}.")
    if name != name.strip() or name.startswith("."):
        raise OptionError(f"{what} is {name!r}; expected a name that neither begins with a dot nor is padded.")


def make_folder(path: str | Path) -> Path:
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
def _naming(path: Path) -> Iterator[None]:
    """Turn an error of the disk into one that names what was being written."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, OSError):  # torch.save hides it behind one of its own
            cause = cause.__context__
        if cause is None or cause.errno not in STORAGE_ERRORS:
            raise
        raise WriteError(
            f"{path} cannot be written: {cause.strerror}. What was there before is as it was; free some space or "
            "choose another place."
        ) from error


@contextmanager
def atomic_file(path: str | Path, mode: str = "w", newline: str | None = None) -> Iterator[IO[Any]]:
    """Open a file that replaces ``path`` only when the block ends without an exception.

    What killed processes left of the same file is removed first.

    Raises:
        WriteError: the disk is full, or may not be written to.
    """
    path = Path(path)
    make_folder(path.parent)
    remove_leftovers(path.parent, [glob.escape(path.name)])
    with _naming(path), _replacing(path, mode, newline) as file:
        yield file


@contextmanager
def _replacing(path: Path, mode: str, newline: str | None) -> Iterator[IO[Any]]:
    handle, temporary = _temporary_file(path)
    try:
        encoding = None if "b" in mode else "utf-8"
        with os.fdopen(handle, mode, encoding=encoding, newline=newline) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
            temporary.chmod(0o644)
            os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _temporary_file(path: Path) -> tuple[int, Path]:
    """A new file beside ``path``, open and locked for as long as it is."""
    while True:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError:
            break  # some network file systems have no locks
        if os.fstat(handle).st_nlink:
            break
        os.close(handle)  # another process has taken it for a leftover before it was locked
    return handle, Path(name)


LOCK = ".lock"
SECONDS_TO_END = 5  # for another process that is about to


@contextmanager
def owned(folder: str | Path, patience: float = SECONDS_TO_END) -> Iterator[None]:
    """Hold a folder, which is made, so that one process at a time writes into it; let go however the process ends.

    Args:
        patience: seconds to wait for another process.

    Raises:
        BusyError: another process holds it. WriteError: it cannot be written to.
    """
    folder = Path(folder)
    path = folder / LOCK
    lock = FileLock(path, timeout=patience)
    while not lock.is_locked:
        make_folder(folder)
        try:
            with _naming(path), suppress(FileNotFoundError):  # another process has removed the folder, still empty
                lock.acquire()
        except Timeout:
            raise BusyError(
                f"Another process is writing {folder}; wait until it has ended, or choose another folder."
            ) from None
    try:
        yield
    finally:
        path.unlink(missing_ok=True)  # before it is let go, so that it is nobody's; whoever waits for it looks again
        lock.release()
        with suppress(OSError):
            folder.rmdir()  # if nothing came of it


def is_owned(folder: str | Path) -> bool:
    """Whether a process holds the folder."""
    try:
        os.close(_lock(Path(folder) / LOCK))
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def write_json(path: str | Path, value: object) -> None:
    """Write plain data, whole or not at all."""
    with atomic_file(path) as file:
        json.dump(value, file, indent=2, default=str)
        file.write("\n")


def save_tensors(path: str | Path, state: dict[str, Any]) -> None:
    """``torch.save``, whole or not at all; Ctrl-C waits, since torch's writer may abort the process when interrupted.

    Raises:
        WriteError: the disk is full, or may not be written to.
    """
    with _interrupts_held_back(), atomic_file(path, "wb") as file:
        torch.save(state, file)


@contextmanager
def _interrupts_held_back() -> Iterator[None]:
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


def remove_leftovers(folder: str | Path, names: Iterable[str]) -> None:
    """Remove what ``atomic_file`` was writing to files of these names, or patterns, when the process was killed."""
    for name in names:
        for path in Path(folder).glob(f".{name}.*"):
            _remove_if_left(path)


@contextmanager
def atomic_directory(path: str | Path) -> Iterator[Path]:
    """Yield an empty directory that takes the place of ``path`` only when the block ends without an exception.

    What killed processes left of the same directory is removed first.

    Raises:
        WriteError: the disk is full, or may not be written to.
    """
    path = Path(path)
    make_folder(path.parent)
    with _naming(path), _replacing_directory(path) as folder:
        yield folder


UNFINISHED = ".unfinished"
AT_FDCWD, RENAME_EXCHANGE = -100, 2


@contextmanager
def _replacing_directory(path: Path) -> Iterator[Path]:
    remove_unfinished(path)
    previous = _previous(path)
    with _temporary_directory(path) as temporary:
        try:
            yield temporary
            temporary.chmod(0o755)
            if not os.path.lexists(path):
                os.replace(temporary, path)
            elif _exchange(temporary, path):
                _remove(temporary)
            else:
                os.replace(path, previous)
                os.replace(temporary, path)
                _remove(previous)
        except BaseException:
            _remove(temporary)
            if previous.exists() and not path.exists():
                os.replace(previous, path)
            raise


def remove_unfinished(path: str | Path) -> None:
    """Remove what processes that were killed while they wrote the directory ``path`` have left beside it.

    A directory that a living process writes is left alone. One that was moved away and not replaced is put back.
    """
    path = Path(path)
    previous = _previous(path)
    if previous.exists() and not os.path.lexists(path):
        os.replace(previous, path)
    for left in path.parent.glob(f".{glob.escape(path.name)}.*{UNFINISHED}"):
        if left == previous or not left.name.endswith(f".previous{UNFINISHED}"):
            _remove_if_left(left)


def _remove_if_left(path: Path) -> None:
    """Remove it unless a living process holds it."""
    try:
        handle = _lock(path)
    except OSError:
        return
    _remove(path)
    os.close(handle)


def _previous(path: Path) -> Path:
    return path.with_name(f".{path.name}.previous{UNFINISHED}")


@contextmanager
def _temporary_directory(path: Path) -> Iterator[Path]:
    """A new directory beside ``path``, locked for as long as this process lives."""
    handle = None
    while handle is None:
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=UNFINISHED, dir=path.parent))
        try:
            handle = _lock(temporary)
        except (BlockingIOError, FileNotFoundError):
            continue  # another process has taken it for a leftover before it was locked
        except OSError:
            break  # some network file systems have no locks
    try:
        yield temporary
    finally:
        if handle is not None:
            os.close(handle)


def _lock(path: Path) -> int:
    """A handle that holds the lock of a file or directory."""
    handle = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        raise
    return handle


def _remove(path: Path) -> None:
    """Remove a directory, or what stood in its place."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two paths in one step, so that there is no moment without either; False where the system cannot."""
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError):
        return False
    return rename(AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other), RENAME_EXCHANGE) == 0
