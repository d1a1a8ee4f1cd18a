"""The loop of the tutorials, as it is or with channels-last and autocast."""

from __future__ import annotations

import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.ways.base import Block, WholeWay, held_up_ms, synchronize
from benchmarks.ways.loaders import Loader


class PlainWay(WholeWay):
    """A DataLoader and a loop that reads loss and accuracy after every step.

    Args:
        model: Moved to the device.
        loaders: Of training and of validation.
        lr: Learning rate.
        device: Where it trains.
        folder: For its checkpoints.
        channels_last: Memory format of images and weights.
        precision: "bf16" (autocast) or "fp32".
    """

    def __init__(
        self,
        model: nn.Module,
        loaders: tuple[Loader, Loader],
        *,
        lr: float,
        device: torch.device,
        folder: Path,
        channels_last: bool = False,
        precision: str = "fp32",
    ) -> None:
        self.name = f"plain+cl+{precision}" if channels_last else "plain"
        self.device = device
        self._format = torch.channels_last if channels_last else torch.contiguous_format
        self._precision, self._folder = precision, folder
        self._train, self._val = loaders
        self._model = model.to(device, memory_format=self._format)  # type: ignore[call-overload]
        self._optimizer = torch.optim.SGD(self._model.parameters(), lr=lr, momentum=0.9)

    def block(self) -> Block:
        """One pass over the loader, from the call of iter(): no batch is there before."""
        self._model.train()
        return self._timed(self._train, training=True)

    def validation(self) -> Block:
        """One pass without gradients, over files that are decoded as those of training are."""
        self._model.eval()
        with torch.no_grad():
            return self._timed(self._val, training=False)

    def checkpoint_ms(self) -> float:
        """torch.save of network and optimizer in the loop."""
        self._folder.mkdir(parents=True, exist_ok=True)

        def save() -> None:
            state = {"model": self._model.state_dict(), "optimizer": self._optimizer.state_dict()}
            torch.save(state, self._folder / "checkpoint.pt")

        return held_up_ms(save, self.device)

    def _timed(self, loader: Loader, *, training: bool) -> Block:
        synchronize(self.device)
        started = time.perf_counter()
        loss_sum = 0.0
        num_correct = num_images = 0
        for images, labels in loader:
            images = images.to(self.device, non_blocking=True)
            labels = labels.to(self.device, non_blocking=True)
            loss, logits = self._forward(images, labels)
            if training:
                self._optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                self._optimizer.step()
            loss_sum += loss.item() * len(labels)
            num_correct += int((logits.argmax(dim=1) == labels).sum().item())
            num_images += len(labels)
        synchronize(self.device)
        return Block(num_images, time.perf_counter() - started, loss_sum / num_images)

    def _forward(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        images = images.to(memory_format=self._format)
        bf16 = self._precision == "bf16"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=bf16):
            logits = self._model(images)
            return F.cross_entropy(logits, labels), logits
