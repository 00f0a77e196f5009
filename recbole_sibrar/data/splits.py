"""Cold-start splits: which entities are kept out of training, and the checks that a given split obeys the scenario."""

import math
from collections.abc import Sequence

import numpy as np

from recbole_sibrar.errors import DataError, OptionError

PHASES = ("train", "valid", "test")
SPLIT_ROUNDINGS = ("usual", "up")


def rounded_up(n: int, shares: Sequence[float]) -> tuple[int, int, int]:
    """Sizes of train, valid and test of ``n`` things, of which valid and test get at least their share.

    Something is left to train on: where there is too little for all three, valid is the first to go without.

    Args:
        shares: of train, valid, test; need not sum to 1.

    >>> rounded_up(11, [0.8, 0.1, 0.1]), rounded_up(10, [8, 1, 1]), rounded_up(2, [0.8, 0.1, 0.1])
    ((7, 2, 2), (8, 1, 1), (1, 0, 1))
    """
    total = sum(shares)
    n_valid, n_test = (math.ceil(round(share / total * n, 9)) for share in shares[1:])
    n_test = min(n_test, n - 1)
    n_valid = min(n_valid, n - 1 - n_test)
    return n - n_valid - n_test, n_valid, n_test


def draw_entities(
    entities: np.ndarray, ratios: Sequence[float], seed: int | tuple[int, ...], rounding: str = SPLIT_ROUNDINGS[0]
) -> tuple[np.ndarray, np.ndarray]:
    """Draw the entities of train, valid and test.

    Args:
        entities: (N,) the entity of each interaction.
        ratios: the shares of *entities* for train, valid, test; valid and test are rounded to the nearest integer, or
            ``up``, and get at least one entity each.
        seed: the draw depends on it and on the set of entities, not on the order of the interactions.

    Returns:
        (E,) the entities, ascending; (E,) the part of each: 0, 1 or 2.

    >>> [values.tolist() for values in draw_entities(np.array([5, 5, 7, 9]), [0.8, 0.1, 0.1], seed=0)]
    [[5, 7, 9], [2, 0, 1]]
    """
    unique = np.unique(entities)
    shares = np.asarray(ratios, dtype=float)
    if shares.shape != (3,) or (shares <= 0).any():
        raise OptionError(f"The split ratios are {ratios!r}; expected three positive numbers such as [0.8, 0.1, 0.1].")
    n_valid, n_test = np.maximum(1, np.rint(shares[1:] / shares.sum() * len(unique))).astype(int)
    if rounding == "up":
        _, n_valid, n_test = rounded_up(len(unique), ratios)
    if min(len(unique) - n_valid - n_test, n_valid, n_test) < 1:
        raise DataError(f"{len(unique)} entities are too few for a cold-start split; at least 3 are needed.")
    part = np.zeros(len(unique), dtype=int)
    order = np.random.default_rng(seed).permutation(len(unique))
    part[order[:n_valid]] = 1
    part[order[n_valid : n_valid + n_test]] = 2
    return unique, part


def check_disjoint(scenario: str, side: str, parts: dict[str, np.ndarray], tokens: np.ndarray) -> None:
    """A split given as files must keep the entities of a cold side apart.

    Args:
        scenario: its name, for the message.
        side: which one is cold.
        parts: {phase: (n,) the side's entity of each interaction}.
        tokens: (n_entities,) their names, for the message.

    Raises:
        DataError: an entity occurs in two phases.
    """
    for first, second in (("train", "valid"), ("train", "test"), ("valid", "test")):
        shared = np.intersect1d(parts[first], parts[second])
        if len(shared):
            examples = ", ".join(str(tokens[entity]) for entity in shared[:3])
            raise DataError(
                f"The split files break {scenario}: {len(shared)} {side}s (such as {examples}) occur in both {first} "
                f"and {second}. Each {side} may occur in one file only; or use --scenario=warm."
            )
