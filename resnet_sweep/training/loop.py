"""The loop of a run: epochs of steps, validation, going on after a stop."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from resnet_sweep.data.augment import seed_for
from resnet_sweep.data.batches import DeviceSplit, EvalBatches, Feed, TrainBatches
from resnet_sweep.data.config import AugmentConfig
from resnet_sweep.data.dataset import ImageData, Split
from resnet_sweep.models.config import ModelConfig, is_captured
from resnet_sweep.training.compiled import compiles
from resnet_sweep.training.config import METRICS, Recipe
from resnet_sweep.training.failures import NonFiniteLossError, Stopped
from resnet_sweep.training.folder import RunFolder
from resnet_sweep.training.metrics import Reading
from resnet_sweep.training.prepared import Place, Prepared, unmarked
from resnet_sweep.training.progress import ProgressView
from resnet_sweep.training.reporter import Reporter
from resnet_sweep.training.result import FitResult, Tested
from resnet_sweep.training.schedules import lr_factor
from resnet_sweep.training.session import Session, StepKey
from resnet_sweep.training.state import Row, RunState
from resnet_sweep.training.step import evaluate
from resnet_sweep.training.tensorboard import EventWriter, Label, open_writer

if TYPE_CHECKING:
    from rich.console import Console

    from resnet_sweep.training.profile import StepProfiler

log = logging.getLogger(__name__)


class Trainer:
    """Trains one network on one data set.

    Args:
        model: The network, on any device; it is moved.
        data: Training, validation and perhaps test split.
        recipe: Optimizer, schedule, trainer and objective.
        augment: Random changes of the training images.
        folder: Where the run's files go.
        device: Where it trains.
        precision: "bf16" or "fp32".
        settings: The whole configuration as plain values; a checkpoint of another
            configuration is refused.
        model_config: The model group that ``model`` was built by; without it nothing is kept
            for the next run.
        session: What earlier runs of this process have left.
        console: Terminal for a progress bar, or None.
        label: Of the run, for TensorBoard; None names it by its folder alone.

    Attributes:
        prepared: The network and its step.
        facts: How it trains, for result.json: what the settings leave open.

    Raises:
        DataError: A batch is larger than the training split.
        ConfigError: The network is to be compiled and the machine has no compiler.
        torch.OutOfMemoryError: A batch does not fit into the device's memory.
    """

    def __init__(
        self,
        *,
        model: nn.Module,
        data: ImageData,
        recipe: Recipe,
        augment: AugmentConfig,
        folder: RunFolder,
        device: torch.device,
        precision: str,
        settings: dict[str, Any],
        model_config: ModelConfig | None = None,
        session: Session | None = None,
        console: Console | None = None,
        label: Label | None = None,
    ) -> None:
        self.data, self.recipe, self.config = data, recipe, recipe.trainer
        self.folder, self.device, self.precision = folder, device, precision
        self.console = console
        self._label = label or Label(str(folder.path))
        self._session = session or Session()
        self.train_batches = self._train_batches(augment)
        self.place = self._place(model_config)
        key = None
        if model_config is not None:
            key = StepKey.of(model_config, augment, recipe, data, self.place)
        self.prepared = self._session.prepared(key, model, lambda: self._prepare(model))
        self.model = self.prepared.model
        self.val_batches = self._eval_batches(data.val)
        self.facts: dict[str, Any] = {
            "microbatch": self.prepared.microbatch,
            "compiled": self.place.compiles,
            "prepare_s": self.prepared.seconds,
        }
        self._profiler = self._open_profiler() if self.config.profile else None
        self.state = RunState(folder, recipe.objective, settings, data.content)
        self._num_taken_up: int | None = None

    def take_up(self, checkpoint: Path | None = None) -> int:
        """Goes on from a checkpoint where there is one; ``fit`` begins with it.

        Args:
            checkpoint: Of an earlier attempt in another folder; None is the folder's own.

        Returns:
            Number of epochs that an earlier run has finished.

        Raises:
            CheckpointError: The checkpoint is of another configuration or cannot be read; the
                trainer is of no use any more.
        """
        if self._num_taken_up is not None:
            return self._num_taken_up
        path = checkpoint or self.folder.last_checkpoint
        if self.config.resume == "never" or not path.exists():
            if self.folder.metrics_csv.exists():
                is_asked = self.config.resume == "never"
                why = "trainer.resume=never" if is_asked else "no checkpoint to go on from"
                log.info("%s, so it starts at epoch 1", why)
            self.folder.clear()
        else:
            self.state.resume(self.model, self.prepared.optimizer, path)
        self._num_taken_up = len(self.state.rows)
        return self._num_taken_up

    def fit(self, reporter: Reporter, raise_if_stopped: Callable[[], None]) -> FitResult:
        """Trains until the last epoch, from the folder's checkpoint where there is one.

        The checkpoint stays until the caller has written down how the run ended.

        Args:
            reporter: Told every epoch, also those that a resumed run has behind it.
            raise_if_stopped: Called before every step; raises Stopped to end the run.

        Raises:
            NonFiniteLossError: The training diverged.
            Stopped: Passed on, after the last finished epoch is saved.
            CheckpointError: The folder's checkpoint is of another configuration.
            OSError: What stays of the run cannot be written. Its last checkpoint is left.
        """
        self.take_up()
        for row in self.state.rows:
            reporter.report(int(row["epoch"]), row)
        first = len(self.state.rows) + 1
        view = ProgressView(self.config.epochs, len(self.train_batches), first, self.console)
        events = self.folder.tensorboard if self.config.tensorboard else None
        writer = open_writer(events, first, self._label)
        try:
            with self.state:
                self._run_epochs(reporter, view, writer, raise_if_stopped)
                result = self._finish(raise_if_stopped)
            writer.write(self.config.epochs, result.test or {})
            writer.complete()
            return result
        except Stopped:
            self._save_stopped()
            raise
        except NonFiniteLossError:
            # Going on from it would diverge again.
            self.folder.last_checkpoint.unlink(missing_ok=True)
            raise
        finally:
            view.close()
            writer.close()

    def _save_stopped(self) -> None:
        try:
            self.state.save()
        except OSError as error:
            # Who stops the process wants it to end, whatever the disk says.
            log.error("the last finished epoch could not be saved: %s", error)

    def _run_epochs(
        self,
        reporter: Reporter,
        view: ProgressView,
        writer: EventWriter,
        raise_if_stopped: Callable[[], None],
    ) -> None:
        for epoch in range(len(self.state.rows) + 1, self.config.epochs + 1):
            view.epoch_starts(epoch)
            row, predictions = self._one_epoch(epoch, view, raise_if_stopped)
            self._tell_profile()
            self.state.record(row, predictions, self.model, self.prepared.optimizer)
            view.epoch_done(row)
            writer.write(epoch, row | self._standing())
            reporter.report(epoch, row)
            if epoch < self.config.epochs:
                self.state.save_if_due(self.config.checkpoint_every_s)

    def _one_epoch(
        self, epoch: int, view: ProgressView, raise_if_stopped: Callable[[], None]
    ) -> tuple[Row, Tensor]:
        started = time.monotonic()
        reading, lr = self._train_epoch(epoch, view, raise_if_stopped)
        trained = time.monotonic()
        val, predictions = evaluate(
            self.model, self.val_batches, self.device, self.precision, raise_if_stopped
        )
        if not val.is_finite:
            raise NonFiniteLossError(epoch, "validation")
        row: Row = {
            "epoch": epoch,
            "train_loss": reading.loss,
            "train_accuracy": reading.accuracy,
            "val_loss": val.loss,
            "val_accuracy": val.accuracy,
            "lr": lr,
            "seconds": trained - started,
            "val_seconds": time.monotonic() - trained,
            "images_per_s": reading.num_images / (trained - started),
        }
        return row, predictions

    def _train_epoch(
        self, epoch: int, view: ProgressView, raise_if_stopped: Callable[[], None]
    ) -> tuple[Reading, float]:
        """One pass over the training split; returns its means and the last learning rate."""
        # For dropout and its like; the batches have generators of their own.
        torch.manual_seed(seed_for(self.config.seed, epoch, "network"))
        self.model.train()
        self.prepared.meter.reset()
        feeds, profiler = self.train_batches.feeds(epoch), self._profiler
        if profiler is None:
            lr = self._steps(epoch, feeds, view, raise_if_stopped)
        else:
            with profiler.epoch(len(self.train_batches)):
                lr = self._steps(epoch, profiler.batches(feeds), view, raise_if_stopped)
        reading = self.prepared.meter.read()
        if not reading.is_finite:
            raise NonFiniteLossError(epoch, "training")
        return reading, lr

    def _steps(
        self,
        epoch: int,
        feeds: Iterable[Feed],
        view: ProgressView,
        raise_if_stopped: Callable[[], None],
    ) -> float:
        """The steps of an epoch; returns the last learning rate."""
        num_steps, batch_size = len(self.train_batches), self.config.batch_size
        base_lr = lr = self.recipe.optimizer.lr
        meter, profiler = self.prepared.meter, self._profiler
        started = time.monotonic()
        for i, feed in enumerate(feeds):
            raise_if_stopped()
            step = (epoch - 1) * num_steps + i
            lr = base_lr * lr_factor(self.recipe.scheduler, step, self.config.epochs * num_steps)
            self.prepared.run(feed, lr)
            meter.count(batch_size)
            newest = meter.poll()
            if newest is not None and not newest.is_finite:
                raise NonFiniteLossError(epoch, "training")
            images_per_s = (i + 1) * batch_size / (time.monotonic() - started)
            view.step_done(epoch, i + 1, newest, images_per_s)
            if profiler is not None:
                profiler.step_done()
        return lr

    def _tell_profile(self) -> None:
        """Logs where the time went, and does without the profiler from then on."""
        profiler = self._profiler
        if profiler is not None and profiler.has_recorded:
            breakdown = profiler.breakdown()
            log.info("%s", breakdown.text())
            self.facts["profile"] = breakdown.facts()
            self._profiler, self.prepared.mark = None, unmarked

    def _finish(self, raise_if_stopped: Callable[[], None]) -> FitResult:
        """Measures the test split and writes what stays of the run."""
        state = self.state
        assert state.last_predictions is not None
        state.write_metrics()
        state.write_best(
            {
                "classes": list(self.data.classes),
                "mean": self.data.mean.tolist(),
                "std": self.data.std.tolist(),
            }
        )
        test = self._test(raise_if_stopped)
        self.folder.write_predictions(
            self.data.val,
            state.best["predictions"].numpy(),
            state.last_predictions.numpy(),
            None if test is None else (test.split, test.predictions.numpy()),
        )
        return self.result(None if test is None else test.row)

    def result(self, test: Row | None = None) -> FitResult:
        """How the run stands after the epochs that are finished, one at least.

        Args:
            test: What the test split gave, if it was measured.
        """
        state, objective = self.state, self.recipe.objective
        chosen = state.best["row"] if objective.epoch == "best" else state.rows[-1]
        num_images = len(state.rows) * len(self.train_batches) * self.config.batch_size
        return FitResult(
            objective=chosen[objective.metric],
            best=state.best["row"],
            last=state.rows[-1],
            test=test,
            seconds=state.seconds,
            images_per_s=num_images / sum(row["seconds"] for row in state.rows),
        )

    def _standing(self) -> Row:
        """The objective and the best epoch as they are now; pruned and killed runs keep them."""
        result = self.result()
        best = {f"best_{name}": result.best[name] for name in ("epoch", *METRICS)}
        return {"objective": result.objective, **best}

    def _test(self, raise_if_stopped: Callable[[], None]) -> Tested | None:
        """The test split's only use, with the weights of the epoch that is judged."""
        split = self.data.test
        if split is None:
            return None
        if self.recipe.objective.epoch == "best":
            self.model.load_state_dict(self.state.best["model"])
        reading, predictions = evaluate(
            self.model, self._eval_batches(split), self.device, self.precision, raise_if_stopped
        )
        row: Row = {"test_loss": reading.loss, "test_accuracy": reading.accuracy}
        return Tested(row, split, predictions)

    def _train_batches(self, augment: AugmentConfig) -> TrainBatches:
        return TrainBatches(
            self._placed(self.data.train),
            batch_size=self.config.batch_size,
            device=self.device,
            mean=self.data.mean,
            std=self.data.std,
            augment=augment,
            channels_last=self.config.channels_last,
            seed=self.config.seed,
        )

    def _eval_batches(self, split: Split) -> EvalBatches:
        return EvalBatches(
            self._placed(split),
            batch_size=self.config.val_batch_size,
            device=self.device,
            mean=self.data.mean,
            std=self.data.std,
            channels_last=self.config.channels_last,
        )

    def _placed(self, split: Split) -> DeviceSplit:
        return self._session.place(split, self.device, on_device=self.config.device_data)

    def _place(self, model: ModelConfig | None) -> Place:
        size = self.data.train.images.shape[1:3]
        num_images = self.config.epochs * len(self.train_batches) * self.config.batch_size
        ours = model is not None and model._target_ is None
        num_pixels = num_images * math.prod(size)
        return Place(
            self.device,
            self.precision,
            compiles=compiles(self.config, self.device, num_pixels, ours=ours),
            captures=self.config.cuda_graph and (model is None or is_captured(model)),
        )

    def _open_profiler(self) -> StepProfiler:
        # It loads torch.profiler and what counts operations.
        from resnet_sweep.training.profile import Profiled, StepProfiler

        _, height, width, channels = self.data.train.images.shape
        num_states = sum(name != "step" for name in self.prepared.optimizer.state_dict())
        training = Profiled(
            self.model,
            (channels, height, width),
            self.config.batch_size,
            self.precision,
            self.device,
            num_states,
        )
        profiler = StepProfiler(self.folder.trace_json, training)
        self.prepared.mark = profiler.range
        return profiler

    def _prepare(self, model: nn.Module) -> Prepared:
        recipe = self.recipe
        return Prepared(model, self.train_batches, recipe.optimizer, recipe.trainer, self.place)
