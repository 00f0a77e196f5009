"""Changes of a served catalogue that outlive the service, however it ends."""

import fcntl
import json
import os
from pathlib import Path
from typing import Any

import pandas as pd

from recbole_sibrar.errors import BusyError, DataError, OptionError, SibrarError, WriteError
from recbole_sibrar.files import make_folder
from recbole_sibrar.serving.interface import AnyRecommender
from recbole_sibrar.serving.recommender import Recommender

LARGEST_JOURNAL = 64 << 20  # bytes; then the model is saved and the journal begins anew


class KeptCatalogue:
    """A model's file, and beside it a journal of the changes since it was saved, one a line below that of the model.

    A change is on the disk as soon as ``record`` returns. Doing all that is in a journal twice is the same as once, so
    that it does not matter when in between a process was killed.

    Args:
        path: of the model with its catalogue; the journal is ``<path>.journal``.

    Raises:
        BusyError: another service keeps its changes there. WriteError: it cannot be written to.
    """

    def __init__(self, path: Path | str):
        self.path, self.journal = Path(path), Path(f"{path}.journal")
        make_folder(self.path.parent)
        try:
            self._file = open(self.journal, "ab", buffering=0)  # nothing of a line that failed is left to be written
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BusyError(
                f"Another service keeps its changes in {self.journal}; end it, or --save elsewhere."
            ) from None
        except OSError as error:
            raise WriteError(f"{self.journal} cannot be written: {error.strerror}; --save elsewhere.") from None

    def newest(self, recommender: AnyRecommender) -> AnyRecommender:
        """What was saved of the model of a recommender, which is returned if nothing was.

        Raises:
            OptionError: another model was saved there.
        """
        if not self.path.is_file():
            return recommender
        saved = Recommender.load(self.path)
        if isinstance(saved, Recommender) and _model_of(saved) == _model_of(recommender):
            return saved
        raise OptionError(
            f"{self.path} holds another model, with a catalogue of its own; serve that (--checkpoint {self.path}), "
            "remove it, or --save elsewhere."
        )

    def replay(self, recommender: AnyRecommender) -> int:
        """Make the changes of the journal again.

        Returns:
            how many there are.

        Raises:
            OptionError: they are those of another model. DataError: a change cannot be made with this model.
        """
        n, whole, own = 0, 0, _model_of(recommender)
        with open(self.journal, "rb") as lines:
            for number, line in enumerate(lines, start=1):
                if not line.endswith(b"\n"):
                    break  # killed while it was written, before the client was told that it was done
                whole += len(line)
                try:
                    change = json.loads(line)
                    if "model" not in change:
                        apply(recommender, change)
                        n += 1
                except (SibrarError, ValueError, KeyError) as error:
                    raise DataError(f"{self.journal}, line {number}: {error} Remove the line, or the file.") from None
                if change.get("model", own) != own:
                    raise OptionError(
                        f"{self.journal} holds changes of the catalogue of another model, such as one that was trained "
                        "before; remove it, serve the other one, or --save elsewhere."
                    )
        self._file.truncate(whole)
        return n

    def record(self, recommender: AnyRecommender, change: dict[str, Any]) -> None:
        """Write down a change that was made.

        Raises:
            WriteError: the disk is full, or may not be written to.
        """
        before = self._size()
        lines = [change] if before else [{"model": _model_of(recommender)}, change]
        left = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
        try:
            while left:
                left = left[self._file.write(left) :]
            os.fsync(self._file.fileno())
        except OSError as error:
            os.truncate(self.journal, before)
            raise WriteError(
                f"{self.journal} cannot be written: {error.strerror}. The change holds until the service ends."
            ) from None
        if before > LARGEST_JOURNAL:
            self.save(recommender)

    def save(self, recommender: AnyRecommender) -> None:
        """Write the model with its catalogue; the journal is empty after that."""
        recommender.save(self.path)
        self._file.truncate(0)

    def close(self, recommender: Recommender) -> None:
        """Save what the journal holds, and remove it."""
        if self._size():
            self.save(recommender)
        self.release()

    def release(self) -> None:
        """Let go of the journal, which is removed if it holds nothing."""
        if not self._size():
            self.journal.unlink(missing_ok=True)
        self._file.close()

    def _size(self) -> int:
        return os.fstat(self._file.fileno()).st_size


def _model_of(recommender: AnyRecommender) -> str:
    """Its fingerprint, if its catalogue can be changed."""
    return recommender.fingerprint if isinstance(recommender, Recommender) else ""


def apply(recommender: AnyRecommender, change: dict[str, Any]) -> None:
    """Make a change, ``{"put": rows}`` or ``{"remove": ids}``."""
    if "remove" in change:
        recommender.remove_items(change["remove"])
    else:
        rows = change["put"]
        recommender.add_items(pd.DataFrame(rows, dtype=object), [row.keys() for row in rows])
