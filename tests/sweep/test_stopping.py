"""Signals and limits of time, with the real ones."""

import os
import pickle
import signal
import subprocess
import sys
import threading
import time

import pytest

from resnet_sweep.sweep.interrupt import Interrupted
from resnet_sweep.sweep.stopping import StopFlag, TrialTimeoutError

INT, TERM = signal.SIGINT, signal.SIGTERM


def send(signum: int = TERM) -> None:
    os.kill(os.getpid(), signum)


@pytest.mark.parametrize("signum", [INT, TERM])
def test_a_signal_is_raised_in_a_task_and_noted_elsewhere(signum):
    before = signal.getsignal(signum)
    with StopFlag() as stop:
        send(signum)
        assert stop.is_set
        with pytest.raises(Interrupted, match=signal.Signals(signum).name), stop.in_task():
            raise AssertionError("a task begins though a signal has come")
    assert signal.getsignal(signum) is before
    with StopFlag() as stop:
        with pytest.raises(Interrupted) as caught:
            _signalled_in_task(stop, signum)
        assert caught.value.signum == signum
        assert stop.is_set


def _signalled_in_task(stop: StopFlag, signum: int) -> None:
    with stop.in_task():
        send(signum)
        time.sleep(10)


def test_a_shielded_block_ends_before_the_signal_is_raised():
    steps = []

    def write(stop: StopFlag) -> None:
        with stop.in_task():
            with stop.shielded():
                send()
                steps.append("written")
            steps.append("behind")

    with StopFlag() as stop, pytest.raises(Interrupted):
        write(stop)
    assert steps == ["written"]


def test_a_task_inside_a_shielded_block_can_be_interrupted():
    # Behind the shielded block it is not told again.
    with StopFlag() as stop, stop.in_task(), stop.shielded(), pytest.raises(Interrupted):
        _signalled_in_task(stop, TERM)
    with StopFlag() as stop, stop.in_task():
        with stop.shielded(), stop.in_task():
            pass
        with pytest.raises(Interrupted):
            send()


def test_a_task_whose_time_is_up_is_told_once():
    ticks = []
    with StopFlag() as stop, stop.in_task(timeout_s=0.2):
        for seconds in (10, 0.25, 0.01):
            try:
                time.sleep(seconds)
                ticks.append("slept")
            except TrialTimeoutError as error:
                ticks.append(str(error))
    assert ticks == ["ran longer than hydra.sweeper.timeout_s=0.2", "slept", "slept"]
    # Whoever handles what goes wrong with files must not take it for that.
    assert not issubclass(TrialTimeoutError, OSError)
    again = pickle.loads(pickle.dumps(TrialTimeoutError(1.5)))
    assert again.timeout_s == 1.5


def test_who_does_not_end_is_given_up_and_who_does_is_not():
    given_up = threading.Event()
    with StopFlag() as stop:
        with stop.in_task(timeout_s=0.2, grace_s=0.05, give_up=given_up.set):
            with pytest.raises(TrialTimeoutError):
                time.sleep(10)
            assert given_up.wait(10)
        given_up.clear()
        with stop.in_task(timeout_s=0.3, grace_s=0.0, give_up=given_up.set):
            pass
        assert not given_up.wait(0.4)


def test_a_timeout_in_a_shielded_block_comes_behind_it():
    steps = []

    def write(stop: StopFlag) -> None:
        with stop.in_task(timeout_s=0.2):
            with stop.shielded():
                time.sleep(0.25)
                steps.append("written")
            steps.append("behind")

    with StopFlag() as stop, pytest.raises(TrialTimeoutError):
        write(stop)
    assert steps == ["written"]


CHILD = """
import os, signal, sys
from resnet_sweep.sweep.stopping import StopFlag
with StopFlag() as stop:
    os.kill(os.getpid(), signal.SIGTERM)
    print(stop.is_set, flush=True)
    os.kill(os.getpid(), signal.SIG{second})
    print("alive", flush=True)
"""


@pytest.mark.parametrize("second", ["INT", "TERM"])
def test_the_second_signal_kills(second):
    command = [sys.executable, "-c", CHILD.format(second=second)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout == "True\n"
    assert done.returncode == -signal.Signals[f"SIG{second}"]


def test_an_ignored_signal_stays_ignored(monkeypatch):
    before = signal.signal(INT, signal.SIG_IGN)
    try:
        with StopFlag() as stop:
            send(INT)
            assert not stop.is_set
    finally:
        signal.signal(INT, before)


def test_outside_the_main_thread_nothing_is_handled():
    caught = []

    def run() -> None:
        with StopFlag() as stop, stop.in_task(timeout_s=0.01):
            time.sleep(0.05)
            caught.append(stop.is_set)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert caught == [False]
