"""What the papers publish, as data: their models, scenarios, settings, protocol and figures."""

from pathlib import Path
from typing import Any

import pandas as pd

from recbole_sibrar.experiments.plan import ModelSpec
from recbole_sibrar.properties import props_folder, read_layers, read_property_file

NOISE = {"NDCG@10": 0.005}
"""Differences below it say nothing. Of the other metrics no noise is published."""
NOISE_SOURCE = (
    "Noise: sixteen runs of the authors on ml-1m (warm) that differ in the random state alone have NDCG@10 from 0.2476 "
    "to 0.2570, standard deviation 0.0025, so that differences below 0.005 on one split say nothing. It is taken over "
    "for the NDCG@10 of other scenarios and data sets; of other metrics none is published"
)
OUR_METRICS = {"ap": "map"}


def paper_folder() -> Path:
    return props_folder() / "paper"


def paper_datasets() -> list[str]:
    return sorted(_tables())


def paper_scenarios(dataset: str) -> list[str]:
    return sorted(_tables()[dataset])


def _tables() -> dict[str, list[str]]:
    return read_property_file(paper_folder() / "scenarios.yaml")


def paper_models() -> dict[str, ModelSpec]:
    """{the papers' name: our ``ModelSpec``, with a name where the papers do not say all that it takes}."""
    names = read_property_file(paper_folder() / "models.yaml")
    return {name: ModelSpec.parse(given) for name, given in names.items()}


def labels() -> dict[str, str]:
    """{the papers' name: the name that its model is run under}, which is the first of those that are the same model."""
    first: dict[str, str] = {}
    return {name: first.setdefault(spec.name or str(spec), name) for name, spec in paper_models().items()}


def usual_models() -> list[str]:
    """The papers' names that are run unasked, each model once."""
    models = paper_models()
    return [name for name, label in labels().items() if name == label and models[name].name is None]


def settings(dataset: str, scenario: str, model: str) -> dict[str, Any]:
    """The papers' settings of a model; empty for one that has none, such as Pop."""
    return read_layers(paper_folder(), (dataset, scenario), model)


def protocol(scenario: str) -> dict[str, Any]:
    """The options of evaluation in which the authors are not as we are."""
    sections = read_property_file(paper_folder() / "protocol.yaml")
    return {**sections.get("all", {}), **sections.get(scenario, {})}


def published(dataset: str) -> pd.DataFrame:
    """The papers' figures for a data set: ``scenario``, ``model``, ``metric``, ``value``, ``trust`` (``exact``, copied
    from a table of theirs; ``unverified``, from a summary) and ``source``."""
    return _of_dataset("published.csv", dataset)


def contrast_map(dataset: str) -> pd.DataFrame:
    """NDCG@10 of SiBraR, warm, read off the authors' figure: ``contrastive_weight``, ``temperature``, ``value``."""
    return _of_dataset("contrast_map.csv", dataset)


def _of_dataset(name: str, dataset: str) -> pd.DataFrame:
    table = pd.read_csv(paper_folder() / name, comment="#")
    return table[table["dataset"] == dataset].drop(columns="dataset").reset_index(drop=True)


def our_metric(metric: str) -> str:
    """The name of a metric of the papers in our results.

    >>> our_metric("AP@10"), our_metric("Coverage@10")
    ('map@10', 'coverage@10')
    """
    name, at, k = metric.lower().partition("@")
    return f"{OUR_METRICS.get(name, name)}{at}{k}"


def judged(metric: str, difference: float) -> str:
    """What a difference from a figure of the papers is worth, by ``NOISE``; nothing where there is none.

    >>> judged("NDCG@10", -0.004), judged("NDCG@10", 0.02), judged("Recall@10", 0.02)
    ('within noise', 'beyond noise', 'no published noise')
    """
    if pd.isna(difference):
        return ""
    if metric not in NOISE:
        return "no published noise"
    return "within noise" if abs(difference) < NOISE[metric] else "beyond noise"
