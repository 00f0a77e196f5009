"""The ways to split and to rank: a file for each scenario, and a name in this list."""

from recbole_sibrar.errors import OptionError, nearest
from recbole_sibrar.scenarios.both_cold import BothCold
from recbole_sibrar.scenarios.item_cold import ItemCold
from recbole_sibrar.scenarios.scenario import Scenario
from recbole_sibrar.scenarios.user_cold import UserCold
from recbole_sibrar.scenarios.warm import Warm

ALL: list[Scenario] = [Warm(), UserCold(), ItemCold(), BothCold()]

SCENARIOS = {scenario.name: scenario for scenario in ALL}
COMPARED = tuple(scenario.name for scenario in ALL if scenario.is_compared)
DEFAULT_SCENARIO = Warm.name


def scenario_named(name: str) -> Scenario:
    """
    Raises:
        OptionError: there is none of this name.
    """
    if not isinstance(name, str) or name not in SCENARIOS:
        raise OptionError(f"Unknown scenario {name!r}. {nearest(name, SCENARIOS)}")
    return SCENARIOS[name]
