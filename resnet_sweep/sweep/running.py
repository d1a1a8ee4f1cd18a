"""Workers from the first to the last: launched, launched again, watched, summed up."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from hydra._internal.callbacks import Callbacks
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn
from optuna.storages import InMemoryStorage

from resnet_sweep.faults import ConfigError, DataError, Fault, StorageError
from resnet_sweep.study.queue import Budget, Queue
from resnet_sweep.study.standing import DATA, DISK, INTERRUPTED
from resnet_sweep.study.storage import claim_lock
from resnet_sweep.study.tickets import LOST, is_of
from resnet_sweep.sweep.conditions import lookup_in
from resnet_sweep.sweep.ending import end_unfinished, finish
from resnet_sweep.sweep.foresight import report_loading
from resnet_sweep.sweep.plan import stand_ins
from resnet_sweep.sweep.samplers import SamplerFactory
from resnet_sweep.sweep.slots import (
    launches_here,
    launches_on_ray,
    num_workers,
    tidy_up,
    workers_outlive,
)
from resnet_sweep.sweep.stopping import KILL_AFTER_S
from resnet_sweep.sweep.unwritable import UnwritableError
from resnet_sweep.sweep.worker import Spec, Worker

if TYPE_CHECKING:
    from resnet_sweep.sweep.config import Options
    from resnet_sweep.sweep.engine import Sweep
    from resnet_sweep.sweep.task import Task

log = logging.getLogger(__name__)

# Launches in a row after which no trial more had ended.
_MAX_IDLE_LAUNCHES = 3
# How often it is looked whether trials of others have ended.
_POLL_S = 0.2
_OTHER_DATA = (
    "mend the images and give the same command again; with other settings it is another study, "
    "under another hydra.sweeper.study_name"
)
# Workers of a launcher that was interrupted are given so long to end.
_PATIENCE_S = 15.0


def run_workers(sweep: Sweep, task: Task) -> None:
    """Runs workers until nothing is left, and ends the sweep the way it went.

    Raises:
        SystemExit: See ending.finish.
        StorageError: The storage cannot be used, and was waited for.
    """
    count = num_workers(sweep.options, sweep.num_slots, sweep.plan.num_tickets)
    spec = _spec(sweep, count)
    lock = claim_lock(sweep.study._storage, spec.storage, sweep.folder, spec.study_name)
    queue = Queue(sweep.study, spec.budget, sweep.folder, lock)
    # Trials of a sweep that was killed: it says nothing about them.
    queue.reap(INTERRUPTED)
    if queue.num_open() == 0:
        log.info("all %d trials are done already", sweep.plan.num_tickets)
    error: BaseException | None = None
    with _watched(sweep), _foreseeing_end(spec):
        try:
            _launch_until_done(sweep, spec, queue)
        except BaseException as raised:
            error = raised
            if isinstance(raised, KeyboardInterrupt):
                # From here on the next signal is the second one.
                sweep.stop.set(getattr(raised, "signum", signal.SIGINT))
            # Trials that cannot be ended now are ended by the sweep that goes on.
            with contextlib.suppress(StorageError):
                _gather(sweep, queue)
    if isinstance(error, StorageError):
        end_unfinished(sweep, error)
    try:
        finish(sweep, queue, task, error)
    except StorageError as away:
        end_unfinished(sweep, error or away)
    except OSError as failure:
        if error is None:
            raise
        # That it was stopped says more.
        log.error("what has come out could not be written: %s", failure)
        end_unfinished(sweep, error)


def _spec(sweep: Sweep, count: int) -> Spec:
    options, plan = sweep.options, sweep.plan
    size = None
    if plan.num_drawn and options.duplicates == "reuse" and options.custom_search_space is None:
        size = plan.space.size() if not plan.only_planned else None
    budget = Budget(
        planned=plan.planned,
        num_tickets=plan.num_tickets,
        num_configurations=size,
        retry=options.retry,
        max_failure_rate=options.max_failure_rate,
        close_slot_after=options.close_slot_after,
        num_workers=count,
        killed_after_s=_killed_after_s(options),
    )
    assert options.study_name is not None
    return Spec(
        folder=sweep.folder.path,
        storage=options.storage,
        study_name=options.study_name,
        session=sweep.session.id,
        plan=plan,
        budget=budget,
        samplers=SamplerFactory(options.sampler, sweep.seed),
        pruner=options.pruner,
        task=options.task,
        custom_search_space=options.custom_search_space,
        num_objectives=len(options.directions),
        repeats=options.repeats,
        seed_key=options.seed_key,
        reuse_duplicates=options.duplicates == "reuse",
        timeout_s=options.timeout_s,
        timeout_grace_s=options.timeout_grace_s,
        keep_checkpoints=options.keep_checkpoints,
        in_this_process=launches_here(sweep.master),
        # Who comes from hydra-optuna-sweeper may say so that a configuration is impossible.
        takes_infinity=options.is_drop_in,
    )


def _killed_after_s(options: Options) -> float | None:
    if options.timeout_s is None:
        return None
    return (options.timeout_s + options.timeout_grace_s + KILL_AFTER_S) * options.repeats


@contextlib.contextmanager
def _watched(sweep: Sweep) -> Iterator[None]:
    """Shows how the study stands while the workers run."""
    from resnet_sweep.study.reading import open_study
    from resnet_sweep.sweep.view import View

    here = launches_here(sweep.master)
    if isinstance(sweep.study._storage, InMemoryStorage):
        # Nobody else can open it, and its only worker is this process.
        yield
        return
    # Trials that run in this process print their own lines.
    is_live = sys.stderr.isatty() and not here
    view = View(sweep.folder, lambda: open_study(sweep.folder.path), sys.stderr, is_live=is_live)
    view.start()
    try:
        yield
    finally:
        view.stop()


def _foreseeing_end(spec: Spec) -> contextlib.AbstractContextManager[None]:
    # Where the trials run in this process, it does not just wait.
    return contextlib.nullcontext() if spec.in_this_process else report_loading()


def _launch_until_done(sweep: Sweep, spec: Spec, queue: Queue) -> None:
    """Launches workers as long as tickets are open and launching them helps."""
    num_idle = 0
    waits_for: list[int] = []
    is_cluster = workers_outlive(sweep.master)
    while True:
        sweep.stop.raise_if_set()
        queue.reap(LOST)
        queue.refresh()
        num_open, num_ended = queue.num_open(), queue.ledger.num_ended()
        num_good = queue.ledger.num_good()
        if num_open == 0 or queue.has_failed_too_often():
            if num_open == 0:
                tidy_up(sweep.master, sweep.folder)
            return
        others = queue.running_elsewhere(spec.session)
        count = spec.budget.num_workers
        # Workers that a dead sweep has left on a cluster are counted and watched by the launcher.
        has_heirs = is_cluster and sweep.session.num_inherited() > 0
        if len(others) >= num_open and not has_heirs:
            # What they run is not run twice.
            if others != waits_for:
                log.info("waits for trials %s, which workers of another sweep run", others)
            waits_for = others
            time.sleep(_POLL_S)
            continue
        failure: Exception | None = None
        if not queue.ledger.bad_slots(spec.session):
            # With a closed slot all are needed, to be sure that an open one is among them.
            count = min(count, num_open)
        try:
            _launch(sweep, spec, count)
        except StorageError as error:
            failure = error
        except ConfigError:
            raise
        except Exception as error:
            # One crashed worker takes all of joblib's with it; the study is none the worse.
            failure = error
            log.warning("the launcher has given up: %s: %s", type(error).__name__, error)
        queue.reap(INTERRUPTED if isinstance(failure, StorageError) else LOST)
        queue.refresh()
        if isinstance(failure, StorageError):
            # It works here: it is back, or away from the workers' machines only.
            log.warning("workers have ended: %s", failure.faults[0])
        _say_closed(queue, spec)
        _refuse_place(sweep, queue)
        # What a storage that is away has interrupted has ended as well, and is no progress.
        is_away = isinstance(failure, StorageError)
        has_moved = queue.ledger.num_ended() > num_ended and not (
            is_away and queue.ledger.num_good() == num_good
        )
        num_idle = 0 if has_moved else num_idle + 1
        if num_idle >= _MAX_IDLE_LAUNCHES:
            if failure is not None:
                raise failure
            log.error("workers end without running any of the %d open trials", num_open)
            return


def _say_closed(queue: Queue, spec: Spec) -> None:
    for slot in queue.closed_slots(spec.session):
        log.error(
            "slot %s was closed: %d trials in a row failed at once on it, while others worked on;"
            " they are tried again elsewhere",
            slot,
            spec.budget.close_slot_after,
        )


def _refuse_place(sweep: Sweep, queue: Queue) -> None:
    """Ends a sweep whose workers have no data or others, or no room for their files.

    Raises:
        UserError: With what a trial has said; it and the others stay open.
    """
    for session, (kind, error) in queue.ledger.refused.items():
        if session.partition(".")[0] == sweep.session.id and queue.num_open():
            said = error.partition(": ")[2] or error
            # Of a data setting this remedy would be refused: the study has another.
            fix = _OTHER_DATA if kind == DATA else ""
            fault = Fault("hydra.sweep.dir", sweep.folder.path, f"a trial says {said}", fix=fix)
            raise (UnwritableError if kind == DISK else DataError)([fault])


def _launch(sweep: Sweep, spec: Spec, count: int) -> None:
    """Runs so many workers through the configured launcher, until all have ended."""
    worker = Worker(spec, sweep.context, sweep.function, sweep.master)
    if spec.in_this_process:
        worker.work("0")
        return
    # The application's callbacks are for trials; its workers are nobody's business.
    quiet: Any = object.__new__(Callbacks)
    quiet.callbacks = []
    context = dataclasses.replace(sweep.context, callbacks=quiet)
    returns: Sequence[JobReturn]
    overrides_of = partial(_worker_overrides, sweep, spec)
    if launches_on_ray(sweep.master):
        from resnet_sweep.sweep.ray_workers import run_on_ray

        try:
            with sweep.stop.in_task():
                returns = run_on_ray(worker, context, sweep.master, overrides_of, count)
        except KeyboardInterrupt:
            # Ray makes one of its own of what a signal raises while it waits.
            sweep.stop.raise_if_set()
            raise
    else:
        launcher = Plugins.instance().instantiate_launcher(
            config=sweep.master, hydra_context=context, task_function=worker
        )
        with sweep.stop.in_task():
            returns = launcher.launch([overrides_of(i) for i in range(count)], initial_job_idx=0)
    for one in returns:
        # Raises what a worker has raised.
        if isinstance(one.return_value, StorageError):
            raise one.return_value


def _worker_overrides(sweep: Sweep, spec: Spec, index: int) -> list[str]:
    """A job in which a worker can be composed, even where a trial sets what is mandatory."""
    chosen = sweep.plan.chosen(next(stand_ins(sweep.plan)), lookup_in(sweep.master))
    return [
        *sweep.plan.space.overrides(chosen),
        f"hydra.sweep.subdir=workers/{spec.session}-{index}",
        # Trials choose their own folders, relative to where the user is.
        "hydra.job.chdir=false",
        "hydra.output_subdir=null",
    ]


def _gather(sweep: Sweep, queue: Queue) -> None:
    """Waits until workers of a sweep that is being stopped have ended, and notes their trials."""
    sweep.session.withdraw()
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        queue.reap(INTERRUPTED)
        own = [one for one in queue.ledger.running.values() if is_of(one, sweep.session.id)]
        if not own or time.monotonic() > deadline:
            return
        time.sleep(_POLL_S)
