"""The data set under the protocol: interactions through RecBole, splits and modalities through ``data``."""

import warnings
from collections.abc import Iterable, Sequence
from logging import getLogger
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from recbole.config import Config
from recbole.data.dataset import Dataset
from recbole.data.interaction import Interaction
from recbole.utils import FeatureSource, FeatureType
from torch import Tensor

from recbole_sibrar.checked import parse_names
from recbole_sibrar.data.atomic import check_id_type, exact_integers, has_rows, parse_numbers, read_atomic, read_header
from recbole_sibrar.data.cells import is_marker
from recbole_sibrar.data.identity import interactions_digest, modality_digest, sorted_numbers
from recbole_sibrar.data.missing import MissingOptions, remove
from recbole_sibrar.data.modalities import (
    INTERACTIONS,
    SIDES,
    Modalities,
    Modality,
)
from recbole_sibrar.data.sparse import SparseRows
from recbole_sibrar.data.splits import PHASES, SPLIT_ROUNDINGS, check_disjoint, rounded_up
from recbole_sibrar.data.vectors import STORAGES
from recbole_sibrar.errors import DataError, OptionError, as_typed, nearest
from recbole_sibrar.evaluation.protocol import Phase, build_phases
from recbole_sibrar.kinds.interactions import interaction_modality
from recbole_sibrar.kinds.reading import load_modalities, parse_declarations
from recbole_sibrar.models.core import InnerProductModel
from recbole_sibrar.recbole_plugin.catalogue import without_interactions
from recbole_sibrar.recbole_plugin.config import check_dataset
from recbole_sibrar.scenarios import scenario_named
from recbole_sibrar.scenarios.scenario import Scenario


class ScenarioDataset(Dataset):
    """RecBole's ``Dataset`` that splits by ``config["scenario"]`` and knows the modalities.

    Without a scenario it behaves as RecBole's own. Side information is not joined into RecBole's batches: a model asks
    for it once, with ``modalities``.

    Ids are numbered in their sorted order, and interactions are in the order of these numbers: splits, draws and
    results are the same whatever the order of the lines.

    Attributes:
        phase: the protocol of this split, after ``build``; None for training.
        n_left_out: interactions that the split leaves out: those between its parts, where users and items are cold.
        n_repeated: interactions that were left out since they repeat a pair of user and item.
        read: {what: fingerprint} of all that was read, see ``data.identity``: ``interactions`` and, once a model has
            asked for them, modalities such as ``item genres``. All splits share it.
        dropped: {side: ids whose interactions a filter has dropped}.
        excluded: {side: those of them that are not served either: a filter looked at the users' or items' features}.
    """

    phase: Phase | None = None
    inter_feat: Any
    file_size_list: list[int]
    n_repeated = 0
    n_left_out = 0
    dropped: dict[str, frozenset[str]] = {"user": frozenset(), "item": frozenset()}
    excluded: dict[str, frozenset[str]] = {"user": frozenset(), "item": frozenset()}

    @property
    def scenario(self) -> str | None:
        return self.config["scenario"]

    def _load_data(self, token: str, dataset_path: str) -> None:
        if self.scenario is not None:
            check_dataset(dataset_path, token)
            for part in [f"{name}.inter" for name in self.benchmark_filename_list or ()] or ["inter"]:
                path = Path(dataset_path) / f"{token}.{part}"
                read_header(path, self.config["field_separator"])
                if not has_rows(path):
                    raise DataError(
                        f"{path}: no line below the header, and so nothing to train on; by the items' content goes "
                        f"{as_typed('recommend', '--dataset', dataset_path, '--history', 'ITEM')}"
                    )
        super()._load_data(token, dataset_path)

    def _load_feat(self, filepath: str, source: FeatureSource) -> pd.DataFrame:
        """RecBole's reader pads short lines, lets a quote in a text swallow rows, and takes ids such as NA for none."""
        ids = {
            FeatureSource.INTERACTION: [self.uid_field, self.iid_field],
            FeatureSource.USER: [self.uid_field],
            FeatureSource.ITEM: [self.iid_field],
        }.get(source)
        load, unload = self._get_load_and_unload_col(source)
        if self.scenario is None or ids is None or load == set():
            return super()._load_feat(filepath, source)
        separator, is_inter = self.config["field_separator"], source is FeatureSource.INTERACTION
        header = read_header(filepath, separator)
        kept = [name for name in header if (not load or name in load) and name not in (unload or ())]
        self._check_columns(filepath, header, kept, ids, is_inter)
        frame = read_atomic(filepath, kept, separator)
        for name in kept:
            kind = FeatureType(header[name])
            self.field2source[name], self.field2type[name], self.field2seqlen[name] = source, kind, 1
            if name in ids:
                if (frame[name] == "").any():
                    raise DataError(f"{filepath}, line {(frame[name] == '').idxmax()}: {name} is empty.")
            elif kind == FeatureType.FLOAT:
                self.field2bucketnum[name] = 2
                frame[name] = self._numbers(frame[name], filepath, is_inter)
            elif kind != FeatureType.TOKEN:
                frame[name] = self._sequences(frame[name], kind)
                self.field2seqlen[name] = int(frame[name].map(len).max())
            elif not is_inter:
                frame[name] = frame[name].where(frame[name] != "", None)
        if is_inter and self.time_field in frame and self._is_ordered_by_time():
            missing = frame[self.time_field].isna()
            if missing.any():
                raise DataError(
                    f"{filepath}, line {missing.idxmax()}: no {self.time_field}, but eval_args.order is TO."
                )
        return frame.reset_index(drop=True)

    @staticmethod
    def _check_columns(filepath: str, header: dict[str, str], kept: list[str], ids: list[str], is_inter: bool) -> None:
        for field in ids:
            if field not in kept:
                raise DataError(
                    f"{filepath}: column {field!r} is needed but absent or not loaded; found {list(header)}. "
                    "USER_ID_FIELD and ITEM_ID_FIELD say what the ids are called."
                )
            check_id_type(filepath, field, header[field])
        for name in kept:
            if is_inter and header[name] not in ("token", "float"):
                raise DataError(
                    f"{filepath}: column {name!r} is {header[name]}; interactions take token and float only."
                )

    def _is_ordered_by_time(self) -> bool:
        is_split, order = self.benchmark_filename_list is not None, self.config["eval_args"]["order"]
        return order == "TO" and not is_split and not scenario_named(self.scenario).cold_sides

    def _numbers(self, column: pd.Series, filepath: str, is_inter: bool) -> pd.Series:
        texts = column if is_inter else column.mask(column.map(is_marker), "")
        numbers = parse_numbers(texts, filepath, column.name)
        return exact_integers(texts, numbers) if column.name == self.time_field else numbers

    def _sequences(self, column: pd.Series, kind: FeatureType) -> pd.Series:
        to_value = float if kind == FeatureType.FLOAT_SEQ else str
        return column.map(lambda cell: np.array([to_value(c) for c in cell.split(self.config["seq_separator"]) if c]))

    def _load_inter_feat(self, token: str, dataset_path: str) -> None:
        """A pair of user and item counts once in each split file."""
        super()._load_inter_feat(token, dataset_path)
        if self.scenario is not None and self.benchmark_filename_list is not None:
            part = np.repeat(np.arange(len(self.file_size_list)), self.file_size_list)
            kept = self._first_of_each_pair(part)
            self.file_size_list = np.bincount(part[kept], minlength=len(self.file_size_list)).tolist()

    def _first_of_each_pair(self, part: np.ndarray | None = None) -> np.ndarray:
        """Drop repeated pairs, within each of the parts if there are some; of each the earliest is kept.

        Returns:
            (N,) bool, which interactions were kept.
        """
        pairs = self.inter_feat[[self.uid_field, self.iid_field]].assign(part=part)
        kept = np.ones(len(pairs), dtype=bool)
        if pairs.duplicated().any():
            times = [self.time_field] if self.time_field in self.inter_feat else []
            others = self.inter_feat.columns.difference([self.uid_field, self.iid_field, *times])
            order = np.lexsort(
                [self.inter_feat[name].to_numpy() for name in (*others, *times)] or [np.arange(len(kept))]
            )
            kept[order] = ~pairs.iloc[order].duplicated().to_numpy()
            self.n_repeated = int((~kept).sum())
            warnings.warn(
                f"{self.dataset_name}: {self.n_repeated:,} of {len(kept):,} interactions repeat a user and an item; "
                "the earliest of each pair is kept.",
                stacklevel=2,
            )
            self.inter_feat = self.inter_feat[kept].copy()
        return kept

    def _data_filtering(self) -> None:
        before = self._ids_with_interactions()
        features = {"user": self.user_feat, "item": self.item_feat}
        asked = self.config["val_interval"] or {}
        is_judged = {side: own is not None and any(name in own for name in asked) for side, own in features.items()}
        if self.scenario is not None and self.config["filter_inter_by_user_or_item"]:
            self._tell_of_absent_rows(before, features)
        try:
            super()._data_filtering()
        except ValueError as error:
            if self.scenario is None:
                raise
            raise DataError(
                f"No interaction of {self.dataset_name} is left after filtering ({error}); loosen val_interval "
                f"({self.config['val_interval']}), user_inter_num_interval ({self.config['user_inter_num_interval']}) "
                f"or item_inter_num_interval ({self.config['item_inter_num_interval']})."
            ) from None
        left = self._ids_with_interactions()
        self.dropped = {side: before[side] - left[side] for side in SIDES}
        self.excluded = {side: self.dropped[side] if is_judged[side] else frozenset() for side in SIDES}

    def _tell_of_absent_rows(self, ids: dict[str, frozenset[str]], features: dict[str, pd.DataFrame | None]) -> None:
        for side, field in self._id_fields():
            if (own := features[side]) is not None and (absent := ids[side] - set(map(str, own[field]))):
                warnings.warn(
                    f"{len(absent):,} of {len(ids[side]):,} {side}s with interactions, such as {min(absent)!r}, have "
                    f"no row in {self.dataset_name}.{side}, which load_col names; RecBole drops these interactions. "
                    "filter_inter_by_user_or_item=False keeps them, their features missing.",
                    stacklevel=2,
                )

    def _ids_with_interactions(self) -> dict[str, frozenset[str]]:
        return {side: frozenset(map(str, self.inter_feat[field].unique())) for side, field in self._id_fields()}

    def _id_fields(self) -> Iterable[tuple[str, str]]:
        return zip(SIDES, (self.uid_field, self.iid_field))

    def _dataframe_to_interaction(self, data: pd.DataFrame) -> Interaction:
        """Times stay as exact as the file has them: float32 steps over 128 seconds of today's."""
        if (
            self.scenario is None
            or self.time_field not in data
            or self.field2type[self.time_field] != FeatureType.FLOAT
        ):
            return super()._dataframe_to_interaction(data)
        interaction = super()._dataframe_to_interaction(data.drop(columns=self.time_field))
        interaction[self.time_field] = torch.from_numpy(data[self.time_field].to_numpy())
        return interaction

    def _remap_ID_all(self) -> None:
        super()._remap_ID_all()
        self._cold: dict[str, tuple[Modalities, tuple[list[str], Modalities]]] = {}
        if self.scenario is None:
            pairs = self.inter_feat[[self.uid_field, self.iid_field]]
            self.read = {"interactions": interactions_digest(self._tokens(), [pairs])}
            return
        for fields in [*self.alias.values(), *([field] for field in self._rest_fields)]:
            self._number_in_sorted_order(fields)
        parts = self._sort_interactions()
        self.read = {"interactions": interactions_digest(self._tokens(), parts)}
        ratings = self.inter_feat.get(self.config["RATING_FIELD"], pd.Series(dtype=float))
        self.n_not_positive = int((ratings <= 0).sum())  # as the file has them: RecBole may normalise them next

    def _tokens(self) -> dict[str, np.ndarray]:
        """{side: ids by number}."""
        return {"user": self.field2id_token[self.uid_field], "item": self.field2id_token[self.iid_field]}

    def _number_in_sorted_order(self, fields: Iterable[str]) -> None:
        """Give the tokens of ``fields``, which share their numbers, those of their sorted order."""
        columns = self._get_remap_list(fields)
        if not columns:
            return
        tokens = self.field2id_token[columns[0][1]]
        number = np.append(0, 1 + sorted_numbers(tokens[1:]))
        in_order = tokens[np.argsort(number)]
        token_number = {token: place for place, token in enumerate(in_order)}
        for feat, field, kind in columns:
            self.field2id_token[field], self.field2token_id[field] = in_order, token_number
            is_sequence = kind == FeatureType.TOKEN_SEQ
            feat[field] = [number[row] for row in feat[field]] if is_sequence else number[feat[field].to_numpy()]

    def _sort_interactions(self) -> list[pd.DataFrame]:
        """By user, item and the other columns, within each file; returns the columns of each file."""
        sizes = [len(self.inter_feat)] if self.benchmark_filename_list is None else self.file_size_list
        others = sorted(set(self.inter_feat) - {self.uid_field, self.iid_field})
        names = [self.uid_field, self.iid_field, *others]
        keys = [self.inter_feat[name].to_numpy() for name in names]
        order = np.lexsort([*reversed(keys), np.repeat(np.arange(len(sizes)), sizes)])
        self.inter_feat = self.inter_feat.iloc[order].reset_index(drop=True)
        ends = np.cumsum(sizes)
        return [self.inter_feat[names].iloc[end - size : end] for size, end in zip(sizes, ends)]

    def _filter_by_field_value(self) -> None:
        if self.scenario is not None:
            for field, interval in (self.config["val_interval"] or {}).items():
                self._check_filter(field, interval)
        super()._filter_by_field_value()
        if self.scenario is not None:
            self._first_of_each_pair()

    def _check_filter(self, field: str, interval: str | list[str]) -> None:
        """RecBole drops any row, or none, where the kind of the values is not that of the column."""
        if field not in self.field2type:
            raise OptionError(
                f"val_interval names {field!r}, which is no column that is loaded. {nearest(field, self.field2type)} "
                f"Others are loaded with load_col ({self.config['load_col']})."
            )
        kind = self.field2type[field]
        if kind in (FeatureType.TOKEN_SEQ, FeatureType.FLOAT_SEQ):
            raise OptionError(f"val_interval.{field}: the column is {kind.value}; only token or float can be filtered.")
        if field not in self.inter_feat and not self.config["filter_inter_by_user_or_item"]:
            raise OptionError(
                f"val_interval.{field} filters {self.field2source[field].value}s, whose interactions "
                "filter_inter_by_user_or_item=False keeps, so that it has no effect; leave one of the two out."
            )
        is_number = kind == FeatureType.FLOAT
        if is_number != isinstance(interval, str):
            expected = "an interval such as '[3,inf)'" if is_number else "a list of the tokens to keep, such as [a, b]"
            raise OptionError(
                f"val_interval.{field} is {interval!r}, but the column is {kind.value}; expected {expected}."
            )

    def _check_time(self) -> None:
        """A split by time needs times."""
        arguments = self.config["eval_args"]
        if self.benchmark_filename_list is None and (arguments["order"] == "TO" or "TS" in arguments["split"]):
            if self.field2type.get(self.time_field) is not FeatureType.FLOAT:
                raise OptionError(
                    f"eval_args asks for a split by time, but {self.dataset_name}.inter has no column "
                    f"'{self.time_field}:float' that is loaded (TIME_FIELD, load_col). "
                    f"Loaded: {', '.join(self.field2type)}."
                )
            if arguments["order"] != "TO":
                raise OptionError(f"eval_args.order is {arguments['order']!r}; a split by time (TS) needs TO.")

    def build(self) -> list["ScenarioDataset"]:
        if self.scenario is None:
            return super().build()
        self._check_time()
        self._missing()
        self._vector_storage()
        self._n_interactions = {
            field: np.bincount(self.inter_feat[field], minlength=self.num(field))
            for field in (self.uid_field, self.iid_field)
        }
        if self.config["eval_args"]["order"] == "TO":
            self.inter_feat = self.inter_feat.sample(frac=1, random_state=0)  # else ties would be in the order of ids
        scenario, drawn = scenario_named(self.scenario), None
        if self.benchmark_filename_list is not None:
            datasets = super().build()
        elif not scenario.cold_sides:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(self._split_seed())
                datasets = super().build()
        else:
            self._change_feat_format()
            self._drop_unused_col()
            entities = {side: self.inter_feat[field].numpy() for side, field in self._side_fields.items()}
            ratios = self.config["eval_args"]["split"]["RS"]
            split = scenario.split(entities, ratios, self._split_seed(), self._split_rounding())
            self.n_left_out = len(self.inter_feat) - sum(map(len, split.rows))
            datasets = [self.copy(self.inter_feat[torch.from_numpy(rows)]) for rows in split.rows]
            if "item" in split.entities:
                drawn = dict(zip(PHASES, map(torch.from_numpy, split.entities["item"])))
        self._attach_phases(scenario, datasets, drawn)
        return datasets

    @property
    def _side_fields(self) -> dict[str, str]:
        return {"user": self.uid_field, "item": self.iid_field}

    def _split_seed(self) -> int:
        return self.config["seed"] if self.config["split_seed"] is None else self.config["split_seed"]

    def _split_rounding(self) -> str:
        return self.config["split_rounding"] or SPLIT_ROUNDINGS[0]

    def _calcu_split_ids(self, tot: int, ratios: Sequence[float]) -> list[int]:
        """Where RecBole's splits by shares end; RecBole rounds validation and test down."""
        if self.scenario is None or self._split_rounding() == SPLIT_ROUNDINGS[0]:
            return super()._calcu_split_ids(tot, ratios)
        n_train, n_valid, _ = rounded_up(tot, ratios)
        return [n_train, n_train + n_valid]

    def _attach_phases(
        self, scenario: Scenario, datasets: list["ScenarioDataset"], drawn: dict[str, Tensor] | None
    ) -> None:
        parts = {}
        for name, dataset in zip(PHASES, datasets):
            parts[name] = tuple(dataset.inter_feat[field].long() for field in (self.uid_field, self.iid_field))
            if not len(parts[name][0]):
                raise DataError(f"The {name} split is empty; {self._advice_on_splits(scenario)}")
        for side in scenario.cold_sides:
            entities = {name: pair[SIDES.index(side)].numpy() for name, pair in parts.items()}
            check_disjoint(scenario.name, side, entities, self.field2id_token[self._side_fields[side]])
        phases = build_phases(
            scenario, parts, self.user_num, self.item_num, self.config["eval_candidates"] or "scenario", drawn
        )
        for name, dataset in zip(PHASES, datasets):
            dataset.phase = phases.get(name)

    def _advice_on_splits(self, scenario: Scenario) -> str:
        if scenario.cold_sides or self.benchmark_filename_list is not None:
            return "the data set is too small or the split ratios are."
        n = len(self.inter_feat) / max(1, self.user_num - 1)
        return (
            f"each user's interactions are split, {n:.1f} on average, and validation takes none of one or two. "
            "--scenario=user_cold and item_cold split users and items."
        )

    def whole(self) -> "ScenarioDataset":
        """After ``build``, all interactions as one split, without a protocol."""
        whole = self.copy(self.inter_feat)
        whole.phase = None
        return whole

    def interaction_rows(self) -> SparseRows:
        """users x items of this split."""
        return SparseRows.from_pairs(
            self.inter_feat[self.uid_field], self.inter_feat[self.iid_field], self.user_num, self.item_num
        )

    def modalities(self, side: str, names: list[str] | None = None) -> Modalities:
        """The modalities of one side: ``interactions`` (of this split) and the declared ones, or those ``names``.

        Raises:
            OptionError, DataError: an unknown name; a file that is absent or malformed.
        """
        fields = (self.uid_field, self.iid_field) if side == "user" else (self.iid_field, self.uid_field)
        own, other = (self.inter_feat[field] for field in fields)
        interactions = interaction_modality(own, other, self.num(fields[0]), self.num(fields[1]))
        entries = (interactions, *self.side_information(side, names, self._vector_storage()).entries)
        known = remove(Modalities(side, entries), self._missing(), self.n_interactions(side))
        names = parse_names(names, f"{side}_modalities")
        return known if names is None else known.select(names)

    def side_information(self, side: str, names: list[str] | None, vector_storage: str) -> Modalities:
        """The declared modalities of one side, or those among ``names``; ``read`` has their fingerprints then.

        Raises:
            OptionError, DataError: as ``modalities``.
        """
        declarations = parse_declarations(self.config["modalities"], side)
        names = parse_names(names, f"{side}_modalities")
        declared = [INTERACTIONS, *(entry.name for entry in declarations)]
        for name in names or ():
            if name not in declared:
                raise OptionError(f"Unknown {side} modality {name!r}. {nearest(name, declared)}")
        wanted = [entry for entry in declarations if names is None or entry.name in names]
        field = self.uid_field if side == "user" else self.iid_field
        tokens = np.asarray(self.field2id_token[field])
        separators = self.config["field_separator"], self.config["seq_separator"]
        loaded = load_modalities(
            self.dataset_path, self.dataset_name, side, field, tokens, wanted, vector_storage, separators
        )
        self.read.update({f"{side} {entry.name}": modality_digest(entry) for entry in loaded.entries})
        return loaded

    def read_of(self, names: dict[str, list[str] | None]) -> dict[str, str]:
        """``read``, of the interactions and some modalities alone, which are read if they were not yet.

        Args:
            names: {side: names of modalities, None for all}.
        """
        wanted = ["interactions"]
        for side, own in names.items():
            declared = [entry.name for entry in parse_declarations(self.config["modalities"], side)]
            own = declared if own is None else [name for name in declared if name in own]
            new = [name for name in own if f"{side} {name}" not in self.read]
            if new:
                self.side_information(side, new, "disk")
            wanted += [f"{side} {name}" for name in own]
        return {name: self.read[name] for name in wanted}

    def catalogue(self, core: InnerProductModel) -> dict[str, tuple[list[str], Modalities]]:
        """{side: (ids, modalities)} of the entities that never had an interaction, as the model ``core`` reads them.

        Items without content are told apart by nothing, and are left out.
        """
        takes = core.capabilities
        sides = [side for side in SIDES if core.described(side) and (takes.new_content or takes.new_entities)]
        if takes.new_entities and "user" not in sides:
            sides = ["user", *sides]
        for side in sides:
            if side not in self._cold or self._cold[side][0] is not core.modalities[side]:
                self._cold[side] = core.modalities[side], without_interactions(self, side, core.modalities[side])
        return {side: self._cold[side][1] for side in sides}

    def _missing(self) -> MissingOptions:
        options = MissingOptions.parse(self.config["missing"])
        options.check_names(
            [INTERACTIONS, *(d.name for s in SIDES for d in parse_declarations(self.config["modalities"], s))]
        )
        return options

    def _vector_storage(self) -> str:
        return self.config["vector_storage"] or STORAGES[0]

    def n_interactions(self, side: str) -> torch.Tensor:
        """(N,) of each entity in the whole data set, all splits together; what models learn never depends on it."""
        return torch.from_numpy(self._n_interactions[self.uid_field if side == "user" else self.iid_field])


class StoredSplit(ScenarioDataset):
    """The training split as a checkpoint holds it: what RecBole's models are made from, without files.

    Args:
        stored: what ``checkpoint.save`` keeps for serving; it is copied.
    """

    def __init__(self, config: Config, stored: dict[str, Any]):
        self.config, self.dataset_name, self.logger = config, config["dataset"], getLogger()
        self._stored = stored
        self._get_preset()
        self._get_field_from_config()
        rows = {name: values.clone() for name, values in stored["rows"].items()}
        self.inter_feat, self.user_feat, self.item_feat = Interaction(rows), None, None
        self.feat_name_list = ["inter_feat"]
        for name in rows:
            self.set_field_property(name, FeatureType.FLOAT, FeatureSource.INTERACTION, 1)
            self.field2bucketnum[name] = 2
        for side, field in zip(SIDES, (self.uid_field, self.iid_field)):
            self.set_field_property(field, FeatureType.TOKEN, FeatureSource.INTERACTION, 1)
            self.field2id_token[field] = np.array(stored["tokens"][side])
            self.field2token_id[field] = {token: number for number, token in enumerate(stored["tokens"][side])}

    def interaction_rows(self) -> SparseRows:
        indptr, columns = (self._stored["interactions"][name].clone() for name in ("indptr", "columns"))
        return SparseRows(indptr, columns, self.item_num)

    def modalities(self, side: str, names: list[str] | None = None) -> Modalities:
        """Those that the model of the checkpoint reads."""
        known = Modalities(side, tuple(map(Modality.from_plain, self._stored["modalities"][side])))
        return known if names is None else known.select(names)
