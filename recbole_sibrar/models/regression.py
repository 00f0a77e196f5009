"""What the regressions from content to interactions share: an epoch is a penalty, and histories are sums of vectors."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from recbole_sibrar.data.modalities import Modalities
from recbole_sibrar.data.sparse import SparseRows, weighted_row_sum
from recbole_sibrar.models.checked import option
from recbole_sibrar.models.content import ContentModel, ContentOptions
from recbole_sibrar.models.core import Capabilities


@dataclass(frozen=True)
class RegressionOptions(ContentOptions):
    """The penalty of epoch k is ``ridge_max * ridge_step ** k``."""

    ridge_max: float = option("penalty lambda of the first epoch", low=1e-9, default=1000.0)
    ridge_step: float = option("factor from the penalty of one epoch to the next", low=0.01, high=0.99, default=0.6)

    @property
    def batches(self):
        return "all_users"


class ContentRegression(ContentModel):
    r"""Ridge regression from an entity's content to its column of the interaction matrix, as inner products.

    With v_j a vector made of the content of j and y_k the training interactions of an entity k of the other side,

    .. math:: \hat y_{kj} = \bar y_k + v_j^\top w_k, \qquad w_k = \sum_{l \in \mathcal{I}_k} v_l

    so that a history that the training data do not have is served as well. The last column of the embeddings is the
    mean, \bar y_k and 1. An epoch is a lambda, from the largest to the smallest: the trainer's choice of the best epoch
    on validation data is the choice of lambda.
    """

    capabilities = Capabilities(cold_items=True, cold_users=True, missing_modalities=True, new_entities=True)
    closed_form = True

    def __init__(self, options: RegressionOptions, modalities: dict, interactions: SparseRows, seed: int):
        super().__init__(options, modalities, interactions, seed)
        self.register_buffer("indptr", interactions.indptr, persistent=False)
        self.register_buffer("columns", interactions.columns, persistent=False)
        self.n_trained = int(self.trained(self.content_side).sum())
        self.solved_for = nn.Parameter(torch.zeros(()))

    def matrix(self) -> SparseRows:
        """Other side x content side, the training interactions."""
        users = SparseRows(self.indptr, self.columns, len(self.trained("item")))
        return users if self.other_side == "user" else users.transposed()

    @torch.no_grad()
    def loss(self, batch) -> tuple:
        """Solve for this epoch's lambda; the value is the share of the training interactions' variance left
        unexplained, 0 if there is none."""
        penalty = self.options.ridge_max * self.options.ridge_step ** int(self.step)
        self.step += 1
        self.solved_for.fill_(penalty)
        return (torch.as_tensor(self.solve(penalty)).requires_grad_(),)

    def solve(self, penalty: float) -> Tensor:
        """Make the vectors for a lambda; () the share of the variance that is left unexplained."""
        raise NotImplementedError

    def vectors(self, ids: Tensor, used: Tensor) -> Tensor:
        """(N,) entities of the content side, (N, M) bool which modalities to read -> (N, R), v."""
        raise NotImplementedError

    def vectors_of(self, features: Modalities, used: Tensor) -> Tensor:
        """As ``vectors``, of entities that are not among those of the training data."""
        raise NotImplementedError

    def trained_vectors(self) -> Tensor:
        """(N, R) of the content side's entities, from all of their content, zero where they are not in training."""
        raise NotImplementedError

    def mean_weight(self) -> float:
        """What the mean counts beside the inner product."""
        return 1.0

    def own_embeddings(self, side, ids):
        if side == self.content_side:
            return self._with_mean(self.vectors(ids, self.evaluated[ids]))
        return self._histories(self.matrix().select(ids))

    @torch.no_grad()
    def embed(self, features):
        used = features.available & self.sides[features.side].in_evaluation
        if features.side == self.content_side:
            return self._with_mean(self.vectors_of(features, used))
        result = self._histories(features.entries[0].values)
        empty = ~used.any(1)
        if empty.any():
            result[empty] = self._average(self.other_side)
        return result

    @torch.no_grad()
    def with_modalities(self, side, entity, used):
        if side == self.other_side:
            whole = self.embed(entity) if isinstance(entity, Modalities) else self.own_embeddings(side, _ids(entity))
            return whole * used
        if isinstance(entity, Modalities):
            rows = torch.zeros(len(used), dtype=torch.long)
            return self._with_mean(self.vectors_of(entity.rows(rows), used))
        return self._with_mean(self.vectors(_ids(entity).expand(len(used)), used))

    def _with_mean(self, rows):
        return torch.cat([rows, rows.new_ones(len(rows), 1)], dim=1)

    def _histories(self, profiles: SparseRows):
        table = self._once("trained vectors", self.trained_vectors)
        mean = profiles.lengths.unsqueeze(1) * (self.mean_weight() / self.n_trained)
        return torch.cat([weighted_row_sum(profiles, table), mean.to(table)], dim=1)

    def scorable(self, side):
        """Without content an entity has the features of the average training entity, and with them its scores."""
        trained = self.trained(side)
        return torch.ones_like(trained) if side == self.content_side else trained


def _ids(entity: int) -> Tensor:
    return torch.tensor([entity])
