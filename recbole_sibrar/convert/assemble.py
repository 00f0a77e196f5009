"""What every corpus does after reading: filters by features, k-core, report, and the hand-over to the writer."""

import sys
import unicodedata
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from recbole_sibrar.convert.atomic import AtomicDataset, checksum
from recbole_sibrar.convert.filters import StepLog, k_core
from recbole_sibrar.data.lines import parts_of
from recbole_sibrar.errors import DataError, OptionError, nearest
from recbole_sibrar.kinds import KINDS
from recbole_sibrar.kinds.guess import TEXT

ID = {"user": "user_id", "item": "item_id"}
TYPES = {**{name: kind.column_type for name, kind in KINDS.items() if kind.column_type}, TEXT: "token_seq"}
"""{kind of a column: its type in an atomic file}; a text is written, for encoders and people, but is no modality."""

RESERVED = ("interactions", "inter", "user", "item", "yaml")
SPECIAL = ("interactions", "id", "history")
MANY = 20  # columns of a table, of which not each has a line of its own
MAX_COLUMN_BYTES = 100


@dataclass
class Side:
    """What is known of the users or of the items.

    Attributes:
        name: ``user`` or ``item``.
        table: one row per entity, the id first.
        kinds: {column: a kind in ``TYPES``}.
        vectors: {modality: Vectors}.
        having: {name: ids} that ``require`` may ask for beside columns and vectors.
        cold: ids of the table that have no interaction; they are kept.
        described: ids of all that is known beside the interactions, where that is a catalogue and not a corpus: those
            whose interactions a filter takes become cold.
        n_rows: how many of the table's rows, its first ones, were given; the others are of ids without a row.
        dates: columns that were dates, and are numbers.
        fields: {column: its name in the atomic files}, where that is another (``rename_shared``).
    """

    name: str
    table: pd.DataFrame
    kinds: dict = field(default_factory=dict)
    vectors: dict = field(default_factory=dict)
    having: dict = field(default_factory=dict)
    cold: list = field(default_factory=list)
    described: list = field(default_factory=list)
    n_rows: int = 0
    dates: list = field(default_factory=list)
    fields: dict = field(default_factory=dict)

    @property
    def id_field(self) -> str:
        return ID[self.name]

    def known(self) -> dict[str, pd.Series]:
        """{name: ids of the entities that have it}; of a text with vectors those that have both."""
        ids = self.table[self.id_field]
        known = {column: ids[is_present(self.table[column])] for column in self.kinds}
        vectors = {
            name: known[name][known[name].isin(own.ids)] if name in known else own.ids
            for name, own in self.vectors.items()
        }
        return {**known, **self.having, **vectors}

    def restrict(self, ids: Iterable[str]) -> None:
        """Keep only these entities."""
        self.table = self.table[self.table[self.id_field].isin(ids)].reset_index(drop=True)
        for name, vectors in self.vectors.items():
            kept = vectors.select(self.table[self.id_field])
            others = vectors.ids[~pd.Index(vectors.ids).isin(kept.ids)]
            if len(others):
                said = spelled_otherwise(others, self.table[self.id_field])
                print(f"{name}: {len(others):,} vectors belong to no {self.name} that was kept{said}")
            if not len(kept.ids):
                raise DataError(
                    f"{name}: no vector belongs to any of the {len(self.table):,} {self.name}s; the file's ids are "
                    f"like {_example(vectors.ids)}, the {self.name}s' like {_example(ids)}."
                )
            self.vectors[name] = kept


def spelled_otherwise(ids: Iterable[str], others: Iterable[str]) -> str:
    """Words on those of ``ids`` that are one of the others but for case, zeros in front, .0, or forms of a letter.

    >>> spelled_otherwise(["A1", "07", "3.0", "4"], ["a1", "7", "3", "5"])
    "; 3 of them are there in another spelling, such as 'A1' as 'a1'"
    """
    spelled = {_plain(token): token for token in others}
    found = [(token, spelled[plain]) for token in ids if (plain := _plain(token)) in spelled]
    if not found:
        return ""
    token, other = map(str, found[0])  # numpy's texts show their type
    return f"; {len(found):,} of them are there in another spelling, such as {token!r} as {other!r}"


def _plain(token: str) -> str:
    return unicodedata.normalize("NFKC", token).casefold().removesuffix(".0").lstrip("0")


def is_present(column: pd.Series) -> pd.Series:
    """Where a value stands: neither NaN nor the empty text."""
    return column.notna() & (column != "")


def _example(ids: pd.Series) -> str:
    return repr(str(ids[0])) if len(ids) else "none"


def check_column_names(path: str | Path, names: Iterable[str], modalities: Iterable[str] = ()) -> None:
    """
    Args:
        path: of the table.
        names: its columns, which become fields of an atomic file.
        modalities: those of them that become modalities.

    Raises:
        DataError: a name that the atomic file, an option that lists modalities, or serving could not take.
    """
    for name in names:
        problem = _problem(name)
        if name in SPECIAL and name in modalities:
            problem = (
                f"cannot be the name of a modality, as {', '.join(SPECIAL)} have a meaning of their own; "
                f"--item-modalities {name}=text (kinds, --user-modalities) leaves it out, or"
            )
        elif problem:
            problem += ";"
        if problem:
            raise DataError(f"{path}, line 1: the column name {name!r} {problem} rename or remove the column.")


def _problem(name: str) -> str | None:
    if not name.strip():
        return "is empty"
    if name != name.strip() or set(name) & set(":,\t\r\n"):
        return "holds a colon, a comma or a line break, or has blanks around it"
    return f"is longer than {MAX_COLUMN_BYTES} bytes" if len(name.encode()) > MAX_COLUMN_BYTES else None


def check_modality_names(users: Side, items: Side, vectors: dict[str, Iterable[str]]) -> None:
    """
    Args:
        users, items: with the columns' kinds.
        vectors: {option: modality names} that are to become files.

    Raises:
        OptionError: a name is a column (but of text, whose place the vectors take), RecBole's own file, given twice,
            or none for a file.
    """
    texts = {column for side in (users, items) for column, kind in side.kinds.items() if kind == TEXT}
    taken = {*RESERVED, *SPECIAL, *users.table.columns, *items.table.columns} - texts
    for option, names in vectors.items():
        for name in names:
            if _problem(name) or set(name) & set("/\\\0") or name.startswith("."):
                raise OptionError(f"{option}: {name!r} cannot be the name of a file of vectors; use one such as plot.")
            if name in taken:
                raise OptionError(f"{option}: {name!r} is taken; give the vectors another name, such as plot.")
            taken.add(name)


def rename_shared(users: Side, items: Side, interactions: Collection[str]) -> None:
    """Give columns that another table has, too, a field of their own: RecBole knows a column by its name alone.

    Args:
        interactions: the columns of the interactions.

    Raises:
        DataError: a column has the name that another one would be given.
    """
    tables = {"interactions": interactions, "users": users.kinds, "items": items.kinds}
    for side in (users, items):
        for column in side.kinds:
            others = [name for name, columns in tables.items() if name != f"{side.name}s" and column in columns]
            if not others:
                continue
            side.fields[column] = own = f"{side.name}_{column}"
            there = next((name for name, columns in tables.items() if own in columns), None)
            if there:
                raise DataError(
                    f"Column {column!r} of the {side.name}s is one of the {others[0]}, too, and cannot be called "
                    f"{own!r} in the atomic files, which is one of the {there}; rename a column."
                )
    fields = [*users.fields.values(), *items.fields.values()]
    if fields:
        print(f"  columns that several tables have are called {', '.join(fields)} in the atomic files")


def require_features(
    interactions: pd.DataFrame, sides: Iterable[Side], required: Iterable[str], log: StepLog
) -> pd.DataFrame:
    """Drop the interactions of entities that lack one of the features ``required``.

    Raises:
        OptionError: a name that is no feature.
    """
    known = {side.name: side.known() for side in sides}
    for wanted in required:
        owners = [side for side in sides if wanted in known[side.name]]
        if not owners:
            names = [name for features in known.values() for name in features]
            raise OptionError(f"--require {wanted!r} is not known here. {nearest(wanted, names)}")
        for side in owners:
            having = set(known[side.name][wanted])
            lacking = [token for token in side.cold if token not in having]
            if lacking:
                example = f"such as {lacking[0]!r}"
                print(f"{len(lacking):,} {side.name}s without interactions lack {wanted}, {example}: dropped")
                side.cold = [token for token in side.cold if token in having]
            side.described = [token for token in side.described if token in having]
            kept = interactions[side.id_field].isin(having)
            interactions = log.record(f"{side.name}s with {wanted}", interactions[kept])
    return interactions


@dataclass(frozen=True)
class Papers:
    """A corpus as the papers have it; empty for other data.

    Attributes:
        shape: {measure: value}: users, items, interactions, and for features their widths (vectors) or numbers of
            distinct values.
        filters: {option of the conversion: value}, which ``--paper`` stands for.
        reasons: why these filters may leave something else, as far as the raw files show.
    """

    shape: dict = field(default_factory=dict)
    filters: dict = field(default_factory=dict)
    reasons: tuple = ()

    def filtered(self, options: dict[str, Any]) -> bool:
        """Whether a conversion with these options has the papers' filters."""
        return all(agree(options[name], value) for name, value in self.filters.items())

    def advice(self, options: dict[str, Any]) -> str:
        """What to look at where the result is not the papers'."""
        if not self.filtered(options):
            return "the filters are not the papers', which --paper applies"
        return "; ".join(self.reasons) or "check that the downloads are complete"


def agree(given: Any, wanted: Any) -> bool:
    """Whether two values of an option are the same; the order of names does not count."""
    return set(given) == set(wanted) if isinstance(given, (list, tuple)) else given == wanted


@dataclass(frozen=True)
class Job:
    """A conversion from the filtered interactions on.

    Attributes:
        converter: the corpus.
        name: of the data set.
        output: RecBole's data_path.
        options: for ``conversion.json``.
        inputs: the files, or folders of parts, that were read.
        k: of the k-core; 0 and 1 turn it off.
        papers: what the result is compared with.
        tables: how the tables were written, see ``AtomicDataset``.
    """

    converter: str
    name: str
    output: Path
    options: dict
    inputs: list
    k: int = 0
    papers: Papers = Papers()
    tables: dict = field(default_factory=dict)

    def finish(
        self,
        interactions: pd.DataFrame,
        users: Side,
        items: Side,
        required: Iterable[str],
        log: StepLog,
        encode: Callable[[Side, Side], None] | None = None,
    ) -> Path:
        """Known entities, required features, k-core; print counts, coverage and the papers' figures; write.

        Args:
            interactions: one per pair; columns user_id, item_id and others.
            users, items: may hold more entities than are needed.
            required: features that an entity must have.
            log: of the steps so far.
            encode: called with the final users and items, to add vectors to them.

        Raises:
            DataError: nothing is left.
        """
        sides = (users, items)
        for side in sides:
            interactions = interactions[interactions[side.id_field].isin(side.table[side.id_field])]
        interactions = log.record("users and items known", interactions)
        interactions = require_features(interactions, sides, required, log)
        if self.k > 1:
            interactions = log.record(f"{self.k}-core", k_core(interactions, self.k))
        if interactions.empty and log.steps[0]["interactions"]:
            raise DataError("No interaction is left after the filters; lower --k-core or loosen the other filters.")
        for side in sides:
            left = set(interactions[side.id_field])
            side.cold = list(dict.fromkeys([*side.cold, *(t for t in side.described if t not in left)]))
            log.name_dropped(side, interactions)
            side.restrict([*interactions[side.id_field].unique(), *side.cold])
        if encode is not None:
            encode(users, items)
        for side in sides:
            side.kinds = {column: kind for column, kind in side.kinds.items() if column not in side.vectors}
        actual = self._report(interactions, sides)
        return self._dataset(interactions, users, items, log, actual).write(self.output)

    def _report(self, interactions: pd.DataFrame, sides: Sequence[Side]) -> dict[str, int]:
        sizes = {f"{side.name}s": interactions[side.id_field].nunique() for side in sides}
        density = len(interactions) / np.prod([max(1.0, size) for size in sizes.values()])
        print(f"{', '.join(f'{size:,} {name}' for name, size in sizes.items())}, sparsity {1 - density:.5f}")
        for side in sides:
            ids = side.table[side.id_field]
            if side.cold:
                said = spelled_otherwise(side.cold, interactions[side.id_field].unique())
                print(f"{len(side.cold):,} {side.name}s without interactions are kept, such as {side.cold[0]!r}{said}")
            known = {name: ids.isin(having) for name, having in side.known().items()}
            shown = list(known)[: MANY if len(known) <= MANY else 3]
            width = max([12, *map(len, shown)])
            for name in shown:
                n, missing = int(known[name].sum()), ids[~known[name]]
                example = f", not {missing.iloc[0]!r}" if len(missing) else ""
                print(f"  {name:<{width}} {n:,} of {len(ids):,} {side.name}s ({n / max(1, len(ids)):.1%}{example})")
            if others := [int(known[name].sum()) for name in known if name not in shown]:
                print(f"  and {len(others):,} others, {min(others):,} to {max(others):,} of {len(ids):,} {side.name}s")
        actual = {**sizes, "interactions": len(interactions)}
        for side in sides:
            actual.update({name: vectors.width for name, vectors in side.vectors.items()})
            kinds = {column: kind for column, kind in side.kinds.items() if kind != TEXT}
            actual.update({side.fields.get(n, n): n_values(side.table[n], kind) for n, kind in kinds.items()})
        compare(self.papers.shape, actual, self.papers.advice(self.options))
        return actual

    def _dataset(
        self, interactions: pd.DataFrame, users: Side, items: Side, log: StepLog, actual: dict[str, int]
    ) -> AtomicDataset:
        numeric = pd.api.types.is_numeric_dtype
        types = {column: "float" if numeric(interactions[column]) else "token" for column in interactions}
        modalities, vectors, tables = {}, {}, {}
        for side in (users, items):
            types.update({side.fields.get(column, column): TYPES[kind] for column, kind in side.kinds.items()})
            types[side.id_field] = "token"
            tables[side.name] = side.table[[side.id_field, *side.kinds]].rename(columns=side.fields)
            declared = {
                column: {"kind": kind, "field": side.fields[column]} if column in side.fields else kind
                for column, kind in side.kinds.items()
                if kind != TEXT
            }
            modalities[side.name] = {**declared, **dict.fromkeys(side.vectors, "vector")}
            vectors.update({name: (side.id_field, own) for name, own in side.vectors.items()})
        record = {
            "converter": self.converter,
            "options": self.options,
            "steps": log.steps,
            "shape": actual,
            "without_interactions": {f"{side.name}s": len(side.cold) for side in (users, items)},
            "expected": self.papers.shape,
            "inputs": {
                str(part.relative_to(path.parent)): checksum(part)
                for path in map(Path, self.inputs)
                for part in parts_of(path)
            },
        }
        return AtomicDataset(
            self.name, interactions, tables["user"], tables["item"], types, vectors, modalities, record, self.tables
        )


def n_values(column: pd.Series, kind: str) -> int:
    """How many distinct values, or tags, a column has."""
    return KINDS[kind].n_values(column[is_present(column)])


def compare(expected: dict[str, int], actual: dict[str, int], advice: str) -> None:
    """Print the papers' figures beside ours, and warn of those that differ, with advice."""
    if not expected:
        return
    rows = [(name, value, actual.get(name)) for name, value in expected.items()]
    cells = [(n, f"{e:,}", "absent" if a is None else f"{a:,}") for n, e, a in rows]
    print(pd.DataFrame(cells, columns=["", "papers", "here"]).to_string(index=False))
    different = [name for name, value, found in rows if value != found]
    if different:
        print(f"warning: {', '.join(different)} differ from the papers' data set: {advice}.", file=sys.stderr)
