"""RecBole knows our models as soon as it is imported; where it is not installed or not used, this costs nothing."""

import importlib
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from importlib.abc import Loader
from importlib.machinery import ModuleSpec
from types import ModuleType

from recbole_sibrar.errors import RecBoleMissing

RECBOLE_VERSION = "1.2.1"

Context = Callable[[], AbstractContextManager[None]]


def load_recbole() -> None:
    """Import RecBole, and have our models registered with it.

    Raises:
        RecBoleMissing: it is not installed.
    """
    try:
        importlib.import_module("recbole")
    except ModuleNotFoundError as error:
        if error.name != "recbole":
            raise
        no_ray = "--no-deps " if sys.version_info >= (3, 12) else ""  # the one that it asks for is not to be had there
        raise RecBoleMissing(
            "RecBole is not installed, which training, evaluation and RecBole's own models need: "
            f"pip install {no_ray}recbole=={RECBOLE_VERSION}"
        ) from None


def register_with_recbole() -> None:
    """Register now if RecBole is imported, else when it is."""
    on_import("recbole", _register)


def _register(_: ModuleType) -> None:
    from recbole_sibrar.recbole_plugin.patches import register

    register()


def on_import(name: str, then: Callable[[ModuleType], object], within: Context = nullcontext) -> None:
    """Call ``then(module)`` after the module's first import, or now if it is imported already.

    Args:
        within: makes the context in which the module is imported.
    """
    if sys.modules.get(name) is not None:
        then(sys.modules[name])
    else:
        sys.meta_path.insert(0, _Finder(name, then, within))


class _Finder:
    """Finds one module where the others find it; stays until its import and ``then`` have succeeded."""

    def __init__(self, name: str, then: Callable[[ModuleType], object], within: Context):
        self.name, self.then, self.within = name, then, within

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != self.name:
            return None
        others = (finder for finder in sys.meta_path if finder is not self and hasattr(finder, "find_spec"))
        spec = next(filter(None, (finder.find_spec(name, path, target) for finder in others)), None)
        if spec is not None and spec.loader is not None:
            self._extend(spec.loader)
        return spec

    def _extend(self, loader: Loader) -> None:
        execute = loader.exec_module

        def exec_module(module: ModuleType) -> None:
            with self.within():
                execute(module)
            self.then(module)
            if self in sys.meta_path:
                sys.meta_path.remove(self)

        loader.exec_module = exec_module  # type: ignore[method-assign]
