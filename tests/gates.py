"""What holds a write up until a test lets it go on."""

from __future__ import annotations

import collections
import threading
from typing import Any


class Gate:
    """Something to be written that holds the write up until it is opened."""

    def __init__(self) -> None:
        self.reached, self.opened = threading.Event(), threading.Event()

    def __reduce__(self) -> tuple[Any, ...]:
        self.reached.set()
        assert self.opened.wait(60)
        return collections.OrderedDict, ()
