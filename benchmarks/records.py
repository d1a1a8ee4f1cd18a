"""When trials began and ended, written down by the trials themselves, and what follows from it."""

from __future__ import annotations

import heapq
import json
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

# The file that trials write to.
LOG_VARIABLE = "RESNET_SWEEP_BENCHMARK_LOG"
# Trials after the last slot has begun that still warm up.
NUM_WARM = 3


@dataclass(frozen=True)
class Record:
    """One trial.

    Attributes:
        slot: What ran it: a process.
        number: Of the trial.
        begin_s: On a clock that all processes of a machine share.
        end_s: On the same clock.
        sampler_s: Seconds that the process has spent in its sampler until then.
        cpu_s: Processor seconds of the process until then.
    """

    slot: int
    number: int
    begin_s: float
    end_s: float
    sampler_s: float = 0.0
    cpu_s: float = 0.0


@dataclass(frozen=True)
class Cost:
    """What a trial costs, in ms; medians.

    Attributes:
        own_ms: From its beginning to that of the next, without the sampler.
        cpu_ms: The processor's part of it, which other programs of the machine do not slow.
        sampler_ms: The sampler's time.
    """

    own_ms: float
    cpu_ms: float
    sampler_ms: float


def note(number: int, begin_s: float, sampler_s: float = 0.0) -> None:
    """Writes down a trial that ends now, in one write, which others cannot mix with."""
    cpu_s = time.process_time()
    record = Record(os.getpid(), number, begin_s, time.monotonic(), sampler_s, cpu_s)
    line = json.dumps(asdict(record)) + "\n"
    with open(os.environ[LOG_VARIABLE], "a", buffering=len(line) + 1) as stream:
        stream.write(line)


def read(path: Path) -> list[Record]:
    """All records of a file, in the order in which the trials began."""
    records = [Record(**json.loads(line)) for line in path.read_text().splitlines()]
    return sorted(records, key=lambda one: one.begin_s)


def all_begun_s(records: Sequence[Record], num_slots: int) -> float:
    """When every slot had its first trial.

    Args:
        records: In the order of their beginning.
        num_slots: A launcher may replace processes; the first so many count.

    Raises:
        ValueError: Fewer slots have run trials.
    """
    firsts: dict[int, float] = {}
    for one in records:
        firsts.setdefault(one.slot, one.begin_s)
    if len(firsts) < num_slots:
        raise ValueError(f"trials ran in {len(firsts)} processes, not in {num_slots}")
    return sorted(firsts.values())[num_slots - 1]


def overhead_ms(records: Sequence[Record], num_slots: int) -> float:
    """Milliseconds from one trial to the next of a task that takes no time, start-up apart."""
    begun_s = all_begun_s(records, num_slots)
    steady = [one.begin_s for one in records if one.begin_s >= begun_s][NUM_WARM:]
    if len(steady) < 2:
        raise ValueError("too few trials ran after every slot had begun")
    return 1000 * (steady[-1] - steady[0]) / (len(steady) - 1)


def cost_at(records: Sequence[Record], index: int, width: int) -> Cost:
    """What the trials around one cost.

    Args:
        records: Of one slot, in the order of their beginning.
        index: Of the trial, from 0.
        width: So many trials around it are looked at.
    """
    last = min(index + width // 2, len(records) - 1)
    first = max(last - width, 1)
    pairs = [(records[i - 1], records[i]) for i in range(first, last + 1)]
    sampler = [1000 * (b.sampler_s - a.sampler_s) for a, b in pairs]
    total = [1000 * (b.begin_s - a.begin_s) for a, b in pairs]
    cpu = [1000 * (b.cpu_s - a.cpu_s) for a, b in pairs]
    return Cost(
        median(whole - part for whole, part in zip(total, sampler, strict=True)),
        median(whole - part for whole, part in zip(cpu, sampler, strict=True)),
        median(sampler),
    )


def busy_share(records: Sequence[Record], num_slots: int) -> float:
    """Share of the slots' time in trials, from when all have begun until the queue is empty.

    The queue is empty when the last trial is taken from it.
    """
    begin_s = all_begun_s(records, num_slots)
    end_s = records[-1].begin_s
    if end_s <= begin_s:
        raise ValueError("no trial was left when the last slot had begun")
    busy_s = sum(max(0.0, min(one.end_s, end_s) - max(one.begin_s, begin_s)) for one in records)
    return busy_s / (num_slots * (end_s - begin_s))


def list_schedule_s(durations: Sequence[float], opens: Sequence[float]) -> float:
    """When the last trial ends if each is begun, in order, by the slot that is free first.

    Args:
        durations: Seconds of the trials.
        opens: When each slot is there, in seconds.
    """
    free = list(opens)
    heapq.heapify(free)
    last_end_s = 0.0
    for duration in durations:
        end_s = free[0] + duration
        heapq.heapreplace(free, end_s)
        last_end_s = max(last_end_s, end_s)
    return last_end_s


def opening_s(records: Sequence[Record], num_slots: int) -> list[float]:
    """When each slot began its first trial, in seconds after the first of all did."""
    firsts: dict[int, float] = {}
    for one in records:
        firsts.setdefault(one.slot, one.begin_s)
    return sorted(begin_s - records[0].begin_s for begin_s in firsts.values())[:num_slots]
