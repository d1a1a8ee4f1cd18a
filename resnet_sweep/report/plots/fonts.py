"""Matplotlib's search for fonts, which is not worth a line in a sweep."""

from __future__ import annotations

import logging


def quiet_fonts() -> None:
    """Keeps Matplotlib from saying that it has listed the fonts, as it does once on a machine.

    Optuna's pictures load it. A level that somebody has set stays.
    """
    log = logging.getLogger("matplotlib.font_manager")
    if log.level == logging.NOTSET:
        log.setLevel(logging.WARNING)
