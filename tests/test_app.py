"""A trial of ours as the sweep engine runs it: in Hydra's folder, with a trial that listens."""

import errno
import gc
import json
import logging
import math
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
import pytest
import torch
from commands import SMALL
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from torch import nn

from resnet_sweep.app import TrialTask, run_trial
from resnet_sweep.config import register_schema
from resnet_sweep.faults import ConfigError, DataError, Fault, StorageError
from resnet_sweep.models.config import allow
from resnet_sweep.paths import config_dir
from resnet_sweep.sweep import CurrentTrial
from resnet_sweep.sweep.trial import running
from resnet_sweep.training.continuation import FREE_KEYS
from resnet_sweep.training.failures import DiskError, NonFiniteLossError, Stopped
from resnet_sweep.training.folder import RunFolder

TINY = ("model._target_=test_app.Net", *SMALL[1:])
EXACT = (*TINY, "trainer=deterministic", "trainer.epochs=4", "trainer.checkpoint_every_s=0")
MEASURED = ["epoch", "train_loss", "train_accuracy", "val_loss", "val_accuracy", "lr"]


class Net(nn.Sequential):
    """A network whose training takes milliseconds, with everything that has a state."""

    def __init__(self, num_classes: int) -> None:
        super().__init__(
            nn.Conv2d(3, 8, 5, stride=4),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Flatten(),
            nn.Dropout(0.1),
            nn.Linear(8 * 49, num_classes),
        )


class Listener(CurrentTrial):
    """A trial that remembers what it was told, and does something after one epoch."""

    def __init__(self, *previous: Path, after: int = 0, act: Any = None) -> None:
        self.number = 7
        self.previous_folders = previous
        self._after, self._act = after, act
        self.reports: list[tuple[int, float]] = []
        self.attrs: dict[str, Any] = {}

    def report(self, value: float, step: int) -> None:
        self.reports.append((step, value))
        if step == self._after:
            self._act()

    def set_user_attr(self, key: str, value: Any) -> None:
        json.dumps(value)
        self.attrs[key] = value


def prune() -> None:
    raise optuna.TrialPruned("enough")


def terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


@pytest.fixture
def composed():
    allow(["test_app"])
    register_schema()
    with initialize_config_dir(config_dir=str(config_dir())):
        yield lambda *overrides: compose(
            "config", overrides=list(overrides), return_hydra_config=True
        )
    HydraConfig.instance().cfg = None
    torch.use_deterministic_algorithms(False)


def inside_job(cfg: DictConfig, folder: Path) -> DictConfig:
    """What run_job sets before it calls a task; returns the task's own part."""
    with read_write(cfg), open_dict(cfg):
        cfg.hydra.runtime.output_dir = str(folder)
        HydraConfig.instance().set_config(cfg)
        del cfg["hydra"]
    return cfg


@pytest.fixture
def run(composed, tmp_path):
    """Runs a trial in a folder, as a worker would."""

    def call(
        folder: str, *overrides: str, trial: CurrentTrial | None = None, task: Any = None
    ) -> float:
        cfg = inside_job(composed(*overrides), tmp_path / folder)
        task = task or TrialTask()
        with running(trial or Listener()):
            try:
                objective = task(cfg)
            except optuna.TrialPruned:
                task.after_trial(failed=False)
                raise
        if isinstance(task, TrialTask):
            task.after_trial(failed=False)
        return objective

    return call


def result_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "result.json").read_text())


def test_a_trial_tells_every_epoch_and_returns_its_objective(composed, run, tmp_path):
    trial = Listener()
    objective = run("0", *TINY, trial=trial)
    table = pd.read_csv(tmp_path / "0" / "metrics.csv")
    assert trial.reports == list(zip(table["epoch"], table["val_accuracy"], strict=True))
    assert len(trial.reports) == TrialTask().num_reports(composed(*TINY))
    result = result_of(tmp_path / "0")
    assert result["state"] == "COMPLETE"
    assert "resumed_from" not in result
    assert objective == result["objective"] == table["val_accuracy"].max()
    assert trial.attrs["best_epoch"] == result["best"]["epoch"]
    assert trial.attrs["images_per_s"] > 0
    assert trial.attrs["peak_memory_mib"] > 0
    assert (tmp_path / "0" / "best.pt").exists()
    assert not (tmp_path / "0" / "last.pt").exists()


def test_what_is_told_is_the_objectives_metric(run, tmp_path):
    trial = Listener()
    run("0", *TINY, "objective.metric=val_loss", trial=trial)
    table = pd.read_csv(tmp_path / "0" / "metrics.csv")
    assert [value for _, value in trial.reports] == table["val_loss"].tolist()


def test_a_pruned_trial_leaves_its_numbers_and_no_weights(run, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    trial = Listener(after=2, act=prune)
    with pytest.raises(optuna.TrialPruned, match="enough"):
        run("0", *EXACT, trial=trial)
    folder = tmp_path / "0"
    table = pd.read_csv(folder / "metrics.csv")
    result = result_of(folder)
    assert result["state"] == "PRUNED"
    assert table["epoch"].tolist() == [1, 2]
    assert result["objective"] == result["best"]["val_accuracy"] == table["val_accuracy"].max()
    assert result["last"] == table.iloc[-1].to_dict()
    assert result["seconds"] > 0
    assert trial.attrs["best_epoch"] == result["best"]["epoch"]
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["metrics.csv", "rerun.yaml", "result.json"]
    assert caplog.messages.count("pruned after epoch 2") == 1


def assert_same_run(one: Path, other: Path) -> None:
    tables = [pd.read_csv(path / "metrics.csv")[MEASURED] for path in (one, other)]
    pd.testing.assert_frame_equal(*tables, check_exact=True)
    assert result_of(one)["objective"] == result_of(other)["objective"]
    with (
        np.load(one / "predictions.npz") as first,
        np.load(other / "predictions.npz") as second,
    ):
        assert all((first[key] == second[key]).all() for key in first)


def test_an_interrupted_trial_is_taken_up_to_the_same_numbers_bit_for_bit(run, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    whole = Listener()
    run("0", *EXACT, trial=whole)
    with pytest.raises(Stopped, match="SIGTERM"):
        run("1", *EXACT, trial=Listener(after=2, act=terminate))
    assert result_of(tmp_path / "1")["error"]["kind"] == "interrupted"
    # A later attempt was lost before its first checkpoint.
    (tmp_path / "2").mkdir()
    trial = Listener(tmp_path / "missing", tmp_path / "2", tmp_path / "1")
    run("3", *EXACT, trial=trial)
    assert trial.reports == whole.reports
    assert_same_run(tmp_path / "0", tmp_path / "3")
    assert result_of(tmp_path / "3")["resumed_from"] == {
        "folder": str(tmp_path / "1"),
        "epoch": 2,
        "problem": None,
    }
    assert f"goes on from epoch 2 of trial folder {tmp_path / '1'}" in caplog.messages
    # Nobody needs it any more.
    assert not list(tmp_path.rglob("last.pt"))
    assert len(pd.read_csv(tmp_path / "1" / "metrics.csv")) == 2


@pytest.fixture
def interrupted(run, tmp_path) -> Path:
    """An attempt that was interrupted after its first epoch."""
    with pytest.raises(Stopped):
        run("old", *EXACT, trial=Listener(after=1, act=terminate))
    return tmp_path / "old"


@pytest.mark.parametrize(
    ("torn", "override", "problem"),
    [
        (True, "optimizer.lr=0.003", "cannot be read"),
        (False, "optimizer.lr=0.004", "the unfinished run has optimizer.lr=0.003"),
    ],
)
def test_a_checkpoint_that_does_not_fit_costs_its_epochs_and_not_the_trial(
    run, tmp_path, interrupted, caplog, torn, override, problem
):
    if torn:
        (interrupted / "last.pt").write_bytes(b"PK torn")
    trial = Listener(interrupted)
    run("new", *EXACT, override, trial=trial)
    assert [epoch for epoch, _ in trial.reports] == [1, 2, 3, 4]
    told = result_of(tmp_path / "new")["resumed_from"]
    assert (told["folder"], told["epoch"]) == (str(interrupted), 0)
    assert problem in told["problem"]
    assert trial.attrs["resume_problem"] == told["problem"]
    first, second = [one.getMessage() for one in caplog.records if one.levelname == "WARNING"][-2:]
    assert first.startswith(f"cannot go on from trial folder {interrupted}: ")
    assert second == "starts anew: no checkpoint of an earlier attempt can be used"


@pytest.mark.slow
def test_a_bad_checkpoint_costs_only_what_the_attempt_before_it_has_not(
    run, tmp_path, interrupted, caplog
):
    caplog.set_level(logging.INFO)
    whole = Listener()
    run("whole", *EXACT, trial=whole)
    with pytest.raises(Stopped):
        run("later", *EXACT, trial=Listener(interrupted, after=3, act=terminate))
    assert sorted(path.parent.name for path in tmp_path.rglob("last.pt")) == ["later", "old"]
    content = bytearray((tmp_path / "later" / "last.pt").read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "later" / "last.pt").write_bytes(content)
    # What is not read cannot be missed.
    (interrupted / "metrics.csv").unlink()
    trial = Listener(tmp_path / "later", interrupted)
    run("new", *EXACT, trial=trial)
    assert trial.reports == whole.reports
    assert_same_run(tmp_path / "whole", tmp_path / "new")
    told = result_of(tmp_path / "new")["resumed_from"]
    assert (told["folder"], told["epoch"]) == (str(interrupted), 1)
    assert "later/last.pt" in trial.attrs["resume_problem"]
    assert f"goes on from epoch 1 of trial folder {interrupted}" in caplog.messages
    assert not list(tmp_path.rglob("last.pt"))


def no_space(*args: Any, **kwargs: Any) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "file")


def test_a_disk_that_is_full_while_it_trains_does_not_end_the_run(
    run, tmp_path, monkeypatch, caplog
):
    monkeypatch.setattr(RunFolder, "write_metrics", no_space)
    monkeypatch.setattr("resnet_sweep.training.writer.save_tensors", no_space)
    trial = Listener(after=3, act=monkeypatch.undo)
    run("0", *(one for one in EXACT if one != "trainer.epochs=4"), "trainer.epochs=5", trial=trial)
    assert [epoch for epoch, _ in trial.reports] == [1, 2, 3, 4, 5]
    assert len(pd.read_csv(tmp_path / "0" / "metrics.csv")) == 5
    told = [one for one in caplog.messages if "a file could not be written: [Errno 28]" in one]
    assert len(told) == 5


@pytest.mark.slow
@pytest.mark.parametrize("method", ["write_predictions", "write_result"])
def test_a_disk_that_is_full_at_the_end_is_named_and_the_checkpoint_stays(
    run, tmp_path, monkeypatch, caplog, method
):
    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, method, no_space)
        with pytest.raises(DiskError, match=r"No space left on device .*: make room") as caught:
            run("0", *EXACT)
    assert TrialTask().failure_kind(caught.value) == "disk"
    assert not (tmp_path / "0" / "predictions.npz").exists() or method == "write_result"
    if method == "write_result":
        assert "how the run ended could not be written: [Errno 28]" in caplog.text
    else:
        assert result_of(tmp_path / "0")["error"]["kind"] == "disk"
    run("1", *EXACT, trial=Listener(tmp_path / "0"))
    assert result_of(tmp_path / "1")["resumed_from"]["epoch"] == 3


def test_a_stop_stays_one_although_nothing_can_be_written(run, monkeypatch, caplog):
    def stop() -> None:
        monkeypatch.setattr(RunFolder, "write_result", no_space)
        monkeypatch.setattr("resnet_sweep.training.writer.save_tensors", no_space)
        terminate()

    with pytest.raises(Stopped, match="SIGTERM"):
        run("0", *EXACT, "trainer.checkpoint_every_s=60", trial=Listener(after=1, act=stop))
    assert "the last finished epoch could not be saved: [Errno 28]" in caplog.text


def test_a_storage_that_is_away_takes_no_checkpoint_with_it(run, tmp_path):
    def report() -> None:
        raise StorageError([Fault("hydra.sweeper.storage", "x", "cannot be reached")])

    with pytest.raises(StorageError, match="cannot be reached"):
        run("0", *EXACT, "trainer.epochs=2", trial=Listener(after=2, act=report))
    assert (tmp_path / "0" / "last.pt").exists()


@pytest.mark.slow
def test_checkpoints_stay_until_the_study_knows_that_the_trial_has_ended(
    composed, tmp_path, interrupted
):
    task = TrialTask()
    for folder in ("new/0", "new/1"):
        with running(Listener(interrupted)):
            task(inside_job(composed(*EXACT), tmp_path / folder))
        # Repeats of one trial: that the second begins tells that the first is known.
        left = sorted(str(path.parent.relative_to(tmp_path)) for path in tmp_path.rglob("last.pt"))
        assert left == [folder, *(["old"] if folder == "new/0" else [])]
    task.after_trial(failed=False)
    assert not list(tmp_path.rglob("last.pt"))


@pytest.mark.slow
@pytest.mark.skipif(os.cpu_count() == 1, reason="needs two cores")
def test_a_trial_goes_on_with_another_number_of_threads_and_says_so(run, tmp_path, interrupted):
    run("new", *EXACT, "trainer.threads=2", trial=Listener(interrupted))
    result = result_of(tmp_path / "new")
    assert (result["resumed_from"]["epoch"], result["threads"]) == (1, 2)
    before, after = (pd.read_csv(path / "metrics.csv") for path in (interrupted, tmp_path / "new"))
    pd.testing.assert_frame_equal(before, after[:1], check_exact=True)
    assert np.isfinite(after["train_loss"]).all()


def test_a_trial_may_be_told_not_to_go_on(run, tmp_path, interrupted):
    run("new", *EXACT, "trainer.resume=never", trial=Listener(interrupted))
    assert "resumed_from" not in result_of(tmp_path / "new")


@pytest.mark.parametrize(
    ("override", "error", "kind"),
    [
        ("optimizer.lr=1e38", NonFiniteLossError, "non_finite"),
        ("optimizer.lr=-1", ConfigError, "config"),
        ("data.num_val=100000", DataError, "data"),
    ],
)
def test_failures_pass_through_after_they_are_written_down(
    run, tmp_path, caplog, override, error, kind
):
    with pytest.raises(error) as caught:
        run("0", *TINY, override)
    assert TrialTask().failure_kind(caught.value) == kind
    result = result_of(tmp_path / "0")
    assert (result["state"], result["error"]["kind"]) == ("FAIL", kind)
    assert str(caught.value) in caplog.messages
    assert math.isnan(run("1", *TINY, override, task=run_trial))
    assert result_of(tmp_path / "1")["error"]["kind"] == kind


def test_what_a_failed_run_came_to_know_is_kept(run, tmp_path):
    with pytest.raises(NonFiniteLossError):
        run("0", *TINY, "optimizer.lr=1e38", "objective.metric=val_loss")
    result = result_of(tmp_path / "0")
    known = {key: result[key] for key in ("metric", "direction", "threads", "num_val_images")}
    assert known == {
        "metric": "best_val_loss",
        "direction": "minimize",
        "threads": 1,
        "num_val_images": 40,
    }
    assert result["num_parameters"] > 0
    assert (tmp_path / "0" / "rerun.yaml").exists()
    # In the same folder again: what is there of another configuration is not left.
    with pytest.raises(DataError):
        run("0", *TINY, "data.num_val=100000")
    result = result_of(tmp_path / "0")
    assert (result["metric"], result["seed"]) == ("best_val_accuracy", 0)
    assert "num_classes" not in result
    assert not (tmp_path / "0" / "rerun.yaml").exists()


def test_facts_of_the_objective_and_of_the_data(run, tmp_path):
    run("0", *TINY, "objective.epoch=last", "data.num_test=20", "model.num_classes=12")
    result = result_of(tmp_path / "0")
    assert (result["metric"], result["direction"]) == ("last_val_accuracy", "maximize")
    # Of the data, although the network has more outputs.
    assert result["num_classes"] == 10
    numbers = [result[f"num_{split}_images"] for split in ("train", "val", "test")]
    assert numbers == [96, 40, 20]
    assert result["chance_accuracy"] == 0.1
    assert result["threads"] == 1


def test_a_run_again_of_an_earlier_ones_values_is_the_same_run(composed, run, tmp_path):
    run("0", *EXACT, "data.num_test=20")
    pinned = OmegaConf.load(tmp_path / "0" / "rerun.yaml")
    del pinned["defaults"]
    again = OmegaConf.merge(composed(*EXACT), pinned)
    assert isinstance(again, DictConfig)
    with running(Listener()):
        TrialTask()(inside_job(again, tmp_path / "1"))
    assert_same_run(tmp_path / "0", tmp_path / "1")


def test_images_other_than_those_that_are_asked_for_are_refused(run, tmp_path):
    run("0", *TINY)
    content = result_of(tmp_path / "0")["data_hash"]
    run("1", *TINY, f"data.content='{content}'")
    with pytest.raises(DataError, match=f"the images are others: they hash to {content}"):
        run("2", *TINY, "data.content=another")


def test_a_crash_in_a_trial_leaves_no_checkpoint_and_no_network(run, tmp_path, caplog):
    def crash() -> None:
        raise KeyError("no such thing")

    with pytest.raises(KeyError, match="no such thing") as caught:
        run("0", *EXACT, trial=Listener(after=2, act=crash))
    assert "KeyError: 'no such thing'" in caplog.text
    assert not (tmp_path / "0" / "last.pt").exists()
    TrialTask().after_trial(failed=True)
    # Although the exception is still held.
    assert caught.value is not None
    assert networks() == 0


def networks() -> int:
    return sum(type(one) is Net for one in gc.get_objects())


def test_a_trial_holds_nothing_when_it_has_ended(run):
    gc.collect()
    gc.disable()
    try:
        run("0", *TINY)
        with pytest.raises(optuna.TrialPruned) as caught:
            run("1", *TINY, trial=Listener(after=1, act=prune))
        assert caught.value is not None
        assert networks() == 0
    finally:
        gc.enable()


def test_data_are_opened_once_for_many_trials_until_the_worker_closes(composed, tmp_path):
    task = TrialTask()
    cfg = inside_job(composed(*TINY, "trainer.epochs=1"), tmp_path / "0")
    with running(Listener()):
        task(cfg)
        session = task._session
        task(cfg)
    assert session is not None
    assert task._session is session
    task.close()
    assert task._session is None


@pytest.mark.parametrize(
    ("overrides", "keys"),
    [
        ([], []),
        (["optimizer.lr=-1", "trainer.epochs=0"], ["optimizer.lr", "trainer.epochs"]),
        (["data=cats_dogs", "data.num_val=???"], ["data.num_val"]),
        (["+optimizer.foo=1"], ["optimizer.foo"]),
        (["trainer.epochs=${data.name}"], ["trainer.epochs"]),
        (["trainer.epochs=${no.such}"], ["trainer.epochs"]),
    ],
    ids=str,
)
def test_check_lists_every_fault(composed, overrides, keys):
    faults = TrialTask().check(composed(*overrides))
    assert [fault.key for fault in faults] == keys
    assert all("\n" not in str(fault) for fault in faults)


def test_check_loads_no_torch():
    script = (
        "import sys\n"
        "from hydra import compose, initialize_config_dir\n"
        "from resnet_sweep.app import TrialTask\n"
        "from resnet_sweep.config import register_schema\n"
        "from resnet_sweep.paths import config_dir\n"
        "register_schema()\n"
        "with initialize_config_dir(config_dir=str(config_dir())):\n"
        "    task = TrialTask()\n"
        "    print(len(task.check(compose('config', overrides=['optimizer.lr=-1']))))\n"
        "    task.after_trial(failed=True)\n"
        "print([name for name in ('torch', 'optuna', 'pandas') if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.splitlines() == ["1", "[]"], done.stderr


def test_discard_removes_the_weights_of_all_repeats_and_nothing_else(tmp_path):
    for path in (tmp_path, tmp_path / "0", tmp_path / "1", tmp_path / "other"):
        path.mkdir(exist_ok=True)
        for name in ("best.pt", "last.pt", "metrics.csv"):
            (path / name).touch()
    TrialTask().discard(tmp_path)
    TrialTask().discard(tmp_path / "missing")
    left = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.pt"))
    assert left == ["other/best.pt", "other/last.pt"]
    assert len(list(tmp_path.rglob("*.csv"))) == 4
    assert not (tmp_path / "missing").exists()


def test_what_cannot_change_a_result_is_free():
    assert TrialTask().free_keys == FREE_KEYS
