"""The files of a study of the modality gap."""

import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd
from torch import Tensor

from recbole_sibrar.evaluation import gap
from recbole_sibrar.evaluation.trained import Trained
from recbole_sibrar.progress import Progress
from recbole_sibrar.report import figures
from recbole_sibrar.report.tables import write_csv, write_markdown, write_sources


def write_gap_study(
    models: Sequence[Trained], side: str | None, limit: int, seed: int, output: Path | str
) -> dict[str, pd.DataFrame]:
    """Measure and draw the modality gap of trained models, side by side.

    Writes ``gap.csv`` (a row per model: TORS 2025, tables 8 and 9), ``pairs.csv`` (a row per model and pair of
    modalities), ``tsne.csv`` and ``tsne.pdf``/``.svg``/``.png`` (the points, and figures 12 and 13), ``gap.md`` and
    ``data.json``.

    Args:
        models: ``TrainedModel`` objects with distinct names.
        side: ``user``, ``item``, or None for each model's own.
        limit: entities looked at, drawn with ``seed`` when there are more.

    Returns:
        {"gap" | "pairs": table}.
    """
    rows, pairs, points, names = [], {}, {}, {}
    with Progress(3 * len(models), "step") as progress:
        for done, model in enumerate(models):
            own = model.side(side)
            available = model.available(own)
            chosen = gap.sample_entities(available, limit, seed)
            available = available[chosen]
            present = _frequent(model, own, available)
            embeddings, available = model.modality_embeddings(own, chosen)[:, present], available[:, present]
            names[model.name] = [name for name, there in zip(model.core.entities(own).names, present.tolist()) if there]
            progress.update(3 * done, f"{model.name}: pairs of modalities")
            pairs[model.name] = gap.pair_measures(embeddings, available, names[model.name])
            progress.update(3 * done + 1, f"{model.name}: predicting the modality")
            prediction = gap.modality_prediction(embeddings, available, seed)
            rows.append(
                {
                    "model": model.name,
                    **gap.summary(pairs[model.name]),
                    "prediction_accuracy": prediction.accuracy,
                    "prediction_std": prediction.std,
                    "chance": prediction.chance,
                    "n_entities": len(chosen),
                }
            )
            progress.update(3 * done + 2, f"{model.name}: t-SNE")
            points[model.name] = gap.tsne_points(embeddings, available, seed)
            progress.update(3 * done + 3)
    table, all_pairs = pd.DataFrame(rows), pd.concat(pairs, names=["model"]).reset_index(level=0)
    output = Path(output)
    write_sources(models, output / "data.json", [{"side": model.side(side)} for model in models])
    write_csv(table, output / "gap.csv")
    write_csv(all_pairs, output / "pairs.csv")
    write_csv(pd.concat(_named(points, names)), output / "tsne.csv")
    figures.save(figures.tsne_panels(points, names), output / "tsne")
    write_markdown({"Modality gap": table, "Pairs of modalities": all_pairs}, output / "gap.md")
    return {"gap": table, "pairs": all_pairs}


def _named(points: dict[str, pd.DataFrame], names: dict[str, list[str]]) -> Iterator[pd.DataFrame]:
    """The points of each model, with the model and the modalities by name."""
    for model, table in points.items():
        named = table.assign(model=model, modality=[names[model][number] for number in table["modality"]])
        yield named[["model", "entity", "modality", "x", "y"]].round(3)


def _frequent(model: Trained, side: str, available: Tensor) -> Tensor:
    """(N, M) bool -> (M,) bool, the modalities that are told apart; one that very few have is left out."""
    n = available.sum(0)
    names, enough = model.core.entities(side).names, n >= gap.N_FOLDS
    rare = [name for name, is_rare in zip(names, ((n > 0) & ~enough).tolist()) if is_rare]
    if not rare or enough.sum() < 2:
        return n > 0
    few = ", ".join(rare)
    warnings.warn(f"{model.name}: {few} left out, which fewer than {gap.N_FOLDS} of the {side}s have.", stacklevel=2)
    return enough
