"""hydra/launcher=slurm: the jobs of a sweep in a job array of Slurm, submitted by submitit.

A job of Slurm runs its jobs of the sweep (one, or ``workers_per_job`` at a time) in processes
of its own, as hydra/launcher=local does on a machine. They see what Slurm has given to the job.

- A job that Slurm preempts, or whose time is nearly up, stops what it runs, is put back into
  the queue, and runs its jobs again. A worker of a sweep goes on with the study; a plain job
  starts anew.
- Jobs do not need the process that has submitted them. When it is gone they work on, and the
  next launch into the same folder counts them, submits as many as are missing, and watches all.
- SIGINT and SIGTERM to this process stop all jobs in order; a second one kills them.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, filter_overrides
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from resnet_sweep.faults import ConfigError, Fault
from resnet_sweep.sweep.slurm.config import SlurmLauncherConf, launcher_faults

if TYPE_CHECKING:
    from resnet_sweep.sweep.local.serve import JobRequest

log = logging.getLogger(__name__)

_CHOICE = ("hydra/launcher", "slurm")
# In the sweep's folder: what the jobs are given, and give back.
HOME = ".slurm"
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


class SlurmLauncher(Launcher):
    """Runs jobs in a job array of Slurm; see the module.

    Args:
        **options: Settings of hydra/launcher=slurm, see SlurmLauncherConf.
    """

    # A sweep that begins leaves the workers of a dead one alone.
    workers_outlive_parent = True

    def __init__(self, **options: Any) -> None:
        plain = OmegaConf.to_container(OmegaConf.create(options), resolve=True)
        self._options = SlurmLauncherConf(**cast(dict[str, Any], plain))
        self.config: DictConfig | None = None
        self.hydra_context: HydraContext | None = None
        self.task_function: TaskFunction | None = None

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Checks the settings, and asks Slurm whether it would take such jobs.

        Args:
            hydra_context: How a job's configuration is loaded and run.
            task_function: What a job calls.
            config: Of the sweep, with Hydra's part.

        Raises:
            ConfigError: A setting is wrong, Slurm refuses it, or there is no Slurm.
        """
        faults = launcher_faults(self._options) + _place_faults(config) + _missing()
        if faults:
            raise ConfigError(faults)
        from resnet_sweep.sweep.slurm.submission import check_with_slurm

        check_with_slurm(self._options)
        self.config = config
        self.hydra_context = hydra_context
        self.task_function = task_function

    def num_slots(self) -> int | None:
        """Tells what was asked of Slurm.

        Returns:
            How many jobs of the sweep run at a time; None where it was not said.
        """
        return self._options.workers

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Runs a job for each list of overrides.

        Args:
            job_overrides: Of each job, as on the command line.
            initial_job_idx: Number of the first job, ``hydra.job.num``.

        Returns:
            What the jobs returned, in the order of ``job_overrides``.

        Raises:
            Interrupted: SIGINT or SIGTERM came, or all jobs were cancelled; nothing runs any
                more.
            ConfigError: Slurm does not take the jobs, or the task cannot be sent to them.
        """
        # Every Hydra application of the environment imports this module.
        from resnet_sweep.sweep.interrupt import CountedSignals
        from resnet_sweep.sweep.launching import begin_launch
        from resnet_sweep.sweep.local.payload import Work, write_payload
        from resnet_sweep.sweep.slurm.crew import Crew

        assert self.hydra_context is not None
        assert self.config is not None
        assert self.task_function is not None
        requests = begin_launch(self.config, self.hydra_context, job_overrides, initial_job_idx)
        folder = Path(str(self.config.hydra.sweep.dir)).absolute()
        # A sweeper may have chosen another one since the launcher was set up.
        if faults := _line_faults("hydra.sweep.dir", str(folder)):
            raise ConfigError(faults)
        folder.mkdir(parents=True, exist_ok=True)
        if not getattr(self.task_function, "quiet_workers", False):
            self._say(requests)
        work = Work(self.hydra_context, self.config, self.task_function, Singleton.get_state())
        # From here on no signal tears anything apart: a job that nobody knows of runs on.
        with CountedSignals() as signals, write_payload(work, "slurm") as payload:
            return Crew(self._options, folder, self.task_function, payload, signals).run(requests)

    @staticmethod
    def tidy_up(folder: Path) -> None:
        """Removes what jobs that have outlived their sweep had to leave; none is needed any more.

        Args:
            folder: Of the sweep.
        """
        if not (folder / HOME).is_dir():
            return
        from resnet_sweep.sweep.slurm.submission import remove_left_behind

        remove_left_behind(folder)

    def _say(self, requests: Sequence[JobRequest]) -> None:
        log.info("Launching %d jobs on Slurm", len(requests))
        for request in requests:
            log.info("\t#%d : %s", request.num, " ".join(filter_overrides(request.overrides)))


def _place_faults(config: DictConfig) -> list[Fault]:
    """Faults of where the sweep is to be, as far as that is known before it begins."""
    faults = []
    # What cannot be resolved yet, or at all, is told by who needs it.
    told = OmegaConf.select(config, "hydra.sweep.dir", throw_on_resolution_failure=False)
    if told is not None:
        faults += _line_faults("hydra.sweep.dir", str(Path(str(told)).absolute()))
    key = "hydra.sweeper.study_name"
    name = OmegaConf.select(config, key, throw_on_resolution_failure=False)
    return faults if name is None else faults + _line_faults(key, str(name))


def _line_faults(key: str, value: str) -> list[Fault]:
    """Faults of what becomes part of a line of the script that sbatch reads."""
    if not _CONTROL.search(value):
        return []
    rule = "may not have line breaks or other control characters under hydra/launcher=slurm"
    return [Fault(key, repr(value), rule, fix="choose another name")]


def _missing() -> list[Fault]:
    """What this machine lacks to talk to a Slurm."""
    faults = []
    if find_spec("submitit") is None:
        rule = "needs submitit, which is not installed"
        faults.append(Fault(*_CHOICE, rule, fix="pip install 'resnet-sweep[slurm]'"))
    programs = ("sbatch", "squeue", "scancel", "scontrol", "srun")
    lacking = [program for program in programs if shutil.which(program) is None]
    if lacking:
        rule = f"needs Slurm's commands, and {', '.join(lacking)} cannot be found"
        fix = (
            "start the sweep on a machine from which jobs are submitted, a login node for "
            f"instance; PATH is {os.environ.get('PATH', '')}"
        )
        faults.append(Fault(*_CHOICE, rule, fix=fix))
    return faults
