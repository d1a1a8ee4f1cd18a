"""Whether a process is still there, asked while it may be vanishing."""

from __future__ import annotations

import psutil


def is_gone(process: psutil.Process) -> bool:
    """Whether it has ended, waited for by its parent or not."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def is_running(pid: int) -> bool:
    """Whether a process of this number is there and has not ended."""
    try:
        return not is_gone(psutil.Process(pid))
    except psutil.NoSuchProcess:
        return False
