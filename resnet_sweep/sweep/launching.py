"""What our launchers do first, wherever their jobs run then."""

from __future__ import annotations

from collections.abc import Sequence

from hydra.core.utils import configure_log, setup_globals
from hydra.types import HydraContext
from omegaconf import DictConfig

from resnet_sweep.sweep.local.serve import JobRequest


def begin_launch(
    config: DictConfig,
    context: HydraContext,
    job_overrides: Sequence[Sequence[str]],
    initial_job_idx: int,
) -> list[JobRequest]:
    """Prepares Hydra's registries and logging, as Hydra's own launchers do, and numbers the jobs.

    Args:
        config: Of the sweep.
        context: Says what its logging may name.
        job_overrides: Of each job.
        initial_job_idx: Number of the first.
    """
    setup_globals()
    configure_log(
        config.hydra.hydra_logging,
        config.hydra.verbose,
        execution_whitelist=context.execution_whitelist,
    )
    return [
        JobRequest(initial_job_idx + i, tuple(overrides))
        for i, overrides in enumerate(job_overrides)
    ]
