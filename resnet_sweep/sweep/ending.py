"""The end of a sweep: tables, results, what to type next, and the exit code."""

from __future__ import annotations

import logging
import shutil
import signal
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from omegaconf import OmegaConf
from optuna.trial import TrialState

from resnet_sweep.files import replacing
from resnet_sweep.started import typed_again
from resnet_sweep.study.queue import Queue
from resnet_sweep.study.standing import INTERRUPTED
from resnet_sweep.study.tickets import NUM_SHOWN
from resnet_sweep.wording import counted

if TYPE_CHECKING:
    from resnet_sweep.sweep.engine import Sweep
    from resnet_sweep.sweep.task import Task

log = logging.getLogger(__name__)

# See the exit codes of resnet_sweep.outcome; they are the same for any application.
SOME_FAILED, NOTHING_COMPLETED = 3, 4


class SweepFailedError(RuntimeError):
    """More trials failed than hydra.sweeper.max_failure_rate allows."""


def finish(sweep: Sweep, queue: Queue, task: Task, error: BaseException | None) -> None:
    """Writes and prints what came out, and ends the way the sweep ended.

    Raises:
        SystemExit: Natively, with 3 or 4 when trials have failed, 130 or 143 after a signal.
        SweepFailedError: As a drop-in, when too many have failed, or none has completed.
        BaseException: ``error``, if it is none of a signal.
    """
    queue.refresh()
    if queue.num_open() == 0 and queue.is_used_up():
        sweep.study.set_user_attr("used_up", True)
        log.info("every configuration of the space has been tried")
    _tidy(sweep, task)
    try:
        _report(sweep)
    except BaseException:
        # What went wrong with the tables says more than the same once again.
        with suppress(OSError):
            _write_best(sweep)
        raise
    _write_best(sweep)
    num_left, has_failed = queue.num_open(), queue.has_failed_too_often()
    if not num_left:
        # Nothing is left for workers of sweeps that are dead, and their names can go.
        sweep.session.withdraw()
    # It tells the same command that the tables are whole.
    sweep.study.set_user_attr(NUM_SHOWN, queue.ledger.num_ended())
    if num_left and not has_failed:
        left = "1 trial is left" if num_left == 1 else f"{num_left} trials are left"
        print(f"{left}; to go on: {typed_again()}", file=sys.stderr)
    if error is not None:
        _end_with(error, sweep.options.is_drop_in)
    if has_failed:
        _fail(sweep, queue)
    if sweep.options.is_drop_in:
        _refuse_nothing(sweep, num_left)
        return
    # Trials that no worker has taken have not ended.
    code = _exit_code(sweep) or (SOME_FAILED if num_left else 0)
    if code:
        raise SystemExit(code)


def end_unfinished(sweep: Sweep, error: BaseException) -> NoReturn:
    """Ends a sweep whose storage cannot be used, so that nothing can be shown of it.

    Args:
        sweep: With trials left, or without: nobody knows.
        error: What has ended it.

    Raises:
        SystemExit: After a signal.
        BaseException: ``error``.
    """
    print(f"the sweep has not come to its end; to go on: {typed_again()}", file=sys.stderr)
    try:
        # Whoever was asked to stop, and could not tell the storage, was stopped all the same.
        sweep.stop.raise_if_set()
    except KeyboardInterrupt as stopped:
        error = stopped
    _end_with(error, sweep.options.is_drop_in)


def _end_with(error: BaseException, is_drop_in: bool) -> NoReturn:
    if isinstance(error, KeyboardInterrupt) and not is_drop_in:
        # A task that ends in order has an exception of its own.
        raise SystemExit(128 + getattr(error, "signum", signal.SIGINT)) from None
    raise error


def _exit_code(sweep: Sweep) -> int:
    from resnet_sweep.study.reading import Snapshot

    tickets = Snapshot.take(sweep.study, sweep.folder).tickets
    # A study may have trials of somebody else's before ours.
    states = {ticket.state for ticket in tickets if ticket.ticket >= 0}
    if "COMPLETE" not in states:
        return NOTHING_COMPLETED
    return SOME_FAILED if "FAIL" in states else 0


def _fail(sweep: Sweep, queue: Queue) -> None:
    failed = sweep.study.get_trials(deepcopy=False, states=(TrialState.FAIL,))
    last = [t.user_attrs for t in failed if t.user_attrs.get("failure") != INTERRUPTED][-1]
    text = (
        f"{queue.ledger.num_failed()} of {sweep.plan.num_tickets} trials failed, more than "
        f"hydra.sweeper.max_failure_rate={sweep.options.max_failure_rate:g} allows; "
        f"the last: {last.get('error')}"
    )
    if not sweep.options.is_drop_in:
        log.error("%s", text)
        if num_left := queue.num_open():
            trials = counted(num_left, "trial is", "trials are")
            log.error("%s left; to go on, type a larger rate", trials)
        raise SystemExit(_exit_code(sweep) or SOME_FAILED)
    raise SweepFailedError(f"{text}\n{last.get('traceback', '')}")


def _refuse_nothing(sweep: Sweep, num_left: int) -> None:
    """With one objective hydra-optuna-sweeper fails when there is no best trial."""
    if num_left:
        raise SweepFailedError(f"workers have left {num_left} trials")
    complete = sweep.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if len(sweep.options.directions) == 1 and not complete:
        raise SweepFailedError("no trial has completed")


def _tidy(sweep: Sweep, task: Task) -> None:
    """Lets go of half files, and of what is large in trials that are not among the best."""
    from resnet_sweep.sweep.ranking import own_folders, ranking
    from resnet_sweep.sweep.tidying import remove_halves

    remove_halves(sweep.study, sweep.folder)
    keep = sweep.options.keep_checkpoints
    if keep is None or len(sweep.options.directions) > 1:
        return
    complete = sweep.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    for trial in ranking(sweep.study, complete)[keep:]:
        for one in own_folders(trial, sweep.study, sweep.folder):
            task.discard(one)


def _write_best(sweep: Sweep) -> None:
    """optimization_results.yaml, as hydra-optuna-sweeper writes it, with the trial's number."""
    study = sweep.study
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    results: dict[str, Any] = {"name": "optuna"}
    if len(sweep.options.directions) > 1:
        results["solutions"] = [
            {"params": one.params, "values": one.values, "number": one.number}
            for one in study.best_trials
        ]
    elif complete:
        best = study.best_trial
        results |= {"best_params": best.params, "best_value": best.value}
        results["best_number"] = best.number
    path: Path
    with replacing(sweep.folder.optimization_results_yaml) as path:
        OmegaConf.save(OmegaConf.create(results), path)


def _report(sweep: Sweep) -> None:
    """Prints the table and writes the report."""
    from resnet_sweep.report.report import Report
    from resnet_sweep.report.studies import study_source
    from resnet_sweep.report.terminal import tell_and_write
    from resnet_sweep.study.reading import Snapshot

    snapshot = Snapshot.take(sweep.study, sweep.folder)
    if not sweep.session.has_company():
        # It is this sweep alone that still seems to work on it.
        snapshot = replace(snapshot, is_active=False, left_s=None)
    report = Report([study_source(snapshot, sweep.folder.path)])
    # A file has no width; a terminal that is too narrow gets fewer columns.
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    tell_and_write(report, sweep.folder, width, Path(sweep.master.hydra.runtime.cwd))
