"""The ways to run a sweep that are compared, and how one of them is run from start to end."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from benchmarks.records import LOG_VARIABLE, Record, read

ROOT = Path(__file__).resolve().parents[1]
VERSIONED = ("hydra-core", "omegaconf", "optuna", "hydra-optuna-sweeper", "hydra-joblib-launcher")
SPACE = tuple(f"{name}=interval(0.0,1.0)" for name in "abcd")
TIMEOUT_S = 3600


@dataclass(frozen=True)
class Way:
    """One way to run the trials.

    Attributes:
        name: In tables.
        num_slots: How many trials run at a time.
        command: Arguments of Python for a sampler and so many trials.
    """

    name: str
    num_slots: int
    command: Callable[[str, int], list[str]]

    def run(
        self, folder: Path, sampler: str, num_trials: int, environment: Mapping[str, str] = {}
    ) -> list[Record]:
        """Runs all trials in an empty folder; returns when they ran.

        Raises:
            RuntimeError: They did not run to the end.
        """
        folder.mkdir(parents=True)
        log = folder / "records.jsonl"
        path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        found = subprocess.run(
            [sys.executable, *self.command(sampler, num_trials)],
            cwd=folder,
            env={**os.environ, **environment, "PYTHONPATH": path, LOG_VARIABLE: str(log)},
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
        )
        records = read(log) if log.exists() else []
        if found.returncode or len(records) != num_trials:
            raise RuntimeError(
                f"{self.name}: {len(records)} of {num_trials} trials, exit code "
                f"{found.returncode}\n{found.stdout[-2000:]}{found.stderr[-2000:]}"
            )
        return records


def ours(name: str, launcher: str, storage: str = "null", workers: int = 1) -> Way:
    """Our sweeper with a launcher and a storage."""
    slots = [f"hydra.launcher.workers={workers}"] if launcher == "local" else []
    return _sweep(name, workers, "study", launcher, storage, [*slots, "hydra.sweeper.n_jobs=null"])


def stock(name: str, launcher: str, storage: str = "null", jobs: int = 1) -> Way:
    """hydra-optuna-sweeper with a launcher and a storage."""
    slots = [f"hydra.launcher.n_jobs={jobs}"] if launcher == "joblib" else []
    return _sweep(name, jobs, "optuna", launcher, storage, [*slots, f"hydra.sweeper.n_jobs={jobs}"])


def plain(name: str, storage: str) -> Way:
    """Optuna's own loop."""
    return Way(
        name,
        1,
        lambda sampler, num: ["-m", "benchmarks.optuna_app", storage, sampler, str(num)],
    )


def _sweep(
    name: str, slots: int, sweeper: str, launcher: str, storage: str, more: list[str]
) -> Way:
    def command(sampler: str, num_trials: int) -> list[str]:
        return [
            *("-m", "benchmarks.sweep_app", "-m"),
            f"hydra/sweeper={sweeper}",
            f"hydra/launcher={launcher}",
            f"hydra/sweeper/sampler={sampler}",
            "hydra.sweeper.sampler.seed=1",
            f"hydra.sweeper.n_trials={num_trials}",
            f"hydra.sweeper.storage={storage}",
            "hydra.sweeper.study_name=benchmark",
            "hydra.sweep.dir=sweep",
            *more,
            *SPACE,
        ]

    return Way(name, slots, command)


def versions() -> str:
    """What is compared, with versions."""
    return ", ".join(f"{name} {version(name)}" for name in VERSIONED)
