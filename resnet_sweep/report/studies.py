"""Rows of a study: from its storage, and from what its trials left on disk."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resnet_sweep.report.columns import Keys, Row
from resnet_sweep.report.published import Published
from resnet_sweep.report.runs import (
    facts_of,
    of_kind,
    read_result,
    read_settings,
)
from resnet_sweep.report.source import (
    Source,
    add_intervals,
    objective_facts,
    objective_names,
)
from resnet_sweep.study.canonical import same
from resnet_sweep.study.folder import StudyFolder
from resnet_sweep.study.reading import Snapshot
from resnet_sweep.study.standing import COMPLETE, PRUNED, STATES, Ticket, reason_of, seconds_of

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

# What the engine itself keeps beside a trial: with its type what has a column of this name.
_OF_THE_ENGINE: dict[str, type | None] = {
    **dict.fromkeys(("attempt", "duplicate_of"), int),
    **dict.fromkeys(("worker", "slot"), str),
    **dict.fromkeys(("ticket", "retry_of", "folder", "seconds", "failure", "error")),
    **dict.fromkeys(("traceback", "repeat_values")),
}
# Our own task tells these, so that optuna-dashboard shows them; a table has them anyway.
_OF_OUR_TASK = {"best_epoch": int, "images_per_s": float, "peak_memory_mib": float}

_ORDER_NOTE = (
    "Workers drew values side by side: these depend on the order in which trials ended, "
    "which is in events.log"
)
_EARLIER_NOTE = (
    "earlier: what the trial had reached in the study that its settings come from, where it was "
    "chosen for it"
)


def study_source(
    snapshot: Snapshot,
    folder: Path | None,
    settings: Sequence[str] | None = (),
    origin: str = "",
) -> Source:
    """A study that has been read already.

    Args:
        snapshot: Of the study.
        folder: Of its sweep, where the trials' folders are; None for a study without one.
        settings: Keys of the configuration to read for each run; None for all.
        origin: Where a study without a folder was read.
    """
    reader = _Reader(snapshot, folder, settings)
    rows = [row for ticket in ranked(snapshot) for row in reader.rows(ticket)]
    add_intervals(rows)
    return Source(
        name=snapshot.name,
        rows=tuple(rows),
        folder=folder,
        snapshot=snapshot,
        keys=Keys(objectives=objective_names(len(snapshot.maximize))),
        origin=str(folder) if folder is not None else origin,
        log_parameters=frozenset(_drawn_on_log_axis(snapshot.trials)),
        notes=(
            *((_ORDER_NOTE,) if snapshot.is_order_dependent else ()),
            *((_EARLIER_NOTE,) if snapshot.earlier else ()),
        ),
    )


def ranked(snapshot: Snapshot) -> list[Ticket]:
    """The tickets, best first, then the pruned, failed, running and waiting ones.

    Args:
        snapshot: Of the study.
    """
    best = {ticket.ticket for ticket in snapshot.best}
    return sorted(
        snapshot.tickets,
        key=lambda ticket: (ticket.ticket not in best, *_rank(ticket, snapshot.maximize)),
    )


def _rank(ticket: Ticket, maximize: tuple[bool, ...]) -> tuple[Any, ...]:
    values = ticket.last.values if ticket.last is not None else None
    is_ranked = ticket.state in (COMPLETE, PRUNED) and values
    signed = zip(maximize, values or [], strict=False)
    loss = [-value if more else value for more, value in signed] if is_ranked else []
    number = ticket.last.number if ticket.last is not None else float("inf")
    return STATES.index(ticket.state), not loss, loss, number, ticket.ticket


def _drawn_on_log_axis(trials: Iterable[FrozenTrial]) -> Iterator[str]:
    for trial in trials:
        for name, distribution in trial.distributions.items():
            if getattr(distribution, "log", False):
                yield name


class _Reader:
    """Makes rows of one study's tickets."""

    def __init__(
        self, snapshot: Snapshot, folder: Path | None, settings: Sequence[str] | None
    ) -> None:
        self._snapshot, self._folder, self._settings = snapshot, folder, settings
        self._published = Published(folder)
        self._direction = ",".join("maximize" if more else "minimize" for more in snapshot.maximize)

    def rows(self, ticket: Ticket) -> Iterator[Row]:
        """A row for each run of the newest attempt, then one for each earlier attempt."""
        if ticket.last is None:
            yield self._row(ticket, None, ticket.state)
            return
        yield from self._runs(ticket, ticket.last)
        for trial in reversed(ticket.attempts):
            if trial.number < ticket.last.number:
                repeat = self._num_ended(trial) if self._snapshot.num_repeats > 1 else None
                row = self._row(ticket, trial, trial.state.name, repeat, [self._at(trial, repeat)])
                row.is_last = False
                yield row

    def _runs(self, ticket: Ticket, trial: FrozenTrial) -> Iterator[Row]:
        if self._snapshot.num_repeats == 1:
            yield self._row(ticket, trial, ticket.state, None, [self._at(trial, None)])
            return
        values = trial.user_attrs.get("repeat_values", [])
        attempts = [one for one in reversed(ticket.attempts) if one.number <= trial.number]
        for repeat, value in enumerate(values):
            # Runs that had ended are not run again by a later attempt.
            folders = [self._at(attempt, repeat) for attempt in attempts]
            row = self._row(ticket, trial, COMPLETE, repeat, folders)
            row.facts |= {"objective": value, "error_kind": None, "error": None}
            yield row
        if "duplicate_of" in trial.user_attrs:
            yield self._row(ticket, trial, ticket.state)
        elif ticket.state != COMPLETE:
            # It may have failed when all its runs had ended.
            next_one = len(values) if len(values) < self._snapshot.num_repeats else None
            yield self._row(ticket, trial, ticket.state, next_one, [self._at(trial, next_one)])

    @staticmethod
    def _num_ended(trial: FrozenTrial) -> int:
        return len(trial.user_attrs.get("repeat_values", []))

    def _at(self, trial: FrozenTrial, repeat: int | None) -> Path | None:
        """The folder of a run."""
        if self._folder is None:
            return None
        folder = StudyFolder(self._folder).below(trial.user_attrs.get("folder"))
        return folder if folder is None or repeat is None else folder / str(repeat)

    def _row(
        self,
        ticket: Ticket,
        trial: FrozenTrial | None,
        state: str,
        repeat: int | None = None,
        folders: Sequence[Path | None] = (),
    ) -> Row:
        """One row.

        Args:
            ticket: Whose.
            trial: The attempt; None before the first one.
            state: Of the run.
            repeat: Its number among the trial's runs.
            folders: Where it may have run; the first with a result counts.
        """
        facts: dict[str, Any] = {"study": self._snapshot.name, "direction": self._direction}
        facts |= {"ticket": ticket.ticket if ticket.ticket >= 0 else None, "repeat": repeat}
        found: list[tuple[Path | None, Mapping[str, Any]]]
        found = [(one, read_result(one)) for one in folders if one is not None]
        path, result = next((pair for pair in found if pair[1]), found[0] if found else (None, {}))
        if path is not None:
            facts |= {"folder": str(path), **facts_of(result, path)}
        told: dict[str, Any] = {}
        if trial is not None:
            told = self._told(ticket, trial, facts, is_run=repeat is None)
            facts |= self._of_trial(ticket, trial, facts)
        facts |= {"state": state} | self._published.of(ticket.values) | self._earlier(ticket)
        settings = (
            {} if path is None or self._settings == () else read_settings(path, self._settings)
        )
        trace = "" if trial is None else str(trial.user_attrs.get("traceback", ""))
        return Row(facts, ticket.values, told, settings, traceback=trace)

    def _of_trial(
        self, ticket: Ticket, trial: FrozenTrial, facts: Mapping[str, Any]
    ) -> dict[str, Any]:
        """What the study itself knows of a run."""
        attrs = trial.user_attrs
        of_trial: dict[str, Any] = {
            "number": trial.number,
            "attempt": 0,
            **_facts_told(attrs, _OF_THE_ENGINE),
            "started": trial.datetime_start,
            "ended": trial.datetime_complete,
            # Of one of several runs only its own file knows.
            "seconds": seconds_of(trial) if facts["repeat"] is None else facts.get("seconds"),
            **objective_facts(trial.values, len(self._snapshot.maximize)),
        }
        reason = ticket.reason if trial is ticket.last else reason_of(trial)
        if reason:
            kind, _, message = reason.partition(":")
            of_trial |= {"error_kind": kind, "error": message.strip() or kind}
        return of_trial

    @staticmethod
    def _told(
        ticket: Ticket, trial: FrozenTrial, facts: dict[str, Any], *, is_run: bool
    ) -> dict[str, Any]:
        """What the task has told; what has a column of its own goes there.

        Of a trial of several runs it is known of the last one only, so it is left out.
        """
        if not is_run:
            return {}
        attrs = trial.user_attrs
        own = _facts_told(attrs, _OF_OUR_TASK)
        for key, value in own.items():
            facts.setdefault(key, value)
        return {
            key: value
            for key, value in attrs.items()
            if key not in own and (key not in _OF_THE_ENGINE or _is_strange(ticket, key, value))
        }

    def _earlier(self, ticket: Ticket) -> dict[str, float]:
        """What a trial had reached in the study that it is run again from."""
        for values, objective in self._snapshot.earlier:
            if all(same(ticket.values.get(key), value) for key, value in values.items()):
                return {"earlier": objective}
        return {}


def _is_strange(ticket: Ticket, key: str, value: Any) -> bool:
    """Whether it is not the engine's: a trial that is no ticket of ours may use any name."""
    kind = _OF_THE_ENGINE[key]
    return ticket.ticket < 0 and (kind is None or of_kind(kind, value) is None)


def _facts_told(attrs: Mapping[str, Any], kinds: Mapping[str, type | None]) -> dict[str, Any]:
    """Of the attributes those that are facts, of the right types."""
    found = {key: of_kind(kind, attrs.get(key)) for key, kind in kinds.items() if kind is not None}
    return {key: value for key, value in found.items() if value is not None}
