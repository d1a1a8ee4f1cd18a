"""A clock that is set back, for the processes that are told so, and for nothing else of them.

libfaketime would do, were it not that time.sleep fails with a clock that it leaves alone, and
that threads wait for hours with one that it does not.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

_SOURCE = """
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static long back_s(void) {
    const char *text = getenv("CLOCK_BACK_S");
    return text ? atol(text) : 0;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    int failed = syscall(SYS_clock_gettime, clock, now);
    if (!failed && clock == CLOCK_REALTIME) now->tv_sec -= back_s();
    return failed;
}

int gettimeofday(struct timeval *now, void *zone) {
    struct timespec precise;
    clock_gettime(CLOCK_REALTIME, &precise);
    now->tv_sec = precise.tv_sec;
    now->tv_usec = precise.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *into) {
    struct timespec precise;
    clock_gettime(CLOCK_REALTIME, &precise);
    if (into) *into = precise.tv_sec;
    return precise.tv_sec;
}
"""


def set_back(folder: Path, seconds: int) -> dict[str, str] | None:
    """Environment of a process whose clock is set back; None where there is no C compiler.

    Args:
        folder: Where the library is built that does it.
        seconds: How far.
    """
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        return None
    library = folder / "clock_back.so"
    if not library.exists():
        command = [compiler, "-shared", "-fPIC", "-O1", "-xc", "-", "-o", str(library)]
        subprocess.run(command, input=_SOURCE, text=True, check=True)
    return {"LD_PRELOAD": str(library), "CLOCK_BACK_S": str(seconds)}
