"""How values, numbers and times are written where a person reads them. Light to import."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from resnet_sweep.study.reading import Snapshot, Ticket

_MINUTE, _HOUR, _DAY = 60, 3600, 86400


def one_line(value: object, limit: int | None = None) -> str:
    """A value as it would be typed, in one line and without what a terminal would obey.

    Args:
        value: Anything.
        limit: Longer texts lose their middle; None keeps all.
    """
    if value is None or isinstance(value, bool):
        text = {None: "null", True: "true", False: "false"}[value]
    elif isinstance(value, float):
        text = f"{value:.4g}"
    else:
        text = "".join(
            char if char.isprintable() else char.encode("unicode_escape").decode("ascii")
            for char in str(value)
        )
    if limit is not None and len(text) > limit:
        # Paths differ at their ends, names at their beginnings.
        head = (limit - 1) // 2
        text = f"{text[:head]}…{text[len(text) - (limit - 1 - head) :]}"
    return text


def number(value: float) -> str:
    """A measured number: four decimals, unless it is too small or too large for that."""
    if not math.isfinite(value) or value == 0 or 1e-3 <= abs(value) < 1e5:
        return f"{value:.4f}"
    return f"{value:.4g}"


def duration(seconds: float) -> str:
    """A time in two units at most."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    if seconds < 2 * _MINUTE:
        return f"{seconds:.0f} s"
    if seconds < _HOUR:
        return f"{seconds / _MINUTE:.0f} min"
    if seconds < _DAY:
        minutes = round(seconds / _MINUTE)
        return f"{minutes // 60} h {minutes % 60} min"
    hours = round(seconds / _HOUR)
    return f"{hours // 24} d {hours % 24} h"


def short_keys(keys: Iterable[str]) -> dict[str, str]:
    """For each dotted key its shortest end that no other key has."""
    keys = list(keys)
    ends = {key: [key.split(".", i)[-1] for i in range(key.count("."), -1, -1)] for key in keys}
    uses: dict[str, int] = {}
    for candidates in ends.values():
        for end in candidates:
            uses[end] = uses.get(end, 0) + 1
    return {
        key: next((end for end in candidates if uses[end] == 1), key)
        for key, candidates in ends.items()
    }


def values_text(values: Mapping[str, Any], names: Mapping[str, str] | None = None) -> str:
    """Parameters as overrides, long values shortened.

    Args:
        values: Of a ticket.
        names: What to write for a key, from ``short_keys``; None writes the keys.
    """
    return " ".join(
        f"{one_line(names.get(key, key) if names else key)}={one_line(value, 32)}"
        for key, value in values.items()
    )


def objective_text(ticket: Ticket) -> str:
    """The objective, or several with commas between them; empty where there is none."""
    values = ticket.last.values if ticket.last is not None else None
    return ", ".join(map(number, values or []))


def progress_text(snapshot: Snapshot, num_done: int | None = None) -> str:
    """``4/6 done, best 0.9778 (trial 2), about 3 min left``.

    Args:
        snapshot: Of the study.
        num_done: When the line that this ends was true, if that is less than now.
    """
    done = snapshot.num_done if num_done is None else num_done
    parts = [f"{done}/{snapshot.total} done"]
    if len(snapshot.maximize) == 1:
        parts += [
            f"best {objective_text(ticket)} (trial {ticket.last.number})"
            for ticket in snapshot.best
            if ticket.last is not None
        ]
    elif snapshot.best:
        parts.append(f"{len(snapshot.best)} on the Pareto front")
    if snapshot.left_s is not None:
        parts.append(f"about {duration(snapshot.left_s)} left")
    return ", ".join(parts)
