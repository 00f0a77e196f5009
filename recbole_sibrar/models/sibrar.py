"""SiBraR: every modality goes through one shared encoder."""

from recbole_sibrar.models.encoders import SharedEncoder
from recbole_sibrar.models.recommender import BranchRecommender


class SiBraR(BranchRecommender):
    """Single-branch recommender (Ganhör et al., RecSys 2024; TORS 2025)."""

    encoder_class = SharedEncoder
