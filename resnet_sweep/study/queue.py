"""The queue of a study: which trial a worker runs next, exactly once each."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from optuna import Study
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from resnet_sweep.study.events import log_event
from resnet_sweep.study.folder import StudyFolder
from resnet_sweep.study.locks import LockLostError, is_held
from resnet_sweep.study.standing import INTERRUPTED, PLACE_FAILURES
from resnet_sweep.study.tickets import BURNT, LOST, Ledger, has_all_values, is_of, session_of

log = logging.getLogger(__name__)

# Attributes of a study that its trials have agreed on begin like this.
_AGREED = "agreed: "
# How a trial ends whose time was up and whose process did not even end by itself.
_TIMEOUT = "timeout"


@dataclass(frozen=True)
class Budget:
    """What a study has to do, and what is done about trials that do not end well.

    Attributes:
        planned: Values of the planned tickets, in order; what they leave open is drawn.
        num_tickets: Planned and drawn tickets together.
        num_configurations: Of a finite space: when so many have been tried the study ends.
        retry: How often a ticket is tried again, by kind of failure.
        max_failure_rate: When more than this share of all tickets has failed the study stops.
        close_slot_after: So many failures at once in a row close a slot; None never.
        num_workers: How many work on the study together.
        killed_after_s: A process whose trial runs longer is killed; None never.
    """

    planned: tuple[Mapping[str, Any], ...]
    num_tickets: int
    num_configurations: int | None = None
    retry: Mapping[str, int] = field(default_factory=dict)
    max_failure_rate: float = 1.0
    close_slot_after: int | None = None
    num_workers: int = 1
    killed_after_s: float | None = None


@dataclass(frozen=True)
class Claim:
    """A trial that this worker is to run now.

    Attributes:
        trial: Running, with its sampler in place.
        ticket: What it counts as.
        planned: Values that are given; None for a ticket that is drawn.
        previous: Numbers of its earlier attempts, newest first.
    """

    trial: Trial
    ticket: int
    planned: Mapping[str, Any] | None
    previous: tuple[int, ...] = ()


class _Taken(NamedTuple):
    """A trial that is this worker's, by its id in the storage; the rest as in Claim."""

    trial_id: int
    ticket: int
    previous: tuple[int, ...]


class Queue:
    """A study as a queue that any number of workers take their trials from."""

    def __init__(
        self,
        study: Study,
        budget: Budget,
        folder: StudyFolder,
        lock: AbstractContextManager[Any],
        sampler_for: Callable[[int], BaseSampler] | None = None,
    ) -> None:
        """Looks at a study.

        Args:
            study: Any storage.
            budget: The same in all workers.
            folder: Where the workers' locks are.
            lock: Keeps the workers of a study apart; reusable.
            sampler_for: Makes the sampler of a ticket's trial; None keeps the study's.
        """
        self.study = study
        self.budget = budget
        self.ledger = Ledger(budget.retry, budget.close_slot_after)
        self._folder = folder
        self._lock = lock
        self._sampler_for = sampler_for
        # Every ticket before it has been begun.
        self._first_free = 0
        # What is agreed on never changes.
        self._agreed: dict[str, Any] = {}
        # Which of PLACE_FAILURES a trial of this process has met: the next would, too.
        self.refused_for: str | None = None

    def refresh(self) -> None:
        """Brings the ledger up to date."""
        self.ledger.update(self.study.get_trials(deepcopy=False))

    def claim(self, worker: str, slot: str) -> Claim | None:
        """Takes the next trial.

        Args:
            worker: The asking worker's name, whose lock it holds.
            slot: The slot it owns.

        Returns:
            None when nothing is left to do for this worker.
        """
        if self.refused_for is not None:
            return None
        while True:
            try:
                with self._lock:
                    taken = self._take(worker, slot)
                break
            except LockLostError as error:
                # A server frees a lock together with the connection that held it.
                log.warning("%s while %s held the lock; it looks again", error, worker)
        # The trial is taken: what it is read for now keeps nobody waiting.
        return None if taken is None else self._claimed(taken)

    def _take(self, worker: str, slot: str) -> _Taken | None:
        self.refresh()
        self._reap(lambda trial: not self._is_alive(trial))
        if self.has_failed_too_often():
            return None
        if self.is_closed(worker, slot):
            self._blame_slot(worker, slot)
            return None
        for stranger in self.ledger.strangers:
            taken = self._adopt(stranger, worker, slot)
            if taken is not None:
                return taken
        ticket = self._next_ticket()
        return None if ticket is None else self._start(ticket, worker, slot)

    def reap_own(self, worker: str) -> None:
        """Gives up trials of an earlier life of this worker, which was started again."""
        with self._lock:
            self.refresh()
            self._reap(lambda trial: trial.user_attrs.get("worker") == worker)
        self._folder.worker_end(worker).unlink(missing_ok=True)

    def reap(self, reason: str) -> None:
        """Gives up running trials whose worker is dead, all for the same reason."""
        with self._lock:
            self.refresh()
            self._reap(lambda trial: not self._is_alive(trial), reason)

    def fail(
        self,
        number: int,
        kind: str,
        error: str,
        trace: str = "",
        seconds: float = 0,
        *,
        is_excused: bool = False,
    ) -> bool:
        """Ends a running trial as failed.

        Args:
            number: The trial's.
            kind: Of failure.
            error: One line for tables.
            trace: The whole traceback.
            seconds: How long it ran.
            is_excused: Something else than the trial is known to have interrupted it.

        Returns:
            False when somebody else has ended it.
        """
        if kind in PLACE_FAILURES:
            self.refused_for = kind
        trials = self.study.get_trials(deepcopy=False)
        trial = trials[number]
        storage, trial_id = self.study._storage, trial._trial_id
        is_excused = is_excused or kind != INTERRUPTED or not self._is_unasked(trial)
        if not is_excused and _was_interrupted(trial, trials, error):
            kind, error = LOST, f"{LOST}: interrupted again by nobody ({error})"
        facts = {"failure": kind, "error": error, "traceback": trace, "seconds": seconds}
        try:
            for key, value in facts.items():
                if value != "":
                    storage.set_trial_user_attr(trial_id, key, value)
            self.study.tell(number, state=TrialState.FAIL)
        except (ValueError, RuntimeError):
            # Told while we wrote: whoever was first is right.
            if not self.study.get_trials(deepcopy=False)[number].state.is_finished():
                raise
            return False
        return True

    def agree(self, key: str, value: Any) -> Any:
        """Keeps a value for the whole study, unless one is kept under the key already.

        Args:
            key: Of the value.
            value: JSON-serialisable; None only asks.

        Returns:
            What is kept; None if nothing is.
        """
        if key in self._agreed:
            return self._agreed[key]
        name = f"{_AGREED}{key}"
        if value is not None and name not in self.study.user_attrs:
            with self._lock:
                if name not in self.study.user_attrs:
                    self.study.set_user_attr(name, value)
        kept = self.study.user_attrs.get(name)
        if kept is not None:
            self._agreed[key] = kept
        return kept

    def num_open(self) -> int:
        """Tickets that still need an attempt, running ones included."""
        self._read_burnt()
        if self.is_used_up():
            return len(self.ledger.running) + len(list(self.ledger.to_retry()))
        return self.budget.num_tickets - sum(
            ticket < self.budget.num_tickets and self.ledger.is_done(ticket)
            for ticket in self.ledger.tickets
        )

    def running_elsewhere(self, session: str) -> list[int]:
        """Numbers of trials that living workers of other sweeps are running."""
        return [
            number
            for number, trial in self.ledger.running.items()
            if not is_of(trial, session) and self._is_alive(trial)
        ]

    def has_failed_too_often(self) -> bool:
        """Whether more trials have failed than max_failure_rate allows."""
        allowed = self.budget.max_failure_rate * self.budget.num_tickets
        if self.ledger.num_failed() <= allowed:
            return False
        self._read_burnt()
        return self.ledger.num_failed() > allowed

    def is_closed(self, worker: str, slot: str) -> bool:
        """Whether the slot has failed so often at once that it gets no more trials.

        The last open slot is never closed: then the trials are to blame.
        """
        return slot in self.closed_slots(worker.rpartition("-")[0])

    def closed_slots(self, session: str) -> list[str]:
        """The slots of a sweep that get no more trials."""
        bad = self.ledger.bad_slots(session)
        return sorted(bad) if len(bad) < self.budget.num_workers else []

    def _blame_slot(self, worker: str, slot: str) -> None:
        """Has what a closed slot has failed tried again elsewhere: the trials are not to blame."""
        numbers = self.ledger.bad_slots(worker.rpartition("-")[0])[slot]
        self._read_burnt()
        if not self.ledger.burnt.issuperset(numbers):
            self.ledger.burnt |= frozenset(numbers)
            self.study.set_user_attr(BURNT, sorted(self.ledger.burnt))

    def _read_burnt(self) -> None:
        if self.ledger.counts[TrialState.FAIL.name]:
            self.ledger.burnt = frozenset(self.study.user_attrs.get(BURNT, ()))

    def _is_unasked(self, trial: FrozenTrial) -> bool:
        """Whether nobody is known to have told a trial's worker to stop, as a cluster does."""
        return not self._folder.worker_told(str(trial.user_attrs.get("worker"))).exists()

    def _is_alive(self, trial: FrozenTrial) -> bool:
        worker = trial.user_attrs.get("worker")
        return worker is not None and is_held(self._folder.worker_lock(worker))

    def _reap(self, is_dead: Callable[[FrozenTrial], bool], reason: str = LOST) -> None:
        dead = [trial for trial in self.ledger.running.values() if is_dead(trial)]
        for trial in dead:
            worker = str(trial.user_attrs.get("worker"))
            assert trial.datetime_start is not None
            # A clock may have been set back since.
            seconds = max(0.0, (datetime.now() - trial.datetime_start).total_seconds())
            limit = self.budget.killed_after_s
            if reason == LOST and limit is not None and seconds > limit:
                late = f"{_TIMEOUT}: its process had to be killed"
                kind, text = _TIMEOUT, late
            else:
                is_lost, stopped = reason == LOST, "interrupted: the sweep was stopped"
                kind, text = reason, self._folder.how_lost(worker) if is_lost else stopped
            if self.fail(trial.number, kind, text, seconds=seconds, is_excused=True):
                log_event(self._folder, trial.number, worker, f"{TrialState.FAIL.name} {kind}")
        if dead:
            self.refresh()

    def _next_ticket(self) -> int | None:
        again = next(iter(self.ledger.to_retry()), None)
        if again is not None:
            return again
        if not self.is_used_up():
            self._first_free = self._free_from(self._first_free)
            if self._first_free < self.budget.num_tickets:
                return self._first_free
        # Last, so that the study's attributes are not read for each trial.
        self._read_burnt()
        return next(iter(self.ledger.to_retry()), None)

    def _free_from(self, ticket: int) -> int:
        while ticket in self.ledger.tickets:
            ticket += 1
        return ticket

    def is_used_up(self) -> bool:
        """Whether every configuration of a finite space has been begun."""
        num = self.budget.num_configurations
        return num is not None and self.ledger.num_tried() >= num

    def _planned(self, ticket: int) -> Mapping[str, Any] | None:
        return self.budget.planned[ticket] if ticket < len(self.budget.planned) else None

    def _start(self, ticket: int, worker: str, slot: str) -> _Taken:
        found = self.ledger.tickets.get(ticket)
        attempts = found.attempts if found else []
        planned = self._planned(ticket)
        fixed = dict(planned) if planned is not None else {}
        attrs: dict[str, Any] = {
            "ticket": ticket,
            "attempt": len(attempts),
            "worker": worker,
            "slot": slot,
        }
        if attempts:
            trials = self.study.get_trials(deepcopy=False)
            last = trials[attempts[-1]]
            attrs["retry_of"] = attempts[-1]
            fixed |= _drawn([trials[number] for number in reversed(attempts)])
            if "repeat_values" in last.user_attrs:
                attrs["repeat_values"] = last.user_attrs["repeat_values"]
        template = create_trial(
            state=TrialState.RUNNING, system_attrs={"fixed_params": fixed}, user_attrs=attrs
        )
        # A database refuses it when somebody else has made one since the ledger was brought up
        # to date: two workers would run the same ticket.
        template.number = self.ledger.num_seen
        # Study.ask would first pop somebody else's ticket, and costs two writes.
        trial_id = self.study._storage.create_new_trial(self.study._study_id, template)
        return _Taken(trial_id, ticket, tuple(reversed(attempts)))

    def _adopt(self, stranger: FrozenTrial, worker: str, slot: str) -> _Taken | None:
        """Takes a trial that somebody has enqueued through Optuna, as a drawn ticket."""
        ticket = self._free_from(max(self._first_free, len(self.budget.planned)))
        if ticket >= self.budget.num_tickets:
            return None
        storage, trial_id = self.study._storage, stranger._trial_id
        if not storage.set_trial_state_values(trial_id, TrialState.RUNNING):
            return None
        for key, value in (("ticket", ticket), ("attempt", 0), ("worker", worker), ("slot", slot)):
            storage.set_trial_user_attr(trial_id, key, value)
        return _Taken(trial_id, ticket, ())

    def _claimed(self, taken: _Taken) -> Claim:
        if self._sampler_for is not None:
            self.study.sampler = self._sampler_for(taken.ticket)
        trial = Trial(self.study, taken.trial_id)
        return Claim(trial, taken.ticket, self._planned(taken.ticket), taken.previous)


def _drawn(attempts: Iterable[FrozenTrial]) -> Mapping[str, Any]:
    """Values of a trial that is taken up once more: what was drawn is not drawn again.

    Args:
        attempts: Of its ticket, newest first. One that was killed while it drew has some of
            its values, or none, and says nothing.
    """
    return next((one.params for one in attempts if has_all_values(one)), {})


def _was_interrupted(trial: FrozenTrial, trials: list[FrozenTrial], error: str) -> bool:
    """Whether the attempt before was interrupted in the same sweep, with the same error.

    A sweep that is stopped interrupts a trial once: this one stops its own worker.
    """
    before = trial.user_attrs.get("retry_of")
    if before is None:
        return False
    facts = trials[before].user_attrs
    is_same = (facts.get("failure"), facts.get("error")) == (INTERRUPTED, error)
    return is_same and session_of(trials[before]) == session_of(trial)
