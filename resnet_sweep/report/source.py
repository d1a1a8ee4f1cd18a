"""What a report is made of: one study, sweep, folder of runs or CSV file that has been read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from resnet_sweep.report.columns import Keys, Row
from resnet_sweep.report.statistics import wilson
from resnet_sweep.study.reading import Snapshot


@dataclass(frozen=True)
class Source:
    """One study, sweep, folder of runs or CSV file.

    Attributes:
        name: Of the study, else of the folder or file.
        rows: A row a run, best first; of all attempts.
        folder: Where a report of it is written, if it has one.
        snapshot: Of the study, where there is one in a storage.
        log_parameters: Names of the parameters that were drawn on a logarithmic axis.
        notes: What a reader of the table should know.
        history_csv: Where the epochs of its runs are written, if they are in no folders.
        keys: Columns that its table has whether or not a row knows them.
        origin: What was read: a path, or a URL without its password.
        renamed: New names by those in its files, of studies whose names others have as well.
    """

    name: str
    rows: tuple[Row, ...]
    folder: Path | None = None
    snapshot: Snapshot | None = None
    log_parameters: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()
    history_csv: Path | None = None
    keys: Keys = field(default_factory=Keys)
    origin: str = ""
    renamed: Mapping[str, str] = field(default_factory=dict)

    @property
    def standing(self) -> str:
        """That a sweep has stopped before its end, if it has."""
        snapshot = self.snapshot
        if snapshot is None or snapshot.is_active or snapshot.num_done == snapshot.total:
            return ""
        if not snapshot.program:
            # Of a study that is not ours nobody here knows who works on it.
            return ""
        return "no sweep works on it now; the same command goes on with it"


def add_intervals(rows: list[Row]) -> None:
    """Adds what follows from accuracies and numbers of images: intervals, and who has learned.

    An accuracy of one epoch has the Wilson 95% interval of its images. A run has learned when
    the interval of its last epoch lies above chance.

    Args:
        rows: Of runs, as they were read.
    """
    for accuracy, images in (
        ("last_val_accuracy", "num_val_images"),
        ("test_accuracy", "num_test_images"),
    ):
        known = [
            row.facts
            for row in rows
            if row.facts.get(accuracy) is not None and row.facts.get(images)
        ]
        if not known:
            continue
        num = np.array([facts[images] for facts in known], dtype=float)
        lows, highs = wilson(np.array([facts[accuracy] for facts in known]) * num, num)
        for facts, low, high in zip(known, lows, highs, strict=True):
            facts[f"{accuracy}_low"], facts[f"{accuracy}_high"] = float(low), float(high)
    for row in rows:
        low, chance = row.facts.get("last_val_accuracy_low"), row.facts.get("chance_accuracy")
        if low is not None and chance is not None:
            row.facts["learned"] = low > chance


def objective_facts(values: list[float] | tuple[float, ...] | None, num: int) -> dict[str, Any]:
    """Objectives by the names of their columns.

    Args:
        values: As many as are known, or None.
        num: Objectives of the study.
    """
    return dict(zip(objective_names(num), values or (), strict=False))


def objective_names(num: int) -> tuple[str, ...]:
    """Names of the objectives' columns.

    Args:
        num: Objectives of the study.
    """
    return ("objective",) if num == 1 else tuple(f"objective_{i}" for i in range(num))
