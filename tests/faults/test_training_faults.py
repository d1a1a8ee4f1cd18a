"""Sweeps of real trainings that are killed, starved and led astray: their numbers stay right."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from commands import ROOT
from disks import FULL
from fault_sweeps import Stage, attempts_of, come_to, sweep, trials_of
from small_disks import small_disk

from resnet_sweep import load_results
from resnet_sweep.models.weights import read_tensors

MEASURED = ["epoch", "train_loss", "train_accuracy", "val_loss", "val_accuracy", "lr"]
# Milliseconds of training, with everything that has a state, and what goes wrong on demand.
NET = '''
import os, resource, signal, time
from pathlib import Path
import psutil, torch
from torch import nn

class Net(nn.Module):
    """Fails in its fourth step of training, unless it is sound."""

    def __init__(self, num_classes: int, fault: str = "none", sound: bool = True) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 8, 5, stride=4), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(),
            nn.Dropout(0.1), nn.Linear(8 * 49, num_classes),
        )
        self.fault, self.num_steps = "none" if sound else fault, 0
        process = psutil.Process()
        with Path("usage").open("a") as file:
            memory, fds = process.memory_info().rss, process.num_fds()
            file.write(f"{os.getpid()} {memory} {fds} {process.num_threads()}\\n")

    def forward(self, images):
        logits = self.layers(images)
        if images.device.type == "meta":
            return logits
        self.num_steps += self.training
        is_due = self.training and self.num_steps == 4
        if self.fault == "diverges" and is_due or self.fault == "val_nan" and not self.training:
            return logits * float("nan")
        if self.fault == "gpu_memory" and is_due:
            self.held = torch.zeros(2**24)
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
        if self.fault == "host_memory" and is_due:
            torch.zeros(2**60)
        if self.fault == "limit" and is_due:
            kept = resource.getrlimit(resource.RLIMIT_AS)
            used = psutil.Process().memory_info().vms
            resource.setrlimit(resource.RLIMIT_AS, (used + 2**26, kept[1]))
            try:
                self.held = [bytearray(2**24) for _ in range(2**10)]
            finally:
                resource.setrlimit(resource.RLIMIT_AS, kept)
        if self.fault == "starved" and is_due:
            # What is taken from here on is too much for its group, and the kernel kills it.
            if Path("group").exists():
                Path(Path("group").read_text(), "cgroup.procs").write_text(str(os.getpid()))
                self.held = []
                while True:
                    self.held.append(b"x" * 2**24)
            os.kill(os.getpid(), signal.SIGKILL)
        if self.fault == "hang" and is_due:
            time.sleep(600)
        return logits
'''
SMALL = (
    "--allow=tiny",
    "model._target_=tiny.Net",
    "data.num_train=96",
    "data.num_val=40",
    "trainer.threads=1",
    "hydra.sweep.dir=sweep",
)
KEEP_ALL = "hydra.sweeper.keep_checkpoints=null"
ONE = ("hydra/launcher=local", "hydra.launcher.workers=1", "hydra.launcher.max_restarts=99")
# Checkpoints are written beside the training, one as soon as the last is there.
EXACT = ("trainer=deterministic", "trainer.epochs=4", "trainer.checkpoint_every_s=1e-9")
KILLED = (
    *SMALL,
    *ONE,
    *EXACT,
    "trainer.seed=0,1",
    "data.num_test=20",
    "hydra.sweeper.retry.lost=99",
    # All that killed workers leave is looked at below.
    KEEP_ALL,
)
RUNNER, FOLDER = "resnet_sweep.sweep.runner:Runner", "resnet_sweep.training.folder:RunFolder"
STEP = "resnet_sweep.training.prepared:Prepared.run"
# In the order in which they come, each in the life of a worker that begins after the one before.
STAGES = [
    Stage("worker", "resnet_sweep.study.queue:Queue.claim", "after"),
    Stage("worker", f"{RUNNER}._configure"),
    Stage("worker", STEP),
    # Of three steps an epoch: in the middle of the third.
    Stage("worker", STEP, nth=8),
    # All weights are in the temporary file, which has no end yet.
    Stage("worker", "torch.serialization:_save", "after"),
    # It has, and has not yet taken the place of the old one.
    Stage("worker", "torch:save", "after"),
    Stage("worker", "resnet_sweep.training.checkpoint:save_tensors", "after"),
    # The best weights and the predictions are there, how the run ended is not.
    Stage("worker", f"{FOLDER}.write_result"),
    Stage("worker", f"{RUNNER}._tell"),
    Stage("worker", f"{RUNNER}._tell", "after"),
]


@pytest.fixture
def cwd(tmp_path: Path) -> Path:
    (tmp_path / "tiny.py").write_text(NET)
    return tmp_path


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, cache_dir: Path) -> Path:
    """The same sweep, which nobody has disturbed."""
    cwd = tmp_path_factory.mktemp("undisturbed")
    (cwd / "tiny.py").write_text(NET)
    environment = {"RESNET_SWEEP_CACHE": str(cache_dir), "PYTHONPATH": str(ROOT)}
    done = sweep(cwd, *KILLED, app=None, env=environment)
    assert done.process.returncode == 0, done.text
    return cwd / "sweep"


def folder_of(study: Path, trial: Any) -> Path:
    return study / trial.user_attrs["folder"]


def result_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "result.json").read_text())


def assert_same_numbers(one: Path, other: Path) -> None:
    """Metrics, objective and predictions of two runs are the same bit for bit."""
    tables = [pd.read_csv(path / "metrics.csv")[MEASURED] for path in (one, other)]
    pd.testing.assert_frame_equal(*tables, check_exact=True)
    first, second = result_of(one), result_of(other)
    assert first["state"] == second["state"] == "COMPLETE"
    for key in ("objective", "best", "test"):
        keys = set(first[key] or ()) & set(MEASURED) if key == "best" else None
        assert _picked(first[key], keys) == _picked(second[key], keys)
    with np.load(one / "predictions.npz") as a, np.load(other / "predictions.npz") as b:
        assert a.keys() == b.keys()
        assert all((a[key] == b[key]).all() for key in a)
    weights = [read_tensors(path / "best.pt")["model"] for path in (one, other)]
    assert weights[0].keys() == weights[1].keys()
    assert all(bool((weights[0][key] == weights[1][key]).all()) for key in weights[0])


def _picked(value: Any, keys: set[str] | None) -> Any:
    return value if keys is None else {key: value[key] for key in keys}


def assert_as_undisturbed(study: Path, undisturbed: Path) -> None:
    """Every ticket is done once, with the numbers of the sweep that nobody disturbed."""
    expected = attempts_of(undisturbed)
    found = attempts_of(study)
    assert found.keys() == expected.keys()
    for ticket, attempts in found.items():
        assert [one.state.name for one in attempts].count("COMPLETE") == 1
        assert attempts[-1].state.name == "COMPLETE"
        assert attempts[-1].values == expected[ticket][-1].values
        assert_same_numbers(
            folder_of(study, attempts[-1]), folder_of(undisturbed, *expected[ticket])
        )
    table = load_results(study / "results.csv")
    assert len(table) == len(expected)
    assert set(table["state"]) == {"COMPLETE"}


def assert_each_went_on(study: Path) -> int:
    """No attempt has begun anew that could have gone on; returns how many have gone on."""
    num_resumed = 0
    for attempts in attempts_of(study).values():
        earlier: list[Path] = []
        for attempt in attempts:
            if "folder" not in attempt.user_attrs:
                continue
            folder = folder_of(study, attempt)
            left = [path for path in reversed(earlier) if (path / "last.pt").exists()]
            log = (folder / "train.log").read_text() if (folder / "train.log").exists() else ""
            if left and "validation images" in log:
                epoch = read_tensors(left[0] / "last.pt")["epoch"]
                assert f"goes on from epoch {epoch} of trial folder {left[0]}" in log
                num_resumed += 1
            earlier.append(folder)
    return num_resumed


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_workers_killed_at_each_stage_of_a_training_change_no_number(cwd, undisturbed):
    # Eleven processes load torch, one after another.
    done = sweep(cwd, *KILLED, app=None, stages=STAGES, limit_s=500)
    assert done.process.returncode == 0, done.text
    assert come_to(cwd, STAGES) == STAGES
    study = cwd / "sweep"
    assert len(trials_of(study)) == 2 + len(STAGES) - 1
    assert_as_undisturbed(study, undisturbed)
    assert assert_each_went_on(study) >= 4


# Of the shell that a stage starts the parent is the worker, and of that the sweep.
KILL_PARENT = "kill -9 $(cut -d' ' -f4 /proc/$PPID/stat); sleep 60"
KILL_ALL = "kill -9 $(cut -d' ' -f4 /proc/$PPID/stat) $PPID"
STAGES_OF_ALL = [
    # With a checkpoint after each epoch: the second is half written.
    Stage("worker", "torch.serialization:_save", "after", nth=2, do=KILL_ALL),
    # In the middle of the fourth epoch, after it has gone on with the second.
    Stage("worker", STEP, nth=8, do=KILL_PARENT),
    Stage("worker", f"{FOLDER}.write_result", do=KILL_PARENT),
    Stage("worker", f"{RUNNER}._tell", do=KILL_ALL),
    # All have ended, and there is no table yet.
    Stage("worker", "resnet_sweep.app:TrialTask.close", do=KILL_PARENT),
]


@pytest.mark.slow
def test_a_disk_that_fills_up_costs_no_trial(cwd, undisturbed):
    # The study is elsewhere: nothing waits for room, or says so, but the trial.
    storage = "hydra.sweeper.storage=sqlite:///study.db"
    command = (*KILLED, "trainer.checkpoint_every_s=0", storage)
    study = cwd / "sweep"
    # Where the first trial has trained to its end, before it writes what stays of it.
    stages = [Stage("worker", f"{FOLDER}.write_predictions", do=FULL.format(study))]
    with small_disk(study, 16384):
        failed = sweep(cwd, *command, app=None, stages=stages)
        assert failed.process.returncode == 2, failed.text
        assert "make room" in failed.text
        assert "Traceback" not in failed.text
        (study / "ballast").unlink()
        done = sweep(cwd, *command, app=None)
        assert done.process.returncode == 0, done.text
        assert_as_undisturbed(study, undisturbed)
        assert not list(study.rglob(".*.tmp"))
        first, *later = attempts_of(study)[0]
        resumed = result_of(folder_of(study, later[-1]))["resumed_from"]
        assert resumed == {
            "folder": str(folder_of(study, first)),
            "epoch": 3,
            "problem": None,
        }
        assert first.user_attrs["failure"] == "disk"
        assert "predictions.npz): make room" in first.user_attrs["error"]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_sweeps_killed_at_each_stage_of_a_training_change_no_number(cwd, undisturbed):
    command = (*KILLED, "trainer.checkpoint_every_s=0")
    for i in range(len(STAGES_OF_ALL)):
        killed = sweep(cwd, *command, app=None, stages=STAGES_OF_ALL)
        assert killed.process.returncode == -signal.SIGKILL, killed.text
        assert come_to(cwd, STAGES_OF_ALL) == STAGES_OF_ALL[: i + 1]
    study = cwd / "sweep"
    assert not (study / "results.csv").exists()
    done = sweep(cwd, *command, app=None)
    assert done.process.returncode == 0, done.text
    assert_as_undisturbed(study, undisturbed)
    resumed = [
        result_of(folder_of(study, trials[-1])).get("resumed_from")
        for trials in attempts_of(study).values()
    ]
    assert resumed[0]["epoch"] == 3
    assert resumed[1] is None
    logs = [folder_of(study, trial) / "train.log" for trial in attempts_of(study)[0]]
    told = [re.findall("goes on from epoch ([0-9]) of", log.read_text()) for log in logs]
    assert told == [[], ["1"], ["3"], ["3"], ["3"]]


def usage(cwd: Path) -> pd.DataFrame:
    """What the worker had whenever it built a network: memory in bytes, files, threads."""
    found = pd.read_csv(cwd / "usage", sep=" ", names=["pid", "memory", "files", "threads"])
    # The sweep's own process has tried some out.
    return found[found["pid"] == found["pid"].mode()[0]]


@pytest.fixture
def memory_group(cwd: Path) -> Iterator[None]:
    """A group of processes that has little memory, where this machine lets us make one."""
    group = Path(f"/sys/fs/cgroup/memory/faults-{os.getpid()}")
    try:
        group.mkdir()
        (group / "memory.limit_in_bytes").write_text(str(2**28))
    except OSError:
        # Then the process kills itself with the same signal.
        yield
        return
    (cwd / "group").write_text(str(group))
    try:
        yield
    finally:
        group.rmdir()


@pytest.mark.slow
@pytest.mark.usefixtures("memory_group")
def test_each_way_to_fail_costs_one_training_and_harms_no_other(cwd):
    expected = {
        "none": "COMPLETE",
        "diverges": "non_finite",
        "val_nan": "non_finite",
        "gpu_memory": "out_of_memory",
        "host_memory": "out_of_memory",
        "limit": "out_of_memory",
        "hang": "timeout",
        "starved": "lost",
    }
    command = (*SMALL, *ONE, "trainer=deterministic", "trainer.epochs=2")
    # A sound training behind each that fails.
    swept = (f"+model.kwargs.fault={','.join(expected)}", "+model.kwargs.sound=false,true")
    limits = ("hydra.sweeper.timeout_s=15", "hydra.sweeper.close_slot_after=null", KEEP_ALL)
    limits += ("hydra.sweeper.retry.lost=0",)
    done = sweep(cwd, *command, *swept, *limits, app=None)
    assert done.process.returncode == 3, done.text
    assert "Traceback" not in done.text
    study = cwd / "sweep"
    trials = trials_of(study)
    failing = [trial for trial in trials if not trial.params["+model.kwargs.sound"]]
    found = {trial.params["+model.kwargs.fault"]: trial for trial in failing}
    ends = {fault: t.user_attrs.get("failure", t.state.name) for fault, t in found.items()}
    assert ends == expected
    errors = {fault: trial.user_attrs.get("error", "") for fault, trial in found.items()}
    assert "training loss is not finite in epoch 2" in errors["diverges"]
    assert "validation loss is not finite in epoch 1" in errors["val_nan"]
    assert errors["gpu_memory"].startswith("OutOfMemoryError: CUDA out of memory")
    assert "Cannot allocate memory" in errors["host_memory"]
    assert errors["limit"].startswith("MemoryError")
    assert errors["hang"] == "TrialTimeoutError: ran longer than hydra.sweeper.timeout_s=15"
    assert errors["starved"].startswith("lost: its worker was killed by SIGKILL, as the system")
    for fault, trial in found.items():
        assert not (folder_of(study, trial) / "last.pt").exists()
        if fault not in ("none", "starved"):
            assert result_of(folder_of(study, trial))["error"]["kind"] == expected[fault]
    sound = [folder_of(study, trial) for trial in trials if trial.params["+model.kwargs.sound"]]
    for folder in sound:
        assert_same_numbers(folder_of(study, found["none"]), folder)
    assert len(sound) == len(expected)
    # What the network held that failed is given back, in the same process.
    memory = usage(cwd)["memory"]
    assert len(memory) == len(trials) - 1
    assert memory.max() - memory.iloc[1] < 150 * 2**20


@pytest.mark.slow
def test_a_hundred_trainings_in_one_worker_leave_it_as_it_was(cwd):
    command = (*SMALL, *ONE, "trainer=deterministic", "trainer.epochs=1")
    # Each seed twice, fifty trainings apart.
    swept = ("+model.kwargs.sound=false,true", "trainer.seed=range(50)")
    done = sweep(cwd, *command, *swept, app=None)
    assert done.process.returncode == 0, done.text
    study = cwd / "sweep"
    folders = [folder_of(study, trial) for trial in trials_of(study)]
    assert len(folders) == 100
    for first, second in zip(folders[:50], folders[50:], strict=True):
        tables = [pd.read_csv(path / "metrics.csv")[MEASURED] for path in (first, second)]
        pd.testing.assert_frame_equal(*tables, check_exact=True)
    assert len({result_of(folder)["last"]["train_loss"] for folder in folders}) == 50
    found = usage(cwd)
    assert len(found) == 100
    # From the tenth to the last.
    grown = found.iloc[-1] - found.iloc[10]
    assert grown["files"] <= 0
    assert grown["threads"] <= 0
    assert grown["memory"] < 30 * 2**20
    assert len(list(study.rglob("best.pt"))) == 3
    assert not list(study.rglob("last.pt"))
