"""torch.compile: where it earns its time back, and where what it makes is kept."""

from __future__ import annotations

import os
import shutil
from importlib.util import find_spec

import torch
from torch import nn

from resnet_sweep.faults import ConfigError, Fault
from resnet_sweep.paths import code_cache
from resnet_sweep.training.config import TrainerConfig
from resnet_sweep.training.step import Network

_CACHE_VARIABLE = "TORCHINDUCTOR_CACHE_DIR"
# From how many pixels on, over all images of all epochs, it is worth its time. It depends on the
# settings alone: what is compiled rounds differently, and a run must not do so because a machine
# was slow. On a CPU a ResNet-50 then trains for hours, of which one percent is more than compiling
# takes (docs/speed.md). For CUDA it is a guess, from published times of compiling.
_WORTH_PIXELS = {"cuda": 2e11, "cpu": 2e10}


def compiles(config: TrainerConfig, device: torch.device, num_pixels: float, *, ours: bool) -> bool:
    """Whether a run compiles its network.

    Args:
        config: ``compile`` and ``deterministic`` decide.
        device: Where it trains.
        num_pixels: Height times width, over all training images of all epochs.
        ours: Whether the network is one of ours; auto leaves others as they are.

    Raises:
        ConfigError: It is to be compiled and the machine has no compiler.
    """
    if config.compile == "never":
        return False
    missing = _missing_compiler(device)
    if config.compile == "always":
        if missing is not None:
            rule = f"needs {missing} on {device}"
            fix = "install it or type trainer.compile=never"
            raise ConfigError([Fault("trainer.compile", "always", rule, fix=fix)])
        return True
    is_long = num_pixels >= _WORTH_PIXELS.get(device.type, float("inf"))
    return is_long and ours and missing is None and not config.deterministic


def compiled_network(model: nn.Module) -> Network:
    """What ``model`` computes, by kernels made for it and for the shapes of its first batch.

    They are kept for the next process in code_cache(), or in $TORCHINDUCTOR_CACHE_DIR, which
    torch.compile reads.
    """
    if not os.environ.get(_CACHE_VARIABLE):
        os.environ[_CACHE_VARIABLE] = str(code_cache())
    # The mode without CUDA graphs: the whole step is captured, not only the network.
    network: Network = torch.compile(model, dynamic=False)
    # What earlier runs of the process compiled counts towards a limit of eight, after which
    # networks are left as they are, with no more than a warning.
    torch._dynamo.reset()
    return network


def _missing_compiler(device: torch.device) -> str | None:
    """What torch.compile would miss on this machine."""
    if device.type == "cuda" and find_spec("triton") is None:
        return "the package triton"
    names = [os.environ.get("CXX"), "g++", "clang++"]
    if not any(name and shutil.which(name) for name in names):
        return "a C++ compiler"
    return None
