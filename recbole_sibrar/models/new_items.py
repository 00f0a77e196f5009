"""New items and known ones in one list: their scores on one scale, by interactions with both that were held out."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recbole_sibrar.data.sparse import SparseRows
from recbole_sibrar.models.attribution import Part
from recbole_sibrar.models.calibration import FEWEST
from recbole_sibrar.models.losses import log_sum_exp
from recbole_sibrar.models.sampling import uniform

LEVEL = "level.factor_and_constant"
"""The last part of the name of a, b in a state dict."""

AS_THEY_ARE = torch.tensor([1.0, 0.0])

HELD_OUT = 0.1
"""This share of the interactions, with known items as with new ones, is to be told from what the users do not have."""

ROWS = 256


class Level(nn.Module):
    r"""Items without interactions have scores that compare with those of the others.

    .. math:: s'_{ui} = a s_{ui} + b

    Scores of what is known by its content alone spread less: the best of few new items comes after the best of many
    known ones, whatever a user likes. After training, a and b are fitted (``fitted_level``) to validation's
    interactions with new items and as many of those of training in proportion, which are hidden from the profiles of
    both sides meanwhile. No list of new items alone is changed. b is the last column of the items' embeddings.

    Attributes:
        factor_and_constant: (2,), a and b; 1 and 0 until ``fit``.
    """

    factor_and_constant: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("factor_and_constant", AS_THEY_ARE.clone())

    def reset(self) -> None:
        self.factor_and_constant.copy_(AS_THEY_ARE)

    @torch.no_grad()
    def fit(
        self,
        embed: Callable[[str, Tensor, SparseRows | None], Tensor],
        users: Tensor,
        items: dict[str, Tensor],
        own: SparseRows,
        positives: SparseRows,
        seed: int,
    ) -> None:
        """Fit a and b to interactions with known and new items.

        Args:
            embed: side, (N,) ids and the interactions to hide, if any -> (N, D) embeddings.
            users: (U,) who is asked. items: ``known`` and ``new`` ones.
            own: users x items, the interactions of training. positives: those with new items.
            seed: of what is hidden.
        """
        self.reset()
        asked = torch.zeros_like(own.lengths, dtype=torch.bool).index_fill_(0, users, True)
        own, positives = (rows.keep(rows.spread(asked)) for rows in (own, positives))
        everything = own.union(positives)
        generator = torch.Generator().manual_seed(seed)
        hidden = everything.keep(uniform((everything.n_entries,), generator, users.device) < HELD_OUT)
        catalogue = torch.cat([items["known"], items["new"]]).sort().values
        is_new = torch.isin(catalogue, items["new"])
        of_users = embed("user", users, hidden)
        of_items = of_users.new_empty(len(catalogue), of_users.shape[1])
        of_items[~is_new] = embed("item", catalogue[~is_new], hidden)
        of_items[is_new] = embed("item", catalogue[is_new], None)
        places = torch.zeros(len(users), len(catalogue), dtype=torch.bool, device=users.device)
        targets = hidden.select(users).among(catalogue).mark(places.clone())
        candidates = targets | ~everything.select(users).among(catalogue).mark(places)
        self.factor_and_constant.copy_(fitted_level(of_users @ of_items.T, is_new, targets, candidates))

    def extend(self, embeddings: Tensor, side: str, profiles: SparseRows) -> Tensor:
        """(N, D) -> (N, D + 1), of entities with these interactions."""
        if side == "user":
            return F.pad(embeddings, (0, 1), value=1.0)
        is_new = (profiles.lengths == 0).unsqueeze(1)
        factor, constant = self.factor_and_constant
        return torch.cat([torch.where(is_new, factor * embeddings, embeddings), constant * is_new], dim=1)

    def shorten(self, embeddings: Tensor) -> Tensor:
        """Without b, which all new items have."""
        return embeddings[:, :-1]

    def extend_parts(self, parts: list[Part], side: str, profile: SparseRows) -> list[Part]:
        """As ``extend``, of the parts of one entity's embedding."""
        is_new_item = side == "item" and not profile.lengths.any()
        factor, constant = self.factor_and_constant if is_new_item else AS_THEY_ARE
        parts = [part._replace(vector=F.pad(factor * part.vector, (0, 1))) for part in parts]
        last = torch.zeros_like(parts[0].vector)
        last[-1] = constant if side == "item" else 1.0
        return [*parts, Part("calibration", "(new)" if is_new_item else "(all)", last)] if last.any() else parts


def fitted_level(scores: Tensor, is_new: Tensor, targets: Tensor, candidates: Tensor) -> Tensor:
    r"""What brings the scores of new items to the level of the others, by a conditional logit (McFadden, 1974).

    .. math:: \max_{\theta} \sum_{u, i} \log \frac{e^{l_{ui}}}{\sum_{j \in C_u} e^{l_{uj}}}, \qquad
              l_{ui} = \theta_1 s_{ui} + \theta_3 \text{ of new items, } \theta_2 s_{ui} \text{ of others}

    over the targets i of the users u and their candidates C. It is concave.

    Args:
        scores: (U, I). is_new: (I,) bool. targets: (U, I) bool. candidates: (U, I) bool, the targets among them.

    Returns:
        (2,), :math:`a = \theta_1 / \theta_2` and :math:`b = \theta_3 / \theta_2`; 1 and 0 where there are fewer than
        ``FEWEST`` targets of either kind or scores of either say nothing.
    """
    n_new, spread = int(targets[:, is_new].sum()), scores[candidates].std()
    if min(n_new, int(targets.sum()) - n_new) < FEWEST or not spread > 0:
        return AS_THEY_ARE
    asked = targets.any(1)
    scores, targets, candidates = scores[asked] / spread, targets[asked], candidates[asked]
    theta = torch.zeros(3, dtype=torch.double, device=scores.device, requires_grad=True)
    optimizer = torch.optim.LBFGS([theta], max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        total = theta.new_zeros(())
        for part, chosen, there in zip(scores.split(ROWS), targets.split(ROWS), candidates.split(ROWS)):
            part = part.double()
            logits = torch.where(is_new, theta[0] * part + theta[2], theta[1] * part).masked_fill(~there, -1e9)
            of_part = (log_sum_exp(logits, 1) * chosen.sum(1)).sum() - logits[chosen].sum()
            of_part.backward()
            total += of_part.detach()
        return total

    with torch.enable_grad():
        optimizer.step(loss)
    of_new, of_known, constant = theta.detach()
    if not (of_new > 0 and of_known > 0):
        return AS_THEY_ARE
    return torch.stack([of_new, constant * spread]) / of_known
