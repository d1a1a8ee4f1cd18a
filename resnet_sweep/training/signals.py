"""Stopping between two steps when the process is asked to."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

from resnet_sweep.training.failures import Stopped


class StopSignals:
    """While entered, the first SIGINT or SIGTERM is noted and the second one kills.

    Outside the main thread, where Python cannot handle signals, it does nothing.
    """

    def __init__(self) -> None:
        self._signum: int | None = None
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():
            for signum in (signal.SIGINT, signal.SIGTERM):
                self._previous[signum] = signal.signal(signum, self._note)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for signum, handler in self._previous.items():
            signal.signal(signum, handler)
        self._previous.clear()

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
        for other in (signal.SIGINT, signal.SIGTERM):
            signal.signal(other, signal.SIG_DFL)
