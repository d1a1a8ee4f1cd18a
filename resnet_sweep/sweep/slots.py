"""How many workers a launcher can run at a time."""

from __future__ import annotations

import os

from hydra.core.plugins import Plugins
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from resnet_sweep.faults import Fault
from resnet_sweep.study.folder import StudyFolder
from resnet_sweep.sweep.config import Options
from resnet_sweep.sweep.launcher import LocalLauncher

_BASIC = "hydra._internal.core_plugins.basic_launcher.BasicLauncher"
_LOCAL = f"{LocalLauncher.__module__}.{LocalLauncher.__name__}"
_SLURM = "resnet_sweep.sweep.slurm.launcher.SlurmLauncher"
_JOBLIB = "hydra_plugins.hydra_joblib_launcher.joblib_launcher.JoblibLauncher"
_RAY = "hydra_plugins.hydra_ray_launcher.ray_launcher.RayLauncher"


def launches_here(config: DictConfig) -> bool:
    """Whether the launcher runs jobs in this very process, one after another."""
    return str(config.hydra.launcher._target_) == _BASIC


def launches_on_ray(config: DictConfig) -> bool:
    """Whether the workers are tasks of a Ray cluster; see ray_workers."""
    return str(config.hydra.launcher._target_) == _RAY


def workers_outlive(config: DictConfig) -> bool:
    """Whether the launcher's jobs go on when this process is gone; on a cluster for instance."""
    return bool(getattr(_launcher_class(config), "workers_outlive_parent", False))


def tidy_up(config: DictConfig, folder: StudyFolder) -> None:
    """Lets a launcher remove what workers of dead sweeps have left, when all is done."""
    tidy = getattr(_launcher_class(config), "tidy_up", None)
    if tidy is not None:
        tidy(folder.path)


def _launcher_class(config: DictConfig) -> object:
    return Plugins.instance().class_name_to_class.get(str(config.hydra.launcher._target_))


def num_slots(config: DictConfig, context: HydraContext, function: TaskFunction) -> int | None:
    """Jobs that the configured launcher runs at a time; None where only the user can know.

    Raises:
        ConfigError: The launcher cannot have what it is asked for.
    """
    target = str(config.hydra.launcher._target_)
    if target == _BASIC:
        return 1
    if target == _LOCAL:
        launcher = Plugins.instance().instantiate_launcher(
            config=config, hydra_context=context, task_function=function
        )
        assert isinstance(launcher, LocalLauncher)
        return launcher.num_slots()
    if target == _SLURM:
        from resnet_sweep.sweep.slurm.launcher import SlurmLauncher

        launcher = Plugins.instance().instantiate_launcher(
            config=config, hydra_context=context, task_function=function
        )
        assert isinstance(launcher, SlurmLauncher)
        return launcher.num_slots()
    if target == _RAY:
        from resnet_sweep.sweep.ray_workers import num_slots as num_slots_of_ray

        return num_slots_of_ray(config)
    if target == _JOBLIB:
        jobs = int(config.hydra.launcher.n_jobs)
        # As joblib counts: -1 is all cores, -2 all but one.
        return jobs if jobs > 0 else max(1, (os.cpu_count() or 1) + 1 + jobs)
    return None


def num_workers(options: Options, slots: int | None, num_tickets: int) -> int:
    """Workers that a sweep starts: no more than it has slots, or tickets."""
    wanted = options.n_jobs or slots or 1
    return max(1, min(wanted, slots or wanted, num_tickets))


def check_workers(
    options: Options, config: DictConfig, num_tickets: int, slots: int | None
) -> list[Fault]:
    """Faults of workers and storage together."""
    from resnet_sweep.study.storage import check_storage

    faults: list[Fault] = []
    if options.n_jobs is None and slots is None:
        choice = config.hydra.runtime.choices.get("hydra/launcher")
        rule = f"must say how many workers hydra/launcher={choice} is to run"
        is_slurm = str(config.hydra.launcher._target_) == _SLURM
        key = "hydra.launcher.workers" if is_slurm else "hydra.sweeper.n_jobs"
        faults.append(Fault(key, None, rule, fix=f"type {key}=4"))
    count = num_workers(options, slots, num_tickets)
    return faults + check_storage(options.storage, count, launches_here(config))
