"""Leaving nothing behind: a process, and all that it started, end when its parent does.

Run as a file it guards itself and then becomes the command that it is given:
``guard.py PARENT_PID GUARD_FD COMMAND...``. Only the standard library is imported.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

# prctl's number for "send me this signal when my parent dies", of linux/prctl.h.
_PR_SET_PDEATHSIG = 1
# Above any descriptor that a process has that has only just started.
_MAX_INHERITED_FD = 4096


def end_with_parent(parent_pid: int, guard_fd: int) -> None:
    """Ties this process and its whole group to the life of its parent.

    Two ties, since each has a gap. The kernel's signal reaches this process even while it
    computes, but not what it has started, and only on Linux. The guard, a forked process,
    waits for the end of a pipe that the parent holds open, and then kills the group, itself
    included; it also keeps the group's id from being given to somebody else.

    Args:
        parent_pid: The parent, which may have ended already.
        guard_fd: The reading end of a pipe of which only the parent has the writing end.
    """
    if os.getpid() != os.getpgid(0):
        raise RuntimeError("a guarded process must lead a group of its own")
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent_pid:
        os._exit(1)
    middle = os.fork()
    if middle == 0:
        # Forked twice, so that a job that waits for all of its children does not wait for it.
        if os.fork() == 0:
            _kill_group_at_end_of(guard_fd)
        os._exit(0)
    os.waitpid(middle, 0)
    os.close(guard_fd)


def _kill_group_at_end_of(guard_fd: int) -> None:
    try:
        for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(signum, signal.SIG_IGN)
        # A pipe or a file that stays open here would never end for those who read it.
        os.closerange(0, guard_fd)
        os.closerange(guard_fd + 1, _MAX_INHERITED_FD)
        os.read(guard_fd, 1)
        os.killpg(0, signal.SIGKILL)
    finally:
        os._exit(1)


if __name__ == "__main__":
    end_with_parent(int(sys.argv[1]), int(sys.argv[2]))
    os.execvp(sys.argv[3], sys.argv[3:])  # noqa: S606
