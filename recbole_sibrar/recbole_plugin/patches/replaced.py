"""What was replaced in RecBole: the one way to do it, and the originals, of which the fingerprints are."""

import hashlib
import importlib
import inspect
from typing import Any

ORIGINALS: dict[str, Any] = {}
"""Replaced objects, so that their fingerprints stay available."""


def replace(owner: Any, name: str, replacement: Any, touch_point: str) -> None:
    """Put the replacement in the place of ``owner.name``, and keep the original.

    Args:
        touch_point: ``module:object``, a key of the area's ``TOUCH_POINTS``.
    """
    ORIGINALS[touch_point] = inspect.getattr_static(owner, name)
    setattr(owner, name, replacement)


def fingerprint(touch_point: str) -> str:
    """The fingerprint of the installed code of ``module:object``."""
    module, _, path = touch_point.partition(":")
    target = importlib.import_module(module)
    for name in path.split("."):
        target = inspect.getattr_static(target, name)
    target = ORIGINALS.get(touch_point, target)
    return hashlib.sha256(inspect.getsource(target).encode()).hexdigest()[:12]
