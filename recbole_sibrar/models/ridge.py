"""ContentRidge: the closed-form content model."""

from dataclasses import dataclass

import torch
from torch import nn

from recbole_sibrar.data.sparse import SparseRows, weighted_row_sum
from recbole_sibrar.models.checked import option
from recbole_sibrar.models.content import ContentModel, ContentOptions
from recbole_sibrar.models.features import WEIGHTS, LinearFeatures


@dataclass(frozen=True)
class ContentRidgeOptions(ContentOptions):
    """What a ContentRidge is made of; the penalty of epoch k is ``ridge_max * ridge_step ** k``."""

    ridge_max: float = option("penalty lambda of the first epoch", low=1e-9, default=1000.0)
    ridge_step: float = option("factor from the penalty of one epoch to the next", low=0.01, high=0.99, default=0.6)
    vector_weight: float = option("weight of a vector modality", low=0, default=WEIGHTS["vector"])
    category_weight: float = option("weight of a category modality", low=0, default=WEIGHTS["category"])
    number_weight: float = option("weight of a number modality", low=0, default=WEIGHTS["number"])
    tags_weight: float = option("weight of a tags modality", low=0, default=WEIGHTS["tags"])
    pairs_weight: float = option(
        "weight of the pairs of tags of a tags modality; 0: none", low=0, default=WEIGHTS["pairs"]
    )

    @property
    def batches(self):
        return "all_users"


class ContentRidge(ContentModel):
    r"""Ridge regression from an entity's content to its column of the interaction matrix.

    .. math:: \min_W \|Y - \bar y - (X - \bar x) W\|^2 + \lambda \|W\|^2, \qquad
              W = V \operatorname{diag}\Big(\frac{s}{s^2 + \lambda}\Big) U^\top Y, \qquad
              X - \bar x = U \operatorname{diag}(s) V^\top

    X (N x F) holds the features of the training entities of the content side (``features``), Y (N x K) their training
    interactions with the K entities of the other side, \bar y the column means. The singular value decomposition is
    made once and serves every lambda; W is kept as its two factors, V diag(...) (F x R) and Y^T U (K x R), and no users
    x items matrix is ever made.

    An epoch is a lambda, from the largest to the smallest: the trainer's choice of the best epoch on validation data is
    the choice of lambda.
    """

    options_class = ContentRidgeOptions
    every_epoch_counts = closed_form = True

    def __init__(self, options: ContentRidgeOptions, modalities: dict, interactions: SparseRows, seed: int):
        super().__init__(options, modalities, interactions, seed)
        trained = self.trained(self.content_side)
        weights = {name: getattr(options, f"{name}_weight") for name in WEIGHTS}
        self.features = LinearFeatures(self.modalities[self.content_side], trained, weights)
        self.register_buffer("indptr", interactions.indptr, persistent=False)
        self.register_buffer("columns", interactions.columns, persistent=False)
        n_trained, n_other = int(trained.sum()), len(self.trained(self.other_side))
        rank = min(n_trained, self.features.width)
        self.coefficients = nn.Parameter(torch.zeros(self.features.width, rank))
        self.targets = nn.Parameter(torch.zeros(n_other, rank))
        self.means = nn.Parameter(torch.zeros(n_other))
        self._decomposition = None

    @torch.no_grad()
    def loss(self, batch) -> tuple:
        """Solve for this epoch's lambda; the value is the share of the training interactions' variance left
        unexplained, 0 if there is none."""
        penalty = self.options.ridge_max * self.options.ridge_step ** int(self.step)
        self.step += 1
        values, directions = self._decompose()
        self.coefficients.copy_(directions.T * (values / (values.square() + penalty)))
        explained = (self.targets.square().sum(0) * values.square() * (values.square() + 2 * penalty)) / (
            values.square() + penalty
        ).square()
        total = (self._n_trained * self.means * (1 - self.means)).sum()
        unexplained = torch.where(total > 0, (total - explained.sum()) / total, 0.0)
        return (unexplained.requires_grad_(),)

    def _decompose(self):
        """Singular values (R,) and right vectors (R, F); the left ones go into ``targets``."""
        if self._decomposition is None:
            trained = self.trained(self.content_side).nonzero().squeeze(1)
            self._n_trained = len(trained)
            left, values, directions = torch.linalg.svd(
                self.features(trained, self.available[trained]), full_matrices=False
            )
            table = left.new_zeros(len(self.trained(self.content_side)), left.shape[1]).index_copy(0, trained, left)
            matrix = self._other_by_content()
            self.targets.copy_(weighted_row_sum(matrix, table))
            self.means.copy_(matrix.lengths / len(trained))
            self._decomposition = values, directions
        return self._decomposition

    def _other_by_content(self):
        matrix = SparseRows(self.indptr, self.columns, len(self.trained_item))
        return matrix if self.other_side == "user" else matrix.transposed()

    def own_embeddings(self, side, ids):
        if side == self.other_side:
            return torch.cat([self.targets[ids], self.means[ids].unsqueeze(1)], dim=1)
        rows = self.features(ids, self.evaluated[ids]) @ self.coefficients
        return torch.cat([rows, rows.new_ones(len(ids), 1)], dim=1)

    def scorable(self, side):
        """Without content an entity has the features of the average training entity, and with them its scores."""
        trained = self.trained(side)
        return torch.ones_like(trained) if side == self.content_side else trained
