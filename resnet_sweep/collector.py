"""Python's garbage collector, kept from looking over and over at what stays."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def loading_modules() -> Iterator[None]:
    """Collects nothing meanwhile, and leaves out of later collections what is there at the end.

    Modules outlive every run. torch makes a million objects, and the collector, which comes
    the more often the more is made, would spend a fifth of the import looking for garbage
    among them, and some 0.1 s more in each full collection afterwards.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_enabled:
            gc.enable()
