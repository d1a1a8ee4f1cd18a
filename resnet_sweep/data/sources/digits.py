"""scikit-learn's handwritten digits."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from importlib.metadata import version
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from resnet_sweep.data.sources._base import Sample, Source

if TYPE_CHECKING:
    from PIL import Image

_WHITE = 16  # the largest value in load_digits


class Digits(Source):
    """1,797 grey images of 8x8 pixels that come with scikit-learn."""

    @property
    def classes(self) -> tuple[str, ...]:
        """The ten digits."""
        return tuple("0123456789")

    def samples(self) -> Sequence[Sample]:
        """One sample a row of scikit-learn's table."""
        return [
            Sample(int(label), f"digit.{row}", "", f"row {row} of sklearn.datasets.load_digits")
            for row, label in enumerate(self._table[1])
        ]

    def open(self, index: int) -> Image.Image:
        """One digit in 8 bits a pixel."""
        from PIL import Image

        return Image.fromarray(self._table[0][index])

    def fingerprint(self) -> str:
        """scikit-learn's version: the table is part of it, and importing it takes a second."""
        return f"scikit-learn {version('scikit-learn')}"

    def listing(self) -> str:
        """Its name: one table has no files, and what its pixels are is hashed beside this."""
        return "digits"

    @cached_property
    def _table(self) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        from sklearn.datasets import load_digits

        digits = load_digits()
        pixels = np.rint(digits.images * (255 / _WHITE)).astype(np.uint8)
        return pixels, digits.target.astype(np.int64)
