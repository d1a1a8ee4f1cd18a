"""The files of one run: their names, and how each is written."""

from __future__ import annotations

import csv
import fcntl
import json
import math
import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resnet_sweep.data.dataset import Split
from resnet_sweep.faults import ConfigError, Fault
from resnet_sweep.files import replacing

# Whoever reads the folder may share its lock for a moment, to see whether a run holds it.
_PROBE_S = 1.0
_PAUSE_S = 0.02


class RunFolder:
    """The folder of one run; the only place that names its files."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(parents=True, exist_ok=True)

    @property
    def metrics_csv(self) -> Path:
        """A row an epoch."""
        return self.path / "metrics.csv"

    @property
    def result_json(self) -> Path:
        """How the run ended; there when it has ended, whichever way."""
        return self.path / "result.json"

    @property
    def rerun_yaml(self) -> Path:
        """Configuration that runs it again; there once the data and the device are known."""
        return self.path / "rerun.yaml"

    @property
    def predictions_npz(self) -> Path:
        """Predictions of the best and of the last epoch, and of the test split."""
        return self.path / "predictions.npz"

    @property
    def last_checkpoint(self) -> Path:
        """Everything needed to go on; only there while a run is unfinished."""
        return self.path / "last.pt"

    @property
    def best_checkpoint(self) -> Path:
        """Weights of the best epoch."""
        return self.path / "best.pt"

    @property
    def tensorboard(self) -> Path:
        """TensorBoard's event files."""
        return self.path / "tensorboard"

    @property
    def trace_json(self) -> Path:
        """A few steps as torch's profiler saw them, for chrome://tracing and Perfetto."""
        return self.path / "trace.json.gz"

    @contextmanager
    def claimed(self) -> Iterator[None]:
        """Keeps every other process out of the folder; the system lets it go on a crash.

        Raises:
            ConfigError: Another process has claimed it.
        """
        handle = os.open(self.path, os.O_RDONLY)
        try:
            if not _lock(handle):
                rule = "is in use by another process"
                fix = "choose another folder or wait until it ends"
                raise ConfigError([Fault("hydra.run.dir", self.path, rule, fix=fix)])
            yield
        finally:
            os.close(handle)

    def clear(self) -> None:
        """Removes what an earlier run left here, so that no file of it stands beside ours."""
        for path in (
            self.metrics_csv,
            self.result_json,
            self.predictions_npz,
            self.last_checkpoint,
            self.best_checkpoint,
            self.trace_json,
        ):
            path.unlink(missing_ok=True)
        self.remove_torn()
        if self.tensorboard.exists():
            shutil.rmtree(self.tensorboard)

    def remove_torn(self) -> None:
        """Removes what killed processes have left of checkpoints that they were writing."""
        for path in (self.last_checkpoint, self.best_checkpoint):
            for torn in self.path.glob(f".{path.name}.*.tmp"):
                torn.unlink(missing_ok=True)

    def write_metrics(self, rows: Sequence[Mapping[str, float]]) -> None:
        """Writes metrics.csv anew: rows of a lost attempt disappear with it."""
        names = list(dict.fromkeys(name for row in rows for name in row))
        with replacing(self.metrics_csv) as path, path.open("w", newline="") as stream:
            table = csv.DictWriter(stream, names, lineterminator="\n")
            table.writeheader()
            table.writerows(rows)

    def write_result(self, result: Mapping[str, Any]) -> None:
        """Writes result.json; NaN and infinity, which JSON has not, become null."""
        with replacing(self.result_json) as path:
            path.write_text(json.dumps(_plain(result), indent=2, allow_nan=False) + "\n")

    def write_rerun(self, text: str) -> None:
        """Writes rerun.yaml."""
        with replacing(self.rerun_yaml) as path:
            path.write_text(text, encoding="utf-8")

    def write_predictions(
        self,
        val: Split,
        best: NDArray[np.int64],
        last: NDArray[np.int64],
        test: tuple[Split, NDArray[np.int64]] | None = None,
    ) -> None:
        """Writes predictions.npz: ``name``, ``label``, ``best`` and ``last``.

        With a test split ``test_name``, ``test_label`` and ``test`` as well.

        Args:
            val: The validation images, n of them.
            best: Their predicted classes at the best epoch, [n].
            last: Their predicted classes at the last epoch, [n].
            test: The test images, m of them, and their predicted classes at the epoch that is
                judged, [m].
        """
        arrays = {"name": _names(val), "label": val.labels, "best": best, "last": last}
        if test is not None:
            split, predictions = test
            arrays |= {"test_name": _names(split), "test_label": split.labels, "test": predictions}
        with replacing(self.predictions_npz) as path, path.open("wb") as stream:
            np.savez_compressed(stream, **arrays)  # type: ignore[arg-type]


def _names(split: Split) -> NDArray[np.str_]:
    return np.array(split.names, dtype=str)


def _lock(handle: int) -> bool:
    """Takes an exclusive lock; False where another process keeps its own for a second."""
    end = time.monotonic() + _PROBE_S
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > end:
                return False
            time.sleep(_PAUSE_S)
        except OSError:
            return True  # A file system without locks, which must do without.
        else:
            return True


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
