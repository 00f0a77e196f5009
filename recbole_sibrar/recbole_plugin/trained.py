"""A trained model with its data, to be evaluated again under other conditions."""

import json
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from recbole_sibrar import checkpoint
from recbole_sibrar.data.missing import MissingOptions, drawn
from recbole_sibrar.data.modalities import SIDES
from recbole_sibrar.data.splits import PHASES
from recbole_sibrar.errors import CheckpointError, OptionError, nearest
from recbole_sibrar.evaluation.metrics import METRICS, per_user_table
from recbole_sibrar.evaluation.protocol import Phase
from recbole_sibrar.models.core import InnerProductModel
from recbole_sibrar.properties import QUIET
from recbole_sibrar.recbole_plugin.names import model_label
from recbole_sibrar.recbole_plugin.prepared import prepare_trained
from recbole_sibrar.recbole_plugin.run import run
from recbole_sibrar.report.collection import OF_A_SEED, OPTIONAL_OPTIONS, protocol_of
from recbole_sibrar.report.result import RESULT, as_json
from recbole_sibrar.scenarios import SCENARIOS

ONE_BY_ONE = ("topk", "valid_metric", "split_seed")
"""What of a protocol may differ where one metric is looked at and splits are told apart."""


def configs_of(paths: Iterable[Path | str]) -> dict[Path | str, dict[str, Any]]:
    """{checkpoint or folder of a run: its configuration}.

    Raises:
        CheckpointError: there is no checkpoint.
    """
    return {path: {**OPTIONAL_OPTIONS, **checkpoint.load(path)["config"]} for path in paths}


def check_one_table(configs: Mapping[Path | str, dict[str, Any]]) -> None:
    """Runs of these configurations may stand in one table.

    Raises:
        OptionError: they are of several data sets, scenarios or protocols.
    """
    of_runs = [dict((*_of_data(config), *protocol_of(config))) for config in configs.values()]
    for what in dict.fromkeys(name for own in of_runs for name in own if name not in ONE_BY_ONE):
        found = sorted({str(own.get(what)) for own in of_runs})
        if len(found) > 1:
            raise OptionError(f"The runs are of several: {what} is {' and '.join(found)}; name those of one.")


def _of_data(config: dict[str, Any]) -> list[tuple[str, str]]:
    return [(what, str(config[what])) for what in ("dataset", "scenario")]


def names_of_rows(configs: Mapping[Path | str, dict[str, Any]]) -> dict[Path | str, str]:
    """{checkpoint or folder of a run: the name of its row}: the seeds of a model share its label. Where a label stands
    for several settings, the names are those of the folders.

    Args:
        configs: of ``configs_of``.
    """
    known = {path: defaultdict(lambda: None, config) for path, config in configs.items()}
    labels = {path: model_label(config) for path, config in known.items()}
    settings, seeds = defaultdict(set), Counter((labels[path], config["seed"]) for path, config in known.items())
    for path, config in configs.items():
        settings[labels[path]].add(
            repr(sorted((name, value) for name, value in config.items() if name not in OF_A_SEED))
        )
    names = {}
    for path, config in configs.items():
        label = labels[path]
        is_clear = len(settings[label]) == 1 and seeds[label, config["seed"]] == 1
        names[path] = label if is_clear else checkpoint.locate(path).parent.name
    return names


def names_of_runs(rows: Mapping[Path | str, str]) -> dict[Path | str, str]:
    """{checkpoint or folder of a run: a name of its own}, that of its row or, where the row has several, of its folder.

    Args:
        rows: of ``names_of_rows``.

    Raises:
        OptionError: two have the same name.
    """
    counts = Counter(rows.values())
    names = {path: row if counts[row] == 1 else checkpoint.locate(path).parent.name for path, row in rows.items()}
    if len(set(names.values())) < len(names):
        raise OptionError(
            "One of the runs is named twice, or two folders of runs have the same name; leave one out, or rename it."
        )
    return names


class TrainedModel:
    """A checkpoint of a model with modalities, its data set and its trainer.

    Args:
        path: of a checkpoint or the folder of a run, as for ``checkpoint.locate``.
        data_path: where the data set is now, if not where it was.

    Raises:
        CheckpointError: it is no checkpoint of a model that reads modalities. DataError: its data set is not there.
    """

    def __init__(self, path: Path | str, data_path: Path | str | None = None):
        self.path = checkpoint.locate(path)
        moved = {} if data_path is None else {"data_path": data_path}
        self._prepared = prepare_trained(self.path, **QUIET, **moved)
        self.config = self._prepared.config
        core: InnerProductModel | None = getattr(self._prepared.model, "core", None)
        if core is None or not any(core.described(side) for side in SIDES):
            raise CheckpointError(f"{self.path} is a {self.config['model']}, which has no modalities to look at.")
        self.core = core
        self.name = model_label(self.config)
        self.scenario, self.dataset = self.config["scenario"], self.config["dataset"]

    @property
    def data(self) -> dict[str, str]:
        """{what: fingerprint} of what it was trained on."""
        return self._prepared.dataset.read

    def phase(self, name: str) -> Phase:
        """The protocol of a split, ``valid`` or ``test``."""
        return self._prepared.loaders[PHASES.index(name)].phase

    def side(self, wanted: str | None = None) -> str:
        """The side whose modalities are looked at: the one asked for, or the scenario's, or the one the model reads.

        Raises:
            OptionError: the model reads no side information of that side.
        """
        described = [side for side in SIDES if self.core.described(side)]
        cold = SCENARIOS[self.scenario].cold_sides
        side = wanted or ([side for side in cold if side in described] or cold or described)[-1]
        if side not in described:
            raise OptionError(f"{self.name} reads no side information of {side}s, only of {' and '.join(described)}s.")
        return side

    def modalities(self, side: str, phase: str) -> list[str]:
        """The modalities that an entity ranked in a phase has: a cold item has no interactions."""
        protocol = self.phase(phase)
        entities = protocol.candidates if side == "item" else protocol.users
        has = self.core.entities(side).read[entities].any(0)
        return [name for name, any_has in zip(self.core.entities(side).names, has.tolist()) if any_has]

    @contextmanager
    def only(self, side: str, names: Iterable[str]) -> Iterator[None]:
        """Within the context, evaluation is left with these modalities of a side."""
        encoder = self.core.entities(side)
        for name in names:
            if name not in encoder.names:
                raise OptionError(f"Unknown {side} modality {name!r}. {nearest(name, encoder.names)}")
        kept = torch.tensor([name in names for name in encoder.names], device=encoder.kept.device)
        before, encoder.kept = encoder.kept, encoder.kept & kept
        try:
            yield
        finally:
            encoder.kept = before

    @contextmanager
    def without(self, side: str, options: MissingOptions) -> Iterator[None]:
        """Within the context, entities lack in evaluation what ``options`` takes from them."""
        encoder = self.core.entities(side)
        counts = self._prepared.dataset.n_interactions(side)
        columns = [
            mask & ~drawn(mask, options.rate_of(name), name, side, options, counts)
            for name, mask in zip(encoder.names, encoder.evaluated.T.cpu())
        ]
        before, encoder.evaluated = encoder.evaluated, torch.stack(columns, dim=1).to(encoder.evaluated.device)
        try:
            yield
        finally:
            encoder.evaluated = before

    def evaluate(self, phase: str) -> tuple[dict[str, float], dict[str, Tensor]]:
        """(metrics {"ndcg@10": value}, {"ndcg@10": (U,) values of the users}) under the present conditions."""
        trainer = self._prepared.trainer
        result = trainer.evaluate(self._prepared.loaders[PHASES.index(phase)], load_best_model=False)
        recommendations = trainer.eval_collector.recommendations
        metrics = [metric.lower() for metric in self.config["metrics"] if metric.lower() in METRICS]
        return dict(result), per_user_table(recommendations, metrics, self.config["topk"]) if recommendations else {}

    def available(self, side: str) -> torch.Tensor:
        """(N, M) bool, which modalities the known entities have in evaluation; the names are ``sides[side].names``."""
        return self.core.entities(side).read[1:].cpu()

    def modality_embeddings(self, side: str, chosen: torch.Tensor) -> torch.Tensor:
        """(n, M, D) embeddings of some of the known entities, given by their rows in ``available``.

        Raises:
            CheckpointError: the model has no embeddings by modality.
        """
        if not hasattr(self.core, "modality_embeddings"):
            raise CheckpointError(f"{self.path} is a {self.config['model']}, which has no embedding for each modality.")
        return self.core.modality_embeddings(side, (chosen + 1).to(self.core.step.device)).cpu()

    def train_again(self, options: MissingOptions, output_dir: Path | str, run_name: str) -> dict[str, Any]:
        """The same run from its beginning, with modalities missing; its result.

        A run of this name that is finished, with the same options and data, is not repeated.
        """
        settings = {
            **checkpoint.plain_config(self.config),
            "missing": asdict(options),
            "output_dir": str(output_dir),
            "run_name": run_name,
        }
        settings.pop("checkpoint_dir")
        path = Path(output_dir) / run_name / RESULT
        if path.is_file():
            finished = json.loads(path.read_text(encoding="utf-8"))
            changed = checkpoint.differing_option(finished["config"], as_json(settings), checkpoint.FREE_TO_DIFFER)
            if not changed and not checkpoint.differing_data(finished.get("data", {}), self.data):
                return finished
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the first run has said which of its options have no effect
            return asdict(run(settings["model"], settings["dataset"], options=settings))
