"""KernelRidge: regression from content with a kernel that sees the modalities together."""

from dataclasses import dataclass

from recbole_sibrar.data.sparse import SparseRows
from recbole_sibrar.models.checked import option
from recbole_sibrar.models.priors.content import ContentPrior
from recbole_sibrar.models.priors.kernel import GAMMA
from recbole_sibrar.models.priors.prior import variation
from recbole_sibrar.models.regression import ContentRegression, RegressionOptions


@dataclass(frozen=True)
class KernelRidgeOptions(RegressionOptions):
    """What a KernelRidge is made of."""

    rank: int = option("width of the vectors", low=1, default=256)
    gamma: float = option("of the Gaussian kernel, in units of the features' mean square", low=1e-9, default=GAMMA)


class KernelRidge(ContentRegression):
    """Kernel ridge regression of a reduced rank, also where content is missing (``priors.content``).

    What an entity lacks is estimated from what it has, by a second regression.
    """

    options_class = KernelRidgeOptions

    def __init__(self, options: KernelRidgeOptions, modalities: dict, interactions: SparseRows, seed: int):
        super().__init__(options, modalities, interactions, seed)
        side, other = self.sides[self.content_side], self.sides[self.other_side]
        self.regression = ContentPrior(
            self.modalities[self.content_side],
            side.trained,
            len(other.trained),
            profile=0,
            strength=1.0,
            rank=options.rank,
            gamma=options.gamma,
        )

    @property
    def n_parameters(self):
        """The coefficients of the kernel, which are solved for and not trained."""
        return self.regression.coefficients.numel()

    def solve(self, penalty):
        return self.regression.solve(self.matrix(), penalty)

    def vectors(self, ids, used):
        return self.regression.own(ids, used)

    def vectors_of(self, features, used):
        return self.regression.own_of(features, used)

    def trained_vectors(self):
        return self.regression.of_side

    def mean_weight(self):
        """Scores are in standard deviations of the interactions, and so is the mean."""
        matrix = self.matrix()
        variance = variation(matrix, self.n_trained) / (self.n_trained * len(matrix.lengths))
        return float(variance.clamp(min=1e-12).rsqrt()) if variance > 0 else 1.0
