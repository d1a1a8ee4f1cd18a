"""How this process's run or sweep ended, and the exit code that tells it."""

from __future__ import annotations

import os
import sys
from enum import IntEnum


class ExitCode(IntEnum):
    """What the process tells its caller; 130 and 143 are left to signals."""

    ALL_ENDED = 0
    BAD_CONFIG = 2
    SOME_FAILED = 3
    NOTHING_COMPLETED = 4


class Verdict:
    """Set by the run, or for a sweep by its table; None as long as nothing has ended.

    Hydra hands no return value from a task or a sweeper to the entrypoint.
    """

    exit_code: ExitCode | None = None


class Typed:
    """What the user typed, the program and its arguments, for the command that goes on."""

    program: tuple[str, ...] = ("python", "-m", "resnet_sweep")
    arguments: tuple[str, ...] = ()


def leave_quietly() -> None:
    """Lets the process end without a traceback when nobody reads its output any more."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        # Python flushes once more on its way out.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
