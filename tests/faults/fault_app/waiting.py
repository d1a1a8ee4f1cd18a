"""What a trial waits for, so that no test hopes that others begin in time on a slow machine."""

import time
from collections.abc import Callable
from pathlib import Path

# Less than a test waits for its sweep, so that the trial can say what is missing.
_PATIENCE_S = 250.0


def together(num: int) -> str:
    """Lets nobody do the work of a short sweep alone: so many processes begin a trial first."""
    return _wait(lambda: len(set(_begun(3))) >= num, f"{num} processes with a trial each")


def held(x: int) -> str:
    """Keeps a sweep from its end, and lets a test say how far it comes.

    The file ``go`` has the first x that still waits.
    """
    return _wait(lambda: x < _num_let_go(), f"a number above {x} in the file go")


def burnt(slot: str) -> str:
    """Leaves trials to a slot that is to fail, which may be late."""
    return _wait(lambda: _begun(2).count(slot) >= 3, f"three trials on {slot}")


def _begun(column: int) -> list[str]:
    return [line.split()[column] for line in Path("starts").read_text().splitlines()]


def _num_let_go() -> int:
    try:
        # Empty while the test writes it.
        return int(Path("go").read_text() or 0)
    except FileNotFoundError:
        return 0


def _wait(condition: Callable[[], bool], what: str) -> str:
    end = time.monotonic() + _PATIENCE_S
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not there within {_PATIENCE_S:g} s")
        time.sleep(0.02)
    return "work"
