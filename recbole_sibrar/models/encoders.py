"""Encoders: the shared one that makes SiBraR, the one for each modality that makes MuBraR.

Both take the rows of all modalities (R, d_c), those of one modality after those of another, and how many each has; they
return (R, d). ``together`` is for rows that are sums over modalities, (N, d_c) -> (N, d).
"""

import torch
from torch import Tensor, nn

from recbole_sibrar.layers import mlp


class SharedEncoder(nn.Module):
    """One network g for all modalities; batch normalisation sees the rows of all of them together."""

    def __init__(self, n_modalities: int, has_joint: bool, sizes: list[int], activation: str, **settings: bool):
        super().__init__()
        self.network = mlp(sizes, activation, **settings)

    def forward(self, rows: Tensor, lengths: list[int]) -> Tensor:
        return self.network(rows)

    def together(self, rows: Tensor) -> Tensor:
        return self.network(rows)


class EncoderPerModality(nn.Module):
    """A network f_k of the same shape for each modality k, and one for their sum where there is one."""

    def __init__(self, n_modalities: int, has_joint: bool, sizes: list[int], activation: str, **settings: bool):
        super().__init__()
        self.networks = nn.ModuleList(mlp(sizes, activation, **settings) for _ in range(n_modalities + has_joint))

    def forward(self, rows: Tensor, lengths: list[int]) -> Tensor:
        return torch.cat([network(block) for network, block in zip(self.networks, rows.split(lengths))])

    def together(self, rows: Tensor) -> Tensor:
        return self.networks[-1](rows)


class NoEncoder(nn.Module):
    """The projection is the embedding already: the side that is not single-branch."""

    def forward(self, rows: Tensor, lengths: list[int]) -> Tensor:
        return rows


Encoder = SharedEncoder | EncoderPerModality | NoEncoder
