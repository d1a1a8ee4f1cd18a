"""The profile of a run: a trace of a few steps, and where the time of a step went."""

from __future__ import annotations

import gzip
import json
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile, record_function

from resnet_sweep.files import replacing
from resnet_sweep.training.breakdown import Breakdown
from resnet_sweep.training.kinds import DATA
from resnet_sweep.training.peaks import measure_peaks, synchronize
from resnet_sweep.training.roofline import Peaks, Roofline, network_roofline
from resnet_sweep.training.trace import Busy, busy_gpu, busy_host

T = TypeVar("T")

# Steps that warm up, that are timed, and that are recorded, in an epoch that has enough.
_WINDOW = 10


@dataclass(frozen=True)
class Profiled:
    """What a profile needs to know of the training.

    Attributes:
        model: The network, not compiled.
        image_shape: (C, H, W).
        batch_size: Images a step.
        precision: "bf16" or "fp32".
        device: Where it trains.
        num_optimizer_states: Values that the optimizer keeps for a weight.
    """

    model: nn.Module
    image_shape: Sequence[int]
    batch_size: int
    precision: str
    device: torch.device
    num_optimizer_states: int


@dataclass(frozen=True)
class Windows:
    """How many steps of an epoch warm up, are timed without the profiler, and are recorded."""

    num_skipped: int
    num_timed: int
    num_recorded: int

    @property
    def num_steps(self) -> int:
        """All of them."""
        return self.num_skipped + self.num_timed + self.num_recorded


def windows_of(num_steps: int) -> Windows:
    """The windows in an epoch of ``num_steps``, one at least: ten each, or a third of it each."""
    recorded = min(_WINDOW, max(1, num_steps // 3))
    timed = min(_WINDOW, num_steps // 3)
    return Windows(min(_WINDOW, num_steps - recorded - timed), timed, recorded)


class StepProfiler:
    """Times some steps, records as many, and tells where their time went.

    Driven by the loop, for the first epoch that it is given; nothing happens in later ones:

        with profiler.epoch(num_steps):
            for images, labels in profiler.batches(...):
                ...
                with profiler.range(METRICS):
                    ...
                profiler.step_done()
        if profiler.has_recorded:
            breakdown = profiler.breakdown()

    Args:
        trace_json: Where the trace goes, a path that ends with .json.gz.
        training: What is profiled.
    """

    def __init__(self, trace_json: Path, training: Profiled) -> None:
        self._trace_json, self._training = trace_json, training
        self._windows: Windows | None = None
        self._profiler: profile | None = None
        self._num_done = 0
        self._started_s = 0.0
        self._timed_s = 0.0
        self._recorded_s = 0.0
        self._busy: Busy | None = None

    @property
    def has_recorded(self) -> bool:
        """Whether there is something to report."""
        return self._busy is not None

    @contextmanager
    def epoch(self, num_steps: int) -> Iterator[None]:
        """Around the steps of an epoch; ends a recording that an error has cut short."""
        if self._windows is None:
            self._windows = windows_of(num_steps)
            self._enter_window()
        try:
            yield
        finally:
            if self._profiler is not None:
                self._profiler.stop()
                self._profiler = None

    def batches(self, batches: Iterable[T]) -> Iterator[T]:
        """Yields ``batches``; the time that each takes is the data's."""
        iterator, end = iter(batches), object()
        while True:
            with self.range(DATA):
                batch = next(iterator, end)
            if batch is end:
                return
            yield batch  # type: ignore[misc]

    def range(self, kind: str) -> AbstractContextManager[Any]:
        """Around work of one kind, DATA, METRICS or OPTIMIZER, while it records."""
        return nullcontext() if self._profiler is None else record_function(kind)

    def step_done(self) -> None:
        """A step has been given to the device."""
        windows = self._windows
        assert windows is not None, "step_done is called within epoch"
        self._num_done += 1
        if self._num_done <= windows.num_steps:
            self._enter_window()

    def _enter_window(self) -> None:
        """Ends a window and begins the next where the steps so far are at its border."""
        windows = self._windows
        assert windows is not None
        done, first_timed = self._num_done, windows.num_skipped
        first_recorded = first_timed + windows.num_timed
        if done not in (first_timed, first_recorded, windows.num_steps):
            return
        synchronize(self._training.device)
        now_s = time.perf_counter()
        if done == windows.num_steps:
            self._recorded_s = now_s - self._started_s
            self._stop()
            return
        if done == first_recorded:
            self._timed_s = now_s - self._started_s if windows.num_timed else 0.0
            self._start()
        self._started_s = time.perf_counter()

    def _start(self) -> None:
        activities = [ProfilerActivity.CPU]
        if self._training.device.type == "cuda":
            activities.append(ProfilerActivity.CUDA)
        profiler = profile(activities=activities)
        profiler.start()
        self._profiler = profiler
        synchronize(self._training.device)

    def _stop(self) -> None:
        profiler, self._profiler = self._profiler, None
        assert profiler is not None
        profiler.stop()
        with TemporaryDirectory() as folder:
            plain = Path(folder, "trace.json")
            profiler.export_chrome_trace(str(plain))
            text = plain.read_bytes()
        with replacing(self._trace_json) as path:
            path.write_bytes(gzip.compress(text, compresslevel=5))
        events = json.loads(text)["traceEvents"]
        if self._training.device.type == "cuda":
            self._busy = busy_gpu(events)
        else:
            self._busy = busy_host(events, threading.get_native_id())

    def breakdown(self) -> Breakdown:
        """Measures the device's peaks and says where the time went; once it has recorded.

        It takes a few seconds, and the device should have nothing else to do.
        """
        windows, busy, training = self._windows, self._busy, self._training
        assert windows is not None, "no step was recorded"
        assert busy is not None, "no step was recorded"
        peaks = measure_peaks(training.device, training.precision)
        roofline, problem = self._roofline(peaks)
        num = windows.num_recorded
        return Breakdown(
            device_type=training.device.type,
            precision=training.precision,
            batch_size=training.batch_size,
            num_recorded=num,
            step_s=(
                self._timed_s / windows.num_timed if windows.num_timed else self._recorded_s / num
            ),
            recorded_s=self._recorded_s / num,
            s_by_kind={kind: seconds / num for kind, seconds in busy.by_kind.items()},
            unknown={name: seconds / num for name, seconds in busy.unknown.items()},
            peaks=peaks,
            roofline=roofline,
            problem=problem,
        )

    def _roofline(self, peaks: Peaks) -> tuple[Roofline | None, str | None]:
        """The roofline of a step, or why there is none."""
        training = self._training
        try:
            roofline = network_roofline(
                training.model,
                training.image_shape,
                training.batch_size,
                training.precision,
                peaks,
                num_optimizer_states=training.num_optimizer_states,
            )
        except Exception as error:
            # A stranger's network may need values to run; the rest is of use without.
            return None, f"{type(error).__name__}: {' '.join(str(error).split())}"
        return roofline, None
