"""KernelRidge: regression from content with a kernel that sees the modalities together."""

from dataclasses import dataclass

from recbole_sibrar.checked import option
from recbole_sibrar.kinds import WEIGHTS
from recbole_sibrar.models.decomposition import EXACT
from recbole_sibrar.models.features import LinearFeatures
from recbole_sibrar.models.priors.kernel import GAMMA, KernelComponents
from recbole_sibrar.models.regression import ContentRegression, RegressionOptions


@dataclass(frozen=True)
class KernelRidgeOptions(RegressionOptions):
    """What a KernelRidge is made of."""

    rank: int = option("width of the vectors, at most", low=1, default=ContentRegression.FACTORS)
    gamma: float = option("of the Gaussian kernel, in units of the features' mean square", low=1e-9, default=GAMMA)


class KernelRidge(ContentRegression):
    """Kernel ridge regression, also where content is missing, which is estimated from what there is."""

    options_class = KernelRidgeOptions
    ANCHORS = 3072

    def make_components(self, limit: int) -> KernelComponents:
        content, trained = self.content_in_training, self.trained(self.content_side)
        features = LinearFeatures(content, trained, WEIGHTS)
        n_anchors = EXACT if self.n_trained <= EXACT else self.ANCHORS
        limit = min(limit, self.options.rank)
        return KernelComponents(content, trained, features, limit, self.seed, n_anchors, self.options.gamma)
