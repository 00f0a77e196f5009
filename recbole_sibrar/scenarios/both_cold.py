"""Users and items of validation and test have no training interaction; the phase's own items are ranked.

The interactions of a user of one part with an item of another are left out: with 8:1:1 of both, training has about two
thirds of the interactions, validation and test a hundredth each.
"""

from torch import Tensor

from recbole_sibrar.scenarios.scenario import Scenario


class BothCold(Scenario):
    name = "both_cold"
    help = "users 8:1:1 and items 8:1:1; what is between the parts is left out"
    cold_sides = ("user", "item")
    options = {"single_branch": "both", "content_side": "item"}
    is_compared = False

    def candidates(self, everything: Tensor, trained: Tensor, own: Tensor) -> Tensor:
        return own
