"""The table of groups compared, as texts."""

from __future__ import annotations

import numpy as np
import pandas as pd

from resnet_sweep.report.page.content import PageContent
from resnet_sweep.report.plots import palette
from resnet_sweep.report.plots.categories import category_colours
from resnet_sweep.report.plots.groups import settings_of_groups
from resnet_sweep.report.plots.values import floats, texts
from resnet_sweep.report.text import number

_NUMBERS = ("a_accuracy", "b_accuracy", "difference", "difference_low", "difference_high")
_WORDS = ("parameter", "a", "b", "split", "method", "verdict")


def comparisons(table: pd.DataFrame) -> list[dict[str, str]]:
    """A row a comparison: its words and its numbers as they are shown; none if all are unknown.

    Args:
        table: As ``compare_groups`` gives it.
    """
    if not np.isfinite(floats(table, "difference")).any():
        return []
    numbers = {name: floats(table, name) for name in (*_NUMBERS, "mcnemar_p")}
    words = {name: texts(table, name) for name in _WORDS}
    settings = settings_of_groups(table)

    def text(name: str, i: int) -> str:
        value = numbers[name][i]
        return number(value) if np.isfinite(value) else "-"

    def row(i: int) -> dict[str, str]:
        low, high = text("difference_low", i), text("difference_high", i)
        return {
            **{name: column[i] for name, column in words.items()},
            **{name: text(name, i) for name in ("a_accuracy", "b_accuracy", "difference")},
            "setting": settings[i],
            "interval": "-" if low == "-" else f"{low} to {high}",
            "p": text("mcnemar_p", i),
        }

    return [row(i) for i in range(len(table))]


def why_no_groups(content: PageContent) -> str:
    """Why nothing is compared although the runs differ in a choice; "" where nobody asks.

    Args:
        content: Of the page.
    """
    runs = content.runs
    if any(
        np.isfinite(floats(runs, name)).any() for name in ("last_val_accuracy", "test_accuracy")
    ):
        return ""
    choice, _, _ = category_colours(runs, palette.CATEGORIES)
    if not choice or comparisons(content.groups):
        return ""
    return "No groups compared: no accuracy is known of these runs."
