"""Runs a command and writes down what it cost, with all that it left running.

    python -I counted.py REPORT COMMAND...

Processes that a command leaves behind would take their processor seconds with them: they are
adopted and waited for. What still runs some seconds later is not counted. A program of its own,
because whoever adopts processes must have no children of other kinds.

The system forgets the seconds of processes whose parent ignores their end, as Ray's does. All are
looked at twice a second as well, and the larger sum of the two counts.
"""

import ctypes
import json
import os
import resource
import subprocess
import sys
import threading
import time

_ADOPT_ORPHANS = 36  # PR_SET_CHILD_SUBREAPER of Linux's prctl.h
_GRACE_S = 10.0
_LOOK_EVERY_S = 0.5


def main() -> int:
    """Runs it; returns its exit code."""
    report, *command = sys.argv[1:]
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:
        prctl(_ADOPT_ORPHANS, 1, 0, 0, 0)
    seen_s: dict[tuple[str, str], float] = {}
    over = threading.Event()
    looker = threading.Thread(target=_look, args=(seen_s, over), daemon=True)
    looker.start()
    began_s = time.monotonic()
    code = subprocess.run(command).returncode
    ended_s = time.monotonic()
    over.set()
    looker.join()
    while time.monotonic() < ended_s + _GRACE_S:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            break
        if pid == 0:
            time.sleep(0.02)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    with open(report, "w") as stream:
        cpu_s = max(used.ru_utime + used.ru_stime, sum(seen_s.values()))
        json.dump({"began_s": began_s, "ended_s": ended_s, "cpu_s": cpu_s}, stream)
    return code


def _look(seen_s: dict[tuple[str, str], float], over: threading.Event) -> None:
    """Notes the seconds of every process below this one, by its number and its start."""
    while not over.wait(_LOOK_EVERY_S):
        stats = _stats()
        below = {str(os.getpid())}
        # Parents mostly have smaller numbers; what is missed now is seen the next time.
        for pid in sorted(stats, key=int):
            if stats[pid][1] in below:
                below.add(pid)
                ticks = int(stats[pid][11]) + int(stats[pid][12])
                seen_s[pid, stats[pid][19]] = ticks / os.sysconf("SC_CLK_TCK")


def _stats() -> dict[str, list[str]]:
    """Of every process what Linux's /proc says after its name; nothing elsewhere."""
    found = {}
    for pid in filter(str.isdecimal, os.listdir("/proc") if os.path.isdir("/proc") else ()):
        try:
            with open(f"/proc/{pid}/stat") as stream:
                found[pid] = stream.read().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue  # It has ended meanwhile.
    return found


if __name__ == "__main__":
    sys.exit(main())
