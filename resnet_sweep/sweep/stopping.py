"""Ending a trial from outside: a signal of the user's, or its time being up."""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Self

from resnet_sweep.signals import StopHandlers
from resnet_sweep.study.storages.patience import be_brief
from resnet_sweep.sweep.interrupt import Interrupted

# Code that does not let other threads run is ended so long after it should have given up.
KILL_AFTER_S = 5.0


class TrialTimeoutError(RuntimeError):
    """A trial ran longer than hydra.sweeper.timeout_s.

    No TimeoutError, which is an OSError: it may come anywhere, and code that reads and writes
    files takes those for what went wrong with a file.
    """

    def __init__(self, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        super().__init__(f"ran longer than hydra.sweeper.timeout_s={timeout_s:g}")

    def __reduce__(self) -> tuple[type[TrialTimeoutError], tuple[float]]:
        return type(self), (self.timeout_s,)


class StopFlag(StopHandlers):
    """While entered, the first SIGINT or SIGTERM is noted and the second one kills.

    Inside ``in_task`` the first is raised at once, as Python does with Ctrl-C; a task that
    wants to finish its step first handles the signals itself.
    """

    def __init__(self) -> None:
        super().__init__()
        self._signum: int | None = None
        self._raises = False
        self._late: BaseException | None = None

    @property
    def is_set(self) -> bool:
        """Whether a signal has come."""
        return self._signum is not None

    def set(self, signum: int) -> None:
        """Notes a signal that somebody else has caught."""
        be_brief(True)
        self._signum = signum

    def raise_if_set(self) -> None:
        """Raises Interrupted when a signal has come."""
        if self._signum is not None:
            raise Interrupted(self._signum)

    @contextmanager
    def in_task(
        self,
        timeout_s: float | None = None,
        grace_s: float = 0.0,
        give_up: Callable[[], None] | None = None,
    ) -> Iterator[None]:
        """Lets a signal, or the end of a time, raise inside the block.

        Args:
            timeout_s: The block may take so long; then TrialTimeoutError is raised in it.
            grace_s: So long it may take to end then.
            give_up: Called from another thread when it has not; it has to end the process,
                which otherwise is ended soon after.
        """
        self.raise_if_set()
        self._raises = True
        try:
            with self._limited(timeout_s, grace_s, give_up):
                yield
        finally:
            self._raises = False

    @contextmanager
    def shielded(self) -> Iterator[None]:
        """Inside ``in_task``: what must not be torn apart; raises only behind it."""
        raises, self._raises = self._raises, False
        try:
            yield
        finally:
            self._raises = raises
        if raises and self._late is not None:
            late, self._late = self._late, None
            raise late

    @contextmanager
    def _limited(
        self, timeout_s: float | None, grace_s: float, give_up: Callable[[], None] | None
    ) -> Iterator[None]:
        if timeout_s is None:
            yield
            return

        def ring(signum: int, frame: FrameType | None) -> None:
            self._raise(TrialTimeoutError(timeout_s))

        last = threading.Timer(timeout_s + grace_s, give_up) if give_up else None
        handles = threading.current_thread() is threading.main_thread()
        previous = signal.signal(signal.SIGALRM, ring) if handles else None
        if last is not None:
            last.daemon = True
            last.start()
            if sys.__stderr__ is not None:
                # A thread of C, which needs nothing of an interpreter that is stuck.
                faulthandler.dump_traceback_later(
                    timeout_s + grace_s + KILL_AFTER_S, exit=True, file=sys.__stderr__
                )
        if handles:
            signal.setitimer(signal.ITIMER_REAL, timeout_s)
        try:
            yield
        finally:
            if handles:
                signal.setitimer(signal.ITIMER_REAL, 0)
                signal.signal(signal.SIGALRM, previous)
            if last is not None:
                last.cancel()
                faulthandler.cancel_dump_traceback_later()

    def __enter__(self) -> Self:
        be_brief(False)
        return super().__enter__()

    def _note(self, signum: int, frame: FrameType | None) -> None:
        # What waits for a storage gives up soon.
        be_brief(True)
        if self._signum is not None:
            if self.second_kills:
                signal.signal(signum, signal.SIG_DFL)
                os.kill(os.getpid(), signum)
            return
        self._signum = signum
        self._raise(Interrupted(signum))

    def _raise(self, error: BaseException) -> None:
        if self._raises:
            self._raises = False
            raise error
        self._late = error
