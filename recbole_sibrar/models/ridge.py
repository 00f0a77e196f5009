"""ContentRidge: linear regression from content."""

from dataclasses import dataclass

import torch
from torch import nn

from recbole_sibrar.data.sparse import SparseRows, weighted_row_sum
from recbole_sibrar.models.checked import option
from recbole_sibrar.models.decomposition import iterated_principal, principal
from recbole_sibrar.models.features import WEIGHTS, LinearFeatures
from recbole_sibrar.models.regression import ContentRegression, RegressionOptions


@dataclass(frozen=True)
class ContentRidgeOptions(RegressionOptions):
    """What a ContentRidge is made of."""

    vector_weight: float = option("weight of a vector modality", low=0, default=WEIGHTS["vector"])
    category_weight: float = option("weight of a category modality", low=0, default=WEIGHTS["category"])
    number_weight: float = option("weight of a number modality", low=0, default=WEIGHTS["number"])
    tags_weight: float = option("weight of a tags modality", low=0, default=WEIGHTS["tags"])
    pairs_weight: float = option(
        "weight of the pairs of tags of a tags modality; 0: none", low=0, default=WEIGHTS["pairs"]
    )


class ContentRidge(ContentRegression):
    r"""Ridge regression with the features X of ``features`` (N x F, centred): modalities side by side.

    .. math:: X = U \operatorname{diag}(s) V^\top, \qquad v_j = (s^2 + \lambda)^{-1/2} V^\top x_j

    The decomposition is made once and serves every lambda. It is exact up to ``FACTORS`` entities or features; beyond,
    it is cut to so many of the largest singular values (citeulike-t, 5,071 items: NDCG@10 within 0.002 of it).
    """

    options_class = ContentRidgeOptions
    FACTORS = 2048
    ITERATIONS = 2
    NUMBERS = 1 << 28  # of the table of all entities' factors, 1 GiB
    ROWS = 4096

    def __init__(self, options: ContentRidgeOptions, modalities: dict, interactions: SparseRows, seed: int):
        super().__init__(options, modalities, interactions, seed)
        trained = self.trained(self.content_side)
        weights = {name: getattr(options, f"{name}_weight") for name in WEIGHTS}
        self.features = LinearFeatures(self.modalities[self.content_side], trained, weights)
        limit = min(self.FACTORS, max(1, self.NUMBERS // len(trained)))
        rank = min(self.n_trained, self.features.width, limit)
        self.directions = nn.Parameter(torch.zeros(self.features.width, rank))
        self.register_buffer("squares", torch.zeros(rank))
        self._explained = None

    def solve(self, penalty):
        if self._explained is None:
            self._decompose()
        matrix = self.matrix()
        total = (matrix.lengths - matrix.lengths.float().square() / self.n_trained).sum()
        left = penalty / (self.squares + penalty)
        explained = (self._explained * (1 - left.square())).sum()
        return torch.where(total > 0, (total - explained) / total, 0.0)

    def _decompose(self):
        """V and s^2 into their places, and what each direction explains at most of the interactions' variance."""
        trained = self.trained(self.content_side).nonzero().squeeze(1)
        rows = torch.cat([self.features(ids, self.available[ids]) for ids in trained.split(self.ROWS)])
        n, width, rank = *rows.shape, len(self.squares)
        if rank == min(n, width):
            values, vectors = principal(rows @ rows.T if n < width else rows.T @ rows, rank)
            vectors = rows.T @ (vectors * values.rsqrt()) if n < width else vectors
        else:
            generator = torch.Generator().manual_seed(self.seed)
            values, vectors = iterated_principal(
                lambda table: rows.T @ (rows @ table), width, rank, self.ITERATIONS, generator, like=rows
            )
        self.squares.zero_()[: len(values)] = values
        self.directions.zero_()[:, : len(values)] = vectors
        table = rows.new_zeros(len(self.trained(self.content_side)), rank)
        table[trained] = rows @ self.directions
        explained = table.new_zeros(rank)
        matrix = self.matrix()
        for ids in torch.arange(len(matrix.lengths), device=table.device).split(self.ROWS):
            explained += weighted_row_sum(matrix.select(ids), table).square().sum(0)
        self._explained = torch.where(self.squares > 0, explained / self.squares, 0.0)

    def vectors(self, ids, used):
        if torch.equal(used, self.evaluated[ids]):
            return self._evaluated_rows()[ids] * self._scale()
        return self.features(ids, used) @ self.directions * self._scale()

    def vectors_of(self, features, used):
        return self.features.embed(features, used) @ self.directions * self._scale()

    def trained_vectors(self):
        side = self.sides[self.content_side]
        if torch.equal(side.available, side.used):
            rows = self._evaluated_rows()
        else:
            rows = self._until_changed("available", lambda: self._projected(side.available), self.directions)
        return rows * self._scale() * side.trained.unsqueeze(1)

    def _evaluated_rows(self):
        side = self.sides[self.content_side]
        watched = self.directions, side.evaluated, side.in_evaluation
        return self._until_changed("evaluated", lambda: self._projected(side.used), *watched)

    @torch.no_grad()
    def _projected(self, used):
        """(N, R) of all entities, which every lambda scales in its way."""
        ids = torch.arange(len(used), device=used.device)
        return torch.cat([self.features(part, used[part]) @ self.directions for part in ids.split(self.ROWS)])

    def _scale(self):
        return torch.where(self.squares > 0, (self.squares + self.solved_for).rsqrt(), 0.0).detach()
