"""Reading a study: how its tickets stand at one moment. Nothing is written.

Light to import: the sweep's plugin reaches this file, and Optuna is loaded when it is used.
"""

from __future__ import annotations

import math
import re
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resnet_sweep.faults import ConfigError, Fault
from resnet_sweep.study.folder import StudyFolder
from resnet_sweep.study.locks import is_held

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

COMPLETE, PRUNED, FAIL, RUNNING, WAITING = STATES = (
    "COMPLETE",
    "PRUNED",
    "FAIL",
    "RUNNING",
    "WAITING",
)
_FILE_URL = re.compile(r"(?:sqlite(?:\+\w+)?|journal):///((?!file:|:memory:)[^?]+)(?:\?.*)?")
# The sweeper's own default, for a study that does not say.
_RETRY = {"lost": 2}


def open_study(folder: Path) -> Study:
    """Opens the study of a sweep's folder, to read it.

    Args:
        folder: What the sweep was given as ``hydra.sweep.dir``.

    Raises:
        ConfigError: There is no study; says what the folder lacks.
    """
    files = StudyFolder(folder)
    name, url = _name_and_storage(files)
    _check_exists(files, url)
    import optuna

    from resnet_sweep.study.storage import open_storage

    try:
        return optuna.load_study(study_name=name, storage=open_storage(url, files))
    except KeyError:
        if url == "memory":
            reason = "it was kept in the memory of its sweep (hydra.sweeper.storage=memory)"
        else:
            reason = f"its storage has none of the name {name}"
        raise _no_study(folder, reason) from None


def read_study(folder: Path) -> Snapshot:
    """Opens a folder's study, reads it once and closes it.

    Args:
        folder: The sweep's.

    Raises:
        ConfigError: As ``open_study``.
    """
    from resnet_sweep.study.storage import close_storage

    study = open_study(folder)
    try:
        return Snapshot.take(study, StudyFolder(folder))
    finally:
        close_storage(study._storage)


def holds_study(folder: Path) -> bool:
    """Whether a folder's own words name a study; another sweeper's folder does not."""
    try:
        _name_and_storage(StudyFolder(folder))
    except ConfigError:
        return False
    return True


def _name_and_storage(files: StudyFolder) -> tuple[str, str | None]:
    from omegaconf import OmegaConf

    if not files.path.is_dir():
        raise _no_study(files.path, "it is not a folder")
    if not files.multirun_yaml.is_file():
        raise _no_study(files.path, f"it has no {files.multirun_yaml.name}")
    config = OmegaConf.load(files.multirun_yaml)
    name = OmegaConf.select(config, "hydra.sweeper.study_name")
    if name is None:
        raise _no_study(files.path, f"its {files.multirun_yaml.name} names none")
    storage = OmegaConf.select(config, "hydra.sweeper.storage")
    return str(name), None if storage is None else str(storage)


def _check_exists(files: StudyFolder, url: str | None) -> None:
    """Optuna would make the file that is missing, and a reader must not."""
    path: Path | None = files.journal
    if url is not None:
        found = re.fullmatch(
            r"(?:sqlite(?:\+\w+)?|journal):///((?!file:|:memory:)[^?]+)(?:\?.*)?", url
        )
        path = Path(found[1]) if found is not None else None
    if path is not None and not path.is_file():
        raise _no_study(files.path, f"{path} is missing")


def _no_study(folder: Path, reason: str) -> ConfigError:
    fix = "name the folder of a sweep, outputs/<study>"
    return ConfigError([Fault("folder", folder, f"holds no study: {reason}", fix=fix)])


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
    if "seconds" in trial.user_attrs:
        return float(trial.user_attrs["seconds"])
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


@dataclass(frozen=True)
class Snapshot:
    """A study at one moment.

    Attributes:
        name: The study's.
        maximize: For each objective whether more is better.
        tickets: In the order of the plan; drawn ones follow, strangers come last.
        trials: Of Optuna, by number.
        counts: Tickets by state.
        best: The best ticket; of several objectives all that no other one dominates.
        running: Tickets that a living worker runs, oldest first.
        num_workers: Workers alive.
        is_active: Whether a sweep works on the study now.
        is_order_dependent: Whether drawn trials ran side by side: their values depend on
            the order in which others ended.
        taken_at: When.
        left_s: Seconds until all is done, at the pace so far; None when it is not known.
    """

    name: str
    maximize: tuple[bool, ...]
    tickets: tuple[Ticket, ...]
    trials: Sequence[FrozenTrial]
    counts: Mapping[str, int]
    best: tuple[Ticket, ...]
    running: tuple[Ticket, ...]
    num_workers: int
    is_active: bool
    is_order_dependent: bool
    taken_at: datetime
    left_s: float | None

    @property
    def total(self) -> int:
        """Tickets in all."""
        return len(self.tickets)

    @property
    def num_done(self) -> int:
        """Tickets that have ended for good."""
        return sum(self.counts[state] for state in (COMPLETE, PRUNED, FAIL))

    @classmethod
    def take(cls, study: Study, folder: StudyFolder) -> Snapshot:
        """Reads the study once.

        Args:
            study: From ``open_study``, or the sweep's own.
            folder: Where its workers hold their locks.
        """
        trials = study.get_trials(deepcopy=False)
        attrs = study.user_attrs
        now = datetime.now()
        plan = attrs.get("plan") or {}
        planned = plan.get("tickets") or []
        lives = _Lives(folder)
        tickets = _tickets(trials, plan, attrs.get("retry") or _RETRY, lives)
        counts = Counter(dict.fromkeys(STATES, 0))
        counts.update(ticket.state for ticket in tickets)
        running = [ticket for ticket in tickets if ticket.state == RUNNING]
        maximize = tuple(direction.name == "MAXIMIZE" for direction in study.directions)
        num_workers = lives.num_workers()
        return cls(
            name=study.study_name,
            maximize=maximize,
            tickets=tickets,
            trials=trials,
            counts=counts,
            best=_best(tickets, maximize),
            running=tuple(sorted(running, key=_started)),
            num_workers=num_workers,
            is_active=lives.has_sweep,
            is_order_dependent=_ran_side_by_side(tickets, len(planned)),
            taken_at=now,
            left_s=_left_s(tickets, running, num_workers, now),
        )


class _Lives:
    """Who is alive, each worker looked at once."""

    def __init__(self, folder: StudyFolder) -> None:
        self._folder = folder
        self._workers: dict[str, bool] = {}
        self.has_sweep = is_held(folder.sweep_lock)

    def is_alive(self, trial: FrozenTrial) -> bool:
        worker = trial.user_attrs.get("worker")
        if worker is None:
            # Just claimed, and not yet signed.
            return self.has_sweep
        if worker not in self._workers:
            self._workers[worker] = is_held(self._folder.worker_lock(worker))
        return self._workers[worker]

    def num_workers(self) -> int:
        """Workers alive, busy or not."""
        for lock in self._folder.workers.glob("*.lock"):
            if lock.stem not in self._workers:
                self._workers[lock.stem] = is_held(lock)
        return sum(self._workers.values())


def _tickets(
    trials: Sequence[FrozenTrial],
    plan: Mapping[str, Any],
    retry: Mapping[str, int],
    lives: _Lives,
) -> tuple[Ticket, ...]:
    planned = plan.get("tickets") or []
    num_wanted = plan.get("n_trials")
    attempts: dict[int, list[FrozenTrial]] = {
        ticket: [] for ticket in range(len(planned) if num_wanted is None else num_wanted)
    }
    strangers = []
    for trial in trials:
        if "ticket" in trial.user_attrs:
            attempts.setdefault(int(trial.user_attrs["ticket"]), []).append(trial)
        elif trial.state.is_finished():
            # Somebody's own; one that is not finished becomes a ticket when it is claimed.
            strangers.append(Ticket(-1 - trial.number, trial.state.name, trial.params, (trial,)))
    return (
        *(
            _ticket(ticket, found, planned[ticket] if ticket < len(planned) else {}, retry, lives)
            for ticket, found in sorted(attempts.items())
        ),
        *(_with_last(stranger) for stranger in strangers),
    )


def _with_last(stranger: Ticket) -> Ticket:
    (trial,) = stranger.attempts
    return Ticket(
        stranger.ticket,
        stranger.state,
        stranger.values,
        stranger.attempts,
        trial,
        reason_of(trial),
    )


def _ticket(
    ticket: int,
    attempts: list[FrozenTrial],
    planned: Mapping[str, Any],
    retry: Mapping[str, int],
    lives: _Lives,
) -> Ticket:
    if not attempts:
        return Ticket(ticket, WAITING, planned)
    fixed = attempts[-1].system_attrs.get("fixed_params") or {}
    values = {**planned, **fixed, **attempts[-1].params}
    begun = [trial for trial in attempts if trial.state.name != WAITING]
    if not begun:
        return Ticket(ticket, WAITING, values, tuple(attempts))
    last, state = begun[-1], attempts[-1].state.name
    reason = reason_of(last)
    if state == RUNNING and not lives.is_alive(last):
        state, reason = FAIL, "lost: its worker is gone"
    if state == FAIL and _is_to_retry(begun, reason, retry):
        state = WAITING
    return Ticket(ticket, state, values, tuple(attempts), last, reason)


def _is_to_retry(begun: list[FrozenTrial], reason: str, retry: Mapping[str, int]) -> bool:
    kind = reason.partition(":")[0]
    if kind == "interrupted":
        return True
    earlier = [trial.user_attrs.get("failure", "exception") for trial in begun[:-1]]
    return 1 + earlier.count(kind) <= retry.get(kind, 0)


def _started(ticket: Ticket) -> datetime:
    return (ticket.last and ticket.last.datetime_start) or datetime.min


def _best(tickets: Iterable[Ticket], maximize: tuple[bool, ...]) -> tuple[Ticket, ...]:
    """The Pareto front, which for one objective is the first of the best."""
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


def _ran_side_by_side(tickets: Iterable[Ticket], num_planned: int) -> bool:
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


def _left_s(
    tickets: Iterable[Ticket], running: Sequence[Ticket], num_workers: int, now: datetime
) -> float | None:
    """Mean seconds of what has run to an end, times what is open, over the workers."""
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
    behind = sum(min(mean, (now - _started(ticket)).total_seconds()) for ticket in running)
    return max(0.0, (mean * num_open - behind) / min(num_workers, num_open))
