"""RecBole's quick start: functions of ours in the place of two, whenever it is imported, and no ray."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from recbole_sibrar.hook import on_import
from recbole_sibrar.recbole_plugin.patches.replaced import replace

TOUCH_POINTS = {
    "recbole.quick_start.quick_start:run_recbole": ("99b7cc6e9b7d", "its Config says which options it does not read"),
    "recbole.quick_start.quick_start:load_data_and_model": ("a7709915fca7", "replaced: reads our checkpoints"),
    "recbole.quick_start.quick_start:objective_function": ("517c95a67f6b", "replaced: it reports test results to the tuner"),
}  # fmt: skip


def apply() -> None:
    """Replace the functions of ``recbole.quick_start`` when somebody imports it, not before.

    It imports ``ray.tune`` for a function that is replaced; it is given an empty module, and no ray is needed.
    """
    on_import("recbole.quick_start.quick_start", _replace_quick_start, within=_without_ray)


@contextmanager
def _without_ray() -> Iterator[None]:
    if "ray" in sys.modules:
        yield
        return
    sys.modules["ray"] = ModuleType("ray")
    sys.modules["ray"].tune = None
    try:
        yield
    finally:
        del sys.modules["ray"]


def _replace_quick_start(module: ModuleType) -> None:
    from recbole_sibrar.recbole_plugin import quick_start

    package = sys.modules.get("recbole.quick_start")
    module.create_dataset = sys.modules["recbole.data"].create_dataset
    module.Config = quick_start.config_of_run_recbole
    for name in ("load_data_and_model", "objective_function"):
        replace(module, name, getattr(quick_start, name), f"{module.__name__}:{name}")
        if hasattr(package, name):
            setattr(package, name, getattr(quick_start, name))
