"""What hydra/launcher=slurm can be told."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore

from resnet_sweep.faults import Fault

_KEY = "hydra.launcher"
# Slurm looks at time limits so rarely, and a signal before the limit may come so much earlier.
_SIGNAL_SLACK_S = 30
_MEMORY = re.compile(r"\d+[KMGT]?")
# What sbatch is told by settings of ours, or has to be told as it is.
_OWN_SETTINGS = {
    "time": "timeout_min",
    "mem": "mem_gb",
    "job_name": "name",
    "array": "workers",
    **{
        name: name
        for name in (
            *("partition", "qos", "account", "constraint", "exclude", "comment", "gres"),
            *("gpus_per_node", "gpus_per_task", "cpus_per_gpu", "cpus_per_task"),
            *("mem_per_cpu", "mem_per_gpu"),
        )
    },
}
_FIXED = {
    "signal": "tells a worker that its time is nearly up",
    "output": "is kept in the folder workers",
    "error": "is kept in the folder workers",
    "open_mode": "keeps what a job printed before it was started again",
    "requeue": "has a job that was preempted go on",
    "nodes": "is 1: a job is the processes of one machine",
    "ntasks": "is 1; workers_per_job has several workers share a job",
    "ntasks_per_node": "is 1; workers_per_job has several workers share a job",
    "parsable": "is not for scripts",
    "wait": "would wait for the end of the jobs before they are looked at",
    "test_only": "starts nothing",
}


@dataclass
class SlurmLauncherConf:
    """A job array of Slurm, whose jobs are the workers of a sweep.

    Attributes:
        workers: How many jobs of the sweep run at a time.
        workers_per_job: How many of them share a job of Slurm, its GPUs and its cores.
        max_restarts: How often in a row a worker whose process died, or a job that Slurm says
            has failed, is started again.
        restart_window_s: What has lived longer than this begins a new row.
        partition: Where; Slurm's default where it is not set, as for all that follow.
        qos: Quality of service.
        account: Who pays.
        constraint: Features that a node must have.
        exclude: Nodes that are not to be used.
        comment: For the administrators.
        gres: Generic resources: "gpu:a100:1".
        gpus_per_node: GPUs of a job, "a100:1" with their type.
        gpus_per_task: The same for sites that want it said so.
        cpus_per_gpu: Cores for each GPU; with gpus_per_task.
        cpus_per_task: Cores of a job.
        mem_gb: Memory of a job.
        mem_per_cpu: Memory for each core: "4G".
        mem_per_gpu: Memory for each GPU: "32G".
        timeout_min: Time limit of a job; null is the partition's. A worker that meets it puts
            itself back into the queue and goes on.
        signal_delay_s: So long before its time is up a worker is told.
        name: Of the jobs.
        python: Command that starts Python in a job, for containers; null is this Python.
        setup: Lines of shell that run before the workers.
        additional_parameters: Whatever else sbatch can be told: {exclusive: true}.
    """

    _target_: str = "resnet_sweep.sweep.slurm.launcher.SlurmLauncher"
    workers: int | None = None
    workers_per_job: int = 1
    max_restarts: int = 2
    restart_window_s: float = 60.0
    partition: str | None = None
    qos: str | None = None
    account: str | None = None
    constraint: str | None = None
    exclude: str | None = None
    comment: str | None = None
    gres: str | None = None
    gpus_per_node: Any = None
    gpus_per_task: Any = None
    cpus_per_gpu: int | None = None
    cpus_per_task: int | None = None
    mem_gb: float | None = None
    mem_per_cpu: str | None = None
    mem_per_gpu: str | None = None
    timeout_min: int | None = None
    signal_delay_s: int = 120
    name: str = "${hydra.job.name}"
    python: str | None = None
    setup: list[str] | None = None
    additional_parameters: dict[str, Any] = field(default_factory=dict)


def launcher_faults(config: SlurmLauncherConf) -> list[Fault]:
    """Everything that is wrong with the values by themselves, without a word from Slurm."""
    return [
        *_count_faults(config),
        *_text_faults(config),
        *_resource_faults(config),
        *_additional_faults(config.additional_parameters),
    ]


def _count_faults(config: SlurmLauncherConf) -> list[Fault]:
    faults = []
    for name, least in [
        ("workers", 1),
        ("workers_per_job", 1),
        ("max_restarts", 0),
        ("cpus_per_gpu", 1),
        ("cpus_per_task", 1),
        ("timeout_min", 1),
        ("signal_delay_s", 1),
    ]:
        value = getattr(config, name)
        is_count = isinstance(value, int) and not isinstance(value, bool) and value >= least
        if value is not None and not is_count:
            rule = f"must be a whole number from {least} on"
            faults.append(Fault(f"{_KEY}.{name}", value, rule))
    if faults:
        return faults
    if config.timeout_min is not None:
        latest_s = 60 * config.timeout_min - _SIGNAL_SLACK_S
        if config.signal_delay_s >= latest_s:
            rule = (
                f"leaves no time to work: timeout_min={config.timeout_min} is "
                f"{60 * config.timeout_min} s, and Slurm may send the signal {_SIGNAL_SLACK_S} s "
                "earlier still"
            )
            faults.append(Fault(f"{_KEY}.signal_delay_s", config.signal_delay_s, rule))
    return faults


def _text_faults(config: SlurmLauncherConf) -> list[Fault]:
    faults = []
    for name in (
        *("partition", "qos", "account", "constraint", "exclude", "comment", "gres"),
        *("name", "python"),
    ):
        value = getattr(config, name)
        # Each becomes a line of the script that sbatch reads.
        if value is not None and (not str(value).strip() or "\n" in str(value)):
            faults.append(Fault(f"{_KEY}.{name}", repr(value), "must be one line of text"))
    for line in config.setup or ():
        if "\n" in str(line):
            rule = "must be a list of lines"
            faults.append(Fault(f"{_KEY}.setup", repr(line), rule, fix="split it"))
    return faults


def _resource_faults(config: SlurmLauncherConf) -> list[Fault]:
    faults = []
    for name in ("gpus_per_node", "gpus_per_task"):
        value = getattr(config, name)
        if value is not None and not re.fullmatch(r"([\w.-]+:)?[1-9]\d*", str(value)):
            rule = "must be a number of GPUs, or their type and number: a100:1"
            faults.append(Fault(f"{_KEY}.{name}", value, rule))
    for name in ("mem_per_cpu", "mem_per_gpu"):
        value = getattr(config, name)
        if value is not None and not _MEMORY.fullmatch(str(value)):
            faults.append(Fault(f"{_KEY}.{name}", value, "must be a number and K, M, G or T: 4G"))
    for name in ("mem_gb", "restart_window_s"):
        value = getattr(config, name)
        least = 0 if name == "restart_window_s" else 1 / 1024
        if value is not None and not _is_number(value, least):
            rule = "must be a number greater than 0" if least else "must be a number, at least 0"
            faults.append(Fault(f"{_KEY}.{name}", value, rule))
    memories = [n for n in ("mem_gb", "mem_per_cpu", "mem_per_gpu") if getattr(config, n)]
    if len(memories) > 1:
        rule = f"cannot be set together with {' and '.join(memories[1:])}"
        faults.append(Fault(f"{_KEY}.{memories[0]}", getattr(config, memories[0]), rule))
    if config.cpus_per_gpu is not None and config.gpus_per_task is None:
        rule = "needs hydra.launcher.gpus_per_task"
        faults.append(Fault(f"{_KEY}.cpus_per_gpu", config.cpus_per_gpu, rule))
    return faults


def _is_number(value: object, least: float) -> bool:
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and math.isfinite(value)
        and value >= least
    )


def _additional_faults(parameters: Mapping[str, Any]) -> list[Fault]:
    faults = []
    for key, value in parameters.items():
        where, name = f"{_KEY}.additional_parameters.{key}", key.replace("-", "_")
        if name in _OWN_SETTINGS:
            fix = f"type {_KEY}.{_OWN_SETTINGS[name]}"
            faults.append(Fault(where, value, "has a setting of its own", fix=fix))
        elif name in _FIXED:
            faults.append(Fault(where, value, f"cannot be changed: it {_FIXED[name]}"))
        elif not re.fullmatch(r"[A-Za-z][\w-]*", key) or "\n" in str(value):
            rule = "must be the name of an option of sbatch, and its value on one line"
            faults.append(Fault(where, repr(value), rule))
    return faults


ConfigStore.instance().store(
    group="hydra/launcher", name="slurm", node=SlurmLauncherConf, provider="resnet_sweep"
)
