"""One job of Slurm, as the process that looks after it sees it."""

from __future__ import annotations

import logging
import time
from pathlib import Path

from resnet_sweep.sweep.local.serve import JobRequest
from resnet_sweep.sweep.slurm import cluster

log = logging.getLogger(__name__)

# On a shared file system a file may be seen so much later than it was written.
_RESULT_GRACE_S = 15.0
# A job that Slurm has not shown so often in a row is forgotten by it.
_NUM_MISSES = 3


class SlurmJobError(RuntimeError):
    """A job of Slurm ended without a word."""


class Member:
    """A job of Slurm with what it has to do.

    Attributes:
        job_id: "12" or "12_3".
        result: The file that it writes when it has done all.
        requests: Its jobs of the sweep; none known of one that was inherited.
        num_slots: How many of them run at a time.
        state: In Slurm's words, as it was last seen.
        has_ended: Nothing comes of it any more.
        packed: What its jobs of the sweep returned.
        has_returned: It has done all that it had to do.
        was_cancelled: Somebody has ended it on purpose.
        is_dismissed: We ourselves have taken it out of the queue.
        end: How it ended, when it did not return: "ended in state TIMEOUT on node a".
    """

    def __init__(
        self, job_id: str, result: Path, requests: tuple[JobRequest, ...], num_slots: int
    ) -> None:
        self.job_id, self.result = job_id, result
        self.requests, self.num_slots = requests, num_slots
        self.state = cluster.PENDING
        self.has_ended = self.has_returned = self.was_cancelled = self.is_dismissed = False
        self.packed: list[bytes] | None = None
        self.end = ""
        self._num_misses = 0
        self._num_deaths = 0
        self._running_since_s = time.monotonic()
        self._ended_since_s: float | None = None
        self._was_held = False

    def take_result(self) -> None:
        """Reads what the job has written at its end."""
        from submitit.core.utils import pickle_load

        self.has_ended = True
        try:
            outcome, value = pickle_load(self.result)
        except Exception as error:
            self.end = f"has left a result that cannot be read: {type(error).__name__}: {error}"
            log.error("job %s of Slurm %s", self.job_id, self.end)
            return
        if outcome == "success":
            self.has_returned = True
            self.packed = value if self.requests else None
            return
        # The traceback's last line says what was raised.
        self.end = f"failed: {value.strip().splitlines()[-1]}"
        log.error("job %s of Slurm %s", self.job_id, self.end)

    def look_at(self, seen: cluster.JobState | None, rule: tuple[int, float | None]) -> None:
        """Takes in what Slurm says about the job.

        Args:
            seen: Its state; None when Slurm does not know it.
            rule: How often in a row it is started again when it dies, and how long it must
                have lived to begin a new row; None: there is only one.
        """
        if seen is None:
            self._num_misses += 1
            if self._num_misses >= _NUM_MISSES:
                self._finish("is not known to Slurm any more, and has not returned")
            return
        self._num_misses = 0
        if not seen.has_ended:
            if seen.state == cluster.RUNNING and self.state != cluster.RUNNING:
                self._running_since_s = time.monotonic()
            self.state, self._ended_since_s = seen.state, None
            self._say_held(seen)
            return
        self._take_end(seen, rule)

    def _take_end(self, seen: cluster.JobState, rule: tuple[int, float | None]) -> None:
        where = f" on node {seen.node}" if seen.node else ""
        end = f"ended in state {seen.state}{where}"
        if seen.state == cluster.COMPLETED:
            self._ended_since_s = self._ended_since_s or time.monotonic()
            if time.monotonic() - self._ended_since_s > _RESULT_GRACE_S:
                self._finish(f"{end} and has not returned")
            return
        if seen.state == cluster.CANCELLED:
            if not self.is_dismissed:
                self.was_cancelled = True
                log.warning("job %s of Slurm was cancelled%s", self.job_id, where)
            self.has_ended, self.end = True, f"was cancelled{where}"
            return
        if seen.state != cluster.PREEMPTED:
            window_s = rule[1]
            lived_s = time.monotonic() - self._running_since_s
            if window_s is not None and lived_s > window_s:
                self._num_deaths = 0
            self._num_deaths += 1
        if self._num_deaths > rule[0]:
            self._finish(end)
            return
        self._start_again(end)

    def _start_again(self, end: str) -> None:
        try:
            cluster.requeue(self.job_id)
        except cluster.SlurmError as error:
            self._finish(f"{end}, and cannot be started again: {error}")
            return
        self.state = cluster.PENDING
        log.warning("job %s of Slurm %s, and is put back into the queue", self.job_id, end)

    def _finish(self, end: str) -> None:
        self.has_ended, self.end = True, end
        log.error("job %s of Slurm %s", self.job_id, end)

    def _say_held(self, seen: cluster.JobState) -> None:
        if seen.is_held and not self._was_held:
            log.warning(
                "job %s of Slurm is held back (%s); scontrol release %s lets it go on",
                *(self.job_id, seen.reason, self.job_id),
            )
        self._was_held = seen.is_held
