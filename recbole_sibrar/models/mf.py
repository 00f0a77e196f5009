"""MF: matrix factorisation with a bias for each item, the papers' collaborative baseline."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from recbole_sibrar.checked import CheckedOptions, option
from recbole_sibrar.data.modalities import INTERACTIONS, SIDES, Modalities
from recbole_sibrar.data.sparse import SparseRows, gather_rows
from recbole_sibrar.models import losses
from recbole_sibrar.models.batches import DistinctPairs, PairBatch
from recbole_sibrar.models.core import InnerProductModel, trained_entities


@dataclass(frozen=True)
class MFOptions(CheckedOptions):
    """What an MF is made of."""

    embedding_size: int = option("width of the embeddings", low=1, default=64)
    item_bias: bool = option("a number for each item, which is added to its scores", default=True)

    def read_modalities(self, side: str) -> list[str] | None:
        return [INTERACTIONS]

    @property
    def batches(self) -> str:
        return "pairs"


class MF(InnerProductModel):
    r"""Matrix factorisation trained by BPR (Rendle et al., UAI 2009), with an item bias as the authors' has.

    .. math:: s_{ui} = p_u^\top q_i + b_i

    The bias is one more column of the items' embeddings, which are (p_u, 1) and (q_i, b_i). RecBole's BPR is the same
    without it. An entity that training did not see has the mean embedding of those that it did.
    """

    options_class = MFOptions

    def __init__(self, options: MFOptions, modalities: dict[str, Modalities], interactions: SparseRows, seed: int):
        super().__init__(options, seed)
        trained = trained_entities(interactions)
        self._read_interactions(modalities, trained)
        width = options.embedding_size
        self.tables = nn.ModuleDict({side: nn.Embedding(len(trained[side]), width) for side in SIDES})
        for table in self.tables.values():
            nn.init.xavier_normal_(table.weight)
        self.bias = nn.Embedding(len(trained["item"]), 1) if options.item_bias else None
        if self.bias is not None:
            nn.init.zeros_(self.bias.weight)

    def loss(self, batch: PairBatch) -> tuple[Tensor, ...]:
        """(BPR,)."""
        self._next_step()
        pairs = DistinctPairs.of(batch)
        scores = pairs.scores(self._rows("user", pairs.users), self._rows("item", pairs.items))
        return (losses.bpr(scores[:, 0], scores[:, 1:]),)

    def _rows(self, side: str, ids: Tensor) -> Tensor:
        """(N,) ids -> (N, D + 1), or (N, D) without a bias."""
        rows = gather_rows(self.tables[side].weight, ids)
        if self.bias is None:
            return rows
        last = gather_rows(self.bias.weight, ids) if side == "item" else rows.new_ones(len(rows), 1)
        return torch.cat([rows, last], dim=1)

    @torch.no_grad()
    def embeddings(self, side: str, ids: Tensor) -> Tensor:
        rows, trained = self._rows(side, ids), self.sides[side].trained
        if not trained[ids].all():
            rows[~trained[ids]] = self._rows(side, trained.nonzero().squeeze(1)).mean(0)
        return rows
