"""The jobs of a launch, and those that a dead process has left: submitted, watched, summed up."""

from __future__ import annotations

import logging
import signal
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from hydra.core.utils import JobReturn, JobStatus

from resnet_sweep.faults import StorageError
from resnet_sweep.sweep.interrupt import CountedSignals, Interrupted
from resnet_sweep.sweep.local.serve import JobRequest, failed_return, unpack_return
from resnet_sweep.sweep.slurm import cluster
from resnet_sweep.sweep.slurm.launcher import HOME
from resnet_sweep.sweep.slurm.member import Member, SlurmJobError
from resnet_sweep.sweep.slurm.submission import LOGS, Launch, submit
from resnet_sweep.sweep.slurm.task import Order
from resnet_sweep.sweep.worker import Worker, open_queue
from resnet_sweep.wording import counted

if TYPE_CHECKING:
    from resnet_sweep.study.queue import Queue
    from resnet_sweep.sweep.slurm.config import SlurmLauncherConf

log = logging.getLogger(__name__)

# How soon a signal is noticed, and a job that has returned.
_POLL_S = 0.2
# How often Slurm is asked: soon after something has happened, later less and less.
_FIRST_LOOK_S, _LAST_LOOK_S = 1.0, 15.0
# How often it is asked to stop what does not stop.
_NAG_S = 5.0
# How often it is told how many jobs run and wait.
_TELL_S = 10.0


class Crew:
    """The jobs of Slurm that work for one launch.

    Args:
        options: The launcher's.
        folder: The sweep's.
        task: What the jobs call.
        payload: What all jobs have in common.
        signals: Counts the signals that have come to this process.
    """

    def __init__(
        self,
        options: SlurmLauncherConf,
        folder: Path,
        task: Any,
        payload: IO[bytes],
        signals: CountedSignals,
    ) -> None:
        self._options, self._folder, self._payload = options, folder, payload
        self._signals = signals
        self._worker = task if isinstance(task, Worker) else None
        self._is_quiet = bool(getattr(task, "quiet_workers", False))
        self._launches: list[Launch] = []
        self._members: list[Member] = []
        self._queue: Queue | None = None
        self._told: tuple[str, float] = ("", 0.0)
        self._look_after_s = _FIRST_LOOK_S
        self._is_deaf = False

    def run(self, requests: Sequence[JobRequest]) -> list[JobReturn]:
        """Runs jobs of the sweep; see SlurmLauncher.launch."""
        try:
            self._work(requests)
        except BaseException:
            self._leave()
            raise
        finally:
            if self._queue is not None:
                from resnet_sweep.study.storage import close_storage

                close_storage(self._queue.study._storage)
        for launch in self._launches:
            launch.remove()
        if self._signals.signum is not None:
            raise Interrupted(self._signals.signum)
        self._heed_cancelling()
        return self._returns(requests)

    def _work(self, requests: Sequence[JobRequest]) -> None:
        """Submits what is missing, and waits for all."""
        try:
            if self._worker is not None:
                self._inherit()
            wanted = list(requests[: self._num_missing(len(requests))])
            if wanted and not self._signals.count:
                self._submit(wanted)
            self._watch()
        except Exception as error:
            if not self._signals.count:
                raise
            # Whatever it is: who has asked this process to stop wants no job to run on.
            log.error("%s: %s", type(error).__name__, error)
            if self._open():
                self._stop()

    def _leave(self) -> None:
        """Lets another launch take over the jobs that run on."""
        for launch in self._launches:
            launch.lock.release()
        if members := self._open():
            log.warning("jobs %s of Slurm are left alone; %s ends them", *_ways_out(members))

    def _inherit(self) -> None:
        """Takes over the workers that an earlier launch into this folder has left."""
        for launch in Launch.left_behind(self._folder / HOME):
            self._launches.append(launch)
            self._members += [
                Member(job_id, launch.result(job_id), (), launch.num_slots)
                for job_id in launch.job_ids
                # What ended before is nothing that happens to this launch.
                if not launch.result(job_id).exists()
            ]
        self._look(self._open(), is_first=True)
        self._members = self._open()
        if self._members:
            num_workers = sum(one.num_slots for one in self._members)
            ids = _ids(self._members)
            log.info("%d workers of an earlier sweep are there: jobs %s", num_workers, ids)

    def _num_missing(self, num_requests: int) -> int:
        """How many jobs of the sweep have to be submitted."""
        if self._worker is None or not self._members:
            return num_requests
        if self._has_nothing_to_take():
            return 0
        known = sum(one.num_slots for one in self._open())
        return max(0, min(num_requests, self._worker.spec.budget.num_workers - known))

    def _submit(self, requests: Sequence[JobRequest]) -> None:
        options, per_job = self._options, self._options.workers_per_job
        parts = [requests[i : i + per_job] for i in range(0, len(requests), per_job)]
        spec = None if self._worker is None else self._worker.spec
        orders = [
            Order(
                folder=self._folder,
                requests=tuple(part),
                num_slots=min(per_job, len(part)),
                max_restarts=options.max_restarts,
                restart_window_s=options.restart_window_s if self._is_quiet else None,
                logs=self._folder / LOGS if self._is_quiet else None,
                study=None if spec is None else spec.folder,
                session="" if spec is None else spec.session,
            )
            for part in parts
        ]
        limit = len(parts) if options.workers is None else -(-options.workers // per_job)
        home = self._folder / HOME
        launch = submit(options, home, self._payload, orders, min(limit, len(parts)))
        self._launches.append(launch)
        new = [
            Member(job_id, launch.result(job_id), order.requests, order.num_slots)
            for job_id, order in zip(launch.job_ids, orders, strict=True)
        ]
        self._members += new
        log.info("submitted: jobs %s of Slurm; they print into %s", _ids(new), self._folder / LOGS)

    def _open(self) -> list[Member]:
        return [one for one in self._members if not one.has_ended]

    def _watch(self) -> None:
        """Waits until all jobs have ended."""
        next_look_s = 0.0
        while members := self._open():
            if self._signals.count:
                self._stop()
                return
            num_ended = self._take_results(members)
            now_s = time.monotonic()
            if num_ended or now_s >= next_look_s:
                changed = self._look(self._open())
                self._dismiss_idle()
                is_new = bool(num_ended or changed)
                self._look_after_s = _FIRST_LOOK_S if is_new else self._look_after_s * 1.5
                self._look_after_s = min(self._look_after_s, _LAST_LOOK_S)
                next_look_s = now_s + self._look_after_s
            time.sleep(_POLL_S)

    def _take_results(self, members: Iterable[Member]) -> int:
        """Takes what jobs have returned; how many did."""
        names = {path.name for one in self._launches for path in one.folder.iterdir()}
        done = [one for one in members if one.result.name in names]
        for one in done:
            one.take_result()
        return len(done)

    def _look(self, members: Sequence[Member], *, is_first: bool = False) -> bool:
        """Asks Slurm how the jobs stand; whether anything has changed.

        Args:
            members: The jobs.
            is_first: They were inherited: what Slurm does not know is long gone.
        """
        if not members:
            return False
        try:
            found = cluster.states(one.job_id for one in members)
        except cluster.SlurmError as error:
            if not self._is_deaf:
                log.warning("%s; the jobs work on meanwhile, and it is asked again", error)
            self._is_deaf = True
            return False
        self._is_deaf = False
        before = [(one.state, one.has_ended) for one in members]
        for one in members:
            if is_first and one.job_id not in found:
                one.has_ended = True
            else:
                one.look_at(found.get(one.job_id), self._rule())
        self._tell([one for one in members if not one.has_ended], found)
        return before != [(one.state, one.has_ended) for one in members]

    def _rule(self) -> tuple[int, float | None]:
        options = self._options
        return options.max_restarts, options.restart_window_s if self._is_quiet else None

    def _tell(self, members: Sequence[Member], found: dict[str, cluster.JobState]) -> None:
        """Says how many jobs run, and why others wait, when that has changed."""
        counts = Counter(
            "run" if one.state != cluster.PENDING else f"wait ({found[one.job_id].reason or 'new'})"
            for one in members
            if one.job_id in found
        )
        text = ", ".join(f"{num} {what}" for what, num in sorted(counts.items()))
        before, told_s = self._told
        if text and text != before and time.monotonic() - told_s > _TELL_S:
            self._told = text, time.monotonic()
            log.info("jobs of Slurm: %s", text)

    def _dismiss_idle(self) -> None:
        """Takes workers out of the queue that would find nothing to do."""
        waiting = [one for one in self._open() if one.state == cluster.PENDING]
        if waiting and any(one.has_returned for one in self._members):
            try:
                if not self._has_nothing_to_take():
                    return
            except StorageError as error:
                # The workers wait for it themselves; here it is asked again later.
                log.warning("%s; the jobs work on meanwhile", error.faults[0])
                return
            for one in waiting:
                one.is_dismissed = True
            cluster.dismiss(one.job_id for one in waiting)

    def _has_nothing_to_take(self) -> bool:
        """Whether a worker that began now would find nothing to do."""
        if self._worker is None:
            return False
        if self._queue is None:
            self._queue = open_queue(self._worker.spec)
        self._queue.refresh()
        return self._queue.num_open() <= len(self._queue.ledger.running)

    def _stop(self) -> None:
        """Asks all jobs to stop, and waits for them; a second signal kills them.

        Raises:
            Interrupted: A third one came; what jobs do then is not known.
        """
        jobs = counted(len(self._open()), "job of Slurm", "jobs of Slurm")
        log.warning("stopping %s; a second signal kills them", jobs)
        asked_s, is_killing, is_deaf = 0.0, False, False
        while members := self._open():
            if self._signals.count > 2 and self._signals.signum is not None:
                raise Interrupted(self._signals.signum)
            is_late = time.monotonic() - asked_s > _NAG_S
            if is_late or (self._signals.count > 1 and not is_killing):
                ids = [one.job_id for one in members]
                is_killing, asked_s = self._signals.count > 1, time.monotonic()
                cluster.dismiss(ids)
                (cluster.kill if is_killing else cluster.interrupt)(ids)
            time.sleep(_POLL_S)
            try:
                found = cluster.states(one.job_id for one in members)
            except cluster.SlurmError as error:
                if not is_deaf:
                    what = "it is asked again, and a third signal leaves the jobs alone"
                    log.warning("%s; %s", error, what)
                is_deaf = True
                continue
            is_deaf = False
            for one in members:
                state = found.get(one.job_id)
                one.has_ended = state is None or state.has_ended

    def _heed_cancelling(self) -> None:
        """Who has cancelled all jobs wants no new ones."""
        members = self._members
        if self._worker is not None and members and all(one.was_cancelled for one in members):
            log.error("all jobs of Slurm were cancelled: the sweep stops")
            raise Interrupted(signal.SIGTERM)

    def _returns(self, requests: Sequence[JobRequest]) -> list[JobReturn]:
        """What the jobs returned; workers that were not needed have done nothing."""
        found = {
            request.num: job_return
            for one in self._members
            for request, job_return in zip(one.requests, self._returns_of(one), strict=True)
        }
        return [found.get(one.num) or _idle_return(one) for one in requests]

    def _returns_of(self, member: Member) -> list[JobReturn]:
        if member.packed is not None:
            return [
                unpack_return(packed, request.overrides)
                for packed, request in zip(member.packed, member.requests, strict=True)
            ]
        if self._worker is not None and (member.is_dismissed or member.was_cancelled):
            # Others have done its work.
            return [_idle_return(one) for one in member.requests]
        logs = self._folder / LOGS
        error = SlurmJobError(f"job {member.job_id} of Slurm {member.end}; see {logs}/*.log")
        return [failed_return(one.overrides, error) for one in member.requests]


def _idle_return(request: JobRequest) -> JobReturn:
    job_return = JobReturn(overrides=list(request.overrides), status=JobStatus.COMPLETED)
    job_return.return_value = 0
    return job_return


def _ways_out(members: Sequence[Member]) -> tuple[str, str]:
    """Jobs, and the command that ends them."""
    arrays = dict.fromkeys(one.job_id.partition("_")[0] for one in members)
    return _ids(members), " ".join(["scancel", *arrays])


def _ids(members: Sequence[Member]) -> str:
    """Ids of jobs, shorter where they are one array: "12_[0-7]"."""
    by_array: dict[str, list[int]] = {}
    for one in members:
        array, _, index = one.job_id.partition("_")
        by_array.setdefault(array, []).extend([int(index)] if index else [])
    return ", ".join(
        f"{array}_[{min(found)}-{max(found)}]"
        if len(found) > 1
        else members[0].job_id
        if len(by_array) == 1
        else (f"{array}_{found[0]}" if found else array)
        for array, found in by_array.items()
    )
