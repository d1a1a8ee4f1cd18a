"""What a run needs to go on after it was killed, and how it is stored."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from resnet_sweep.faults import Fault
from resnet_sweep.files import replacing
from resnet_sweep.models.weights import read_tensors
from resnet_sweep.training.failures import CheckpointError

# Raised when what is stored changes its meaning.
VERSION = 1


@dataclass
class Checkpoint:
    """State at the end of an epoch.

    Order, augmentation and dropout of an epoch depend on the seed and the epoch's number
    alone, so no state of a random generator is kept.

    Attributes:
        config: The run's configuration, nested plain values.
        data: Hash of the decoded data's content.
        epoch: Epochs that are finished.
        model: The model's state dict.
        optimizer: The optimizer's state dict.
        rows: The rows of metrics.csv, one an epoch.
        predictions: Predicted classes of the last finished epoch, [n] int64.
        best: Row, weights and predictions of the best epoch so far: "row", "model",
            "predictions" [n] int64.
        seconds: Wall time spent so far, over all attempts.
    """

    config: dict[str, Any]
    data: str
    epoch: int
    model: dict[str, Any]
    optimizer: dict[str, Any]
    rows: list[dict[str, float]]
    predictions: Tensor
    best: dict[str, Any]
    seconds: float

    def save(self, path: Path) -> None:
        """Writes the checkpoint in one move."""
        # Not dataclasses.asdict, which would copy every tensor once more.
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        save_tensors({"version": VERSION, **fields}, path)

    @classmethod
    def load(cls, path: Path) -> Checkpoint:
        """Reads a checkpoint; nothing in it can run code (weights_only).

        Raises:
            CheckpointError: The file is no checkpoint of this version.
        """
        fix = "delete it or type trainer.resume=never to start anew"
        try:
            state = read_tensors(path)
        except ValueError as error:
            raise CheckpointError(
                [Fault("trainer.resume", path, f"cannot be read ({error})", fix=fix)]
            ) from error
        expected = {"version", *(field.name for field in dataclasses.fields(cls))}
        if not isinstance(state, dict) or state.keys() != expected or state["version"] != VERSION:
            raise CheckpointError(
                [Fault("trainer.resume", path, f"is no checkpoint of version {VERSION}", fix=fix)]
            )
        del state["version"]
        return cls(**state)


def save_tensors(state: Mapping[str, Any], path: Path) -> None:
    """torch.save in one move: the old file or the new one, never half of one."""
    with replacing(path) as temporary:
        torch.save(dict(state), temporary)


def to_host(value: Any) -> Any:
    """A copy on the host of every tensor in nested dicts and lists; memory formats stay."""
    if isinstance(value, torch.Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, Mapping):
        return {key: to_host(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(to_host(item) for item in value)
    return value
