"""How one ticket stands, and what follows from all of them. Light to import."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

COMPLETE, PRUNED, FAIL, RUNNING, WAITING = STATES = (
    "COMPLETE",
    "PRUNED",
    "FAIL",
    "RUNNING",
    "WAITING",
)

# A trial that ended like this is always taken up again: it was no fault of its own.
INTERRUPTED = "interrupted"
# Its data were not those of the study: it is run again when they are back.
DATA_CHANGED = "data_changed"
# They could not be used, a broken image for instance: it is run again when that is mended.
DATA = "data"
# It could not write its files: when there is room again.
DISK = "disk"
# What is wrong with where a trial ran and is for the user to mend; its worker takes no other.
PLACE_FAILURES = frozenset({DATA, DATA_CHANGED, DISK})
ALWAYS_AGAIN = PLACE_FAILURES | {INTERRUPTED}


@dataclass(frozen=True)
class Ticket:
    """A planned or drawn trial over all its attempts.

    Attributes:
        ticket: Its number in the plan; below 0 for a trial that is no ticket of a sweep.
        state: One of STATES. A lost or interrupted attempt that will be taken up again
            leaves its ticket WAITING, with a reason.
        values: Of the parameters: as they were drawn, or as planned.
        attempts: Its trials, oldest first.
        last: The newest attempt that has begun, if any.
        reason: Why ``last`` failed: its kind and a message in one line.
    """

    ticket: int
    state: str
    values: Mapping[str, Any]
    attempts: tuple[FrozenTrial, ...] = ()
    last: FrozenTrial | None = None
    reason: str = ""

    @property
    def is_done(self) -> bool:
        """Whether no further attempt will come."""
        return self.state in (COMPLETE, PRUNED, FAIL)

    @property
    def seconds(self) -> float | None:
        """What the last attempt took, once it has ended."""
        return None if self.last is None else seconds_of(self.last)

    @property
    def newest(self) -> tuple[int, float] | None:
        """Step and value of the newest report."""
        values = self.last.intermediate_values if self.last is not None else {}
        return max(values.items()) if values else None


def seconds_of(trial: FrozenTrial) -> float | None:
    """What an ended trial took: as its worker measured it, else by the study's clock."""
    measured = trial.user_attrs.get("seconds")
    if isinstance(measured, int | float):
        return float(measured)
    return trial.duration.total_seconds() if trial.duration is not None else None


def reason_of(trial: FrozenTrial) -> str:
    """Kind and message of a failed trial in one line; empty for all others."""
    if trial.state.name != FAIL:
        return ""
    kind = str(trial.user_attrs.get("failure", "exception"))
    message = " ".join(str(trial.user_attrs.get("error", "")).split())
    if not message or message == kind or message.startswith(f"{kind}:"):
        return message or kind
    return f"{kind}: {message}"


def started(ticket: Ticket) -> datetime:
    """When its last attempt began; long ago where that is not known."""
    return (ticket.last and ticket.last.datetime_start) or datetime.min


def best_of(tickets: Iterable[Ticket], maximize: tuple[bool, ...]) -> tuple[Ticket, ...]:
    """The Pareto front, which for one objective is the first of the best.

    Args:
        tickets: All of a study.
        maximize: For each objective whether more is better.
    """
    signs = [-1 if more else 1 for more in maximize]
    losses: list[tuple[list[float], int, Ticket]] = []
    for ticket in tickets:
        if ticket.state != COMPLETE or ticket.last is None or not _is_feasible(ticket.last):
            continue
        loss = [sign * value for sign, value in zip(signs, ticket.last.values, strict=True)]
        if not any(math.isnan(value) for value in loss):
            losses.append((loss, ticket.last.number, ticket))
    # In this order only an earlier one can dominate a later one.
    losses.sort(key=lambda entry: entry[:2])
    if len(signs) == 1:
        return tuple(ticket for _, _, ticket in losses[:1])
    front: list[tuple[list[float], Ticket]] = []
    for loss, _, ticket in losses:
        if not any(_dominates(other, loss) for other, _ in front):
            front.append((loss, ticket))
    return tuple(ticket for _, ticket in front)


def _is_feasible(trial: FrozenTrial) -> bool:
    return not trial.system_attrs or all(value <= 0 for value in trial.constraints.values())


def _dominates(other: list[float], loss: list[float]) -> bool:
    return other != loss and all(a <= b for a, b in zip(other, loss, strict=True))


def ran_side_by_side(tickets: Iterable[Ticket], num_planned: int) -> bool:
    """Whether a drawn trial began before another had ended."""
    drawn = sorted(
        (trial.datetime_start, trial.datetime_complete or datetime.max)
        for ticket in tickets
        if ticket.ticket >= num_planned
        for trial in ticket.attempts
        if trial.datetime_start is not None
    )
    latest = datetime.min
    for start, end in drawn:
        if start < latest:
            return True
        latest = max(latest, end)
    return False


def left_s(
    tickets: Iterable[Ticket], running: Sequence[Ticket], num_workers: int, now: datetime
) -> float | None:
    """Mean seconds of what has run to an end, times what is open, over the workers.

    Args:
        tickets: All of a study.
        running: Those that run.
        num_workers: Workers alive.
        now: When the study was read.

    Returns:
        None where nothing has run to an end, nothing is open, or nobody works.
    """
    ended = [
        ticket.seconds
        for ticket in tickets
        if ticket.state in (COMPLETE, PRUNED)
        and ticket.last is not None
        and "duplicate_of" not in ticket.last.user_attrs
    ]
    measured = [seconds for seconds in ended if seconds is not None]
    num_open = sum(not ticket.is_done for ticket in tickets)
    if not measured or not num_workers or not num_open:
        return None
    mean = statistics.fmean(measured)
    # What is running has a part of its time behind it.
    behind = sum(min(mean, (now - started(ticket)).total_seconds()) for ticket in running)
    return max(0.0, (mean * num_open - behind) / min(num_workers, num_open))
