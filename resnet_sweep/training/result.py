"""What comes out of a run."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from resnet_sweep.data.dataset import Split
from resnet_sweep.training.state import Row


@dataclass(frozen=True)
class FitResult:
    """How a run went, to its end or as far as it came.

    Attributes:
        objective: The number that the run is judged by, of the epochs that were run.
        best: The row of metrics.csv of the best epoch, by the objective's metric.
        last: The row of the last epoch.
        test: "test_loss" and "test_accuracy", or None without a test split.
        seconds: Wall time of training and validation, over all attempts.
        images_per_s: Training images over the wall time of the training phases.
    """

    objective: float
    best: Row
    last: Row
    test: Row | None
    seconds: float
    images_per_s: float


@dataclass(frozen=True)
class Tested:
    """What the test split gave.

    Attributes:
        row: "test_loss" and "test_accuracy".
        split: Its images.
        predictions: Their predicted classes, [n] int64.
    """

    row: Row
    split: Split
    predictions: Tensor
