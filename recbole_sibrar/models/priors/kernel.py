"""The Gaussian kernel and the ridge regression with it."""

import torch
from torch import Tensor

GAMMA = 0.5
PENALTY = 0.1


def mean_square(features: Tensor) -> Tensor:
    """() the mean squared length of (R, F) features, 1 if there are none."""
    return features.square().sum(1).mean().clamp(min=1e-6) if len(features) else features.new_ones(())


def gaussian(features: Tensor, anchors: Tensor, square: Tensor, gamma: float = GAMMA) -> Tensor:
    r"""(R, F), (A, F) -> (R, A), :math:`m \, e^{-\gamma \lVert x - y \rVert^2 / m}` with m the ``mean_square``."""
    return square * torch.exp(-gamma / square * torch.cdist(features, anchors).square())


class KernelRegression:
    r"""Kernel ridge regression with an intercept, penalised by ``PENALTY`` times the mean squared length.

    Args:
        anchors: (A, F), what is regressed from.
    """

    def __init__(self, anchors: Tensor):
        self.anchors, self.square = anchors, mean_square(anchors)
        kernel = gaussian(anchors, anchors, self.square).double()
        self.mean = kernel.mean(0)
        centred = kernel - self.mean
        centred -= centred.mean(1, keepdim=True)
        centred.diagonal().add_(PENALTY * self.square)
        self.factors = torch.linalg.lu_factor(centred)

    def fit(self, targets: Tensor) -> "KernelRegression":
        """Regress to (A, P)."""
        average = targets.double().mean(0)
        coefficients = torch.linalg.lu_solve(*self.factors, targets - average)
        coefficients -= coefficients.mean(0)
        self.coefficients = coefficients.to(targets)
        self.intercept = (average - self.mean @ coefficients).to(targets)
        return self

    def __call__(self, features: Tensor) -> Tensor:
        """(R, F) -> (R, P)."""
        return gaussian(features, self.anchors, self.square) @ self.coefficients + self.intercept
