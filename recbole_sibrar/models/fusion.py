"""Fusion: from the embeddings of an entity's modalities to the embedding of the entity."""

from torch import Tensor, nn


class MeanFusion(nn.Module):
    r"""The mean over the modalities used, :math:`e_j = \frac{1}{N} \sum_m g(x_j^m)` (RecSys 2024, equation 2).

    An entity without any modality gets the zero vector here; what stands in for it when scoring is said in
    ``models.recommender``.
    """

    def forward(self, embeddings: Tensor, used: Tensor) -> Tensor:
        """(N, M, D), (N, M) bool -> (N, D)."""
        weights = used / used.sum(1, keepdim=True).clamp(min=1)
        return (embeddings * weights.unsqueeze(-1)).sum(1)
