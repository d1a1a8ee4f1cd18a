"""Handlers of the signals that ask a process to stop, for as long as a block runs."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, ClassVar, Self

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopHandlers:
    """While entered, SIGINT and SIGTERM call ``_note``; afterwards whatever they called before.

    Outside the main thread, where Python cannot handle signals, it does nothing. A signal
    that the process was started to ignore, as a shell's background job is, stays ignored.

    Attributes:
        second_kills: Whether the second signal kills this process. Not where another process
            looks after it, which has SIGKILL for that: then the same word may come twice, from
            it and from who speaks to all processes of a job or of a group.
    """

    second_kills: ClassVar[bool] = True

    def __init__(self) -> None:
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Self:
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
        raise NotImplementedError
