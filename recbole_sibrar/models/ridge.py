"""ContentRidge: linear regression from content."""

from dataclasses import dataclass

from recbole_sibrar.kinds import WEIGHTS, BlockWeights
from recbole_sibrar.models.components import LinearComponents
from recbole_sibrar.models.features import LinearFeatures
from recbole_sibrar.models.regression import ContentRegression, RegressionOptions


@dataclass(frozen=True)
class ContentRidgeOptions(BlockWeights, RegressionOptions):
    """What a ContentRidge is made of."""


class ContentRidge(ContentRegression):
    """Ridge regression with the features of ``features``, centred: modalities side by side.

    Where there are many components it keeps those that serve the regression (``Components``).
    """

    options_class = ContentRidgeOptions

    def make_components(self, limit: int) -> LinearComponents:
        content, trained = self.content_in_training, self.trained(self.content_side)
        weights = {name: getattr(self.options, f"{name}_weight") for name in WEIGHTS}
        return LinearComponents(content, trained, LinearFeatures(content, trained, weights), limit, self.seed)
