"""Two runs compared on the images that both have seen, as far as that can be known."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from resnet_sweep.report.settings import as_number, plain
from resnet_sweep.report.statistics import (
    Estimate,
    difference_of_proportions,
    mcnemar,
    paired_difference,
)

Predictions = Mapping[str, np.ndarray[Any, Any]]
LoadPredictions = Callable[[str], Predictions]

_UNREADABLE = (OSError, ValueError, TypeError, KeyError, EOFError, zipfile.BadZipFile, zlib.error)


class Split(NamedTuple):
    """Images of which a run's accuracy is known.

    Attributes:
        name: As it stands in tables.
        accuracy: Column of the accuracy, of one epoch.
        num_images: Column of the number of images.
        arrays: Names of the images, their labels and the predictions, in predictions.npz.
    """

    name: str
    accuracy: str
    num_images: str
    arrays: tuple[str, str, str]


TEST = Split("test", "test_accuracy", "num_test_images", ("test_name", "test_label", "test"))
LAST = Split("last epoch", "last_val_accuracy", "num_val_images", ("name", "label", "last"))


@dataclass(frozen=True)
class Comparison:
    """How two runs differ.

    Attributes:
        estimate: The first's accuracy less the second's, with its interval where there is one.
        method: "same images", "unpaired: ..." with the reason, or empty without an interval.
        mcnemar_p: Of the same images, else NaN.
    """

    estimate: Estimate
    method: str = ""
    mcnemar_p: float = float("nan")


class _NotPairedError(Exception):
    """Why two runs cannot be compared image by image."""


def read_predictions(folder: str) -> Predictions:
    """What a run's predictions.npz holds.

    Args:
        folder: Of the run.

    Raises:
        OSError: There is none, or it cannot be read; other errors of ``numpy.load`` for a torn one.
    """
    # Opened here: numpy leaves a torn file open.
    with (
        Path(folder, "predictions.npz").open("rb") as stream,
        np.load(stream, allow_pickle=False) as arrays,
    ):
        return {name: arrays[name] for name in arrays.files}


def compare_runs(
    first: pd.Series[Any], second: pd.Series[Any], split: Split, load: LoadPredictions
) -> Comparison:
    """Compares the accuracies of two runs.

    Args:
        first: A row of a table of runs.
        second: Another.
        split: The images.
        load: Gives what a folder's predictions.npz holds, or raises what numpy raises.
    """
    try:
        correct_first = _correct(first, split, load)
        correct_second = _correct(second, split, load)
        if not all(map(np.array_equal, correct_first[:2], correct_second[:2])):
            raise _NotPairedError("other images")
    except _NotPairedError as reason:
        return _unpaired(first, second, split, str(reason))
    is_first, is_second = correct_first[2], correct_second[2]
    only_first = int((is_first & ~is_second).sum())
    only_second = int((~is_first & is_second).sum())
    estimate = paired_difference(only_first, only_second, len(is_first))
    return Comparison(estimate, "same images", mcnemar(only_first, only_second))


def _correct(
    run: pd.Series[Any], split: Split, load: LoadPredictions
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Names and labels of a run's images, and which of them it got right."""
    folder = plain(run.get("folder"))
    if not isinstance(folder, str) or not folder:
        raise _NotPairedError("no predictions")
    try:
        arrays = load(folder)
        names, labels, predicted = (np.asarray(arrays[name]) for name in split.arrays)
    except (FileNotFoundError, NotADirectoryError):
        raise _NotPairedError("no predictions") from None
    except _UNREADABLE:
        raise _NotPairedError("unreadable predictions") from None
    if not names.ndim == 1 or not names.shape == labels.shape == predicted.shape:
        raise _NotPairedError("unreadable predictions")
    correct = labels == predicted
    # A folder that was used again holds the predictions of another run.
    if abs(correct.sum() - as_number(run.get(split.accuracy)) * len(correct)) > 0.5:
        raise _NotPairedError("predictions of another run")
    return names, labels, correct


def _unpaired(
    first: pd.Series[Any], second: pd.Series[Any], split: Split, reason: str
) -> Comparison:
    accuracies = [as_number(run.get(split.accuracy)) for run in (first, second)]
    nums = [as_number(run.get(split.num_images)) for run in (first, second)]
    if not all(num > 0 for num in nums):
        # Still a difference, of which nobody can say how sure it is.
        return Comparison(Estimate(accuracies[0] - accuracies[1], float("nan"), float("nan")))
    # An accuracy in a file may have lost its last digits; the count behind it is whole.
    k1, k2 = (
        float(np.rint(accuracy * num)) for accuracy, num in zip(accuracies, nums, strict=True)
    )
    return Comparison(difference_of_proportions(k1, nums[0], k2, nums[1]), f"unpaired: {reason}")
