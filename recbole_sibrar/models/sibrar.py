"""SiBraR: every modality goes through one shared encoder."""

from recbole_sibrar.models.encoders import SharedEncoder
from recbole_sibrar.models.new_items import LevelRecommender


class SiBraR(LevelRecommender):
    """Single-branch recommender (Ganhör et al., RecSys 2024; TORS 2025)."""

    encoder_class = SharedEncoder
