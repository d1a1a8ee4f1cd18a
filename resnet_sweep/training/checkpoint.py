"""What a run needs to go on after it was killed, and how it is stored."""

from __future__ import annotations

import dataclasses
import logging
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from resnet_sweep.faults import Fault
from resnet_sweep.files import replacing
from resnet_sweep.models.weights import read_tensors
from resnet_sweep.training.failures import CheckpointError

log = logging.getLogger(__name__)

# Raised when what is stored changes its meaning.
VERSION = 2


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

    def contents(self) -> dict[str, Any]:
        """What its file holds; the tensors are the checkpoint's own, wherever they are."""
        # Not dataclasses.asdict, which would copy every tensor once more.
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {"version": VERSION, **fields}

    @classmethod
    def load(cls, path: Path) -> Checkpoint:
        """Reads a checkpoint; nothing in it can run code (weights_only).

        Raises:
            CheckpointError: The file cannot be read, has changed since it was written, or is
                no checkpoint of this version.
        """
        fix = "delete it or type trainer.resume=never to start anew"
        try:
            # Opened once: whoever replaces it meanwhile does not change what is read.
            with path.open("rb") as stream:
                _check_sums(stream)
                stream.seek(0)
                state = read_tensors(stream)
        except (OSError, ValueError) as error:
            raise CheckpointError(
                [Fault("trainer.resume", path, f"cannot be read ({error})", fix=fix)]
            ) from error
        if not _is_ours(state):
            raise CheckpointError(
                [Fault("trainer.resume", path, f"is no checkpoint of version {VERSION}", fix=fix)]
            )
        del state["version"]
        return cls(**state)


_TYPES: dict[str, type | tuple[type, ...]] = {
    "version": int,
    "config": dict,
    "data": str,
    "epoch": int,
    "model": dict,
    "optimizer": dict,
    "rows": list,
    "predictions": Tensor,
    "best": dict,
    "seconds": (int, float),
}


def _is_ours(state: Any) -> bool:
    """Whether what was read has the fields of a checkpoint of this version."""
    return (
        isinstance(state, dict)
        and state.keys() == _TYPES.keys()
        and all(isinstance(state[name], kind) for name, kind in _TYPES.items())
        and state["version"] == VERSION
        and all(isinstance(row, dict) for row in state["rows"])
        and [row.get("epoch") for row in state["rows"]] == list(range(1, state["epoch"] + 1))
        and state["best"].keys() == {"row", "model", "predictions"}
    )


def _check_sums(stream: IO[bytes]) -> None:
    """Compares a file of torch.save with the checksums in it, which torch itself does not read.

    Raises:
        ValueError: It is no such file, is cut short, or a byte of it has changed; the message
            is one line.
    """
    try:
        with zipfile.ZipFile(stream) as archive:
            bad = archive.testzip()
            # As torch writes them. Of an entry that says to be a folder it would read nothing.
            odd = [
                one.filename
                for one in archive.infolist()
                if one.external_attr or one.compress_type != zipfile.ZIP_STORED
            ]
    except Exception as error:
        # Depending on its bytes zipfile raises nearly anything.
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"{type(error).__name__}: {reason}") from error
    if bad is not None or odd:
        raise ValueError(f"{bad or odd[0]} in it has changed since it was written")


def save_tensors(state: Mapping[str, Any], path: Path) -> None:
    """torch.save in one move: the old file or the new one, never half of one.

    Args:
        state: Tensors on the host and plain values, nested.
        path: The file.

    Raises:
        OSError: It cannot be written; says which file and why.
    """
    try:
        with replacing(path) as temporary, temporary.open("wb") as stream:
            torch.save(dict(state), stream)
    except (OSError, RuntimeError) as error:
        # Of a full disk torch says at which byte of the file it noticed.
        cause = _system_error(error)
        if cause is None:
            raise
        raise OSError(cause.errno, cause.strerror, str(path)) from error


def snapshot(value: Any) -> Any:
    """Copies of all tensors in nested dicts and lists that nobody changes afterwards.

    They stay on their device, without waiting for it, and keep their memory formats. Where
    the device has no room for them they are copied to the host, which waits.
    """
    try:
        return map_tensors(value, lambda tensor: tensor.detach().clone())
    except torch.OutOfMemoryError:
        log.info("no room on the device for a copy of the weights: it is made on the host")
        return map_tensors(value, lambda tensor: tensor.detach().to("cpu", copy=True))


def map_tensors(value: Any, function: Callable[[Tensor], Tensor]) -> Any:
    """The same nested dicts and lists with every tensor replaced by what ``function`` gives."""
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, Mapping):
        return {key: map_tensors(item, function) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map_tensors(item, function) for item in value)
    return value


def _system_error(error: BaseException | None) -> OSError | None:
    """The innermost error of the system behind ``error``."""
    found = None
    while error is not None:
        if isinstance(error, OSError) and error.errno is not None:
            found = error
        error = error.__cause__ or error.__context__
    return found
