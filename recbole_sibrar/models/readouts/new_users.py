"""What content says of a user without interactions, read off the known users' learned embeddings."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from recbole_sibrar.data.sparse import SparseRows, weighted_row_sum
from recbole_sibrar.models.ensemble import Ensemble
from recbole_sibrar.models.network import sample_of
from recbole_sibrar.models.readouts.kernel import InteractionKernel, KernelFeatures
from recbole_sibrar.models.readouts.readout import moments, spread

NEW_USER_KERNEL = "new_user_kernel"

PENALTIES = tuple(10 ** (n / 2) for n in range(-6, 7))
"""Those tried, in units of the features' mean squared distance from their mean."""

SHARPER = 1 / 3
"""Of the penalty with the least squared error: for the order of items it is too large (docs/experiments.md)."""

SAMPLE = 2048
"""So many users and items, and fewer than twice as many, tell how large it is."""

LEAST = 1e-6
"""Directions in which features vary by less than this share of the first are none."""


@dataclass(frozen=True)
class AroundMean:
    """Features around the mean (L,) that they have of the known users, and behind them 1."""

    features: KernelFeatures
    mean: Tensor

    def __call__(self, rows: Tensor) -> Tensor:
        """(N, D) -> (N, L + 1)."""
        return self.around(self.features(rows))

    def around(self, rows: Tensor) -> Tensor:
        """(N, L) features -> (N, L + 1)."""
        return F.pad(rows - self.mean, (0, 1), value=1.0)


class NewUserKernel(InteractionKernel):
    r"""Users without interactions have scores of a kernel ridge regression from their content beside the networks'.

    .. math:: s'_{ui} = s_{ui} + \beta \big( p_i + \langle v_i, \psi(e_u) - \bar \psi \rangle \big)

    :math:`p_i` is the share of the known users who have the item, and :math:`v_i` regresses who has it on features of
    the networks' embeddings of these users by their content, as a new user has it. Together they spread over the items
    as far as the networks' scores, so that they are nearly popularity's where content says little, and popularity's of
    a user without content. How much it says is seen from users who are left out; they choose the penalty
    (``left_out_errors``). A user who lacks some content has the features that known users have of all of theirs, as far
    as ``Completion`` tells them.
    """

    def __init__(self, ensemble: Ensemble, weight: float):
        super().__init__(ensemble, weight, of="user")
        self.option = NEW_USER_KERNEL

    def _counts(self, profiles: SparseRows) -> Tensor:
        return profiles.lengths == 0

    def _features(self, fused: Tensor, used: Tensor) -> Tensor:
        """(N, D), (N, M) -> (N, L + 1), where nothing is known all but the last of them 0."""
        columns = super()._features(fused, used)
        columns[~used.any(1), :-1] = 0
        return columns

    @torch.no_grad()
    def _solve(self) -> tuple[AroundMean, Tensor]:
        ensemble = self.ensemble
        ids, used = self._views_in_training("user")
        has_content = used[-1].any(1)
        ids, used = ids[has_content], used[-1, has_content]
        view = ensemble.fused_in_training("user", ids, used)
        kernel = KernelFeatures.of(view)
        rows = kernel(view)
        features = AroundMean(kernel, rows.mean(0, dtype=torch.double).to(view))
        rows = features.around(rows)
        users = sample_of(torch.arange(len(ids), device=ids.device), SAMPLE)
        items = sample_of(ensemble.entities("item").trained.nonzero().squeeze(1), SAMPLE)
        table = self._regressed(ids, rows, users, items)
        of_items = ensemble.fused_in_training("item", items, ensemble.entities("item").available[items])
        networks = spread_over(of_items, view[users])
        of_items = weighted_row_sum(ensemble.training_rows("item").select(items), table)
        own = spread_over(of_items, rows[users])
        return features, table * (self.weight * networks / own).nan_to_num(0, 0, 0)

    def _regressed(self, ids: Tensor, rows: Tensor, users: Tensor, items: Tensor) -> Tensor:
        """(U, L + 1) what each user adds to v of the items that she has, and to p.

        Args:
            ids: (T,) users with content. rows: (T, L + 1) their features.
            users: (R,) places of those who are left out, and items (I,), to find the penalty.
        """
        around, n = rows[:, :-1], len(ids)
        values, turn = torch.linalg.eigh(covariance_of(around) * n)
        varies = values > LEAST * values[-1]
        values, turn = values[varies].to(rows), turn[:, varies].to(rows)
        basis = turn / values.sqrt()

        ensemble = self.ensemble
        histories = ensemble.training_rows("item").select(items)
        of_items = weighted_row_sum(histories, self._of_all("user", ids, rows))
        profiles = ensemble.training_rows("user").select(ids[users]).among(items)
        residuals = profiles.mark(rows.new_zeros(len(users), len(items))) - of_items[:, -1] / n
        penalties = torch.tensor(PENALTIES).to(values) * values.sum() / n
        errors = left_out_errors(around[users] @ basis, values, n, of_items[:, :-1] @ basis, residuals, penalties)
        penalty = SHARPER * penalties[errors.argmin()]

        solved = around @ (turn / (values + penalty) @ turn.T)
        return self._of_all("user", ids, F.pad(solved, (0, 1), value=1 / n))


def covariance_of(rows: Tensor) -> Tensor:
    """(D, D) of rows (N, D), in double precision."""
    return moments(rows.unsqueeze(0), torch.ones_like(rows[:, 0], dtype=torch.bool).unsqueeze(0))[1]


def spread_over(items: Tensor, users: Tensor) -> Tensor:
    """() how far scores of users (N, C) spread over items (M, C)."""
    return spread(users, covariance_of(items).to(items))


def left_out_errors(
    directions: Tensor, values: Tensor, n: int, sums: Tensor, residuals: Tensor, penalties: Tensor
) -> Tensor:
    r"""The squared error of ridge regressions at rows that are left out of them (Allen's PRESS, 1974).

    .. math:: \Big( \frac{y_u - \hat y_u}{1 - h_u} \Big)^2, \qquad \hat y = U D U^\top y, \quad
              D = \operatorname{diag} \frac{\sigma}{\sigma + \lambda}, \quad h_u = \frac{1}{n} + U_u D U_u^\top

    Args:
        directions: (R, K), of the rows that are left out one by one, U: the features of all n, around their mean, in an
            orthonormal basis.
        values: (K,), the squares of the singular values, :math:`\sigma`.
        sums: (T, K), :math:`y^\top U` of T targets.
        residuals: (R, T), y around its mean over all n.
        penalties: (P,), :math:`\lambda`.

    Returns:
        (P,), the mean over rows of their sum over targets.
    """
    norms, along, gram = residuals.square().sum(1), residuals @ sums, sums.T @ sums
    errors = []
    for penalty in penalties:
        kept = directions * (values / (values + penalty))
        squared = norms - 2 * (kept * along).sum(1) + (kept @ gram * kept).sum(1)
        left = (1 - 1 / n - (kept * directions).sum(1)).clamp(min=LEAST)
        errors.append((squared.clamp(min=0) / left.square()).mean())
    return torch.stack(errors)
