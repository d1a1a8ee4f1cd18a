"""What grows while a run goes on: rows, the best epoch, the checkpoint that is due."""

from __future__ import annotations

import logging
import time
from typing import Any

import torch
from torch import Tensor, nn

from resnet_sweep.faults import Fault
from resnet_sweep.training.checkpoint import Checkpoint, to_host
from resnet_sweep.training.config import ObjectiveConfig, direction_of
from resnet_sweep.training.continuation import config_differences
from resnet_sweep.training.failures import CheckpointError
from resnet_sweep.training.folder import RunFolder

log = logging.getLogger(__name__)

Row = dict[str, float]


class RunState:
    """The finished epochs of a run, in memory and in its folder.

    Args:
        folder: Where metrics.csv and last.pt go.
        objective: By which metric an epoch is the best.
        settings: The whole configuration as plain values.
        data: Hash of the decoded data's content.

    Attributes:
        rows: The rows of metrics.csv.
        best: "row", "model" (state dict on the host) and "predictions" of the best epoch.
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
        self._unsaved: Checkpoint | None = None

    @property
    def seconds(self) -> float:
        """Wall time so far, over all attempts."""
        return self._seconds_before + time.monotonic() - self._started_s

    def record(
        self, row: Row, predictions: Tensor, model: nn.Module, optimizer: torch.optim.Optimizer
    ) -> None:
        """Keeps a finished epoch: its row, its weights if it is the best, a checkpoint."""
        self.rows.append(row)
        self.last_predictions = predictions
        weights = to_host(model.state_dict())
        if not self.best or self._is_better(row, self.best["row"]):
            self.best = {"row": row, "model": weights, "predictions": predictions}
        self._unsaved = Checkpoint(
            config=self._settings,
            data=self._data,
            epoch=int(row["epoch"]),
            model=weights,
            optimizer=to_host(optimizer.state_dict()),
            rows=list(self.rows),
            predictions=predictions,
            best=self.best,
            seconds=self.seconds,
        )
        self._folder.write_metrics(self.rows)

    def save_if_due(self, every_s: float) -> None:
        """Writes the last finished epoch to disk, at most once in ``every_s`` seconds."""
        if time.monotonic() - self._last_save_s >= every_s:
            self.save()

    def save(self) -> None:
        """Writes the last finished epoch to disk, if it is not there yet."""
        if self._unsaved is not None:
            self._unsaved.save(self._folder.last_checkpoint)
            self._unsaved = None
            self._last_save_s = time.monotonic()

    def resume(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
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
        # Rows of epochs after the checkpoint belong to the lost attempt.
        self._folder.write_metrics(self.rows)
        log.info("going on after epoch %d, from %s", checkpoint.epoch, path)

    def _is_better(self, row: Row, than: Row) -> bool:
        metric = self._objective.metric
        if direction_of(metric) == "minimize":
            return row[metric] < than[metric]
        return row[metric] > than[metric]
