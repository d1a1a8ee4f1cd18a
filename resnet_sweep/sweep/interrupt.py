"""Being asked to stop by a signal, as an exception and without losing the finally blocks."""

from __future__ import annotations

import signal
from types import FrameType

from resnet_sweep.signals import StopHandlers


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


class CountedSignals(StopHandlers):
    """While entered, SIGINT and SIGTERM are only counted; whoever waits looks at the count.

    Attributes:
        count: How many have come.
        signum: The first one; None before it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.count = 0
        self.signum: int | None = None

    def _note(self, signum: int, frame: FrameType | None) -> None:
        self.count += 1
        self.signum = self.signum or signum
