"""Tries a network out without touching it: on a copy that has shapes and no values."""

from __future__ import annotations

import copy

import torch
from torch import nn


def meta_copy(model: nn.Module) -> nn.Module:
    """A copy on the meta device: all of the modules, none of the memory or the arithmetic.

    Args:
        model: Any network; left as it is.
    """
    # Entries of the memo are what deepcopy puts in place of the tensors, so that none is copied.
    memo: dict[int, object] = {
        id(parameter): nn.Parameter(parameter.detach().to("meta"), parameter.requires_grad)
        for parameter in model.parameters()
    }
    memo |= {id(buffer): buffer.detach().to("meta") for buffer in model.buffers()}
    return copy.deepcopy(model, memo)


@torch.no_grad()
def meta_output_of(model: nn.Module, shape: tuple[int, ...], *, training: bool) -> object:
    """What ``model`` gives for float32 images of ``shape``, with shapes and no values.

    Args:
        model: Any network; left as it is, as are the random generators.
        shape: (N, C, H, W) of the images.
        training: In training mode instead of evaluation mode.

    Raises:
        Exception: Whatever the network raises, also for want of the meta device.
    """
    with torch.random.fork_rng(devices=[]):
        return meta_copy(model).train(training)(torch.zeros(shape, device="meta"))


@torch.no_grad()
def output_of(model: nn.Module, shape: tuple[int, ...]) -> object:
    """What ``model`` gives in evaluation mode for float32 images of zeros.

    On the meta device, where the network can be copied and run there, else on the CPU.

    Args:
        model: Any network on the CPU; its modes and running statistics and the random
            generators are left as they are.
        shape: (N, C, H, W) of the images.

    Raises:
        Exception: Whatever the network raises on the CPU.
    """
    try:
        return meta_output_of(model, shape, training=False)
    except Exception:
        # The meta device may be to blame (operations that need values); the CPU tells.
        modes = [(module, module.training) for module in model.modules()]
        try:
            with torch.random.fork_rng(devices=[]):
                return model.eval()(torch.zeros(shape))
        finally:
            for module, mode in modes:
                module.training = mode
