"""The sweep engine: Hydra plugins that run the trials of a study without a barrier.

Usable by any Hydra application: ``hydra/sweeper=study``, ``hydra/launcher=local``, and
``current_trial`` inside the task.
"""

from resnet_sweep.sweep.trial import CurrentTrial, current_trial

__all__ = ["CurrentTrial", "current_trial"]
