"""What a trial of the application does."""

import os
import time
from pathlib import Path

from omegaconf import DictConfig

from resnet_sweep.sweep import current_trial
from resnet_sweep.sweep.task import FunctionTask


class OtherDataError(RuntimeError):
    """The data are not the study's."""


def run(cfg: DictConfig) -> float:
    """A trial that wants the same data as all others."""
    data = Path(f"data-{os.environ['RESNET_SWEEP_SLOT']}").read_text()
    kept = current_trial().agree("data", data)
    if kept != data:
        raise OtherDataError(f"{data}, not {kept}")
    time.sleep(0.2)
    return float(cfg.x)


class ChangedTask(FunctionTask):
    """The function, and what its failures are called."""

    def __init__(self) -> None:
        super().__init__(run)

    def failure_kind(self, error: BaseException) -> str:
        if isinstance(error, OtherDataError):
            return "data_changed"
        return super().failure_kind(error)
