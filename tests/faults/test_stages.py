"""Killed at each stage of a worker and of a sweep: the same study ends as if nothing had been."""

import pytest
from fault_sweeps import (
    ROOT,
    Stage,
    check_whole,
    come_to,
    only_study,
    studies,
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
]


@pytest.mark.slow
def test_a_worker_killed_at_each_of_its_stages_loses_nothing(tmp_path):
    options = ("x=range(5)", "steps=2", "hydra.sweeper.retry.lost=99", NAMED)
    many = ("hydra/launcher=local", "hydra.launcher.workers=1", "hydra.launcher.max_restarts=9")
    done = sweep(tmp_path, *many, *options, stages=WORKER)
    assert done.process.returncode == 0, done.text
    assert come_to(tmp_path, WORKER) == WORKER
    folder = tmp_path / ROOT / "named"
    check_whole(tmp_path, folder, 5)
    ended = [trial for trial in trials_of(folder) if trial.state.name == "COMPLETE"]
    assert sorted(trial.value for trial in ended) == [0.0, 1.0, 2.0, 3.0, 4.0]


ENGINE = "resnet_sweep.sweep.engine"
REPORT = "resnet_sweep.report.report:Report"
# In the order in which a sweep comes to them.
PARENT = [
    Stage("parent", f"{ENGINE}:Engine._check"),
    Stage("parent", "resnet_sweep.sweep.frozen:freeze", "after"),
    Stage("parent", f"{ENGINE}:Engine._study", "after"),
    Stage("parent", "resnet_sweep.study.sessions:Session.begin", "after"),
    Stage("parent", f"{ENGINE}:Engine._write_multirun", "after"),
    Stage("parent", "resnet_sweep.sweep.local.pool:Pool.run"),
    Stage("parent", "resnet_sweep.sweep.local.pool:Pool.run", "after"),
    # A table half written, and all but the last of what a sweep writes.
    Stage("parent", "resnet_sweep.report.files:line_of", nth=2),
    Stage("parent", f"{REPORT}.write_tables", "after"),
    Stage("parent", f"{REPORT}.write_best", "after"),
    Stage("parent", "resnet_sweep.sweep.ending:_write_best"),
    Stage("parent", "resnet_sweep.sweep.ending:_write_best", "after"),
    Stage("parent", "resnet_sweep.study.sessions:Session.end"),
]


@pytest.mark.slow
def test_a_sweep_killed_at_each_of_its_stages_is_gone_on_with(tmp_path):
    command = ("x=1,2", NAMED, "hydra/launcher=local", "hydra.launcher.workers=1")
    for number, stage in enumerate(PARENT, start=1):
        killed = sweep(tmp_path, *command, stages=PARENT)
        assert killed.process.returncode == -9, (stage, killed.text)
        assert come_to(tmp_path, PARENT) == PARENT[:number]
    done = sweep(tmp_path, *command, stages=PARENT)
    assert done.process.returncode == 0, done.text
    folder = tmp_path / ROOT / "named"
    check_whole(tmp_path, folder, 2)
    # The workers of the first that was killed among them were at work.
    assert len(trials_of(folder)) <= 3
    assert not list(folder.rglob(".*.tmp"))
    assert not list(folder.glob("sessions/*"))


@pytest.mark.slow
def test_an_unnamed_sweep_killed_behind_its_last_trial_is_found_until_its_tables_are_whole(
    tmp_path,
):
    stages = [PARENT[7], PARENT[11]]
    for _ in stages:
        assert sweep(tmp_path, "x=1,2", stages=stages).process.returncode == -9
    done = sweep(tmp_path, "x=1,2", stages=stages)
    assert done.process.returncode == 0, done.text
    assert "all 2 trials are done already" in done.text
    check_whole(tmp_path, only_study(tmp_path), 2)
    # It has come to its end, so the same command begins another.
    assert sweep(tmp_path, "x=1,2").process.returncode == 0
    assert len(studies(tmp_path)) == 2
