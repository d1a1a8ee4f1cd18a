"""Sweeps that are stopped by a signal: nothing is lost, and the same command goes on."""

import signal
import time

import pytest
from fault_sweeps import (
    LOCAL,
    ROOT,
    Sweep,
    attempts_of,
    check_whole,
    has_handlers,
    kinds,
    only_study,
    starts,
    studies,
    sweep,
    trials_of,
    until,
)
from processes import is_gone

INT, TERM = signal.SIGINT, signal.SIGTERM
BASIC = ("hydra/launcher=basic",)
WAYS = [
    pytest.param(BASIC, INT, False, id="basic-int"),
    pytest.param(LOCAL, TERM, False, id="local-term", marks=pytest.mark.slow),
    pytest.param(BASIC, TERM, True, id="basic-term-group", marks=pytest.mark.slow),
    pytest.param(LOCAL, INT, True, id="local-int-group", marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("launcher", "signum", "to_group"), WAYS)
def test_an_interrupted_sweep_says_how_to_go_on_and_does(tmp_path, launcher, signum, to_group):
    command = (*launcher, "x=1,2,3", "sleep=0.7")
    running = Sweep(tmp_path, *command)
    until(lambda: len(starts(tmp_path)) >= 2, "the second trial")
    running.send(signum, to_group)
    assert running.wait() == 128 + signum, running.text
    folder = only_study(tmp_path)
    interrupted = [t for t in trials_of(folder) if t.user_attrs.get("failure") == "interrupted"]
    assert interrupted
    assert all(trial.state.is_finished() for trial in trials_of(folder))
    assert "interrupted" in (folder / "results.csv").read_text()
    last = running.text.strip().splitlines()[-1]
    assert "trials are left; to go on: python " in last
    assert last.endswith("x=1,2,3 sleep=0.7")
    assert "Traceback" not in running.text
    assert sweep(tmp_path, *command).process.returncode == 0
    check_whole(tmp_path, only_study(tmp_path), 3)
    for trial in interrupted:
        after = attempts_of(folder)[trial.user_attrs["ticket"]][-1]
        previous = (folder / after.user_attrs["folder"] / "previous").read_text().split()
        assert previous == [str(folder / trial.user_attrs["folder"])]


@pytest.mark.slow
@pytest.mark.parametrize("launcher", [BASIC, LOCAL], ids=["basic", "local"])
def test_a_second_signal_kills(tmp_path, launcher):
    # A task that does not listen to the first one.
    command = (*launcher, "do=deaf,work", "sleep=0.1")
    running = Sweep(tmp_path, *command)
    until(lambda: list(tmp_path.glob(f"{ROOT}/*/0/deaf")), "the deaf trial")
    workers = running.workers()
    running.send(INT)
    time.sleep(0.5)
    assert running.process.poll() is None
    running.send(INT)
    assert running.wait() != 0
    assert all(map(is_gone, workers))
    (tmp_path / "hears").touch()
    again = sweep(tmp_path, *command)
    assert again.process.returncode == 0, again.text
    check_whole(tmp_path, only_study(tmp_path), 2)


@pytest.mark.slow
def test_a_signal_at_any_moment_ends_the_sweep_in_order(tmp_path):
    """From before the plan to behind the table: an exit code that is told, and no traceback."""
    command = ("x=range(4)", "sleep=0.05")
    codes = []
    for num in range(8):
        signum = (INT, TERM)[num % 2]
        running = Sweep(tmp_path, *command)
        until(lambda running=running: has_handlers(running))
        time.sleep(num * 0.1)
        running.send(signum)
        codes.append(running.wait())
        assert codes[-1] in (0, 128 + signum), running.text
        assert "Traceback" not in running.text, running.text
    assert {128 + INT, 128 + TERM} <= set(codes)
    assert sweep(tmp_path, *command).process.returncode == 0
    for folder in studies(tmp_path):
        assert (folder / "results.csv").exists()
        assert set(kinds(folder)) <= {"COMPLETE", "interrupted"}
        attempts = attempts_of(folder)
        assert [trials[-1].state.name for trials in attempts.values()] == ["COMPLETE"] * 4


@pytest.mark.slow
def test_a_task_that_stops_its_own_process_each_time_fails_at_last(tmp_path):
    done = sweep(tmp_path, *LOCAL, "do=SIGTERM,work", "hydra.sweeper.close_slot_after=null")
    folder = only_study(tmp_path)
    assert done.process.returncode == 3, done.text
    ends = [t.user_attrs.get("failure", t.state.name) for t in attempts_of(folder)[0]]
    assert ends == ["interrupted", "lost"] * 3
