"""What the engine asks of a task, and the answers of a plain Hydra task function."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Collection, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol, cast

from hydra.errors import HydraException, InstantiationException
from hydra.types import TaskFunction
from hydra.utils import get_method, instantiate
from omegaconf import DictConfig

from resnet_sweep.faults import ConfigError, Fault
from resnet_sweep.files import is_disk_full
from resnet_sweep.sweep.targets import refusal

Objective = float | Sequence[float] | None


class Task(Protocol):
    """One trial of an application. Instances are made without arguments, one in each process.

    Attributes:
        free_keys: Dotted keys that cannot change a result: a study goes on when they differ.
    """

    free_keys: Collection[str]

    def __call__(self, cfg: DictConfig) -> Objective:
        """Runs the trial in Hydra's output folder.

        Args:
            cfg: The trial's composed configuration, without Hydra's own part.

        Returns:
            The objective, or as many as the study has directions. What is no finite number
            fails the trial as ``bad_value``.

        Raises:
            optuna.TrialPruned: Passed on from ``current_trial().report``.
            Exception: Fails the trial, see ``failure_kind``.
        """

    def check(self, cfg: DictConfig) -> list[Fault]:
        """Finds what is wrong with a configuration without running it.

        Called by the sweep, before anything starts, for every trial that can be foreseen.

        Args:
            cfg: As for a call.

        Returns:
            Everything that is wrong, which refuses the sweep; an empty list where nothing is.
        """

    def failure_kind(self, error: BaseException) -> str:
        """Names what ended a trial, for tables and ``hydra.sweeper.retry``.

        Args:
            error: What the call has raised.

        Returns:
            A short name. Four mean something to the sweep: after ``device`` the worker's
            process is replaced; ``disk``, ``data`` and ``data_changed`` end the worker, and the
            same command runs the trial again.
        """

    def prepare(self) -> None:
        """Called in the worker before its first trial: imports what takes long.

        A trial's time limit does not count it, and cannot cut an import in two.
        """

    def num_reports(self, cfg: DictConfig) -> int | None:
        """Tells how long a trial is, for ``hydra.sweeper.plan=probe``.

        Args:
            cfg: As for a call.

        Returns:
            How often a whole trial reports; None where that is not known beforehand.
        """

    def after_trial(self, failed: bool) -> None:
        """Called in the worker after every trial, when the study knows how it has ended.

        Lets go of what the trial held: memory, or files that only its end made useless.

        Args:
            failed: The trial has failed, or another worker has ended it before.
        """

    def discard(self, folder: Path) -> None:
        """Removes what is large from a finished trial that is not among the best.

        Args:
            folder: The trial's, with a folder a run below it when it has several.
        """

    def close(self) -> None:
        """Called in the worker before it ends."""


# What a class that an application names must have.
_MEMBERS = [name for name in (*vars(Task), "free_keys") if not name.startswith("_")] + ["__call__"]


class FunctionTask:
    """A plain Hydra task function, about which nothing else is known."""

    free_keys: Collection[str] = ()

    def __init__(self, function: TaskFunction) -> None:
        self._function = function

    def __call__(self, cfg: DictConfig) -> Objective:
        """Calls the function."""
        return cast(Objective, self._function(cfg))

    def check(self, cfg: DictConfig) -> list[Fault]:
        """Nothing is known to be wrong."""
        return []

    def failure_kind(self, error: BaseException) -> str:
        """Tells a lack of memory, and of room on a disk, from other exceptions."""
        if isinstance(error, OSError) and is_disk_full(error):
            return "disk"
        # By name, so that torch need not be loaded; torch.OutOfMemoryError is the GPU's.
        if type(error).__name__ == "OutOfMemoryError" or isinstance(error, MemoryError):
            return "out_of_memory"
        return "exception"

    def prepare(self) -> None:
        """The function's module is imported already."""

    def num_reports(self, cfg: DictConfig) -> int | None:
        """Not known."""
        return None

    def after_trial(self, failed: bool) -> None:
        """Frees what a failed trial still holds, on a GPU as well."""
        if failed:
            gc.collect()
            if "torch" in sys.modules:
                sys.modules["torch"].cuda.empty_cache()

    def discard(self, folder: Path) -> None:
        """Knows of nothing that is large."""

    def close(self) -> None:
        """Holds nothing."""


def make_task(path: str | None, function: TaskFunction) -> Task:
    """The task of an application.

    Args:
        path: Dotted path of its Task class, ``hydra.sweeper.task``; it must be among what
            hydra.main's execution_whitelist allows.
        function: Its task function, used where there is no path.

    Raises:
        ConfigError: The path cannot be used.
    """
    if path is None:
        return FunctionTask(function)
    try:
        task = instantiate({"_target_": path})
    except (InstantiationException, HydraException) as error:
        rule = refusal(error)
        raise ConfigError([Fault("hydra.sweeper.task", path, rule)]) from error
    missing = [name for name in _MEMBERS if not hasattr(task, name)]
    if missing:
        rule = f"is no Task: it lacks {', '.join(missing)}"
        raise ConfigError([Fault("hydra.sweeper.task", path, rule)])
    return cast(Task, task)


def task_factory(path: str | None, function: TaskFunction) -> Callable[[], Task]:
    """Makes the same task in any process, also of a class of ``__main__``.

    Args:
        path: As for ``make_task``, which has been called and raised nothing.
        function: As for ``make_task``.
    """
    if path is None:
        return partial(FunctionTask, function)
    return cast(Callable[[], Task], get_method(path))


def find_hook(path: str | None) -> Callable[[DictConfig, Any], None] | None:
    """The function that ``hydra.sweeper.custom_search_space`` names.

    Args:
        path: Dotted, among what hydra.main's execution_whitelist allows.

    Raises:
        ConfigError: The path cannot be used.
    """
    if path is None:
        return None
    try:
        # Only this asks whether the application allows it.
        instantiate({"_target_": path, "_partial_": True})
    except (InstantiationException, HydraException) as error:
        rule = refusal(error)
        raise ConfigError([Fault("hydra.sweeper.custom_search_space", path, rule)]) from error
    return get_method(path)
