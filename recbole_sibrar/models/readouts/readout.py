"""What the readouts share: regressions of interactions on the embeddings that networks have learned."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from recbole_sibrar.data.modalities import INTERACTIONS, OTHER_SIDE, Modalities
from recbole_sibrar.data.sparse import SparseRows, weighted_row_sum
from recbole_sibrar.layers import differ
from recbole_sibrar.models.attribution import Part
from recbole_sibrar.models.ensemble import Ensemble
from recbole_sibrar.models.network import sample_of

ROWS = 8192


@dataclass(frozen=True)
class Seen:
    """What a readout sees of N entities.

    Attributes:
        fused: (N, D), the networks' embeddings. used: (N, M) bool, the modalities that they are made of.
        profiles: N rows, the interactions.
    """

    side: str
    fused: Tensor
    used: Tensor
    profiles: SparseRows


class Readout:
    """Columns that join the networks' embeddings of both sides when scores are made; training knows nothing of them.

    They are solved in closed form when they are first read, and anew when the networks have changed. They say nothing
    without interactions, and their scores spread by ``weight`` as far as the networks'.

    Args:
        ensemble: the networks that are read.
        weight: of the option that switches it on.
    """

    def __init__(self, ensemble: Ensemble, weight: float):
        self.ensemble, self.weight = ensemble, weight

    def extend(self, embeddings: Tensor, seen: Seen) -> Tensor:
        """(N, E) embeddings of the entities ``seen`` -> (N, E') with the columns."""
        raise NotImplementedError

    def shorten(self, embeddings: Tensor) -> Tensor:
        """(N, E') -> (N, E), by which entities of a side are alike, whether they have interactions or not."""
        raise NotImplementedError

    def extend_parts(self, parts: list[Part], side: str, entity: int | Modalities, profile: SparseRows) -> list[Part]:
        """As ``extend``, of the parts of one entity's embedding."""
        raise NotImplementedError

    def _views_in_training(self, side: str) -> tuple[Tensor, Tensor]:
        """(T,) the entities of training, and (V, T, M) bool all that they have, and their content if there is any."""
        encoder = self.ensemble.entities(side)
        ids = encoder.trained.nonzero().squeeze(1)
        everything = encoder.available[ids]
        is_content = torch.tensor([name != INTERACTIONS for name in encoder.names], device=ids.device)
        content = everything & is_content
        return ids, torch.stack([everything, content] if content.any() else [everything])

    def _of_all(self, side: str, ids: Tensor, rows: Tensor) -> Tensor:
        """(T, D) of the entities ``ids`` of a side -> (N, D) of all, zero of the others."""
        table = rows.new_zeros(len(self.ensemble.entities(side).trained), rows.shape[1])
        table[ids] = rows
        return table

    def _table(self, side: str, ids: Tensor, rows: Tensor, covariance: Tensor, of_networks: Tensor) -> Tensor:
        """The rows (T, D) in the places ``ids`` of all entities of the other side.

        The scores of a side's training entities spread over embeddings with the covariance (D, D) as those of the
        networks over embeddings with the covariance ``of_networks``.
        """
        ensemble, own = self.ensemble, self.ensemble.entities(side)
        sample = sample_of(own.trained.nonzero().squeeze(1))
        wanted = self.weight * spread(ensemble.fused_in_training(side, sample, own.available[sample]), of_networks)
        table = self._of_all(OTHER_SIDE[side], ids, rows)
        vectors = weighted_row_sum(ensemble.training_rows(side).select(sample), table)
        return table * (wanted / spread(vectors, covariance)).nan_to_num(0, 0, 0)


def ridge_table(views: Tensor, there: Tensor, penalty: float) -> tuple[Tensor, Tensor]:
    r"""Rows whose sum over an entity's interactions is the ridge regression of these on the other side's embeddings.

    With :math:`z_i` the mean of the views of i around the mean of all, and C their covariance,

    .. math:: w_k = \sum_{i \in \mathcal{I}_k} (N C + \lambda \operatorname{tr}(C) I)^{-1} z_i,
              \qquad \lambda = \texttt{penalty}

    Args:
        views: (V, N, D) embeddings of N entities that occur in training.
        there: (V, N) bool, which views there are.
        penalty: on the coefficients, in units of the embeddings' mean squared distance from their mean.

    Returns:
        (N, D) and (D, D) C; zero where all embeddings are the same.

    >>> table, _ = ridge_table(torch.tensor([[[1.0], [-1.0]]]), torch.tensor([[True, True]]), penalty=0.2)
    >>> table.tolist()  # z / (N C + 0.2 C) with C = 1
    [[0.4545454680919647], [-0.4545454680919647]]
    """
    mean, covariance = moments(views, there)
    length = covariance.diagonal().sum()
    if not differ(length.sqrt(), mean):
        return views.new_zeros(views.shape[1:]), covariance.to(views)
    penalised = covariance * there.any(0).sum()
    penalised.diagonal().add_(penalty * length)
    inverse, centre = torch.linalg.inv(penalised).to(views), mean.to(views)
    shares = (there / there.sum(0).clamp(min=1)).unsqueeze(2)
    parts = zip(views.split(ROWS, dim=1), shares.split(ROWS, dim=1))
    return torch.cat([((part - centre) * share).sum(0) @ inverse for part, share in parts]), covariance.to(views)


def moments(views: Tensor, there: Tensor) -> tuple[Tensor, Tensor]:
    """(D,) the mean and (D, D) the covariance of the views, as in ``ridge_table``, in double precision."""
    n_views, width, exact = there.sum().clamp(min=1), views.shape[2], torch.double

    def known_rows() -> Iterator[Tensor]:
        for view, has in zip(views, there):
            for part, has_part in zip(view.split(ROWS), has.split(ROWS)):
                yield part[has_part].to(exact)

    mean = sum((rows.sum(0) for rows in known_rows()), views.new_zeros(width, dtype=exact)) / n_views
    covariance = views.new_zeros(width, width, dtype=exact)
    for rows in known_rows():
        covariance += (rows - mean).T @ (rows - mean) / n_views
    return mean, covariance


def spread(vectors: Tensor, covariance: Tensor) -> Tensor:
    """() how far the scores of vectors (N, D) spread over entities whose embeddings have this covariance (D, D)."""
    return ((vectors @ covariance) * vectors).sum(1).clamp(min=0).mean().sqrt()
