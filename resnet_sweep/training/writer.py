"""Writes snapshots of the training to files while it goes on."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from resnet_sweep.training.checkpoint import map_tensors, save_tensors

# Pinned memory is the machine's, and dear to allocate: a little of it is used again and again.
_STAGE_BYTES = 8 * 2**20


class Writer:
    """Writes files of tensors in a thread of its own, one after the other in their order.

    Its methods are for one thread, the training's. What a write fails with is raised once, by
    ``check``, ``wait``, ``write`` or ``close``, whichever comes first. After ``close`` it may be
    used again.
    """

    def __init__(self) -> None:
        self._pool: ThreadPoolExecutor | None = None
        self._writes: deque[Future[None]] = deque()
        self._copier: HostCopier | None = None

    @property
    def is_busy(self) -> bool:
        """Whether a write is in flight."""
        return any(not write.done() for write in self._writes)

    def start(self, contents: Mapping[str, Any], path: Path) -> None:
        """Writes a file in the background, after those that were started before.

        Args:
            contents: Tensors on any device and plain values, nested; nobody changes them any
                more. What is queued on the current stream of the device comes before.
            path: The file; it appears whole.
        """
        if self._pool is None:
            self._pool = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._writes.append(self._pool.submit(self._run, _Job(contents, path)))

    def write(self, contents: Mapping[str, Any], path: Path) -> None:
        """Writes a file before it returns, after those that were started.

        Args:
            contents: As for ``start``.
            path: The file.

        Raises:
            OSError: It, or one that was started before, cannot be written.
        """
        self.wait()
        self._run(_Job(contents, path))

    def check(self) -> None:
        """Raises what a write that has ended failed with; does not wait."""
        while self._writes and self._writes[0].done():
            self._writes.popleft().result()

    def wait(self) -> None:
        """Waits until nothing is in flight, and raises what a write failed with."""
        wait(self._writes)
        self.check()

    def close(self) -> None:
        """As ``wait``, and ends the thread."""
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None
        self.check()

    def _run(self, job: _Job) -> None:
        save_tensors(self._on_host(job), job.path)

    def _on_host(self, job: _Job) -> Any:
        # Nothing else refers to the contents then, so the device has its memory back when they
        # are on the host, however slow the disk is.
        contents, job.contents = job.contents, None
        if job.device is None or job.ready is None:
            return map_tensors(contents, lambda tensor: tensor.to("cpu"))
        if self._copier is None:
            self._copier = HostCopier(job.device)
        return self._copier.copy(contents, job.ready)


class _Job:
    """One file to be written, as it is handed over.

    Attributes:
        contents: Tensors and plain values, until they are on the host.
        path: The file.
        device: The CUDA device that tensors are on, or None.
        ready: Comes after everything that they are computed by.
    """

    def __init__(self, contents: Mapping[str, Any], path: Path) -> None:
        self.contents: Mapping[str, Any] | None = contents
        self.path = path
        self.device = _cuda_device(contents)
        self.ready: torch.cuda.Event | None = None
        if self.device is not None:
            self.ready = torch.cuda.current_stream(self.device).record_event()


class HostCopier:
    """Copies tensors of a CUDA device to the host, beside what the training has queued.

    A stream of its own carries them through a small pinned buffer, for a copy into pageable
    memory would hold up the driver. For one thread at a time.

    Args:
        device: The CUDA device.
    """

    def __init__(self, device: torch.device) -> None:
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._stage = torch.empty(_STAGE_BYTES, dtype=torch.uint8, pin_memory=True)
        # Blocking: a thread that spins would take a core from the training.
        self._arrived = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]

    def copy(self, contents: Any, ready: torch.cuda.Event) -> Any:
        """Nested contents with every tensor on the host.

        Args:
            contents: Held by the caller until this returns; by then their memory is not read
                any more, so that the allocator need not be told of the other stream.
            ready: After it on its stream the contents are there.
        """
        with torch.cuda.stream(self._stream):
            self._stream.wait_event(ready)
            return map_tensors(contents, self._on_host)

    def _on_host(self, tensor: Tensor) -> Tensor:
        return tensor if tensor.device.type == "cpu" else staged(tensor, self._stage, self._wait)

    def _wait(self) -> None:
        self._arrived.record(self._stream)
        self._arrived.synchronize()


def staged(tensor: Tensor, stage: Tensor, wait: Callable[[], None]) -> Tensor:
    """A copy on the host that comes in pieces through a buffer; the memory format stays.

    Args:
        tensor: Dense, as every clone is, on any device.
        stage: uint8, on the host; it is overwritten.
        wait: Returns when what was copied into ``stage`` is there.
    """
    host = torch.empty_like(tensor, device="cpu")
    # Both have the same strides without gaps, so their memory is copied as it lies.
    source, target = (
        part.as_strided((part.numel(),), (1,), part.storage_offset()) for part in (tensor, host)
    )
    num = stage.numel() // tensor.element_size()
    for start in range(0, tensor.numel(), num):
        piece = source[start : start + num]
        part = stage[: piece.numel() * tensor.element_size()].view(tensor.dtype)
        part.copy_(piece, non_blocking=True)
        wait()
        target[start : start + num] = part
    return host


def _cuda_device(value: Any) -> torch.device | None:
    """The CUDA device of tensors in nested dicts and lists, None where there is none."""
    if isinstance(value, Tensor):
        return value.device if value.device.type == "cuda" else None
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple):
        return next((found for item in value if (found := _cuda_device(item)) is not None), None)
    return None
