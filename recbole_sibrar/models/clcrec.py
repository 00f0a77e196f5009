"""CLCRec: contrastive learning between collaborative and content embeddings."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recbole_sibrar.checked import option
from recbole_sibrar.data.modalities import Modalities, rows_of
from recbole_sibrar.data.sparse import SparseRows, gather_rows
from recbole_sibrar.layers import ACTIVATION_LAYERS, further_layers, single, unit_rows
from recbole_sibrar.models.batches import DistinctPairs, PairBatch
from recbole_sibrar.models.content import ContentLayer, ContentNetwork, ContentOptions
from recbole_sibrar.models.pairs import pair_scores
from recbole_sibrar.models.sampling import uniform


@dataclass(frozen=True)
class CLCRecOptions(ContentOptions):
    """What a CLCRec is made of."""

    embedding_size: int = option("width of the collaborative and content embeddings", low=1, default=64)
    content_hidden_sizes: list = option("hidden layers of the content encoder", default_factory=lambda: [64])
    activation: str = option("between the layers", tuple(ACTIVATION_LAYERS), default="leaky_relu")
    content_weight: float = option("lambda, the weight of the content loss", low=0, high=1, default=0.1)
    swap_probability: float = option("rho, how often content takes an embedding's place", low=0, high=1, default=0.5)
    temperature: float = option("tau of both losses", low=1e-6, default=0.1)


class CLCRec(ContentNetwork):
    r"""Contrastive learning for cold-start item recommendation (Wei et al., ACM MM 2021), item and user version.

    Every user and item has a collaborative embedding z; the content side has a content embedding f(x) too.

    .. math:: L = \lambda L_{content} + (1 - \lambda) L_{rec}

    Both are InfoNCE over a positive item i and its negatives N (equations for the item version):

    .. math:: L_{content} = -\log \frac{e^{\cos(z_i, f_i) / \tau}}{\sum_{j \in \{i\} \cup N} e^{\cos(z_i, f_j) / \tau}},
              \qquad L_{rec} = -\log \frac{e^{z_u^\top h_i / \tau}}{\sum_{j \in \{i\} \cup N} e^{z_u^\top h_j / \tau}}

    where h_j is f_j with probability rho, drawn for every occurrence, and z_j otherwise.

    The user version swaps the user's embedding instead, and contrasts z_u with the contents of all users of the batch;
    the negatives of its recommendation loss are items too, so that it learns which items are popular. An entity without
    content is never swapped, and neither anchor nor negative of the content loss. Training entities score by z, cold
    ones by f.

    The code that comes with SiBraR leaves the weight lambda out; here it is what the paper says.
    """

    options_class = CLCRecOptions

    def __init__(self, options: CLCRecOptions, modalities: dict[str, Modalities], interactions: SparseRows, seed: int):
        super().__init__(options, modalities, interactions, seed)
        width = options.embedding_size
        self.tables = nn.ModuleDict(
            {side: nn.Embedding(len(self.trained(side)), width) for side in (self.content_side, self.other_side)}
        )
        for table in self.tables.values():
            nn.init.xavier_normal_(table.weight)
        sizes = [*options.content_hidden_sizes, width]
        side = self.content_side
        self.content = ContentLayer(self.content_in_training, rows_of(side, interactions), sizes[0])
        self.network = further_layers(sizes, options.activation)

    def _encode(self, ids: Tensor, used: Tensor, features: Modalities | None = None) -> Tensor:
        """f: (N,) ids of the content side, (N, M) bool -> (N, D)."""
        return self.network(self.content(ids, used, features))

    def loss(self, batch: PairBatch) -> tuple[Tensor, ...]:
        """(content loss, recommendation loss), both weighted."""
        generator = self._next_step()
        pairs = DistinctPairs.of(batch)
        users, items = self._collaborative("user", pairs.users), self._collaborative("item", pairs.items)
        ids = pairs.items if self.content_side == "item" else pairs.users
        available = self.available[ids]
        content, has_content = self.rowwise(self._encode, ids, available), available.any(1)
        if self.content_side == "item":
            swapped = self._drawn(pairs.place.shape, generator) & has_content[pairs.place]
            mixed = torch.where(swapped, pairs.scores(users, content), pairs.scores(users, items))
            agreement = pair_scores(*self._directions(items, content), pairs.place[:, 0], pairs.place)
            agreement = single(agreement).masked_fill(~has_content[pairs.place], -1e9)
            own, counted = torch.zeros_like(pairs.owner), has_content[pairs.place[:, 0]]
        else:
            swapped = (self._drawn(pairs.owner.shape, generator) & has_content[pairs.owner]).unsqueeze(1)
            mixed = torch.where(swapped, pairs.scores(content, items), pairs.scores(users, items))
            anchors, candidates = self._directions(users, content)
            agreement = single(anchors @ candidates.T).masked_fill(~has_content, -1e9)
            own, counted = torch.arange(len(users), device=users.device), has_content
        weight = self.options.content_weight
        recommendation = F.cross_entropy(mixed / self.options.temperature, torch.zeros_like(pairs.owner))
        contrast = F.cross_entropy(agreement, own, reduction="none")
        contrast = (contrast * counted).sum() / counted.sum().clamp(min=1)
        return weight * contrast, (1 - weight) * recommendation

    def _collaborative(self, side: str, ids: Tensor) -> Tensor:
        return gather_rows(self.tables[side].weight, ids)

    def _directions(self, collaborative: Tensor, content: Tensor) -> tuple[Tensor, Tensor]:
        """(N, D), (N, D) -> the same scaled so that their inner products are cosines over tau."""
        return unit_rows(collaborative) / self.options.temperature, unit_rows(content)

    def _drawn(self, shape: torch.Size, generator: torch.Generator) -> Tensor:
        """Where content is to take an embedding's place."""
        return uniform(shape, generator, self.step.device) < self.options.swap_probability

    def own_embeddings(self, side: str, ids: Tensor) -> Tensor:
        collaborative = self.tables[side](ids)
        if side == self.other_side:
            return collaborative
        trained = self.trained(side)[ids].unsqueeze(1)
        return torch.where(trained, collaborative, self._encode(ids, self.read[ids], self.content_in_evaluation(ids)))

    def content_embeddings(self, features: Modalities, used: Tensor) -> Tensor:
        return self._encode(torch.arange(len(used), device=used.device), used, features)

    def content_of(self, entity: int, used: Tensor) -> Tensor:
        """Modalities have no part in what a training entity scores by, its collaborative embedding."""
        if self.trained(self.content_side)[entity]:
            return self.embedding_of(self.content_side, entity).expand(len(used), -1)
        ids = self._ids(entity).expand(len(used))
        return self._encode(ids, used, self.content_in_evaluation(ids))
