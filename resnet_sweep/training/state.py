"""What grows while a run goes on: rows, the best epoch, the checkpoint that is due."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
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
    files while the training goes on. A checkpoint or a metrics.csv that cannot be written, on a
    full disk for instance, does not end the training: a warning tells it, and the next one may
    be. As a context it is closed at the end, and what the last files failed with is raised, or
    logged where another error is on its way.

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
        # Rows of which metrics.csv could not be written.
        self._owes_metrics = False

    @property
    def seconds(self) -> float:
        """Wall time so far, over all attempts."""
        return self._seconds_before + time.monotonic() - self._started_s

    def record(self, row: Row, predictions: Tensor, model: nn.Module, optimizer: Stateful) -> None:
        """Keeps a finished epoch: its row, its weights if it is the best, a checkpoint.

        Does not wait for the device.
        """
        self._settle(waits=False)
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
        self._owes_metrics = True
        with self._tolerated():
            self.write_metrics()

    def write_metrics(self) -> None:
        """Writes metrics.csv unless it holds all finished epochs.

        Raises:
            OSError: It cannot be written.
        """
        if self._owes_metrics:
            self._folder.write_metrics(self.rows)
            self._owes_metrics = False

    def save_if_due(self, every_s: float) -> None:
        """Starts to write the last finished epoch, at most once in ``every_s`` seconds.

        While an earlier one is still being written nothing is started: the next epoch asks
        again. With 0 seconds the epoch is on disk when this returns, if it can be written.
        """
        self._settle(waits=False)
        if self._newest is None or self._is_handed_over:
            return
        if every_s == 0:
            with self._tolerated():
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
        self._settle(waits=True)
        if self._newest is not None and not self._is_handed_over:
            self._writer.write(self._newest.contents(), self._folder.last_checkpoint)
            self._is_handed_over = True
            self._last_save_s = time.monotonic()

    def write_best(self, data: Mapping[str, Any]) -> None:
        """Starts to write the best epoch's weights; they are there after ``close``.

        Args:
            data: What must be known of it to use the weights elsewhere; plain values.
        """
        # Of a checkpoint that failed nobody needs to know any more.
        self._settle(waits=True)
        contents = {"model": self.best["model"], "row": self.best["row"], **data}
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

    def resume(self, model: nn.Module, optimizer: Stateful, path: Path | None = None) -> None:
        """Takes up a checkpoint, which must be there.

        Args:
            model: Gets its weights.
            optimizer: Gets its state.
            path: The file; None is the folder's own.

        Raises:
            CheckpointError: It cannot be read, or is of another configuration or other data;
                ``model`` and ``optimizer`` may then be loaded in part.
        """
        path = path or self._folder.last_checkpoint
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
        except (RuntimeError, ValueError, TypeError, AttributeError) as error:
            # The same settings, so the network's own code has changed since.
            rule = f"does not fit the network any more: {' '.join(str(error).split())[:200]}"
            fix = "type trainer.resume=never to start anew"
            raise CheckpointError([Fault("trainer.resume", path, rule, fix=fix)]) from error
        self.rows, self.best = checkpoint.rows, checkpoint.best
        self.last_predictions = checkpoint.predictions
        self._seconds_before = checkpoint.seconds
        self._folder.remove_torn()
        # Rows of epochs after the checkpoint belong to the lost attempt.
        self._owes_metrics = True
        with self._tolerated():
            self.write_metrics()
        log.info("going on after epoch %d, from %s", checkpoint.epoch, path)

    @contextmanager
    def _tolerated(self) -> Iterator[None]:
        """Logs what a file fails with that is written again later."""
        try:
            yield
        except OSError as error:
            log.warning("the training goes on, but a file could not be written: %s", error)

    def _settle(self, *, waits: bool) -> None:
        """Notes a checkpoint that could not be written: then one is due again."""
        try:
            if waits:
                self._writer.wait()
            else:
                self._writer.check()
        except OSError as error:
            log.warning("a checkpoint could not be written and is tried again later: %s", error)
            self._is_handed_over = False

    def _is_better(self, row: Row, than: Row) -> bool:
        metric = self._objective.metric
        if direction_of(metric) == "minimize":
            return row[metric] < than[metric]
        return row[metric] > than[metric]
