"""torchvision's reference recipe for classification, followed in code of our own.

Source: pytorch/vision, references/classification, train.py and presets.py, with its options
``--amp`` and ``-j CORES`` and else its defaults: RandomResizedCrop, horizontal flip, NCHW, SGD
with momentum and weight decay, fp16 autocast with a GradScaler, loss and accuracy read every
step, workers that start anew every epoch. No TrivialAugment, mixup or EMA, which it has for its
newer weights only. Images are cropped to the size that all ways train on, not to its 176.

Its ``--amp`` is CUDA's alone: on a CPU the recipe trains in fp32.
"""

from __future__ import annotations

import time

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision import models, transforms

from benchmarks.ways.base import Block, Way, synchronize
from benchmarks.ways.loaders import JpegFiles, Loader, files_of
from resnet_sweep.config import Config
from resnet_sweep.data import ImageData
from resnet_sweep.data.build import num_cores

# The recipe's.
WEIGHT_DECAY = 1e-4


class TorchvisionWay(Way):
    """The recipe on torchvision's own ResNet-50.

    Args:
        config: Of our run; size, batch, learning rate and device are taken from it.
        data: Of the files to train on.
        device: Where it trains.
    """

    def __init__(self, config: Config, data: ImageData, device: torch.device) -> None:
        self.device = device
        self._amp = device.type == "cuda"
        self.name = "torchvision+fp16" if self._amp else "torchvision+fp32"
        torch.manual_seed(config.trainer.seed)
        self._model = models.resnet50(num_classes=len(data.classes)).to(device)
        self._optimizer = torch.optim.SGD(
            self._model.parameters(),
            lr=config.optimizer.lr,
            momentum=0.9,
            weight_decay=WEIGHT_DECAY,
        )
        self._scaler = torch.amp.GradScaler(device.type, enabled=self._amp)
        self._loader = _loader(config, data, self._amp)

    def block(self) -> Block:
        """One epoch of the recipe."""
        self._model.train()
        synchronize(self.device)
        started = time.perf_counter()
        loss_sum = 0.0
        num_correct = num_images = 0
        for images, labels in self._loader:
            loss, correct = self._step(images.to(self.device), labels.to(self.device))
            loss_sum += loss.item() * len(images)
            num_correct += int(correct.item())
            num_images += len(images)
        synchronize(self.device)
        return Block(num_images, time.perf_counter() - started, loss_sum / num_images)

    def _step(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        with torch.autocast(self.device.type, torch.float16, enabled=self._amp):
            logits = self._model(images)
            loss = F.cross_entropy(logits, labels)
        self._optimizer.zero_grad()
        # Where the scaler is off it hands the loss through and steps the optimizer.
        self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self._scaler.step(self._optimizer)
        self._scaler.update()
        return loss, (logits.argmax(dim=1) == labels).sum()


def _loader(config: Config, data: ImageData, pinned: bool) -> Loader:
    transform = transforms.Compose(
        [
            transforms.RandomResizedCrop(config.data.image_size),
            transforms.RandomHorizontalFlip(),
            transforms.PILToTensor(),
            transforms.ConvertImageDtype(torch.float),
            transforms.Normalize(data.mean.tolist(), data.std.tolist()),
        ]
    )
    return DataLoader(
        JpegFiles(files_of(config, data.train), transform),
        batch_size=config.trainer.batch_size,
        shuffle=True,
        drop_last=True,
        num_workers=num_cores(),
        pin_memory=pinned,
    )
