"""Which modalities are left: subsets of them, and what a metric on each subset says about each modality."""

from collections.abc import Iterable

import numpy as np
import pandas as pd

from recbole_sibrar.errors import OptionError


def modality_subsets(names: Iterable[str], limit: int, seed: int = 0) -> list[tuple[str, ...]]:
    """The subsets to evaluate, from none to all, each a tuple in the order of ``names``.

    All 2^M if they are at most ``limit``. Otherwise the subsets along random orders, in which the modalities are added
    one by one: every size is met equally often, and each subset has a neighbour with one modality more.

    Raises:
        OptionError: the limit is below M + 1, so that not even one order fits.

    >>> modality_subsets(["plot", "poster"], limit=4)
    [(), ('plot',), ('poster',), ('plot', 'poster')]
    >>> [len(subset) for subset in modality_subsets("abcdefghij", limit=11)]
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]
    """
    names = list(names)
    n = len(names)
    if limit < n + 1:
        raise OptionError(f"At most {limit} subsets of {n} modalities; expected at least {n + 1}.")
    if n < 31 and 2**n <= limit:
        masks = {tuple(bool(code >> m & 1) for m in range(n)) for code in range(2**n)}
    else:
        generator, masks = np.random.default_rng(seed), set()
        while True:
            order = generator.permutation(n)
            chain = {tuple((np.isin(np.arange(n), order[:size])).tolist()) for size in range(n + 1)}
            if len(masks | chain) > limit:
                break
            masks |= chain
    ordered = sorted(masks, key=lambda mask: (sum(mask), [not bit for bit in mask]))
    return [tuple(name for name, kept in zip(names, mask) if kept) for mask in ordered]


def quality_curve(values: dict[tuple[str, ...], float]) -> pd.DataFrame:
    """Quality against the number of modalities left (TORS 2025, figure 7).

    Args:
        values: {subset: metric}.

    Returns:
        n_modalities, n_subsets, mean, min, max: over the subsets of each size.
    """
    table = pd.DataFrame({"n_modalities": [len(subset) for subset in values], "value": list(values.values())})
    groups = table.groupby("n_modalities")["value"]
    return groups.agg(n_subsets="count", mean="mean", min="min", max="max").reset_index()


def contributions(values: dict[tuple[str, ...], float], names: Iterable[str]) -> pd.DataFrame:
    """What each modality adds.

    Args:
        values: {subset: metric}, subsets as ``modality_subsets`` gives them.

    Returns:
        a row for each modality: ``alone``, the gain over no modality at all; ``mean``, the mean gain of adding it to a
        subset without it; ``last``, the gain when all others are there (near 0 for one that another one replaces);
        ``n_pairs``, the pairs of subsets behind the mean. NaN where a subset was not evaluated.

    >>> values = {(): 0.0, ("a",): 0.4, ("b",): 0.1, ("a", "b"): 0.4}
    >>> contributions(values, ["a", "b"]).round(2).to_dict("records")[1]
    {'modality': 'b', 'alone': 0.1, 'mean': 0.05, 'last': 0.0, 'n_pairs': 2}
    """
    by_set = {frozenset(subset): value for subset, value in values.items()}
    everything = frozenset(names)
    rows = []
    for name in names:
        gains = {
            subset: by_set[subset | {name}] - value
            for subset, value in by_set.items()
            if name not in subset and subset | {name} in by_set
        }
        rows.append(
            {
                "modality": name,
                "alone": gains.get(frozenset(), np.nan),
                "mean": float(np.mean(list(gains.values()))) if gains else np.nan,
                "last": gains.get(everything - {name}, np.nan),
                "n_pairs": len(gains),
            }
        )
    return pd.DataFrame(rows)
