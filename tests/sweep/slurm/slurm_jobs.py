"""What tests ask of Slurm and do to its jobs."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import psutil

SLURM = ("hydra/launcher=slurm",)


def slurm_says(*command: str) -> str:
    """What a command of Slurm prints; nothing when it fails, as for a job that has just ended."""
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def jobs_of(cwd: Path, *states: str) -> list[str]:
    """Jobs that were submitted in a folder, of other tests' none; by default those that run."""
    wanted = ",".join(states or ("RUNNING",))
    lines = slurm_says("squeue", "-h", "--array", f"--states={wanted}", "-o", "%i %Z").splitlines()
    return [job for job, folder in map(str.split, lines) if Path(folder) == cwd]


def kill_job(job_id: str) -> None:
    """SIGKILL to all processes of a job, of which Slurm knows nothing before."""
    array, _, index = job_id.partition("_")
    for one in psutil.process_iter():
        try:
            env = one.environ()
            if env.get("SLURM_ARRAY_JOB_ID", env.get("SLURM_JOB_ID")) == array and (
                not index or env.get("SLURM_ARRAY_TASK_ID") == index
            ):
                os.kill(one.pid, signal.SIGKILL)
        except (psutil.Error, ProcessLookupError):
            continue
