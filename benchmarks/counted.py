"""Runs a command and writes down what it cost, with all that it left running.

    python -I counted.py REPORT COMMAND...

Processes that a command leaves behind would take their processor seconds with them: they are
adopted and waited for. What still runs some seconds later is not counted. A program of its own,
because whoever adopts processes must have no children of other kinds.
"""

import ctypes
import json
import os
import resource
import subprocess
import sys
import time

_ADOPT_ORPHANS = 36  # PR_SET_CHILD_SUBREAPER of Linux's prctl.h
_GRACE_S = 10.0


def main() -> int:
    """Runs it; returns its exit code."""
    report, *command = sys.argv[1:]
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:
        prctl(_ADOPT_ORPHANS, 1, 0, 0, 0)
    began_s = time.monotonic()
    code = subprocess.run(command).returncode
    ended_s = time.monotonic()
    while time.monotonic() < ended_s + _GRACE_S:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            break
        if pid == 0:
            time.sleep(0.02)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    with open(report, "w") as stream:
        cost = {"began_s": began_s, "ended_s": ended_s, "cpu_s": used.ru_utime + used.ru_stime}
        json.dump(cost, stream)
    return code


if __name__ == "__main__":
    sys.exit(main())
