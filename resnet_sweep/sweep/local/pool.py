"""Jobs over slots: one job a slot at a time, the next as soon as one is free."""

from __future__ import annotations

import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing import connection
from pathlib import Path
from typing import IO

from hydra.core.utils import JobReturn

from resnet_sweep.sweep.interrupt import CountedSignals, Interrupted
from resnet_sweep.sweep.local.process import SlotProcess
from resnet_sweep.sweep.local.serve import JobRequest, failed_return, unpack_return
from resnet_sweep.sweep.local.slots import Slot
from resnet_sweep.wording import counted

log = logging.getLogger(__name__)

# How soon a signal, or a death that no connection tells of, is noticed.
_POLL_S = 0.1
# For what a process does at its end, exit handlers for instance, when all jobs are done.
_EXIT_GRACE_S = 10.0


class WorkerDiedError(RuntimeError):
    """The process of a job died each time it was started."""


@dataclass(frozen=True)
class RestartRule:
    """How often a job whose process has died is started again.

    Attributes:
        max_restarts: At most so often in a row.
        window_s: A process that has lived longer begins a new row; None: there is only one.
        progress: How far the job of a number is; one that has got on begins a new row.
        died: Told of a death, the job's number and how its process has ended, before it is
            started again.
    """

    max_restarts: int
    window_s: float | None = None
    progress: Callable[[int], int] | None = None
    died: Callable[[int, str], None] | None = None


@dataclass
class _Job:
    position: int
    request: JobRequest
    num_deaths: int = 0
    progress: int = 0


class _Seat:
    """A slot with the process and the job in it, where there are any."""

    def __init__(self, slot: Slot) -> None:
        self.slot = slot
        self.process: SlotProcess | None = None
        self.job: _Job | None = None
        self.started_s = 0.0


class Pool:
    """Runs jobs in the processes of slots.

    Args:
        slots: Where; no more of them are used than there are jobs.
        payload: What all jobs have in common.
        rule: When a job whose process died is given up.
        extra_env: What the processes find in their environment besides the slot's.
        logs: A folder for what the processes print; None leaves it on the terminal.
    """

    def __init__(
        self,
        slots: Sequence[Slot],
        payload: IO[bytes],
        rule: RestartRule,
        extra_env: Mapping[str, str],
        logs: Path | None,
    ) -> None:
        self._seats = [_Seat(slot) for slot in slots]
        self._payload, self._rule = payload, rule
        self._extra_env, self._logs = extra_env, logs
        self._waiting: deque[_Job] = deque()
        self._returns: dict[int, JobReturn] = {}

    def run(
        self, requests: Sequence[JobRequest], signals: CountedSignals | None = None
    ) -> list[JobReturn]:
        """Runs all jobs and returns what they returned, in their order.

        Args:
            requests: The jobs.
            signals: Counts what asks for a stop; None for SIGINT and SIGTERM.

        Raises:
            Interrupted: SIGINT or SIGTERM came, and all processes have ended: by themselves
                when they had done with it, or killed by a second one.
        """
        self._waiting = deque(_Job(i, request) for i, request in enumerate(requests))
        with contextlib.nullcontext(signals) if signals else CountedSignals() as signals:
            try:
                while not signals.count and (self._waiting or self._busy()):
                    self._fill()
                    self._collect()
                if signals.count:
                    self._stop(signals)
                else:
                    self._let_end(signals)
            finally:
                self._end_all()
        if signals.signum is not None:
            raise Interrupted(signals.signum)
        return [self._returns[i] for i in range(len(requests))]

    def _busy(self) -> list[_Seat]:
        return [seat for seat in self._seats if seat.job is not None]

    def _alive(self) -> list[SlotProcess]:
        return [seat.process for seat in self._seats if seat.process and seat.process.is_alive]

    def _fill(self) -> None:
        for seat in self._seats:
            if seat.job is None and self._waiting:
                self._give(seat, self._waiting.popleft())
            elif seat.job is None and seat.process is not None:
                # Nothing is left for it; a GPU's memory need not wait for the other slots.
                seat.process.dismiss()

    def _give(self, seat: _Seat, job: _Job) -> None:
        if seat.process is not None and not seat.process.is_alive:
            seat.process.end()
            seat.process = None
        if seat.process is None:
            path = self._logs / f"{seat.slot.name}.log" if self._logs else None
            seat.process = SlotProcess(seat.slot, self._payload, self._extra_env, path)
            log.info("slot %s: process %d started", seat.slot.name, seat.process.pid)
        seat.job, seat.started_s = job, time.monotonic()
        seat.process.send(job.request)

    def _collect(self) -> None:
        """Waits a moment for jobs to end, and takes up what has happened."""
        busy = {seat.process.connection: seat for seat in self._busy() if seat.process}
        for ready in connection.wait(list(busy), timeout=_POLL_S):
            assert isinstance(ready, connection.Connection)
            self._take(busy.pop(ready))
        for seat in busy.values():
            # What a job has started may hold the connection open after it has died.
            if seat.process and not seat.process.is_alive and not seat.process.connection.poll():
                self._bury(seat)

    def _take(self, seat: _Seat) -> None:
        assert seat.process is not None
        assert seat.job is not None
        reply = seat.process.receive()
        if reply is None or reply.packed is None:
            self._bury(seat)
            return
        self._returns[seat.job.position] = unpack_return(reply.packed, seat.job.request.overrides)
        seat.job = None

    def _bury(self, seat: _Seat) -> None:
        """Starts the job of a process that has died again, or gives it up."""
        assert seat.process is not None
        assert seat.job is not None
        job, end, path = seat.job, seat.process.last_words(), seat.process.log
        seat.process = seat.job = None
        if self._rule.died is not None:
            self._rule.died(job.request.num, end)
        window_s = self._rule.window_s
        if window_s is not None and time.monotonic() - seat.started_s > window_s:
            job.num_deaths = 0
        if self._rule.progress is not None:
            before, job.progress = job.progress, self._rule.progress(job.request.num)
            if job.progress > before:
                job.num_deaths = 0
        job.num_deaths += 1
        where = f"; see {path}" if path else ""
        if job.num_deaths <= self._rule.max_restarts:
            count = f"{job.num_deaths} of {self._rule.max_restarts}"
            log.warning("slot %s: %s, started again (%s)%s", seat.slot.name, end, count, where)
            self._give(seat, job)
            return
        text = f"job {job.request.num} on slot {seat.slot.name} died: {end}"
        if job.num_deaths > 1:
            text += f", and so did the {job.num_deaths - 1} before it"
        log.error("%s%s", text, where)
        self._returns[job.position] = failed_return(
            job.request.overrides, WorkerDiedError(text + where)
        )

    def _stop(self, signals: CountedSignals) -> None:
        """Asks all processes to stop and waits for them, until a second signal comes."""
        alive = self._alive()
        processes = counted(len(alive), "process", "processes")
        log.warning("stopping %s; a second signal kills them", processes)
        for seat in self._seats:
            if seat.process is not None:
                seat.process.ask_to_stop()
                if seat.job is None:
                    seat.process.dismiss()
        while signals.count < 2 and (alive := self._alive()):
            # A return that nobody reads would keep its process from ending.
            open_ = [process.connection for process in alive if not process.connection.closed]
            for ready in connection.wait(open_, timeout=_POLL_S):
                assert isinstance(ready, connection.Connection)
                try:
                    ready.recv_bytes()
                except (EOFError, ConnectionResetError):
                    ready.close()

    def _let_end(self, signals: CountedSignals) -> None:
        self._fill()
        deadline_s = time.monotonic() + _EXIT_GRACE_S
        while self._alive() and not signals.count and time.monotonic() < deadline_s:
            time.sleep(_POLL_S)

    def _end_all(self) -> None:
        for seat in self._seats:
            if seat.process is not None:
                seat.process.end()
                seat.process = None
