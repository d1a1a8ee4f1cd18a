"""Stopping between two steps when the process is asked to."""

from __future__ import annotations

import signal
from types import FrameType

from resnet_sweep.signals import STOP_SIGNALS, StopHandlers
from resnet_sweep.training.failures import Stopped


class StopSignals(StopHandlers):
    """While entered, the first SIGINT or SIGTERM is noted and the second one kills."""

    def __init__(self) -> None:
        super().__init__()
        self._signum: int | None = None

    def raise_if_stopped(self) -> None:
        """Raises Stopped when a signal has come."""
        if self._signum is not None:
            raise Stopped(self._signum)

    def pass_on(self) -> None:
        """Hands on a signal that came too late for the run: to whoever listened before it.

        Call it after the block.

        Raises:
            Stopped: A signal came, and nobody else listens.
        """
        if self._signum is None:
            return
        if signal.getsignal(self._signum) in (signal.SIG_DFL, signal.default_int_handler):
            raise Stopped(self._signum)
        signal.raise_signal(self._signum)

    def _note(self, signum: int, frame: FrameType | None) -> None:
        self._signum = signum
        if not self.second_kills:
            return
        for other in STOP_SIGNALS:
            signal.signal(other, signal.SIG_DFL)
