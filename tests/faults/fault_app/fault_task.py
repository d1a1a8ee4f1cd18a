"""What a trial of the application does."""

import itertools
import os
import signal
import sys
import time
from pathlib import Path

import odd_tasks
import soak_task
import waiting
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from resnet_sweep.sweep import current_trial
from resnet_sweep.sweep.task import FunctionTask

_SIGNALS = ("SIGKILL", "SIGSEGV", "SIGTERM")


class OutOfMemoryError(RuntimeError):
    """Named as torch's."""


def run(cfg: DictConfig) -> object:
    """A trial: leaves its marks, works a while, and does what it is told."""
    folder = Path(HydraConfig.get().runtime.output_dir)
    # Fails when another attempt has been here.
    with (folder / "owner").open("x") as file:
        file.write(str(current_trial().number))
    slot = os.environ.get("RESNET_SWEEP_SLOT")
    with Path("starts").open("a") as file:
        file.write(f"{time.time()} {current_trial().number} {slot} {os.getpid()} {cfg.seed}\n")
    previous = current_trial().previous_folders
    (folder / "previous").write_text("".join(f"{path}\n" for path in previous))
    if cfg.do == "soak":
        value = soak_task.run(cfg, folder)
        (folder / "finished").touch()
        return value
    for step in range(1, cfg.steps + 1):
        current_trial().report(cfg.x + cfg.seed, step)
    time.sleep(cfg.sleep)
    is_told = cfg.when is None or cfg.x in cfg.when
    result = _do(cfg, cfg.do, slot, bool(previous)) if is_told else "work"
    (folder / "finished").touch()
    is_done = isinstance(result, str) and result == "work"
    return cfg.x * cfg.model.width + cfg.seed if is_done else result


def _do(cfg: DictConfig, what: str, slot: str | None, is_again: bool) -> object:
    if what in _SIGNALS:
        os.kill(os.getpid(), signal.Signals[what])
        time.sleep(60)
    if what.startswith("once_"):
        return "work" if is_again else _do(cfg, what.removeprefix("once_"), slot, is_again)
    if what == "together":
        return waiting.together(cfg.num_together)
    if what == "held":
        return waiting.held(cfg.x)
    if what.startswith("cpu"):
        return _raise_as_asked() if slot == what else waiting.burnt(what)
    return _WAYS[what]() if what in _WAYS else odd_tasks.WAYS[what]()


def _raise(error: BaseException) -> None:
    raise error


def _raise_as_asked() -> None:
    _raise(RuntimeError("as asked\nin two lines"))


def _swallow() -> None:
    while True:
        try:
            time.sleep(60)
        except Exception as error:
            print(f"goes on after {error}")


def _blocked() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})
    time.sleep(60)


def _deaf() -> str:
    if Path("hears").exists():
        return "work"
    (Path(HydraConfig.get().runtime.output_dir) / "deaf").touch()
    while True:
        try:
            time.sleep(60)
        except KeyboardInterrupt:
            print("does not listen")


def _report_nan() -> str:
    for step, value in enumerate([float("nan"), float("inf"), float("nan")], start=1):
        current_trial().report(value, step)
    return "work"


_WAYS = {
    "work": lambda: "work",
    "exception": _raise_as_asked,
    "memory": lambda: _raise(MemoryError("no room")),
    "oom": lambda: _raise(OutOfMemoryError("no room on the GPU")),
    "device": lambda: _raise(OSError("the device is gone")),
    "sys_exit": lambda: sys.exit(0),
    "os_exit": lambda: os._exit(7),
    "sleep": lambda: time.sleep(60),
    "swallow": _swallow,
    "blocked": _blocked,
    # Never leaves the loop in C, and lets no other thread run.
    "stuck": lambda: max(itertools.repeat(1)),
    "none": lambda: None,
    "not_a_number": lambda: float("nan"),
    "infinite": lambda: float("inf"),
    "text": lambda: "best",
    "digits": lambda: "3.5",
    "two": lambda: (1.0, 2.0),
    "deaf": _deaf,
    "report_nan": _report_nan,
}


class FaultTask(FunctionTask):
    """The same as a Task, which knows more."""

    free_keys = ("device", "logging")

    def __init__(self) -> None:
        super().__init__(run)

    def failure_kind(self, error: BaseException) -> str:
        return "device" if isinstance(error, OSError) else super().failure_kind(error)
