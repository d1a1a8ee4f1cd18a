"""The learning rate of every step, as pure functions of the step."""

from __future__ import annotations

import math

from resnet_sweep.training.config import (
    CosineConfig,
    OneCycleConfig,
    SchedulerConfig,
    StepConfig,
)


def lr_factor(config: SchedulerConfig, step: int, num_steps: int) -> float:
    """What optimizer.lr is multiplied by at one step.

    Args:
        config: The scheduler group.
        step: Number of the step, from 0 to ``num_steps - 1``.
        num_steps: Steps of the whole run.

    Returns:
        The factor, from 0 to 1. one_cycle follows torch's OneCycleLR (its
        three_phase=False, cycle_momentum=False): the rise ends at step
        ``warmup * num_steps - 1`` and the fall at ``num_steps - 1``.
    """
    assert 0 <= step < num_steps
    if isinstance(config, OneCycleConfig):
        return _one_cycle(config, step, num_steps)
    num_warmup = math.ceil(config.warmup * num_steps)
    if step < num_warmup:
        # The first step already moves: a factor of 0 would waste it.
        return (step + 1) / (num_warmup + 1)
    if isinstance(config, CosineConfig):
        done = (step - num_warmup) / max(1, num_steps - 1 - num_warmup)
        return _cosine(1.0, config.final_factor, done)
    if isinstance(config, StepConfig):
        num_drops = sum(step >= share * num_steps for share in config.milestones)
        return config.gamma**num_drops
    return 1.0


def _one_cycle(config: OneCycleConfig, step: int, num_steps: int) -> float:
    peak = config.warmup * num_steps - 1
    last = num_steps - 1
    if step <= peak:
        return _cosine(config.initial_factor, 1.0, step / peak if peak > 0 else 1.0)
    return _cosine(
        1.0, config.final_factor, (step - max(peak, 0)) / max(1e-12, last - max(peak, 0))
    )


def _cosine(start: float, end: float, done: float) -> float:
    """Half a cosine from ``start`` to ``end``; ``done`` is the share of the way, 0 to 1."""
    return end + (start - end) * (1 + math.cos(math.pi * done)) / 2
