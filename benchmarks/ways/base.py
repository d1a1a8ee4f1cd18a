"""What all ways to train have in common."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from resnet_sweep.config import Config
from resnet_sweep.data import ImageData
from resnet_sweep.models import blocks, build_model, resnet
from resnet_sweep.models.config import ModelConfig
from resnet_sweep.training.device import peak_memory_mib

# The ResNet-50 that torchvision and timm have, by NVIDIA's name for it: the 3x3 convolution
# downsamples, no convolution has a bias, the shortcut has a batch norm.
V1_5 = ModelConfig(conv_bias=False, shortcut_norm=True, stride_on="3x3")
# Linux tells here what a process has had; what getrusage tells begins with its parent's.
STATUS = Path("/proc/self/status")


@dataclass(frozen=True)
class Block:
    """One timed pass over images.

    Attributes:
        images: How many.
        seconds: Wall time of the loop.
        loss: Mean over the pass; of the ceiling, which sums nothing, the last step's.
    """

    images: int
    seconds: float
    loss: float

    @property
    def images_per_s(self) -> float:
        """Speed of the pass."""
        return self.images / self.seconds


class Way(ABC):
    """One way to train; its network and optimizer live from block to block."""

    name: str
    device: torch.device

    @abstractmethod
    def block(self) -> Block:
        """Trains on one block of images and times it."""

    def peak_memory_mib(self) -> float:
        """Most memory so far: of the GPU by tensors, else of the host by this process alone."""
        if self.device.type != "cuda" and STATUS.exists():
            for line in STATUS.read_text().splitlines():
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) / 2**10
        return peak_memory_mib(self.device)


class WholeWay(Way):
    """A way that also validates and writes checkpoints."""

    @abstractmethod
    def validation(self) -> Block:
        """The validation that follows the newest block."""

    @abstractmethod
    def checkpoint_ms(self) -> float:
        """Milliseconds for which a due checkpoint stops the training thread."""


def network(config: Config, data: ImageData, model: ModelConfig | None = None) -> nn.Module:
    """ResNet-50 with the same weights at every call.

    Args:
        config: Of our run.
        data: Has the classes.
        model: Another variant than the run's.
    """
    torch.manual_seed(config.trainer.seed)
    return build_model(
        model or config.model, len(data.classes), config.data.channels, config.data.image_size
    )


def write_out_the_network() -> None:
    """In this process our network computes every bias, as one that is written by hand does.

    What ours leaves out in training, because a norm takes it off again, is a gain of ours.
    """
    for module in (blocks, resnet):
        module.normalized = lambda conv, norm, x: norm(conv(x))  # type: ignore[attr-defined]


def synchronize(device: torch.device) -> None:
    """Waits until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def held_up_ms(work: Callable[[], object], device: torch.device) -> float:
    """Milliseconds for which ``work`` holds up the training.

    What it queues on the stream of the training counts, what it leaves to other threads and
    streams does not.
    """
    synchronize(device)
    started = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.current_stream(device).synchronize()
    return 1000 * (time.perf_counter() - started)
