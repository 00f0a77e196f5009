"""What stands in for content that an entity lacks, where a model is to read complete input.

Without it missing is a mask, and nothing stands in. What is imputed comes from the training entities and the training
interactions alone.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import torch
from scipy import sparse
from sklearn.neighbors import NearestNeighbors
from torch import Tensor

from recbole_sibrar.checked import CheckedOptions, option
from recbole_sibrar.data.modalities import Features, Modalities
from recbole_sibrar.data.sparse import SparseRows
from recbole_sibrar.data.vectors import DiskVectors
from recbole_sibrar.errors import OptionError
from recbole_sibrar.kinds import KINDS, WEIGHTS
from recbole_sibrar.kinds.feature_rows import FeatureRows
from recbole_sibrar.models.features import LinearFeatures

IMPUTERS = ("none", "zero", "mean", "knn", "graph")
NEAREST = 10
"""How many neighbours ``knn`` averages."""

LINKED = 20
"""So many of the entities that share most of an entity's interactions are its neighbours in the graph."""

STEPS = 40
CLOSE = 1e-6
"""At most so many steps of the propagation, until no value changes by more than this share of the largest."""

ROWS = 128
"""Entities imputed at a time."""


@dataclass(frozen=True)
class ImputeOptions(CheckedOptions):
    """The option of the models that read content."""

    impute: str = option(
        "what stands in for missing content: nothing, zeros, the mean, the mean of the nearest in the other "
        "modalities, or what spreads over the graph of entities with common interactions",
        IMPUTERS,
        default="none",
    )


class Imputer:
    r"""Stand-ins for the modalities of one side.

    What is averaged are the columns of a kind (``Kind.columns``), and what is imputed is the value that has such
    columns (``Kind.from_columns``): of tags the most frequent ones, as many as there are in the mean.

    * ``zero``: no tags, no category, a vector of zeros; of a number the mean, which is the zero of what networks read.
    * ``mean``: of the training entities that have it.
    * ``knn``: of the ``NEAREST`` of them by Euclidean distance in the modalities that the entity has (the blocks of
      linear models, each of weight one), among those that have all of these, itself left out; the mean where there are
      none.
    * ``graph``: feature propagation (Rossi et al., LoG 2022; for recommendation Malitesta et al., CIKM 2024). An
      entity's neighbours are the ``LINKED`` entities with which it has most training interactions in common, and those
      of which it is one. With A the common interactions, D their sums, and x_j known values of training entities, which
      stay as they are, at most ``STEPS`` times :math:`x_i \leftarrow \sum_j (D^{-1} A)_{ij} x_j`, from the mean on.
      Rows sum to one here, so that what is imputed is an average; the authors take :math:`D^{-1/2} A D^{-1/2}`. An
      entity without training interactions has no neighbours, and the mean. What is known in training and hidden in
      evaluation is the average of the known neighbours alone, since the others may have theirs from it.

    Args:
        how: one of ``IMPUTERS`` but ``none``.
        modalities: M modalities of the N entities, as they are.
        trained: (N,) bool, the entities that occur in training.
        interactions: N x other side, the training interactions.

    Raises:
        OptionError: vectors are on disk.
    """

    def __init__(self, how: str, modalities: Modalities, trained: Tensor, interactions: SparseRows):
        self.how, self.modalities, self.interactions = how, modalities, interactions
        for entry in modalities.entries:
            if isinstance(entry.values, DiskVectors):
                raise OptionError(
                    f"impute is {how!r}, which needs {entry.name} in memory; use --vector_storage=memory."
                )
        declared = torch.tensor([KINDS[entry.kind].is_declared for entry in modalities.entries])
        self.donors = modalities.available & trained.unsqueeze(1) & declared
        self.can_fill = self.donors.any(0)
        self._means: dict[int, Tensor] = {}
        self._indices: dict[tuple[int, tuple[bool, ...]], tuple[Tensor, NearestNeighbors] | None] = {}
        self._links: sparse.csr_array | None = None
        self._last: tuple[Tensor, Modalities] | None = None
        if how == "knn":
            weights = {**dict.fromkeys(WEIGHTS, 1.0), "pairs": 0.0}
            self.content = [m for m, is_content in enumerate(declared.tolist()) if is_content]
            self.features = LinearFeatures(
                replace(modalities, entries=tuple(modalities.entries[m] for m in self.content)), trained, weights
            )

    def filled(self, has: Tensor) -> Tensor:
        """(N, M) bool, what the entities have -> the same with all that can be imputed; padding has nothing."""
        real = torch.arange(len(has), device=has.device) > 0
        return has | (real.unsqueeze(1) & self.can_fill.to(has.device))

    def complete(self, has: Tensor) -> Modalities:
        """The entities, where they are left with ``has`` (N, M) of what they have; the last answer is kept."""
        if self._last is None or not torch.equal(self._last[0], has):
            known = replace(self.modalities, numbers=torch.arange(len(has)))
            self._last = has, self._complete(known, has, self.filled(has))
        return self._last[1]

    def complete_new(self, features: Modalities, has: Tensor) -> Modalities:
        """R entities that the training data do not have, or have with other features, of which ``has`` (R, M) may be
        read."""
        return self._complete(features, has, has | self.can_fill)

    def _complete(self, features: Modalities, has: Tensor, filled: Tensor) -> Modalities:
        entries = []
        for m, entry in enumerate(features.entries):
            lacking = (filled[:, m] & ~has[:, m]).nonzero().squeeze(1)
            values = self._with_stand_ins(m, features, has, lacking) if len(lacking) else entry.values
            entries.append(replace(entry, available=filled[:, m], available_in_evaluation=None, values=values))
        return replace(features, entries=tuple(entries), numbers=None)

    def _with_stand_ins(self, m: int, features: Modalities, has: Tensor, lacking: Tensor) -> Features:
        """The values of a modality, with what is imputed at the entities ``lacking`` (K,)."""
        known, values = self.modalities.entries[m], features.entries[m].values
        kind = KINDS[known.kind]
        if self.how in ("zero", "mean"):
            columns = self._mean(m) * (self.how == "mean" or kind.zero_is_mean)
            made, same = kind.from_columns(columns.unsqueeze(0), known), torch.zeros_like(lacking)
            return _with_rows(values, lacking, made.select(same) if isinstance(made, SparseRows) else made[same])
        made = [kind.from_columns(columns, known) for columns in self._averages(m, features, has, lacking)]
        return _with_rows(values, lacking, _stacked(made))

    def _averages(self, m: int, features: Modalities, has: Tensor, lacking: Tensor) -> Iterator[Tensor]:
        """Yield (B, F), the columns of some of the entities ``lacking`` after the other."""
        n = len(self.donors)
        numbers = torch.full_like(lacking, n) if features.numbers is None else features.numbers[lacking]
        if self.how == "graph":
            columns, is_known = self._mean(m).repeat(len(lacking), 1), numbers < n
            if is_known.any():
                columns[is_known] = self._spread(m, numbers[is_known]).to(columns)
            yield from columns.split(ROWS)
            return
        for ids, own in zip(lacking.split(ROWS), numbers.split(ROWS)):
            columns = self._mean(m).repeat(len(ids), 1)
            self._put_nearest(columns, m, features, has[ids], ids, own)
            yield columns

    def _columns(self, m: int, ids: Tensor) -> Tensor:
        """(R,) training entities that have the modality -> (R, F)."""
        entry = self.modalities.entries[m]
        return KINDS[entry.kind].columns(entry.features(ids), entry)

    def _mean(self, m: int) -> Tensor:
        """(F,) of the training entities that have the modality."""
        if m not in self._means:
            donors = self.donors[:, m].nonzero().squeeze(1)
            self._means[m] = sum(self._columns(m, ids).double().sum(0) for ids in donors.split(ROWS)) / len(donors)
        return self._means[m]

    # the nearest

    def _put_nearest(
        self, columns: Tensor, m: int, features: Modalities, has: Tensor, ids: Tensor, numbers: Tensor
    ) -> None:
        """Put the means of the nearest into ``columns`` (R, F) of the entities ``ids``, which are left with ``has``;
        ``numbers``: of them in the training data."""
        others = has[:, self.content].clone()
        others[:, self.content.index(m)] = False
        for pattern in others.unique(dim=0):
            rows = (others == pattern).all(1).nonzero().squeeze(1)
            index = self._index(m, tuple(pattern.tolist())) if pattern.any() else None
            if index is None:
                continue
            donors, search = index
            content = replace(features, entries=tuple(features.entries[n] for n in self.content)).rows(ids[rows])
            shown = self.features.embed(content, pattern.expand(len(rows), -1))
            places = search.kneighbors(self._shown(shown, pattern.tolist()), min(NEAREST + 1, len(donors)), False)
            nearest = donors[torch.from_numpy(places)]
            counted = nearest != numbers[rows].unsqueeze(1)
            counted &= counted.cumsum(1) <= NEAREST
            table = self._columns(m, nearest.flatten()).double().view(*nearest.shape, -1)
            total, n = (table * counted.unsqueeze(-1)).sum(1), counted.sum(1, keepdim=True)
            columns[rows] = torch.where(n > 0, total / n.clamp(min=1), columns[rows])

    def _index(self, m: int, pattern: tuple[bool, ...]) -> tuple[Tensor, NearestNeighbors] | None:
        """The entities that have a modality and all of the pattern, and what finds the nearest; None without any."""
        if (m, pattern) not in self._indices:
            chosen = torch.tensor(pattern)
            donors = (self.donors[:, m] & self.donors[:, self.content][:, chosen].all(1)).nonzero().squeeze(1)
            if len(donors):
                shown = self._shown(self.features(donors, chosen.expand(len(donors), -1)), pattern)
                self._indices[m, pattern] = donors, NearestNeighbors(algorithm="brute").fit(shown)
            else:
                self._indices[m, pattern] = None
        return self._indices[m, pattern]

    def _shown(self, rows: FeatureRows, pattern: Sequence[bool]) -> np.ndarray:
        return self.features.part(rows, pattern).dense().numpy()

    # the graph

    def _spread(self, m: int, lacking: Tensor) -> Tensor:
        """(K, F): what reaches the entities ``lacking`` (K,) from the training entities that have the modality."""
        links, own, donors = self._links_of_all(), self.donors[:, m].numpy(), self.donors[:, m].nonzero().squeeze(1)
        known = self._columns(m, donors)
        mean = self._mean(m).to(known)
        table = mean.repeat(len(own), 1).numpy()
        table[own] = known.numpy()
        reached = ~own & (np.diff(links.indptr) > 0)
        inner, from_known = links[reached], links[reached][:, own] @ table[own]
        inner = inner[:, reached]
        for _ in range(STEPS):
            before, table[reached] = table[reached], inner @ table[reached] + from_known
            if np.abs(table[reached] - before).max(initial=0) <= CLOSE * np.abs(table).max():
                break
        weights, is_hidden = links[lacking.numpy()], own[lacking.numpy()]
        weights.data *= own[weights.indices] | ~np.repeat(is_hidden, np.diff(weights.indptr))
        total = weights.sum(1)
        linked, result = total > 0, mean.repeat(len(lacking), 1)
        result[torch.from_numpy(linked)] = torch.from_numpy(weights[linked] @ table / total[linked, None])
        return result

    def _links_of_all(self) -> sparse.csr_array:
        """N x N, of each entity the shares of its neighbours."""
        if self._links is None:
            matrix, n = self.interactions.to_scipy(), len(self.donors)
            rows, columns, weights = [], [], []
            other = matrix.T.tocsr()
            for start in range(0, n, ROWS):
                common = (matrix[start : start + ROWS] @ other).toarray()
                common[np.arange(len(common)), start + np.arange(len(common))] = 0
                order = np.arange(n) - common.astype(np.float64) * n  # of equals the first
                most = np.argpartition(order, min(LINKED, n) - 1, axis=1)[:, :LINKED]
                place, nth = np.nonzero(np.take_along_axis(common, most, 1))
                rows.append(place + start)
                columns.append(most[place, nth])
                weights.append(common[place, columns[-1]])
            parts = np.concatenate(weights), (np.concatenate(rows), np.concatenate(columns))
            links = sparse.csr_array(parts, shape=(n, n))
            links = links.maximum(links.T).tocsr()
            links.data /= np.repeat(links.sum(1), np.diff(links.indptr))
            self._links = links
        return self._links


def imputer_of(
    options: ImputeOptions, modalities: Modalities, trained: Tensor, interactions: SparseRows
) -> Imputer | None:
    """What the options ask for, for a side; ``interactions``: of its entities, those of training."""
    if options.impute == "none":
        return None
    return Imputer(options.impute, modalities, trained, interactions)


def _stacked(parts: Sequence[Features]) -> Features:
    """Values of entities, one after the other."""
    return SparseRows.stacked(parts) if isinstance(parts[0], SparseRows) else torch.cat(parts)


def _with_rows(values: Features, places: Tensor, rows: Features) -> Features:
    """Values of N entities with ``rows`` (K) in the places (K,)."""
    if isinstance(values, SparseRows):
        own = torch.arange(len(values.lengths))
        own[places] = len(own) + torch.arange(len(places))
        return SparseRows.stacked([values, cast(SparseRows, rows)]).select(own)
    return values.clone().index_copy_(0, places, rows.to(values.dtype))
