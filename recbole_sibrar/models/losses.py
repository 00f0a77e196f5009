"""Losses as pure functions of tensors."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from recbole_sibrar.data.sparse import SparseRows, weighted_row_sum
from recbole_sibrar.layers import single, unit_rows


def symmetric_info_nce(
    first: Tensor, second: Tensor, temperature: float, valid: Tensor | None = None, cosine: bool = True
) -> Tensor:
    r"""Symmetric InfoNCE between two views of the same entities (TORS 2025, L_SInfoNCE).

    .. math:: L = CE(A B^T / \tau, diag) + CE(B A^T / \tau, diag)

    with A and B the views, L2-normalised (the usual definition) or as they are: the authors' code leaves them
    unnormalised, so that the loss can be lowered by growing the embeddings, at the recommendation loss's expense.

    Args:
        first, second: (..., S, D), two views of S entities; leading dimensions are separate sets.
        temperature: tau.
        valid: (..., S) bool; an entity without two views is no anchor and no negative. By default all have two.
        cosine: whether the views are normalised.

    Returns:
        the mean over all valid anchors; zero if there is none.

    Raises:
        ValueError: the views have different shapes, or the temperature is not above 0.

    >>> round(symmetric_info_nce(torch.eye(2), torch.eye(2), temperature=1.0).item(), 4)  # 2 log(1 + 1/e)
    0.6265
    """
    if first.shape != second.shape:
        raise ValueError(f"first has shape {tuple(first.shape)}, second {tuple(second.shape)}; expected the same.")
    if not temperature > 0:
        raise ValueError(f"temperature is {temperature}, expected a number above 0.")
    if cosine:
        first, second = unit_rows(first), unit_rows(second)
    return symmetric_info_nce_of(first @ second.transpose(-1, -2) / temperature, valid)


def symmetric_info_nce_of(logits: Tensor, valid: Tensor | None = None) -> Tensor:
    """``symmetric_info_nce`` from its logits, (..., S, S) similarities over temperature, and ``valid`` (..., S)."""
    if valid is not None:
        absent = ~(valid.unsqueeze(-1) & valid.unsqueeze(-2))
        logits = single(logits).masked_fill(
            absent & ~torch.eye(logits.shape[-1], dtype=torch.bool, device=logits.device), -1e9
        )
    diagonal = logits.diagonal(dim1=-2, dim2=-1)
    losses = log_sum_exp(logits, -1) + log_sum_exp(logits, -2) - 2 * diagonal
    if valid is None:
        return losses.sum() / max(losses.numel(), 1)
    return (losses * valid).sum() / valid.sum().clamp(min=1)


class _LogSumExp(torch.autograd.Function):
    SMALLEST = -40.0

    @staticmethod
    def forward(ctx: Any, scores: Tensor, dim: int) -> Tensor:
        largest = scores.amax(dim, keepdim=True)
        terms = (scores - largest).clamp_(min=_LogSumExp.SMALLEST).exp_()
        total = terms.sum(dim, keepdim=True)
        ctx.dim = dim
        ctx.save_for_backward(terms, total)
        return (largest + total.log()).squeeze(dim)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        terms, total = ctx.saved_tensors
        return terms * (gradient.unsqueeze(ctx.dim) / total), None


def log_sum_exp(scores: Tensor, dim: int) -> Tensor:
    """``torch.logsumexp``, with no term below e^-40 times the largest, beyond any precision.

    An exponential near or beyond the smallest numbers takes a processor 50 times as long, and so do products of what
    comes of it; what is masked by a large negative number is there, too. The terms are kept, not made anew for the
    gradient.

    >>> log_sum_exp(torch.tensor([0.0, 0.0, -1e9]), 0)
    tensor(0.6931)
    """
    if not scores.shape[dim]:
        return torch.logsumexp(scores, dim)  # a sum of nothing, of which there is no largest term
    return _LogSumExp.apply(scores, dim)


def bpr(positive: Tensor, negative: Tensor) -> Tensor:
    r"""Bayesian personalised ranking (Rendle et al., UAI 2009): mean of :math:`-\log \sigma(s^+ - s^-)`.

    Args:
        positive: (B,) scores of the positives.
        negative: (B, N) scores of each positive's negatives.

    Raises:
        ValueError: the shapes are others.

    >>> round(bpr(torch.tensor([1.0, 2.0]), torch.tensor([[0.0], [2.0]])).item(), 4)  # (log(1 + 1/e) + log(2)) / 2
    0.5032
    """
    if positive.ndim != 1 or negative.ndim != 2 or len(positive) != len(negative):
        raise ValueError(
            f"positive has shape {tuple(positive.shape)}, negative {tuple(negative.shape)}; expected (B,) and (B, N), "
            "the negatives of each positive in its row (one: negative.unsqueeze(1))."
        )
    return F.softplus(negative - positive.unsqueeze(-1)).mean()


def softmax_over_items(
    users: Tensor, items: Tensor, targets: SparseRows, shown: SparseRows | None = None, weights: Tensor | None = None
) -> Tensor:
    r"""Softmax cross-entropy over all training items, or some that stand for them, with several as a user's targets.

    .. math:: L = \frac{1}{\sum_u |N_u|} \sum_u \sum_{i \in N_u} \Big( \log \sum_j w_{uj} e^{s_{uj}} - s_{ui} \Big)

    The multinomial likelihood of Liang et al. (WWW 2018): the mean over interactions, not over users. Measured on
    ml-100k (two seeds, validation NDCG@10) against the mean over users: warm 0.2398 to 0.2349, item cold 0.3829 to
    0.3753.

    w is 1 for a user's targets. With negatives that are drawn it is, for all other items, how often j was drawn over
    how often that was expected, so that the sum estimates that over the catalogue (Bengio and Senecal, 2008).

    Args:
        users: (B, D). items: (I, D).
        targets: B x I, the items to predict of each user.
        shown: B x I, items that the users are known to have: neither targets nor negatives, as in evaluation, where
            what a user has is not recommended.
        weights: (I,), w; ones by default.
    """
    own = single(users * weighted_row_sum(targets, items)).sum()
    scores = single(users @ items.T)
    if weights is not None:
        offsets = weights.log().expand_as(scores)  # minus infinity: tiny numbers would be slow in matrix products
        scores = scores + offsets.masked_fill(targets.mark(torch.zeros_like(scores, dtype=torch.bool)), 0.0)
    if shown is not None:
        scores = scores.masked_fill(shown.mark(torch.zeros_like(scores, dtype=torch.bool)), -1e9)
    total = (scores.logsumexp(-1) * targets.lengths).sum()
    return (total - own) / targets.lengths.sum().clamp(min=1)
