"""Items of validation and test have no training interaction; the phase's own items are ranked."""

from torch import Tensor

from recbole_sibrar.scenarios.scenario import Scenario


class ItemCold(Scenario):
    name = "item_cold"
    help = "items 8:1:1"
    cold_sides = ("item",)

    def candidates(self, everything: Tensor, trained: Tensor, own: Tensor) -> Tensor:
        return own
