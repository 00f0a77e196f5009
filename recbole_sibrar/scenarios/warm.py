"""Users and items are known: each user's interactions are split."""

from recbole_sibrar.scenarios.scenario import Scenario


class Warm(Scenario):
    name = "warm"
    help = "each user's interactions 8:1:1"
