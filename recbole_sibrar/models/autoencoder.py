"""LinearAutoencoder: from a user's history to the next item, in closed form."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from recbole_sibrar.checked import CheckedOptions, option
from recbole_sibrar.data.modalities import INTERACTIONS, Modalities
from recbole_sibrar.data.sparse import SparseRows
from recbole_sibrar.models.core import Capabilities, trained_entities
from recbole_sibrar.models.penalties import PenaltyPath
from recbole_sibrar.models.priors.interactions import InteractionPrior


@dataclass(frozen=True)
class LinearAutoencoderOptions(CheckedOptions):
    """What a LinearAutoencoder is made of. lambda of epoch k is ``shrinkage_max * shrinkage_step ** k`` times the mean
    number of an item's interactions."""

    rank: int = option("width of the vectors, at most", low=1, default=1536)
    shrinkage_max: float = option("lambda of the first epoch", low=1e-9, default=100.0)
    shrinkage_step: float = option("factor from one epoch to the next", low=0.01, high=0.99, default=0.6)

    def read_modalities(self, side: str) -> list[str] | None:
        return [INTERACTIONS]

    @property
    def batches(self) -> str:
        return "all_users"


class LinearAutoencoder(PenaltyPath):
    """A linear autoencoder of the interactions (``priors.interactions``); an epoch is a lambda, validation chooses."""

    options_class = LinearAutoencoderOptions
    capabilities = Capabilities(missing_interactions=True, new_entities=True)

    def __init__(
        self, options: LinearAutoencoderOptions, modalities: dict[str, Modalities], interactions: SparseRows, seed: int
    ):
        super().__init__(options, seed)
        trained = trained_entities(interactions)
        self._read_interactions(modalities, trained)
        n = {side: len(mask) for side, mask in trained.items()}
        self.autoencoder = InteractionPrior(n["item"], n["user"], 0, 0, 1.0, seed, options.rank)
        self._hold(interactions)

    def pretrain(self, folder: Path, show_progress: bool) -> None:
        self.autoencoder.decompose(self.matrix, show_progress)

    @property
    def n_parameters(self) -> int:
        """The items' vectors, which are solved for and not trained; a user's are sums of them."""
        return self.autoencoder.of_side.numel()

    @torch.no_grad()
    def loss(self, batch: object) -> tuple[Tensor, ...]:
        """Solve for this epoch's lambda; the value is lambda, in multiples of an item's interactions."""
        shrinkage = self._next_penalty(self.options.shrinkage_max, self.options.shrinkage_step)
        self.autoencoder.solve(self.matrix, shrinkage)
        return (torch.tensor(shrinkage).requires_grad_(),)

    @torch.no_grad()
    def embeddings(self, side: str, ids: Tensor) -> Tensor:
        rows = self.autoencoder(side, ids, self.entities(side).read[ids])
        return self._filled(side, rows, self.entities(side).read[ids])

    @torch.no_grad()
    def embed(self, features: Modalities) -> Tensor:
        features, used = self.entities(features.side).readable(features)
        return self._filled(features.side, self.autoencoder.embed(features, used), used)

    @torch.no_grad()
    def with_modalities(self, side: str, entity: int | Modalities, used: Tensor) -> Tensor:
        return self.embedding_of(side, entity) * used

    def _filled(self, side: str, rows: Tensor, used: Tensor) -> Tensor:
        """Who has no interaction has the mean vector of the training entities."""
        empty = ~used.any(1)
        if empty.any():
            table = self.autoencoder.of_side if side == "item" else self.autoencoder.of_other
            rows[empty] = table[self.entities(side).trained].mean(0)
        return rows
