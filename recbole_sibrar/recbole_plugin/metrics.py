"""RecBole's collector and metric classes, filled from ``evaluation.metrics``."""

from collections import Counter
from typing import Any

import numpy as np
import torch
from recbole.config import Config
from recbole.data.dataloader.abstract_dataloader import AbstractDataLoader
from recbole.data.interaction import Interaction
from recbole.evaluator import metrics as recboles
from recbole.evaluator import register
from recbole.evaluator.base_metric import AbstractMetric
from recbole.evaluator.collector import Collector, DataStruct
from recbole.evaluator.register import Register
from recbole.utils import EvaluatorType
from torch import Tensor
from torch.nn.functional import pad

from recbole_sibrar.evaluation.metrics import MAP_DIVISORS, METRICS, Recommendations
from recbole_sibrar.evaluation.protocol import Phase, profile_popularity
from recbole_sibrar.evaluation.ranking import Lists
from recbole_sibrar.recbole_plugin import distributed

RECOMMENDATIONS = "sibrar.recommendations"
LISTS = ("rec.items", "rec.topk")
OF_SCORES = (*LISTS, "rec.meanrank", "rec.score", "data.label")


class _Needs(Register):
    """What RecBole's collector is to gather; of a phase its lists are not.

    RecBole's have k items, also where there are fewer candidates; under the protocol they end there.
    """

    without_lists = False

    def need(self, key: str) -> bool:
        return super().need(key) and not (self.without_lists and key in LISTS)


class ProtocolCollector(Collector):
    """RecBole's collector that also gathers what our metrics need, and breaks ties at random.

    RecBole numbers items in the order in which the interaction file first names them, so ties broken by id favour
    popular items. Here tied items are ranked in a random order, the same in every evaluation (it depends on the seed).

    Attributes:
        phase: the protocol of the evaluation in progress. Without one, popularity is that of the data given to
            ``fit`` (NaN before it), and the candidates are the items that got a finite score.
        recommendations: of the last evaluation. users: (U,) whom they are for.
    """

    def __init__(self, config: Config):
        super().__init__(config)
        self.register = _Needs(config)
        self._needed = {name for name in OF_SCORES if self.register.need(name)}
        self.phase = None
        self.recommendations, self.users = None, None
        self._training = None
        self._reset()

    def _reset(self) -> None:
        self._lists: list[Lists] = []
        self._users: list[Tensor] = []
        self._ranked: Tensor | None = None

    @property
    def phase(self) -> Phase | None:
        return self._phase

    @phase.setter
    def phase(self, phase: Phase | None) -> None:
        self._phase, self.register.without_lists = phase, phase is not None

    def data_collect(self, train_data: AbstractDataLoader) -> None:
        super().data_collect(train_data)
        dataset = train_data._dataset
        if self.register.need(RECOMMENDATIONS) and dataset.iid_field in dataset.inter_feat:
            users, items = dataset.inter_feat[dataset.uid_field], dataset.inter_feat[dataset.iid_field]
            popularity = torch.bincount(items, minlength=dataset.item_num).double()
            self._training = popularity, profile_popularity(users, items, popularity, dataset.user_num)

    @property
    def lists_suffice(self) -> bool:
        """Whether the metrics ask for no score but those that make the lists."""
        return self.register.need(RECOMMENDATIONS) and not self._needed

    def order(self, n_items: int) -> torch.Tensor:
        """(n_items,) the random order of tied items."""
        return torch.randperm(n_items, generator=torch.Generator().manual_seed(self.config["seed"]))

    def eval_batch_collect(
        self, scores_tensor: Tensor, interaction: Interaction, positive_u: Tensor, positive_i: Tensor
    ) -> None:
        super().eval_batch_collect(scores_tensor, interaction, positive_u, positive_i)
        if self.config["eval_type"] == EvaluatorType.VALUE:
            return
        scores = scores_tensor
        n_items = scores.shape[1]
        order = self.order(n_items).to(scores.device)
        k = max(self.topk)
        values, places = scores[:, order].topk(min(k, n_items), dim=1)
        items = order[places]
        relevant = torch.zeros(scores.shape, dtype=torch.bool, device=scores.device)
        relevant[positive_u, positive_i] = True
        filled = values > -torch.inf
        hits = relevant.gather(1, items) & filled
        padding = (0, k - items.shape[1])
        if self.phase is not None and "rec.items" in self._needed:
            self.data_struct.update_tensor("rec.items", pad(items * filled, padding))
        if self.phase is not None and "rec.topk" in self._needed:
            table = torch.cat((pad(hits, padding).int(), relevant.sum(1, keepdim=True).int()), dim=1)
            self.data_struct.update_tensor("rec.topk", table)
        if not self.register.need(RECOMMENDATIONS):
            return
        if self.phase is None:
            ranked = (scores > -torch.inf).any(0)
            self._ranked = ranked if self._ranked is None else self._ranked | ranked
        users = interaction[self.config["USER_ID_FIELD"]]
        if len(users) > len(scores):  # RecBole's sampled evaluation has a row for each candidate of a user
            users = users.unique_consecutive()
        self.add_lists(users, Lists(pad(items * filled, padding), pad(hits, padding), relevant.sum(1)))

    def add_lists(self, users: Tensor, lists: Lists) -> None:
        """The lists of users (U,), which no scores are needed beside (``lists_suffice``)."""
        self._lists.append(lists)
        self._users.append(users)

    def get_data_struct(self) -> DataStruct:
        """RecBole's own calls ``.cpu()`` on whatever was collected, counts and counters among it."""
        struct = DataStruct()
        for key, value in self.data_struct._data_dict.items():
            struct.set(key, _of_all_processes(value) if isinstance(value, torch.Tensor) else value)
        for key in OF_SCORES:
            if key in self.data_struct:
                del self.data_struct[key]
        if self._lists:
            parts = zip(*((lists.items, lists.hits, lists.n_relevant) for lists in self._lists))
            items, hits, n_relevant = (_of_all_processes(torch.cat(part)) for part in parts)
            self.users = _of_all_processes(torch.cat(self._users))
            popularity, profile, candidates = self._context()
            divisor = self.config["map_divisor"] or MAP_DIVISORS[0]
            self.recommendations = Recommendations(
                items, hits, n_relevant, candidates, popularity, profile[self.users], divisor
            )
            struct.set(RECOMMENDATIONS, self.recommendations)
            self._reset()
        return struct

    def _context(self) -> tuple[Tensor, Tensor, Tensor]:
        if self.phase is not None:
            return self.phase.popularity, self.phase.profile_popularity, self.phase.candidates
        ranked = self._ranked.cpu()
        if self._training is None:
            unknown = torch.full((int(self.users.max()) + 1,), torch.nan, dtype=torch.double)
            return torch.full(ranked.shape, torch.nan, dtype=torch.double), unknown, ranked
        return (*self._training, ranked)


def _of_all_processes(rows: Tensor) -> Tensor:
    """(U, ...) of the users that this process scored -> the same of all users."""
    return torch.cat(distributed.gather(rows.cpu()))


class _ProtocolMetric(AbstractMetric):
    """A metric of ``evaluation.metrics`` under RecBole's interface."""

    metric_type = EvaluatorType.RANKING
    metric_need = [RECOMMENDATIONS]
    metric = None

    def __init__(self, config: Config):
        super().__init__(config)
        self.topk = config["topk"]

    def calculate_metric(self, dataobject: DataStruct) -> dict[str, float]:
        recommendations = dataobject.get(RECOMMENDATIONS)
        return {
            f"{self.metric.name}@{k}": round(float(self.metric.value(recommendations, k)), self.decimal_place)
            for k in self.topk
        }


def make_known() -> None:
    """RecBole finds all of ``METRICS``, those that one's own code has put there too."""
    for name, metric in METRICS.items():
        if getattr(register.metrics_dict.get(name), "metric", None) is metric:
            continue
        values = {"metric": metric, "smaller": not metric.higher_is_better}
        register.metrics_dict[name] = type(name.upper(), (_ProtocolMetric,), values)
        register.metric_types[name] = _ProtocolMetric.metric_type
        register.metric_information[name] = _ProtocolMetric.metric_need
        if not metric.higher_is_better and name not in register.smaller_metrics:
            register.smaller_metrics.append(name)


class _ShortLists:
    """Mixed into a metric of RecBole's over ``rec.items``: lists of fewer than k items end in padding, item 0.

    RecBole's formulas are kept; what it divides by the length of the lists is divided by the number of items in them.
    """

    def used_info(self, dataobject: DataStruct) -> Any:
        """The lists without their padding count: RecBole's arguments, (U, k) items first."""
        self._lists = np.asarray(dataobject.get("rec.items"))
        return super().used_info(dataobject)

    def metric_info(self, values: np.ndarray) -> np.ndarray:
        filled = self._lists > 0
        return (values * filled).cumsum(1) / np.maximum(filled.cumsum(1), 1)

    def _counts(self, item_matrix: np.ndarray) -> np.ndarray:
        """How often each recommended item is in a list, in rising order."""
        return np.array(sorted(Counter(item_matrix[item_matrix > 0].tolist()).values()))

    def get_coverage(self, item_matrix: np.ndarray, num_items: int) -> float:
        return len(self._counts(item_matrix)) / num_items

    def get_entropy(self, item_matrix: np.ndarray) -> float:
        share = (counts := self._counts(item_matrix)) / counts.sum()
        return float(-(share * np.log(share)).sum() / len(counts))

    def get_gini(self, item_matrix: np.ndarray, num_items: int) -> float:
        counts = self._counts(item_matrix)
        places = np.arange(num_items - len(counts) + 1, num_items + 1)
        return float(((2 * places - num_items - 1) * counts).sum() / counts.sum() / num_items)


SHORT_LIST_CLASSES = {
    name.lower(): type(name, (_ShortLists, getattr(recboles, name)), {})
    for name in ("ItemCoverage", "AveragePopularity", "ShannonEntropy", "GiniIndex", "TailPercentage")
}
