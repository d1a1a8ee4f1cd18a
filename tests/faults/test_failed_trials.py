"""Failures cost one trial each, and are told apart."""

import re

import pytest
from fault_sweeps import (
    LOCAL,
    attempts_of,
    kinds,
    only_study,
    starts,
    sweep,
    trials_of,
)

from resnet_sweep.study.reading import read_study


def _lone(kind: str, folder) -> dict:
    (trial,) = (t for t in trials_of(folder) if t.user_attrs.get("failure") == kind)
    return trial.user_attrs


def test_an_exception_costs_one_trial_and_its_traceback_is_kept(tmp_path):
    done = sweep(tmp_path, "x=1,2,3", "do=exception", "when=[2]")
    folder = only_study(tmp_path)
    assert done.process.returncode == 3, done.text
    assert kinds(folder) == ["COMPLETE", "exception", "COMPLETE"]
    attrs = trials_of(folder)[1].user_attrs
    assert attrs["error"] == "RuntimeError: as asked in two lines"
    assert re.search(r"in _raise\n.*raise error\nRuntimeError: as asked", attrs["traceback"])
    assert attrs["traceback"].strip().splitlines()[-1] == "in two lines"
    log = (folder / attrs["folder"] / "app.log").read_text()
    assert "RuntimeError: as asked" in log
    assert "in _raise" in log
    assert "RuntimeError: as asked in two lines" in (folder / "results.csv").read_text()


def test_kinds_of_failure_are_told_apart_in_one_process(tmp_path):
    bad = ["memory", "oom", "sys_exit", "none", "not_a_number", "infinite"]
    bad += ["text", "digits", "two"]
    done = sweep(tmp_path, f"do={','.join(bad)},report_nan,sleep", "hydra.sweeper.timeout_s=1.5")
    folder = only_study(tmp_path)
    assert done.process.returncode == 3, done.text
    assert kinds(folder) == [
        *["out_of_memory"] * 2,
        "exception",
        *["bad_value"] * 6,
        "COMPLETE",
        "timeout",
    ]
    errors = [t.user_attrs.get("error") for t in trials_of(folder)]
    assert errors[2] == "TaskExitError: the task called sys.exit(0)"
    assert errors[3] == "returned None, which is no number"
    assert errors[7] == "returned '3.5', which is no number"
    assert errors[10] == "TrialTimeoutError: ran longer than hydra.sweeper.timeout_s=1.5"


@pytest.mark.slow
def test_several_objectives_need_as_many_numbers(tmp_path):
    options = ("hydra.sweeper.direction=[minimize,maximize]", "do=two,work,text,none")
    done = sweep(tmp_path, *options)
    assert done.process.returncode == 3, done.text
    assert kinds(only_study(tmp_path)) == ["COMPLETE", *["bad_value"] * 3]


@pytest.mark.slow
def test_workers_that_die_cost_their_trial_only_and_are_retried_twice(tmp_path):
    ways = "os_exit,SIGKILL,SIGSEGV"
    options = (f"do={ways}", "x=1,2", "when=[2]", "hydra.sweeper.close_slot_after=null")
    done = sweep(tmp_path, *LOCAL, *options)
    folder = only_study(tmp_path)
    assert done.process.returncode == 3, done.text
    for trials in attempts_of(folder).values():
        ends = [t.user_attrs.get("failure", t.state.name) for t in trials]
        assert ends in (["COMPLETE"], ["lost"] * 3)
    told = {t.user_attrs["error"] for t in trials_of(folder) if "error" in t.user_attrs}
    # The other worker may notice a death before their parent does.
    assert told - {"lost: its worker ended without a word"} == {
        "lost: its worker ended with exit code 7",
        "lost: its worker was killed by SIGKILL, as the system does when memory runs out",
        "lost: its worker was killed by SIGSEGV",
    }
    assert not list((folder / "workers").glob("*.end"))
    snapshot = read_study(folder)
    assert snapshot.counts["COMPLETE"] == snapshot.counts["FAIL"] == 3


@pytest.mark.slow
def test_a_lost_trial_is_tried_again_and_an_exception_when_asked(tmp_path):
    retry = "hydra.sweeper.retry={exception:1}"
    options = ("do=once_SIGKILL,once_exception,exception", retry)
    done = sweep(tmp_path, *LOCAL, *options)
    folder = only_study(tmp_path)
    assert done.process.returncode == 3, done.text
    ends = {
        ticket: [t.user_attrs.get("failure", t.state.name) for t in trials]
        for ticket, trials in attempts_of(folder).items()
    }
    assert ends == {
        0: ["lost", "COMPLETE"],
        1: ["exception", "COMPLETE"],
        2: ["exception", "exception"],
    }
    last = attempts_of(folder)[0][-1]
    previous = (folder / last.user_attrs["folder"] / "previous").read_text().split()
    assert previous == [str(folder / attempts_of(folder)[0][0].user_attrs["folder"])]


@pytest.mark.slow
@pytest.mark.parametrize("what", ["swallow", "blocked", "stuck"])
def test_a_task_that_does_not_stop_is_ended_with_its_worker(tmp_path, what):
    limits = ("hydra.sweeper.timeout_s=1", "hydra.sweeper.timeout_grace_s=0.5")
    done = sweep(tmp_path, *LOCAL, f"do={what},work", *limits)
    folder = only_study(tmp_path)
    assert done.process.returncode == 3, done.text
    assert sorted(kinds(folder)) == ["COMPLETE", "timeout"]
    assert "timeout" in _lone("timeout", folder)["error"].lower()


def test_a_slot_that_fails_at_once_is_closed_and_what_it_burnt_runs_elsewhere(tmp_path):
    options = ("x=range(9)", "do=cpu1", "hydra.sweeper.close_slot_after=3")
    done = sweep(tmp_path, *LOCAL, *options)
    folder = only_study(tmp_path)
    assert done.process.returncode == 0, done.text
    assert "slot cpu1 was closed: 3 trials in a row failed at once on it" in done.text
    attempts = attempts_of(folder)
    assert [trials[-1].state.name for trials in attempts.values()] == ["COMPLETE"] * 9
    burnt = [trials for trials in attempts.values() if len(trials) > 1]
    assert len(burnt) == 3
    assert {trials[0].user_attrs["slot"] for trials in burnt} == {"cpu1"}
    assert {trials[-1].user_attrs["slot"] for trials in burnt} == {"cpu0"}


@pytest.mark.slow
def test_the_last_open_slot_is_never_closed(tmp_path):
    options = ("x=range(8)", "do=exception", "hydra.sweeper.close_slot_after=2")
    done = sweep(tmp_path, *LOCAL, *options)
    folder = only_study(tmp_path)
    assert done.process.returncode == 4, done.text
    assert sorted(attempts_of(folder)) == list(range(8))
    # What the first slot burnt before the second had failed as often is tried once more.
    assert max(len(trials) for trials in attempts_of(folder).values()) <= 2


@pytest.mark.slow
def test_too_many_failures_end_the_sweep(tmp_path):
    options = ("x=range(10)", "do=exception", "hydra.sweeper.max_failure_rate=0.2")
    done = sweep(tmp_path, *options)
    assert done.process.returncode == 4, done.text
    assert kinds(only_study(tmp_path)) == ["exception"] * 3
    assert "hydra.sweeper.max_failure_rate=0.2 allows" in done.text
    assert len(starts(tmp_path)) == 3


@pytest.mark.slow
def test_a_broken_device_costs_its_process(tmp_path):
    task = "hydra.sweeper.task=fault_task.FaultTask"
    done = sweep(tmp_path, *LOCAL, task, "x=range(6)", "do=device", "when=[1,2,3]", "sleep=0.1")
    folder = only_study(tmp_path)
    assert done.process.returncode == 3, done.text
    assert sorted(kinds(folder)) == [*["COMPLETE"] * 3, *["device"] * 3]
    assert len({pid for *_, pid in starts(tmp_path)}) >= 4
