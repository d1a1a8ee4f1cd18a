"""Builds torch's optimizers from the optimizer group."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from resnet_sweep.training.config import (
    AdamConfig,
    AdamWConfig,
    OptimizerConfig,
    RmspropConfig,
    SgdConfig,
)


def build_optimizer(
    config: OptimizerConfig, parameters: Iterable[nn.Parameter]
) -> torch.optim.Optimizer:
    """The optimizer that ``config`` names, over ``parameters`` as one group.

    One kernel for all parameters (``fused``) where torch has one for the class and device.
    """
    params = list(parameters)
    fused = all(p.device.type in ("cpu", "cuda") for p in params)
    if isinstance(config, SgdConfig):
        return torch.optim.SGD(
            params,
            lr=config.lr,
            momentum=config.momentum,
            nesterov=config.nesterov,
            weight_decay=config.weight_decay,
            fused=fused,
        )
    if isinstance(config, AdamConfig):
        adam = torch.optim.AdamW if isinstance(config, AdamWConfig) else torch.optim.Adam
        return adam(
            params,
            lr=config.lr,
            betas=config.betas,
            eps=config.eps,
            weight_decay=config.weight_decay,
            fused=fused,
        )
    assert isinstance(config, RmspropConfig), f"no optimizer for {type(config).__name__}"
    return torch.optim.RMSprop(
        params,
        lr=config.lr,
        momentum=config.momentum,
        alpha=config.alpha,
        eps=config.eps,
        weight_decay=config.weight_decay,
        foreach=True,
    )
