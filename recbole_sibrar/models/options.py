"""The options of SiBraR and MuBraR: one frozen object, built and checked once, before anything is loaded or trained."""

from dataclasses import dataclass

from recbole_sibrar.data.modalities import INTERACTIONS
from recbole_sibrar.errors import OptionError
from recbole_sibrar.models.checked import CheckedOptions, option
from recbole_sibrar.models.fusion import FUSIONS
from recbole_sibrar.models.layers import ACTIVATION_LAYERS

VARIANTS = ("base", "S", "SC")
SIDE_CHOICES = ("item", "user", "both")
PLAIN_SIDES = ("interactions", "embedding")
REC_LOSSES = ("softmax", "bpr")
CONTRASTIVE_SETS = ("negatives", "batch")


@dataclass(frozen=True)
class ModelOptions(CheckedOptions):
    """What a SiBraR or MuBraR model is made of."""

    variant: str = option(
        "base: all modalities; S: modality sampling; SC: sampling and a contrastive loss", VARIANTS, default="SC"
    )
    single_branch: str = option("the side whose modalities are encoded", SIDE_CHOICES, default="item")
    plain_side: str = option(
        "the other side: its interaction profile through a network of its own, or an id embedding",
        PLAIN_SIDES,
        default="interactions",
    )
    embedding_size: int = option("width d of the shared space", low=1, default=64)
    projection_size: int | None = option("common width d_c of the projections; d by default", low=1, default=None)
    projection_hidden_sizes: list = option("hidden layers before the common width", default_factory=list)
    encoder_hidden_sizes: list = option("hidden layers of the encoder", default_factory=list)
    activation: str = option("between the layers", tuple(ACTIVATION_LAYERS), default="relu")
    batch_norm: bool = option("after every second linear layer of the encoder and on its output", default=False)
    normalize_input: bool = option("L2-normalise the projected modalities", default=False)
    fusion: str = option("how an entity's modalities become its embedding", tuple(FUSIONS), default="attention")
    content_prior: float = option(
        "weight of a closed-form recommendation from content, to which training adds; 0: none", low=0, default=0.0
    )
    interaction_prior: float = option(
        "weight of a closed-form recommendation from interactions, added in evaluation; 0: none", low=0, default=0.0
    )
    input_dropout: float = option("dropout on the projected modalities", low=0, high=0.99, default=0.0)
    interaction_dropout: float = option(
        "share of an interaction profile hidden in training", low=0, high=0.99, default=0.7
    )
    rec_loss: str = option("softmax over the training catalogue, or the papers' bpr", REC_LOSSES, default="softmax")
    softmax_negatives: int = option("negatives shared by the batch; 0: the whole training catalogue", low=0, default=0)
    n_sampled_modalities: int | None = option("N_mod; 1 for S and 2 for SC by default", low=1, default=None)
    contrastive_weight: float = option("alpha, the weight of the contrastive loss", low=0, default=0.2)
    temperature: float = option("tau of the contrastive loss", low=1e-6, default=0.2)
    contrastive_set: str = option(
        "entities contrasted with each other: a user's positive and negatives (bpr), or those of the batch",
        CONTRASTIVE_SETS,
        default="batch",
    )
    contrastive_batch_size: int = option("at most so many entities in a batch's contrastive set", low=2, default=512)

    def __post_init__(self):
        super().__post_init__()
        if self.variant == "SC" and self.n_sampled_modalities == 1:
            raise OptionError("n_sampled_modalities is 1, but variant SC contrasts two; leave it out or use variant S.")
        if self.contrastive_set == "negatives" and self.rec_loss != "bpr" and self.variant == "SC":
            raise OptionError(
                "contrastive_set=negatives needs rec_loss=bpr: the softmax loss has no negatives per user."
            )

    @property
    def samples(self) -> bool:
        return self.variant != "base"

    @property
    def contrasts(self) -> bool:
        return self.variant == "SC"

    @property
    def n_sampled(self) -> int:
        """N_mod: how many modalities of an entity a training step looks at."""
        return self.n_sampled_modalities or (2 if self.contrasts else 1)

    def is_single_branch(self, side: str) -> bool:
        return self.single_branch in (side, "both")

    def read_modalities(self, side: str):
        return self.modalities(side) if self.is_single_branch(side) else [INTERACTIONS]

    @property
    def batches(self) -> str:
        return "pairs" if self.rec_loss == "bpr" else "users"
