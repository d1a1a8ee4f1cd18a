"""The pruner of a sweep, which gives up trials that report worse values than others did."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from resnet_sweep.faults import Fault
from resnet_sweep.sweep.groups import PRUNERS
from resnet_sweep.sweep.targets import build_faults, deferred, plain, quiet

if TYPE_CHECKING:
    from optuna.pruners import BasePruner

KEY = "hydra.sweeper.pruner"
ALLOWED = ("optuna.pruners.*",)


def make_pruner(config: Any) -> BasePruner:
    """Builds a pruner.

    Args:
        config: The node ``hydra.sweeper.pruner``, checked before; None never prunes.
    """
    from optuna.pruners import NopPruner

    if config is None:
        return NopPruner()
    with quiet():
        pruner: BasePruner = deferred(plain(config), ALLOWED)()
    return pruner


def check_pruner(config: Any, num_objectives: int) -> list[Fault]:
    """Everything that is wrong with a pruner's configuration.

    Args:
        config: The node ``hydra.sweeper.pruner``.
        num_objectives: Values that a trial returns. With several any pruner is right: it is
            never asked.
    """
    from optuna.pruners import BasePruner

    if config is None:
        return []
    return build_faults(KEY, config, ALLOWED, BasePruner, tuple(PRUNERS), _build)


def _build(config: dict[str, Any]) -> BasePruner:
    """Builds a pruner, and what Optuna would find wrong with it only in the middle of a sweep."""
    from optuna.pruners import HyperbandPruner, SuccessiveHalvingPruner

    pruner = make_pruner(config)
    if not isinstance(pruner, HyperbandPruner):
        return pruner
    least, most = config.get("min_resource", 1), config.get("max_resource", "auto")
    SuccessiveHalvingPruner(
        min_resource=least,
        reduction_factor=config.get("reduction_factor", 3),
        bootstrap_count=config.get("bootstrap_count", 0),
    )
    if isinstance(most, int) and most < least:
        raise ValueError(f"must be at least max_resource={most}")
    return pruner
