"""The application of the sweep benchmarks.

    python -m benchmarks.sweep_app -m 'a=interval(0,1)' ...

A trial writes down when it ran; see ``records.py``. The lengths of the sleeps are in a file,
one for each trial number, so that they are the same whoever runs the trials.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import hydra
from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig

from benchmarks.sweep_task import SAMPLER_VARIABLE, run_trial, time_samplers


@dataclass
class Settings:
    """Four parameters."""

    a: float = 0.0
    b: float = 0.0
    c: float = 0.0
    d: float = 0.0


ConfigStore.instance().store(name="sweep_app", node=Settings)


@hydra.main(config_path=None, config_name="sweep_app", execution_whitelist=["benchmarks.*"])
def main(cfg: DictConfig) -> float:
    """One trial."""
    return run_trial(cfg)


if __name__ == "__main__":
    if SAMPLER_VARIABLE in os.environ:
        time_samplers()
    main()
