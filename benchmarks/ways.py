"""The four ways to train that ``benchmarks/train.py`` compares, each in a process of its own.

A process keeps its allocator, its threads and its caches to itself: what ours sets up for
its process must not make the plain way faster, nor the other way round.
"""

from __future__ import annotations

import dataclasses
import math
import multiprocessing
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from resnet_sweep.config import Config
from resnet_sweep.data import ImageData, open_data
from resnet_sweep.data.build import num_cores
from resnet_sweep.data.sources import build_source
from resnet_sweep.models import build_model
from resnet_sweep.training.config import Recipe
from resnet_sweep.training.device import resolve_precision, set_process_state
from resnet_sweep.training.folder import RunFolder
from resnet_sweep.training.loop import Trainer
from resnet_sweep.training.progress import ProgressView

WAYS = ("plain", "tuned", "ours", "ceiling")


@dataclass(frozen=True)
class Block:
    """One timed block of one way.

    Attributes:
        images: Images that were trained on.
        seconds: Wall time of the training loop.
        loss: Mean over the block; of the ceiling, which sums nothing, the last step's.
    """

    images: int
    seconds: float
    loss: float

    @property
    def images_per_s(self) -> float:
        """Speed of the block."""
        return self.images / self.seconds


class Way(ABC):
    """One way to train; its network and optimizer live from block to block."""

    name: str

    @abstractmethod
    def block(self) -> Block:
        """Trains on one block of images and times it."""


class JpegFiles(Dataset[tuple[Tensor, int]]):
    """Images decoded on every access."""

    def __init__(
        self, paths: Sequence[str], labels: Sequence[int], transform: Callable[[Any], Tensor]
    ) -> None:
        self._paths, self._labels, self._transform = paths, labels, transform

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        with Image.open(self._paths[index]) as image:
            return self._transform(image.convert("RGB")), self._labels[index]


Loader = DataLoader[tuple[Tensor, int]]


class PlainWay(Way):
    """The loop of the tutorials, as it is or with channels_last and autocast."""

    def __init__(
        self,
        model: nn.Module,
        loader: Loader,
        *,
        lr: float,
        device: torch.device,
        channels_last: bool = False,
        precision: str = "fp32",
    ) -> None:
        self.name = f"plain+cl+{precision}" if channels_last else "plain"
        self._format = torch.channels_last if channels_last else torch.contiguous_format
        self._precision, self._loader, self._device = precision, loader, device
        self._model = model.to(device, memory_format=self._format)  # type: ignore[call-overload]
        self._optimizer = torch.optim.SGD(self._model.parameters(), lr=lr, momentum=0.9)

    def block(self) -> Block:
        """One pass over the loader, from the call of iter(): no batch is there before."""
        synchronize(self._device)
        started = time.perf_counter()
        loss_sum = 0.0
        num_correct = num_images = 0
        for images, labels in self._loader:
            loss, correct = self._step(images, labels)
            loss_sum += loss.item() * len(labels)
            num_correct += int(correct.item())
            num_images += len(labels)
        synchronize(self._device)
        return Block(num_images, time.perf_counter() - started, loss_sum / num_images)

    def _step(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        images = images.to(self._device, non_blocking=True)
        labels = labels.to(self._device, non_blocking=True)
        images = images.to(memory_format=self._format)
        self._optimizer.zero_grad()
        bf16 = self._precision == "bf16"
        with torch.autocast(self._device.type, torch.bfloat16, enabled=bf16):
            logits = self._model(images)
            loss = F.cross_entropy(logits, labels)
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()
        return loss, (logits.argmax(dim=1) == labels).sum()


class OursWay(Way):
    """Epochs of a Trainer, one a block, as ``fit`` runs them."""

    name = "ours"

    def __init__(self, trainer: Trainer) -> None:
        self._trainer = trainer
        self._epoch = 0
        self._view = ProgressView(trainer.config.epochs, len(trainer.train_batches), 1, None)

    def block(self) -> Block:
        """One epoch; the time is the training phase's, as it is written to metrics.csv.

        Not ``fit``, which would run all epochs without a pause for the other ways.
        """
        self._epoch += 1
        synchronize(self._trainer.device)
        # The phase ends with the read-back of the loss, which waits for the device.
        row, _ = self._trainer._one_epoch(self._epoch, self._view, lambda: None)
        num_images = round(row["images_per_s"] * row["seconds"])
        return Block(num_images, row["seconds"], row["train_loss"])


class CeilingWay(Way):
    """Our step alone, on the same batch again and again."""

    name = "ceiling"

    def __init__(self, trainer: Trainer) -> None:
        self._step = trainer.step
        self._images, self._labels = next(iter(trainer.train_batches.epoch(0)))
        self._num_steps = len(trainer.train_batches)
        self._lr, self._device = trainer.recipe.optimizer.lr, trainer.device

    def block(self) -> Block:
        """As many steps as an epoch of ours has."""
        loss = torch.tensor(math.nan)
        synchronize(self._device)
        started = time.perf_counter()
        for _ in range(self._num_steps):
            loss, _ = self._step(self._images, self._labels, self._lr)
        synchronize(self._device)
        seconds = time.perf_counter() - started
        return Block(self._num_steps * len(self._labels), seconds, loss.item())


def build_way(kind: str, config: Config, folder: Path) -> Way:
    """One of ``WAYS``, in this process and with what it sets up for it.

    Args:
        kind: Which way.
        config: Of our run; the plain ways take their numbers from it.
        folder: For the files of our run.
    """
    device = torch.device(config.trainer.device)
    precision = resolve_precision(config.trainer.precision, device)
    data = open_data(config.data)
    if kind in ("plain", "tuned"):
        if config.trainer.threads is not None:
            torch.set_num_threads(config.trainer.threads)
        torch.backends.cudnn.benchmark = True
        return PlainWay(
            network(config, data),
            build_loader(config, data, device),
            lr=config.optimizer.lr,
            device=device,
            channels_last=kind == "tuned",
            precision=precision if kind == "tuned" else "fp32",
        )
    set_process_state(config.trainer, device)
    trainer = Trainer(
        model=network(config, data),
        data=data,
        recipe=Recipe(config.optimizer, config.scheduler, config.trainer, config.objective),
        augment=config.data.augment,
        folder=RunFolder(folder),
        device=device,
        precision=precision,
        settings=dataclasses.asdict(config),
    )
    return OursWay(trainer) if kind == "ours" else CeilingWay(trainer)


class WayProcess:
    """A way in a process of its own, which rests between its blocks."""

    def __init__(self, kind: str, config: Config, folder: Path) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, there = context.Pipe()
        self._process = context.Process(target=_serve, args=(there, kind, config, folder))
        self._process.start()
        there.close()
        self.name, self.num_threads = self._receive()

    def __enter__(self) -> WayProcess:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._pipe.close()
        self._process.join(timeout=60)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def block(self) -> Block:
        """Has the process train on one block."""
        self._pipe.send("block")
        block: Block = self._receive()
        # Arithmetic on NaN or infinity has a speed of its own.
        assert math.isfinite(block.loss), f"{self.name} diverged"
        return block

    def _receive(self) -> Any:
        try:
            return self._pipe.recv()
        except EOFError:
            self._process.join()
            code = self._process.exitcode
            raise RuntimeError(f"a way ended with exit code {code}; see above") from None


def _serve(pipe: Connection, kind: str, config: Config, folder: Path) -> None:
    way = build_way(kind, config, folder)
    # Told from here: what this process has set is what the numbers depend on.
    pipe.send((way.name, torch.get_num_threads()))
    while True:
        try:
            pipe.recv()
        except EOFError:
            return
        pipe.send(way.block())


def network(config: Config, data: ImageData) -> nn.Module:
    """ResNet-50 of the study, with the same weights at every call."""
    torch.manual_seed(config.trainer.seed)
    return build_model(
        config.model, len(data.classes), config.data.channels, config.data.image_size
    )


def build_loader(config: Config, data: ImageData, device: torch.device) -> Loader:
    """The plain ways' loader, over the files that our cache was decoded from."""
    train = data.train
    location = {sample.name: sample.location for sample in build_source(config.data).samples()}
    transform = transforms.Compose(
        [
            transforms.Resize(config.data.image_size),
            transforms.CenterCrop(config.data.image_size),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(data.mean.tolist(), data.std.tolist()),
        ]
    )
    files = JpegFiles([location[name] for name in train.names], train.labels.tolist(), transform)
    return DataLoader(
        files,
        batch_size=config.trainer.batch_size,
        shuffle=True,
        drop_last=True,
        num_workers=num_cores(),
        # The workers of both plain ways live from the warm-up to the end.
        persistent_workers=True,
        pin_memory=device.type == "cuda",
    )


def synchronize(device: torch.device) -> None:
    """Waits until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
