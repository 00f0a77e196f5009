"""A tiny data set on disk, and a quiet, isolated place to run RecBole in."""

import logging
import re
import signal
import sys
from pathlib import Path

import numpy as np
import pytest

from recbole_sibrar import cli
from recbole_sibrar.data.sparse import SparseRows
from recbole_sibrar.experiments import execute

# A shell's background jobs ignore Ctrl-C, and so would the runs that the tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def isolated(tmp_path, monkeypatch):
    """RecBole writes logs into the working directory and reads ``sys.argv``, pytest's included."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", sys.argv[:1])
    yield
    root = logging.getLogger()
    for handler in list(root.handlers):
        if isinstance(handler, logging.FileHandler):
            root.removeHandler(handler)
            handler.close()


SOFTMAX = {"rec_loss": "softmax", "contrastive_set": "batch", "modality_draw": "entity"}
"""The options that go with the softmax loss, beside the preset paper."""


def rows_of_trained(trained):
    """Training interactions (N, N) of the entities ``trained`` (N,), each with one of its own."""
    places = trained.nonzero().squeeze(1)
    return SparseRows.from_pairs(places, places, len(trained), len(trained))


class TinyData:
    """40 users and 30 items in two groups that like their own kind; items know their group by tag and by vector.

    Item 30 has no tag, user 40 no gender, item 29 no vector, and every third year is missing.
    """

    name = "tiny"
    n_users, n_items = 40, 30

    def __init__(self, folder):
        self.folder = folder
        rng = np.random.default_rng(0)
        pairs = []
        for user in range(1, self.n_users + 1):
            own = [item for item in range(1, self.n_items + 1) if item % 2 == user % 2]
            other = [item for item in range(1, self.n_items + 1) if item % 2 != user % 2]
            pairs += [(user, item) for item in rng.choice(own, 9, replace=False)]
            pairs += [(user, item) for item in rng.choice(other, 2, replace=False)]
        self.pairs = pairs
        self.vectors = {item: [float(item % 2), 1.5, -float(item)] for item in range(1, self.n_items + 1) if item != 29}
        self.write()

    def write(self):
        path = self.folder / self.name
        path.mkdir(parents=True, exist_ok=True)
        self.interactions("inter", self.pairs)
        users = [f"u{user}\t{'' if user == 40 else 'FM'[user % 2]}\t{20 + user}" for user in range(1, self.n_users + 1)]
        items = [
            f"i{item}\t{'' if item == 30 else f'group{item % 2} any'}\t{'' if item % 3 == 0 else 1990 + item}"
            for item in range(1, self.n_items + 1)
        ]
        self.file("user", "user_id:token\tgender:token\tage:float", users)
        self.file("item", "item_id:token\tgenres:token_seq\tyear:float", items)
        rows = [f"i{item}\t{' '.join(map(repr, vector))}" for item, vector in self.vectors.items()]
        self.file("picture", "item_id:token\tpicture:float_seq", rows)
        (path / f"{self.name}.yaml").write_text(
            "modalities:\n  user: {gender: category, age: number}\n"
            "  item: {genres: tags, year: number, picture: vector}\n"
        )

    def interactions(self, suffix, pairs):
        self.file(suffix, "user_id:token\titem_id:token", [f"u{user}\ti{item}" for user, item in pairs])

    def file(self, suffix, header, lines):
        (self.folder / self.name / f"{self.name}.{suffix}").write_text("\n".join([header, *lines]) + "\n")

    def options(self, **options):
        """Settings that keep a run small; later ones win."""
        return {
            "data_path": str(self.folder),
            "epochs": 2,
            "show_progress": False,
            "embedding_size": 8,
            "topk": [3],
            "valid_metric": "NDCG@3",
            "state": "ERROR",
            **options,
        }


def names(text, message):
    """Whether a text names each part of ``message``, such as ``seed | 'abc' | integer``, wherever it stands.

    A message of the program is tested by what it has to name: the value, what was expected, what to do.
    """
    return all(part in text for part in message.split(" | "))


def naming(message):
    """A pattern for ``match=`` of the texts that ``names`` accepts; a message of one part may be a pattern itself."""
    if " | " not in message and re.search(r"\.\*|[\\(^$]", message):
        return message
    return "(?s)" + "".join(f"(?=.*{re.escape(part)})" for part in message.split(" | "))


def folder_of(name, results="results"):
    """The folder of a run, whose name ends in a hash of its options."""
    (found,) = (path for path in Path(results).glob(f"{name}-*") if plain(path.name) == name)
    return found


def plain(name):
    """The name of a run without the hash of its options."""
    return re.fullmatch(r"(.*)-[0-9a-f]{8}", name)[1]


@pytest.fixture
def tiny(tmp_path):
    return TinyData(tmp_path / "data")


class InThisProcess:
    """A run made here, for speed, in place of a ``Popen``; it seems to go on for some looks."""

    def __init__(self, command, looks=0):
        assert command[:4] == [sys.executable, "-m", "recbole_sibrar.cli", "run"]
        self.returncode, self.looks = cli.main(command[3:]), looks

    def poll(self):
        self.looks -= 1
        return self.returncode if self.looks < 0 else None

    def wait(self, seconds):
        return self.returncode


@pytest.fixture
def started(monkeypatch):
    """The names of the runs that a command of many runs has started, without the hash of the options."""
    names = []

    def start(command, errors, threads):
        names.append(plain(next(word for word in command if word.startswith("--run_name=")).partition("=")[2]))
        return InThisProcess(command)

    monkeypatch.setattr(execute, "start", start)
    return names
