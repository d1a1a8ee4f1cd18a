"""A device's peaks, measured: arithmetic by a matrix product, memory by a copy."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from resnet_sweep.training.roofline import Peaks

_DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}
# Of a square matrix product; on a CPU the first size of which one takes long enough.
_GPU_SIZE = 8192
_CPU_SIZES = (512, 1024, 2048, 4096)
_LONG_ENOUGH_S = 0.05
# Far more than a device's caches hold, for each side of a copy.
_COPY_BYTES = 2**28
_MIN_REPEATS, _MAX_REPEATS = 3, 20
# Of the repeats of one measurement.
_BUDGET_S = 0.5


def measure_peaks(device: torch.device, precision: str, threads: int | None = None) -> Peaks:
    """Measures what a device reaches: under a second on a GPU, a few on a CPU.

    The device should have nothing else to do. It takes up to a gigabyte of its memory for the
    time being.

    Args:
        device: Which one.
        precision: Of the matrix product, "bf16" or "fp32"; on CUDA fp32 is TF32 where
            convolutions use that.
        threads: Of a CPU; None leaves the number as it is.

    Returns:
        Each from the median time of several repeats.
    """
    with torch.inference_mode(), _num_threads(threads), _products_as_convolutions():
        return Peaks(_flops_per_s(device, _DTYPES[precision]), _bytes_per_s(device))


def _flops_per_s(device: torch.device, dtype: torch.dtype) -> float:
    sizes = _CPU_SIZES if device.type == "cpu" else (_GPU_SIZE,)
    # Not zeros, for which a GPU needs less power; not from the generator of the training.
    generator = torch.Generator(device).manual_seed(0)
    for size in sizes:
        a, b = (
            torch.randn(size, size, device=device, generator=generator).to(dtype) for _ in range(2)
        )
        out = torch.empty(size, size, device=device, dtype=dtype)
        product = _bound(torch.mm, a, b, out)
        # The first one sets up threads, kernels and workspaces.
        _timed(product, device)
        if _timed(product, device) > _LONG_ENOUGH_S:
            break
    return 2 * size**3 / _median_s(product, device)


def _bytes_per_s(device: torch.device) -> float:
    source = torch.ones(_COPY_BYTES, dtype=torch.uint8, device=device)
    target = torch.zeros_like(source)

    def copy() -> None:
        target.copy_(source)

    _timed(copy, device)
    return 2 * _COPY_BYTES / _median_s(copy, device)


def _bound(product: Callable[..., Tensor], a: Tensor, b: Tensor, out: Tensor) -> Callable[[], None]:
    def run() -> None:
        product(a, b, out=out)

    return run


def _median_s(run: Callable[[], None], device: torch.device) -> float:
    times_s: list[float] = []
    while len(times_s) < _MIN_REPEATS or (len(times_s) < _MAX_REPEATS and sum(times_s) < _BUDGET_S):
        times_s.append(_timed(run, device))
    return statistics.median(times_s)


def _timed(run: Callable[[], None], device: torch.device) -> float:
    """Seconds of one call, by the device's own clock where it has one."""
    if device.type == "cuda":
        start = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        end = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        stream = torch.cuda.current_stream(device)
        start.record(stream)
        run()
        end.record(stream)
        end.synchronize()
        return float(start.elapsed_time(end)) / 1000
    synchronize(device)
    started = time.perf_counter()
    run()
    synchronize(device)
    return time.perf_counter() - started


def synchronize(device: torch.device) -> None:
    """Waits until a device has done everything it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


@contextmanager
def _num_threads(threads: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _products_as_convolutions() -> Iterator[None]:
    """Lets fp32 products on CUDA use TF32 where convolutions do, whose peak is wanted."""
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before
