"""A network, its optimizer and its step on a device, ready to be trained from any weights."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from resnet_sweep.data.batches import Feed, TrainBatches
from resnet_sweep.training.capture import CapturedStep, Recorder, memory_kept_back, recorder_for
from resnet_sweep.training.compiled import compiled_network
from resnet_sweep.training.config import OptimizerConfig, TrainerConfig
from resnet_sweep.training.device import give_back_memory, peak_memory_mib
from resnet_sweep.training.kinds import DATA, METRICS
from resnet_sweep.training.metrics import Meter
from resnet_sweep.training.microbatch import fitting_microbatch, part_sizes
from resnet_sweep.training.optimizers import build_optimizer
from resnet_sweep.training.step import TrainStep


@dataclass(frozen=True)
class Place:
    """Where and in which arithmetic a network is trained.

    Attributes:
        device: The device.
        precision: "bf16" or "fp32".
        compiles: Whether the network goes through torch.compile.
        captures: Whether a step is recorded and replayed where the device can.
    """

    device: torch.device
    precision: str
    compiles: bool = False
    captures: bool = True


class Prepared:
    """What lives from run to run: all of it is put back in place by ``start``.

    Args:
        model: On the host or on the device; it is moved.
        batches: Of the run that it is prepared for; those of later runs make the same kind of
            feeds.
        optimizer: Its group; only the learning rate may differ in a later run.
        trainer: Its group.
        place: Device and precision.

    Attributes:
        model: On the device.
        optimizer: Of its parameters.
        step: Trains on a batch.
        meter: Counts what ``run`` trains on.
        mark: Called with a kind of work, gives what is entered around it; for a profile.
        seconds: How long steps took that compiled, were captured or found out what fits; 0 for
            a run that took them over.
        peak_memory_mib: Most memory that a step needed that was captured; its replays allocate
            nothing, so nobody can measure it later. 0 where none was.
    """

    def __init__(
        self,
        model: nn.Module,
        batches: TrainBatches,
        optimizer: OptimizerConfig,
        trainer: TrainerConfig,
        place: Place,
    ) -> None:
        self.model = model.to(place.device)
        if trainer.channels_last:
            self.model = self.model.to(memory_format=torch.channels_last)
        recorder = recorder_for(place.device) if place.captures else None
        self.optimizer = build_optimizer(
            optimizer,
            self.model.parameters(),
            fused=trainer.fused,
            captured=recorder is not None,
        )
        self.step = TrainStep(
            self.model,
            self.optimizer,
            precision=place.precision,
            label_smoothing=trainer.label_smoothing,
            grad_clip=trainer.grad_clip,
            microbatch=trainer.microbatch if isinstance(trainer.microbatch, int) else None,
        )
        self.meter = Meter(place.device, trainer.readback_every_s)
        self.mark: Callable[[str], AbstractContextManager[Any]] = unmarked
        self._batches, self._batch_size = batches, trainer.batch_size
        self._captured: CapturedStep | None = None
        self.seconds = self.peak_memory_mib = 0.0
        if recorder or place.compiles or trainer.microbatch == "auto":
            self._try_out(trainer, recorder, place)

    @property
    def microbatch(self) -> int | None:
        """Images of the largest part of a batch; None where it goes through at once."""
        num, batch_size = self.step.microbatch, self._batch_size
        return None if num is None or num >= batch_size else part_sizes(batch_size, num)[0]

    def start(self, weights: Mapping[str, Tensor]) -> None:
        """Begins anew: weights and buffers are written over, everything else is emptied.

        Args:
            weights: Every parameter and buffer of the network by its name.
        """
        with torch.no_grad():
            for name, tensor in tensors_of(self.model).items():
                tensor.copy_(weights[name])
        self.optimizer.reset()
        self.meter.reset()
        self.seconds = 0.0

    def run(self, feed: Feed, lr: float) -> None:
        """Trains on the batch of a feed and adds it to the meter."""
        self.optimizer.set_lr(lr)
        (self._captured or self._train_on)(feed)

    def _train_on(self, feed: Feed) -> None:
        with self.mark(DATA):
            images, labels = self._batches.batch(feed)
        loss, logits = self.step(images, labels)
        with self.mark(METRICS):
            self.meter.add(loss, logits, labels)

    def _try_out(self, trainer: TrainerConfig, recorder: Recorder | None, place: Place) -> None:
        """Takes steps that find out what fits, compile and are recorded; puts all back."""
        started = time.monotonic()
        weights = {name: tensor.detach().clone() for name, tensor in tensors_of(self.model).items()}
        feed = next(iter(self._batches.feeds(0)))
        self.model.train()
        if trainer.microbatch == "auto":
            self._find_microbatch(trainer.batch_size, feed, recorder, place.device)
        if place.compiles:
            # Not before: every size that is tried would be compiled.
            self.step.network = compiled_network(self.model)
        if recorder is None:
            self._train_on(feed)
        else:
            self._captured = CapturedStep(self._train_on, recorder)
            self._captured.record(feed)
            self.peak_memory_mib = peak_memory_mib(place.device)
        self.start(weights)
        self.seconds = time.monotonic() - started

    def _find_microbatch(
        self, batch_size: int, feed: Feed, recorder: Recorder | None, device: torch.device
    ) -> None:
        def try_step(num: int) -> None:
            self.step.microbatch = num
            self._train_on(feed)

        with nullcontext() if recorder is None else memory_kept_back(device):
            self.step.microbatch = fitting_microbatch(batch_size, try_step, self._free)

    def _free(self) -> None:
        self.optimizer.zero_grad()
        give_back_memory()


def unmarked(kind: str) -> AbstractContextManager[Any]:
    """What is entered around work that nobody looks at."""
    return nullcontext()


def tensors_of(model: nn.Module) -> dict[str, Tensor]:
    """Every parameter and buffer, also those that no state dict holds."""
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}
