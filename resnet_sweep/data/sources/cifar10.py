"""CIFAR-10 by torchvision."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from resnet_sweep.data.config import Cifar10Config
from resnet_sweep.data.sources._base import Sample, Source
from resnet_sweep.data.sources._downloads import download_root, obtain

if TYPE_CHECKING:
    from PIL import Image

# Of the published archive; torchvision refuses files with other checksums.
_ARCHIVE_MD5 = "c58f30108f718f92721af3b95e74349a"


class Cifar10(Source):
    """50,000 training images; the 10,000 test images validate."""

    def __init__(self, config: Cifar10Config) -> None:
        self._config = config

    @property
    def classes(self) -> tuple[str, ...]:
        """The ten classes in the data's own order."""
        return (
            "airplane",
            "automobile",
            "bird",
            "cat",
            "deer",
            "dog",
            "frog",
            "horse",
            "ship",
            "truck",
        )

    def samples(self) -> Sequence[Sample]:
        """Training images first, then the test images as the validation split."""
        root = download_root(self._config)
        samples: list[Sample] = []
        splits: tuple[Literal["train", "val"], ...] = ("train", "val")
        for split, (_, labels) in zip(splits, self._tables, strict=True):
            samples += [
                Sample(label, f"{split}.{row}", "", f"{root}: image {row} of {split}", split)
                for row, label in enumerate(labels)
            ]
        return samples

    def open(self, index: int) -> Image.Image:
        """One image of 32x32 pixels."""
        from PIL import Image

        (train, _), (val, _) = self._tables
        pixels = train[index] if index < len(train) else val[index - len(train)]
        return Image.fromarray(pixels)

    def fingerprint(self) -> str:
        """The archive's checksum: known without the files, which torchvision verifies."""
        return f"cifar10 {_ARCHIVE_MD5}"

    def listing(self) -> str:
        """The same: samples would unpack all images."""
        return self.fingerprint()

    @cached_property
    def _tables(self) -> list[tuple[NDArray[np.uint8], list[int]]]:
        def load(root: Path, download: bool) -> list[Any]:
            from torchvision.datasets import CIFAR10

            return [CIFAR10(root, train=train, download=download) for train in (True, False)]

        return [(part.data, part.targets) for part in obtain(self._config, load, "170 MB")]
