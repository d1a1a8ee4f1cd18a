"""How values, numbers and times are written where a person reads them. Light to import."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from resnet_sweep.study.reading import Snapshot
from resnet_sweep.study.standing import reason_of, seconds_of

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

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


def shown_path(path: Path, base: Path) -> str:
    """A path as seen from where the user is, if it is below.

    Args:
        path: Absolute.
        base: Where the user is.
    """
    return str(path.relative_to(base)) if path.is_relative_to(base) else str(path)


def beginning(text: str, limit: int) -> str:
    """A message in one line, cut at its end."""
    text = one_line(text)
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def writable(text: str, stream: TextIO) -> str:
    """The text with what the stream's encoding lacks as escapes."""
    encoding = stream.encoding or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


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


def summary_text(snapshot: Snapshot) -> str:
    """``6 trials: 4 complete, 2 pruned; best 0.9778: trial 2, optimizer.lr=0.001``."""
    counts = [
        f"{snapshot.counts[state]} {state.lower()}"
        for state in ("COMPLETE", "PRUNED", "FAIL", "RUNNING", "WAITING")
        if snapshot.counts[state]
    ]
    trials = "1 trial" if snapshot.total == 1 else f"{snapshot.total} trials"
    text = f"{trials}: {', '.join(counts)}"
    if len(snapshot.maximize) == 1 and snapshot.best and snapshot.best[0].last is not None:
        best = snapshot.best[0]
        assert best.last is not None
        values = f", {values_text(best.values)}" if best.values else ""
        text += f"; best {objective_text(best.last)}: trial {best.last.number}{values}"
    return text


def values_text(values: Mapping[str, Any], names: Mapping[str, str] | None = None) -> str:
    """Parameters as overrides, long values shortened.

    Args:
        values: Of a ticket.
        names: What to write for a key, from ``short_keys``; others are left out. None writes
            all keys as they are.
    """
    return " ".join(
        f"{one_line(names[key] if names is not None else key)}={one_line(value, 32)}"
        for key, value in values.items()
        if names is None or key in names
    )


def objective_text(trial: FrozenTrial | None) -> str:
    """The objective, or several with commas between them; empty where there is none."""
    return ", ".join(map(number, (trial.values if trial is not None else None) or []))


def ended_line(trial: FrozenTrial) -> str:
    """``trial 3 COMPLETE 0.9778 optimizer.lr=0.001 (83 s)``; a failure with its reason."""
    parts = [f"trial {trial.number} {trial.state.name}", objective_text(trial)]
    parts += [beginning(reason_of(trial), 160), values_text(trial.params)]
    if "duplicate_of" in trial.user_attrs:
        parts.append(f"as trial {trial.user_attrs['duplicate_of']}")
    seconds = seconds_of(trial)
    if seconds is not None:
        parts.append(f"({duration(seconds)})")
    return " ".join(part for part in parts if part)


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
            f"best {objective_text(ticket.last)} (trial {ticket.last.number})"
            for ticket in snapshot.best
            if ticket.last is not None
        ]
    elif snapshot.best:
        parts.append(f"{len(snapshot.best)} on the Pareto front")
    if snapshot.left_s is not None and snapshot.left_s >= 1:
        parts.append(f"about {duration(snapshot.left_s)} left")
    return ", ".join(parts)
