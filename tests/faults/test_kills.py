"""Sweeps that are killed: the same command ends with the full budget, and nothing twice."""

import random
import time
from pathlib import Path

import pytest
from fault_sweeps import (
    LOCAL,
    Sweep,
    attempts_of,
    check_whole,
    kill_all,
    kill_parent,
    kill_worker,
    kinds,
    only_study,
    starts,
    studies,
    sweep,
    trials_of,
    until,
)

GRID = ("x=1,2,3,4,5", "y=1,2,3,4,5,6")
DRAWN = ("x=int(interval(0,1000))", "hydra.sweeper.n_trials=30")
KILLS = {"parent": kill_parent, "worker": kill_worker, "everything": kill_all}


def test_a_killed_sweep_goes_on_and_its_finished_trials_are_left_alone(tmp_path):
    command = (*LOCAL, "x=1,2,3", "y=1,2", "sleep=0.2")
    first = Sweep(tmp_path, *command)
    until(lambda: len(starts(tmp_path)) >= 3, "the third trial")
    kill_all(first)
    first.process.wait()
    folder = only_study(tmp_path)
    done = {t.number: t for t in trials_of(folder) if t.state.name == "COMPLETE"}
    assert done
    again = sweep(tmp_path, *command)
    assert again.process.returncode == 0, again.text
    assert f"goes on with the study in multirun/{folder.name}" in again.text
    check_whole(tmp_path, only_study(tmp_path), 6)
    assert done == {number: trials_of(folder)[number] for number in done}
    assert "interrupted" in kinds(folder)


@pytest.mark.slow
def test_a_killed_worker_costs_one_attempt_and_its_slot_is_back(tmp_path):
    running = Sweep(tmp_path, *LOCAL, "x=range(8)", "sleep=0.4", "hydra.sweeper.retry.lost=9")
    # More often than max_restarts: a worker that gets on is started again however often.
    for num in (2, 4, 6, 8):
        until(lambda num=num: len(starts(tmp_path)) >= num, "the next trial")
        until(lambda: len(running.workers()) == 2, "a second worker")
        running.workers()[num % 2].kill()
    assert running.wait() == 0, running.text
    check_whole(tmp_path, only_study(tmp_path), 8)
    assert kinds(only_study(tmp_path)).count("lost") >= 2
    pids = {slot: [p for _, _, s, p in starts(tmp_path) if s == slot] for slot in ("cpu0", "cpu1")}
    assert sum(len(set(found)) for found in pids.values()) > 3


@pytest.mark.slow
@pytest.mark.parametrize("window", ["before", "after"])
def test_a_sweep_killed_around_its_first_trial_goes_on(tmp_path, window):
    command = ("x=1,2", "sleep=0.3")
    first = Sweep(tmp_path, *command)
    marks = ["multirun.yaml"] if window == "before" else ["0/owner"]
    until(lambda: all((f / m).exists() for f in studies(tmp_path)[:1] or [tmp_path] for m in marks))
    kill_parent(first)
    first.process.wait()
    assert sweep(tmp_path, *command).process.returncode == 0
    check_whole(tmp_path, only_study(tmp_path), 2)


@pytest.mark.slow
def test_a_named_study_killed_at_any_moment_of_its_start_is_taken_up(tmp_path):
    command = ("hydra.sweeper.study_name=named", "x=1,2")
    for mark in ("sweep.lock", "conf", "study.journal", "sessions"):
        first = Sweep(tmp_path, *command)
        until(lambda mark=mark: (tmp_path / "multirun" / "named" / mark).exists(), mark)
        kill_parent(first)
        first.process.wait()
    again = sweep(tmp_path, *command)
    assert again.process.returncode == 0, again.text
    check_whole(tmp_path, tmp_path / "multirun" / "named", 2)


def _wait_a_while(running: Sweep, cwd: Path, moments: random.Random) -> None:
    """To somewhere in the start of a sweep, or in one of its first trials."""
    if moments.random() < 0.3:
        time.sleep(moments.uniform(0.1, 1.4))
        return
    wanted = len(starts(cwd)) + moments.randint(1, 2)
    until(lambda: len(starts(cwd)) >= wanted or running.process.poll() is not None)
    time.sleep(moments.uniform(0.0, 0.35))


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("space", [GRID, DRAWN], ids=["grid", "drawn"])
def test_twenty_kills_at_random_moments(tmp_path: Path, space: tuple[str, ...]) -> None:
    seed = random.randrange(1000)
    print(f"seed {seed}")
    moments = random.Random(seed)
    command = (*LOCAL, *space, "sleep=0.3", "hydra.sweeper.retry.lost=9")
    # Ten in each of two spaces.
    for num in range(10):
        running = Sweep(tmp_path, *command)
        _wait_a_while(running, tmp_path, moments)
        name = moments.choice(sorted(KILLS))
        KILLS[name](running)
        if name == "worker":
            # The sweep goes on; then it is killed as well, for the next to have something to do.
            time.sleep(moments.uniform(0.0, 0.5))
            kill_all(running)
        assert running.process.wait() != 0, f"done after {num} kills"
    # Killed while it made its folder, a sweep leaves one without a study.
    done = [folder for folder in studies(tmp_path) if (folder / "multirun.yaml").exists()]
    last = sweep(tmp_path, *command)
    assert last.process.returncode == 0, last.text
    after = [folder for folder in studies(tmp_path) if (folder / "multirun.yaml").exists()]
    assert done == after, last.text
    (folder,) = after
    check_whole(tmp_path, folder, 30)
    assert any(len(found) > 1 for found in attempts_of(folder).values())
