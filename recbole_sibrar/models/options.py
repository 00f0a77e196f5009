"""The options of SiBraR and MuBraR: one frozen object, built and checked once, before anything is loaded or trained."""

from dataclasses import dataclass, field, fields

from recbole_sibrar.data.modalities import parse_names
from recbole_sibrar.errors import OptionError, nearest

VARIANTS = ("base", "S", "SC")
SIDE_CHOICES = ("item", "user", "both")
PLAIN_SIDES = ("interactions", "embedding")
REC_LOSSES = ("softmax", "bpr")
CONTRASTIVE_SETS = ("negatives", "batch")
FUSION_CHOICES = ("mean", "gated", "attention")
ACTIVATIONS = ("relu", "leaky_relu", "tanh", "sigmoid", "gelu")


def _option(help, choices=None, low=None, high=None, **kwargs):
    return field(metadata={"help": help, "choices": choices, "low": low, "high": high}, **kwargs)


@dataclass(frozen=True)
class ModelOptions:
    """What a SiBraR or MuBraR model is made of. The defaults stand in ``props/model/*.yaml``; a test compares them."""

    variant: str = _option(
        "base: all modalities; S: modality sampling; SC: sampling and a contrastive loss", VARIANTS, default="SC"
    )
    single_branch: str = _option("the side whose modalities are encoded", SIDE_CHOICES, default="item")
    plain_side: str = _option(
        "the other side: its interaction profile through a network of its own, or an id embedding",
        PLAIN_SIDES,
        default="interactions",
    )
    item_modalities: list | str | None = _option("item modalities used; all by default", default=None)
    user_modalities: list | str | None = _option("user modalities used; all by default", default=None)
    eval_item_modalities: list | str | None = _option("item modalities left in evaluation", default=None)
    eval_user_modalities: list | str | None = _option("user modalities left in evaluation", default=None)
    embedding_size: int = _option("width d of the shared space", low=1, default=64)
    projection_size: int | None = _option("common width d_c of the projections; d by default", low=1, default=None)
    projection_hidden_sizes: list = _option("hidden layers before the common width", default_factory=list)
    encoder_hidden_sizes: list = _option("hidden layers of the encoder", default_factory=list)
    activation: str = _option("between the layers", ACTIVATIONS, default="relu")
    batch_norm: bool = _option("after every second linear layer of the encoder and on its output", default=False)
    normalize_input: bool = _option("L2-normalise the projected modalities", default=False)
    fusion: str = _option("how an entity's modalities become its embedding", FUSION_CHOICES, default="mean")
    input_dropout: float = _option("dropout on the projected modalities", low=0, high=0.99, default=0.0)
    interaction_dropout: float = _option(
        "share of an interaction profile hidden in training", low=0, high=0.99, default=0.7
    )
    rec_loss: str = _option("softmax over the training catalogue, or the papers' bpr", REC_LOSSES, default="softmax")
    softmax_negatives: int = _option("negatives shared by the batch; 0: the whole training catalogue", low=0, default=0)
    n_sampled_modalities: int | None = _option("N_mod; 1 for S and 2 for SC by default", low=1, default=None)
    contrastive_weight: float = _option("alpha, the weight of the contrastive loss", low=0, default=0.2)
    temperature: float = _option("tau of the contrastive loss", low=1e-6, default=0.2)
    contrastive_set: str = _option(
        "entities contrasted with each other: a user's positive and negatives (bpr), or those of the batch",
        CONTRASTIVE_SETS,
        default="batch",
    )
    contrastive_batch_size: int = _option("at most so many entities in a batch's contrastive set", low=2, default=512)

    @classmethod
    def from_mapping(cls, values) -> "ModelOptions":
        """Pick the options out of a mapping that may hold other keys too.

        Raises:
            OptionError: a value has the wrong type or is out of range.
        """
        return cls(**{entry.name: values[entry.name] for entry in fields(cls) if entry.name in values})

    def __post_init__(self):
        for entry in fields(self):
            self._check(entry)
        for name in ("item_modalities", "user_modalities", "eval_item_modalities", "eval_user_modalities"):
            object.__setattr__(self, name, parse_names(getattr(self, name), name))
        if self.variant == "SC" and self.n_sampled_modalities == 1:
            raise OptionError("n_sampled_modalities is 1, but variant SC contrasts two; leave it out or use variant S.")
        if self.contrastive_set == "negatives" and self.rec_loss != "bpr" and self.variant == "SC":
            raise OptionError(
                "contrastive_set=negatives needs rec_loss=bpr: the softmax loss has no negatives per user."
            )

    def _check(self, entry):
        value, metadata = getattr(self, entry.name), entry.metadata
        default = entry.default if entry.default_factory is not list else []
        if value is None and default is None:
            return
        if metadata["choices"]:
            if value not in metadata["choices"]:
                raise OptionError(f"{entry.name} is {value!r}. {nearest(value, metadata['choices'])}")
        elif isinstance(default, bool):
            if not isinstance(value, bool):
                raise OptionError(f"{entry.name} is {value!r}; expected True or False.")
        elif isinstance(default, list):
            sizes = value if isinstance(value, (list, tuple)) else [value]
            if any(isinstance(size, bool) or not isinstance(size, int) or size < 1 for size in sizes):
                raise OptionError(
                    f"{entry.name} is {value!r}; expected a list of positive integers such as [512, 256]."
                )
            object.__setattr__(self, entry.name, list(sizes))
        elif not entry.name.endswith("modalities") or entry.name == "n_sampled_modalities":
            self._check_number(entry, value, integer=not isinstance(default, float))

    @staticmethod
    def _check_number(entry, value, integer):
        low, high = entry.metadata["low"], entry.metadata["high"]
        wrong_type = isinstance(value, bool) or not isinstance(value, int if integer else (int, float))
        if wrong_type or (low is not None and value < low) or (high is not None and value > high):
            expected = "an integer" if integer else "a number"
            bounds = f" of at least {low}" if high is None else f" between {low} and {high}"
            raise OptionError(f"{entry.name} is {value!r}; expected {expected}{bounds}.")

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

    def modalities(self, side: str):
        return self.item_modalities if side == "item" else self.user_modalities

    def eval_modalities(self, side: str):
        return self.eval_item_modalities if side == "item" else self.eval_user_modalities
