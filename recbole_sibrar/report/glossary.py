"""What the columns of tables mean and which way is better, for people who see them for the first time."""

from collections.abc import Iterable

from recbole_sibrar.evaluation.metrics import METRICS

MEANINGS = {
    "ndcg": "Normalised discounted cumulative gain: how many of the held-out items are in a user's list, and how high "
    "they stand; 1 if none could stand higher.",
    "recall": "Share of a user's held-out items that are in the list.",
    "precision": "Share of the places of a list that hold a held-out item.",
    "map": "Mean of the precision at the place of each hit.",
    "mrr": "One over the place of the first hit, 0 without a hit.",
    "fscore": "Harmonic mean of precision and recall.",
    "coverage": "Share of the candidate items that are in some user's list.",
    "arp": "Average popularity of the recommended items.",
    "aplt": "Average share of long-tail items in a list; the long tail is the 80 % least popular items.",
    "pl": "Popularity lift: how much more popular the recommended items are than those in the user's profile.",
    "validation": "On the validation split, by which the epoch was chosen and models should be.",
    "parameters": "Numbers that training sets.",
    "seconds": "Training, wall clock, mean over seeds.",
    "seeds": "Runs behind the row; each is a split and an initialisation, unless the split is fixed.",
    "against": "The leading model minus this one, mean over splits, with its 95 % confidence interval.",
    "epochs": "Passes over the training data until validation no longer improved; of closed forms, penalties tried.",
    "curve": "Validation score by epoch.",
    "marks": "What a reader should know before trusting the row.",
    "available": "Entities that have the modality.",
    "missing": "Share of entities that lack the modality.",
    "width": "Numbers of a vector, or distinct values.",
    "alone": "Gain over no modality at all.",
    "mean": "Mean over subsets; of a contribution, the mean gain of adding the modality to a subset without it.",
    "last": "Gain when all other modalities are there; near 0 for one that another replaces.",
    "n_modalities": "How many modalities are left in evaluation.",
    "n_subsets": "Subsets of that size.",
    "rate": "Share of entities that lose the modality.",
    "intra_cosine": "Cosine of two modalities of the same entity: 1 without a gap.",
    "inter_cosine": "Cosine of different entities in the same modality.",
    "intra_distance": "Euclidean distance of two modalities of the same entity: 0 without a gap.",
    "inter_distance": "Euclidean distance of different entities in the same modality.",
    "centroid_distance": "Distance between the mean embeddings of two modalities.",
    "prediction_accuracy": "How often a random forest tells the modality from the embedding; at chance they are "
    "interchangeable.",
    "chance": "What guessing would reach.",
    "difference": "Ours minus the papers'.",
}
LOWER_IS_BETTER = {"intra_distance", "centroid_distance", "prediction_accuracy", "seconds"}
HIGHER_IS_BETTER = {"intra_cosine"}
NEAR_ZERO = {"pl"}
WORDS = {"recall", "precision", "fscore", "coverage"}  # metrics that are no abbreviations


def explain(column: str) -> str:
    """A sentence or two for a heading such as ``ndcg@10``; empty for a column that needs none.

    >>> explain("aplt@10").endswith("Higher is better.")
    True
    """
    name, _, k = column.lower().removeprefix("validation ").partition("@")
    name = name.removesuffix("_std")
    if name not in MEANINGS:
        return ""
    cut = f" Lists of {k}." if k.isdigit() else ""
    return f"{MEANINGS[name]}{cut}{_direction(name)}"


def _direction(name: str) -> str:
    if name in NEAR_ZERO:
        return " Best near 0."
    if name in LOWER_IS_BETTER or (name in METRICS and not METRICS[name].higher_is_better):
        return " Lower is better."
    if name in HIGHER_IS_BETTER or name in METRICS:
        return " Higher is better."
    return ""


def heading_of(column: str) -> str:
    """A column's heading on the page: metrics as they are written, abbreviations in capitals.

    >>> heading_of("validation ndcg@10"), heading_of("coverage@5"), heading_of("n_modalities")
    ('validation NDCG@10', 'Coverage@5', 'n_modalities')
    """
    before = "validation " if column.lower().startswith("validation ") else ""
    name, at, k = column.lower().removeprefix(before).partition("@")
    if name not in METRICS:
        return column
    return f"{before}{name.capitalize() if name in WORDS else name.upper()}{at}{k}"


def glossary(columns: Iterable[str]) -> dict[str, str]:
    """{heading: explanation} of those columns that have one, once for each name."""
    found: dict[str, str] = {}
    for column in columns:
        name = column.lower().removeprefix("validation ").partition("@")[0]
        if name in MEANINGS:
            found.setdefault(heading_of(name), MEANINGS[name] + _direction(name))
    return dict(sorted(found.items()))
