"""Batches on a device, from images in memory maps or already on that device."""

from __future__ import annotations

import logging
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from resnet_sweep.data.augment import Draws, Normalize, augment, draw, generator_for
from resnet_sweep.data.config import AugmentConfig
from resnet_sweep.data.dataset import Split
from resnet_sweep.faults import DataError, Fault

log = logging.getLogger(__name__)

# The most of a GPU's free memory that one split may take; the network needs the rest.
RESIDENT_SHARE = 0.5
# Batches whose copies from the host may be queued on a GPU: enough that it never waits.
_NUM_AHEAD = 4

Batch = tuple[Tensor, Tensor]
# What a training batch is made from, by name, as tensors on the device of the batches.
Feed = dict[str, Tensor]


@dataclass(frozen=True, eq=False)
class DeviceSplit:
    """A split as tensors, on the device where it fits, else on the host.

    Keeping one from run to run keeps the images on the GPU.

    Attributes:
        images: uint8 [n, H, W, C]; on the CPU it is the memory map itself.
        labels: int64 [n], on the same device as the images.
        device: Where batches go.
    """

    images: Tensor
    labels: Tensor
    device: torch.device

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def resident(self) -> bool:
        """Whether the images are where the batches go."""
        return self.images.device.type == self.device.type


def place(split: Split, device: torch.device, *, on_device: bool = True) -> DeviceSplit:
    """Puts a split on a device if it takes no more than ``RESIDENT_SHARE`` of its free memory.

    Args:
        split: Decoded images.
        device: Where batches will go.
        on_device: False leaves the images of a GPU's batches on the host.

    Returns:
        The split's tensors; on the CPU they share the memory map, nothing is read.
    """
    with warnings.catch_warnings():
        # Maps larger than memory are read-only; nothing here writes to them.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        images = torch.from_numpy(split.images)
        labels = torch.from_numpy(split.labels)
    if device.type == "cuda" and on_device:
        torch.cuda.empty_cache()  # What torch keeps for later counts as used otherwise.
        free_bytes, _ = torch.cuda.mem_get_info(device)
        if images.nbytes <= RESIDENT_SHARE * free_bytes:
            images, labels = images.to(device), labels.to(device)
        else:
            log.info(
                "%.1f GB of images stay on the host: %s has %.1f GB free",
                images.nbytes / 1e9,
                device,
                free_bytes / 1e9,
            )
    elif device.type not in ("cpu", "cuda"):
        images, labels = images.to(device), labels.to(device)
    return DeviceSplit(images, labels, device)


class TrainBatches:
    """Shuffled, augmented, full batches of one split.

    Order and augmentation of an epoch depend on seed and epoch alone, and are the same on every
    device; the global random state is neither read nor changed.
    """

    def __init__(
        self,
        split: Split | DeviceSplit,
        *,
        batch_size: int,
        device: torch.device,
        mean: NDArray[np.float32] | Sequence[float],
        std: NDArray[np.float32] | Sequence[float],
        augment: AugmentConfig,
        channels_last: bool,
        seed: int,
    ) -> None:
        """Prepares the batches.

        Args:
            split: Images, or what ``place`` made of them.
            batch_size: Images a batch.
            device: Where batches go.
            mean: [C] to subtract, on the scale 0..1.
            std: [C] to divide by, on the scale 0..1.
            augment: Random changes.
            channels_last: Whether batches are in channels_last memory order.
            seed: Chooses order and changes.

        Raises:
            DataError: A batch is larger than the split.
        """
        if batch_size > len(split):
            raise DataError([_batch_too_large(batch_size, len(split))])
        self._split = split if isinstance(split, DeviceSplit) else place(split, device)
        self._normalize = _normalizer(self._split, device, mean, std)
        self._batch_size = batch_size
        self._augment = augment
        self._channels_last = channels_last
        self._seed = seed

    def __len__(self) -> int:
        """Number of batches an epoch; the last partial one is dropped."""
        return len(self._split) // self._batch_size

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """Batches of one epoch.

        Args:
            epoch: Any number; the same one gives the same batches.

        Yields:
            Images, float32 [B, C, H, W], normalised, and labels, int64 [B], on the device.
        """
        yield from map(self.batch, self.feeds(epoch))

    def feeds(self, epoch: int) -> Iterator[Feed]:
        """What the batches of one epoch are made from, one feed each; see ``batch``.

        Names and shapes are the same for every feed.
        """
        device, num = self._split.device, len(self) * self._batch_size
        shuffle = generator_for(self._seed, epoch, "order")
        order = torch.randperm(len(self._split), generator=shuffle)[:num]
        draws = draw(self._augment, num, generator_for(self._seed, epoch, "augment")).to(device)
        starts = range(0, num, self._batch_size)
        for start, feed in zip(starts, self._pixels(order, starts), strict=True):
            yield feed | draws.batch(start, start + self._batch_size).named()

    def batch(self, feed: Feed) -> Batch:
        """The batch of a feed, by operations on the device alone: a captured step replays them.

        Args:
            feed: One of ``feeds``, of these or of other batches with the same settings.
        """
        if "index" in feed:
            images, labels = _rows(self._split, feed["index"])
        else:
            images, labels = feed["images"], feed["labels"]
        changed = augment(images, Draws.of(feed), self._augment.random_crop)
        return self._normalize(changed, channels_last=self._channels_last), labels

    def _pixels(self, order: Tensor, starts: range) -> Iterator[Feed]:
        """The rows of every batch: their numbers where the images are, else the images."""
        if self._split.resident:
            order = order.to(self._split.images.device)
            for start in starts:
                yield {"index": order[start : start + self._batch_size]}
            return

        def gather(start: int) -> Batch:
            return _rows(self._split, order[start : start + self._batch_size])

        for images, labels in _on_device(self._split, gather, starts):
            yield {"images": images, "labels": labels}


class EvalBatches:
    """All images of one split in their stored order; the last batch may be partial."""

    def __init__(
        self,
        split: Split | DeviceSplit,
        *,
        batch_size: int,
        device: torch.device,
        mean: NDArray[np.float32] | Sequence[float],
        std: NDArray[np.float32] | Sequence[float],
        channels_last: bool,
    ) -> None:
        """Prepares the batches; the arguments are those of ``TrainBatches``."""
        self._split = split if isinstance(split, DeviceSplit) else place(split, device)
        self._normalize = _normalizer(self._split, device, mean, std)
        self._batch_size = batch_size
        self._channels_last = channels_last

    def __len__(self) -> int:
        """Number of batches, the last partial one included."""
        return -(-len(self._split) // self._batch_size)

    def __iter__(self) -> Iterator[Batch]:
        """Yields images, float32 [B, C, H, W], normalised, and labels, int64 [B]."""

        def gather(start: int) -> Batch:
            rows = slice(start, start + self._batch_size)
            images, labels = self._split.images[rows], self._split.labels[rows]
            if self._split.resident:
                return images, labels
            return images.pin_memory(), labels.pin_memory()

        starts = range(0, len(self._split), self._batch_size)
        for images, labels in _on_device(self._split, gather, starts):
            yield self._normalize(images, channels_last=self._channels_last), labels


def _normalizer(
    split: DeviceSplit,
    device: torch.device,
    mean: NDArray[np.float32] | Sequence[float],
    std: NDArray[np.float32] | Sequence[float],
) -> Normalize:
    # What place() made belongs to one device; another needs a copy of its own.
    assert split.device.type == device.type, f"images are placed for {split.device}, not {device}"
    means, stds = (torch.as_tensor(np.array(values)) for values in (mean, std))
    return Normalize(means, stds, split.images.shape[2], split.device)


def _rows(split: DeviceSplit, index: Tensor) -> Batch:
    """Gathers rows; on the host for another device into pinned memory, which copies by itself."""
    if split.resident:
        return split.images.index_select(0, index), split.labels.index_select(0, index)
    shape = (len(index), *split.images.shape[1:])
    # PyTorch reuses pinned blocks, and none before the copies out of it have ended.
    images = torch.empty(shape, dtype=torch.uint8, pin_memory=True)
    labels = torch.empty(len(index), dtype=torch.int64, pin_memory=True)
    torch.index_select(split.images, 0, index, out=images)
    torch.index_select(split.labels, 0, index, out=labels)
    return images, labels


def _on_device(
    split: DeviceSplit, gather: Callable[[int], Batch], starts: Sequence[int]
) -> Iterator[Batch]:
    """Yields gathered rows on the device, one batch ahead where they come from the host."""
    if split.resident:
        yield from map(gather, starts)
        return
    copies = _Copies(split.device)
    with ThreadPoolExecutor(1, thread_name_prefix="gather") as pool:
        pending: Future[Batch] | None = None
        for start in starts:
            following = pool.submit(gather, start)
            if pending is not None:
                yield copies.start(pending.result())
            pending = following
        if pending is not None:
            yield copies.start(pending.result())


class _Copies:
    """Copies batches from pinned memory to a GPU without waiting for it, save when far ahead.

    A captured step costs the host so little that it would queue hundreds of them, and each would
    hold its batch in pinned memory.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._under_way: deque[torch.cuda.Event] = deque()

    def start(self, batch: Batch) -> Batch:
        """The batch on the device, once the device gets there."""
        if len(self._under_way) == _NUM_AHEAD:
            self._under_way.popleft().synchronize()
        images, labels = (tensor.to(self._device, non_blocking=True) for tensor in batch)
        self._under_way.append(_event_on(self._device))
        return images, labels


def _event_on(device: torch.device) -> torch.cuda.Event:
    """Comes after what a GPU was given so far."""
    # Blocking: who waits for it leaves the core to the thread that gathers.
    event = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
    event.record(torch.cuda.current_stream(device))
    return event


def _batch_too_large(batch_size: int, num: int) -> Fault:
    rule = f"must be at most the {num} images of the training split, as partial batches are dropped"
    return Fault("trainer.batch_size", batch_size, rule, fix=f"type trainer.batch_size={num}")
