"""Submitting a job array: the script for sbatch, made by submitit, and the jobs' private folder."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import secrets
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

from submitit.core.utils import FailedJobError, FailedSubmissionError
from submitit.slurm.slurm import SlurmExecutor

from resnet_sweep.faults import ConfigError, Fault
from resnet_sweep.files import replacing
from resnet_sweep.signals import STOP_SIGNALS
from resnet_sweep.study.locks import FileLock, is_held
from resnet_sweep.sweep.launcher_config import SLOT_VARIABLE
from resnet_sweep.sweep.slurm import cluster
from resnet_sweep.sweep.slurm.config import SlurmLauncherConf
from resnet_sweep.sweep.slurm.launcher import HOME
from resnet_sweep.sweep.slurm.task import PAYLOAD, TIME_IS_UP, Order, run_jobs
from resnet_sweep.sweep.worker import LIFE_VARIABLE

log = logging.getLogger(__name__)

LOGS = "workers"
_START = Path(__file__).with_name("start.py")
_JOBS = "jobs.json"
_LOCK = "parent.lock"
_TIMEOUT_S = 60.0
# Where the cluster is, and how its programs talk.
_KEPT = frozenset({"SLURM_CONF", "SLURM_CONF_SERVER", "SLURM_TIME_FORMAT", "SLURM_DEBUG_FLAGS"})
# So long jobs may take to notice that nothing is left for them.
_PATIENCE_S = 15.0
_POLL_S = 0.2
# Such jobs only have to wait; sbatch takes them.
_LATER = "down, drained or reserved"


@dataclass
class Launch:
    """A job array that was submitted, and its folder.

    Attributes:
        folder: Has what the jobs read and write; only its user may look into it.
        lock: Held by the process that looks after the jobs.
        job_ids: Of the jobs, in their order.
        num_slots: How many jobs of the sweep each runs at a time.
    """

    folder: Path
    lock: FileLock
    job_ids: tuple[str, ...]
    num_slots: int

    def result(self, job_id: str) -> Path:
        """Where submitit puts what a job returned."""
        return self.folder / f"{job_id}_0_result.pkl"

    def note(self) -> None:
        """Writes down what whoever takes the jobs over has to know.

        Raises:
            OSError: The file cannot be written.
        """
        with replacing(self.folder / _JOBS) as path:
            path.write_text(json.dumps({"job_ids": self.job_ids, "num_slots": self.num_slots}))

    def remove(self) -> None:
        """Deletes the folder, when its jobs are over."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.lock.release()
        with contextlib.suppress(OSError):
            # Not while there are others.
            self.folder.parent.rmdir()

    @classmethod
    def left_behind(cls, home: Path) -> list[Launch]:
        """Launches whose process is dead; they are ours from now on."""
        found = []
        for path in sorted(home.glob(f"*/{_JOBS}")):
            lock = FileLock(path.with_name(_LOCK))
            if is_held(lock.path) or not lock.try_acquire():
                continue
            try:
                known = json.loads(path.read_text())
            except FileNotFoundError:
                # Removed by whom we have just waited for.
                lock.release()
                continue
            job_ids = known["job_ids"]
            if not job_ids:
                # Killed while it submitted them, before their ids were written down.
                try:
                    job_ids = cluster.jobs_of_scripts(path.parent)
                except cluster.SlurmError as error:
                    log.warning("which jobs %s has is not known: %s", path.parent, error)
                    lock.release()
                    continue
            found.append(cls(path.parent, lock, tuple(job_ids), known["num_slots"]))
        return found


def remove_left_behind(folder: Path) -> None:
    """Ends launches whose process is dead, when nothing is left for their jobs.

    Args:
        folder: The sweep's.
    """
    for launch in Launch.left_behind(folder / HOME):
        try:
            # Who waits would find nothing to do; who runs is about to notice that.
            cluster.dismiss(launch.job_ids)
            _wait_for_end(launch.job_ids)
        except cluster.SlurmError as error:
            log.warning("%s stays: %s", launch.folder, error)
            launch.lock.release()
        else:
            launch.remove()


def _wait_for_end(job_ids: Sequence[str]) -> None:
    """Waits until jobs have ended.

    Raises:
        SlurmError: They have not soon, or nobody answers.
    """
    deadline_s = time.monotonic() + _PATIENCE_S
    while not all(one.has_ended for one in cluster.states(job_ids).values()):
        if time.monotonic() > deadline_s:
            raise cluster.SlurmError("jobs still run")
        time.sleep(_POLL_S)


class _Executor(SlurmExecutor):
    """submitit's, whose jobs start by our own file."""

    @property
    def _submitit_command_str(self) -> str:
        # In place of the shell, which would keep Slurm's signals to itself.
        words = ["-P", "-u", "-X", "faulthandler", str(_START), str(self.folder)]
        return f"exec {self.python} {shlex.join(words)}"


def submit(
    options: SlurmLauncherConf,
    home: Path,
    payload: IO[bytes],
    orders: Sequence[Order],
    num_parallel: int,
) -> Launch:
    """Submits a job for each order, as one array.

    Args:
        options: The launcher's.
        home: Where launches have their folders.
        payload: What all jobs have in common.
        orders: Their folder is filled in here.
        num_parallel: So many jobs run at a time.

    Raises:
        ConfigError: Slurm does not take them.
        OSError: The launch's folder cannot be written; no job is left.
    """
    home.mkdir(mode=0o700, exist_ok=True)
    # The home may have been made by somebody with other habits.
    home.chmod(0o700)
    folder = home / secrets.token_hex(4)
    folder.mkdir(mode=0o700)
    launch = Launch(folder, FileLock(folder / _LOCK), (), options.workers_per_job)
    try:
        logs = _prepare(launch, payload)
    except BaseException:
        launch.remove()
        raise
    # Their names in an array and alone.
    log_file = logs / ("slurm-%A_%a.log" if len(orders) > 1 else "slurm-%j.log")
    try:
        executor = _executor(options, folder, log_file, num_parallel)
        with _outside_of_jobs(), _deaf_to_signals():
            jobs = executor.map_array(run_jobs, [_placed(one, folder) for one in orders])
        launch.job_ids = tuple(job.job_id for job in jobs)
        launch.note()
    except BaseException as error:
        _call_off(launch)
        if isinstance(error, FailedJobError | FailedSubmissionError):
            raise ConfigError([_refused(str(error))]) from None
        raise
    return launch


def _prepare(launch: Launch, payload: IO[bytes]) -> Path:
    """Writes what jobs of a launch read; returns the folder of their logs."""
    launch.lock.acquire()
    # Before anything is submitted, so that a full disk is met here.
    launch.note()
    payload.seek(0)
    with (launch.folder / PAYLOAD).open("wb") as file:
        shutil.copyfileobj(payload, file)
    logs = launch.folder.parent.parent / LOGS
    logs.mkdir(exist_ok=True)
    return logs


def _call_off(launch: Launch) -> None:
    """Cancels what was submitted of a launch that has failed, and removes its folder."""
    try:
        # sbatch may have failed after Slurm had taken the jobs.
        job_ids = cluster.jobs_of_scripts(launch.folder)
        cluster.cancel(job_ids)
        _wait_for_end(job_ids)
    except cluster.SlurmError as error:
        log.warning("whether jobs were left by %s is not known: %s", launch.folder, error)
    # Jobs that begin without it fail at once.
    launch.remove()


def check_with_slurm(options: SlurmLauncherConf) -> None:
    """Asks Slurm whether it would take such a job.

    Raises:
        ConfigError: It would not, or nobody answers.
    """
    executor = _executor(options, Path("/nowhere"), Path("/dev/null"), 1)
    script = executor._make_submission_file_text("true", "")
    try:
        with _outside_of_jobs():
            done = subprocess.run(
                ["sbatch", "--test-only"],  # noqa: S607 - Slurm's program
                input=script,
                capture_output=True,
                text=True,
                timeout=_TIMEOUT_S,
                check=False,
                process_group=0,
            )
    except subprocess.TimeoutExpired:
        raise ConfigError([_refused("does not answer")]) from None
    if done.returncode and _LATER not in done.stderr:
        raise ConfigError([_refused(done.stderr)])


def _executor(
    options: SlurmLauncherConf, folder: Path, log_file: Path, num_parallel: int
) -> _Executor:
    executor = _Executor(folder, python=options.python)
    memory = None if options.mem_gb is None else f"{round(options.mem_gb * 1024)}M"
    additional: dict[str, Any] = {
        "requeue": True,
        # B: to the first process alone.
        "signal": f"B:{TIME_IS_UP.name.removeprefix('SIG')}@{options.signal_delay_s}",
        "output": str(log_file),
        **options.additional_parameters,
    }
    executor.update_parameters(
        job_name=options.name,
        partition=options.partition,
        qos=options.qos,
        account=options.account,
        constraint=options.constraint,
        exclude=options.exclude,
        comment=options.comment,
        gres=options.gres,
        gpus_per_node=options.gpus_per_node,
        gpus_per_task=options.gpus_per_task,
        cpus_per_gpu=options.cpus_per_gpu,
        cpus_per_task=options.cpus_per_task,
        mem=memory,
        mem_per_cpu=options.mem_per_cpu,
        mem_per_gpu=options.mem_per_gpu,
        time=options.timeout_min,
        setup=options.setup,
        array_parallelism=num_parallel,
        stderr_to_stdout=True,
        use_srun=False,
        additional_parameters=additional,
    )
    return executor


@contextlib.contextmanager
def _outside_of_jobs() -> Iterator[None]:
    """Meanwhile nothing in the environment says that this process itself is part of a job.

    sbatch hands the environment on: a job would take itself for the one it was submitted from.
    """
    own = {
        key: os.environ.pop(key)
        for key in tuple(os.environ)
        if (key.startswith(("SLURM_", "SUBMITIT_")) and key not in _KEPT)
        or key in (SLOT_VARIABLE, LIFE_VARIABLE)
    }
    try:
        yield
    finally:
        os.environ.update(own)


@contextlib.contextmanager
def _deaf_to_signals() -> Iterator[None]:
    """Programs that are started meanwhile do not notice Ctrl-C; this process does afterwards.

    It reaches all processes of a terminal, and nobody knows whether an sbatch that it ended
    had submitted the jobs.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _placed(order: Order, folder: Path) -> Order:
    return replace(order, folder=folder)


def _refused(words: str) -> Fault:
    """What sbatch says, without what it says before each line."""
    lines = [line.removeprefix("sbatch: ").removeprefix("error: ") for line in words.splitlines()]
    text = "; ".join(dict.fromkeys(line.strip() for line in lines if line.strip()))
    return Fault("hydra/launcher", "slurm", f"sbatch refuses the jobs: {text}")
