"""Killed at each stage of a worker and of a sweep: the same study ends as if nothing had been."""

import pytest
from fault_sweeps import (
    ROOT,
    Stage,
    check_whole,
    come_to,
    sweep,
    trials_of,
)

NAMED = "hydra.sweeper.study_name=named"
QUEUE = "resnet_sweep.study.queue:Queue"
RUNNER = "resnet_sweep.sweep.runner:Runner"
TRIAL = "resnet_sweep.sweep.runner:SweepTrial"
WORKER = [
    Stage("worker", f"{QUEUE}.claim"),
    # With the claim's lock held, before its row is written and after.
    Stage("worker", f"{QUEUE}._start"),
    Stage("worker", f"{QUEUE}._start", "after"),
    Stage("worker", f"{RUNNER}._draw"),
    Stage("worker", f"{RUNNER}._draw", "after"),
    Stage("worker", f"{RUNNER}._configure", "after"),
    Stage("worker", f"{RUNNER}._keep_folder", "after"),
    Stage("worker", f"{RUNNER}._call"),
    Stage("worker", f"{TRIAL}.report"),
    Stage("worker", f"{TRIAL}.report", "after", 2),
    Stage("worker", f"{RUNNER}._tell"),
    Stage("worker", f"{RUNNER}._tell", "after"),
    # Between a trial and the next.
    Stage("worker", f"{RUNNER}.run", "after"),
    Stage("worker", "resnet_sweep.sweep.local.child:leave"),
]


@pytest.mark.slow
def test_a_worker_killed_at_each_of_its_stages_loses_nothing(tmp_path):
    options = ("x=range(5)", "steps=2", "hydra.sweeper.retry.lost=99", NAMED)
    many = ("hydra/launcher=local", "hydra.launcher.workers=1", "hydra.launcher.max_restarts=9")
    done = sweep(tmp_path, *many, *options, stages=WORKER[:-1])
    assert done.process.returncode == 0, done.text
    assert come_to(tmp_path, WORKER) == WORKER[:-1]
    folder = tmp_path / ROOT / "named"
    check_whole(tmp_path, folder, 5)
    ended = [trial for trial in trials_of(folder) if trial.state.name == "COMPLETE"]
    assert sorted(trial.value for trial in ended) == [0.0, 1.0, 2.0, 3.0, 4.0]
