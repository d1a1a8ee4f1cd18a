"""A study at one moment, drawn for a terminal of any size."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING

from resnet_sweep.report.text import (
    beginning,
    duration,
    number,
    objective_text,
    one_line,
    short_keys,
    values_text,
)
from resnet_sweep.study.reading import Snapshot
from resnet_sweep.study.standing import RUNNING, Ticket

if TYPE_CHECKING:
    from rich.console import ConsoleDimensions, Group, RenderableType
    from rich.table import Table
    from rich.text import Text

_STYLES = {"COMPLETE": "green", "PRUNED": "yellow", "FAIL": "red"}
_NUM_LATEST = 4
_NUM_FRONT = 5
# Lines that are needed beside the running trials.
_NUM_OTHER_LINES = 16


def picture(snapshot: Snapshot, size: ConsoleDimensions, elapsed_s: float | None = None) -> Group:
    """Draws how a study stands: what is done, what runs, what ended last and what is best.

    Args:
        snapshot: Of the study.
        size: Of the terminal, in cells.
        elapsed_s: How long the sweep has been at work, if that is known.
    """
    from rich.console import Group

    names = short_keys(_varying(snapshot))
    parts: list[RenderableType] = [_header(snapshot, elapsed_s)]
    if snapshot.running:
        num_rows = max(2, size.height - _NUM_OTHER_LINES)
        parts += [_running(snapshot, names, num_rows, size.width)]
    parts += _lost(snapshot, names)
    parts += _latest(snapshot, names)
    parts += _best(snapshot)
    return Group(*parts)


def _varying(snapshot: Snapshot) -> list[str]:
    """Parameters in which trials differ: a line has no room for others."""
    found: dict[str, set[str]] = {}
    num_with_values = 0
    for ticket in snapshot.tickets:
        num_with_values += bool(ticket.values)
        for key, value in ticket.values.items():
            found.setdefault(key, set()).add(repr(value))
    return [key for key, values in found.items() if len(values) > 1 or num_with_values == 1]


def _header(snapshot: Snapshot, elapsed_s: float | None) -> Text:
    from rich.text import Text

    counts = snapshot.counts
    text = Text(one_line(snapshot.name, 40), style="bold")
    text.append(f"  {snapshot.num_done}/{snapshot.total} done", style="not bold")
    for state, word in (("COMPLETE", "complete"), ("PRUNED", "pruned"), ("FAIL", "failed")):
        style = _STYLES[state] if counts[state] else "dim"
        text.append(f"  {counts[state]} {word}", style=f"not bold {style}")
    times = [] if elapsed_s is None else [duration(elapsed_s)]
    if snapshot.left_s is not None and snapshot.left_s >= 1:
        times.append(f"about {duration(snapshot.left_s)} left")
    if times:
        text.append(f"  {', '.join(times)}", style="not bold")
    return text


def _running(snapshot: Snapshot, names: dict[str, str], num_rows: int, width: int) -> Table:
    from rich.cells import cell_len
    from rich.table import Table
    from rich.text import Text

    shown = snapshot.running
    if len(shown) > num_rows:
        shown = shown[: num_rows - 1]
    rows = [("running", "slot", "step", "value", "time", "parameters")]
    rows += [_running_row(ticket, snapshot.taken_at, names) for ticket in shown]
    if len(shown) < len(snapshot.running):
        rows.append(("...", "", "", "", "", f"{len(snapshot.running) - len(shown)} more"))
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    taken = 0
    for cells in list(zip(*rows, strict=True))[:-1]:
        table.add_column(justify="right", no_wrap=True)
        taken += max(map(cell_len, cells)) + 2
    # Without a limit rich takes cells from all columns alike.
    table.add_column(no_wrap=True, overflow="ellipsis", max_width=max(10, width - taken))
    for i, row in enumerate(rows):
        table.add_row(*map(Text, row), style="dim" if i == 0 else "")
    return table


def _running_row(
    ticket: Ticket, now: datetime, names: dict[str, str]
) -> tuple[str, str, str, str, str, str]:
    assert ticket.last is not None, "a running ticket has a running trial"
    start = ticket.last.datetime_start or now
    step, value = ticket.newest or ("", None)
    return (
        str(ticket.last.number),
        one_line(ticket.last.user_attrs.get("slot", ""), 12),
        str(step),
        "" if value is None else number(value),
        duration(max(0.0, (now - start).total_seconds())),
        values_text(ticket.values, names),
    )


def _lost(snapshot: Snapshot, names: dict[str, str]) -> Iterator[Text]:
    """Trials that run in the study, but nowhere else any more."""
    lost = [
        ticket
        for ticket in snapshot.tickets
        if ticket.last is not None and ticket.last.state.name == RUNNING and ticket.state != RUNNING
    ]
    for ticket in lost[-_NUM_LATEST:]:
        yield _ended(ticket, names)


def _latest(snapshot: Snapshot, names: dict[str, str]) -> Iterator[Text]:
    """The tickets that ended last, newest first."""
    ended = sorted(
        (
            (ticket.last.datetime_complete, ticket.last.number, ticket)
            for ticket in snapshot.tickets
            if ticket.last is not None and ticket.last.datetime_complete is not None
        ),
        key=lambda entry: entry[:2],
        reverse=True,
    )
    for _, _, ticket in ended[:_NUM_LATEST]:
        yield _ended(ticket, names)


def _ended(ticket: Ticket, names: dict[str, str]) -> Text:
    from rich.text import Text

    assert ticket.last is not None
    is_lost = ticket.last.state.name == RUNNING
    state = "LOST" if is_lost else ticket.last.state.name
    text = Text(f"ended {ticket.last.number} ", no_wrap=True, overflow="ellipsis")
    text.append(state, style=_STYLES["FAIL" if is_lost else state])
    parts = [objective_text(ticket.last), beginning(ticket.reason, 40)]
    if "duplicate_of" in ticket.last.user_attrs:
        parts.append(f"as trial {ticket.last.user_attrs['duplicate_of']}")
    if ticket.seconds is not None:
        parts.append(f"({duration(ticket.seconds)})")
    parts.append(values_text(ticket.values, names))
    text.append(" " + " ".join(part for part in parts if part))
    return text


def _best(snapshot: Snapshot) -> Iterator[Text]:
    from rich.text import Text

    if not snapshot.best:
        return
    is_front = len(snapshot.maximize) > 1
    if is_front:
        yield Text(f"best  {len(snapshot.best)} on the Pareto front")
    for ticket in snapshot.best[:_NUM_FRONT]:
        assert ticket.last is not None
        text = Text("      " if is_front else "best  ")
        text.append(objective_text(ticket.last), style="bold")
        text.append(f" (trial {ticket.last.number}) {values_text(ticket.values)}")
        yield text
