"""Fusion: from the embeddings of an entity's modalities to the embedding of the entity.

Every fusion is a weighted sum over the modalities in use, so that an entity's embedding can be taken apart again
(``parts``), whatever the order of the modalities and whichever of them are missing. An entity without any modality gets
the zero vector here; what stands in for it when scoring is said in ``models.recommender``.
"""

from typing import Any

import torch
from torch import Tensor, nn

from recbole_sibrar.checked import Registry
from recbole_sibrar.errors import OptionError


class Fusion(nn.Module):
    """Base class: a subclass says how much each modality weighs.

    Args:
        n_modalities: M, how many modalities there are.
        width: D.
    """

    def __init__(self, n_modalities: int, width: int):
        super().__init__()

    def weights(self, embeddings: Tensor, used: Tensor, index: Tensor) -> Tensor:
        """(N, K, D), (..., N, K) bool, (N, K) int64 -> (..., N, K, 1) or (..., N, K, D), zero where not used."""
        raise NotImplementedError

    def parts(self, embeddings: Tensor, used: Tensor, index: Tensor | None = None) -> Tensor:
        """What each modality contributes to the fused embedding.

        Args:
            embeddings: (N, K, D), of K modalities of N entities.
            used: (..., N, K) bool, one or several choices.
            index: (N, K) which of the M modalities each is; by default K is M and they are in their own order.

        Returns:
            (..., N, K, D), whose sum over K is the fused embedding.
        """
        return embeddings * self._weights(embeddings, used, index)

    def forward(self, embeddings: Tensor, used: Tensor, index: Tensor | None = None) -> Tensor:
        """As ``parts``; returns (..., N, D)."""
        weights = self._weights(embeddings, used, index)
        if weights.shape[-1] == 1:
            return sum_over_modalities(weights.squeeze(-1), embeddings)
        return (embeddings * weights).sum(-2)

    def _weights(self, embeddings: Tensor, used: Tensor, index: Tensor | None) -> Tensor:
        n, k, width = embeddings.shape
        if index is None:
            index = torch.arange(k, device=embeddings.device).expand(n, k)
        weights = self.weights(embeddings, used, index)
        if weights.shape not in ((*used.shape, 1), (*used.shape, width)):
            raise OptionError(
                f"weights of {type(self).__name__} gives {tuple(weights.shape)} for modalities {tuple(used.shape)}; "
                f"expected {(*used.shape, 1)} or {(*used.shape, width)}."
            )
        return weights


def sum_over_modalities(weights: Tensor, rows: Tensor) -> Tensor:
    """(..., N, K), (N, K, D) -> (..., N, D), a small matrix product for each entity: no weighted copy of the rows."""
    return torch.einsum("...nk,nkd->...nd", weights, rows)


class MeanFusion(Fusion):
    r"""The mean over the modalities used, :math:`e_j = \frac{1}{N} \sum_m g(x_j^m)` (RecSys 2024, equation 2)."""

    def weights(self, embeddings: Tensor, used: Tensor, index: Tensor) -> Tensor:
        return (used / used.sum(-1, keepdim=True).clamp(min=1)).unsqueeze(-1)


class AttentionFusion(Fusion):
    r"""A softmax over the modalities used.

    .. math:: e_j = \sum_m a_{jm} e_{jm}, \quad a_j = \mathrm{softmax}_m(q^\top e_{jm} / \sqrt{D} + b_m)

    with a learned query q and a learned bias b for each modality, both zero at first: training begins with the mean.
    """

    def __init__(self, n_modalities: int, width: int):
        super().__init__(n_modalities, width)
        self.query = nn.Parameter(torch.zeros(width))
        self.bias = nn.Parameter(torch.zeros(n_modalities))

    def weights(self, embeddings: Tensor, used: Tensor, index: Tensor) -> Tensor:
        scores = embeddings @ self.query / len(self.query) ** 0.5 + self.bias[index]
        return (scores.masked_fill(~used, -1e9).softmax(-1) * used).unsqueeze(-1)


class GatedFusion(Fusion):
    r"""A gate for each dimension of each modality, normalised over the modalities used.

    .. math:: e_j = \sum_m \frac{g_{jm}}{\sum_{m'} g_{jm'}} \odot e_{jm}, \quad g_{jm} = \sigma(W e_{jm} + b_m)

    (cf. the gated multimodal unit, Arevalo et al., 2017, whose gates see all modalities at once and thus need all of
    them). W and b are zero at first: training begins with the mean.
    """

    def __init__(self, n_modalities: int, width: int):
        super().__init__(n_modalities, width)
        self.matrix = nn.Parameter(torch.zeros(width, width))
        self.bias = nn.Parameter(torch.zeros(n_modalities, width))

    def weights(self, embeddings: Tensor, used: Tensor, index: Tensor) -> Tensor:
        gates = torch.sigmoid(embeddings @ self.matrix.T + self.bias[index]) * used.unsqueeze(-1)
        return gates / gates.sum(-2, keepdim=True).clamp(min=1e-9)


def _wrong(name: str, fusion: Any) -> str:
    return "" if isinstance(fusion, type) and issubclass(fusion, Fusion) else "a subclass of Fusion"


FUSIONS: Registry[type[Fusion]] = Registry(
    "FUSIONS", _wrong, {"mean": MeanFusion, "gated": GatedFusion, "attention": AttentionFusion}
)
