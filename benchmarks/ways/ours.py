"""Our training, whole, and its step alone."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from benchmarks.ways.base import Block, Way, WholeWay, held_up_ms, network, synchronize
from resnet_sweep.config import Config
from resnet_sweep.data import ImageData
from resnet_sweep.models.config import ModelConfig
from resnet_sweep.training.capture import CapturedStep, record_cuda_graph
from resnet_sweep.training.config import Recipe
from resnet_sweep.training.folder import RunFolder
from resnet_sweep.training.loop import Trainer
from resnet_sweep.training.progress import ProgressView


def build_trainer(
    config: Config,
    data: ImageData,
    device: torch.device,
    precision: str,
    folder: Path,
    model: ModelConfig | None = None,
) -> Trainer:
    """The trainer that a run of this configuration has, perhaps of another ``model``."""
    folder.mkdir(parents=True)
    return Trainer(
        model=network(config, data, model),
        data=data,
        recipe=Recipe(config.optimizer, config.scheduler, config.trainer, config.objective),
        augment=config.data.augment,
        folder=RunFolder(folder),
        device=device,
        precision=precision,
        settings=dataclasses.asdict(config),
    )


class OursWay(WholeWay):
    """Epochs of a Trainer, one a block, as ``fit`` runs them.

    Args:
        trainer: Starts at its first epoch.
        name: Of the way.
    """

    def __init__(self, trainer: Trainer, name: str) -> None:
        self.name, self.device = name, trainer.device
        self._trainer = trainer
        self._epoch = 0
        self._view = ProgressView(trainer.config.epochs, len(trainer.train_batches), 1, None)

    def block(self) -> Block:
        """One epoch; the time is the training phase's, as it is written to metrics.csv.

        Not ``fit``, which would run all epochs without a pause for the other ways.
        """
        self._epoch += 1
        synchronize(self.device)
        # The phase ends with the read-back of the loss, which waits for the device.
        self._row, self._predictions = self._trainer._one_epoch(
            self._epoch, self._view, lambda: None
        )
        seconds = self._row["seconds"]
        return Block(round(self._row["images_per_s"] * seconds), seconds, self._row["train_loss"])

    def validation(self) -> Block:
        """That of the newest epoch, which has it behind its training phase."""
        row = self._row
        return Block(len(self._trainer.data.val.labels), row["val_seconds"], row["val_loss"])

    def checkpoint_ms(self) -> float:
        """What the loop does at the end of an epoch whose checkpoint is due."""
        trainer = self._trainer
        # Waits for the one before: at most one is due in trainer.checkpoint_every_s seconds.
        trainer.state.save()

        def save() -> None:
            trainer.state.record(
                self._row, self._predictions, trainer.model, trainer.prepared.optimizer
            )
            # Always due; 0 would have it wait for the disk, which is another setting.
            trainer.state.save_if_due(1e-9)

        return held_up_ms(save, self.device)


class CeilingWay(Way):
    """Our step alone, on the same batch again and again: no data, no metrics.

    Args:
        trainer: Has the step.
    """

    name = "ceiling"

    def __init__(self, trainer: Trainer) -> None:
        self.device = trainer.device
        self._step = trainer.prepared.step
        self._images, self._labels = next(iter(trainer.train_batches.epoch(0)))
        self._num_steps = len(trainer.train_batches)
        self._loss = torch.zeros((), device=self.device)
        trainer.model.train()
        trainer.prepared.optimizer.set_lr(trainer.recipe.optimizer.lr)
        self._run: Callable[[], None] = self._train
        if trainer.config.cuda_graph and self.device.type == "cuda":
            # Nothing is fed: the batch lies where it was recorded.
            captured = CapturedStep(lambda _: self._train(), record_cuda_graph)
            captured.record({})
            self._run = partial(captured, {})

    def block(self) -> Block:
        """As many steps as an epoch of ours has."""
        synchronize(self.device)
        started = time.perf_counter()
        for _ in range(self._num_steps):
            self._run()
        synchronize(self.device)
        seconds = time.perf_counter() - started
        return Block(self._num_steps * len(self._labels), seconds, self._loss.item())

    def _train(self) -> None:
        loss, _ = self._step(self._images, self._labels)
        self._loss.copy_(loss)
