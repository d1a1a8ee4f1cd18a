"""Train residual networks and their plain twins, and sweep their hyperparameters."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from resnet_sweep.models import build_resnet
    from resnet_sweep.report.results import load_history, load_results

__version__ = "0.1.0"

__all__ = ["__version__", "build_resnet", "load_history", "load_results"]

# Lazy: help, refusals and completion answer before torch is loaded.
_MODULES = {
    "build_resnet": "models",
    "load_history": "report.results",
    "load_results": "report.results",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
