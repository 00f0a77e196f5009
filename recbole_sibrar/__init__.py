"""SiBraR and MuBraR for RecBole: multimodal recommendation that keeps working when data is missing.

Importing the package is enough for RecBole to know the models (``hook``); without RecBole everything works but training
and evaluation in it.
"""

from typing import Any

__version__ = "0.1.0"
__all__ = ["Dataset", "__version__"]

from recbole_sibrar.hook import register_with_recbole

register_with_recbole()


def __getattr__(name: str) -> Any:
    """``Dataset`` is imported as it is asked for: nothing heavy comes with the package itself."""
    if name == "Dataset":
        from recbole_sibrar.dataset import Dataset

        return Dataset
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
