"""Samplers and pruners that ``hydra/sweeper/sampler`` and ``hydra/sweeper/pruner`` choose from.

Their fields are Optuna's own parameters with Optuna's own defaults, unless a comment says why
not. The other samplers of the group are hydra-optuna-sweeper's.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra_plugins.hydra_optuna_sweeper.config import SamplerConfig


@dataclass
class StudyTpeConf(SamplerConfig):
    """TPE as Optuna 5 means it; ``sampler=tpe`` pins defaults of earlier versions."""

    _target_: str = "optuna.samplers.TPESampler"
    # null: a fresh one, kept in the study.
    seed: int | None = None
    # Trials drawn at random before the model is asked.
    n_startup_trials: int = 10
    # Candidates that the model weighs up for one suggestion.
    n_ei_candidates: int = 24
    # Models all parameters together; null: with one objective only.
    multivariate: bool | None = None
    # Models the parameters of each branch of a conditional space together.
    group: bool = False
    # Keeps away from where other trials are running.
    constant_liar: bool = True


@dataclass
class PrunerConf:
    """What every pruner has. Steps are those that the task reports, epochs for instance."""

    _target_: str = "???"


@dataclass
class NonePrunerConf(PrunerConf):
    """Lets every trial run to its end."""

    _target_: str = "optuna.pruners.NopPruner"


@dataclass
class MedianPrunerConf(PrunerConf):
    """Prunes a trial whose best value is worse than the median of the others at its step."""

    _target_: str = "optuna.pruners.MedianPruner"
    # Completed trials before the first is pruned.
    n_startup_trials: int = 5
    # Step before which no trial is pruned.
    n_warmup_steps: int = 0
    # Steps from one decision to the next.
    interval_steps: int = 1
    # Trials that must have reported at a step before it is decided on.
    n_min_trials: int = 1


@dataclass
class PercentilePrunerConf(PrunerConf):
    """Prunes a trial whose best value is not among the best percentile at its step."""

    _target_: str = "optuna.pruners.PercentilePruner"
    # Per cent of trials that are kept, 0 to 100. Optuna has no default.
    percentile: float = 25.0
    # Completed trials before the first is pruned.
    n_startup_trials: int = 5
    # Step before which no trial is pruned.
    n_warmup_steps: int = 0
    # Steps from one decision to the next.
    interval_steps: int = 1
    # Trials that must have reported at a step before it is decided on.
    n_min_trials: int = 1


@dataclass
class SuccessiveHalvingPrunerConf(PrunerConf):
    """Asynchronous successive halving: of each rung the best 1/reduction_factor go on."""

    _target_: str = "optuna.pruners.SuccessiveHalvingPruner"
    # Step of the first rung; auto: a hundredth of a completed trial's steps, at least 1.
    min_resource: int | str = "auto"
    # The next rung is so many times further; one trial of so many reaches it.
    reduction_factor: int = 4
    # The first rung is moved to min_resource * reduction_factor to this power.
    min_early_stopping_rate: int = 0
    # Trials that a rung must have before any goes on; needs a min_resource.
    bootstrap_count: int = 0


@dataclass
class HyperbandPrunerConf(PrunerConf):
    """Several successive halvings with different first rungs; each trial belongs to one."""

    _target_: str = "optuna.pruners.HyperbandPruner"
    # Step of the earliest first rung; not more than the steps of a trial.
    min_resource: int = 1
    # Steps of a whole trial; auto: those of the first completed one, before which none is pruned.
    max_resource: int | str = "auto"
    # The next rung is so many times further; one trial of so many reaches it.
    reduction_factor: int = 3
    # Trials that a rung must have before any goes on; needs a max_resource.
    bootstrap_count: int = 0


@dataclass
class ThresholdPrunerConf(PrunerConf):
    """Prunes a trial that reports NaN or a value outside bounds, of which one must be given."""

    _target_: str = "optuna.pruners.ThresholdPruner"
    # Smallest value that is not pruned; null: no bound.
    lower: float | None = None
    # Largest value that is not pruned; null: no bound.
    upper: float | None = None
    # Step before which no trial is pruned.
    n_warmup_steps: int = 0
    # Steps from one decision to the next.
    interval_steps: int = 1


@dataclass
class PatientPrunerConf(PrunerConf):
    """Asks another pruner only when a trial has not got better for some steps.

    The other is chosen with ``hydra/sweeper/pruner/wrapped_pruner=...``. Successive halving and
    hyperband then compare a trial only with others that have got stuck.
    """

    _target_: str = "optuna.pruners.PatientPruner"
    defaults: list[Any] = field(default_factory=lambda: ["_self_", {"wrapped_pruner": "median"}])
    # Whom to ask; null: prune at once.
    wrapped_pruner: Any = None
    # Steps without a better value that are waited for. Optuna has no default.
    patience: int = 3
    # A value is better when it is better by so much, in the objective's unit.
    min_delta: float = 0.0


PRUNERS: dict[str, type[PrunerConf]] = {
    "none": NonePrunerConf,
    "median": MedianPrunerConf,
    "percentile": PercentilePrunerConf,
    "successive_halving": SuccessiveHalvingPrunerConf,
    "hyperband": HyperbandPrunerConf,
    "patient": PatientPrunerConf,
    "threshold": ThresholdPrunerConf,
}
# What patient may ask; none would make it wait for nothing.
WRAPPED_PRUNERS = ("median", "percentile", "successive_halving", "hyperband", "threshold")
# hydra-optuna-sweeper's samplers that can be used, and ours.
SAMPLERS = ("study_tpe", "tpe", "random", "gp", "cmaes", "nsgaii", "nsgaiii", "qmc", "grid")


def _register() -> None:
    store = ConfigStore.instance()
    group = "hydra/sweeper/pruner"
    store.store(
        group="hydra/sweeper/sampler", name="study_tpe", node=StudyTpeConf, provider="resnet_sweep"
    )
    for name, conf in PRUNERS.items():
        store.store(group=group, name=name, node=conf, provider="resnet_sweep")
    for name in WRAPPED_PRUNERS:
        store.store(
            group=f"{group}/wrapped_pruner",
            name=name,
            node=PRUNERS[name],
            provider="resnet_sweep",
        )


_register()
