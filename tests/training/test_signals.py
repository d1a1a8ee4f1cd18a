import os
import signal
import threading

import pytest

from resnet_sweep.training.failures import Stopped
from resnet_sweep.training.signals import StopSignals


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_noted_and_told_when_asked(signum):
    before = signal.getsignal(signum)
    with StopSignals() as signals:
        signals.raise_if_stopped()
        os.kill(os.getpid(), signum)
        with pytest.raises(Stopped, match=signal.Signals(signum).name) as stop:
            signals.raise_if_stopped()
        assert stop.value.signum == signum
        # The next one kills.
        assert signal.getsignal(signal.SIGINT) == signal.SIG_DFL
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    assert signal.getsignal(signum) == before


def test_in_another_thread_it_leaves_the_handlers_alone():
    before = signal.getsignal(signal.SIGTERM)
    found = []

    def enter() -> None:
        with StopSignals() as signals:
            signals.raise_if_stopped()
            found.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert found == [before]


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_late_signal_goes_to_whoever_listened_before(signum):
    heard = []
    before = signal.signal(signum, lambda number, frame: heard.append(number))
    try:
        with StopSignals() as signals:
            os.kill(os.getpid(), signum)
        assert heard == []
        signals.pass_on()
        assert heard == [signum]
    finally:
        signal.signal(signum, before)


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_late_signal_that_nobody_else_listens_to_is_raised(signum):
    with StopSignals() as signals:
        os.kill(os.getpid(), signum)
    with pytest.raises(Stopped):
        signals.pass_on()


def test_without_a_signal_nothing_is_passed_on():
    with StopSignals() as signals:
        pass
    signals.pass_on()
