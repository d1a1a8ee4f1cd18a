"""The task of the sweep benchmarks: it does nothing, or sleeps as long as it is told.

A module of its own, because other processes get the application's main module as a copy, and
some of what is here cannot be copied.
"""

from __future__ import annotations

import functools
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from benchmarks.records import note

# Set: the time that samplers take is written down, too.
SAMPLER_VARIABLE = "RESNET_SWEEP_BENCHMARK_SAMPLER"
# A JSON list of seconds, by trial number.
SLEEPS_VARIABLE = "RESNET_SWEEP_BENCHMARK_SLEEPS"

_sampler_s = 0.0


@functools.cache
def sleeps_s() -> list[float]:
    """How long each trial sleeps; nothing where nobody says so."""
    path = os.environ.get(SLEEPS_VARIABLE)
    return json.loads(Path(path).read_text()) if path else []


def time_samplers() -> None:
    """Sums up the time that is spent in Optuna's samplers from now on."""
    from optuna.samplers import RandomSampler, TPESampler

    names = ("infer_relative_search_space", "sample_relative", "sample_independent")
    for sampler in (RandomSampler, TPESampler):
        for name in (*names, "before_trial", "after_trial"):
            setattr(sampler, name, _timed(getattr(sampler, name)))


_is_inside = False


def _timed(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def call(*args: Any, **kwargs: Any) -> Any:
        global _is_inside, _sampler_s
        if _is_inside:
            return method(*args, **kwargs)
        _is_inside, begin_s = True, time.perf_counter()
        try:
            return method(*args, **kwargs)
        finally:
            _is_inside = False
            _sampler_s += time.perf_counter() - begin_s

    return call


def run_trial(cfg: DictConfig) -> float:
    """Sleeps, writes down when it ran, and returns a value that depends on the parameters."""
    begin_s = time.monotonic()
    number = HydraConfig.get().job.num
    if sleeps_s():
        time.sleep(sleeps_s()[number])
    value = float(cfg.a**2 + cfg.b**2 + cfg.c**2 + cfg.d**2)
    note(number, begin_s, _sampler_s)
    return value
