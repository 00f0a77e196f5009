"""Checkpoints of tensors and plain data, which ``torch.load`` opens with ``weights_only=True``."""

import glob
import warnings
import zipfile
from collections.abc import Iterable
from enum import Enum
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from scipy import sparse
from torch import Tensor, nn

import recbole_sibrar
from recbole_sibrar import hub
from recbole_sibrar.data.modalities import Modalities
from recbole_sibrar.data.sparse import SparseRows
from recbole_sibrar.errors import CheckpointError, DataError, OptionError
from recbole_sibrar.files import save_tensors
from recbole_sibrar.properties import props_folder

MODEL = "model.pth"  # in the folder of a run
KIND = "recbole-sibrar checkpoint"
FORMAT = f"{KIND} 4"
SPLIT, EVERYTHING = "the training split", "everything; no test figure belongs to it"  # what a model was trained on

# What RecBole's Config computes itself from the other options.
DERIVED = {
    "MODEL_TYPE", "MODEL_INPUT_TYPE", "eval_type", "device", "valid_neg_sample_args", "test_neg_sample_args",
    "valid_metric_bigger", "single_spec", "local_rank",
}  # fmt: skip


class Configured(Protocol):
    """RecBole's ``Config``."""

    final_config_dict: dict[str, Any]


class Parametrised(Protocol):
    """A recommender of RecBole, a module with parameters beside those that it trains."""

    device: torch.device

    def state_dict(self) -> dict[str, Tensor]: ...

    def load_state_dict(self, state_dict: dict[str, Tensor]) -> object: ...

    def other_parameter(self) -> dict[str, Any] | None: ...

    def load_other_parameter(self, para: Any) -> None: ...


class Stored(Protocol):
    """A data set that says what it was read from, and what serving needs of it."""

    read: dict[str, str]
    uid_field: str
    iid_field: str
    field2id_token: dict[str, Any]
    inter_feat: Any

    def interaction_rows(self) -> SparseRows: ...

    def catalogue(self, core: Any) -> dict[str, tuple[list[str], Modalities]]: ...


def plain_config(config: Configured) -> dict[str, Any]:
    """The effective configuration as plain data that ``Config(config_dict=...)`` takes back."""
    values = {key: plain(value) for key, value in config.final_config_dict.items() if key not in DERIVED}
    values["data_path"] = str(Path(values["data_path"]).parent)
    if (values.get("train_neg_sample_args") or {}).get("distribution") == "none":
        values["train_neg_sample_args"] = None
    return values


# What may differ between a run and its continuation.
FREE_TO_CHANGE = {
    "epochs",
    "fit",
    "resume",
    "state",
    "show_progress",
    "checkpoint_dir",
    "output_dir",
    "stopping_step",
    "gpu_id",
    "vector_storage",
    "ip",
    "port",
    "group_offset",
}


# Where a run was made, and on what.
OF_THE_MACHINE = {"data_path", "output_dir", "checkpoint_dir", "gpu_id", "ip", "port", "group_offset", "wandb_project"}


# What may differ between a finished run and one that it stands for.
FREE_TO_DIFFER = FREE_TO_CHANGE - {"epochs", "stopping_step"}

# What has no part in a result: runs that differ in nothing else are one run.
OUTSIDE_THE_RESULT = FREE_TO_DIFFER | {"run_name", "data_path"}


def without_places(values: Any) -> Any:
    """A configuration, or what holds one, for others to read: no option says where on which machine it was made.

    Of other values that are absolute paths, such as a folder with an encoder, the name is left. What is a tensor stays.

    >>> without_places({"config": {"data_path": "/home/ann/data", "seed": 1, "encoder": "/home/ann/models/minilm"}})
    {'config': {'seed': 1, 'encoder': 'minilm'}}
    """
    if isinstance(values, dict):
        return {name: without_places(value) for name, value in values.items() if name not in OF_THE_MACHINE}
    if isinstance(values, list):
        return [without_places(value) for value in values]
    is_place = isinstance(values, str) and Path(values).is_absolute() and len(Path(values).parts) > 2
    return Path(values).name if is_place else values


def check_same_options(path: str | Path, before: dict[str, Any], now: dict[str, Any]) -> None:
    """A run goes on with the options that it began with.

    Raises:
        OptionError: naming the first option that differs.
    """
    name = differing_option(before, now, FREE_TO_CHANGE)
    if name is not None:
        raise OptionError(
            f"{path} was made with {name}={before.get(name)!r}, not {now.get(name)!r}; resume with the same "
            "options, or start anew without --resume."
        )


def check_same_data(path: str | Path, before: dict[str, str], now: dict[str, str], dataset: str) -> None:
    """A model meets the data that it was trained on.

    Args:
        before, now: {what: fingerprint}, of the checkpoint and of the files as they are.

    Raises:
        DataError: naming what differs.
    """
    changed = differing_data(before, now)
    if changed:
        raise DataError(
            f"{path} was made from other data: {changed} of {dataset!r} changed. Put the files back as they were (the "
            "order of lines does not matter), or train again."
        )


def check_held_out(path: str | Path, state: dict[str, Any], held_out: SparseRows) -> None:
    """A model is not evaluated on what it was trained on, as on the split of another seed.

    Args:
        held_out: users x items, of the same data.

    Raises:
        DataError: naming how many interactions it has seen.
    """
    trained = SparseRows(**state["serving"]["interactions"], n_columns=held_out.n_columns)
    n_seen = int(trained.has(held_out.row_of_entry(), held_out.columns).sum())
    if n_seen:
        raise DataError(
            f"{path} was trained on {n_seen:,} of the {held_out.n_entries:,} interactions that it would be evaluated "
            f"on. Its split is that of seed {state['config']['seed']}, or it was trained on all data; use the options "
            "that it was trained with."
        )


def differing_data(before: dict[str, str], now: dict[str, str]) -> str | None:
    """What of the data differs, such as "interactions and item genres"; None if nothing does."""
    changed = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    if not changed:
        return None
    *others, last = changed
    return f"{', '.join(others)} and {last}" if others else last


def differing_option(before: dict[str, Any], now: dict[str, Any], free: set[str]) -> str | None:
    """The first option, by name, in which two configurations differ; None if they agree but for ``free``."""
    names = sorted((set(before) | set(now)) - free)
    return next((name for name in names if before.get(name) != now.get(name)), None)


def plain(value: Any) -> Any:
    """Plain data (None, bool, int, float, str, list, dict, tensor) that stands for ``value``.

    Arrays and scipy matrices, which some of RecBole's models keep beside their parameters, become tagged tensors.

    Raises:
        CheckpointError: the value is of another type.
    """
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, torch.Tensor):
        return value.detach()
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, dict):
        return {key: plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [plain(entry) for entry in value]
    if isinstance(value, (torch.device, Path)):
        return str(value)
    if isinstance(value, np.ndarray) and value.dtype != object:
        return {"__array__": torch.from_numpy(np.ascontiguousarray(value)), "matrix": isinstance(value, np.matrix)}
    if sparse.issparse(value):
        rows = value.tocsr()
        parts = {name: torch.from_numpy(getattr(rows, name)) for name in ("data", "indices", "indptr")}
        return {"__sparse__": parts, "shape": list(rows.shape), "format": value.format}
    raise CheckpointError(f"A value of type {type(value).__name__} cannot be stored in a checkpoint of plain data.")


def restored(value: object, device: torch.device) -> Any:
    """The inverse of ``plain`` for arrays and scipy matrices, which are copies; tensors on the device."""
    if isinstance(value, torch.Tensor):
        return value.to(device)
    if isinstance(value, dict):
        if "__array__" in value:
            array = value["__array__"].numpy().copy()
            return np.asmatrix(array) if value["matrix"] else array
        if "__sparse__" in value:
            parts = tuple(value["__sparse__"][name].numpy().copy() for name in ("data", "indices", "indptr"))
            return sparse.csr_matrix(parts, shape=tuple(value["shape"])).asformat(value["format"])
        return {key: restored(entry, device) for key, entry in value.items()}
    return [restored(entry, device) for entry in value] if isinstance(value, list) else value


def save(
    path: str | Path,
    config: Configured,
    model: Parametrised,
    dataset: Stored,
    with_serving: bool,
    **training_state: object,
) -> None:
    """Write a checkpoint, whole or not at all.

    Args:
        dataset: the training split.
        with_serving: whether the checkpoint holds what serving needs: original ids, training interactions, and the
            features of the model's modalities.
    """
    state = {
        "format": FORMAT,
        "versions": {"recbole_sibrar": recbole_sibrar.__version__, "torch": str(torch.__version__)},
        "config": plain_config(config),
        "state_dict": model.state_dict(),
        "other_parameter": plain(model.other_parameter()),
        "data": dict(dataset.read),
        "serving": _serving_state(model, dataset) if with_serving else None,
        **training_state,
    }
    save_tensors(path, state)


def _serving_state(model: Parametrised, dataset: Stored) -> dict[str, Any]:
    interactions = dataset.interaction_rows()
    fields = {"user": dataset.uid_field, "item": dataset.iid_field}
    core = getattr(model, "core", None)
    modalities = core.modalities if core is not None else {}
    return {
        "tokens": {side: [str(token) for token in dataset.field2id_token[field]] for side, field in fields.items()},
        "interactions": {"indptr": interactions.indptr, "columns": interactions.columns},
        "rows": dict(dataset.inter_feat.interaction) if core is None else {},
        "modalities": {side: [entry.to_plain() for entry in known.entries] for side, known in modalities.items()},
        "catalogue": {} if core is None else plain_catalogue(dataset.catalogue(core)),
    }


def plain_catalogue(catalogue: dict[str, tuple[list[str], Modalities]], removed: Iterable[str] = ()) -> dict[str, Any]:
    """What serving knows of entities that are not as a model was trained with them, as a checkpoint holds it.

    Args:
        catalogue: {side: (ids, modalities)} of those without interactions, added later, or changed.
        removed: ids of items that are no longer offered.
    """
    sides = {
        side: {"tokens": list(tokens), "modalities": [entry.to_plain() for entry in features.entries]}
        for side, (tokens, features) in catalogue.items()
    }
    return {**sides, "removed": list(removed)}


def locate(path: str | Path) -> Path:
    """A checkpoint, or that in the folder of a run, whose name may leave out the preset and the options at its end if
    one such run is there; ``hub:owner/name`` is one on the Hugging Face Hub, which is fetched.

    Raises:
        CheckpointError: it is no path, there is none, or more than one. SibrarError: it cannot be fetched.
    """
    if not isinstance(path, (str, Path)):
        raise CheckpointError(
            f"{path!r} is no checkpoint; expected the path of one, of a run's folder, or hub:owner/name."
        )
    path = Path(hub.local(path, "model", MODEL))
    folder, name = (path.parent, path.name) if path.suffix == ".pth" else (path, MODEL)
    if (folder / name).is_file():
        return folder / name
    if path.is_file():
        return path
    others = folder.parent.glob(f"*/{glob.escape(name)}") if folder.name else ()
    found = sorted(other for other in others if _is_short_for(folder.name, other.parent.name))
    if not found and path.is_dir():
        raise CheckpointError(f"{path} holds no {name}; expected a checkpoint or the folder of a finished run.")
    if not found:
        raise CheckpointError(f"{path}: no such checkpoint.")
    if len(found) > 1:
        raise CheckpointError(f"{path}: no such checkpoint, but {', '.join(map(str, found))}; name one of them.")
    warnings.warn(f"{path} is not there; {found[0]} is taken, the only run of such a name.", stacklevel=3)
    return found[0]


def _is_short_for(short: str, name: str) -> bool:
    """Whether ``short`` is the name of a run but for its preset and the options at its end."""
    presets = [path.stem for path in (props_folder() / "preset").glob("*.yaml")]
    names = [name, *(name.replace(f"-{preset}-", "-", 1) for preset in presets)]
    return any(f"{other}-".startswith(f"{short}-") for other in names)


def load(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint, found by ``locate``, without executing anything in it.

    Its tensors are memory-mapped, so that the features in it take no memory where they are not asked for, as after
    training. ``save`` puts another file in its place; what lives on after loading is copied all the same, since others
    may write into it. (An optimizer keeps the tensors, which are its own once it has changed them.)

    Raises:
        CheckpointError: no such file, not ours, truncated, or of another version.
    """
    path = locate(path)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        _check_plain_data(path)
    except Exception as error:  # a damaged file ends in whatever its bytes happen to say
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(
            f"{path} is not a checkpoint of plain data ({reason}). It may be truncated or damaged, or written by "
            "RecBole without this plugin."
        ) from None
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        found = state.get("format") if isinstance(state, dict) else type(state).__name__
        if isinstance(found, str) and found.startswith(KIND):
            raise CheckpointError(
                f"{path} was written by an earlier version of recbole_sibrar ({found!r}), whose models are others "
                "under the same names; train again, or use that version."
            )
        raise CheckpointError(f"{path}: format {found!r}, expected {FORMAT!r}.")
    return state


def _check_plain_data(path: Path) -> None:
    """Whether what is no tensor is as it was written, by its checksum, which torch does not look at.

    Raises:
        BadZipFile: it is not.
    """
    with zipfile.ZipFile(path) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith("/data.pkl"))
        with archive.open(name) as file:
            while file.read(1 << 20):
                pass


def restore(model: Parametrised, state: dict[str, Any]) -> None:
    """Put a checkpoint's parameters into a model of the same configuration."""
    load_parameters(model, state["state_dict"], state["versions"])
    model.load_other_parameter(restored(state["other_parameter"], model.device))


def load_parameters(model: "Parametrised | nn.Module", parameters: dict[str, Tensor], versions: dict[str, str]) -> None:
    """As ``load_state_dict``.

    Raises:
        CheckpointError: the parameters are those of another model, data set, or version of this package.
    """
    try:
        model.load_state_dict(parameters)
    except RuntimeError as error:
        reason = " ".join(str(error).split("\n\t")[1:])
        raise CheckpointError(
            f"The checkpoint does not fit the model and data set: {reason} It was written by recbole_sibrar "
            f"{versions['recbole_sibrar']}; this is {recbole_sibrar.__version__}. Train again, or use that version."
        ) from None
