"""Slots: what each worker gets of the machine, as its name and its environment."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from resnet_sweep.faults import ConfigError, Fault
from resnet_sweep.sweep.launcher_config import AUTO, SLOT_VARIABLE
from resnet_sweep.sweep.local.gpus import VISIBLE, Gpu

# OpenMP's own comes first: the libraries of the other two follow it where theirs is not set.
_OPENMP = "OMP_NUM_THREADS"
_THREAD_VARIABLES = (_OPENMP, "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass(frozen=True)
class Slot:
    """One worker's share of the machine.

    Attributes:
        name: "gpu4", "gpu4.1" for the second worker on it, "cpu0".
        env: What its process finds in its environment beside what this one has.
    """

    name: str
    env: Mapping[str, str] = field(default_factory=dict)


def make_slots(
    gpus: Sequence[Gpu],
    workers: int | str,
    workers_per_gpu: int,
    num_cores: int,
    environment: Mapping[str, str],
) -> list[Slot]:
    """Shares the machine between workers.

    Args:
        gpus: The GPUs that may be used; without any the slots are shares of the cores.
        workers: How many slots, or "auto".
        workers_per_gpu: How many may share a GPU. Each GPU gets its first worker before one
            gets its second.
        num_cores: Cores that may be used, by all workers together.
        environment: What the workers inherit. A number of threads that is set there stays.

    Raises:
        ConfigError: There are GPUs, and more workers than they have room for.
    """
    shares = [(gpu, share) for share in range(workers_per_gpu) for gpu in gpus]
    num_slots = max(1, len(shares)) if workers == AUTO else int(workers)
    if gpus and num_slots > len(shares):
        raise ConfigError([_too_many(num_slots, len(gpus), workers_per_gpu)])
    threads = _thread_variables(max(1, num_cores // num_slots), environment)
    if not gpus:
        return [_slot(f"cpu{i}", threads) for i in range(num_slots)]
    if workers_per_gpu == 1:
        return [_slot(gpu.name, threads, gpu.token) for gpu, _ in shares[:num_slots]]
    # By UUID, because MPS numbers devices anew among those that it was given.
    return [_slot(f"{gpu.name}.{share}", threads, gpu.uuid) for gpu, share in shares[:num_slots]]


def count_cores(cgroup_root: Path = Path("/sys/fs/cgroup")) -> int:
    """Cores that this process may use: its affinity, or a container's quota where it is less."""
    if hasattr(os, "sched_getaffinity"):
        num_cores = len(os.sched_getaffinity(0))
    else:
        num_cores = os.cpu_count() or 1
    quota = _cgroup_quota(cgroup_root / "cpu.max")
    return num_cores if quota is None else max(1, min(num_cores, math.ceil(quota)))


def _cgroup_quota(path: Path) -> float | None:
    """Cores' worth of time that version 2 of control groups allows; None without a limit."""
    try:
        quota, _, period = path.read_text().strip().partition(" ")
    except OSError:
        return None
    return int(quota) / int(period) if quota.isdecimal() and period.isdecimal() else None


def _thread_variables(num_threads: int, environment: Mapping[str, str]) -> dict[str, str]:
    # Set to nothing, a variable is not set: every worker would take all cores.
    if environment.get(_OPENMP):
        return {}
    return {name: str(num_threads) for name in _THREAD_VARIABLES if not environment.get(name)}


def _slot(name: str, threads: Mapping[str, str], device: str | None = None) -> Slot:
    visible = {} if device is None else {VISIBLE: device}
    return Slot(name, {SLOT_VARIABLE: name, **visible, **threads})


def _too_many(num_slots: int, num_gpus: int, workers_per_gpu: int) -> Fault:
    gpus = "1 visible GPU" if num_gpus == 1 else f"{num_gpus} visible GPUs"
    return Fault(
        "hydra.launcher.workers",
        num_slots,
        f"is more than {num_gpus * workers_per_gpu}, which is {workers_per_gpu} on each of {gpus}",
        fix=f"raise hydra.launcher.workers_per_gpu, or hide the GPUs with {VISIBLE}=-1",
    )
