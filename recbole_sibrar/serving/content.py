"""Recommendations by content alone, for a catalogue that nobody has bought anything of yet."""

from collections.abc import Sequence
from pathlib import Path

import torch

import recbole_sibrar
from recbole_sibrar import checkpoint
from recbole_sibrar.data.atomic import find_dataset_file, read_atomic
from recbole_sibrar.data.modalities import Declaration, Modalities
from recbole_sibrar.data.sparse import SparseRows
from recbole_sibrar.data.vectors import read_vectors
from recbole_sibrar.errors import DataError
from recbole_sibrar.kinds import KINDS
from recbole_sibrar.kinds.interactions import interaction_modality
from recbole_sibrar.kinds.reading import load_modalities, parse_declarations
from recbole_sibrar.models.ridge import ContentRidge
from recbole_sibrar.properties import read_property_file
from recbole_sibrar.serving.recommender import CORE, Recommender

PADDING = "[PAD]"
# What was best of 14 on the MovieLens 100K, from three liked films: lambda for each item, as squared singular values
# grow with their number, and numbers that count as much as everything else.
PENALTY, NUMBER_WEIGHT = 1 / 4, 1.0
CONTENT = "the items' content alone"


def by_content(folder: Path | str) -> Recommender:
    r"""A recommender for the items of a data set that nothing was trained on: closed form, from their content.

    It is ``ContentRidge`` on imagined users of whom each likes one item: with x_j the features of item j, the score of
    an item for a history H is

    .. math:: \sum_{l \in H} x_l^\top (X^\top X + \lambda I)^{-1} x_j

    so that what few items have in common counts more than what most have.

    Args:
        folder: of the atomic files.

    Raises:
        DataError: there is no data set, or no item is described.
    """
    folder = Path(folder)
    folder = folder if folder.name not in ("", "..") else folder.resolve()
    declared = folder / f"{folder.name}.yaml"
    if not declared.is_file():
        raise DataError(
            f"{folder} holds no {declared.name}; expected the folder of a data set, such as atomic_data/shop."
        )
    settings = read_property_file(declared)
    declarations = parse_declarations(settings.get("modalities"), "item")
    if not declarations:
        raise DataError(f"{folder}: nothing is known of the items; give a table of them, or vectors.")
    id_field = settings.get("ITEM_ID_FIELD", "item_id")
    separators = settings.get("field_separator", "\t").replace("\\t", "\t"), settings.get("seq_separator", " ")
    tokens = [PADDING, *sorted(_ids(folder, declarations, id_field, separators))]
    known = load_modalities(folder, folder.name, "item", id_field, tokens, declarations, separators=separators)
    n = len(tokens)
    own = torch.arange(1, n)
    liked = SparseRows.from_pairs(own, own, n, n)
    users = Modalities("user", (interaction_modality(own, own, n, n),))
    config = {
        "model": ContentRidge.__name__,
        "seed": 0,
        "ridge_max": PENALTY * (n - 1),
        "number_weight": NUMBER_WEIGHT,
        **{name: settings.get(name) for name in ("tables", "modalities", "ITEM_ID_FIELD", "seq_separator")},
    }
    model = ContentRidge(ContentRidge.options_class.from_mapping(config), {"item": known, "user": users}, liked, 0)
    model.pretrain(folder, False)
    model.loss(None)
    state = {
        "format": checkpoint.FORMAT,
        "versions": {"recbole_sibrar": recbole_sibrar.__version__, "torch": str(torch.__version__)},
        "config": config,
        "trained_on": CONTENT,
        "state_dict": {f"{CORE}{name}": value for name, value in model.state_dict().items()},
        "data": {},
        "serving": {
            "tokens": {"user": [PADDING], "item": tokens},
            "interactions": {"indptr": liked.indptr, "columns": liked.columns},
            "modalities": {side: [entry.to_plain() for entry in own.entries] for side, own in model.modalities.items()},
        },
    }
    return Recommender(model, state["serving"]["tokens"], liked, {}, state)


def _ids(folder: Path, declarations: Sequence[Declaration], id_field: str, separators: tuple[str, str]) -> set[str]:
    ids = set()
    path = find_dataset_file(folder, folder.name, "item")
    if path is not None:
        ids.update(read_atomic(path, [id_field], separators[0])[id_field])
    for entry in declarations:
        path = None if KINDS[entry.kind].column_type else find_dataset_file(folder, folder.name, entry.field)
        if path is not None:  # that a file of vectors is absent is told where they are read
            ids.update(map(str, read_vectors(path, separators)[0]))
    return ids
