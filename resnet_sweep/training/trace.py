"""Where the time went in a trace of torch's profiler: pure functions of its events.

The events are those of the chrome trace that torch.profiler writes, times in microseconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from resnet_sweep.training.kinds import (
    CONVOLUTION_BACKWARD,
    CONVOLUTION_FORWARD,
    DATA,
    LINEAR,
    METRICS,
    OPTIMIZER,
    OTHER,
    kind_of_kernel,
    kind_of_operation,
)

Event = Mapping[str, Any]

# Ranges of the loop's own, which are named like a kind.
_RANGES = (DATA, METRICS, OPTIMIZER)
_CONVOLUTIONS = (CONVOLUTION_FORWARD, CONVOLUTION_BACKWARD)
_ON_HOST = ("cpu_op", "user_annotation", "cuda_runtime", "cuda_driver")
_LAUNCHES = ("cuda_runtime", "cuda_driver")
_ON_GPU = ("kernel", "gpu_memcpy", "gpu_memset")


@dataclass
class Busy:
    """How long a device was at work, in seconds.

    Attributes:
        by_kind: By kind of work; together they are the time in which it did anything.
        unknown: What is in the kind "other", by name.
    """

    by_kind: dict[str, float] = field(default_factory=dict)
    unknown: dict[str, float] = field(default_factory=dict)

    @property
    def total_s(self) -> float:
        """In which it did anything."""
        return sum(self.by_kind.values())

    def add(self, kind: str | None, name: str, seconds: float) -> None:
        """Counts something that took ``seconds``; None is other."""
        known = kind or OTHER
        self.by_kind[known] = self.by_kind.get(known, 0.0) + seconds
        if known == OTHER:
            self.unknown[name] = self.unknown.get(name, 0.0) + seconds


def busy_host(events: Iterable[Event], thread_id: int) -> Busy:
    """Time of torch's operations on the CPU, each without the operations that it called.

    Args:
        events: Of a trace.
        thread_id: The thread that trains, as the system numbers it; others work beside it.
    """
    busy = Busy()

    def count(event: Event, kind: str | None, self_s: float) -> None:
        if event["tid"] == thread_id and event["cat"] not in _LAUNCHES:
            busy.add(kind, event["name"], self_s)

    _walk(events, count)
    return busy


def busy_gpu(events: Sequence[Event]) -> Busy:
    """Time of kernels, copies and fills on a GPU.

    A kernel is told by the operation that launched it and by its own name; one of a captured
    step by its name alone. Where two run at the same time, both count for their part of it.

    Args:
        events: Of a trace.
    """
    launchers: dict[int, str | None] = {}

    def remember(event: Event, kind: str | None, self_s: float) -> None:
        if event["cat"] in _LAUNCHES:
            launchers[_correlation(event)] = kind

    _walk(events, remember)
    busy = Busy()
    spans = []
    for event in events:
        if event.get("cat") in _ON_GPU and event.get("ph") == "X":
            kind = _gpu_kind(event["name"], launchers.get(_correlation(event)))
            busy.add(kind, event["name"], event["dur"] / 1e6)
            spans.append((event["ts"], event["ts"] + event["dur"]))
    if busy.total_s > 0:
        share = _union(spans) / 1e6 / busy.total_s
        for seconds in (busy.by_kind, busy.unknown):
            for name in seconds:
                seconds[name] *= share
    return busy


def _gpu_kind(name: str, launcher: str | None) -> str | None:
    by_name = kind_of_kernel(name)
    if launcher in _RANGES:
        return launcher
    if launcher in _CONVOLUTIONS and by_name in (None, LINEAR, *_CONVOLUTIONS):
        return launcher
    return by_name or launcher


def _walk(events: Iterable[Event], visit: Callable[[Event, str | None, float], None]) -> None:
    """Visits what ran on the host, with its kind and the seconds without what it called.

    The kind is that of a range or of the optimizer around it, else its own, else that of the
    next one around it.
    """
    threads: dict[Any, list[Event]] = {}
    for event in events:
        if event.get("ph") == "X" and event.get("cat") in _ON_HOST:
            threads.setdefault(event["tid"], []).append(event)
    for thread in threads.values():
        # What is around something else begins before it, or with it and ends later.
        thread.sort(key=lambda event: (event["ts"], -event["dur"]))
        _walk_thread(thread, visit)


@dataclass
class _Open:
    event: Event
    kind: str | None
    inner_us: float = 0.0

    @property
    def end(self) -> float:
        return float(self.event["ts"] + self.event["dur"])


def _walk_thread(
    events: Sequence[Event], visit: Callable[[Event, str | None, float], None]
) -> None:
    stack: list[_Open] = []

    def close() -> None:
        done = stack.pop()
        visit(done.event, done.kind, max(0.0, done.event["dur"] - done.inner_us) / 1e6)

    for event in events:
        while stack and stack[-1].end <= event["ts"]:
            close()
        around = stack[-1].kind if stack else None
        if stack:
            # Rounding may let it end after what it is in.
            stack[-1].inner_us += min(event["dur"], stack[-1].end - event["ts"])
        stack.append(_Open(event, _host_kind(event, around)))
    while stack:
        close()


def _host_kind(event: Event, around: str | None) -> str | None:
    if around in _RANGES or event["cat"] in _LAUNCHES:
        return around
    name = event["name"]
    if event["cat"] == "user_annotation" and name in _RANGES:
        return str(name)
    return kind_of_operation(name) or around


def _correlation(event: Event) -> int:
    return int(event.get("args", {}).get("correlation", -1))


def _union(spans: list[tuple[float, float]]) -> float:
    """Length of what the spans cover together."""
    covered, reached = 0.0, float("-inf")
    for start, end in sorted(spans):
        covered += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return covered
