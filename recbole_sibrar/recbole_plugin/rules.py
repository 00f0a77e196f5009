"""What the options of RecBole take under the protocol: a table of types and ranges, checked before anything is loaded.

An option is checked, or it has no effect under the protocol and is refused unless it has RecBole's default. What models
of RecBole's take is told from the defaults in their property files, with the bounds of ``BOUNDS`` and ``CHOICES``. Our
models' options check themselves (``checked``).
"""

import math
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeGuard

from recbole_sibrar.data.splits import SPLIT_ROUNDINGS
from recbole_sibrar.data.vectors import STORAGES
from recbole_sibrar.errors import OptionError, nearest
from recbole_sibrar.evaluation.metrics import MAP_DIVISORS
from recbole_sibrar.evaluation.protocol import CANDIDATE_CHOICES
from recbole_sibrar.files import check_plain_name
from recbole_sibrar.properties import NAME_LISTS, OPTIONAL_TEXTS, TEXTS
from recbole_sibrar.scenarios import SCENARIOS

MOST = 2**31 - 1
WIDEST = 2**16
INTERVAL = re.compile(r"\s*([\[(])\s*([^,\s]+)\s*,\s*([^,\s]+)\s*([\])])\s*")


@dataclass(frozen=True)
class Rule:
    """What a value has to be; ``normal`` gives the value that is used, and raises ValueError for any other."""

    expected: str
    normal: Callable[[object], Any]
    choices: tuple[str, ...] = ()

    def check(self, name: str, value: object) -> Any:
        try:
            return self.normal(value)
        except (ValueError, TypeError, OverflowError):
            said = f" {nearest(value, self.choices)}" if isinstance(value, str) and self.choices else ""
            raise OptionError(
                f"{name} is {shown(value)}{said and '.'}{said or f'; expected {self.expected}.'}"
            ) from None


def shown(value: object) -> str:
    """A value in a message: its Python form, cut where it is long."""
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}…"


def accept(condition: object) -> None:
    if not condition:
        raise ValueError


def is_integer(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def integer(low: int = 1, high: int = MOST) -> Rule:
    def normal(value: object) -> object:
        accept(is_integer(value) and low <= value <= high)
        return value

    return Rule(f"an integer of at least {low}" + (f" and at most {high}" if high != MOST else ""), normal)


def number(low: float | None = None, high: float | None = None, above: float | None = None) -> Rule:
    """Finite; of at least ``low``, above ``above``, at most ``high``."""

    def normal(value: object) -> object:
        accept(is_number(value) and (low is None or value >= low) and (high is None or value <= high))
        accept(above is None or value > above)
        return value

    bounds = [f"of at least {low}"] if low is not None else [f"above {above}"] if above is not None else []
    bounds += [f"at most {high}"] if high is not None else []
    return Rule(" ".join(["a number", " and ".join(bounds)]).strip(), normal)


def _flag(value: Any) -> bool:
    accept(isinstance(value, bool))
    return value


def _text(value: object) -> str:
    """Text that a YAML file took for something else is text again where nothing is lost."""
    accept(isinstance(value, (str, date, Path)) or is_integer(value))
    accept(str(value) and str(value).isprintable())
    return str(value)


def _path(value: object) -> str:
    path = _text(value)
    accept(len(os.fsencode(path)) <= LONGEST_PATH and max(map(len, os.fsencode(path).split(b"/"))) <= LONGEST_PART)
    return path


FLAG = Rule("True or False", _flag)
TEXT = Rule("text", _text)
LONGEST_PATH, LONGEST_PART = 2048, 255  # bytes; with what is added to it, a path has to fit into 4,095
PATH = Rule(f"a path of at most {LONGEST_PATH} bytes, each name in it of at most {LONGEST_PART}", _path)
PATHS = {"data_path", "output_dir", "checkpoint_dir"}


def optional(rule: Rule) -> Rule:
    return Rule(f"{rule.expected}, or None", lambda value: None if value is None else rule.normal(value), rule.choices)


def choice(*names: str, any_case: bool = False) -> Rule:
    def normal(value: object) -> object:
        accept(isinstance(value, str) and (value.lower() in map(str.lower, names) if any_case else value in names))
        return value

    return Rule(f"one of {', '.join(names)}", normal, names)


def list_of(rule: Rule, example: str, length: int | None = None) -> Rule:
    def normal(value: object) -> object:
        values = list(value) if isinstance(value, (list, tuple)) else [value]
        accept(length is None or len(values) == length)
        return [rule.normal(entry) for entry in values]

    return Rule(f"a list such as {example}", normal)


def non_empty(rule: Rule) -> Rule:
    def normal(value: object) -> object:
        values = rule.normal(value)
        accept(values)
        return values

    return Rule(rule.expected, normal)


def _one_character(value: Any) -> str:
    value = {"\\t": "\t"}.get(value, value)
    accept(isinstance(value, str) and len(value) == 1 and value not in "\r\n\"':")
    return value


def _gpu_id(value: Any) -> str:
    values = [value] if isinstance(value, (int, str)) else list(value)
    accept(not any(isinstance(entry, bool) for entry in values))
    text = ",".join(map(str, values))
    accept(re.fullmatch(r"(\d+(\s*,\s*\d+)*)?", text.strip()))
    return text.strip()


def parse_intervals(value: Any) -> str:
    """``"[3,inf)"`` or ``"[1,2];[4,5)"``; YAML's ``[3, 5]`` is the closed interval.

    Raises:
        ValueError: it is no interval, or an empty one.
    """
    if isinstance(value, (list, tuple)) and len(value) == 2 and all(is_integer(v) or type(v) is float for v in value):
        value = f"[{value[0]},{value[1]}]" if isinstance(value, list) else f"({value[0]},{value[1]})"
    accept(isinstance(value, str))
    for part in value.split(";"):
        found = INTERVAL.fullmatch(part)
        accept(found)
        low, high = float(found[2]), float(found[3])
        accept(low <= high)  # not with NaN
    return value


INTERVALS = Rule("an interval in quotes such as '[3,inf)', or several, '[1,2];[4,5)'", parse_intervals)


def _value_intervals(value: object) -> dict[str, Any]:
    accept(isinstance(value, dict))
    normal = {}
    for field, interval in value.items():
        accept(isinstance(field, str))
        try:
            normal[field] = parse_intervals(interval)
        except (ValueError, TypeError):
            accept(isinstance(interval, (list, tuple)) and len(interval))
            normal[field] = [_text(token) for token in interval]
    return normal


def _columns(value: object) -> dict[str, Any]:
    """{suffix of a file: its columns, or "*"}."""
    accept(isinstance(value, dict) and set(value) <= {"inter", "user", "item"})
    return {suffix: "*" if names == "*" else [_text(name) for name in _list(names)] for suffix, names in value.items()}


def _list(value: Any) -> list[Any]:
    accept(isinstance(value, (list, tuple)))
    return list(value)


COLUMNS = Rule("columns by file, such as {inter: [user_id, item_id, rating]} (files: inter, user, item)", _columns)


def _negatives(value: Any) -> dict[str, Any] | None:
    if value is None or value == "None":
        return None
    defaults = {"distribution": "uniform", "sample_num": 1, "alpha": 1.0, "dynamic": False, "candidate_num": 0}
    accept(isinstance(value, dict) and set(value) <= set(defaults))
    given = {**defaults, **value}
    if given["distribution"] in (None, "None", "none"):
        return None
    accept(given["distribution"] in ("uniform", "popularity"))
    for name, rule in (("sample_num", integer(1, WIDEST)), ("alpha", number()), ("dynamic", FLAG)):
        rule.normal(given[name])
    accept(abs(given["alpha"]) <= 10)
    integer(1 if given["dynamic"] else 0, WIDEST).normal(given["candidate_num"])
    return value


def _clipping(value: Any) -> dict[str, Any]:
    accept(isinstance(value, dict) and set(value) <= {"max_norm", "norm_type", "error_if_nonfinite"})
    number(above=0).normal(value["max_norm"] if "max_norm" in value else None)
    number(above=0).normal(value.get("norm_type", 2))
    _flag(value.get("error_if_nonfinite", False))
    return value


def _eval_args(value: Any) -> dict[str, Any]:
    accept(isinstance(value, dict) and set(value) <= {"split", "group_by", "order", "mode"})
    return value


def _metrics(value: Any) -> list[str]:
    from recbole.evaluator import metric_types
    from recbole.utils import EvaluatorType

    known = [name for name, kind in metric_types.items() if kind == EvaluatorType.RANKING]
    values = [value] if isinstance(value, str) else list(value)
    accept(values and all(isinstance(name, str) for name in values))
    for name in values:
        if name.lower() not in known:
            raise OptionError(f"There is no metric named {name!r} for ranked lists. {nearest(name.lower(), known)}")
    return values


def _valid_metric(value: Any) -> str:
    accept(isinstance(value, str) and re.fullmatch(r"[^@]+@[1-9]\d*", value))
    return value


def _existing_file(value: Any) -> str:
    accept(value == "" or isinstance(value, str) and os.path.isfile(value))
    return value


def _mapping(value: Any) -> dict[str, Any]:
    accept(isinstance(value, dict))
    return value


def _run_name(value: object) -> str:
    name = _text(value)
    check_plain_name("run_name", name)
    return name


def _wandb(value: Any) -> bool:
    if _flag(value) and find_spec("wandb") is None:
        raise OptionError("log_wandb is True, but the package wandb is not installed: pip install wandb.")
    return value


TOKENS_OR_NOTHING = optional(list_of(TEXT, "[genres, plot]"))

RULES = {
    # of the run
    "scenario": choice(*SCENARIOS),
    "seed": integer(0, 2**32 - 1),
    "split_seed": optional(integer(0, 2**63 - 1)),
    "state": optional(choice("INFO", "DEBUG", "WARNING", "ERROR", "CRITICAL", any_case=True)),
    "gpu_id": Rule("numbers of GPUs such as 0 or '0,1', or '' for the CPU", _gpu_id),
    "run_name": optional(Rule("the name of a folder", _run_name)),
    "log_wandb": Rule("True or False", _wandb),
    "modalities": optional(Rule("{user: {name: kind}, item: {name: kind}}", _mapping)),
    "tables": optional(Rule("what convert table writes into the data set's YAML", _mapping)),
    "vector_storage": optional(choice(*STORAGES)),
    "missing": optional(Rule("a mapping such as {rate: 0.3, pattern: uniform}", _mapping)),
    "eval_candidates": optional(choice(*CANDIDATE_CHOICES)),
    "map_divisor": optional(choice(*MAP_DIVISORS)),
    "split_rounding": optional(choice(*SPLIT_ROUNDINGS)),
    "fit": choice("split", "all"),
    # of training
    "epochs": integer(0),
    "train_batch_size": optional(integer()),
    "learner": choice("adam", "adamw", "sgd", "adagrad", "rmsprop", any_case=True),
    "learning_rate": optional(number(above=0)),
    "train_neg_sample_args": Rule(
        "None, or a mapping such as {distribution: uniform, sample_num: 1} (distribution: uniform, popularity or none; "
        "sample_num, alpha, dynamic, candidate_num: numbers as in RecBole)",
        _negatives,
    ),
    "eval_step": integer(0),
    "stopping_step": integer(0),
    "clip_grad_norm": optional(Rule("a mapping such as {max_norm: 1}", _clipping)),
    "weight_decay": number(0),
    "loss_decimal_place": integer(0, 100),
    # of evaluation
    "eval_args": Rule("a mapping with split, order, group_by and mode", _eval_args),
    "metrics": Rule("a list of metrics such as [NDCG, Recall]", _metrics),
    "topk": non_empty(list_of(integer(), "[10, 20]")),
    "valid_metric": Rule("a metric with its length such as NDCG@10", _valid_metric),
    "eval_batch_size": integer(),
    "metric_decimal_place": integer(0, 100),
    "tail_ratio": optional(number(above=0)),
    # of the data
    "field_separator": Rule("one character, such as ',' or '\\t'", _one_character),
    "seq_separator": Rule("one character, such as '|'", _one_character),
    "load_col": optional(COLUMNS),
    "unload_col": optional(COLUMNS),
    "unused_col": optional(COLUMNS),
    "rm_dup_inter": optional(choice("first", "last")),
    "val_interval": optional(
        Rule("intervals of numbers or lists of tokens by column, such as {rating: '[3,inf)'}", _value_intervals)
    ),
    "user_inter_num_interval": optional(INTERVALS),
    "item_inter_num_interval": optional(INTERVALS),
    "normalize_field": optional(list_of(TEXT, "[rating]")),
    "normalize_all": optional(FLAG),
    "benchmark_filename": optional(list_of(TEXT, "[train, valid, test]", length=3)),
    **dict.fromkeys(
        ("use_gpu", "reproducibility", "show_progress", "shuffle", "resume", "enable_amp",
         "enable_scaler", "require_pow", "filter_inter_by_user_or_item"), FLAG,
    ),
    **dict.fromkeys(sorted(TEXTS - PATHS - {"field_separator", "seq_separator", "inter_matrix_type"}), TEXT),
    **dict.fromkeys(sorted(PATHS), PATH),
    **dict.fromkeys(sorted(OPTIONAL_TEXTS - {"run_name", "user_inter_num_interval", "item_inter_num_interval"}),
                    optional(TEXT)),
    **dict.fromkeys(sorted(NAME_LISTS - {"metrics", "benchmark_filename", "normalize_field"}), TOKENS_OR_NOTHING),
}  # fmt: skip

# Options that nothing reads under the protocol: why, or what to use instead.
SIDE = "side information reaches models as modalities, which the data set's YAML declares"
WITHOUT_EFFECT = {
    "threshold": "keep the interactions that count with val_interval, for example {rating: '[4,inf)'}",
    "repeatable": "items that a user has had are never ranked again under the protocol",
    "worker": "batches are made in this process, so that a seed says what is drawn",
    "transform": "it changes sequences, of which the protocol has none",
    "encoding": "atomic files are UTF-8",
    "neg_sampling": "use train_neg_sample_args",
    "training_neg_sample_num": "use train_neg_sample_args",
    "save_dataset": "RecBole's caches are keyed by its own options only and would mix up scenarios",
    "save_dataloaders": "RecBole's caches are keyed by its own options only and would mix up scenarios",
    "dataset_save_path": "RecBole's caches are keyed by its own options only and would mix up scenarios",
    "dataloaders_save_path": "RecBole's caches are keyed by its own options only and would mix up scenarios",
    "config_file": "name property files with --config_files",
    "config_files": "property files are named on the command line, as --config_files",
    "device": "choose GPUs with gpu_id, and the CPU with gpu_id=''",
    "offset": "it is group_offset",
    **dict.fromkeys(("seq_len", "numerical_features", "discretization", "preload_weight", "additional_feat_suffix",
                     "alias_of_user_id", "alias_of_item_id"), SIDE),
    **dict.fromkeys(("ITEM_LIST_LENGTH_FIELD", "LIST_SUFFIX", "MAX_ITEM_LIST_LENGTH", "POSITION_FIELD"),
                    "it belongs to sequential models"),
    **dict.fromkeys(("HEAD_ENTITY_ID_FIELD", "TAIL_ENTITY_ID_FIELD", "RELATION_ID_FIELD", "ENTITY_ID_FIELD",
                     "kg_reverse_r", "entity_kg_num_interval", "relation_kg_num_interval", "alias_of_entity_id",
                     "alias_of_relation_id"), "it belongs to knowledge-based models"),
    **dict.fromkeys(("MODEL_TYPE", "MODEL_INPUT_TYPE", "eval_type", "single_spec", "local_rank",
                     "valid_neg_sample_args", "test_neg_sample_args", "valid_metric_bigger"),
                    "RecBole tells it from the other options"),
}  # fmt: skip

# Bounds of the options of RecBole's models; the type is that of the default.
SHARE = number(0, 1)
DROPOUT = number(0, 0.99)
NOT_NEGATIVE = number(0)
POSITIVE = number(above=0)
BOUNDS = {
    **dict.fromkeys(("dropout_prob", "node_dropout", "message_dropout", "dropout", "drop_ratio"), DROPOUT),
    **dict.fromkeys(("corruption_ratio", "l1_ratio"), SHARE),
    **dict.fromkeys(("tau", "ssl_tau", "ssl_temp", "std", "rho", "resolution", "lambda2"), POSITIVE),
    **dict.fromkeys(("split_to", "sampling_steps", "warm_up_step", "total_anneal_steps", "anneal_steps",
                     "vae_anneal_steps"), integer(0)),
    **dict.fromkeys(("q", "w_max", "negative_weight", "noise_scale"), NOT_NEGATIVE),
    **dict.fromkeys(("k", "num_clusters", "total_anneal_steps", "history_num_per_term"), integer()),
    "margin": number(-1, 1),
    "order": Rule("1 or 2", integer(1, 2).normal),
    "steps": integer(1, 10_000),
    "n_layers": integer(1, 100),
    "embedding_size": integer(1, WIDEST),
}  # fmt: skip
CHOICES = {
    "loss_type": {"CDAE": ("BCE", "MSE")},
    "hid_activation": ("sigmoid", "relu", "tanh"),
    "out_activation": ("sigmoid", "relu"),
    "train_method": ("after_pretrain", "no_pretrain"),
    "inter_matrix_type": ("01", "rating"),
    "noise_schedule": ("linear", "linear-var", "cosine", "binomial"),
    "mean_type": ("x0", "eps"),
    "mlp_act_func": ("tanh", "relu", "sigmoid"),
    "ae_act_func": ("tanh", "relu", "sigmoid"),
    "accum": ("sum", "stack"),
    "knn_method": ("item", "user"),
    "algorithm": ("prod", "concat"),
    "neigh_info_method": ("random", "knn", "louvain"),
    "type": ("ED", "ND", "RW"),
    "aggregator": ("mean", "user_attention", "self_attention"),
}


# What RecBole's trainer reads of every model, whether it has such an option or not.
OF_ANY_MODEL = {"reg_weight": optional(NOT_NEGATIVE)}


def like(name: str, default: object) -> Rule:
    """The rule of an option of a RecBole model, from its default."""
    if name in CHOICES and isinstance(default, str):
        names = CHOICES[name]
        return choice(*(next(iter(names.values())) if isinstance(names, dict) else names))
    if name in BOUNDS:
        return BOUNDS[name]
    if name.endswith("path"):
        return optional(Rule("a file", _existing_file))
    if isinstance(default, bool):
        return FLAG
    if isinstance(default, int):
        return integer(1, WIDEST)
    if isinstance(default, float):
        return NOT_NEGATIVE
    if isinstance(default, str):
        return TEXT
    if isinstance(default, (list, tuple)):
        same_length = len(default) if name.startswith(("reg_weight", "mixture")) else None
        of_numbers = any(isinstance(entry, float) for entry in default)
        entries = number(0) if of_numbers else integer(1, WIDEST)
        return list_of(entries, str(list(default)) if default else "[64, 32]", same_length)
    return Rule("what RecBole's documentation says", lambda value: value)


def check_values(values: dict[str, Any], defaults: dict[str, Any], of_model: dict[str, Any]) -> dict[str, Any]:
    """The values that are used, each checked by itself and then with the others.

    Args:
        values: the effective configuration. defaults: RecBole's, of the options that have one.
        of_model: the options of a RecBole model with their defaults.

    Raises:
        OptionError: naming the option, its value, what was expected.
    """
    checked = {}
    for name, value in values.items():
        if name in WITHOUT_EFFECT:
            if not _same(value, defaults.get(name)):
                raise OptionError(
                    f"{name} is {shown(value)}, but it has no effect here: {WITHOUT_EFFECT[name]}. Leave it out."
                )
            checked[name] = value
        elif name in of_model and name not in RULES:
            checked[name] = like(name, of_model[name]).check(name, value)
        else:
            rule = RULES.get(name) or OF_ANY_MODEL.get(name)
            checked[name] = value if rule is None else rule.check(name, value)
    _check_fields(checked)
    checked["eval_args"] = _checked_eval_args(checked, checked["scenario"])
    _check_filters(checked)
    _check_negatives(checked.get("train_neg_sample_args"))
    return checked


def _same(value: object, default: object) -> bool:
    """Whether an option says nothing: as RecBole's default, or None, or switched off."""
    return value is None or value is False and default is None or (type(value), value) == (type(default), default)


def _check_fields(values: dict[str, Any]) -> None:
    names = ("USER_ID_FIELD", "ITEM_ID_FIELD", "TIME_FIELD", "LABEL_FIELD")
    for position, name in enumerate(names):
        for other in names[:position]:
            if values[name] == values[other]:
                raise OptionError(f"{other} and {name} are both {values[name]!r}; they are different columns.")
    if values["field_separator"] == values["seq_separator"]:
        raise OptionError(
            f"field_separator and seq_separator are both {values['field_separator']!r}; they must differ."
        )
    for suffix, names in (values.get("unused_col") or {}).items():
        for name in ("USER_ID_FIELD", "ITEM_ID_FIELD"):
            if values[name] in names or names == "*":
                raise OptionError(f"unused_col.{suffix} names {values[name]!r}, which everything needs; take it out.")
    for suffix in set(values.get("load_col") or ()) & set(values.get("unload_col") or ()):
        if values["load_col"][suffix] != "*":
            raise OptionError(f"load_col and unload_col both name columns of the file {suffix!r}; give one of them.")
    if values.get("normalize_field") and values.get("normalize_all"):
        raise OptionError("normalize_field and normalize_all are both given; give one of them.")


DEFAULT_EVAL_ARGS = {"split": {"RS": [0.8, 0.1, 0.1]}, "order": "RO", "group_by": "user", "mode": "full"}


def _checked_eval_args(values: dict[str, Any], scenario: str) -> dict[str, Any]:
    given = {**DEFAULT_EVAL_ARGS, **values["eval_args"]}
    split, order, group_by, mode = (given[name] for name in DEFAULT_EVAL_ARGS)
    modes = mode.values() if isinstance(mode, dict) and set(mode) <= {"valid", "test"} else [mode]
    if any(entry != "full" for entry in modes):
        raise OptionError(f"eval_args.mode is {shown(mode)}; the protocol ranks all candidates: use 'full'.")
    if not isinstance(order, str) or order not in ("RO", "TO"):
        raise OptionError(f"eval_args.order is {shown(order)}; expected RO (at random) or TO (by time).")
    group_by = "none" if group_by is None else group_by
    if not isinstance(group_by, str) or group_by not in ("user", "none"):
        raise OptionError(f"eval_args.group_by is {shown(group_by)}; expected user or none.")
    cold = SCENARIOS[scenario].cold_sides
    ways = ("RS",) if cold else ("RS", "LS", "TS")
    if not isinstance(split, dict) or len(split) != 1 or (way := next(iter(split))) not in ways:
        others = "" if cold else ", or {LS: valid_and_test} or {TS: [0.8, 0.1, 0.1]}"
        raise OptionError(
            f"eval_args.split is {shown(split)}; scenario {scenario} takes {{RS: [0.8, 0.1, 0.1]}}{others}."
        )
    if way == "LS" and split["LS"] != "valid_and_test":
        raise OptionError(
            f"eval_args.split is {shown(split)}; expected {{LS: valid_and_test}}: a validation and a test split are "
            "needed."
        )
    if way != "LS":
        ratios = split[way]
        if not isinstance(ratios, (list, tuple)) or len(ratios) != 3 or not all(is_number(r) and r > 0 for r in ratios):
            raise OptionError(
                f"The split ratios are {shown(ratios)}; expected three positive numbers such as [0.8, 0.1, 0.1]."
            )
        split = {way: list(ratios)}
    reason = None
    if values.get("benchmark_filename") is not None:
        reason = "the splits are the files of benchmark_filename"
    elif cold:
        reason = f"scenario {scenario} splits {' and '.join(f'{side}s' for side in cold)} at random"
    for name, value in (("order", order), ("group_by", group_by)):
        if reason and value != DEFAULT_EVAL_ARGS[name]:
            raise OptionError(f"eval_args.{name} is {value!r}, but has no effect: {reason}. Leave it out.")
    rounding = values.get("split_rounding")
    if rounding not in (None, SPLIT_ROUNDINGS[0]) and (way == "LS" or values.get("benchmark_filename") is not None):
        why = (
            "the splits are the files of benchmark_filename" if way != "LS" else "leave-one-out has no shares to round"
        )
        raise OptionError(f"split_rounding is {rounding!r}, but has no effect: {why}. Leave it out.")
    if values.get("benchmark_filename") is not None and split != DEFAULT_EVAL_ARGS["split"]:
        raise OptionError(f"eval_args.split is {split!r}, but has no effect: {reason}. Leave it out.")
    return {"split": split, "order": order, "group_by": group_by, "mode": mode}


def _check_filters(values: dict[str, Any]) -> None:
    if values.get("benchmark_filename") is None:
        return
    for name, nothing in (
        ("val_interval", (None, {})),
        ("user_inter_num_interval", (None, "[0,inf)")),
        ("item_inter_num_interval", (None, "[0,inf)")),
        ("rm_dup_inter", (None,)),
    ):
        if values.get(name) not in nothing:
            raise OptionError(
                f"{name} is {shown(values[name])}, but has no effect beside benchmark_filename, whose files are used "
                "as they are; filter the files, or leave one of the two out."
            )


def _check_negatives(arguments: dict[str, Any] | None) -> None:
    if not arguments:
        return
    if arguments.get("alpha", 1.0) != 1 and arguments.get("distribution", "uniform") != "popularity":
        raise OptionError(
            f"train_neg_sample_args.alpha is {arguments['alpha']}, but has no effect with distribution: uniform; use "
            "distribution: popularity, or leave it out."
        )
    if arguments.get("candidate_num") and not arguments.get("dynamic"):
        raise OptionError(
            f"train_neg_sample_args.candidate_num is {arguments['candidate_num']}, but has no effect without "
            "dynamic: True; add it, or leave candidate_num out."
        )
