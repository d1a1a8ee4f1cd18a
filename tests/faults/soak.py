"""Kills and restarts sweeps at random, and checks against a model what must hold.

``python tests/faults/soak.py --minutes 10 [--seed N] [--workers N] [--storage journal]``

Each study is worked on in rounds: one sweep of it or two, faults at random moments, and when all
has ended a look at everything that must hold then. The last round of a study is undisturbed and
must bring it to its end. What is done, and when, follows from the seed; how the processes come
along does not. Exit code 1: a rule was broken; the folder is kept.
"""

from __future__ import annotations

import argparse
import os
import random
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

# As a file it is run from anywhere.
_ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(_ROOT))

import psutil  # noqa: E402
from clocks import set_back  # noqa: E402
from fault_sweeps import ROOT, Sweep, has_handlers, kill_all, starts, sweep, trials_of  # noqa: E402
from soak_model import PASSING, TOKEN, Model, Plan, left_over  # noqa: E402

from resnet_sweep.study.reading import read_study  # noqa: E402

_STEPS = ("do=soak", "steps=4", "sleep=0.1")
_KILLED = {-signal.SIGKILL}
_ANY = set(range(-64, 256))
# Exit codes of a sweep that was left alone, or whose workers only were disturbed.
_FINE = {0}


class Ground:
    """Where the sweeps of one study run.

    Args:
        home: A new folder, and the root of a small disk if ``is_small``.
        command: Of all its sweeps.
        env: For all its processes.
    """

    def __init__(
        self, home: Path, command: Sequence[str], env: dict[str, str], moments: random.Random
    ):
        self.home, self.command, self.env, self.moments = home, command, env, moments
        self.sweeps: list[Sweep] = []
        self.allowed: dict[int, set[int]] = {}

    def start(self, **more: str) -> Sweep:
        """Starts the command, perhaps beside itself."""
        new = Sweep(self.home, *self.command, env={**self.env, **more})
        self.sweeps.append(new)
        self.allowed[new.process.pid] = set(_FINE)
        return new

    def running(self) -> list[Sweep]:
        return [one for one in self.sweeps if one.process.poll() is None]

    def allow(self, one: Sweep, codes: set[int]) -> None:
        self.allowed[one.process.pid] |= codes

    def wait(self) -> None:
        """To somewhere in the start of a sweep, or in one of its next trials."""
        if self.moments.random() < 0.4:
            self.pause(3.0)
            return
        wanted = len(starts(self.home)) + self.moments.randint(1, 4)
        end = time.monotonic() + 10
        while time.monotonic() < end and self.running() and len(starts(self.home)) < wanted:
            time.sleep(0.02)
        self.pause(0.6)

    def pause(self, longest_s: float) -> None:
        """Waits a while, shorter when nothing runs any more."""
        end = time.monotonic() + self.moments.uniform(0.0, longest_s)
        while time.monotonic() < end and self.running():
            time.sleep(0.02)


def _kill_worker(ground: Ground, one: Sweep) -> None:
    workers = one.workers()
    if workers:
        ground.moments.choice(workers).kill()


def _kill_parent(ground: Ground, one: Sweep) -> None:
    ground.allow(one, _KILLED)
    one.process.kill()


def _kill_all(ground: Ground, one: Sweep) -> None:
    ground.allow(one, _KILLED)
    kill_all(one)


def _stop_worker(ground: Ground, one: Sweep) -> None:
    _hold(ground, one.workers())


def _stop_parent(ground: Ground, one: Sweep) -> None:
    _hold(ground, [psutil.Process(one.process.pid)])


def _hold(ground: Ground, processes: Sequence[psutil.Process]) -> None:
    """Stops one of the processes for a while; it may be killed meanwhile by its parent."""
    try:
        held = ground.moments.choice(processes)
        held.suspend()
        ground.pause(2.0)
        held.resume()
    except (IndexError, psutil.Error):
        return


def _signalled(signum: signal.Signals, num: int) -> Callable[[Ground, Sweep], None]:
    def send(ground: Ground, one: Sweep) -> None:
        # Before that Python's own handlers answer, in Python's own words.
        if not has_handlers(one):
            return
        ground.allow(one, {128 + signum, -signum})
        for _ in range(num):
            if num > 1:
                ground.allow(one, _ANY)
            one.process.send_signal(signum)
            ground.pause(0.5)

    return send


def _join(ground: Ground, one: Sweep) -> None:
    if len(ground.running()) < 2:
        ground.start()


def _join_late(ground: Ground, one: Sweep) -> None:
    """A second sweep, whose clock is an hour back."""
    late = set_back(ground.home, 3600)
    if late is not None and len(ground.running()) < 2:
        ground.start(**late)


def _fill_disk(ground: Ground, one: Sweep) -> None:
    ballast = ground.home / "ballast"
    for each in ground.running():
        # What could not be written is told, and the next sweep writes it.
        ground.allow(each, _ANY)
    with ballast.open("wb") as file:
        subprocess.run(
            ["head", "-c", "1G", "/dev/zero"], stdout=file, stderr=subprocess.DEVNULL, check=False
        )
    ground.pause(2.0)
    ballast.unlink()


FAULTS: dict[str, Callable[[Ground, Sweep], None]] = {
    "worker killed": _kill_worker,
    "parent killed": _kill_parent,
    "all killed": _kill_all,
    "worker stopped for a while": _stop_worker,
    "parent stopped for a while": _stop_parent,
    "SIGTERM": _signalled(signal.SIGTERM, 1),
    "SIGINT": _signalled(signal.SIGINT, 1),
    "SIGINT twice": _signalled(signal.SIGINT, 2),
    "a second sweep": _join,
    "a second sweep, an hour back": _join_late,
}


def tear_journal(folder: Path, moments: random.Random) -> bool:
    """Leaves half a line at the end of a journal, as a power cut does."""
    journal = folder / "study.journal"
    if not journal.is_file():
        return False
    lines = journal.read_bytes().splitlines()
    if not lines:
        return False
    line = moments.choice(lines)
    with journal.open("ab") as file:
        file.write(line[: moments.randrange(1, len(line))])
    return True


class Soak:
    """Studies, one after another, as long as there is time."""

    def __init__(self, options: argparse.Namespace, home: Path, is_small: bool) -> None:
        self.options, self.home, self.is_small = options, home, is_small
        self.moments = random.Random(options.seed)
        self.token = secrets.token_hex(8)
        self.done: Counter[str] = Counter()
        self.end = time.monotonic() + 60 * options.minutes
        # Whether the study at hand has nothing left to be disturbed.
        self.is_done = False
        self._drawn: list[dict[str, float]] = []

    def run(self) -> list[str]:
        """Runs studies until the time is up; returns the rules that were broken."""
        faults: list[str] = []
        try:
            while time.monotonic() < self.end and not faults:
                faults = self._study()
        finally:
            for process in left_over(self.token):
                process.kill()
        return faults

    def _study(self) -> list[str]:
        number = self.done["studies"]
        self.done["studies"] += 1
        home = self.home / f"study{number}"
        home.mkdir()
        self.is_done = False
        shape = self.moments.choice(["grid", "drawn", "repeats", "drawn in order"])
        storage = self._storage()
        command, plan = self._planned(shape, number, storage)
        env = {TOKEN: self.token, "PYTHONPATH": str(_ROOT), "OMP_NUM_THREADS": "1"}
        ground = Ground(home, command, env, self.moments)
        model = Model(home / ROOT / f"soak{number}-{self.options.seed}", plan, self.token)
        kind = storage.partition(":")[0].replace("null", "journal")
        for part in range(1, self.moments.randint(3, 9)):
            if time.monotonic() > self.end or self.is_done:
                break
            faults = self._round(ground, model, f"{number}.{part} {shape}, {kind}")
            if faults:
                return faults
        faults = self._last(ground, model, f"{number}.last {shape}, {kind}")
        if not faults:
            self._count(model)
            shutil.rmtree(home)
        return faults

    def _storage(self) -> str:
        wanted = self.options.storage
        if wanted == "any":
            wanted = self.moments.choice(["journal", "sqlite"])
        return {"journal": "null", "sqlite": "sqlite:///study.db"}.get(wanted, wanted)

    def _planned(self, shape: str, number: int, storage: str) -> tuple[list[str], Plan]:
        """A command, and what it is to come to."""
        workers = 1 if shape == "drawn in order" else self.options.workers
        allowed = {*PASSING, "exception", "disk"} if self.is_small else PASSING
        common = [
            *("hydra/launcher=local", f"hydra.launcher.workers={workers}", *_STEPS),
            *(f"hydra.sweeper.study_name=soak{number}-{self.options.seed}",),
            *(f"hydra.sweeper.storage={storage}", "hydra.sweeper.retry={lost:999,exception:999}"),
            *("hydra.launcher.max_restarts=99", "hydra.sweeper.close_slot_after=null"),
        ]
        drawn = ["x=interval(0,1)", "y=int(interval(0,9))", "hydra.sweeper.sampler.seed=1"]
        if shape == "grid":
            points = tuple({"x": x, "y": y} for x in range(4) for y in range(5))
            return [*common, "x=0,1,2,3", "y=0,1,2,3,4"], Plan(20, 4, 1, points, frozenset(allowed))
        if shape == "repeats":
            points = tuple({"x": x} for x in range(7))
            space = ["x=range(7)", "hydra.sweeper.repeats=3"]
            return [*common, *space], Plan(7, 4, 3, points, frozenset(allowed))
        params = self._undisturbed(drawn) if shape == "drawn in order" else ()
        command = [*common, *drawn, "hydra.sweeper.n_trials=20"]
        return command, Plan(20, 4, 1, params, frozenset(allowed), may_join=not params)

    def _undisturbed(self, drawn: Sequence[str]) -> Sequence[dict[str, float]]:
        """What one worker draws when nobody disturbs it."""
        if not self._drawn:
            with tempfile.TemporaryDirectory() as cwd:
                space = [*drawn, "hydra.sweeper.n_trials=20", "hydra.sweeper.study_name=calm"]
                done = sweep(Path(cwd), *space, "do=soak", "steps=4", "sleep=0")
                assert done.process.returncode == 0, done.text
                self._drawn = [one.params for one in trials_of(Path(cwd) / ROOT / "calm")]
        return self._drawn

    def _round(self, ground: Ground, model: Model, title: str) -> list[str]:
        """Sweeps that are disturbed; then all that must hold."""
        what = []
        if self.moments.random() < 0.15 and tear_journal(model.folder, self.moments):
            what.append("torn journal")
        ground.start()
        names = [name for name in FAULTS if model.plan.may_join or "second" not in name]
        names += ["disk full for a while"] * self.is_small
        for _ in range(self.moments.randint(1, 3)):
            ground.wait()
            alive = ground.running()
            if not alive:
                break
            name = self.moments.choice(names)
            FAULTS.get(name, _fill_disk)(ground, self.moments.choice(alive))
            what.append(name)
        if self.moments.random() < 0.7:
            ground.pause(1.0)
            for one in ground.running():
                _kill_all(ground, one)
            what.append("all killed")
        self.done.update(what)
        return self._judge(ground, model, title, what, is_end=False)

    def _last(self, ground: Ground, model: Model, title: str) -> list[str]:
        ground.start()
        return self._judge(ground, model, title, ["undisturbed"], is_end=True)

    def _judge(
        self, ground: Ground, model: Model, title: str, what: Sequence[str], *, is_end: bool
    ) -> list[str]:
        faults = []
        for one in ground.sweeps:
            try:
                code = one.process.wait(90)
            except subprocess.TimeoutExpired:
                kill_all(one)
                faults.append(f"a sweep does not end: {one.text[-2000:]}")
                continue
            if code not in ground.allowed[one.process.pid]:
                faults.append(f"exit code {code}, after {', '.join(what)}: {one.text[-2000:]}")
            if "Traceback" in one.text:
                faults.append(f"a traceback: {one.text[-4000:]}")
        ground.sweeps.clear()
        # A worker whose parent was killed ends a moment later.
        end = time.monotonic() + 30
        while left_over(self.token) and time.monotonic() < end:
            time.sleep(0.05)
        standing = "nothing yet"
        if (model.folder / "multirun.yaml").exists():
            faults += model.faults(is_end=is_end)
            num_done = read_study(model.folder).counts["COMPLETE"]
            self.is_done = num_done == model.plan.num_tickets
            standing = f"{num_done}/{model.plan.num_tickets} done"
        elif is_end:
            faults.append("there is no study at the end")
        self.done["rounds"] += 1
        print(
            f"{title:28} {standing:12} {'ok' if not faults else 'BROKEN'}  {', '.join(what)}",
            flush=True,
        )
        return faults

    def _count(self, model: Model) -> None:
        trials = trials_of(model.folder)
        self.done["trials"] += model.plan.num_tickets
        self.done["attempts"] += len(trials)
        self.done["taken up"] += sum("retry_of" in one.user_attrs for one in trials)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument(
        "--storage", default="any", help="any, journal, sqlite, or postgresql://..."
    )
    return parser.parse_args(arguments)


def _small_disk(home: Path) -> bool:
    """Makes the folder a disk of its own that can be filled; False where that is not allowed."""
    if os.geteuid() != 0:
        return False
    command = ["mount", "-t", "tmpfs", "-o", "size=96m", "tmpfs", str(home)]
    return subprocess.run(command, stderr=subprocess.DEVNULL).returncode == 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a soak and says how it went."""
    options = _options(arguments)
    home = Path(tempfile.mkdtemp(prefix="soak-"))
    is_small = _small_disk(home)
    print(f"seed {options.seed}, in {home}{'' if is_small else ', no small disk'}", flush=True)
    soak = Soak(options, home, is_small)
    faults = soak.run()
    print("\n".join(f"{number:6} {what}" for what, number in soak.done.most_common()))
    for fault in faults:
        print(f"broken: {fault}")
    if faults:
        print(f"seed {options.seed}; all of it is in {home}")
        return 1
    if is_small:
        subprocess.run(["umount", str(home)], check=True)
    shutil.rmtree(home)
    return 0


if __name__ == "__main__":
    sys.exit(main())
