"""timm's loader, network and optimizer, in the loop of its training script.

Source: huggingface/pytorch-image-models, train.py, with its options ``--model resnet50 --amp
--amp-dtype bfloat16 --channels-last --opt momentum -j CORES --color-jitter 0
--train-interpolation bilinear`` (RandomResizedCrop and flip, nothing dearer), and
``--torchcompile`` where ours compiles. The loader normalises on the device, one batch ahead.
The loop around them is our own and does what timm's does in a step, the loss read included.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from importlib import import_module
from importlib.util import find_spec
from typing import Any, BinaryIO

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.ways.base import Block, Way, synchronize
from benchmarks.ways.loaders import Files, files_of
from resnet_sweep.config import Config
from resnet_sweep.data import ImageData
from resnet_sweep.data.build import num_cores


def has_timm() -> bool:
    """Whether timm is installed."""
    return find_spec("timm") is not None


class TimmWay(Way):
    """timm's parts on its own ResNet-50.

    Args:
        config: Of our run; size, batch, learning rate and device are taken from it.
        data: Of the files to train on.
        device: Where it trains.
        precision: "bf16" (autocast) or "fp32", as ours has it.
    """

    def __init__(
        self, config: Config, data: ImageData, device: torch.device, precision: str
    ) -> None:
        timm: Any = import_module("timm")
        optim: Any = import_module("timm.optim")
        self.name = f"timm+cl+{precision}"
        self.device, self._precision = device, precision
        # As its script sets it.
        torch.backends.cuda.matmul.allow_tf32 = True
        torch.manual_seed(config.trainer.seed)
        model = timm.create_model("resnet50", num_classes=len(data.classes)).to(device)
        self._model: Any = model.to(memory_format=torch.channels_last)
        self._optimizer = optim.create_optimizer_v2(
            self._model, opt="momentum", lr=config.optimizer.lr, weight_decay=0.0, momentum=0.9
        )
        if config.trainer.compile == "always":
            self.name += "+compile"
            self._model = torch.compile(self._model)
        self._loader = _loader(config, data, device)

    def block(self) -> Block:
        """One epoch of the loader."""
        self._model.train()
        synchronize(self.device)
        started = time.perf_counter()
        loss_sum, num_images = 0.0, 0
        for images, labels in self._loader:
            images = images.contiguous(memory_format=torch.channels_last)
            bf16 = self._precision == "bf16"
            with torch.autocast(self.device.type, torch.bfloat16, enabled=bf16):
                loss = F.cross_entropy(self._model(images), labels)
            loss.backward()  # type: ignore[no-untyped-call]
            self._optimizer.step()
            loss_sum += loss.item() * len(images)
            num_images += len(images)
            self._optimizer.zero_grad()
        synchronize(self.device)
        return Block(num_images, time.perf_counter() - started, loss_sum / num_images)


class _Reader:
    """Hands timm's data set the files of a split."""

    def __init__(self, files: Files) -> None:
        self._files = files

    def __len__(self) -> int:
        return len(self._files.paths)

    def __getitem__(self, index: int) -> tuple[BinaryIO, int]:
        return open(self._files.paths[index], "rb"), self._files.labels[index]


def _loader(
    config: Config, data: ImageData, device: torch.device
) -> Iterable[tuple[Tensor, Tensor]]:
    timm_data: Any = import_module("timm.data")
    size = config.data.image_size
    loader: Iterable[tuple[Tensor, Tensor]] = timm_data.create_loader(
        timm_data.ImageDataset(root="", reader=_Reader(files_of(config, data.train))),
        input_size=(3, size, size),
        batch_size=config.trainer.batch_size,
        is_training=True,
        color_jitter=0.0,
        mean=tuple(data.mean.tolist()),
        std=tuple(data.std.tolist()),
        num_workers=num_cores(),
        pin_memory=device.type == "cuda",
        device=device,
    )
    return loader
