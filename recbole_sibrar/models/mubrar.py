"""MuBraR: an encoder for each modality."""

from recbole_sibrar.models.encoders import EncoderPerModality
from recbole_sibrar.models.new_items import LevelRecommender


class MuBraR(LevelRecommender):
    """Multi-branch recommender, the counterpart of SiBraR (Ganhör et al., TORS 2025)."""

    encoder_class = EncoderPerModality
