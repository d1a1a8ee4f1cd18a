"""How the tickets of a study stand, derived from its trials and kept up as they grow."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from optuna.trial import FrozenTrial, TrialState

from resnet_sweep.study.canonical import canonical
from resnet_sweep.study.standing import ALWAYS_AGAIN, INTERRUPTED, PLACE_FAILURES

# How a trial ends whose worker is gone.
LOST = "lost"
# Attribute of the study: numbers of trials that failed on a slot which was closed for it.
BURNT = "burnt"
# Attribute of the study: how many trials had ended that the newest tables show.
NUM_SHOWN = "num_shown"
# Ends that say something about the trial, never about the slot that it ran on.
_NOT_THE_SLOTS_FAULT = ALWAYS_AGAIN | {"config", "non_finite", "timeout"}
# A trial that fails sooner than this has failed "at once".
AT_ONCE_S = 10.0


@dataclass
class Ticket:
    """One planned or drawn trial, over all its attempts.

    Attributes:
        attempts: Numbers of its trials, oldest first.
        state: Of the last attempt.
        failure: Kind of the last attempt's failure, if it failed.
        failures: How often it has failed, by kind.
    """

    attempts: list[int] = field(default_factory=list)
    state: TrialState = TrialState.RUNNING
    failure: str | None = None
    failures: Counter[str] = field(default_factory=Counter)


class Ledger:
    """All tickets of a study; an update looks only at trials that it has not seen ended."""

    def __init__(self, retry: Mapping[str, int], close_slot_after: int | None = None) -> None:
        """Starts with no trial.

        Args:
            retry: How often a ticket is tried again, by kind of failure.
            close_slot_after: So many failures at once in a row close a slot; None never.
        """
        self.tickets: dict[int, Ticket] = {}
        self.running: dict[int, FrozenTrial] = {}
        self.strangers: list[FrozenTrial] = []
        # Trials that failed on a slot that was closed later: the slot is to blame.
        self.burnt: frozenset[int] = frozenset()
        # Configuration -> number of the trial that has finished it.
        self.finished: dict[str, int] = {}
        self.tried: set[str] = set()
        self.counts: Counter[str] = Counter()
        self._retry = retry
        self._close_after = close_slot_after
        # In the order in which they were seen to be.
        self.completed: list[FrozenTrial] = []
        # For each session that met one of PLACE_FAILURES, its kind and what it said.
        self.refused: dict[str, tuple[str, str]] = {}
        # How many trials the study had at the last look.
        self.num_seen = 0
        self._open: set[int] = set()
        # Tickets whose last attempt failed: a look at all of them at each claim would cost a
        # long study more and more.
        self._failed: set[int] = set()
        # For each slot of each sweep, its newest trials: number, and whether it failed at once.
        self._recent: dict[str, deque[tuple[int, bool]]] = {}

    def update(self, trials: Sequence[FrozenTrial]) -> None:
        """Takes in what has changed.

        Args:
            trials: All trials of the study, in the order of their numbers.
        """
        self.strangers = []
        new = range(self.num_seen, len(trials))
        for number in sorted(self._open) + list(new):
            trial = trials[number]
            if number >= self.num_seen:
                self._open.add(number)
            if trial.state == TrialState.WAITING and "ticket" not in trial.user_attrs:
                # Somebody has put it there through Optuna.
                self.strangers.append(trial)
            elif "ticket" in trial.user_attrs:
                self._take_in(trial)
            if trial.state.is_finished():
                self._open.discard(number)
                self.running.pop(number, None)
        self.num_seen = len(trials)

    def _take_in(self, trial: FrozenTrial) -> None:
        number = int(trial.user_attrs["ticket"])
        ticket = self.tickets.setdefault(number, Ticket())
        if trial.number not in ticket.attempts:
            ticket.attempts.append(trial.number)
        if ticket.attempts[-1] == trial.number:
            ticket.state, ticket.failure = trial.state, trial.user_attrs.get("failure")
            if ticket.state == TrialState.FAIL:
                self._failed.add(number)
            else:
                self._failed.discard(number)
        if not trial.state.is_finished():
            self.running[trial.number] = trial
            return
        self.counts[trial.state.name] += 1
        if trial.state == TrialState.COMPLETE:
            self.completed.append(trial)
        kind = trial.user_attrs.get("failure")
        if kind in PLACE_FAILURES:
            self.refused[session_of(trial)] = kind, str(trial.user_attrs.get("error"))
        if trial.state == TrialState.FAIL:
            ticket.failures[str(trial.user_attrs.get("failure", "exception"))] += 1
        else:
            self.finished.setdefault(canonical(trial.params), trial.number)
        if has_all_values(trial):
            self.tried.add(canonical(trial.params))
        self._remember(trial)

    def _remember(self, trial: FrozenTrial) -> None:
        """Keeps whether a slot's newest trials failed at once."""
        if self._close_after is None or "duplicate_of" in trial.user_attrs:
            return
        # A new sweep begins with all its slots open; a worker's name begins with its sweep's.
        key = f"{session_of(trial)}/{trial.user_attrs.get('slot')}"
        failed_at_once = (
            trial.state == TrialState.FAIL
            and trial.user_attrs.get("failure") not in _NOT_THE_SLOTS_FAULT
            and trial.user_attrs.get("seconds", 0.0) < AT_ONCE_S
        )
        recent = self._recent.setdefault(key, deque(maxlen=self._close_after))
        recent.append((trial.number, failed_at_once))

    def bad_slots(self, session: str) -> dict[str, list[int]]:
        """Slots whose newest trials all failed at once, with the numbers of these."""
        return {
            key.removeprefix(f"{session}/"): [number for number, _ in recent]
            for key, recent in self._recent.items()
            if key.startswith(f"{session}/")
            and len(recent) == self._close_after
            and all(failed_at_once for _, failed_at_once in recent)
        }

    def is_done(self, ticket: int) -> bool:
        """Whether a ticket needs no further attempt."""
        found = self.tickets.get(ticket)
        if found is None or not found.state.is_finished():
            return False
        return found.state != TrialState.FAIL or not self.is_to_retry(ticket)

    def is_to_retry(self, ticket: int) -> bool:
        """Whether a ticket's last attempt failed in a way that is tried again."""
        found = self.tickets[ticket]
        if found.state != TrialState.FAIL:
            return False
        kind = found.failure or "exception"
        if kind in ALWAYS_AGAIN or found.attempts[-1] in self.burnt:
            return True
        return found.failures[kind] <= self._retry.get(kind, 0)

    def to_retry(self) -> Iterable[int]:
        """Tickets that wait for another attempt."""
        return (ticket for ticket in sorted(self._failed) if self.is_to_retry(ticket))

    def num_tried(self) -> int:
        """Different configurations that have been begun."""
        running = [trial for trial in self.running.values() if has_all_values(trial)]
        return len(self.tried | {canonical(trial.params) for trial in running})

    def num_failed(self) -> int:
        """Tickets that have failed for good."""
        return sum(map(self.is_done, self._failed))

    def num_ended(self) -> int:
        """Trials that have ended, in whichever state."""
        return sum(self.counts.values())

    def num_good(self) -> int:
        """Trials that have come to a good end."""
        return self.counts[TrialState.COMPLETE.name] + self.counts[TrialState.PRUNED.name]

    def num_done(self) -> int:
        """Tickets that need no further attempt."""
        return sum(self.is_done(ticket) for ticket in self.tickets)


def session_of(trial: FrozenTrial) -> str:
    """The session that ran a trial: a worker's name begins with it.

    Workers that a cluster has started again have one of their own, ``<session>.<restart>``.
    """
    return str(trial.user_attrs.get("worker", "")).rpartition("-")[0]


def is_of(trial: FrozenTrial, session: str) -> bool:
    """Whether a sweep's workers run a trial, started again by a cluster or not."""
    return session_of(trial).partition(".")[0] == session


def has_all_values(trial: FrozenTrial) -> bool:
    """Whether all values of a trial were drawn; it may have been killed between two of them."""
    if trial.state.is_finished() and trial.state != TrialState.FAIL:
        return True
    if "folder" in trial.user_attrs:
        return True
    is_cut_off = trial.user_attrs.get("failure") in (None, INTERRUPTED, LOST)
    return trial.state == TrialState.FAIL and not is_cut_off
