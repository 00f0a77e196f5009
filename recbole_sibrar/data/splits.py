"""Cold-start splits: which entities are kept out of training, and the checks that a given split obeys the scenario."""

import numpy as np

from recbole_sibrar.errors import DataError, OptionError, nearest

WARM, USER_COLD, ITEM_COLD = SCENARIOS = ("warm", "user_cold", "item_cold")
COLD_SIDE = {USER_COLD: "user", ITEM_COLD: "item"}
PHASES = ("train", "valid", "test")


def check_scenario(scenario: str) -> str:
    if scenario not in SCENARIOS:
        raise OptionError(f"Unknown scenario {scenario!r}. {nearest(scenario, SCENARIOS)}")
    return scenario


def cold_start_split(entities: np.ndarray, ratios, seed: int) -> list:
    """Split interactions by entity: all interactions of one entity go to the same part.

    Args:
        entities: (N,) the cold side's entity of each interaction.
        ratios: the shares of *entities* for train, valid, test; valid and test are rounded to the nearest integer
            and get at least one entity each.
        seed: the split depends on it and on the set of entities, not on the order of the interactions.

    Returns:
        three index arrays into the interactions.

    >>> [part.tolist() for part in cold_start_split(np.array([5, 5, 7, 9]), [0.8, 0.1, 0.1], seed=0)]
    [[2], [3], [0, 1]]
    """
    unique, inverse = np.unique(entities, return_inverse=True)
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
    return [np.flatnonzero(part[inverse] == phase) for phase in range(3)]


def check_disjoint(scenario: str, parts: dict, tokens) -> None:
    """A split given as files must keep the cold side's entities apart.

    Args:
        scenario: one of ``SCENARIOS``.
        parts: {phase: (n,) the cold side's entity of each interaction}.
        tokens: (n_entities,) their names, for the message.

    Raises:
        DataError: an entity occurs in two phases.
    """
    if scenario == WARM:
        return
    side = "user" if scenario == USER_COLD else "item"
    for first, second in (("train", "valid"), ("train", "test"), ("valid", "test")):
        shared = np.intersect1d(parts[first], parts[second])
        if len(shared):
            examples = ", ".join(str(tokens[entity]) for entity in shared[:3])
            raise DataError(
                f"The split files break {scenario}: {len(shared)} {side}s (such as {examples}) occur in both {first} "
                f"and {second}. Each {side} may occur in one file only; or use --scenario=warm."
            )
