"""MuBraR: an encoder for each modality."""

from recbole_sibrar.models.encoders import EncoderPerModality
from recbole_sibrar.models.recommender import BranchRecommender


class MuBraR(BranchRecommender):
    """Multi-branch recommender, the counterpart of SiBraR (Ganhör et al., TORS 2025)."""

    encoder_class = EncoderPerModality
