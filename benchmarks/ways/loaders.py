"""DataLoaders that decode JPEGs on every access."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from resnet_sweep.config import Config
from resnet_sweep.data import ImageData, Split
from resnet_sweep.data.build import num_cores
from resnet_sweep.data.sources import build_source

Loader = DataLoader[tuple[Tensor, int]]
Transform = Callable[[Any], Tensor]


@dataclass(frozen=True)
class Files:
    """The files that a split of our cache was decoded from.

    Attributes:
        paths: One an image.
        labels: Their classes.
    """

    paths: Sequence[str]
    labels: Sequence[int]


class JpegFiles(Dataset[tuple[Tensor, int]]):
    """Images decoded on every access."""

    def __init__(self, files: Files, transform: Transform) -> None:
        self._files, self._transform = files, transform

    def __len__(self) -> int:
        return len(self._files.paths)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        with Image.open(self._files.paths[index]) as image:
            return self._transform(image.convert("RGB")), self._files.labels[index]


def files_of(config: Config, split: Split) -> Files:
    """Where the images of a split lie on disk."""
    location = {sample.name: sample.location for sample in build_source(config.data).samples()}
    return Files([location[name] for name in split.names], split.labels.tolist())


def plain_loaders(config: Config, data: ImageData) -> tuple[Loader, Loader]:
    """The plain ways' loaders for training and validation, a worker a core, kept alive."""

    def loader(split: Split, changes: Sequence[Any], training: bool) -> Loader:
        size = config.data.image_size
        steps = [transforms.Resize(size), transforms.CenterCrop(size), *changes]
        steps += [transforms.ToTensor()]
        steps += [transforms.Normalize(data.mean.tolist(), data.std.tolist())]
        return DataLoader(
            JpegFiles(files_of(config, split), transforms.Compose(steps)),
            batch_size=config.trainer.batch_size,
            shuffle=training,
            drop_last=training,
            num_workers=num_cores(),
            persistent_workers=True,
            pin_memory=config.trainer.device.startswith("cuda"),
        )

    flip = [transforms.RandomHorizontalFlip()]
    return loader(data.train, flip, training=True), loader(data.val, [], training=False)
