"""The priors: closed-form recommendations from content and from interactions, beside what a model learns."""

from recbole_sibrar.models.priors.content import ContentPrior
from recbole_sibrar.models.priors.interactions import InteractionPrior

__all__ = ["ContentPrior", "InteractionPrior"]
