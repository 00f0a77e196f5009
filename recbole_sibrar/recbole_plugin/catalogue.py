"""The users and items without interactions, or with none that a filter left: what files say of them, for serving."""

import warnings

import numpy as np
import pandas as pd
from recbole.data.dataset import Dataset

from recbole_sibrar.data.atomic import find_dataset_file, read_atomic, read_header
from recbole_sibrar.data.modalities import Declaration, Modalities
from recbole_sibrar.data.vectors import read_vectors
from recbole_sibrar.kinds import KINDS
from recbole_sibrar.kinds.reading import parse_declarations
from recbole_sibrar.serving.features import features_of


def without_interactions(dataset: Dataset, side: str, known: Modalities) -> tuple[list[str], Modalities]:
    """Their ids, and their modalities like the ``known`` ones that a model was trained with.

    Those whose interactions a filter has dropped are among them, unless it looked at their features.

    Args:
        dataset: a ``ScenarioDataset``.
    """
    field = dataset.uid_field if side == "user" else dataset.iid_field
    separators = dataset.config["field_separator"], dataset.config["seq_separator"]
    wanted = {entry.name for entry in known.content.entries}
    declarations = [entry for entry in parse_declarations(dataset.config["modalities"], side) if entry.name in wanted]
    rows = _described(dataset, side, field, separators[0])
    others = {*map(str, dataset.field2id_token[field]), *dataset.excluded[side]}
    of_vectors = [entry for entry in declarations if not KINDS[entry.kind].column_type]
    vectors = {entry.name: _vectors(dataset, entry, separators, others) for entry in of_vectors}
    tokens = [token for token in rows.index if token not in others]
    tokens = list(dict.fromkeys([*tokens, *(token for own in vectors.values() for token in own)]))
    columns = {}
    for entry in declarations:
        if not KINDS[entry.kind].column_type:
            columns[entry.name] = [vectors[entry.name].get(token) for token in tokens]
            continue
        cells = rows[entry.field].reindex(tokens, fill_value="")
        kind, missing = KINDS[entry.kind], ("", *entry.missing)
        columns[entry.name] = [
            None if kind.says_none(cell, missing) else kind.from_cell(cell, separators[1]) for cell in cells
        ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what of them training never saw is masked, as in everything that was known
        frame = pd.DataFrame({name: pd.Series(cells, dtype=object) for name, cells in columns.items()})
        return tokens, features_of(frame.reindex(range(len(tokens))), known, tokens=tokens)


def _described(dataset: Dataset, side: str, field: str, separator: str) -> pd.DataFrame:
    """The rows of the ``.user`` or ``.item`` file by id."""
    path = find_dataset_file(dataset.dataset_path, dataset.dataset_name, side)
    if path is None or field not in read_header(path, separator):
        return pd.DataFrame()
    rows = read_atomic(path, separator=separator).set_index(field)
    return rows[~rows.index.duplicated()]


def _vectors(
    dataset: Dataset, declaration: Declaration, separators: tuple[str, str], others: set[str]
) -> dict[str, np.ndarray]:
    """{id: vector} of a file, without those of the ``others``."""
    path = find_dataset_file(dataset.dataset_path, dataset.dataset_name, declaration.field)
    ids, values = read_vectors(path, separators)
    return {str(token): np.array(values[row]) for row, token in enumerate(ids) if token not in others}
