"""What the engine asks of a task, and the answers of a plain Hydra task function."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from omegaconf import DictConfig

from resnet_sweep.faults import Fault

Objective = float | Sequence[float] | Mapping[str, float] | None


class Task(Protocol):
    """One trial of an application. Instances are made without arguments, one in each process.

    Attributes:
        free_keys: Dotted keys that cannot change a result: a study goes on when they differ.
    """

    free_keys: Collection[str]

    def __call__(self, cfg: DictConfig) -> Objective:
        """Runs the trial in Hydra's output folder and returns its objective, or several."""

    def check(self, cfg: DictConfig) -> list[Fault]:
        """Everything that is wrong with a composed configuration, found without running it."""

    def failure_kind(self, error: BaseException) -> str:
        """A short name for what ended a trial, for tables and ``hydra.sweeper.retry``."""

    def after_trial(self, failed: bool) -> None:
        """Called in the worker after every trial: lets go of what the trial held."""

    def discard(self, folder: Path) -> None:
        """Removes what is large from a finished trial that is not among the best."""

    def close(self) -> None:
        """Called in the worker before it ends."""
