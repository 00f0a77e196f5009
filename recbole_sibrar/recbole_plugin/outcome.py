"""What a run is announced with, and what it came to: its result, and its tables of users and items."""

from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from recbole.evaluator import register
from recbole.model.abstract_recommender import AbstractRecommender

from recbole_sibrar import checkpoint
from recbole_sibrar.data.modalities import SIDES
from recbole_sibrar.data.splits import PHASES
from recbole_sibrar.evaluation.items import per_item_table
from recbole_sibrar.evaluation.metrics import METRICS, per_user_table
from recbole_sibrar.evaluation.protocol import Phase
from recbole_sibrar.evaluation.significance import split_of
from recbole_sibrar.evaluation.unlearned import compared_with_unlearned
from recbole_sibrar.kinds import DECLARED
from recbole_sibrar.kinds.reading import parse_declarations
from recbole_sibrar.recbole_plugin.capabilities import SOLVED
from recbole_sibrar.recbole_plugin.names import model_label, options_of_its_own
from recbole_sibrar.recbole_plugin.prepared import Prepared
from recbole_sibrar.recbole_plugin.trainer import cold_fallback
from recbole_sibrar.report.result import RunResult, as_json

NAMED = 20  # modalities in one line
PACKAGES = ("recbole", "torch", "numpy", "pandas", "scipy", "scikit-learn")


def data_counts(prepared: Prepared) -> dict[str, Any]:
    """What the run rested on: users, items, interactions of each split, and how many entities have each modality."""
    dataset, core = prepared.dataset, getattr(prepared.model, "core", None)
    known = core.modalities if core is not None else {}
    return {
        "users": dataset.user_num - 1,
        "items": dataset.item_num - 1,
        "interactions": {name: len(loader._dataset.inter_feat) for name, loader in zip(PHASES, prepared.loaders)},
        "modalities": {
            side: {
                entry.name: {"kind": entry.kind, "width": entry.width, "available": int(entry.available[1:].sum())}
                for entry in modalities.entries
            }
            for side, modalities in known.items()
        },
    }


def announcement(prepared: Prepared, counts: dict[str, Any], folder: Path, log: str | None) -> list[str]:
    """In a few lines what is going to happen, with what (``data_counts``), and where it is written."""
    config, dataset = prepared.config, prepared.dataset
    n = [f"{number:,}" for number in counts["interactions"].values()]
    left_out = f", {dataset.n_left_out:,} between the parts left out" if dataset.n_left_out else ""
    seeds = f"seed {config['seed']}, split {split_of(config.final_config_dict)}"
    better = f"stops after {config['stopping_step']} without a better validation {config['valid_metric']}"
    if not prepared.trainer.eval_step:
        better = "nothing is validated, the last epoch is tested"
    read = {
        side: {name: own["available"] for name, own in entries.items() if own["kind"] in DECLARED}
        for side, entries in counts["modalities"].items()
    }
    of_both = "; --single_branch=both reads them" if config["single_branch"] in SIDES else ""
    unread = {
        side: [d.name for d in parse_declarations(config["modalities"], side) if d.name not in own]
        for side, own in read.items()
    }
    return [
        f"{model_label(config)} on {config['dataset']}, {config['scenario']}, {seeds}",
        f"  {counts['users']:,} users, {counts['items']:,} items; interactions: {n[0]} to train, {n[1]} to "
        f"validate, {n[2]} to test{left_out}",
        *(
            f"  {side}s with {_named([f'{name}: {n:,}' for name, n in own.items()])}"
            for side, own in read.items()
            if own
        ),
        *(f"  not read of {side}s: {_named(names)}{of_both}" for side, names in unread.items() if names),
        *_of_dislikes(prepared),
        f"  {_n_parameters(prepared.model):,} parameters on {config['device']}, {torch.get_num_threads()} threads",
        f"  at most {prepared.trainer.epochs} epochs; {better}",
        f"  results: {folder}; configuration and log: {log}",
    ]


def result_of(
    prepared: Prepared,
    name: str,
    counts: dict[str, Any],
    best_score: float,
    valid_result: dict[str, float],
    test_result: dict[str, float],
    seconds: dict[str, float],
    whole_model: str | None,
) -> RunResult:
    """The result of a run whose test split was the last that was evaluated.

    Args:
        name: of the run. counts: of ``data_counts``. best_score: of validation, with all of its metrics.
        seconds: of ``training`` and ``test``. whole_model: the file of the model trained on everything, if any.
    """
    config, dataset, trainer, phase = prepared.config, prepared.dataset, prepared.trainer, _test_phase(prepared)
    return RunResult(
        name=name,
        label=model_label(config),
        model=config["model"],
        variant=config["variant"],
        preset=config["preset"],
        dataset=config["dataset"],
        scenario=config["scenario"],
        seed=config["seed"],
        n_parameters=_n_parameters(prepared.model),
        best_valid_score=best_score,
        valid_result=valid_result,
        test_result=test_result,
        seconds={
            "training": seconds["training"],
            "epoch": _mean(trainer.seconds["train"]),
            "validation": _mean(trainer.seconds["valid"]),
            "test": seconds["test"],
        },
        n_epochs=trainer.n_finished_epochs,
        history=trainer.history,
        n_candidates=int(phase.candidates.sum()),
        n_users=len(phase.users),
        n_unreachable_interactions=phase.n_unreachable,
        n_repeated_interactions=dataset.n_repeated,
        n_left_out_interactions=dataset.n_left_out,
        is_solved=type(prepared.model).__name__ in SOLVED,
        popularity_source=phase.popularity_source,
        cold_fallback=cold_fallback(prepared.model, phase),
        dropped={
            side: {"count": len(ids), "examples": sorted(ids)[:3]} for side, ids in dataset.dropped.items() if ids
        },
        modalities=_modalities(prepared.model),
        data_counts=counts,
        options=as_json(options_of_its_own(config, {})),
        config=checkpoint.plain_config(config),
        versions={package: version(package) for package in PACKAGES},
        n_threads=torch.get_num_threads(),
        data=dict(dataset.read),
        whole_model=whole_model,
        unlearned=_unlearned(prepared),
        smaller=sorted({name.split("@")[0] for name in test_result} & {*register.smaller_metrics}),
    )


def per_user(prepared: Prepared) -> dict[str, Any] | None:
    """{"user": original ids, metric@k: values, ``n_history`` and ``n_relevant``: interactions} of the last evaluation;
    the history is what comes before the evaluated split."""
    collector, config, phase = prepared.trainer.eval_collector, prepared.config, _test_phase(prepared)
    if collector.recommendations is None:
        return None
    metrics = [metric.lower() for metric in config["metrics"] if metric.lower() in METRICS]
    table = per_user_table(collector.recommendations, metrics, config["topk"])
    field = prepared.dataset.uid_field
    return {
        field: prepared.dataset.id2token(field, collector.users),
        **{key: v.numpy() for key, v in table.items()},
        "n_history": phase.seen.lengths[collector.users].numpy(),
        "n_relevant": collector.recommendations.n_relevant.numpy(),
    }


def per_item(prepared: Prepared) -> dict[str, Any] | None:
    """As ``per_item_table``, with original ids."""
    recommendations, dataset = prepared.trainer.eval_collector.recommendations, prepared.dataset
    if recommendations is None:
        return None
    n_relevant = torch.bincount(_test_phase(prepared).positives.columns, minlength=dataset.item_num)
    table = per_item_table(recommendations, n_relevant, prepared.config["topk"])
    items = dataset.id2token(dataset.iid_field, table.pop("item"))
    return {dataset.iid_field: items, **{name: values.numpy() for name, values in table.items()}}


def _of_dislikes(prepared: Prepared) -> list[str]:
    """A line on ratings that may say that there was nothing to like."""
    field, n, total = prepared.config["RATING_FIELD"], prepared.dataset.n_not_positive, len(prepared.dataset.inter_feat)
    if not 0 < n < total:
        return []
    return [
        f"  {n:,} of {total:,} interactions have a {field} of 0 or less, and count as the others do; "
        f"--val_interval=\"{{{field}: '(0,inf)'}}\" leaves them out"
    ]


def _named(names: list[str]) -> str:
    """A list of names as far as a line goes."""
    return ", ".join(names if len(names) <= NAMED else [*names[: NAMED - 1], f"and {len(names) - NAMED + 1} others"])


def _unlearned(prepared: Prepared) -> dict[str, Any] | None:
    """As ``compared_with_unlearned``, of the last evaluation."""
    collector, config, phase = prepared.trainer.eval_collector, prepared.config, _test_phase(prepared)
    if collector.recommendations is None:
        return None
    order, metric = collector.order(len(phase.candidates)), config["valid_metric"].lower()
    found = compared_with_unlearned(metric, collector.recommendations, collector.users, phase, order, config["seed"])
    return None if found is None else asdict(found)


def _test_phase(prepared: Prepared) -> Phase:
    return prepared.loaders[PHASES.index("test")].phase


def _n_parameters(model: AbstractRecommender) -> int:
    """Of models in closed form what is solved for; the numbers that are not zero where it is sparse."""
    core, name = getattr(model, "core", None), type(model).__name__
    if core is not None:
        return core.n_parameters
    if name in SOLVED:
        found = [getattr(model, part) for part in SOLVED[name]]
        return sum(part.numel() if isinstance(part, torch.Tensor) else part.size for part in found)
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def _modalities(model: AbstractRecommender) -> dict[str, list[str]]:
    core = getattr(model, "core", None)
    return {side: list(core.modalities[side].names) for side in SIDES} if core is not None else {}


def _mean(seconds: list[float]) -> float:
    return sum(seconds) / len(seconds) if seconds else 0.0
