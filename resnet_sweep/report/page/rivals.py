"""Rivals of the best that have been compared with it run by run."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from resnet_sweep.report.columns import column_names
from resnet_sweep.report.plots.groups import FIXED
from resnet_sweep.report.plots.values import floats, texts
from resnet_sweep.report.settings import keys_of, swept_parameters
from resnet_sweep.report.text import one_line

_HOW = {
    "test": "on the same images of the test split",
    "last epoch": "on the same images after the last epoch",
}


def paired_with(
    runs: pd.DataFrame, groups: pd.DataFrame, best: int, rivals: Sequence[int]
) -> dict[int, str]:
    """What is known of those that differ from the best in one choice only.

    Args:
        runs: A row a run.
        groups: As ``compare_groups`` gives it.
        best: Position of a run of the best trial.
        rivals: Positions of a run of each rival.

    Returns:
        By rival how the two were compared, and the verdict on them.
    """
    found: dict[int, str] = {}
    if groups.empty or not rivals:
        return found
    names = swept_parameters(runs)
    columns = column_names(names, FIXED, "params")
    table = runs.iloc[[best, *rivals]]
    paired = groups[_are_paired(groups)]
    for parameter in [name for name in names if name in set(texts(paired, "parameter"))]:
        others = [name for name in names if name != parameter]
        part = paired[np.array(texts(paired, "parameter")) == parameter]
        shown = [name for name in others if columns[name] in groups]
        told = _told(part, [columns[name] for name in shown])
        studies = texts(table, "study") if "study" in groups else [""] * len(table)
        keys = list(zip(studies, keys_of(table, shown), strict=True))
        settings = keys_of(table, others)
        values = [one_line(value) for value in table[parameter].tolist()]
        for i, rival in enumerate(rivals, 1):
            pair = (keys[i], frozenset((values[0], values[i])))
            if keys[i] == keys[0] and settings[i] == settings[0] and pair in told:
                found[rival] = told[pair]
    return found


def _are_paired(groups: pd.DataFrame) -> list[bool]:
    is_known = np.isfinite(floats(groups, "difference_low")).tolist()
    return [
        known and (method == "same images" or method.startswith("t over"))
        for known, method in zip(is_known, texts(groups, "method"), strict=True)
    ]


def _told(
    groups: pd.DataFrame, columns: Sequence[str]
) -> dict[tuple[tuple[str, tuple[str, ...]], frozenset[str]], str]:
    """By study, setting and the two values how they were compared and what came out."""
    studies, keys = texts(groups, "study"), keys_of(groups, columns)
    pairs = map(frozenset, zip(texts(groups, "a"), texts(groups, "b"), strict=True))
    sentences = [
        f"{_HOW.get(split, split) if method == 'same images' else 'seed by seed'}: {verdict}"
        for split, method, verdict in zip(
            *(texts(groups, name) for name in ("split", "method", "verdict")), strict=True
        )
    ]
    return dict(
        zip(zip(zip(studies, keys, strict=True), pairs, strict=True), sentences, strict=True)
    )
