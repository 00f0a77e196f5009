"""RecBole's logging, made for one run in a process."""

import functools

TOUCH_POINTS = {
    "recbole.utils.logger:init_logger": ("548f4cebce48", "wraps stdout in each run; the second time it does not"),
}  # fmt: skip


def apply() -> None:
    """Each run wraps ``sys.stdout`` once more; after some hundred, as trials of ``tune``, printing recurses too deep."""
    from recbole.utils import logger

    logger.init = functools.cache(logger.init)
