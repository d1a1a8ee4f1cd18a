"""Who is told about an epoch while a run goes on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol


class Reporter(Protocol):
    """Told the metrics of every epoch, right after its validation.

    A reporter may end the run by raising; the exception passes through ``fit``
    unchanged, after the epoch's row is in metrics.csv.
    """

    def report(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """Takes the metrics of one epoch, which is counted from 1."""
