"""What a person sees while a run goes on: a bar on a terminal, a line an epoch in the log."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING

from resnet_sweep.training.metrics import Reading

# Only who looks at a terminal waits for rich to load.
if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

log = logging.getLogger(__name__)


class ProgressView:
    """Shows a run. The bar is drawn while an epoch trains and gone when its line is logged.

    Args:
        num_epochs: Of the run.
        num_steps: Of an epoch.
        first_epoch: 1, or the epoch that a resumed run goes on with.
        console: Terminal for the bar, or None for the log lines alone.
    """

    def __init__(
        self, num_epochs: int, num_steps: int, first_epoch: int, console: Console | None
    ) -> None:
        self._num_epochs, self._num_steps = num_epochs, num_steps
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        if console is not None:
            self._bar = _bar_on(console)
            self._task = self._bar.add_task(
                "epoch",
                total=num_epochs * num_steps,
                completed=(first_epoch - 1) * num_steps,
                reading="",
            )

    def epoch_starts(self, epoch: int) -> None:
        """Draws the bar."""
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, description=f"epoch {epoch}/{self._num_epochs} step")
            self._bar.start()

    def step_done(
        self, epoch: int, step: int, reading: Reading | None, images_per_s: float
    ) -> None:
        """Moves the bar; the numbers change when a reading has arrived."""
        if self._bar is None or self._task is None:
            return
        self._bar.update(self._task, completed=(epoch - 1) * self._num_steps + step)
        if reading is not None:
            text = f"loss {reading.loss:.4f} acc {reading.accuracy:.3f} {images_per_s:.0f} img/s"
            self._bar.update(self._task, reading=text)

    def epoch_done(self, row: Mapping[str, float]) -> None:
        """Takes the bar away and logs the epoch."""
        self.close()
        log.info(
            "epoch %d/%d  train loss %.4f acc %.4f  val loss %.4f acc %.4f  "
            "lr %.3g  %.0f img/s  %.1f s",
            row["epoch"],
            self._num_epochs,
            row["train_loss"],
            row["train_accuracy"],
            row["val_loss"],
            row["val_accuracy"],
            row["lr"],
            row["images_per_s"],
            row["seconds"],
        )

    def close(self) -> None:
        """Takes the bar away."""
        if self._bar is not None:
            self._bar.stop()


def _bar_on(console: Console) -> Progress:
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TextColumn("{task.fields[reading]}"),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    )
