"""Users of validation and test have no training interaction; all training items are ranked."""

from torch import Tensor

from recbole_sibrar.scenarios.scenario import Scenario


class UserCold(Scenario):
    name = "user_cold"
    help = "users 8:1:1"
    cold_sides = ("user",)
    options = {"single_branch": "user", "content_side": "user"}

    def candidates(self, everything: Tensor, trained: Tensor, own: Tensor) -> Tensor:
        return trained
