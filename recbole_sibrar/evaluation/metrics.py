r"""Metrics of recommendation lists: one value per user first, then the mean over users.

Symbols: U users, K places in a list (best first), k the cut-off (1 <= k <= K), I items including item 0.
:math:`h_{ur}` is 1 if place r of user u's list holds a relevant item, :math:`n_u` the number of u's relevant items.

* **Empty places.** Item 0 is RecBole's padding; in a list it marks a place that stayed empty because there were fewer
  candidates than places. It is never a recommendation and never a hit, and what ``popularity`` or ``candidates`` hold
  for item 0 is never read.
* **Undefined values** are NaN and left out of the mean: accuracy of a user with nothing to find (:math:`n_u = 0`),
  popularity of a list without items. The mean of undefined values only is NaN. A user with something to find and an
  empty list has accuracy 0.

A function takes tensors alone; :func:`evaluate` computes many metrics of :class:`Recommendations` by name. A new
metric is a function, a class of three lines and an entry in ``METRICS``.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from recbole_sibrar.checked import Registry
from recbole_sibrar.errors import OptionError, nearest

LONG_TAIL_SHARE = 0.8
NAN = float("nan")
MAP_DIVISORS = ("possible_hits", "relevant_items")


def ndcg(hits: Tensor, n_relevant: Tensor, k: int) -> Tensor:
    r"""Normalised discounted cumulative gain with binary gains (Järvelin and Kekäläinen, TOIS 2002).

    .. math:: \frac{\sum_{r=1}^{k} h_{ur} / \log_2(r + 1)}{\sum_{r=1}^{\min(n_u, k)} 1 / \log_2(r + 1)}

    In [0, 1]; 1 if no relevant item could stand higher. The same as RecBole's and rmet's.

    Args:
        hits: (U, K) bool, best first. n_relevant: (U,) long. k: cut-off.

    Returns:
        (U,) float64; NaN where n_relevant is 0.

    >>> hits = torch.tensor([[True, False, True], [False, False, False]])
    >>> ndcg(hits, torch.tensor([2, 0]), k=3)  # (1 + 1/2) / (1 + 1/log2(3))
    tensor([0.9197,    nan], dtype=torch.float64)
    """
    top = _top_hits(hits, n_relevant, k)
    discounts = 1 / (_ranks(top) + 1).log2()
    ideal = discounts.cumsum(0)[n_relevant.clamp(1, k) - 1]
    return _defined((top * discounts).sum(1) / ideal, n_relevant)


def recall(hits: Tensor, n_relevant: Tensor, k: int) -> Tensor:
    r"""Share of the relevant items that are in the list: :math:`\frac{1}{n_u} \sum_{r=1}^{k} h_{ur}`.

    In [0, 1], at most :math:`k / n_u`. The same as RecBole's and rmet's.

    Args:
        hits: (U, K) bool, best first. n_relevant: (U,) long. k: cut-off.

    Returns:
        (U,) float64; NaN where n_relevant is 0.

    >>> recall(torch.tensor([[True, False, True]]), torch.tensor([4]), k=3)
    tensor([0.5000], dtype=torch.float64)
    """
    return _defined(_n_hits(hits, n_relevant, k) / n_relevant, n_relevant)


def precision(hits: Tensor, n_relevant: Tensor, k: int) -> Tensor:
    r"""Share of the k places that hold a relevant item: :math:`\frac{1}{k} \sum_{r=1}^{k} h_{ur}`.

    In [0, 1], at most :math:`n_u / k`. Empty places count in the divisor, as in RecBole and rmet: a model gains nothing
    by leaving places empty.

    Args:
        hits: (U, K) bool, best first. n_relevant: (U,) long. k: cut-off.

    Returns:
        (U,) float64; NaN where n_relevant is 0.

    >>> precision(torch.tensor([[True, False, True, False]]), torch.tensor([4]), k=4)
    tensor([0.5000], dtype=torch.float64)
    """
    return _defined(_n_hits(hits, n_relevant, k) / k, n_relevant)


def average_precision(hits: Tensor, n_relevant: Tensor, k: int, divisor: str = MAP_DIVISORS[0]) -> Tensor:
    r"""Mean of the precision at each hit (Manning, Raghavan and Schütze, 2008, section 8.4, cut at k).

    .. math:: \frac{1}{\min(n_u, k)} \sum_{r=1}^{k} h_{ur} \frac{\sum_{s=1}^{r} h_{us}}{r}

    In [0, 1]; 1 if no relevant item could stand higher. The divisor is RecBole's, the hits that k places can hold. With
    ``relevant_items`` it is :math:`n_u`, as in rmet (the authors' package), so that a user with more than k relevant
    items cannot reach 1; both agree where :math:`n_u \le k`.

    Args:
        hits: (U, K) bool, best first. n_relevant: (U,) long. k: cut-off. divisor: one of ``MAP_DIVISORS``.

    Returns:
        (U,) float64; NaN where n_relevant is 0.

    >>> average_precision(torch.tensor([[True, False, True]]), torch.tensor([2]), k=3)  # (1/1 + 2/3) / 2
    tensor([0.8333], dtype=torch.float64)
    >>> average_precision(torch.tensor([[True]]), torch.tensor([4]), k=1, divisor="relevant_items")
    tensor([0.2500], dtype=torch.float64)

    Raises:
        OptionError: the divisor is unknown.
    """
    if divisor not in MAP_DIVISORS:
        raise OptionError(f"map_divisor is {divisor!r}. {nearest(divisor, MAP_DIVISORS)}")
    top = _top_hits(hits, n_relevant, k).double()
    n = n_relevant if divisor == "relevant_items" else n_relevant.clamp(max=k)
    return _defined((top * top.cumsum(1) / _ranks(top)).sum(1) / n, n_relevant)


def reciprocal_rank(hits: Tensor, n_relevant: Tensor, k: int) -> Tensor:
    r"""One over the place of the first hit, 0 without a hit: :math:`\max_{r \le k} h_{ur} / r` (Voorhees, TREC-8 1999).

    In [0, 1]. The same as RecBole's and rmet's.

    Args:
        hits: (U, K) bool, best first. n_relevant: (U,) long. k: cut-off.

    Returns:
        (U,) float64; NaN where n_relevant is 0.

    >>> reciprocal_rank(torch.tensor([[False, True, True], [False, False, False]]), torch.tensor([2, 1]), k=3)
    tensor([0.5000, 0.0000], dtype=torch.float64)
    """
    top = _top_hits(hits, n_relevant, k)
    return _defined((top / _ranks(top)).amax(1), n_relevant)


def f_score(hits: Tensor, n_relevant: Tensor, k: int) -> Tensor:
    r"""Harmonic mean of precision P and recall R (F1), taken per user.

    .. math:: \frac{2 P R}{P + R} = \frac{2 \sum_{r=1}^{k} h_{ur}}{k + n_u}

    In [0, 1]; 0 without a hit, 1 only if :math:`n_u = k`. The same as rmet's; RecBole has none.

    Args:
        hits: (U, K) bool, best first. n_relevant: (U,) long. k: cut-off.

    Returns:
        (U,) float64; NaN where n_relevant is 0.

    >>> f_score(torch.tensor([[True, False, True]]), torch.tensor([5]), k=3)  # P 2/3, R 2/5
    tensor([0.5000], dtype=torch.float64)
    """
    return _defined(2 * _n_hits(hits, n_relevant, k) / (k + n_relevant), n_relevant)


def average_recommendation_popularity(items: Tensor, popularity: Tensor, k: int) -> Tensor:
    r"""ARP: mean popularity of the recommended items (Yin et al., VLDB 2012).

    .. math:: \frac{1}{|L_u|} \sum_{i \in L_u} \phi_i

    with :math:`L_u` the items in the first k places of u's list and :math:`\phi_i` the popularity of item i. In
    [0, inf), in the unit of the popularity. Unlike RecBole's AveragePopularity, empty places are no items.

    Args:
        items: (U, K) long, 0 = empty. popularity: (I,) float. k: cut-off.

    Returns:
        (U,) float64; NaN for a list without items.

    >>> items = torch.tensor([[1, 2, 0], [0, 0, 0]])
    >>> average_recommendation_popularity(items, torch.tensor([0.0, 10.0, 4.0]), k=3)
    tensor([7., nan], dtype=torch.float64)
    """
    return _mean_over_items(items, popularity, k)


def long_tail_share(items: Tensor, tail: Tensor, k: int) -> Tensor:
    r"""APLT: share of the recommended items that belong to the long tail (Abdollahpouri et al., FLAIRS 2019).

    .. math:: \frac{|L_u \cap T|}{|L_u|}

    with :math:`L_u` the items in the first k places of u's list and T the long tail (see :func:`long_tail`). In [0, 1];
    items drawn uniformly from the candidates give about 0.8. Empty places are no items.

    Args:
        items: (U, K) long, 0 = empty. tail: (I,) bool. k: cut-off.

    Returns:
        (U,) float64; NaN for a list without items.

    >>> long_tail_share(torch.tensor([[1, 2, 0], [0, 0, 0]]), torch.tensor([False, False, True]), k=3)
    tensor([0.5000,    nan], dtype=torch.float64)
    """
    return _mean_over_items(items, tail, k)


def popularity_lift(items: Tensor, popularity: Tensor, profile_popularity: Tensor, k: int) -> Tensor:
    r"""PL: how much more popular the list is than the profile (Abdollahpouri et al., RecSys 2020).

    .. math:: \frac{\bar\phi(L_u) - \bar\phi(P_u)}{\bar\phi(P_u)}

    with :math:`\bar\phi` the mean popularity, :math:`L_u` the items in the first k places of u's list and :math:`P_u`
    those of the profile. In [-1, inf): 0 means as popular as the profile, 1 twice as popular, -1 not popular at all.

    The paper takes both means over a *group* of users before it divides. We divide for each user (groups of one), so
    that per-user values exist for tests of significance; the mean of ratios is not the ratio of means.

    Args:
        items: (U, K) long, 0 = empty. popularity: (I,) float. k: cut-off.
        profile_popularity: (U,) float, mean popularity of the profile's items, NaN without a profile.

    Returns:
        (U,) float64; NaN for a list without items, and where profile_popularity is NaN or 0.

    >>> items, popularity = torch.tensor([[1, 2], [1, 2], [1, 2]]), torch.tensor([0.0, 10.0, 4.0])
    >>> popularity_lift(items, popularity, torch.tensor([3.5, 14.0, 0.0]), k=2)
    tensor([ 1.0000, -0.5000,     nan], dtype=torch.float64)
    """
    profile = profile_popularity.double()
    profile = profile.masked_fill(profile == 0, NAN)
    return (_mean_over_items(items, popularity, k) - profile) / profile


def coverage(items: Tensor, candidates: Tensor, k: int) -> float:
    r"""Share of the candidates that are in at least one list (catalogue coverage, Ge et al., RecSys 2010).

    .. math:: \frac{|C \cap \bigcup_u L_u|}{|C|}

    with :math:`L_u` the items in the first k places of u's list and C the candidates. In [0, 1]; it grows with the
    number of users. RecBole and rmet divide by all items (RecBole by the padding item too): in item cold start
    1 would be out of reach.

    Args:
        items: (U, K) long, 0 = empty. candidates: (I,) bool. k: cut-off.

    Returns:
        a number; 0 if all lists are empty, NaN without candidates.

    >>> coverage(torch.tensor([[1, 2, 0], [2, 0, 0]]), torch.tensor([False, True, True, True, True]), k=3)
    0.5
    """
    recommended = torch.zeros_like(candidates)
    recommended[_top(items, k)] = True
    return ((recommended & candidates)[1:].sum().double() / candidates[1:].sum()).item()


def long_tail(popularity: Tensor, candidates: Tensor, share: float = LONG_TAIL_SHARE) -> Tensor:
    """The least popular candidates: floor(share * n) of n.

    Items of equal popularity are ordered by item id: at the border the lower ids belong to the tail. Items that are no
    candidates belong neither to the tail nor to the n. A single candidate is no tail. (RecBole's TailPercentage takes
    the tail of the items with training interactions, 10 % by default.)

    Args:
        popularity: (I,) float. candidates: (I,) bool. share: in [0, 1].

    Returns:
        (I,) bool.

    >>> popularity = torch.tensor([0.0, 9.0, 2.0, 0.0, 2.0, 5.0])
    >>> long_tail(popularity, torch.tensor([False, True, True, False, True, True])).nonzero().flatten()
    tensor([2, 4, 5])
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share is {share}, expected a number in [0, 1].")
    ids = candidates[1:].nonzero().squeeze(1) + 1
    ascending = ids[popularity[ids].argsort(stable=True)]
    tail = torch.zeros_like(candidates)
    tail[ascending[: int(share * len(ids) + 1e-9)]] = True  # 0.29 * 100 is 28.999999999999996
    return tail


def _top(lists: Tensor, k: int) -> Tensor:
    """(U, K) lists -> (U, k)."""
    if lists.ndim != 2:
        raise ValueError(f"The lists have shape {tuple(lists.shape)}, expected (users, places).")
    if not 1 <= k <= lists.shape[1]:
        raise ValueError(
            f"k is {k}, expected 1 to {lists.shape[1]}, the number of places in the lists. "
            "Make the lists as long as the largest k; item 0 marks the places that stay empty."
        )
    return lists[:, :k]


def _top_hits(hits: Tensor, n_relevant: Tensor, k: int) -> Tensor:
    """(U, K) hits -> (U, k) bool."""
    top = _top(hits, k).bool()
    if n_relevant.shape != top.shape[:1]:
        raise ValueError(
            f"n_relevant has shape {tuple(n_relevant.shape)}, expected {tuple(top.shape[:1])}, a number a user."
        )
    impossible = (top.sum(1) > n_relevant).nonzero()
    if len(impossible):
        row = int(impossible[0])
        raise ValueError(
            f"n_relevant is {n_relevant[row].item()} in row {row}, whose list has {int(top[row].sum())} hits; expected "
            "the number of all relevant items of the user, in the list or not."
        )
    return top


def _ranks(top: Tensor) -> Tensor:
    """(U, k) -> (k,) the ranks, from 1."""
    return torch.arange(1, top.shape[1] + 1, dtype=torch.double, device=top.device)


def _n_hits(hits: Tensor, n_relevant: Tensor, k: int) -> Tensor:
    """(U, K) bool -> (U,) how many of the first k are hits."""
    return _top_hits(hits, n_relevant, k).sum(1).double()


def _defined(values: Tensor, n_relevant: Tensor) -> Tensor:
    """(U,) values, NaN for the users without a relevant item."""
    return values.masked_fill(n_relevant == 0, NAN)


def _mean_over_items(items: Tensor, values: Tensor, k: int) -> Tensor:
    """(U, K) lists, (I,) values of the items -> (U,) means over the filled places of the first k; NaN without any."""
    top = _top(items, k)
    filled = top > 0
    return values[top].double().masked_fill(~filled, 0).sum(1) / filled.sum(1)


@dataclass(frozen=True)
class Recommendations:
    """The lists of U users and what the metrics need to know about them. I items including item 0.

    Attributes:
        items: (U, K) long, best first, 0 = empty place.
        hits: (U, K) bool, whether the item is relevant to the user; at an empty place it is not read.
        n_relevant: (U,) long, how many relevant items the user has, in the list or not.
        candidates: (I,) bool, the items that were ranked.
        popularity: (I,) float.
        profile_popularity: (U,) float, mean popularity of the items in the user's profile; NaN = no profile.
        map_divisor: what MAP divides by, see :func:`average_precision`.

    Raises:
        ValueError: the shapes do not agree, or ``items`` names one that there is not.
    """

    items: Tensor
    hits: Tensor
    n_relevant: Tensor
    candidates: Tensor
    popularity: Tensor
    profile_popularity: Tensor
    map_divisor: str = MAP_DIVISORS[0]

    def __post_init__(self) -> None:
        if self.items.ndim != 2:
            raise ValueError(f"items has shape {tuple(self.items.shape)}, expected (users, places).")
        if self.candidates.ndim != 1:
            raise ValueError(f"candidates has shape {tuple(self.candidates.shape)}, expected (items,).")
        n_users, n_places = self.items.shape
        expected = {
            "hits": (n_users, n_places),
            "n_relevant": (n_users,),
            "popularity": tuple(self.candidates.shape),
            "profile_popularity": (n_users,),
        }
        for name, shape in expected.items():
            found = tuple(getattr(self, name).shape)
            if found != shape:
                raise ValueError(
                    f"{name} has shape {found}, expected {shape} beside items {tuple(self.items.shape)} "
                    f"and candidates {tuple(self.candidates.shape)}."
                )
        if self.items.numel() and not 0 <= self.items.min() <= self.items.max() < len(self.candidates):
            raise ValueError(
                f"items holds {self.items.min()} to {self.items.max()}, expected 0 to {len(self.candidates) - 1}, the "
                "places of candidates."
            )

    @cached_property
    def filled_hits(self) -> Tensor:
        """(U, K) bool, the hits at places that are not empty."""
        return self.hits.bool() & (self.items > 0)

    @cached_property
    def tail(self) -> Tensor:
        """(I,) bool, the long tail of the candidates, see :func:`long_tail`."""
        return long_tail(self.popularity, self.candidates)


class Metric:
    """A metric gives one value per user or, if it describes all lists together, one value overall.

    Attributes:
        name: as in ``METRICS`` and in result keys (``name@k``).
        higher_is_better: the direction.
        range: lowest and highest possible value.
        empty: what the value is if there is nothing to compute it from.
    """

    name: str
    higher_is_better = True
    range = (0.0, 1.0)
    empty: str

    def per_user(self, recommendations: Recommendations, k: int) -> Tensor | None:
        """(U,) float64, NaN where undefined; None if the metric has no per-user values."""
        return None

    def overall(self, recommendations: Recommendations, k: int) -> float:
        """The value of all lists together, for a metric without per-user values."""
        raise NotImplementedError(f"{type(self).__name__} has to define per_user or overall.")

    def value(self, recommendations: Recommendations, k: int) -> float:
        """The number to report: the mean of the defined per-user values (NaN if none is), or the overall value."""
        values = self.user_values(recommendations, k)
        return self.overall(recommendations, k) if values is None else values.nanmean().item()

    def user_values(self, recommendations: Recommendations, k: int) -> Tensor | None:
        """What ``per_user`` gives, checked.

        Raises:
            OptionError: it is no value for each user.
        """
        values = self.per_user(recommendations, k)
        if values is None:
            return None
        values, expected = torch.as_tensor(values), recommendations.n_relevant.shape
        if values.shape != expected:
            raise OptionError(
                f"per_user of {type(self).__name__} gives {tuple(values.shape)}; expected {tuple(expected)}, a value "
                "for each user, NaN where it is undefined."
            )
        return values.double()


class AccuracyMetric(Metric):
    """A metric that is a function of hits and number of relevant items."""

    empty = "NaN for a user without relevant items, left out of the mean; 0 for an empty list."
    function: Callable[[Tensor, Tensor, int], Tensor]

    def per_user(self, recommendations: Recommendations, k: int) -> Tensor:
        return self.function(recommendations.filled_hits, recommendations.n_relevant, k)


class NDCG(AccuracyMetric):
    """See :func:`ndcg`."""

    name = "ndcg"
    function = staticmethod(ndcg)


class Recall(AccuracyMetric):
    """See :func:`recall`."""

    name = "recall"
    function = staticmethod(recall)


class Precision(AccuracyMetric):
    """See :func:`precision`."""

    name = "precision"
    function = staticmethod(precision)


class MAP(AccuracyMetric):
    """See :func:`average_precision`."""

    name = "map"
    function = staticmethod(average_precision)

    def per_user(self, recommendations: Recommendations, k: int) -> Tensor:
        hits, n_relevant = recommendations.filled_hits, recommendations.n_relevant
        return average_precision(hits, n_relevant, k, recommendations.map_divisor)


class MRR(AccuracyMetric):
    """See :func:`reciprocal_rank`."""

    name = "mrr"
    function = staticmethod(reciprocal_rank)


class FScore(AccuracyMetric):
    """See :func:`f_score`."""

    name = "fscore"
    function = staticmethod(f_score)


class Coverage(Metric):
    """See :func:`coverage`. Without per-user values."""

    name = "coverage"
    empty = "0 if all lists are empty, NaN without candidates."

    def overall(self, recommendations: Recommendations, k: int) -> float:
        return coverage(recommendations.items, recommendations.candidates, k)


class ARP(Metric):
    """See :func:`average_recommendation_popularity`."""

    name = "arp"
    higher_is_better = False
    range = (0.0, float("inf"))
    empty = "NaN for an empty list, left out of the mean."

    def per_user(self, recommendations: Recommendations, k: int) -> Tensor:
        return average_recommendation_popularity(recommendations.items, recommendations.popularity, k)


class APLT(Metric):
    """See :func:`long_tail_share`."""

    name = "aplt"
    empty = "NaN for an empty list, left out of the mean."

    def per_user(self, recommendations: Recommendations, k: int) -> Tensor:
        return long_tail_share(recommendations.items, recommendations.tail, k)


class PL(Metric):
    """See :func:`popularity_lift`.

    The value is signed and best at 0. ``higher_is_better = False`` is right for positive values, the usual case of
    lists more popular than profiles; between values of which one is negative compare the absolute values.
    """

    name = "pl"
    higher_is_better = False
    range = (-1.0, float("inf"))
    empty = "NaN for an empty list and for a user without profile or with one of popularity 0, left out of the mean."

    def per_user(self, recommendations: Recommendations, k: int) -> Tensor:
        return popularity_lift(recommendations.items, recommendations.popularity, recommendations.profile_popularity, k)


def _wrong(name: str, metric: Any) -> str:
    if not isinstance(metric, Metric):
        return f"a Metric, such as {metric.__name__ if isinstance(metric, type) else 'NDCG'}()"
    if type(metric).per_user is Metric.per_user and type(metric).overall is Metric.overall:
        return "a metric that defines per_user or overall"
    own = getattr(metric, "name", None)
    return "" if name == own == name.lower() else f"the metric's own name, which is {own!r}, in small letters"


METRICS: Registry[Metric] = Registry(
    "METRICS",
    _wrong,
    {
        metric.name: metric
        for metric in (NDCG(), Recall(), Precision(), MAP(), MRR(), FScore(), Coverage(), ARP(), APLT(), PL())
    },
)


def evaluate(
    recommendations: Recommendations, metrics: Iterable[str] | str, ks: Iterable[int] | int
) -> dict[str, float]:
    """The value of each metric at each cut-off.

    Args:
        metrics: names out of ``METRICS``, or one. ks: cut-offs, none larger than K, or one.

    Returns:
        {"ndcg@10": value, ...}, in the order asked for.

    Raises:
        OptionError: a metric is unknown.

    >>> recommendations = Recommendations(
    ...     items=torch.tensor([[1, 2], [2, 3]]),
    ...     hits=torch.tensor([[True, False], [False, True]]),
    ...     n_relevant=torch.tensor([1, 1]),
    ...     candidates=torch.tensor([False, True, True, True, True]),
    ...     popularity=torch.tensor([0.0, 3.0, 5.0, 1.0, 1.0]),
    ...     profile_popularity=torch.tensor([2.0, float("nan")]),
    ... )
    >>> evaluate(recommendations, ["recall", "mrr", "coverage", "pl"], [2])
    {'recall@2': 1.0, 'mrr@2': 0.75, 'coverage@2': 0.75, 'pl@2': 1.0}
    >>> evaluate(recommendations, "NDCG", 1)
    {'ndcg@1': 0.5}
    """
    return {f"{metric.name}@{k}": metric.value(recommendations, k) for metric, k in _product(metrics, ks)}


def per_user_table(
    recommendations: Recommendations, metrics: Iterable[str] | str, ks: Iterable[int] | int
) -> dict[str, Tensor]:
    """The per-user values of each metric that has them, at each cut-off.

    Args:
        metrics: names out of ``METRICS``. ks: cut-offs, none larger than K.

    Returns:
        {"ndcg@10": (U,) float64, ...}, NaN where undefined, in the order asked for.

    Raises:
        OptionError: a metric is unknown.
    """
    table = {f"{metric.name}@{k}": metric.user_values(recommendations, k) for metric, k in _product(metrics, ks)}
    return {key: values for key, values in table.items() if values is not None}


def _product(metrics: Iterable[str] | str, ks: Iterable[int] | int) -> list[tuple[Metric, int]]:
    names = [name.lower() for name in ([metrics] if isinstance(metrics, str) else metrics)]
    ks = [ks] if isinstance(ks, int) else list(ks)
    for name in names:
        if name not in METRICS:
            raise OptionError(f"metrics names {name!r}, which is unknown. {nearest(name, METRICS)}")
    return [(METRICS[name], k) for name in names for k in ks]
