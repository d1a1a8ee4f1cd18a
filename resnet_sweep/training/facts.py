"""What result.json says of a run beside its metrics."""

from __future__ import annotations

from typing import Any

import numpy as np

from resnet_sweep.data.dataset import ImageData
from resnet_sweep.training.config import ObjectiveConfig, direction_of


def objective_facts(config: ObjectiveConfig) -> dict[str, str]:
    """Which number the objective is and which way it is better."""
    return {
        "metric": f"{config.epoch}_{config.metric}",
        "direction": direction_of(config.metric),
    }


def data_facts(data: ImageData) -> dict[str, Any]:
    """How many images and classes there are, what a constant answer reaches, the hash."""
    return {
        "num_classes": len(data.classes),
        "num_train_images": len(data.train),
        "num_val_images": len(data.val),
        "num_test_images": 0 if data.test is None else len(data.test),
        # Of no class more than of any other it is one over the number of classes, the least.
        "chance_accuracy": int(np.bincount(data.val.labels).max()) / len(data.val),
        "data_hash": data.content,
        "num_skipped_images": data.num_skipped,
    }
