"""Sweeps on a real Slurm whose jobs are cancelled, put back, killed, and preempted."""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from faults.fault_sweeps import (
    Sweep,
    attempts_of,
    check_whole,
    kill_parent,
    kinds,
    only_study,
    starts,
    sweep,
    trials_of,
    until,
)
from slurm_jobs import SLURM, jobs_of, kill_job, slurm_says

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("slurm")]
THREE = (*SLURM, "hydra.launcher.workers=3")
# Of a job that has not ended.
ANY = ("RUNNING", "PENDING", "COMPLETING")


def num_done(cwd: Path) -> int:
    """Trials of the only study that have ended."""
    try:
        return sum(trial.state.is_finished() for trial in trials_of(only_study(cwd)))
    except ValueError:
        return 0


def lives(folder: Path) -> set[str]:
    """How often Slurm had started the workers again that ran the trials."""
    names = {trial.user_attrs["worker"] for trial in trials_of(folder)}
    return {name.rpartition("-")[0].partition(".")[2] or "0" for name in names}


def set_time_limit(job: str, minutes: int) -> None:
    subprocess.run(["scontrol", "update", f"JobId={job}", f"TimeLimit={minutes}"], check=True)


def is_tidy(folder: Path) -> bool:
    return not (folder / ".slurm").exists() and not list((folder / "sessions").iterdir())


def test_jobs_that_are_cancelled_put_back_and_killed_cost_no_trial(tmp_path):
    seed = random.randrange(10**6)
    print("seed", seed)
    chance = random.Random(seed)
    running = Sweep(tmp_path, *SLURM, "hydra.launcher.workers=6", "x=range(200)", "sleep=0.1")
    until(lambda: num_done(tmp_path) > 10, "a start")
    ways = ["cancel", *["requeue"] * 5, *["kill"] * 3]
    chance.shuffle(ways)
    for way in ways:
        until(lambda: jobs_of(tmp_path) or running.process.poll() is not None, "a job")
        jobs = jobs_of(tmp_path)
        if not jobs:
            break
        job = chance.choice(jobs)
        if way == "kill":
            kill_job(job)
        else:
            slurm_says(*(["scancel"] if way == "cancel" else ["scontrol", "requeue"]), job)
        time.sleep(chance.random())
    assert running.wait() == 0, running.text
    folder = only_study(tmp_path)
    check_whole(tmp_path, folder, 200)
    assert len(lives(folder)) > 1, "no job has come back"
    assert {"lost", "interrupted"} & set(kinds(folder))
    assert not jobs_of(tmp_path, "RUNNING", "PENDING")
    assert is_tidy(folder)


def test_jobs_outlive_their_sweep_and_the_next_counts_watches_and_stops_them(tmp_path):
    command = (*THREE, "x=range(30)", "do=held")
    (tmp_path / "go").write_text("6")
    first = Sweep(tmp_path, *command)
    until(lambda: num_done(tmp_path) >= 3 and len(jobs_of(tmp_path)) == 3, "a start")
    kill_parent(first)
    first.process.wait()
    jobs = jobs_of(tmp_path)
    assert len(jobs) == 3
    slurm_says("scancel", jobs[0])
    done = num_done(tmp_path)
    folder = only_study(tmp_path)
    show = [sys.executable, "-m", "resnet_sweep.status", folder]
    assert "RUNNING" in subprocess.check_output(show, text=True)
    (tmp_path / "go").write_text("12")
    until(lambda: num_done(tmp_path) > done + 2, "progress without a sweep")
    until(lambda: len(jobs_of(tmp_path, *ANY)) == 2, "the end of the cancelled job")

    second = Sweep(tmp_path, *command)
    # One is missing, so one is submitted.
    until(lambda: len(jobs_of(tmp_path, "RUNNING", "PENDING")) == 3, "one more job")
    assert set(jobs[1:]) < set(jobs_of(tmp_path, "RUNNING", "PENDING"))
    until(lambda: "2 workers of an earlier sweep are there" in second.text, "word of them")
    until(lambda: len(jobs_of(tmp_path)) == 3, "all at work")
    second.send(signal.SIGTERM)
    assert second.wait() == 143, second.text
    assert "to go on: python" in second.text
    assert not jobs_of(tmp_path, *ANY)
    assert set(kinds(folder)) <= {"COMPLETE", "interrupted"}
    assert is_tidy(folder)

    (tmp_path / "go").write_text("30")
    third = sweep(tmp_path, *command)
    assert third.process.returncode == 0, third.text
    check_whole(tmp_path, folder, 30)


def test_what_waits_in_the_queue_is_dismissed_when_nothing_is_left(tmp_path):
    # Both nodes together have 16 cores.
    done = sweep(tmp_path, *THREE, "hydra.launcher.cpus_per_task=8", "x=range(6)", "sleep=0.3")
    assert done.process.returncode == 0, done.text
    check_whole(tmp_path, only_study(tmp_path), 6)
    assert not jobs_of(tmp_path, "RUNNING", "PENDING")


def test_who_cancels_all_jobs_ends_the_sweep(tmp_path):
    (tmp_path / "go").write_text("6")
    running = Sweep(tmp_path, *THREE, "x=range(40)", "do=held")
    until(lambda: num_done(tmp_path) >= 3 and len(jobs_of(tmp_path)) == 3, "a start")
    slurm_says("scancel", *jobs_of(tmp_path))
    assert running.wait() == 143, running.text
    assert "all jobs of Slurm were cancelled: the sweep stops" in running.text
    assert "to go on: python" in running.text
    assert set(kinds(only_study(tmp_path))) == {"COMPLETE", "interrupted"}


def test_a_worker_whose_time_is_up_comes_back_and_goes_on(tmp_path):
    # Slurm looks once in half a minute and tells it up to that much early, so that a worker of
    # a short job may not have begun: the time of one that has begun is cut, of its next life not.
    limit = ("hydra.launcher.timeout_min=60", "hydra.launcher.signal_delay_s=600")
    # The first waits; when it is taken up again it takes no time.
    trials = ("x=0,1,2,3", "do=once_held", "when=[0]")
    running = Sweep(tmp_path, *SLURM, "hydra.launcher.workers=1", *limit, *trials)
    until(lambda: starts(tmp_path), "a start")
    (job,) = jobs_of(tmp_path)
    set_time_limit(job, 10)
    until(lambda: num_done(tmp_path), "the word that its time is up")
    set_time_limit(job, 60)
    assert running.wait() == 0, running.text
    folder = only_study(tmp_path)
    check_whole(tmp_path, folder, 4)
    assert lives(folder) == {"0", "1"}
    assert kinds(folder) == ["interrupted", *["COMPLETE"] * 4]
    assert "put itself back into the queue" in next(folder.glob("workers/slurm-*.log")).read_text()


def test_a_training_that_is_preempted_goes_on_from_its_checkpoint(tmp_path):
    overrides = (
        *SLURM,
        "hydra.launcher.workers=1",
        "hydra.launcher.partition=loose",
        *("model=resnet18", "data.num_train=96", "data.num_val=40", "trainer.threads=1"),
        *("trainer.epochs=24", "optimizer.lr=1e-3", "hydra.sweep.dir=sweep"),
        "hydra.sweeper.retry.lost=0",
    )
    running = Sweep(tmp_path, *overrides, app=None)
    folder = tmp_path / "sweep"

    def num_epochs(trial: int) -> int:
        path = folder / "trials" / str(trial) / "metrics.csv"
        return len(path.read_text().splitlines()) - 1 if path.exists() else 0

    # Twice: the second time it is one that was preempted before.
    for trial in (0, 1):
        seen = num_epochs(trial - 1) if trial else 0
        until(lambda t=trial, n=seen: num_epochs(t) > n + 2, "a few epochs")
        slurm_says("sbatch", "--partition=urgent", "--exclusive", "--output=/dev/null", "--wrap=:")
    assert running.wait() == 0, running.text
    trials = trials_of(folder)
    assert kinds(folder) == ["interrupted", "interrupted", "COMPLETE"]
    assert [trial.user_attrs["attempt"] for trial in trials] == [0, 1, 2]
    assert lives(folder) == {"0", "1", "2"}
    # What was trained before was not trained again.
    logs = [(folder / "trials" / str(i) / "train.log").read_text() for i in (1, 2)]
    assert all("goes on" in text for text in logs), logs
    assert num_epochs(2) == 24
    assert len(attempts_of(folder)) == 1


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["hydra.launcher.partition=nowhere"], "invalid partition specified: nowhere"),
        (["hydra.launcher.mem_gb=99999"], "Requested node configuration is not available"),
        (["+hydra.launcher.additional_parameters.nonsense=1"], "unrecognized option"),
    ],
)
def test_what_slurm_refuses_is_told_in_its_words_before_anything_is_written(
    tmp_path, overrides, words
):
    done = sweep(tmp_path, *THREE, "x=1,2", *overrides)
    assert done.process.returncode == 2
    assert "hydra/launcher=slurm: sbatch refuses the jobs: " in done.text
    assert words in done.text
    assert "Traceback" not in done.text
    assert not (tmp_path / "multirun").exists()
