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

from resnet_sweep.report.settings import column_or_missing, plain
from resnet_sweep.report.statistics import (
    Estimate,
    difference,
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
        method: "same images", or "unpaired: ..." or "no interval: ..." with the reason.
        mcnemar_p: Of the same images, else NaN.
    """

    estimate: Estimate
    method: str
    mcnemar_p: float = float("nan")


class Run(NamedTuple):
    """What is compared of a run.

    Attributes:
        accuracy: On a split; NaN if it is not known.
        num_images: Of the split; NaN if it is not known.
        folder: Where its predictions are; empty if it is not known.
    """

    accuracy: float
    num_images: float
    folder: str


def runs_on(table: pd.DataFrame, split: Split) -> list[Run]:
    """The rows of a table as runs on a split.

    Args:
        table: Of runs.
        split: The images.
    """
    folders = map(plain, table["folder"]) if "folder" in table else [""] * len(table)
    columns = (column_or_missing(table, name) for name in (split.accuracy, split.num_images))
    return [
        Run(accuracy, num_images, folder if isinstance(folder, str) else "")
        for accuracy, num_images, folder in zip(*columns, folders, strict=True)
    ]


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


def compare_runs(first: Run, second: Run, split: Split, load: LoadPredictions) -> Comparison:
    """Compares the accuracies of two runs.

    Args:
        first: A run on the split.
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
        return _unpaired(first, second, str(reason))
    is_first, is_second = correct_first[2], correct_second[2]
    only_first = int((is_first & ~is_second).sum())
    only_second = int((~is_first & is_second).sum())
    estimate = paired_difference(only_first, only_second, len(is_first))
    return Comparison(estimate, "same images", mcnemar(only_first, only_second))


def _correct(
    run: Run, split: Split, load: LoadPredictions
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Names and labels of a run's images, and which of them it got right."""
    if not run.folder:
        raise _NotPairedError("no predictions")
    try:
        arrays = load(run.folder)
        names, labels, predicted = (np.asarray(arrays[name]) for name in split.arrays)
    except (FileNotFoundError, NotADirectoryError):
        raise _NotPairedError("no predictions") from None
    except _UNREADABLE:
        raise _NotPairedError("unreadable predictions") from None
    if not names.ndim == 1 or not names.shape == labels.shape == predicted.shape:
        raise _NotPairedError("unreadable predictions")
    correct = labels == predicted
    # A folder that was used again holds the predictions of another run.
    if abs(correct.sum() - run.accuracy * len(correct)) > 0.5:
        raise _NotPairedError("predictions of another run")
    return names, labels, correct


def _unpaired(first: Run, second: Run, reason: str) -> Comparison:
    if not (first.num_images > 0 and second.num_images > 0):
        # Still a difference, of which nobody can say how sure it is.
        value = float(difference(first.accuracy, second.accuracy))
        estimate = Estimate(value, float("nan"), float("nan"))
        return Comparison(estimate, "no interval: number of images not known")
    # An accuracy in a file may have lost its last digits; the count behind it is whole.
    k1, k2 = (float(np.rint(run.accuracy * run.num_images)) for run in (first, second))
    estimate = difference_of_proportions(k1, first.num_images, k2, second.num_images)
    return Comparison(estimate, f"unpaired: {reason}")
