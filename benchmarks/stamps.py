"""What follows from the stamps of a command; see ``benchmarks.stamping``."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Stamp:
    """One process got somewhere.

    Attributes:
        pid: Of the process.
        event: What it came to.
        at_s: On a clock that all processes of a machine share.
        facts: What belongs to it.
    """

    pid: int
    event: str
    at_s: float
    facts: dict[str, float]


@dataclass(frozen=True)
class Epoch:
    """The training phase of one epoch.

    Attributes:
        pid: Of the process.
        began_s: When its first step began.
        ended_s: When its last step had ended.
        num_images: That it trained on.
    """

    pid: int
    began_s: float
    ended_s: float
    num_images: int


def read_stamps(path: Path) -> list[Stamp]:
    """All stamps of a file by their time; none where there is no file."""
    lines = path.read_text().splitlines() if path.exists() else []
    return sorted((Stamp(**json.loads(line)) for line in lines), key=lambda one: one.at_s)


def times_of(stamps: Sequence[Stamp], event: str) -> list[float]:
    """When it came to an event, every time.

    Raises:
        RuntimeError: It never did.
    """
    found = [one.at_s for one in stamps if one.event == event]
    if not found:
        raise RuntimeError(f"no process of the command came to {event!r}")
    return found


def epochs_of(stamps: Iterable[Stamp]) -> list[Epoch]:
    """All epochs that were trained, by the time of their end."""
    return [
        Epoch(
            one.pid,
            one.facts["began_s"],
            one.facts["began_s"] + one.facts["seconds"],
            int(one.facts["images"]),
        )
        for one in stamps
        if one.event == "epoch"
    ]


def trials_s(stamps: Iterable[Stamp]) -> list[float]:
    """Seconds of each trial from its first step to its end, with validation and checkpoints."""
    begun: dict[int, float] = {}
    found: list[float] = []
    for one in stamps:
        if one.event == "step":
            begun[one.pid] = one.at_s
        elif one.event == "ended":
            found.append(one.at_s - begun.pop(one.pid))
    return found


def covered_s(spans: Iterable[tuple[float, float]]) -> float:
    """Seconds in which at least one of the spans was."""
    total_s, reached_s = 0.0, float("-inf")
    for began_s, ended_s in sorted(spans):
        total_s += max(0.0, ended_s - max(began_s, reached_s))
        reached_s = max(reached_s, ended_s)
    return total_s


def training_share(stamps: Sequence[Stamp], wall_s: float) -> float:
    """Share of a command's time in which somebody trained."""
    return covered_s((one.began_s, one.ended_s) for one in epochs_of(stamps)) / wall_s


def steady_images_per_s(stamps: Sequence[Stamp], num_workers: int) -> float:
    """Images a second of all workers together, while all are warm and none has run out.

    From when every worker has begun its second trial until the first of them ends its last one;
    what lies between trials counts. Epochs at the window's edges count by the part inside.

    Args:
        stamps: Of one sweep.
        num_workers: That ran it.

    Raises:
        ValueError: A worker ran fewer than two trials, or they were never all at work.
    """
    begun: dict[int, list[float]] = {}
    ended: dict[int, float] = {}
    for one in stamps:
        if one.event == "step":
            begun.setdefault(one.pid, []).append(one.at_s)
        elif one.event == "ended":
            ended[one.pid] = one.at_s
    if len(begun) != num_workers or min(map(len, begun.values())) < 2:
        counts = ", ".join(str(len(times)) for times in begun.values())
        raise ValueError(f"{num_workers} workers should run two trials each at least, not {counts}")
    first_s, last_s = max(times[1] for times in begun.values()), min(ended.values())
    if last_s <= first_s:
        raise ValueError("a worker had run out of trials before all had begun their second one")
    images = 0.0
    for epoch in epochs_of(stamps):
        inside_s = min(epoch.ended_s, last_s) - max(epoch.began_s, first_s)
        images += epoch.num_images * max(0.0, inside_s) / (epoch.ended_s - epoch.began_s)
    return images / (last_s - first_s)
