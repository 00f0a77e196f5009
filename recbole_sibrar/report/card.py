"""The cards of what is on the Hugging Face Hub: what it is, of which data, how good, and under which licence."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
import yaml

from recbole_sibrar.checkpoint import SPLIT
from recbole_sibrar.data.identity import combined
from recbole_sibrar.report.tables import escape_markdown, markdown

UNKNOWN = "unknown"  # among the Hub's names of licences, too
TAGS = ["recommendation", "recommender-system", "cold-start", "multimodal", "recbole"]


def model_card(name: str, state: dict[str, Any], result: dict[str, Any] | None, licence: str = UNKNOWN) -> str:
    """Of a checkpoint.

    Args:
        name: of the repository. state: the checkpoint. result: the run's ``result.json``, if it is known.
        licence: as the Hub calls it.
    """
    config, dataset = state["config"], escape_markdown(state["config"]["dataset"])
    label = result["label"] if result else config["model"]
    head: dict[str, Any] = {"license": licence, "library_name": "recbole-sibrar", "tags": TAGS}
    if result and state.get("trained_on", SPLIT) == SPLIT:
        head["model-index"] = [{"name": label, "results": [_indexed(result)]}]
    parts = [
        f"# {label} on {dataset}, {config['scenario']}",
        f"A {config['model']} of [recbole_sibrar](https://doi.org/10.1145/3640457.3688138) "
        f"{state['versions']['recbole_sibrar']}. Nothing is unpickled when it is loaded.",
        "```python\n"
        "from recbole_sibrar.serving.recommender import Recommender\n\n"
        f'recommender = Recommender.load("hub:{name}")\n'
        "recommender.recommend(k=10)\n```",
        "## What is in it",
        _contents(state),
        "## Data",
        _data(dataset, state, result),
        "## Results",
        _results(state, result),
        "## Options",
        _options(config, result),
        "## Licence",
        _licence(licence, dataset),
    ]
    return _page(head, parts)


def vectors_card(name: str, file: str, n: int, width: int, dtype: np.dtype, licence: str = UNKNOWN) -> str:
    """Of a file of ``n`` vectors with ids."""
    parts = [
        f"# {escape_markdown(file)}: {n:,} vectors of {width:,} numbers",
        f"One vector ({dtype}) for each of {n:,} ids, for [recbole_sibrar](https://doi.org/10.1145/3640457.3688138):",
        "```bash\nrecbole-sibrar convert table --name NAME --interactions orders.csv "
        f"--item-vectors {file.partition('.')[0]}=hub:{name}/{file}\n```",
        "## Licence",
        _licence(licence, "what the vectors were made of, and of the encoder that made them"),
    ]
    return _page({"license": licence, "tags": ["embeddings", *TAGS]}, parts)


def _page(head: dict[str, object], parts: Iterable[str]) -> str:
    return f"---\n{yaml.safe_dump(head, sort_keys=False)}---\n\n" + "\n\n".join(parts) + "\n"


def _indexed(result: dict[str, Any]) -> dict[str, object]:
    return {
        "task": {"type": "recommendation", "name": f"Recommendation, {result['scenario']}"},
        "dataset": {"type": result["dataset"], "name": result["dataset"]},
        "metrics": [
            {"type": name, "value": round(value, 4), "name": f"{name.upper()} (test)"}
            for name, value in result["test_result"].items()
            if value is not None
        ],
    }


def _contents(state: dict[str, Any]) -> str:
    serving = state.get("serving")
    if not serving:
        return "`model.pth`: parameters alone; it was written without what serving needs."
    users, items = (len(serving["tokens"][side]) - 1 for side in ("user", "item"))
    n = len(serving["interactions"]["columns"])
    return (
        f"`model.pth`: parameters; the ids of {users:,} users and {items:,} items, and their {n:,} training "
        "interactions, which are personal data if the ids are people's; what the model reads of their features."
    )


def _data(dataset: str, state: dict[str, Any], result: dict[str, Any] | None) -> str:
    counts = result.get("data_counts") if result else None
    lines = [f"{dataset}, fingerprint `{combined(state['data'])}`."]
    if counts:
        n = ", ".join(f"{count:,} ({phase})" for phase, count in counts["interactions"].items())
        lines[0] = f"{lines[0][:-1]}: {counts['users']:,} users, {counts['items']:,} items; interactions: {n}."
        rows = [
            {"side": side, "modality": name, **about, "of": counts[f"{side}s"]}
            for side, own in counts["modalities"].items()
            for name, about in own.items()
        ]
        if rows:
            lines.append(markdown(pd.DataFrame(rows)))
    return "\n\n".join(lines)


def _results(state: dict[str, Any], result: dict[str, Any] | None) -> str:
    if result is None:
        return "Unknown: there was no `result.json` of it beside the checkpoint."
    whole = state.get("trained_on", SPLIT)
    rows = [
        {"metric": name, "validation": result["valid_result"].get(name), "test": value}
        for name, value in result["test_result"].items()
    ]
    parts = [
        f"Scenario {result['scenario']}, seed {result['seed']}, {result['n_users']:,} test users, "
        f"{result['n_candidates']:,} candidates, {result['n_parameters']:,} parameters, {result['n_epochs']} epochs."
    ]
    if whole != SPLIT:
        parts.append(
            f"**This model was trained on {whole}.** The figures are those of the model of the training split."
        )
    return "\n\n".join([*parts, markdown(pd.DataFrame(rows))])


def _options(config: dict[str, Any], result: dict[str, Any] | None) -> str:
    own = (result or {}).get("options") or {}
    names = [f"{name}: {config[name]}" for name in ("variant", "preset") if config.get(name)]
    lines = [*names, *(f"{name}: {value}" for name, value in own.items())]
    return "\n".join(f"* {escape_markdown(line)}" for line in lines) or "Those of the property files."


def _licence(licence: str, of_what: str) -> str:
    if licence == UNKNOWN:
        return f"Unknown. The licence of {of_what} says what may be done with this, and nobody has said which that is."
    return f"{licence}, as whoever pushed this says."
