"""What killed processes leave in a study's folder, and nobody needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from resnet_sweep.files import remove_left
from resnet_sweep.study.folder import StudyFolder

if TYPE_CHECKING:
    import optuna


def remove_halves(study: optuna.Study, folder: StudyFolder) -> None:
    """Removes files that were half written when their writer was killed, checkpoints for instance.

    Args:
        study: Read once.
        folder: Its own.
    """
    from optuna.trial import TrialState

    from resnet_sweep.sweep.ranking import own_folders

    remove_left(folder.path)
    for trial in study.get_trials(deepcopy=False, states=(TrialState.FAIL,)):
        for one in own_folders(trial, study, folder):
            remove_left(one, deep=True)
