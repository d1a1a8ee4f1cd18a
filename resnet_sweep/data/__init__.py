"""Images: where they come from, the decoded cache, batches on a device."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from resnet_sweep.data.batches import DeviceSplit, EvalBatches, TrainBatches, place
    from resnet_sweep.data.cache import open_data
    from resnet_sweep.data.dataset import ImageData, Split
    from resnet_sweep.data.sources import num_classes_of

# Lazy: the configuration is checked and shown without importing numpy or torch.
_MODULES = {
    "DeviceSplit": "batches",
    "EvalBatches": "batches",
    "ImageData": "dataset",
    "Split": "dataset",
    "TrainBatches": "batches",
    "num_classes_of": "sources",
    "open_data": "cache",
    "place": "batches",
}

__all__ = [
    "DeviceSplit",
    "EvalBatches",
    "ImageData",
    "Split",
    "TrainBatches",
    "num_classes_of",
    "open_data",
    "place",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
