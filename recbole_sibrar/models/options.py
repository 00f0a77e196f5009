"""The options of SiBraR and MuBraR: one frozen object, built and checked once, before anything is loaded or trained."""

from dataclasses import dataclass, replace

from recbole_sibrar.checked import option
from recbole_sibrar.data.modalities import INTERACTIONS, SIDES
from recbole_sibrar.errors import OptionError
from recbole_sibrar.kinds import Inputs
from recbole_sibrar.layers import ACTIVATION_LAYERS
from recbole_sibrar.models.fusion import FUSIONS
from recbole_sibrar.models.imputation import ImputeOptions

VARIANTS = ("base", "S", "SC")
SAMPLED = ("S", "SC")
CONTRASTING = {"variant": ("SC",)}
SIDE_CHOICES = ("item", "user", "both")
PLAIN_SIDES = ("interactions", "embedding")
PLAIN_ACTIVATIONS = ("none", *ACTIVATION_LAYERS)
REC_LOSSES = ("bpr", "softmax")
SAMPLINGS = ("fixed", "interactions", "subset")
DRAWS = ("occurrence", "entity")
SIMILARITIES = ("inner", "cosine")
CONTRASTIVE_SETS = ("negatives", "batch")
SOFTMAX_TARGETS = ("all", "hidden")


@dataclass(frozen=True)
class ModelOptions(Inputs, ImputeOptions):
    """What a SiBraR or MuBraR model is made of. The defaults are those of the preset ``paper``."""

    variant: str = option(
        "base: all modalities; S: modality sampling; SC: sampling and a contrastive loss", VARIANTS, default="SC"
    )
    single_branch: str = option("the side whose modalities are encoded", SIDE_CHOICES, default="item")
    plain_side: str = option(
        "the other side: its interaction profile through a network of its own, or an id embedding",
        PLAIN_SIDES,
        needs={"single_branch": SIDE_CHOICES[:2]},
        default="interactions",
    )
    plain_activation: str = option(
        "on the other side's interaction profile",
        PLAIN_ACTIVATIONS,
        needs={"single_branch": SIDE_CHOICES[:2], "plain_side": ("interactions",)},
        default="selu",
    )
    embedding_size: int = option("width d of the shared space", low=1, default=64)
    projection_size: int | None = option("common width d_c of the projections; d by default", low=1, default=128)
    projection_hidden_sizes: list = option("hidden layers before the common width", default_factory=list)
    encoder_hidden_sizes: list = option("hidden layers of the encoder", default_factory=lambda: [128, 128])
    activate_input: bool = option("activation before the first layer of the encoder, of every modality", default=False)
    activate_output: bool = option("activation on the output of the encoder", default=False)
    batch_norm: bool = option("after every second linear layer of the encoder", default=True)
    normalize_input: bool = option("L2-normalise the projected modalities", default=True)
    input_dropout: float = option("dropout on the projected modalities", low=0, high=0.99, default=0.02)
    fusion: str = option("how an entity's modalities become its embedding", FUSIONS, default="mean")
    joint_modality: bool = option(
        "the sum of an entity's projected modalities goes through the encoder, too, as one more modality", default=False
    )
    ensemble_size: int = option("networks trained side by side, whose scores are added", low=1, default=1)
    content_prior: float = option(
        "weight of a kernel ridge from content (KernelRidge), to which training adds; 0: none", low=0, default=0.0
    )
    interaction_prior: float = option(
        "weight of a linear autoencoder of the interactions (LinearAutoencoder), added in evaluation; 0: none",
        low=0,
        default=0.0,
    )
    interaction_ridge: float = option(
        "weight of a ridge regression of an entity's interactions on the other side's embeddings, added in evaluation; "
        "0: none",
        low=0,
        default=0.0,
    )
    interaction_kernel: float = option(
        "weight of a kernel ridge regression of a user's interactions on the items' embeddings by content, added in "
        "evaluation; 0: none",
        low=0,
        default=0.0,
    )
    user_kernel: float = option(
        "weight of a kernel ridge regression of an item's interactions on the users' embeddings, added in evaluation; "
        "0: none",
        low=0,
        default=0.0,
    )
    new_user_kernel: float = option(
        "weight of a kernel ridge regression of who has an item on the users' embeddings by content, for users without "
        "interactions, added in evaluation; 0: none",
        low=0,
        default=0.0,
    )
    calibration: bool = option(
        "after training, multiply the embeddings of items without interactions, for each choice of up to 8 content "
        "modalities, by what validation in cold start shows to be right, and bring their scores to the other items' "
        "level",
        needs={"single_branch": ("item", "both")},
        default=False,
    )
    rec_loss: str = option("the papers' bpr, or softmax over the training catalogue", REC_LOSSES, default="bpr")
    softmax_targets: str = option(
        "all of a user's items, or only those that interaction_dropout hides from the user's profile (hidden)",
        SOFTMAX_TARGETS,
        needs={"rec_loss": ("softmax",)},
        default="all",
    )
    softmax_negatives: int = option(
        "negatives shared by the batch; 0: the whole training catalogue up to 20,000 items, 4,096 beyond",
        low=0,
        needs={"rec_loss": ("softmax",)},
        default=0,
    )
    modality_sampling: str = option(
        "fixed: N_mod modalities; interactions: these and N_mod - 1 others; subset: a random subset of any size, and "
        "two disjoint ones to contrast",
        SAMPLINGS,
        needs={"variant": SAMPLED},
        default="fixed",
    )
    n_sampled_modalities: int | None = option(
        "N_mod; 1 for S and 2 for SC by default", low=1, needs={"variant": SAMPLED}, default=None
    )
    modality_draw: str = option(
        "modalities are drawn for each occurrence in the batch (bpr), or once for each entity in it",
        DRAWS,
        needs={"variant": SAMPLED},
        default="occurrence",
    )
    contrastive_weight: float = option(
        "alpha, the weight of the contrastive loss", low=0, needs=CONTRASTING, default=0.001
    )
    temperature: float = option("tau of the contrastive loss", low=1e-6, needs=CONTRASTING, default=0.1)
    contrastive_similarity: str = option(
        "of two embeddings in the contrastive loss: inner product or cosine",
        SIMILARITIES,
        needs=CONTRASTING,
        default="inner",
    )
    contrastive_set: str = option(
        "entities contrasted with each other: a user's positive and negatives (bpr), or those of the batch",
        CONTRASTIVE_SETS,
        needs=CONTRASTING,
        default="negatives",
    )
    contrastive_batch_size: int = option(
        "at most so many entities in a batch's contrastive set",
        low=2,
        needs={**CONTRASTING, "contrastive_set": ("batch",)},
        default=512,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.variant == "SC" and self.n_sampled_modalities == 1:
            raise OptionError("n_sampled_modalities is 1, but variant SC contrasts two; leave it out or use variant S.")
        if self.modality_sampling == "subset" and self.n_sampled_modalities is not None:
            raise OptionError(
                f"n_sampled_modalities is {self.n_sampled_modalities}, but with modality_sampling=subset the number is "
                "random; leave one of the two out."
            )
        if self.modality_sampling == "interactions" and self.samples:
            self._check_interactions_drawn()
        if self.rec_loss == "softmax":
            for name, needed in (("contrastive_set", "batch"), ("modality_draw", "entity")):
                if getattr(self, name) != needed:
                    raise OptionError(
                        f"{name} is {getattr(self, name)!r}, which needs rec_loss=bpr: the softmax loss has no "
                        f"negatives per user. Use --{name}={needed} with it."
                    )

        if self.hides_targets and not self.interaction_dropout:
            raise OptionError(
                "softmax_targets is 'hidden', but interaction_dropout is 0, so that nothing is left "
                "to predict; use an interaction_dropout such as 0.3, or --softmax_targets=all."
            )

    def _check_interactions_drawn(self) -> None:
        if self.n_sampled == 1:
            raise OptionError(
                "modality_sampling is 'interactions', but N_mod is 1, so that nothing else would be drawn; use variant "
                "SC, or an n_sampled_modalities of 2 or more."
            )
        for side in SIDES:
            names = self.modalities(side)
            if self.is_single_branch(side) and names is not None and INTERACTIONS not in names:
                raise OptionError(
                    f"modality_sampling is 'interactions', but {side}_modalities is {names}, without them; add "
                    f"{INTERACTIONS!r}, or use modality_sampling=fixed."
                )

    @property
    def hides_targets(self) -> bool:
        return self.rec_loss == "softmax" and self.softmax_targets == "hidden"

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

    def of_plain_side(self) -> "ModelOptions":
        """The options of the side that is not single-branch: one layer, with an activation of its own, and no more."""
        activates = self.plain_activation != "none"
        return replace(
            self,
            activation=self.plain_activation if activates else self.activation,
            activate_projections="dense" if activates else "none",
            normalize_input=False,
            input_dropout=0.0,
            joint_modality=False,
        )

    def read_modalities(self, side: str) -> list[str] | None:
        return self.modalities(side) if self.is_single_branch(side) else [INTERACTIONS]

    @property
    def batches(self) -> str:
        return "pairs" if self.rec_loss == "bpr" else "users"
