"""The ``push`` command."""

import argparse
import json
from io import BytesIO
from pathlib import Path
from typing import Any

from recbole_sibrar.cli.hints import tell_next
from recbole_sibrar.errors import OptionError, as_typed

OF_A_RUN = ("model", "variant", "preset", "dataset", "scenario", "seed", "split_seed")

PUSH_DESCRIPTION = """\
Put a trained model, or a file of vectors, on the Hugging Face Hub, with a card that says what it is.

  recbole-sibrar push results/RUN owner/name             # model.pth, result.json and the card; a private repository
  recbole-sibrar push results/RUN/model-all.pth owner/name
  recbole-sibrar push text.npz owner/vectors             # for --item-vectors text=hub:owner/vectors/text.npz

What takes a checkpoint takes hub:owner/name in its place, with @revision behind it if wanted:
  recbole-sibrar recommend --checkpoint hub:owner/name --users 1 2 3

A checkpoint holds the ids of users and items and their training interactions: --public shows them to everybody.
"""


def add_push_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add ``push`` to the command line."""
    push = commands.add_parser(
        "push",
        help="put a model or vectors on the Hugging Face Hub",
        description=PUSH_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    push.add_argument("path", metavar="RUN", help="the folder of a run, a checkpoint, or a file of vectors")
    push.add_argument("name", metavar="OWNER/NAME", help="of the repository; it is made if it is not there")
    push.add_argument("--public", action="store_true", help="a repository that is made can be read by everybody")
    push.add_argument(
        "--license", metavar="ID", help="as the Hub calls it, such as mit (default: the card says unknown)"
    )
    push.set_defaults(handler=_push)


def _push(arguments: argparse.Namespace) -> int:
    from recbole_sibrar import hub
    from recbole_sibrar.report.card import UNKNOWN

    licence = arguments.license or UNKNOWN
    path, is_vectors = Path(arguments.path), _is_vectors(arguments.path)
    files = _vectors(path, arguments.name, licence) if is_vectors else _model(path, arguments.name, licence)
    kind = "dataset" if is_vectors else "model"
    address = hub.push(files, arguments.name, kind, arguments.public)
    print(f"{', '.join(files)} pushed: {address}")
    here = f"hub:{arguments.name}"
    if is_vectors:
        given = f"{path.name.partition('.')[0]}={here}/{path.name}"
        tell_next(as_typed("convert", "table", "--name=NAME", "--interactions=orders.csv", "--item-vectors", given))
    else:
        tell_next(f"recbole-sibrar recommend --checkpoint {here} --all-users --output recs.parquet")
    return 0


def _is_vectors(path: str) -> bool:
    return Path(path).is_file() and Path(path).suffix != ".pth"


def _model(path: Path, name: str, licence: str) -> dict[str, Path | bytes]:
    import torch

    from recbole_sibrar import checkpoint
    from recbole_sibrar.hub import PREFIX
    from recbole_sibrar.report.card import model_card
    from recbole_sibrar.report.result import RESULT

    if str(path).startswith(PREFIX):
        raise OptionError(f"{path} is on the Hub already.")
    found = checkpoint.locate(path)
    state, file = checkpoint.load(found), found.with_name(RESULT)
    state["config"] = checkpoint.without_places(state["config"])
    result = checkpoint.without_places(json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else None
    result = result if result and _is_of(result, state) else None
    model = BytesIO()
    torch.save(state, model)
    beside = {RESULT: json.dumps(result, indent=2).encode()} if result else {}
    card = model_card(name, state, result, licence)
    return {checkpoint.MODEL: model.getvalue(), **beside, "README.md": card.encode()}


def _is_of(result: dict[str, Any], state: dict[str, Any]) -> bool:
    """Whether a result is of a checkpoint's run, and not of another one in its folder."""
    same = all(result["config"].get(name) == state["config"].get(name) for name in OF_A_RUN)
    return same and result.get("data") == state["data"]


def _vectors(path: Path, name: str, licence: str) -> dict[str, Path | bytes]:
    from recbole_sibrar.convert.vectors import read_embeddings
    from recbole_sibrar.hub import beside
    from recbole_sibrar.report.card import vectors_card

    vectors = read_embeddings(path)
    card = vectors_card(name, path.name, len(vectors.ids), vectors.width, vectors.values.dtype, licence)
    files = [path, *(path.with_name(other) for other in beside(path.name))]
    return {**{file.name: file for file in files}, "README.md": card.encode()}
