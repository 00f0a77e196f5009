"""What ``recbole-sibrar doctor`` says: versions, what is on and off, RecBole's state, where data is looked for."""

import platform
from collections.abc import Collection, Iterable
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

import torch

from recbole_sibrar.errors import RecBoleMissing, SibrarError
from recbole_sibrar.properties import props_folder, read_property_file

PACKAGES = (
    "recbole-sibrar",
    "recbole",
    "torch",
    "numpy",
    "pandas",
    "scipy",
    "scikit-learn",
    "setuptools",
    "ray",
    "pyarrow",
    "narwhals",
    "fastapi",
    "hyperopt",
    "optuna",
)

# What can be done -> the modules that it needs, beside those that everything needs.
PARTS = {
    "serving, metrics, conversion": (),
    "training and evaluation": ("recbole",),
    "reports and comparisons": ("tabulate", "matplotlib", "statsmodels", "jinja2"),
    "Parquet files": ("pyarrow",),
    "frames of Polars and Arrow": ("narwhals",),
    "serve": ("fastapi", "uvicorn"),
    "tune": ("recbole", "hyperopt"),
    "tune --engine=ray": ("recbole", "hyperopt", "ray", "pyarrow"),
    "tune --engine=optuna": ("recbole", "optuna", "sqlalchemy"),
    "texts to vectors": ("sentence_transformers",),
    "pictures to vectors": ("transformers", "PIL"),
    "push, hub:owner/name": ("huggingface_hub",),
    "--track mlflow": ("mlflow",),
    "--track wandb": ("wandb",),
    "RecBole's NCL": ("recbole", "faiss"),
}


def report() -> tuple[str, bool]:
    """The text, and whether everything is as it should be."""
    packages = [("python", platform.python_version()), *((name, _version(name)) for name in PACKAGES)]
    recbole, healthy = _recbole()
    data_path = Path(read_property_file(props_folder() / "protocol.yaml")["data_path"]).resolve()
    sets = sorted(path.name for path in data_path.glob("*") if (path / f"{path.name}.inter").is_file())
    parts = [(name, _state(modules)) for name, modules in PARTS.items()]
    lines = [
        *_columns(packages),
        "",
        *_columns([*parts, ("GPU", _gpus()), ("bfloat16", bfloat16())]),
        "",
        *recbole,
        f"property files: {props_folder()}",
        f"data sets are looked for in {data_path} (--data_path): {', '.join(sets) or 'none'}; and ml-100k in RecBole",
    ]
    return "\n".join(lines), healthy


def _recbole() -> tuple[list[str], bool]:
    """Lines about RecBole, and whether it is either absent or as expected."""
    try:
        from recbole_sibrar.recbole_plugin.patches import TOUCH_POINTS
        from recbole_sibrar.recbole_plugin.patches.replaced import fingerprint
    except RecBoleMissing as error:
        return [str(error)], True
    except (SibrarError, ImportError) as error:
        return [f"RecBole cannot be used: {error}"], False
    changed, unreadable = [], []
    for touch_point, (expected, _) in TOUCH_POINTS.items():
        try:
            if fingerprint(touch_point) != expected:
                changed.append(f"  changed: {touch_point}")
        except ImportError as error:
            unreadable.append(f"  cannot be imported: {touch_point}: {error}")
    n_expected = len(TOUCH_POINTS) - len(changed) - len(unreadable)
    said = f"RecBole: {n_expected} of {len(TOUCH_POINTS)} touch points as expected"
    return [said, *changed, *unreadable], not changed


def _columns(rows: Collection[tuple[str, str]]) -> list[str]:
    width = max(len(name) for name, _ in rows)
    return [f"{name:<{width}}  {value}" for name, value in rows]


def _state(modules: Iterable[str]) -> str:
    absent = [name for name in modules if find_spec(name) is None]
    return f"off: {', '.join(absent)} not installed" if absent else "on"


def _gpus() -> str:
    names = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    return f"on: {', '.join(names)}" if names else "off: torch sees none"


def bfloat16(path: Path | str = "/proc/cpuinfo") -> str:
    """Whether the processor multiplies in it, by what Linux says of it."""
    if not Path(path).is_file():
        return "unknown"
    if {"avx512_bf16", "amx_bf16", "bf16"}.isdisjoint(Path(path).read_text(errors="replace").split()):
        return "off: this processor has none, --enable_amp is no gain without a GPU"
    return "on: --enable_amp=True is faster for networks some hundreds wide (docs/speed.md)"


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
