"""The priors: closed-form recommendations from content and from interactions, beside what a model learns."""

from recbole_sibrar.models.priors.content import ContentPrior
from recbole_sibrar.models.priors.interactions import InteractionPrior

PRIORS = {"content_prior": ContentPrior, "interaction_prior": InteractionPrior}
"""{the option that adds one to SiBraR or MuBraR: the prior}."""

__all__ = ["PRIORS", "ContentPrior", "InteractionPrior"]
