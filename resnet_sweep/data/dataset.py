"""What the rest of the program sees of the images: splits of decoded pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Split:
    """Decoded images of one split, in a fixed order that mixes the classes.

    Attributes:
        images: uint8 [n, size, size, channels], a memory map of the cache.
        labels: int64 [n], positions in ``ImageData.classes``.
        names: n canonical names, the same in every layout of the data.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        assert len(self.images) == len(self.labels) == len(self.names)

    def __len__(self) -> int:
        return len(self.names)


@dataclass(frozen=True, eq=False)
class ImageData:
    """All splits of one data configuration.

    Attributes:
        train: Images to learn from.
        val: Images to measure each epoch with.
        test: Images to touch once, or None with ``num_test=0``.
        classes: Names of the classes, in the order of the labels.
        mean: float32 [channels] of the training split, on the scale 0..1.
        std: float32 [channels] of the training split, on the scale 0..1, never 0.
        key: Hash that names the cache: of the sources as they lie on disk and of the settings.
        content: Hash of pixels, labels and names, wherever the sources lie.
        num_skipped: Broken images that were left out.
        listing: Hash of the names and sizes of all files of the source, used or not.
    """

    train: Split
    val: Split
    test: Split | None
    classes: tuple[str, ...]
    mean: NDArray[np.float32]
    std: NDArray[np.float32]
    key: str
    content: str
    num_skipped: int
    listing: str
