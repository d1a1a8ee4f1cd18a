"""hydra/launcher=local: the jobs of a sweep in subprocesses, one for each slot.

A slot is a GPU, a share of one (``workers_per_gpu``), or a share of the CPU cores. Its process
sees its own device only, and as many threads as its share of the cores. Jobs of one ``launch``
run one after another in the same process of a slot, so that a module as dear as torch is
imported once a slot: module-level state lives on from job to job as with
hydra/launcher=basic. A process that dies is started again for the same job, at most
``max_restarts`` times in a row; after that the job has failed.

A task function with a true attribute ``quiet_workers`` is a worker that takes many trials: its
output goes to ``<hydra.sweep.dir>/workers/<slot>.log``, and ``restart_window_s`` holds for it.
Its method ``progress(job number)``, where it has one, counts what a job has done, and a job
that has got on before its process died is not a job that always dies.
Others print on the terminal.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, filter_overrides
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from resnet_sweep.faults import ConfigError
from resnet_sweep.sweep.launcher_config import AUTO, LocalLauncherConf, launcher_faults

if TYPE_CHECKING:
    from resnet_sweep.sweep.local.gpus import Gpu
    from resnet_sweep.sweep.local.slots import Slot

log = logging.getLogger(__name__)


class LocalLauncher(Launcher):
    """Runs jobs in subprocesses of this machine; see the module.

    Args:
        **options: Settings of hydra/launcher=local, see LocalLauncherConf.

    Attributes:
        slots: Where jobs run; known after ``setup``.
    """

    def __init__(self, **options: Any) -> None:
        self._options = LocalLauncherConf(**options)
        self._gpus: list[Gpu] = []
        self.slots: list[Slot] = []
        self.config: DictConfig | None = None
        self.hydra_context: HydraContext | None = None
        self.task_function: TaskFunction | None = None

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Looks at the machine and shares it between the slots.

        Args:
            hydra_context: How a job's configuration is loaded and run.
            task_function: What a job calls.
            config: Of the sweep, with Hydra's part.

        Raises:
            ConfigError: An option is wrong, or the GPUs have no room for the workers.
        """
        faults = launcher_faults(self._options)
        if faults:
            raise ConfigError(faults)
        self._find_slots()
        self.config = config
        self.hydra_context = hydra_context
        self.task_function = task_function

    def num_slots(self) -> int:
        """Counts the slots of this machine.

        Returns:
            How many jobs run at a time.
        """
        return len(self.slots)

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Runs a job for each list of overrides, as many at a time as there are slots.

        Args:
            job_overrides: Of each job, as on the command line.
            initial_job_idx: Number of the first job, ``hydra.job.num``.

        Returns:
            What the jobs returned, in the order of ``job_overrides``.

        Raises:
            Interrupted: SIGINT or SIGTERM came; nothing runs any more.
            ConfigError: The task cannot be sent to another process.
        """
        # Every Hydra application of the environment imports this module.
        from resnet_sweep.sweep.launching import begin_launch
        from resnet_sweep.sweep.local.mps import running_mps
        from resnet_sweep.sweep.local.payload import Work, write_payload
        from resnet_sweep.sweep.local.pool import Pool, RestartRule

        assert self.hydra_context is not None
        assert self.config is not None
        assert self.task_function is not None
        requests = begin_launch(self.config, self.hydra_context, job_overrides, initial_job_idx)
        logs = self._make_folders()
        if logs is None:
            log.info("Launching %d jobs on %d slots", len(requests), len(self.slots))
            for request in requests:
                log.info("\t#%d : %s", request.num, " ".join(filter_overrides(request.overrides)))
        options = self._options
        rule = RestartRule(
            options.max_restarts,
            options.restart_window_s if logs else None,
            getattr(self.task_function, "progress", None) if logs else None,
            getattr(self.task_function, "died", None) if logs else None,
        )
        work = Work(self.hydra_context, self.config, self.task_function, Singleton.get_state())
        shared = self._gpus if options.mps == AUTO and options.workers_per_gpu > 1 else []
        with contextlib.ExitStack() as stack:
            payload = stack.enter_context(write_payload(work))
            env = stack.enter_context(running_mps([gpu.uuid for gpu in shared])) if shared else {}
            return Pool(self.slots, payload, rule, env, logs).run(requests)

    def _make_folders(self) -> Path | None:
        """Makes the sweep's folder; returns that of the logs when workers are to have some."""
        assert self.config is not None
        folder = Path(str(self.config.hydra.sweep.dir)).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        if not getattr(self.task_function, "quiet_workers", False):
            return None
        logs = folder / "workers"
        logs.mkdir(exist_ok=True)
        return logs

    def _find_slots(self) -> None:
        from resnet_sweep.sweep.local.gpus import installed_uuids, visible_gpus
        from resnet_sweep.sweep.local.slots import count_cores, make_slots

        options = self._options
        self._gpus = visible_gpus(installed_uuids(), os.environ)
        self.slots = make_slots(
            self._gpus, options.workers, options.workers_per_gpu, count_cores(), os.environ
        )
