"""What a study asks of a trained model; ``recbole_plugin.trained.TrainedModel`` answers."""

from collections.abc import Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from recbole_sibrar.data.missing import MissingOptions
from recbole_sibrar.models.core import InnerProductModel


class Trained(Protocol):
    """A trained model with its data, to be evaluated under other conditions.

    Attributes:
        name: in tables. path: of its checkpoint. core: the model itself. config: the effective
            configuration, by option.
        data: {what: fingerprint} of what it was trained on.
    """

    name: str
    scenario: str
    dataset: str
    path: Path
    core: InnerProductModel
    config: Any

    @property
    def data(self) -> dict[str, str]: ...

    def side(self, wanted: str | None = None) -> str:
        """The side whose modalities are looked at: the one asked for, or the scenario's, or the one the model reads."""

    def modalities(self, side: str, phase: str) -> list[str]:
        """Those that an entity ranked in a phase has."""

    def only(self, side: str, names: Iterable[str]) -> AbstractContextManager[None]:
        """Within the context, evaluation is left with these modalities of a side."""

    def without(self, side: str, options: MissingOptions) -> AbstractContextManager[None]:
        """Within the context, entities lack in evaluation what ``options`` takes from them."""

    def evaluate(self, phase: str) -> tuple[dict[str, float], dict[str, Tensor]]:
        """{"ndcg@10": value}, and {"ndcg@10": (U,) values of the users}, under the present conditions."""

    def available(self, side: str) -> Tensor:
        """(N, M) bool, which modalities the known entities have in evaluation."""

    def modality_embeddings(self, side: str, chosen: Tensor) -> Tensor:
        """(n, M, D) of some of the known entities, given by their rows in ``available``."""

    def train_again(self, options: MissingOptions, output_dir: Path | str, run_name: str) -> dict[str, Any]:
        """The same run from its beginning, with modalities missing; its result."""
