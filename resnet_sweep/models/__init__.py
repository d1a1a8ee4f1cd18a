"""Residual networks, their plain twins, and a door for any other network."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from resnet_sweep.models.build import build_model
    from resnet_sweep.models.resnet import ResNet, build_resnet

__all__ = ["ResNet", "build_model", "build_resnet"]

_HOMES = {
    "ResNet": "resnet_sweep.models.resnet",
    "build_model": "resnet_sweep.models.build",
    "build_resnet": "resnet_sweep.models.resnet",
}


def __getattr__(name: str) -> object:
    # Lazy, because the settings beside these networks must load without torch.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
