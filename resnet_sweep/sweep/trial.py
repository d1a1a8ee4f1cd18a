"""The trial that this process is running, for whoever wants to tell it something."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

# Facts of a trial that the sweep itself keeps in its study.
RESERVED = frozenset(
    [
        "ticket",
        "attempt",
        "retry_of",
        "worker",
        "slot",
        "folder",
        "seconds",
        "failure",
        "error",
        "traceback",
        "duplicate_of",
        "repeat_values",
    ]
)


class CurrentTrial:
    """What a task may tell the sweep, and be told by it. This one, outside a sweep, does nothing.

    Attributes:
        number: The trial's number in its study; None outside a sweep.
        previous_folders: Output folders of earlier attempts of this trial that were lost or
            interrupted, newest first. A task that keeps checkpoints goes on from the newest
            one that holds a checkpoint.
        swept: Keys of the configuration that the study gives each of its trials.
    """

    number: int | None = None
    previous_folders: tuple[Path, ...] = ()
    swept: frozenset[str] = frozenset()

    def report(self, value: float, step: int) -> None:
        """Tells the pruner how the trial stands.

        Args:
            value: The objective's value so far; of a study with several objectives it is
                not used.
            step: Counted up by the task, an epoch for instance. A step that was reported
                before is ignored, as in Optuna.

        Raises:
            optuna.TrialPruned: The pruner gives the trial up. Let it pass.
        """

    def set_user_attr(self, key: str, value: Any) -> None:
        """Keeps a fact beside the trial, shown by load_results.

        Args:
            key: None of RESERVED, under which the sweep itself keeps what it needs.
            value: JSON-serialisable.

        Raises:
            ValueError: The key is reserved.
        """

    def agree(self, key: str, value: Any) -> Any:
        """Keeps a value for all trials of the study: that of the first one that asks stays.

        A trial that finds another one kept than its own, of the data for instance, should
        raise an error that its task calls "data_changed": its worker then takes no more
        trials, and the same command runs this one again.

        Args:
            key: Of the study, not of the trial.
            value: JSON-serialisable; None only asks.

        Returns:
            What is kept, None if nothing is; outside a sweep the value itself.
        """
        return value


_current: ContextVar[CurrentTrial | None] = ContextVar("resnet_sweep_current_trial", default=None)
_OUTSIDE = CurrentTrial()


def current_trial() -> CurrentTrial:
    """Finds the trial that runs in this process.

    Returns:
        What a task may tell the sweep; outside a sweep one that does nothing.
    """
    return _current.get() or _OUTSIDE


@contextmanager
def running(trial: CurrentTrial) -> Iterator[None]:
    """While entered, ``trial`` is the current one."""
    token = _current.set(trial)
    try:
        yield
    finally:
        _current.reset(token)
