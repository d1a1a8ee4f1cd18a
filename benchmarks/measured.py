"""One command, run from start to end and measured: time, processor, GPU, and its stamps."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from types import TracebackType
from typing import TypeVar

from benchmarks.figures import num_usable_cores
from benchmarks.stamping import STAMPS_VARIABLE
from benchmarks.stamps import Stamp, read_stamps, times_of, training_share
from resnet_sweep.sweep.local.gpus import VISIBLE, Gpu, installed_uuids, visible_gpus

ROOT = Path(__file__).resolve().parents[1]
HOOK = Path(__file__).with_name("hook")
COUNTED = Path(__file__).with_name("counted.py")
TIMEOUT_S = 7200
CACHE_VARIABLE = "RESNET_SWEEP_CACHE"
# Each way sets its threads as it does for its users.
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
# NVML's own figure is over the last sixth of a second or more.
_GPU_EVERY_S = 0.1


Way = TypeVar("Way")


@dataclass(frozen=True)
class Finished:
    """A command that has ended well.

    Attributes:
        began_s: On the clock of the stamps.
        ended_s: When its first process had ended.
        cpu_s: Processor seconds of all its processes.
        gpu_busy: Share of its time in which the GPU ran something; None without one.
        stamps: By their time.
        output: What it printed.
    """

    began_s: float
    ended_s: float
    cpu_s: float
    gpu_busy: float | None
    stamps: list[Stamp]
    output: str

    @property
    def wall_s(self) -> float:
        """Of the whole command."""
        return self.ended_s - self.began_s

    @property
    def first_step_s(self) -> float:
        """From the command to the begin of the first step of its first trial."""
        return times_of(self.stamps, "step")[0] - self.began_s

    @property
    def end_s(self) -> float:
        """From the end of the last trial to the end of the command."""
        return self.ended_s - times_of(self.stamps, "ended")[-1]

    @property
    def cpu_busy(self) -> float:
        """Share of the cores' time that was spent."""
        return self.cpu_s / (self.wall_s * num_usable_cores())

    @property
    def training(self) -> float:
        """Share of its time in which somebody trained."""
        return training_share(self.stamps, self.wall_s)


def in_turn(ways: Sequence[Way], number: int) -> list[Way]:
    """The ways in the order of a round: each round begins with another one."""
    first = number % len(ways)
    return [*ways[first:], *ways[:first]]


def the_gpu() -> Gpu | None:
    """The first GPU that is visible here, which is the one that is measured; None without one."""
    gpus = visible_gpus(installed_uuids(), os.environ)
    return gpus[0] if gpus else None


def environment(gpu: Gpu | None, cache: Path, *folders: Path) -> dict[str, str]:
    """What a measured command finds in its environment.

    Args:
        gpu: The only one that it sees; None hides all.
        cache: Of decoded images.
        folders: Where Python looks for modules before it looks here.
    """
    kept = {name: value for name, value in os.environ.items() if name not in THREAD_VARIABLES}
    path = [*map(str, (*folders, HOOK, ROOT)), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {
        **kept,
        "PYTHONPATH": os.pathsep.join(path),
        CACHE_VARIABLE: str(cache),
        VISIBLE: "-1" if gpu is None else gpu.token,
    }


def run_measured(
    command: Sequence[str],
    folder: Path,
    env: Mapping[str, str],
    gpu: Gpu | None = None,
    codes: Sequence[int] = (0,),
) -> Finished:
    """Runs a command in an empty folder.

    Args:
        command: With its program.
        folder: Is made; the command's working directory.
        env: Of ``environment``, and more.
        gpu: Watched meanwhile.
        codes: Exit codes of a good end.

    Raises:
        RuntimeError: It did not end well.
    """
    folder.mkdir(parents=True)
    stamps, report, log = (folder / name for name in ("stamps.jsonl", "cost.json", "output.log"))
    with log.open("wb") as output, GpuWatch(gpu) as watch:
        done = subprocess.run(
            [sys.executable, "-I", str(COUNTED), str(report), *command],
            cwd=folder,
            env={**env, STAMPS_VARIABLE: str(stamps)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            timeout=TIMEOUT_S,
        )
    text = log.read_text(errors="replace")
    if done.returncode not in codes:
        raise RuntimeError(f"exit code {done.returncode} of {' '.join(command)}\n{text[-4000:]}")
    cost = json.loads(report.read_text())
    return Finished(**cost, gpu_busy=watch.busy, stamps=read_stamps(stamps), output=text)


class GpuWatch:
    """While entered, asks the driver again and again how busy a GPU is.

    Attributes:
        busy: Mean share of the time in which something ran on it; None without one.
    """

    def __init__(self, gpu: Gpu | None) -> None:
        self._gpu = gpu
        self.busy: float | None = None
        self._seen: list[float] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> GpuWatch:
        if self._gpu is not None:
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        if self._gpu is not None:
            self._thread.join()
            self.busy = fmean(self._seen) if self._seen else None

    def _watch(self) -> None:
        import pynvml

        assert self._gpu is not None
        pynvml.nvmlInit()
        try:
            handle = pynvml.nvmlDeviceGetHandleByUUID(self._gpu.uuid)
            while not self._over.wait(_GPU_EVERY_S):
                self._seen.append(pynvml.nvmlDeviceGetUtilizationRates(handle).gpu / 100)
        finally:
            pynvml.nvmlShutdown()
