"""What hydra/launcher=local can be told."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from hydra.core.config_store import ConfigStore

from resnet_sweep.faults import Fault, one_of

AUTO = "auto"
# Which slot the launcher has given to a process.
SLOT_VARIABLE = "RESNET_SWEEP_SLOT"
MPS_CHOICES = (AUTO, "never")


@dataclass
class LocalLauncherConf:
    """A subprocess for each slot of this machine.

    Attributes:
        workers: How many jobs run at a time: a number, or auto for one a visible GPU and
            workers_per_gpu, else one.
        workers_per_gpu: How many share a GPU.
        mps: Whether workers that share a GPU do so through NVIDIA's MPS: auto where it is
            installed, or never.
        max_restarts: How often in a row a job whose process died is started again.
        restart_window_s: A process of a worker that takes many trials and has lived longer
            than this begins a new row. A plain job starts from its beginning each time, so
            all its deaths count.
    """

    _target_: str = "resnet_sweep.sweep.launcher.LocalLauncher"
    workers: Any = AUTO
    workers_per_gpu: int = 1
    mps: str = AUTO
    max_restarts: int = 2
    restart_window_s: float = 60.0


def launcher_faults(config: LocalLauncherConf) -> list[Fault]:
    """Everything that is wrong with the values by themselves, without a look at the machine."""
    faults = []
    if config.workers != AUTO and not _is_count(config.workers, at_least=1):
        rule = "must be auto or a whole number from 1 on"
        faults.append(Fault("hydra.launcher.workers", config.workers, rule))
    for name, value, least in [
        ("workers_per_gpu", config.workers_per_gpu, 1),
        ("max_restarts", config.max_restarts, 0),
    ]:
        if not _is_count(value, at_least=least):
            rule = f"must be a whole number from {least} on"
            faults.append(Fault(f"hydra.launcher.{name}", value, rule))
    faults += one_of("hydra.launcher.mps", config.mps, MPS_CHOICES)
    window_s: object = config.restart_window_s
    if not isinstance(window_s, int | float) or math.isnan(window_s) or window_s < 0:
        rule = "must be a number of seconds, at least 0"
        faults.append(Fault("hydra.launcher.restart_window_s", window_s, rule))
    return faults


def _is_count(value: object, at_least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= at_least


ConfigStore.instance().store(
    group="hydra/launcher", name="local", node=LocalLauncherConf, provider="resnet_sweep"
)
