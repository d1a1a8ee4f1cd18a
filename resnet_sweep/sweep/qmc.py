"""QMC for several workers. Imports Optuna, so it is imported only when a trial is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState


class PointAtClaim(BaseSampler):
    """Takes a trial's point of the sequence when the trial is claimed, not when it is suggested.

    Optuna counts the points in the study by reading a number and writing the next. Two workers
    that do so at once get the same point; claims are made under a lock, suggestions are not.
    """

    def __init__(self, sequence: BaseSampler) -> None:
        """Serves one trial.

        Args:
            sequence: Optuna's sampler.
        """
        self._sequence = sequence
        self._space: dict[str, BaseDistribution] | None = None
        self._point: dict[str, Any] = {}

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Takes the point; called by Optuna when the trial's object is made."""
        self._sequence.before_trial(study, trial)
        # Study.ask() shows every new trial to the sampler of the last, which has its point.
        if self._space is None:
            self._take_point(study, trial)

    def _take_point(self, study: Study, trial: FrozenTrial) -> None:
        space = self._sequence.infer_relative_search_space(study, trial)
        # A trial whose values are all given would leave a hole in the sequence.
        is_given = space.keys() <= trial.system_attrs.get("fixed_params", {}).keys()
        self._space = {} if is_given else space
        self._point = self._sequence.sample_relative(study, trial, self._space)

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """What the point has values for."""
        if self._space is None:
            # The trial was there before this sampler.
            self._take_point(study, trial)
        assert self._space is not None, "set with the point"
        return self._space

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """The point."""
        return self._point

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """A value that no point has, of the first trial or of a conditional parameter."""
        return self._sequence.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(
        self,
        study: Study,
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,
    ) -> None:
        """As Optuna's."""
        self._sequence.after_trial(study, trial, state, values)
