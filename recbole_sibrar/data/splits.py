"""Cold-start splits: which entities are kept out of training, and the checks that a given split obeys the scenario."""

from typing import Any

import numpy as np

from recbole_sibrar.errors import DataError, OptionError

PHASES = ("train", "valid", "test")


def draw_entities(entities: np.ndarray, ratios: Any, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw the entities of train, valid and test.

    Args:
        entities: (N,) the entity of each interaction.
        ratios: the shares of *entities* for train, valid, test; valid and test are rounded to the nearest integer
            and get at least one entity each.
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
    if len(unique) - n_valid - n_test < 1:
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
