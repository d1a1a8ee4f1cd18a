"""TensorBoard's event files, for those who ask for them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol


class EventWriter(Protocol):
    """Takes the metrics of every epoch."""

    def write(self, epoch: int, row: Mapping[str, float]) -> None:
        """Takes one epoch."""

    def close(self) -> None:
        """Ends the file."""


class NoEvents:
    """No event files."""

    def write(self, epoch: int, row: Mapping[str, float]) -> None:
        """Does nothing."""

    def close(self) -> None:
        """Does nothing."""


class TensorBoardEvents:
    """Writes one scalar for each metric and epoch."""

    def __init__(self, folder: Path, first_epoch: int) -> None:
        # Imported here: it costs a second and is an optional package.
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder), purge_step=first_epoch)

    def write(self, epoch: int, row: Mapping[str, float]) -> None:
        """Writes the epoch's metrics under their names in metrics.csv."""
        for name, value in row.items():
            if name != "epoch":
                self._writer.add_scalar(name, value, epoch)

    def close(self) -> None:
        """Ends the file."""
        self._writer.close()


def open_writer(folder: Path | None, first_epoch: int) -> EventWriter:
    """A writer into ``folder``, or one that does nothing for None.

    Args:
        folder: Where the files go.
        first_epoch: What an earlier attempt wrote from this epoch on is not shown.
    """
    return NoEvents() if folder is None else TensorBoardEvents(folder, first_epoch)
