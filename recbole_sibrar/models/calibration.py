"""How far to trust what an item's modalities say of it, by the items of validation."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from recbole_sibrar.data.modalities import INTERACTIONS

MOST = 8
"""With more content modalities there are too many choices of them, and nothing is calibrated."""

FEWEST = 20
"""Of fewer items it is not known how certain they are."""

FACTORS = "calibration.factors"
"""The last part of the factors' name in a state dict."""


class Calibration(nn.Module):
    r"""A factor for each choice S of content modalities, on embeddings of items that have these and no interactions.

    .. math:: e'_i = \bar e_S + \rho_S (e_i - \bar e_S)

    with the mean :math:`\bar e_S` of the training items' embeddings from S. A network is trained for a few epochs, in
    which its embeddings grow as fast as it learns from a modality and not as far as that is right for an item that it
    has not seen. Of items that have the same modalities no list of the network changes; of others, those of the slowly
    learned are all in its middle (docs/experiments.md). As the temperature of a classifier (Guo et
    al., ICML 2017), the factors are fitted after training, to the held-out data; see ``fit``.

    Attributes:
        factors: (2^C,), by the number whose bits are the C content modalities; one without any and until ``fit``.

    Args:
        names: of the M modalities.
        width: D, of the embeddings.
    """

    factors: Tensor
    bits: Tensor

    def __init__(self, names: tuple[str, ...], width: int):
        super().__init__()
        self.width = width
        is_content = torch.tensor([name != INTERACTIONS for name in names])
        n_content = int(is_content.sum())
        n_content = n_content if n_content <= MOST else 0
        bits = torch.where(is_content, 1 << (is_content.cumsum(0) - 1), 0) if n_content else torch.zeros(len(names))
        self.register_buffer("bits", bits.long(), persistent=False)
        self.register_buffer("is_content", is_content, persistent=False)
        self.register_buffer("factors", torch.ones(1 << n_content))

    def numbers(self, used: Tensor) -> Tensor:
        """(N, M) bool, what is read of items -> (N,) the numbers of their factors."""
        has_interactions = (used & ~self.is_content).any(1)
        return (used * self.bits).sum(1) * ~has_interactions

    def choice(self, number: int) -> Tensor:
        """(M,) bool, the modalities behind the number of a factor."""
        return (self.bits & number) > 0

    @torch.no_grad()
    def fit(
        self, embed: Callable[[Tensor, Tensor], Tensor], available: Tensor, interactions: Tensor, users: Tensor
    ) -> None:
        r"""Regress the interactions of items that the network was not trained with on their scores.

        :math:`\rho_S` is the ratio of two slopes, that of the items' scores from S and that of their scores from all
        they have. It counts as far as it is no chance: James and Stein's factor between it and one, by its standard
        error, in which the slopes' errors are those of the same items.

        Args:
            embed: (R,) places among V items, (R, M) bool -> (R, D) embeddings from these modalities.
            available: (V, M) bool.
            interactions: (V, D), the sums of the embeddings of those who interacted with an item.
            users: (D, D), the inner products of the users' embeddings.
        """
        available = available & self.is_content
        places = available.any(1).nonzero().squeeze(1)
        if len(places) < FEWEST:
            return
        errors = interactions.new_zeros(len(available), dtype=torch.double)
        whole, errors[places] = slope(embed(places, available[places]), interactions[places], users)
        if not whole > 0:
            return
        for number in range(1, len(self.factors)):
            used = self.choice(number)
            places = (available | ~used).all(1).nonzero().squeeze(1)
            if len(places) < FEWEST:
                continue
            own, own_errors = slope(embed(places, used.expand(len(places), -1)), interactions[places], users)
            ratio = own.clamp(min=0) / whole
            error = (-ratio * errors).index_add(0, places, own_errors).norm() / whole
            certain = (1 - (error / (ratio - 1)).square()).clamp(min=0).nan_to_num(0, 0, 0)
            self.factors[number] = 1 + certain * (ratio - 1).nan_to_num(0, 0, 0)

    @torch.no_grad()
    def forward(self, used: Tensor, mean_of: Callable[[int], Tensor]) -> tuple[Tensor, Tensor]:
        r"""What makes :math:`e'` of e.

        Args:
            used: (N, M) bool, the modalities that the embeddings are made from.
            mean_of: the number of a factor to (D,), the mean of the training items.

        Returns:
            (N, 1) the factors, and (N, D) what is to be added, zero where the factor is one.
        """
        numbers = self.numbers(used)
        factors = self.factors[numbers].unsqueeze(1)
        added = factors.new_zeros(len(used), self.width)
        for number in numbers[factors.squeeze(1) != 1].unique().tolist():
            added[numbers == number] = mean_of(number) * (1 - self.factors[number])
        return factors, added


def slope(embeddings: Tensor, interactions: Tensor, users: Tensor) -> tuple[Tensor, Tensor]:
    """By how much the scores of items, around their mean, are to be multiplied to regress the interactions.

    Args:
        embeddings: (N, D), of the items. interactions, users: see ``Calibration.fit``.

    Returns:
        () the slope and (N,) what each item adds to its error, whose norm is the standard error; NaN without items or
        where all are the same.

    >>> one_user = torch.tensor([[1.0]])
    >>> slope(torch.tensor([[-2.0], [2.0]]), torch.tensor([[0.0], [1.0]]), one_user)[0]
    tensor(0.2500, dtype=torch.float64)
    """
    items, interactions, users = embeddings.double(), interactions.double(), users.double()
    items, interactions = items - items.mean(0), interactions - interactions.mean(0)
    products, squares = (items * interactions).sum(1), ((items @ users) * items).sum(1)
    total = squares.sum()
    result = products.sum() / total
    return result, (products - result * squares) / total
