"""The order of a study's trials, and where each has left its files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import optuna
from optuna.study import StudyDirection


def folders_of(trial: optuna.trial.FrozenTrial, study: optuna.Study) -> Iterator[str]:
    """A trial's folder and those of its earlier attempts, which have the runs they had ended."""
    found: optuna.trial.FrozenTrial | None = trial
    while found is not None:
        if "folder" in found.user_attrs:
            yield found.user_attrs["folder"]
        before = found.user_attrs.get("retry_of")
        found = None if before is None else study.get_trials(deepcopy=False)[before]


def ranking(
    study: optuna.Study, trials: Iterable[optuna.trial.FrozenTrial]
) -> list[optuna.trial.FrozenTrial]:
    """COMPLETE trials of a study with one objective, best first; each configuration once."""
    sign = -1.0 if study.direction == StudyDirection.MAXIMIZE else 1.0
    # A reused value has nothing of its own to keep, and must not take the place of one that has.
    ran = [trial for trial in trials if "duplicate_of" not in trial.user_attrs]
    return sorted(ran, key=lambda trial: (sign * trial.values[0], trial.number))
