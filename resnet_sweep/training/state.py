"""What grows while a run goes on: rows, the best epoch, the checkpoint that is due."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Protocol, Self

from torch import Tensor, nn

from resnet_sweep.faults import Fault
from resnet_sweep.training.checkpoint import Checkpoint, snapshot
from resnet_sweep.training.config import ObjectiveConfig, direction_of
from resnet_sweep.training.continuation import config_differences
from resnet_sweep.training.failures import CheckpointError
from resnet_sweep.training.folder import RunFolder
from resnet_sweep.training.writer import Writer

log = logging.getLogger(__name__)

Row = dict[str, float]


class Stateful(Protocol):
    """What is kept of an optimizer."""

    def state_dict(self) -> dict[str, Any]:
        """Its tensors and plain values, nested; it may go on to change the tensors."""

    def load_state_dict(self, state: dict[str, Any], /) -> Any:
        """Takes over what another one's ``state_dict`` gave.

        Raises:
            ValueError: It does not fit.
        """


class RunState:
    """The finished epochs of a run, in memory and in its folder.

    Snapshots of them stay on the device; a thread copies them to the host and writes them to
    files while the training goes on. As a context it is closed at the end, and what a write
    failed with is raised, or logged where another error is on its way.

    Args:
        folder: Where metrics.csv and last.pt go.
        objective: By which metric an epoch is the best.
        settings: The whole configuration as plain values.
        data: Hash of the decoded data's content.

    Attributes:
        rows: The rows of metrics.csv.
        best: "row", "model" (state dict, of tensors that nobody changes) and "predictions" of
            the best epoch.
        last_predictions: Predicted classes of the last epoch, [n] int64.
    """

    def __init__(
        self,
        folder: RunFolder,
        objective: ObjectiveConfig,
        settings: dict[str, Any],
        data: str,
    ) -> None:
        self._folder, self._objective = folder, objective
        self._settings, self._data = settings, data
        self.rows: list[Row] = []
        self.best: dict[str, Any] = {}
        self.last_predictions: Tensor | None = None
        self._seconds_before = 0.0
        self._started_s = self._last_save_s = time.monotonic()
        self._writer = Writer()
        self._newest: Checkpoint | None = None
        self._is_handed_over = False

    @property
    def seconds(self) -> float:
        """Wall time so far, over all attempts."""
        return self._seconds_before + time.monotonic() - self._started_s

    def record(self, row: Row, predictions: Tensor, model: nn.Module, optimizer: Stateful) -> None:
        """Keeps a finished epoch: its row, its weights if it is the best, a checkpoint.

        Does not wait for the device.

        Raises:
            OSError: A checkpoint that was being written could not be.
        """
        self._writer.check()
        # Let go first, so that the new snapshot can lie where the old one was.
        self._newest = None
        self.rows.append(row)
        self.last_predictions = predictions
        weights = snapshot(model.state_dict())
        if not self.best or self._is_better(row, self.best["row"]):
            self.best = {"row": row, "model": weights, "predictions": predictions}
        self._newest = Checkpoint(
            config=self._settings,
            data=self._data,
            epoch=int(row["epoch"]),
            model=weights,
            optimizer=snapshot(optimizer.state_dict()),
            rows=list(self.rows),
            predictions=predictions,
            best=self.best,
            seconds=self.seconds,
        )
        self._is_handed_over = False
        self._folder.write_metrics(self.rows)

    def save_if_due(self, every_s: float) -> None:
        """Starts to write the last finished epoch, at most once in ``every_s`` seconds.

        While an earlier one is still being written nothing is started: the next epoch asks
        again. With 0 seconds the epoch is on disk when this returns.

        Raises:
            OSError: It, or an earlier one, could not be written.
        """
        self._writer.check()
        if self._newest is None or self._is_handed_over:
            return
        if every_s == 0:
            self.save()
        elif not self._writer.is_busy and time.monotonic() - self._last_save_s >= every_s:
            self._writer.start(self._newest.contents(), self._folder.last_checkpoint)
            self._is_handed_over = True
            self._last_save_s = time.monotonic()

    def save(self) -> None:
        """Writes the last finished epoch to disk before it returns, if it is not there yet.

        Raises:
            OSError: It cannot be written.
        """
        try:
            self._writer.wait()
        except OSError as error:
            log.warning("a checkpoint could not be written and is tried again: %s", error)
            self._is_handed_over = False
        if self._newest is not None and not self._is_handed_over:
            self._writer.write(self._newest.contents(), self._folder.last_checkpoint)
            self._is_handed_over = True
            self._last_save_s = time.monotonic()

    def write_best(self, classes: Sequence[str]) -> None:
        """Starts to write the best epoch's weights; they are there after ``close``.

        Args:
            classes: Names of the classes, by their numbers.
        """
        contents = {
            "model": self.best["model"],
            "row": self.best["row"],
            "classes": list(classes),
        }
        self._writer.start(contents, self._folder.best_checkpoint)

    def close(self) -> None:
        """Waits for the write in flight; after it no file appears. ``save`` may still be called.

        Raises:
            OSError: A file could not be written.
        """
        self._writer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self.close()
        except Exception as failure:
            if error is None:
                raise
            # The first error is the reason why the run ends.
            log.error("a checkpoint could not be written: %s", failure)

    def resume(self, model: nn.Module, optimizer: Stateful) -> None:
        """Takes up the folder's checkpoint, which must be there.

        Raises:
            CheckpointError: It cannot be read, or is of another configuration or other data.
        """
        path = self._folder.last_checkpoint
        checkpoint = Checkpoint.load(path)
        faults = config_differences(checkpoint.config, self._settings)
        if checkpoint.data != self._data and not faults:
            faults.append(
                Fault(
                    "data",
                    self._data,
                    f"the images have changed: the unfinished run has {checkpoint.data}",
                    fix="bring the old images back, or type trainer.resume=never to start anew",
                )
            )
        if faults:
            raise CheckpointError(faults)
        try:
            model.load_state_dict(checkpoint.model)
            optimizer.load_state_dict(checkpoint.optimizer)
        except (RuntimeError, ValueError) as error:
            # The same settings, so the network's own code has changed since.
            rule = f"does not fit the network any more: {' '.join(str(error).split())[:200]}"
            fix = "type trainer.resume=never to start anew"
            raise CheckpointError([Fault("trainer.resume", path, rule, fix=fix)]) from error
        self.rows, self.best = checkpoint.rows, checkpoint.best
        self.last_predictions = checkpoint.predictions
        self._seconds_before = checkpoint.seconds
        self._folder.remove_torn()
        # Rows of epochs after the checkpoint belong to the lost attempt.
        self._folder.write_metrics(self.rows)
        log.info("going on after epoch %d, from %s", checkpoint.epoch, path)

    def _is_better(self, row: Row, than: Row) -> bool:
        metric = self._objective.metric
        if direction_of(metric) == "minimize":
            return row[metric] < than[metric]
        return row[metric] > than[metric]
