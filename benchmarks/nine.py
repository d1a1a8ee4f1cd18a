"""The nine trials of ``benchmarks.sweep``, the ways to run them, and what they left."""

from __future__ import annotations

import importlib.util
import itertools
import json
import shlex
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

PARAMETERS: dict[str, tuple[float, ...]] = {
    "optimizer.lr": (0.01, 0.003, 0.001),
    "optimizer.momentum": (0.0, 0.5, 0.9),
}
Point = tuple[float, ...]
POINTS: list[Point] = list(itertools.product(*PARAMETERS.values()))
# Where every way leaves its trials, one folder each.
FOLDER = "sweep/trials"
_SWEEP_FOLDER = "hydra.sweep.dir=sweep"
OURS = [sys.executable, "-m", "resnet_sweep"]
# Ways whose names end with it train by ``benchmarks.plain_app``, all others by our trainer.
PLAIN_TRAINING = ", plain training"
_PLAIN_APP = [sys.executable, "-m", "benchmarks.plain_app"]
# What our application has in its configuration.
_PLAIN_SWEEP = ["hydra.sweep.subdir=trials/${hydra.job.num}", "hydra.sweeper.direction=maximize"]


@dataclass(frozen=True)
class Way:
    """One way to run the nine trials.

    Attributes:
        name: In tables.
        is_ours: Whether it is our sweeper.
        command: For the overrides that all trials share.
    """

    name: str
    is_ours: bool
    command: Callable[[Sequence[str]], list[str]]


@dataclass(frozen=True)
class Trial:
    """What a trial left in its folder.

    Attributes:
        point: Its values.
        state: COMPLETE, or what else became of it.
        threads: CPU threads that it computed with.
        numbers: Its objective, and the losses of its last epoch.
    """

    point: Point
    state: str
    threads: int
    numbers: tuple[float, ...]


def overrides_of(point: Point) -> list[str]:
    """What is typed for one trial."""
    return [f"{key}={value}" for key, value in zip(PARAMETERS, point, strict=True)]


def ways(gpu: bool, jobs: int, workers: Iterable[int]) -> list[Way]:
    """All ways; Ray Tune is left out where it cannot be imported.

    Args:
        gpu: Whether a GPU is shared, else the cores are.
        jobs: Trials at a time of those that are not ours.
        workers: Of ours, a way each.
    """
    joblib = f"optuna, joblib {jobs}"
    found = [
        Way("shell loop", False, _shell_loop(OURS)),
        Way(f"shell loop{PLAIN_TRAINING}", False, _shell_loop(_PLAIN_APP)),
        Way("optuna, basic", False, _stock(OURS, "basic", 1)),
        Way(joblib, False, _stock(OURS, "joblib", jobs)),
        Way(f"{joblib}, threads=1", False, _stock(OURS, "joblib", jobs, "trainer.threads=1")),
        Way(f"{joblib}{PLAIN_TRAINING}", False, _stock(_PLAIN_APP, "joblib", jobs, *_PLAIN_SWEEP)),
    ]
    if has_ray_tune():
        share = 1 / jobs if gpu else 0.0
        found.append(Way(f"ray tune, {jobs} at a time", False, _ray(jobs, share)))
    return found + [Way(ours_name(num), True, _local(num, gpu)) for num in workers]


def ours_name(workers: int) -> str:
    """How ours is called in tables."""
    return f"ours, {workers} worker{'s' if workers > 1 else ''}"


def has_ray_tune() -> bool:
    """Whether Ray Tune is installed, with all that it needs."""
    return all(importlib.util.find_spec(name) for name in ("ray", "pyarrow", "tensorboardX"))


def _shell_loop(program: Sequence[str]) -> Callable[[Sequence[str]], list[str]]:
    def command(common: Sequence[str]) -> list[str]:
        lines = [
            shlex.join([*program, *common, *overrides_of(point), f"hydra.run.dir={FOLDER}/{i}"])
            for i, point in enumerate(POINTS)
        ]
        return ["sh", "-e", "-c", "\n".join(lines)]

    return command


def _stock(
    program: Sequence[str], launcher: str, jobs: int, *more: str
) -> Callable[[Sequence[str]], list[str]]:
    slots = [f"hydra.launcher.n_jobs={jobs}"] if launcher == "joblib" else []
    space = [f"{key}=choice({','.join(map(str, values))})" for key, values in PARAMETERS.items()]
    return lambda common: [
        *(*program, "-m", "hydra/sweeper=optuna", "hydra/sweeper/sampler=grid"),
        *(f"hydra/launcher={launcher}", *slots),
        *(f"hydra.sweeper.n_jobs={jobs}", f"hydra.sweeper.n_trials={len(POINTS)}"),
        *(_SWEEP_FOLDER, *common, *more, *space),
    ]


def _ray(jobs: int, share: float) -> Callable[[Sequence[str]], list[str]]:
    command = [sys.executable, "-m", "benchmarks.ray_app", FOLDER, str(jobs), str(share)]
    return lambda common: [*command, *common]


def _local(workers: int, gpu: bool) -> Callable[[Sequence[str]], list[str]]:
    space = [f"{key}={','.join(map(str, values))}" for key, values in PARAMETERS.items()]
    return lambda common: [
        *(*OURS, "-m", *slots(workers, gpu), _SWEEP_FOLDER),
        *(*common, *space),
    ]


def slots(workers: int, gpu: bool) -> list[str]:
    """What is typed for so many workers of ours on the GPU, or on the cores."""
    shared = [f"hydra.launcher.workers_per_gpu={workers}"] if gpu else []
    return ["hydra/launcher=local", f"hydra.launcher.workers={workers}", *shared]


def read_trials(folder: Path) -> list[Trial]:
    """What all trials of a way left.

    Raises:
        RuntimeError: They are not the nine, all complete.
    """
    found = [_read_trial(path) for path in sorted((folder / FOLDER).glob("*/result.json"))]
    complete = sorted(one.point for one in found if one.state == "COMPLETE")
    if complete != sorted(POINTS):
        raise RuntimeError(f"{len(complete)} of {len(POINTS)} trials are complete: {found}")
    return found


def _read_trial(path: Path) -> Trial:
    from omegaconf import OmegaConf

    result = json.loads(path.read_text())
    config = OmegaConf.load(path.with_name(".hydra") / "config.yaml")
    point = tuple(float(OmegaConf.select(config, key)) for key in PARAMETERS)
    if result["state"] != "COMPLETE":
        return Trial(point, result["state"], 0, ())
    last = result["last"]
    numbers = (result["objective"], last["train_loss"], last["val_loss"])
    return Trial(point, result["state"], int(result["threads"]), numbers)


def differences(found: Mapping[str, Sequence[Trial]]) -> list[str]:
    """Where trials of equal settings and threads did not end with equal numbers.

    Args:
        found: Trials of each way that trains by our trainer, all rounds.
    """
    groups: dict[tuple[Point, int], dict[tuple[float, ...], set[str]]] = {}
    for name, trials in found.items():
        for one in trials:
            numbers = groups.setdefault((one.point, one.threads), {})
            numbers.setdefault(one.numbers, set()).add(name)
    return [
        f"{' '.join(overrides_of(point))}, {threads} threads: "
        + "; ".join(f"{values} by {', '.join(sorted(names))}" for values, names in numbers.items())
        for (point, threads), numbers in groups.items()
        if len(numbers) > 1
    ]
