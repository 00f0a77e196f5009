"""What the regressions from content to interactions share: an epoch is a penalty, and histories are sums of vectors."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from recbole_sibrar.checked import option
from recbole_sibrar.data.modalities import Modalities, rows_of
from recbole_sibrar.data.sparse import SparseRows, weighted_row_sum
from recbole_sibrar.models.components import Components, sums_by_rows
from recbole_sibrar.models.content import ContentModel, ContentOptions
from recbole_sibrar.models.core import Capabilities
from recbole_sibrar.models.penalties import PenaltyPath
from recbole_sibrar.models.priors.prior import variation


@dataclass(frozen=True)
class RegressionOptions(ContentOptions):
    """The penalty of epoch k is ``ridge_max * ridge_step ** k``."""

    ridge_max: float = option("penalty lambda of the first epoch", low=1e-9, default=1000.0)
    ridge_step: float = option("factor from the penalty of one epoch to the next", low=0.01, high=0.99, default=0.6)

    @property
    def batches(self) -> str:
        return "all_users"


class ContentRegression(PenaltyPath, ContentModel):
    r"""Ridge regression from an entity's content to its column of the interaction matrix, as inner products.

    With c_j the principal components of the content of j and s^2 their squared lengths (``Components``), and y_k the
    training interactions of an entity k of the other side,

    .. math:: \hat y_{kj} = \bar y_k + v_j^\top w_k, \qquad v_j = (s^2 + \lambda)^{-1/2} c_j, \qquad
              w_k = \sum_{l \in \mathcal{I}_k} v_l

    so that a history that the training data do not have is served as well. The last column of the embeddings is the
    mean, \bar y_k and 1. An epoch is a lambda, from the largest to the smallest: the trainer's choice of the best epoch
    on validation data is the choice of lambda. The decomposition is made once; a lambda scales what is kept of it.
    """

    capabilities = Capabilities(
        cold_items=True,
        cold_users=True,
        missing_modalities=True,
        missing_interactions=True,
        new_content=True,
        new_entities=True,
    )
    FACTORS = 3072
    NUMBERS = 1 << 27  # of the tables of all entities' components, 512 MiB

    def __init__(
        self, options: RegressionOptions, modalities: dict[str, Modalities], interactions: SparseRows, seed: int
    ):
        super().__init__(options, modalities, interactions, seed)
        self._hold(rows_of(self.other_side, interactions))
        n = {side: len(self.trained(side)) for side in self.sides}
        self.n_trained = int(self.trained(self.content_side).sum())
        self.components = self.make_components(max(1, min(self.FACTORS, self.NUMBERS // sum(n.values()))))

    def make_components(self, limit: int) -> Components:
        """At most ``limit`` of them."""
        raise NotImplementedError

    @property
    def n_parameters(self) -> int:
        """What leads from features to components, which is solved for and not trained."""
        return self.components.n_numbers

    def pretrain(self, folder: Path, show_progress: bool) -> None:
        self.components.fit(show_progress, self.matrix)

    @torch.no_grad()
    def loss(self, batch: object) -> tuple[Tensor, ...]:
        """Solve for this epoch's lambda; the value is the share of the training interactions' variance left
        unexplained, 0 if there is none."""
        penalty = self._next_penalty(self.options.ridge_max, self.options.ridge_step)
        self.components.fit(matrix=self.matrix)
        variance = variation(self.matrix, self.n_trained)
        left = penalty / (self.components.squares + penalty)
        explained = (self._explainable() * (1 - left.square())).sum()
        return (torch.where(variance > 0, (variance - explained) / variance, 0.0).requires_grad_(),)

    def _explainable(self) -> Tensor:
        """(P,) what each component explains of the interactions' variance without a penalty."""

        def found() -> Tensor:
            squares, table = self.components.squares, self.components.decomposed_table()
            total = torch.zeros_like(squares)
            for rows in sums_by_rows(self.matrix, table):
                total += rows.square().sum(0)
            return torch.where(squares > 0, total / squares, 0.0)

        return self.until_changed("explainable", found, self.components.squares)

    def _content_components(self, ids: Tensor, used: Tensor) -> Tensor:
        """(N,) entities of the content side, (N, M) bool which modalities to read -> (N, P), c."""
        if torch.equal(used, self.read[ids]):
            return self._table("read")[ids]
        features = self.content_in_evaluation(ids)
        return self.components(ids, used) if features is None else self.components.embed(features, used)

    def _table(self, name: str) -> Tensor:
        """(N, P) components of all entities of the content side, of what they have ``read`` or ``available``."""
        side = self.entities(self.content_side)
        anew = side.features_in_evaluation if side.is_imputed_anew else None
        if torch.equal(side.available, side.read) and anew is None:
            name = "read"
        read = (side.read, anew) if name == "read" else (side.available,)
        watched = self.components.squares, side.evaluated, side.kept
        return self.until_changed(name, lambda: self.components.table(*read), *watched)

    def _history_sums(self, ids: Tensor) -> Tensor:
        """(R, P) of entities of the other side, the sums of their histories' components.

        Of these alone, until as many were asked for as there are: from then on the sums of all are kept. So one request
        is answered at once, and many never cost more than twice what they would have with all sums made before.
        """
        asked = self.until_changed("asked", lambda: torch.zeros((), dtype=torch.long), self.components.squares)
        asked += len(ids)
        if asked < len(self.matrix.lengths):
            return weighted_row_sum(self.matrix.select(ids), self._table("available"))

        def found() -> Tensor:
            return torch.cat(list(sums_by_rows(self.matrix, self._table("available"))))

        return self.until_changed("histories", found, self.components.squares)[ids]

    def _average(self, side: str) -> Tensor:
        """(D,) the mean embedding of the training entities; of the other side's histories without one sum for each."""
        if side == self.content_side:
            return super()._average(side)

        def found() -> Tensor:
            table, n = self._table("available"), self.trained(side).sum()
            times = torch.bincount(self.matrix.columns, minlength=len(table)).to(table)
            return self._scaled((times @ table / n).unsqueeze(0), self._mean(times.sum() / n))[0]

        return self.once(side, found)

    def _scale(self) -> Tensor:
        squares = self.components.squares
        return torch.where(squares > 0, (squares + self.solved_for).rsqrt(), 0.0).detach()

    def own_embeddings(self, side: str, ids: Tensor) -> Tensor:
        if side == self.content_side:
            return self._scaled(self._content_components(ids, self.read[ids]), 1.0)
        return self._scaled(self._history_sums(ids), self._mean(self.matrix.lengths[ids]))

    def content_embeddings(self, features: Modalities, used: Tensor) -> Tensor:
        return self._scaled(self.components.embed(features, used), 1.0)

    def content_of(self, entity: int, used: Tensor) -> Tensor:
        return self._scaled(self._content_components(self._ids(entity).expand(len(used)), used), 1.0)

    def _mean(self, lengths: Tensor) -> Tensor:
        return lengths / self.n_trained

    def _scaled(self, rows: Tensor, mean: Tensor | float) -> Tensor:
        """The embeddings (N, P + 1) of components or sums of them (N, P) and means."""
        result = rows.new_empty(len(rows), rows.shape[1] + 1)
        torch.mul(rows, self._scale(), out=result[:, :-1])
        result[:, -1] = torch.as_tensor(mean, dtype=rows.dtype, device=rows.device)
        return result

    @torch.no_grad()
    def embed(self, features: Modalities) -> Tensor:
        features, used = self.entities(features.side).readable(features)
        if features.side == self.content_side:
            return self.content_embeddings(features, used)
        profiles = features.entries[0].values
        is_trained = self.trained(self.content_side)[profiles.columns].float()
        sums = weighted_row_sum(profiles, self._table("available"), is_trained)
        return self._filled(self.other_side, self._scaled(sums, self._mean(profiles.lengths)), ~used.any(1))

    def scorable(self, side: str) -> Tensor:
        """Without content an entity has the features of the average training entity, and with them its scores; of the
        other side it needs a history that evaluation may read."""
        trained = self.trained(side)
        return torch.ones_like(trained) if side == self.content_side else trained & self.entities(side).read[:, 0]
