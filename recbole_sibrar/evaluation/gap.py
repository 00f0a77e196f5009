"""The modality gap: how far apart a model puts the embeddings of different modalities (TORS 2025, section 4.3).

Everywhere: ``embeddings`` (N, M, D) of M modalities of N entities and ``available`` (N, M) bool; what stands where a
modality is missing is never read.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from sklearn.ensemble import RandomForestClassifier
from sklearn.manifold import TSNE
from sklearn.model_selection import StratifiedGroupKFold, cross_val_score
from torch import Tensor

from recbole_sibrar.errors import DataError

N_FOLDS = 5
N_TREES = 100
PERPLEXITY = 30


def pair_measures(embeddings: Tensor, available: Tensor, names: Sequence[str]) -> pd.DataFrame:
    """Similarities within and between entities for each pair of modalities, a modality with itself included.

    Returns:
        a row for each pair: ``first``, ``second``;
        ``intra_cosine``, ``intra_distance``: means over the entities that have both, of the cosine and the Euclidean
        distance of their two embeddings (1 and 0 for a modality with itself);
        ``inter_cosine``, ``inter_distance``: the same over all pairs of *different* entities, one having the first and
        the other the second modality;
        ``centroid_distance``: Euclidean distance of the modalities' mean embeddings;
        ``n_entities``: that have both. NaN where there is nothing to average.
    """
    unit = F.normalize(embeddings.double(), dim=-1)
    plain = embeddings.double()
    rows = []
    for a, first in enumerate(names):
        for b, second in enumerate(names[a:], start=a):
            has_a, has_b = available[:, a], available[:, b]
            both = has_a & has_b
            n_pairs = int(has_a.sum()) * int(has_b.sum()) - int(both.sum())
            cosines = (unit[both, a] * unit[both, b]).sum(-1)
            distances = (plain[both, a] - plain[both, b]).norm(dim=-1)
            all_cosines = unit[has_a, a].sum(0) @ unit[has_b, b].sum(0)
            all_distances = torch.cdist(plain[has_a, a], plain[has_b, b], compute_mode="donot_use_mm_for_euclid_dist")
            rows.append(
                {
                    "first": first,
                    "second": second,
                    "intra_cosine": _mean(cosines.sum(), int(both.sum())),
                    "intra_distance": _mean(distances.sum(), int(both.sum())),
                    "inter_cosine": _mean(all_cosines - cosines.sum(), n_pairs),
                    "inter_distance": _mean(all_distances.sum() - distances.sum(), n_pairs),
                    "centroid_distance": float((plain[has_a, a].mean(0) - plain[has_b, b].mean(0)).norm()),
                    "n_entities": int(both.sum()),
                }
            )
    return pd.DataFrame(rows)


def _mean(total: torch.Tensor, n: int) -> float:
    return float(total) / n if n else float("nan")


@dataclass(frozen=True)
class ModalityPrediction:
    """How well a random forest tells the modality from an embedding: ``accuracy`` and its standard deviation over the
    folds; ``chance`` is what guessing gives. At chance the modalities are interchangeable, at 1 they are worlds apart.
    """

    accuracy: float
    std: float
    chance: float


def modality_prediction(embeddings: Tensor, available: Tensor, seed: int) -> ModalityPrediction:
    """Cross-validated accuracy of a random forest that predicts the modality from the embedding.

    Every modality has the same number of embeddings, so that chance is 1 / M; all embeddings of an entity are in the
    same fold, so that an entity cannot be recognised.

    Args:
        embeddings: (N, M, D). available: (N, M) bool.

    Raises:
        DataError: fewer than two modalities with five entities each.
    """
    generator = np.random.default_rng(seed)
    n_each = min(available.sum(0).tolist(), default=0)
    if available.shape[1] < 2 or n_each < N_FOLDS:
        raise DataError(
            f"{available.shape[1]} modalities, the rarest with {n_each} entities; predicting the modality needs two "
            f"modalities with at least {N_FOLDS} entities each."
        )
    owners = [generator.choice(np.flatnonzero(mask), n_each, replace=False) for mask in available.T.numpy()]
    features = np.concatenate([embeddings[torch.from_numpy(rows), m].numpy() for m, rows in enumerate(owners)])
    labels = np.repeat(np.arange(len(owners)), n_each)
    forest = RandomForestClassifier(n_estimators=N_TREES, random_state=seed, n_jobs=-1)
    folds = StratifiedGroupKFold(N_FOLDS, shuffle=True, random_state=seed)
    scores = cross_val_score(forest, features, labels, groups=np.concatenate(owners), cv=folds)
    return ModalityPrediction(float(scores.mean()), float(scores.std()), 1 / len(owners))


def sample_entities(available: Tensor, limit: int, seed: int) -> Tensor:
    """(N, M) bool -> (n,) at most ``limit`` of the entities that have two modalities or more, ascending."""
    eligible = (available.sum(1) >= 2).nonzero().squeeze(1)
    if len(eligible) <= limit:
        return eligible
    order = torch.randperm(len(eligible), generator=torch.Generator().manual_seed(seed))
    return eligible[order[:limit]].sort().values


def tsne_points(embeddings: Tensor, available: Tensor, seed: int) -> pd.DataFrame:
    """t-SNE of the embeddings (N, M, D) that are ``available`` (N, M): entity (row), modality (column), x, y."""
    entity, modality = available.nonzero(as_tuple=True)
    values = embeddings[entity, modality].numpy()
    perplexity = min(PERPLEXITY, (len(values) - 1) / 3)
    points = TSNE(2, perplexity=perplexity, init="pca", random_state=seed).fit_transform(values)
    return pd.DataFrame({"entity": entity, "modality": modality, "x": points[:, 0], "y": points[:, 1]})


def summary(pairs: pd.DataFrame) -> dict[str, float]:
    """The means over pairs of different modalities, as in the papers' tables: intra cosine and distance, the centroids'
    distance; and over each modality with itself the cosine and distance of different entities."""
    different = pairs[pairs["first"] != pairs["second"]]
    same = pairs[pairs["first"] == pairs["second"]]
    return {
        "intra_cosine": different["intra_cosine"].mean(),
        "intra_distance": different["intra_distance"].mean(),
        "inter_cosine": same["inter_cosine"].mean(),
        "inter_distance": same["inter_distance"].mean(),
        "centroid_distance": different["centroid_distance"].mean(),
    }
