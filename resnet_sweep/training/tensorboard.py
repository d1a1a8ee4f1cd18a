"""TensorBoard's event files, for those who ask for them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol


@dataclass(frozen=True)
class Label:
    """What the HParams view shows of a run beside its metrics.

    Attributes:
        name: The run's own, among all that are shown together.
        hparams: What was chosen for it, by key.
    """

    name: str
    hparams: Mapping[str, bool | float | str] = field(default_factory=dict)


class EventWriter(Protocol):
    """Takes the metrics of every epoch."""

    def write(self, epoch: int, row: Mapping[str, float]) -> None:
        """Takes one epoch."""

    def complete(self) -> None:
        """Says that the run came to its end."""

    def close(self) -> None:
        """Ends the file."""


class NoEvents:
    """No event files."""

    def write(self, epoch: int, row: Mapping[str, float]) -> None:
        """Does nothing."""

    def complete(self) -> None:
        """Does nothing."""

    def close(self) -> None:
        """Does nothing."""


class TensorBoardEvents:
    """Writes one scalar for each metric and epoch, and the run's line in the HParams view."""

    def __init__(self, folder: Path, first_epoch: int, label: Label) -> None:
        # Imported here: it costs a second and is an optional package.
        from tensorboard.plugins.hparams.summary_v2 import (  # type: ignore[import-untyped]
            hparams_pb,
        )
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder), purge_step=first_epoch)
        # Not SummaryWriter.add_hparams, which makes a second run of it, and whose list of keys
        # and metrics, of whichever run comes first, would stand for all of a sweep.
        self._add(hparams_pb(dict(label.hparams), trial_id=label.name))

    def write(self, epoch: int, row: Mapping[str, float]) -> None:
        """Writes the epoch's metrics under their names in metrics.csv."""
        for name, value in row.items():
            if name != "epoch":
                self._writer.add_scalar(name, value, epoch)

    def complete(self) -> None:
        """Gives the run's line its status."""
        from torch.utils.tensorboard.summary import hparams

        _, _, success = hparams({}, {})  # type: ignore[no-untyped-call]
        self._add(success)

    def close(self) -> None:
        """Ends the file."""
        self._writer.close()

    def _add(self, summary: Any) -> None:
        file: Any = self._writer.file_writer  # None to a type checker.
        file.add_summary(summary)


def open_writer(folder: Path | None, first_epoch: int, label: Label) -> EventWriter:
    """A writer into ``folder``, or one that does nothing for None.

    Args:
        folder: Where the files go.
        first_epoch: What an earlier attempt wrote from this epoch on is not shown.
        label: Of the run.
    """
    return NoEvents() if folder is None else TensorBoardEvents(folder, first_epoch, label)
