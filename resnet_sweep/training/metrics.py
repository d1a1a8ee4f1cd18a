"""Loss and accuracy of an epoch, summed on the device and read without waiting."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Reading:
    """Means over the images that were counted so far."""

    loss: float
    accuracy: float
    num_images: int

    @property
    def is_finite(self) -> bool:
        """Whether every loss so far was finite: NaN and infinity stay in a sum for ever."""
        return math.isfinite(self.loss)


class Meter:
    """Sums loss and correct answers on the device.

    ``poll`` starts a copy to the host at most once in ``every_s`` seconds and hands out
    what has arrived by then; it never waits for the device. ``read`` waits.

    Args:
        device: Where the sums live.
        every_s: Shortest time between two copies, in seconds.
        clock: Seconds that only rise; a parameter for tests.
    """

    def __init__(
        self, device: torch.device, every_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        # mps has no float64; elsewhere it counts exactly however many images there are.
        dtype = torch.float32 if device.type == "mps" else torch.float64
        self._sums = torch.zeros(2, dtype=dtype, device=device)
        self._every_s, self._clock = every_s, clock
        self._num_images = 0
        self._last_copy_s = clock()
        self._host = torch.zeros(2, dtype=dtype, pin_memory=device.type == "cuda")
        self._arrival: torch.cuda.Event | None = None
        self._num_images_copied: int | None = None

    def update(self, loss: Tensor, logits: Tensor, labels: Tensor) -> None:
        """Adds one batch.

        Args:
            loss: Mean loss of the batch, a scalar on the device.
            logits: [B, num_classes], any float dtype.
            labels: [B], int64.
        """
        self.add(loss, logits, labels)
        self.count(len(labels))

    def add(self, loss: Tensor, logits: Tensor, labels: Tensor) -> None:
        """The device's part of ``update``, which a captured step replays."""
        num_correct = (logits.argmax(dim=1) == labels).sum()
        self._sums += torch.stack((loss.detach() * len(labels), num_correct)).to(self._sums.dtype)

    def count(self, num_images: int) -> None:
        """The host's part of ``update``."""
        self._num_images += num_images

    def reset(self) -> None:
        """Begins anew in the same memory; what was read before may not arrive any more."""
        self._sums.zero_()
        self._num_images = 0
        self._num_images_copied = None
        self._last_copy_s = self._clock()

    def poll(self) -> Reading | None:
        """The newest reading that has arrived since the last call, or None; never waits."""
        reading = None
        if self._num_images_copied is not None and self._has_arrived():
            reading = _mean(self._host, self._num_images_copied)
            self._num_images_copied = None
        now_s = self._clock()
        if (
            self._num_images_copied is None
            and self._num_images
            and now_s - self._last_copy_s >= self._every_s
        ):
            self._start_copy()
            self._last_copy_s = now_s
        return reading

    def read(self) -> Reading:
        """The reading of all batches; waits for the device, so once an epoch."""
        return _mean(self._sums.cpu(), self._num_images)

    def _has_arrived(self) -> bool:
        if self._arrival is None:
            return True  # It was copied before _start_copy returned.
        return bool(self._arrival.query())  # type: ignore[no-untyped-call]

    def _start_copy(self) -> None:
        is_cuda = self._sums.device.type == "cuda"
        # Only where an event tells when it has arrived.
        self._host.copy_(self._sums, non_blocking=is_cuda)
        self._num_images_copied = self._num_images
        if is_cuda:
            self._arrival = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._arrival.record()


def _mean(sums: Tensor, num_images: int) -> Reading:
    loss_sum, num_correct = sums.tolist()
    return Reading(loss_sum / num_images, num_correct / num_images, num_images)
