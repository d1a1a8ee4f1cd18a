import errno
import fcntl
import json
import math
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from resnet_sweep.data.dataset import Split
from resnet_sweep.faults import ConfigError
from resnet_sweep.study.locks import is_claimed
from resnet_sweep.training import folder as folders
from resnet_sweep.training.folder import RunFolder

CLAIM = """
import sys
from pathlib import Path
from resnet_sweep.training.folder import RunFolder

with RunFolder(Path(sys.argv[1])).claimed():
    print("claimed", flush=True)
    sys.stdin.read()
"""


def test_metrics_are_written_anew_and_read_back_equal(tmp_path):
    folder = RunFolder(tmp_path / "run")
    rows = [{"epoch": 1, "val_loss": 0.1 + 0.2}, {"epoch": 2, "val_loss": 1e-17 / 3}]
    folder.write_metrics([*rows, {"epoch": 3, "val_loss": 0.0}])
    folder.write_metrics(rows)
    table = pd.read_csv(folder.metrics_csv)
    assert table.to_dict("records") == rows
    assert folder.metrics_csv.read_text() == table.to_csv(index=False)


def test_what_a_killed_write_has_left_goes_when_the_folder_is_used_again(tmp_path):
    folder = RunFolder(tmp_path)
    for name in (".last.pt.12-ab.tmp", ".best.pt.12-ab.tmp", ".last.pt.keep", "notes.tmp"):
        (tmp_path / name).touch()
    folder.clear()
    assert sorted(path.name for path in tmp_path.iterdir()) == [".last.pt.keep", "notes.tmp"]


def test_result_is_strict_json_whatever_the_numbers_are(tmp_path):
    folder = RunFolder(tmp_path)
    folder.write_result({"a": math.nan, "b": [math.inf, 1.5], "c": {"d": (1, 2)}})
    text = folder.result_json.read_text()
    assert json.loads(text) == {"a": None, "b": [None, 1.5], "c": {"d": [1, 2]}}


def split_of(*names: str) -> Split:
    return Split(np.zeros((len(names), 1, 1, 1), np.uint8), np.arange(len(names)), names)


def test_predictions_need_no_pickle(tmp_path):
    folder = RunFolder(tmp_path)
    folder.write_predictions(split_of("cat.1", "dog.2"), np.array([0, 0]), np.ones(2, int))
    with np.load(folder.predictions_npz, allow_pickle=False) as stored:
        assert stored["name"].tolist() == ["cat.1", "dog.2"]
        assert stored["label"].tolist() == [0, 1]
        assert stored["best"].tolist() == [0, 0]
        assert stored["last"].tolist() == [1, 1]
        assert len(stored) == 4
    test = (split_of("dog.3"), np.array([1]))
    folder.write_predictions(split_of("cat.1", "dog.2"), np.zeros(2, int), np.ones(2, int), test)
    with np.load(folder.predictions_npz, allow_pickle=False) as stored:
        assert stored["name"].tolist() == ["cat.1", "dog.2"]
        assert stored["test_name"].tolist() == ["dog.3"]
        assert stored["test_label"].tolist() == [0]
        assert stored["test"].tolist() == [1]


@contextmanager
def claimed_elsewhere(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process claims a run's folder until it ends."""
    with subprocess.Popen(
        [sys.executable, "-c", CLAIM, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "claimed\n"
        try:
            yield process
        finally:
            process.kill()


def test_a_claimed_folder_is_seen_to_be_until_its_process_dies(tmp_path, monkeypatch):
    monkeypatch.setattr(folders, "_PROBE_S", 0.1)
    assert not is_claimed(tmp_path)
    with claimed_elsewhere(tmp_path) as process:
        for _ in range(3):
            assert is_claimed(tmp_path)
        with pytest.raises(ConfigError, match="in use by another process"):
            RunFolder(tmp_path).claimed().__enter__()
        process.kill()
        process.wait()
        assert not is_claimed(tmp_path)
    with RunFolder(tmp_path).claimed():
        assert is_claimed(tmp_path)
    assert not is_claimed(tmp_path)


def test_what_is_no_folder_is_not_claimed(tmp_path):
    (tmp_path / "file").touch()
    assert not is_claimed(tmp_path / "file")
    assert not is_claimed(tmp_path / "missing")


def test_a_run_starts_although_somebody_is_looking(tmp_path):
    handle = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_SH)
    # Two readers do not see one another.
    assert not is_claimed(tmp_path)
    looked = threading.Timer(0.2, os.close, [handle])
    looked.start()
    with RunFolder(tmp_path).claimed():
        looked.join()
        assert is_claimed(tmp_path)


def test_a_child_that_is_forked_while_one_looks_keeps_nobody_out(tmp_path):
    lock = fcntl.flock

    def fork_while_looking(handle: int, how: int) -> None:
        lock(handle, how)
        if how & fcntl.LOCK_SH:
            children.append(os.dup(handle))  # What a forked child would have.

    children: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fcntl, "flock", fork_while_looking)
        assert not is_claimed(tmp_path)
    # Would be refused, after a second, if the copy still held it.
    with RunFolder(tmp_path).claimed():
        os.close(children[0])


def test_a_file_system_without_locks_does_without(tmp_path, monkeypatch):
    def no_locks(handle: int, how: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with RunFolder(tmp_path).claimed():
        assert not is_claimed(tmp_path)
