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
    slot = os.environ["RESNET_SWEEP_SLOT"]
    if Path("together").exists():
        _wait_for_both(slot)
    data = Path(f"data-{slot}").read_text()
    kept = current_trial().agree("data", data)
    if kept != data:
        raise OtherDataError(f"{data}, not {kept}")
    time.sleep(0.2)
    return float(cfg.x)


def _wait_for_both(slot: str) -> None:
    """On a slow machine one slot could do all trials before the other comes."""
    Path(f"here-{slot}").touch()
    end = time.monotonic() + 250
    while len(list(Path().glob("here-*"))) < 2:
        if time.monotonic() > end:
            raise TimeoutError(f"{slot} has waited for another slot in vain")
        time.sleep(0.02)


class ChangedTask(FunctionTask):
    """The function, and what its failures are called."""

    def __init__(self) -> None:
        super().__init__(run)

    def failure_kind(self, error: BaseException) -> str:
        if isinstance(error, OtherDataError):
            return "data_changed"
        return super().failure_kind(error)
