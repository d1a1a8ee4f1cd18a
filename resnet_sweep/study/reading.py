"""Reading a study: how its tickets stand at one moment. Nothing is written.

Light to import: the sweep's plugin reaches this file, and Optuna is loaded when it is used.
"""

from __future__ import annotations

import re
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resnet_sweep.faults import ConfigError, Fault, ResultsError
from resnet_sweep.study.folder import StudyFolder
from resnet_sweep.study.locks import is_held
from resnet_sweep.study.sessions import has_sweep
from resnet_sweep.study.standing import (
    ALWAYS_AGAIN,
    COMPLETE,
    FAIL,
    PRUNED,
    RUNNING,
    STATES,
    WAITING,
    Ticket,
    best_of,
    left_s,
    ran_side_by_side,
    reason_of,
    started,
)

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

_FILE_URL = re.compile(r"(?:sqlite(?:\+\w+)?|journal):///((?!file:|:memory:)[^?]+)(?:\?.*)?")
# The sweeper's own default, for a study that does not say.
_RETRY = {"lost": 2}


def open_study(folder: Path) -> Study:
    """Opens the study of a sweep's folder, to read it.

    Args:
        folder: What the sweep was given as ``hydra.sweep.dir``.

    Raises:
        ResultsError: There is no study; says what the folder lacks.
        ConfigError: Its storage cannot be opened.
    """
    files = StudyFolder(folder)
    name, url = _name_and_storage(files)
    _check_exists(files, url)
    import optuna

    from resnet_sweep.study.storage import open_storage

    try:
        storage = open_storage(url, files, creates=False)
        return optuna.load_study(study_name=name, storage=storage)
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
    from resnet_sweep.study.attributes import refuse_edited
    from resnet_sweep.study.storage import close_storage, tell_torn_end

    study = open_study(folder)
    try:
        tell_torn_end(study._storage)
        refuse_edited(study, str(folder), ResultsError)
        return Snapshot.take(study, StudyFolder(folder))
    finally:
        close_storage(study._storage)


def read_storage(url: str) -> list[tuple[Snapshot, Path | None]]:
    """All studies of a storage, each with the folder of its sweep if it names one.

    Args:
        url: As ``hydra.sweeper.storage``.

    Raises:
        ConfigError: It cannot be opened, or holds no study.
    """
    import optuna

    from resnet_sweep.study.attributes import refuse_edited
    from resnet_sweep.study.storage import close_storage, describe, open_storage, tell_torn_end

    shown = describe(url, StudyFolder(Path()))
    file = _file_of(url)
    if file is not None and not file.is_file():
        raise ResultsError([Fault("storage", shown, "is no file")])
    with tempfile.TemporaryDirectory() as nowhere:
        storage = open_storage(url, StudyFolder(Path(nowhere)), creates=False)
        try:
            tell_torn_end(storage)
            found = []
            for name in optuna.get_all_study_names(storage):
                study = optuna.load_study(study_name=name, storage=storage)
                home = study.user_attrs.get("folder")
                home = home if isinstance(home, str) else None
                if home is not None:
                    refuse_edited(study, shown, ResultsError)
                folder = StudyFolder(Path(home or nowhere))
                found.append((Snapshot.take(study, folder), folder.path if home else None))
        finally:
            close_storage(storage)
    if not found:
        raise ResultsError([Fault("storage", shown, "holds no study")])
    return found


def holds_study(folder: Path) -> bool:
    """Whether a folder's own words name a study; another sweeper's folder does not."""
    try:
        _name_and_storage(StudyFolder(folder))
    except ConfigError:
        return False
    return True


def _name_and_storage(files: StudyFolder) -> tuple[str, str | None]:
    from omegaconf import OmegaConf

    from resnet_sweep.yaml_files import CONFIG_ERRORS, config_of

    if not files.path.is_dir():
        raise _no_study(files.path, "it is not a folder")
    if not files.multirun_yaml.is_file():
        raise _no_study(files.path, f"it has no {files.multirun_yaml.name}")
    try:
        config = config_of(files.multirun_yaml)
        name = OmegaConf.select(config, "hydra.sweeper.study_name")
        target = OmegaConf.select(config, "hydra.sweeper._target_", default="resnet_sweep.")
        # Not resolved: who opens it says which variable is not set.
        sweeper_config: Any = OmegaConf.to_container(config.hydra.sweeper, resolve=False)
        storage = sweeper_config.get("storage")
    except (*CONFIG_ERRORS, AttributeError) as error:
        reason = " ".join(str(error).split())
        raise _no_study(
            files.path, f"its {files.multirun_yaml.name} cannot be read: {reason}"
        ) from error
    sweeper = str(target)
    if not sweeper.startswith("resnet_sweep."):
        raise _no_study(files.path, f"it is a sweep of {sweeper}")
    if name is None:
        raise _no_study(files.path, f"its {files.multirun_yaml.name} names none")
    return str(name), None if storage is None else str(storage)


def _check_exists(files: StudyFolder, url: str | None) -> None:
    path = files.journal if url is None else _file_of(url)
    if path is not None and not path.is_file():
        raise _no_study(files.path, f"{path} is missing")


def _file_of(url: str) -> Path | None:
    """The file of a storage; Optuna would make one that is missing, and a reader must not."""
    found = _FILE_URL.fullmatch(url)
    return Path(found[1]) if found is not None else None


def _no_study(folder: Path, reason: str) -> ResultsError:
    fix = "name the folder of a sweep, outputs/<study>"
    return ResultsError([Fault("folder", folder, f"holds no study: {reason}", fix=fix)])


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
        is_active: Whether a sweep, or a worker that has outlived its own, works on it now.
        is_order_dependent: Whether drawn trials ran side by side: their values depend on
            the order in which others ended.
        taken_at: When.
        left_s: Seconds until all is done, at the pace so far; None when it is not known.
        num_repeats: Runs of a trial.
        earlier: Of a study that runs the best of another one again, their values and what each
            had reached there.
        program: How the application was started, as words; empty where it is not known.
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
    num_repeats: int
    earlier: tuple[tuple[Mapping[str, Any], float], ...]
    program: tuple[str, ...]

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
        attrs = _Attributes(study.user_attrs)
        now = datetime.now()
        plan: Mapping[str, Any] = attrs.get("plan", {})
        planned = plan.get("tickets") or []
        lives = _Lives(folder)
        if attrs.get("used_up", False):
            # The space has no configuration left for what was still to be drawn.
            plan = {**plan, "n_trials": None}
        rule = _RetryRule(attrs.get("retry", _RETRY), frozenset(attrs.get("burnt", [])))
        tickets = _tickets(trials, plan, rule, lives)
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
            best=best_of(tickets, maximize),
            running=tuple(sorted(running, key=started)),
            num_workers=num_workers,
            is_active=lives.has_sweep or num_workers > 0,
            is_order_dependent=ran_side_by_side(tickets, len(planned)),
            taken_at=now,
            left_s=left_s(tickets, running, num_workers, now),
            num_repeats=attrs.get("identity", {}).get("repeats", 1),
            earlier=_earlier(attrs.get("earlier", {})),
            program=tuple(attrs.get("program", [])),
        )


def _earlier(kept: Mapping[str, Any]) -> tuple[tuple[Mapping[str, Any], float], ...]:
    pairs = zip(kept.get("trials", ()), kept.get("objectives", ()), strict=False)
    return tuple((values, found[0]) for values, found in pairs if len(found) == 1)


class _Attributes:
    """What a study says of itself; one that is not ours may use the same names otherwise."""

    def __init__(self, attrs: Mapping[str, Any]) -> None:
        self._attrs = attrs

    def get(self, name: str, default: Any) -> Any:
        """An attribute, if it is of its default's type."""
        value = self._attrs.get(name, default)
        return value if isinstance(value, type(default)) else default


@dataclass(frozen=True)
class _RetryRule:
    """Which failed trials are tried again.

    Attributes:
        counts: How often, by kind of failure.
        burnt: Numbers of trials that failed on a slot which was closed for it.
    """

    counts: Mapping[str, int]
    burnt: frozenset[int]

    def covers(self, begun: Sequence[FrozenTrial], reason: str) -> bool:
        """Whether a ticket whose attempts these are gets another one."""
        kind = reason.partition(":")[0]
        if kind in ALWAYS_AGAIN or begun[-1].number in self.burnt:
            return True
        earlier = [trial.user_attrs.get("failure", "exception") for trial in begun[:-1]]
        return 1 + earlier.count(kind) <= self.counts.get(kind, 0)


class _Lives:
    """Who is alive, each worker looked at once."""

    def __init__(self, folder: StudyFolder) -> None:
        self._folder = folder
        self._workers: dict[str, bool] = {}
        self.has_sweep = has_sweep(folder)

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
    retry: _RetryRule,
    lives: _Lives,
) -> tuple[Ticket, ...]:
    planned = plan.get("tickets") or []
    num_wanted = plan.get("n_trials")
    attempts: dict[int, list[FrozenTrial]] = {
        ticket: [] for ticket in range(len(planned) if num_wanted is None else num_wanted)
    }
    strangers = []
    for trial in trials:
        if isinstance(trial.user_attrs.get("ticket"), int):
            attempts.setdefault(trial.user_attrs["ticket"], []).append(trial)
        elif trial.state.is_finished() or not plan:
            # Somebody's own; in a study of ours one that is not finished becomes a ticket when
            # it is claimed.
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
    retry: _RetryRule,
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
    if state == FAIL and retry.covers(begun, reason):
        state = WAITING
    return Ticket(ticket, state, values, tuple(attempts), last, reason)
