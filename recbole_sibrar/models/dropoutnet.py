"""DropoutNet: preference vectors that are dropped in training, so that content learns to stand in for them."""

import hashlib
import pickle
from dataclasses import dataclass, replace
from functools import partial
from logging import getLogger
from pathlib import Path

import torch
from torch import Tensor, nn

from recbole_sibrar.checked import option
from recbole_sibrar.data.modalities import INTERACTIONS, Modalities, rows_of
from recbole_sibrar.data.sparse import SparseRows, weighted_row_sum
from recbole_sibrar.files import save_tensors
from recbole_sibrar.layers import further_layers
from recbole_sibrar.models.als import implicit_als, solve_side
from recbole_sibrar.models.batches import DistinctPairs, PairBatch
from recbole_sibrar.models.content import ContentLayer, ContentNetwork, ContentOptions
from recbole_sibrar.models.sampling import uniform


@dataclass(frozen=True)
class DropoutNetOptions(ContentOptions):
    """What a DropoutNet is made of."""

    embedding_size: int = option("width of the preference vectors and of the embeddings", low=1, default=32)
    hidden_sizes: list = option("hidden layers of the users' and of the items' network", default_factory=lambda: [64])
    preference_dropout: float = option("how often an entity's preference is dropped", low=0, high=1, default=0.8)
    transform_share: float = option(
        "share of the dropped preferences replaced by the mean of the interacted entities' instead of zero",
        low=0,
        high=1,
        default=0.0,
    )
    als_iterations: int = option("iterations of the pre-training", low=1, default=15)
    als_regularization: float = option("lambda of the pre-training", low=1e-9, default=10.0)
    als_confidence: float = option("alpha of the pre-training", low=0, default=1.0)


class DropoutNet(ContentNetwork):
    r"""DropoutNet (Volkovs, Yu and Poutanen, NeurIPS 2017), item and user version.

    Preference vectors U, V come from implicit ALS on the training interactions. A network for each side turns them, on
    the content side together with the content, into embeddings whose inner products reproduce the scores of ALS:

    .. math:: L = \frac{1}{|P|} \sum_{(u,i) \in P} \big(U_u^\top V_i - f(U_u)^\top g([V_i; x_i])\big)^2

    over positives and sampled negatives (the item version's equation). In training the preference of an entity of the
    content side is dropped with a probability, drawn anew for each entity in each step: it becomes zero, or the mean of
    the preference vectors of the entities that it interacted with (the paper's transform). A cold entity's preference
    is zero. A new user's, in the item version, is what ALS solves for given the history and V.

    Preferences are divided by the root mean square of the training entities' values before they enter a network.
    Activations are tanh and the output is linear, as in the paper; the code that comes with SiBraR ends in a ReLU and
    drops the preferences of a whole batch at once.
    """

    options_class = DropoutNetOptions
    capabilities = replace(ContentNetwork.capabilities, new_entities=True, pretraining=True)

    def __init__(
        self, options: DropoutNetOptions, modalities: dict[str, Modalities], interactions: SparseRows, seed: int
    ):
        super().__init__(options, modalities, interactions, seed)
        width, side = options.embedding_size, self.content_side
        sizes = [*options.hidden_sizes, width]
        self.content = ContentLayer(self.content_in_training, rows_of(side, interactions), sizes[0])
        self.first, self.rest = nn.ModuleDict(), nn.ModuleDict()
        for name in (side, self.other_side):
            self.first[name] = nn.Linear(width, sizes[0])
            self.rest[name] = further_layers(sizes, "tanh")
            self.register_buffer(f"preference_{name}", torch.zeros(len(self.trained(name)), width))
        self.register_buffer("indptr", interactions.indptr, persistent=False)
        self.register_buffer("columns", interactions.columns, persistent=False)
        self.register_buffer("transformed", torch.zeros(len(self.trained(side)), width), persistent=False)

    def preference(self, side: str) -> Tensor:
        """(N, D) of all entities, zero where they are cold."""
        return getattr(self, f"preference_{side}")

    def pretrain(self, folder: Path, show_progress: bool) -> None:
        """Preference vectors from ``folder``, or from ALS and into it; needed before the first ``loss``."""
        matrix = SparseRows(self.indptr.cpu(), self.columns.cpu(), len(self.trained("item")))
        vectors = self._cached(Path(folder), matrix, show_progress)
        for name, values in vectors.items():
            self.preference(name).copy_(values)
        rows = rows_of(self.content_side, matrix)
        sums = weighted_row_sum(rows, vectors[self.other_side])
        self.transformed.copy_(sums / rows.lengths.clamp(min=1).unsqueeze(1))

    def _cached(self, folder: Path, matrix: SparseRows, show_progress: bool) -> dict[str, Tensor]:
        options = self.options
        settings = {
            "width": options.embedding_size,
            "regularization": options.als_regularization,
            "confidence": options.als_confidence,
            "n_iterations": options.als_iterations,
            "seed": self.seed,
        }
        digest = hashlib.sha256(repr((settings, len(matrix.lengths), matrix.n_columns)).encode())
        for part in (matrix.indptr, matrix.columns):
            digest.update(part.numpy().tobytes())
        path = folder / f"{digest.hexdigest()[:16]}.pt"
        if path.is_file():
            try:
                vectors = torch.load(path, weights_only=True)
                getLogger().info(f"DropoutNet: preference vectors read from {path}")
                return vectors
            except (RuntimeError, EOFError, pickle.UnpicklingError):
                getLogger().warning(f"{path} cannot be read; it is made again.")
        getLogger().info(f"DropoutNet: pre-training by implicit ALS ({settings}), kept in {path}")
        vectors = dict(zip(("user", "item"), implicit_als(matrix, show_progress=show_progress, **settings)))
        save_tensors(path, vectors)
        return vectors

    def loss(self, batch: PairBatch) -> tuple[Tensor, ...]:
        """The mean squared error over the batch's positives and negatives."""
        generator = self._next_step()
        pairs = DistinctPairs.of(batch)
        predicted, wanted = {}, {}
        for side, ids in (("user", pairs.users), ("item", pairs.items)):
            predicted[side] = self.rowwise(partial(self._in_training, side), ids, self._dropped(side, ids, generator))
            wanted[side] = self.preference(side)[ids]
        error = pairs.scores(predicted["user"], predicted["item"]) - pairs.scores(wanted["user"], wanted["item"])
        return (error.square().mean(),)

    def _dropped(self, side: str, ids: Tensor, generator: torch.Generator) -> Tensor:
        """(N, D) preferences, some of those of the content side dropped."""
        values = self.preference(side)[ids]
        if side == self.other_side:
            return values
        dropped, transformed = (
            uniform((len(ids), 1), generator, values.device) < share
            for share in (self.options.preference_dropout, self.options.transform_share)
        )
        stand_in = torch.where(transformed, self.transformed[ids], torch.zeros_like(values))
        return torch.where(dropped, stand_in, values)

    def _in_training(self, side: str, ids: Tensor, preferences: Tensor) -> Tensor:
        used = self.available[ids] if side == self.content_side else None
        return self._encode(side, ids, preferences, used, None)

    def _encode(
        self, side: str, ids: Tensor, preferences: Tensor, used: Tensor | None, features: Modalities | None
    ) -> Tensor:
        """``used``, and the ``features`` that stand for those of ``ids``, are of the content side."""
        rows = self.first[side](preferences / self._unit(side))
        if side == self.content_side:
            rows = rows + self.content(ids, used, features)
        return self.rest[side](rows)

    def _unit(self, side: str) -> Tensor:
        """() the root mean square of the training entities' preferences."""
        table, trained = self.preference(side), self.trained(side)
        return self.until_changed(f"unit {side}", lambda: table[trained].square().mean().sqrt().clamp(min=1e-9), table)

    def own_embeddings(self, side: str, ids: Tensor) -> Tensor:
        is_content = side == self.content_side
        used, features = (self.read[ids], self.content_in_evaluation(ids)) if is_content else (None, None)
        return self._encode(side, ids, self.preference(side)[ids], used, features)

    def content_embeddings(self, features: Modalities, used: Tensor) -> Tensor:
        ids = torch.arange(len(used), device=used.device)
        nothing = self.transformed.new_zeros(len(used), self.options.embedding_size)
        return self._encode(self.content_side, ids, nothing, used, features)

    @torch.no_grad()
    def embed(self, features: Modalities) -> Tensor:
        """Of the content side by their content, of the other side by their interactions; the average where there are
        none."""
        side = features.side
        if side == self.content_side:
            return super().embed(features)
        (history,), options = features.select([INTERACTIONS]).entries, self.options
        fixed = self.preference(self.content_side)
        preferences = solve_side(history.values, fixed, options.als_regularization, options.als_confidence)
        encoded = self._encode(side, torch.arange(len(preferences)), preferences, None, None)
        return self._filled(side, encoded, ~preferences.any(1))

    def content_of(self, entity: int, used: Tensor) -> Tensor:
        ids, side = self._ids(entity).expand(len(used)), self.content_side
        return self._encode(side, ids, self.preference(side)[ids], used, self.content_in_evaluation(ids))
