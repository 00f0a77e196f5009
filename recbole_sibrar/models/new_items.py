"""New items and known ones in one list: their scores on one scale, by interactions with both that were held out."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from recbole_sibrar.data.modalities import Modalities
from recbole_sibrar.data.sparse import SparseRows
from recbole_sibrar.models.attribution import Part
from recbole_sibrar.models.calibration import FEWEST
from recbole_sibrar.models.interaction_kernel import KernelRecommender
from recbole_sibrar.models.losses import log_sum_exp
from recbole_sibrar.models.options import ModelOptions
from recbole_sibrar.models.recommender import sample_of
from recbole_sibrar.models.sampling import uniform

LEVEL = "level"
"""The last part of the name of a, b in a state dict."""

AS_THEY_ARE = torch.tensor([1.0, 0.0])

HELD_OUT = 0.1
"""This share of the interactions, with known items as with new ones, is to be told from what the users do not have."""

USERS = 1024
"""So many users, and fewer than twice as many, tell what holds of all."""

ROWS = 256


class LevelRecommender(KernelRecommender):
    r"""With ``calibration``, items without interactions have scores that compare with those of the others.

    .. math:: s'_{ui} = a s_{ui} + b

    Scores of what is known by its content alone spread less: the best of few new items comes after the best of many
    known ones, whatever a user likes. After training, a and b are fitted (``fitted_level``) to validation's
    interactions with new items and as many of those of training in proportion, which are hidden from the profiles of
    both sides meanwhile. No list of new items alone is changed. b is the last column of the items' embeddings.
    """

    level: Tensor | None

    def __init__(self, options: ModelOptions, modalities: dict[str, Modalities], interactions: SparseRows, seed: int):
        super().__init__(options, modalities, interactions, seed)
        self.register_buffer(LEVEL, AS_THEY_ARE.clone() if options.calibration else None)
        for other in self.others:
            other.register_buffer(LEVEL, None)

    def loss(self, batch: Any) -> tuple[Tensor, ...]:
        if self.level is not None:
            self.level.copy_(AS_THEY_ARE)  # until it is fitted to the new parameters
        return super().loss(batch)

    @torch.no_grad()
    def calibrate(self, positives: SparseRows, items: Tensor) -> None:
        super().calibrate(positives, items)
        known = self.entities("item").trained.nonzero().squeeze(1)
        known = sample_of(known[self._profiles("item", known).lengths > 0])
        if self.level is None or not len(items) or not len(known):
            return
        self.level.copy_(AS_THEY_ARE)
        items = sample_of(items)
        users = sample_of(self.entities("user").trained.nonzero().squeeze(1), USERS)
        asked = torch.zeros_like(self.entities("user").trained).index_fill_(0, users, True)
        own, positives = self.training_rows("user"), positives.keep(torch.isin(positives.columns, items))
        own, positives = (rows.keep(rows.spread(asked)) for rows in (own, positives))
        everything = own.union(positives)
        generator = torch.Generator().manual_seed(self.seed)
        hidden = everything.keep(uniform((everything.n_entries,), generator, items.device) < HELD_OUT)
        catalogue = torch.cat([known, items]).sort().values
        is_new = torch.isin(catalogue, items)
        of_users = self._embeddings_without("user", users, hidden)
        of_items = of_users.new_empty(len(catalogue), of_users.shape[1])
        of_items[~is_new] = self._embeddings_without("item", catalogue[~is_new], hidden)
        of_items[is_new] = self.embeddings("item", catalogue[is_new])
        places = torch.zeros(len(users), len(catalogue), dtype=torch.bool, device=users.device)
        targets = hidden.select(users).among(catalogue).mark(places.clone())
        candidates = targets | ~everything.select(users).among(catalogue).mark(places)
        self.level.copy_(fitted_level(of_users @ of_items.T, is_new, targets, candidates))

    def compared(self, embeddings: Tensor) -> Tensor:
        """Without b, which all new items have."""
        return super().compared(embeddings if self.level is None else embeddings[:, :-1])

    def parts(self, side: str, entity: int | Modalities) -> list[Part]:
        parts = super().parts(side, entity)
        if self.level is None:
            return parts
        is_new_item = side == "item" and not self._profile_of(side, entity).lengths.any()
        factor, constant = self.level if is_new_item else AS_THEY_ARE
        parts = [part._replace(vector=F.pad(factor * part.vector, (0, 1))) for part in parts]
        last = torch.zeros_like(parts[0].vector)
        last[-1] = constant if side == "item" else 1.0
        return [*parts, Part("calibration", "(new)" if is_new_item else "(all)", last)] if last.any() else parts

    @property
    def _extends(self) -> bool:
        return super()._extends or self.level is not None

    def _extended(self, fused: Tensor, side: str, profiles: SparseRows) -> Tensor:
        extended = super()._extended(fused, side, profiles)
        if self.level is None:
            return extended
        if side == "user":
            return F.pad(extended, (0, 1), value=1.0)
        is_new = (profiles.lengths == 0).unsqueeze(1)
        factor, constant = self.level
        return torch.cat([torch.where(is_new, factor * extended, extended), constant * is_new], dim=1)


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
