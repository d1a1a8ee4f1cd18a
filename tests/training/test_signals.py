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
