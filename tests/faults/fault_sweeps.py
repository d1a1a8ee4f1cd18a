"""Sweeps of the application in fault_app/, as processes that can be killed."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
from optuna.trial import FrozenTrial

from resnet_sweep.study.reading import open_study
from resnet_sweep.study.storage import close_storage

APP = Path(__file__).with_name("fault_app") / "app.py"
STUDY = "hydra/sweeper=study"
LOCAL = ("hydra/launcher=local", "hydra.launcher.workers=2")
# Where a sweep's study is when nothing else is said.
ROOT = "multirun"


@dataclass(frozen=True)
class Stage:
    """Something that happens to a sweep once, at a call of one of its functions.

    Attributes:
        who: "worker", "parent", or "anybody": whoever comes to it first.
        at: "module:function" or "module:Class.method".
        when: "before" or "after" the call.
        nth: Which call in a process.
        do: A signal's name, or a command for the shell.
    """

    who: str
    at: str
    when: str = "before"
    nth: int = 1
    do: str = "SIGKILL"


class Sweep:
    """A sweep as a process with a group of its own, as a shell starts it.

    Of the application in fault_app/, or of another; None is our own, ``python -m resnet_sweep``.
    """

    def __init__(
        self,
        cwd: Path,
        *overrides: str,
        app: Path | None = APP,
        stages: Sequence[Stage] = (),
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.output = cwd / f"output{len(list(cwd.glob('output*')))}"
        program = ("-m", "resnet_sweep") if app is None else (str(app),)
        with self.output.open("wb") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-B", *program, "-m", STUDY, *overrides],
                cwd=cwd,
                stdout=file,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                env=_environment(cwd, stages, env),
            )

    @property
    def text(self) -> str:
        """What it has printed."""
        return self.output.read_text()

    def wait(self, limit_s: float = 300) -> int:
        """Its exit code."""
        try:
            return self.process.wait(limit_s)
        except subprocess.TimeoutExpired:
            kill_all(self)
            self.process.wait()
            raise AssertionError(f"does not end: {self.text}") from None

    def send(self, signum: signal.Signals, to_group: bool = False) -> None:
        """Signals the sweep, or all that is in its terminal's group."""
        (os.killpg if to_group else os.kill)(self.process.pid, signum)

    def workers(self) -> list[psutil.Process]:
        """The processes of its slots."""
        try:
            found = psutil.Process(self.process.pid).children()
            return [one for one in found if any("child.py" in part for part in one.cmdline())]
        except psutil.Error:
            return []


def _environment(
    cwd: Path, stages: Sequence[Stage], env: Mapping[str, str] | None
) -> dict[str, str]:
    found = {**os.environ, **(env or {})}
    if stages:
        marks = cwd / "marks"
        marks.mkdir(exist_ok=True)
        found["PYTHONPATH"] = f"{APP.parent / 'at_stage'}:{found.get('PYTHONPATH', '')}"
        found["FAULT_STAGES"] = json.dumps([asdict(stage) for stage in stages])
        found["FAULT_MARKS"] = str(marks)
    return found


def sweep(
    cwd: Path, *overrides: str, app: Path | None = APP, limit_s: float = 300, **more: Any
) -> Sweep:
    """Runs a sweep to its end."""
    done = Sweep(cwd, *overrides, app=app, **more)
    done.wait(limit_s)
    return done


def come_to(cwd: Path, stages: Sequence[Stage]) -> list[Stage]:
    """Those of the stages that have been."""
    return [stage for number, stage in enumerate(stages) if (cwd / "marks" / str(number)).exists()]


def until(condition: Callable[[], object], what: str = "it") -> None:
    """Waits for something that must happen."""
    end = time.monotonic() + 300
    while not condition():
        assert time.monotonic() < end, f"{what} does not happen"
        time.sleep(0.01)


def has_handlers(running: Sweep) -> bool:
    """Whether a sweep has handlers of its own; Python itself has one for SIGINT only."""
    try:
        with open(f"/proc/{running.process.pid}/status") as file:
            caught = next(int(line.split()[1], 16) for line in file if line.startswith("SigCgt"))
    except (FileNotFoundError, StopIteration):
        return False
    return bool(caught >> (signal.SIGTERM - 1) & 1)


def kill_parent(running: Sweep) -> None:
    """SIGKILL to the sweep alone."""
    running.process.kill()


def kill_worker(running: Sweep) -> None:
    """SIGKILL to one of its workers, if there is one."""
    workers = running.workers()
    if workers:
        random.choice(workers).kill()


def kill_all(running: Sweep) -> None:
    """SIGKILL to the sweep and to all that it has started."""
    try:
        everybody = psutil.Process(running.process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        everybody = []
    running.process.kill()
    for one in everybody:
        try:
            one.kill()
        except psutil.NoSuchProcess:
            continue


def studies(cwd: Path) -> list[Path]:
    """Folders of all unnamed studies, oldest first."""
    return sorted((cwd / ROOT).iterdir()) if (cwd / ROOT).exists() else []


def only_study(cwd: Path) -> Path:
    """The folder of the one study that there is."""
    (folder,) = studies(cwd)
    return folder


def trials_of(folder: Path) -> list[FrozenTrial]:
    """All trials of a study."""
    study = open_study(folder)
    try:
        return list(study.get_trials())
    finally:
        close_storage(study._storage)


def attempts_of(folder: Path) -> dict[int, list[FrozenTrial]]:
    """Trials by ticket, oldest first."""
    found: dict[int, list[FrozenTrial]] = {}
    for trial in trials_of(folder):
        found.setdefault(trial.user_attrs["ticket"], []).append(trial)
    return found


def kinds(folder: Path) -> list[str]:
    """How the trials ended, by number: their state, of a failed one its kind."""
    return [t.user_attrs.get("failure", t.state.name) for t in trials_of(folder)]


def starts(cwd: Path) -> list[tuple[float, int, str, int]]:
    """When which trial was started, on which slot, in which process."""
    path = cwd / "starts"
    lines = path.read_text().splitlines() if path.exists() else []
    rows = (line.split() for line in lines)
    return [(float(when), int(num), slot, int(pid)) for when, num, slot, pid, _ in rows]


def check_whole(cwd: Path, folder: Path, num_tickets: int) -> None:
    """The budget is full, each ticket done once, and no folder or number was used twice."""
    attempts = attempts_of(folder)
    assert sorted(attempts) == list(range(num_tickets))
    for ticket, trials in attempts.items():
        states = [trial.state.name for trial in trials]
        assert states[-1] == "COMPLETE", (ticket, states)
        # A finished trial is left alone: whatever came before was lost or interrupted.
        ends = {trial.user_attrs.get("failure") for trial in trials[:-1]}
        assert ends <= {"lost", "interrupted"}, (ticket, states)
        assert [trial.user_attrs["attempt"] for trial in trials] == list(range(len(trials)))
        for before, after in pairwise(trials):
            assert after.user_attrs["retry_of"] == before.number
        if "duplicate_of" in trials[-1].user_attrs:
            continue
        owner = folder / trials[-1].user_attrs["folder"]
        assert (owner / "owner").read_text() == str(trials[-1].number)
        assert (owner / "finished").exists()
    trials = trials_of(folder)
    used = [one.user_attrs["folder"] for one in trials if "folder" in one.user_attrs]
    assert len(used) == len(set(used))
    numbers = [number for _, number, *_ in starts(cwd)]
    assert len(numbers) == len(set(numbers))
