"""What is asked of Slurm and told to it, through its own commands."""

from __future__ import annotations

import logging
import os
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

log = logging.getLogger(__name__)

# A controller that is busy, or that fails over to another one, answers late.
_TIMEOUT_S = 60.0
PENDING = "PENDING"
RUNNING = "RUNNING"
COMPLETED = "COMPLETED"
CANCELLED = "CANCELLED"
PREEMPTED = "PREEMPTED"
# States that a job stays in; it may be put back into the queue from all of them.
_ENDED = frozenset(
    {
        *(COMPLETED, CANCELLED, PREEMPTED, "FAILED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY"),
        *("BOOT_FAIL", "DEADLINE"),
    }
)


class SlurmError(RuntimeError):
    """A command of Slurm did not do what it was asked."""


@dataclass(frozen=True)
class JobState:
    """How a job stands.

    Attributes:
        state: In Slurm's words.
        node: Where it runs; empty before.
        reason: Why it waits.
    """

    state: str
    node: str = ""
    reason: str = ""

    @property
    def has_ended(self) -> bool:
        """Whether it does nothing any more, unless somebody puts it back into the queue."""
        return self.state in _ENDED

    @property
    def is_held(self) -> bool:
        """Whether it waits for somebody to release it."""
        return self.state == PENDING and "held" in self.reason.lower()


def states(job_ids: Iterable[str]) -> dict[str, JobState]:
    """How jobs stand; those that Slurm has forgotten are missing.

    Args:
        job_ids: "12" or, of an array, "12_3".

    Raises:
        SlurmError: Nobody answers.
    """
    wanted = set(job_ids)
    if not wanted:
        return {}
    arrays = sorted({job_id.partition("_")[0] for job_id in wanted})
    command = ["squeue", "--noheader", "--array", "--states=all", f"--jobs={','.join(arrays)}"]
    try:
        text = _run([*command, "--format=%i|%T|%N|%r"])
    except SlurmError as error:
        if "Invalid job id" in str(error):
            return {}
        raise
    found = {}
    for line in text.splitlines():
        job_id, state, node, reason = (part.strip() for part in line.split("|", maxsplit=3))
        if job_id in wanted:
            found[job_id] = JobState(state, node, "" if reason == "None" else reason)
    return found


def jobs_of_scripts(folder: Path) -> list[str]:
    """The ids of this user's jobs whose script lies in a folder.

    Args:
        folder: Absolute, as it was told to sbatch.

    Raises:
        SlurmError: Nobody answers.
    """
    command = ["squeue", "--noheader", "--array", "--states=all", "--me", "--format=%i|%o"]
    lines = (line.split("|", maxsplit=1) for line in _run(command).splitlines())
    return [job_id for job_id, script in lines if script.startswith(f"{folder}{os.sep}")]


def cancel(job_ids: Iterable[str]) -> None:
    """Takes jobs out of the queue, and has those that run stop.

    Raises:
        SlurmError: Slurm does not do it.
    """
    if ids := list(job_ids):
        _run(["scancel", *ids])


def dismiss(job_ids: Iterable[str]) -> None:
    """Takes jobs out of the queue that have not begun; leaves others alone."""
    _tell("scancel", f"--state={PENDING}", job_ids=job_ids)


def interrupt(job_ids: Iterable[str]) -> None:
    """Asks running jobs to stop in order, and not to come back."""
    # Only the first process: it passes the word on to its workers.
    _tell("scancel", "--batch", "--signal=INT", f"--state={RUNNING}", job_ids=job_ids)


def kill(job_ids: Iterable[str]) -> None:
    """Ends jobs at once."""
    ids = list(job_ids)
    _tell("scancel", "--signal=KILL", f"--state={RUNNING}", job_ids=ids)
    _tell("scancel", job_ids=ids)


def requeue(job_id: str) -> None:
    """Puts a job back into the queue, whether it runs or has ended.

    Raises:
        SlurmError: Slurm does not want to.
    """
    _run(["scontrol", "requeue", job_id])


def own_job(environment: Mapping[str, str]) -> str:
    """The id of the job that this process is part of."""
    array = environment.get("SLURM_ARRAY_JOB_ID")
    task = environment.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{task}" if array and task else environment["SLURM_JOB_ID"]


def _tell(*command: str, job_ids: Iterable[str]) -> None:
    """Runs a command that has nothing to say; a failure is told, and asked again by the caller."""
    ids = list(job_ids)
    if not ids:
        # Without ids scancel means all jobs of the user.
        return
    try:
        _run([*command, *ids])
    except SlurmError as error:
        # Among many jobs there is always one that has just ended.
        log.debug("%s", error)


def _run(command: list[str]) -> str:
    """Runs a command of Slurm.

    Raises:
        SlurmError: It failed, with its words.
    """
    # What a user has set for squeue changes what it prints, and which jobs.
    env = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("SQUEUE_", "SCANCEL_"))
    }
    try:
        done = subprocess.run(  # noqa: S603 - Slurm's programs
            command,
            env=env,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
            # Ctrl-C is for this process alone, which may be asking for jobs to be stopped.
            process_group=0,
        )
    except subprocess.TimeoutExpired:
        raise SlurmError(f"{command[0]} does not answer") from None
    if done.returncode:
        words = " ".join(done.stderr.split()) or f"exit code {done.returncode}"
        raise SlurmError(f"{command[0]}: {words.removeprefix(f'{command[0]}: ')}")
    return done.stdout
