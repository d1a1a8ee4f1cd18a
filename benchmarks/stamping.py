"""Stamps: when a process got where, written down from within, without a change to what is measured.

``benchmarks/hook`` on PYTHONPATH has every Python process of a command, whoever started it, call
``install``. It waits for a few modules and wraps one function of each. What it wraps:

    torch                       before and after its import
    resnet_sweep.app            the task is called: everything is composed
    resnet_sweep.data.cache     the decoded images are opened
    resnet_sweep.training.loop  ``Trainer.fit``, which asks before every step whether it is to
                                stop: the first time is the first step's begin, the second its
                                end, for which a GPU is waited. Its reporter is told every epoch.

Scripts of this folder that train without ours, ``plain_start`` and ``plain_app``, call ``note``
themselves. A stamp is a line of JSON. Only what Python loads anyhow is imported here.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

# The file that stamps are appended to; without it nothing is wrapped.
STAMPS_VARIABLE = "RESNET_SWEEP_BENCHMARK_STAMPS"
# Set to anything: the process ends after its first step.
ONE_STEP_VARIABLE = "RESNET_SWEEP_BENCHMARK_ONE_STEP"


def note(event: str, **facts: float) -> None:
    """Appends a stamp, in one write, which those of other processes cannot mix with."""
    path = os.environ.get(STAMPS_VARIABLE)
    if path is None:
        return
    stamp = {"pid": os.getpid(), "event": event, "at_s": time.monotonic(), "facts": facts}
    line = json.dumps(stamp) + "\n"
    with open(path, "a", buffering=len(line) + 1) as stream:
        stream.write(line)


def install() -> None:
    """Has the modules of above wrapped when they are imported."""
    if STAMPS_VARIABLE in os.environ:
        note("python")
        sys.meta_path.insert(0, _Hooks())


class _Hooks(MetaPathFinder):
    """Finds the modules that are to be wrapped, each once."""

    def __init__(self) -> None:
        self._wraps: dict[str, Callable[[Any], None]] = {
            "torch": lambda module: None,
            "resnet_sweep.app": _wrap_app,
            "resnet_sweep.data.cache": _wrap_cache,
            "resnet_sweep.training.loop": _wrap_loop,
        }

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The module's own spec, whose loader wraps it at last."""
        wrap = self._wraps.pop(fullname, None)
        if wrap is None:
            return None
        spec = importlib.util.find_spec(fullname)
        if spec is None or spec.loader is None:
            return spec
        execute = spec.loader.exec_module

        def watched(module: ModuleType) -> None:
            note(f"import {fullname}")
            execute(module)
            wrap(module)
            note(f"imported {fullname}")

        # Not a loader of our own: others ask it for the source.
        spec.loader.exec_module = watched  # type: ignore[method-assign]
        return spec


def _wrap_app(module: Any) -> None:
    call = module.TrialTask.__call__

    def watched(self: object, cfg: object) -> object:
        note("composed")
        return call(self, cfg)

    module.TrialTask.__call__ = watched


def _wrap_cache(module: Any) -> None:
    open_data = module.open_data

    def watched(config: object) -> object:
        note("opening")
        data = open_data(config)
        note("opened")
        return data

    module.open_data = watched


def _wrap_loop(module: Any) -> None:
    fit = module.Trainer.fit

    def watched(self: object, reporter: Any, raise_if_stopped: Callable[[], None]) -> object:
        note("fit")
        watch = _FitWatch(reporter, raise_if_stopped)
        result = fit(self, watch, watch.raise_if_stopped)
        note("ended")
        return result

    module.Trainer.fit = watched


class _FitWatch:
    """Stands between a trainer and those whom it tells and asks."""

    def __init__(self, reporter: Any, raise_if_stopped: Callable[[], None]) -> None:
        self._reporter, self._raise_if_stopped = reporter, raise_if_stopped
        self._num_asked = 0
        # When the epoch that runs now has begun its first step.
        self._began_s: float | None = None

    def raise_if_stopped(self) -> None:
        """Called before every step."""
        self._raise_if_stopped()
        if self._began_s is None:
            self._began_s = time.monotonic()
        if self._num_asked == 0:
            note("step")
        elif self._num_asked == 1:
            _wait_for_gpu()
            note("stepped")
            if ONE_STEP_VARIABLE in os.environ:
                os._exit(0)
        self._num_asked += 1

    def report(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """Called after the validation of every epoch."""
        began_s, self._began_s = self._began_s, None
        if began_s is not None:  # Else it is one that an earlier attempt has run.
            seconds = metrics["seconds"]
            num_images = round(metrics["images_per_s"] * seconds)
            note("epoch", began_s=began_s, seconds=seconds, images=num_images)
        self._reporter.report(epoch, metrics)


def _wait_for_gpu() -> None:
    cuda = sys.modules["torch"].cuda
    if cuda.is_initialized():
        cuda.synchronize()
