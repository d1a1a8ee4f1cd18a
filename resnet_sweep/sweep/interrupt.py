"""Being asked to stop by a signal, as an exception and without losing the finally blocks."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(KeyboardInterrupt):
    """A signal asked this process to stop, and it did.

    It is no Exception, so that it ends a sweep as well as the job.

    Attributes:
        signum: The signal; a command that ends for it exits with 128 + signum.
    """

    def __init__(self, signum: int) -> None:
        self.signum = signum
        super().__init__(f"stopped by {signal.Signals(signum).name}")

    def __reduce__(self) -> tuple[type[Interrupted], tuple[int]]:
        return type(self), (self.signum,)


class CountedSignals:
    """While entered, SIGINT and SIGTERM are only counted; whoever waits looks at the count.

    Outside the main thread, where Python cannot handle signals, it does nothing. A signal
    that the process was started to ignore, as a shell's background job is, stays ignored.

    Attributes:
        count: How many have come.
        signum: The first one; None before it.
    """

    def __init__(self) -> None:
        self.count = 0
        self.signum: int | None = None
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> CountedSignals:
        if threading.current_thread() is threading.main_thread():
            for signum in STOP_SIGNALS:
                if signal.getsignal(signum) is not signal.SIG_IGN:
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

    def _note(self, signum: int, frame: FrameType | None) -> None:
        self.count += 1
        self.signum = self.signum or signum
