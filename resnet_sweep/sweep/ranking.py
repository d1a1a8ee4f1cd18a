"""The order of a study's trials, and where each has left its files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import optuna
from optuna.study import StudyDirection

from resnet_sweep.study.folder import StudyFolder


def own_folders(
    trial: optuna.trial.FrozenTrial, study: optuna.Study, home: StudyFolder
) -> Iterator[Path]:
    """A trial's folder and those of its earlier attempts, which have the runs they had ended.

    Without those that lie elsewhere, by a name or by a link: nothing is deleted there.
    """
    found: optuna.trial.FrozenTrial | None = trial
    while found is not None:
        path = home.below(found.user_attrs.get("folder"))
        if path is not None and home.holds(path):
            yield path
        found = attempt_before(found, study.get_trials(deepcopy=False))


def attempt_before(
    trial: optuna.trial.FrozenTrial,
    trials: Sequence[optuna.trial.FrozenTrial],
    keys: Sequence[str] = ("retry_of",),
) -> optuna.trial.FrozenTrial | None:
    """The trial that another one names as the one before it; None where it names none.

    Args:
        trial: Of the study.
        trials: All of the study.
        keys: Its attributes that may name one; the first that it has counts.
    """
    number = next((trial.user_attrs[key] for key in keys if key in trial.user_attrs), None)
    # Only an earlier one, so that nobody goes round in a circle.
    if isinstance(number, int) and 0 <= number < trial.number:
        return trials[number]
    return None


def ranking(
    study: optuna.Study, trials: Iterable[optuna.trial.FrozenTrial]
) -> list[optuna.trial.FrozenTrial]:
    """COMPLETE trials of a study with one objective, best first; each configuration once."""
    sign = -1.0 if study.direction == StudyDirection.MAXIMIZE else 1.0
    # A reused value has nothing of its own to keep, and must not take the place of one that has.
    ran = [trial for trial in trials if "duplicate_of" not in trial.user_attrs]
    return sorted(ran, key=lambda trial: (sign * trial.values[0], trial.number))
