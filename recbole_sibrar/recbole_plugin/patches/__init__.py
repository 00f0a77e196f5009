"""Everything that we register in RecBole or replace in it, a file for each area of RecBole.

Each lists in ``TOUCH_POINTS`` the RecBole code that it relies on: "module:object" -> (first 12 digits of the SHA-256 of its
source, why we rely on it). ``tests/test_touchpoints.py`` compares these fingerprints with the installed RecBole and fails
when RecBole changes. ``register`` does the work once, as soon as ``recbole_sibrar`` and RecBole are imported.
"""

import functools
from typing import Any

from recbole_sibrar.errors import SibrarError
from recbole_sibrar.hook import RECBOLE_VERSION
from recbole_sibrar.recbole_plugin.patches import (
    configuration,
    data,
    logging,
    metrics,
    models,
    newer_packages,
    quick_start,
    training,
)
from recbole_sibrar.serving import known

AREAS = (configuration, data, metrics, models, training, logging, newer_packages, quick_start)
TOUCH_POINTS = {name: entry for area in AREAS for name, entry in area.TOUCH_POINTS.items()}


@functools.cache
def register() -> None:
    """Make RecBole know our models, data set class, trainers, metrics, property files and checkpoints.

    Raises:
        SibrarError: RecBole is of another version.
    """
    _check_version()
    for area in AREAS:
        area.apply()
    _serve_their_models()


def _check_version() -> None:
    import recbole

    if recbole.__version__ != RECBOLE_VERSION:
        raise SibrarError(
            f"RecBole {recbole.__version__} is installed, but recbole_sibrar is made for {RECBOLE_VERSION}: "
            f"pip install recbole=={RECBOLE_VERSION}"
        )


def _serve_their_models() -> None:
    def load(*arguments: Any) -> Any:
        from recbole_sibrar.recbole_plugin.serving import load_known_only

        return load_known_only(*arguments)

    known.load_with_recbole = load
