"""Stamps: that they are there, in every process, and what follows from them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmarks import stamping
from benchmarks.measured import HOOK, environment, run_measured
from benchmarks.stamping import ONE_STEP_VARIABLE, STAMPS_VARIABLE
from benchmarks.stamps import (
    Stamp,
    covered_s,
    epochs_of,
    read_stamps,
    steady_images_per_s,
    times_of,
    training_share,
    trials_s,
)


def epoch(pid: int, began_s: float, seconds: float, images: int) -> Stamp:
    facts = {"began_s": began_s, "seconds": seconds, "images": images}
    return Stamp(pid, "epoch", began_s + seconds, facts)


def trial(pid: int, began_s: float, images: int = 100) -> list[Stamp]:
    """One epoch of eight seconds, and two more of validation."""
    step = Stamp(pid, "step", began_s, {})
    return [step, epoch(pid, began_s, 8, images), Stamp(pid, "ended", began_s + 10, {})]


def test_time_is_counted_once_where_spans_overlap() -> None:
    assert covered_s([]) == 0
    assert covered_s([(3, 5), (0, 1), (4, 6), (4, 4.5)]) == 4
    stamps = [*trial(1, 0), *trial(2, 4)]
    assert training_share(stamps, 24) == 0.5
    assert trials_s(stamps) == [10, 10]
    assert [(one.pid, one.ended_s, one.num_images) for one in epochs_of(stamps)] == [
        (1, 8, 100),
        (2, 12, 100),
    ]


def test_the_rate_is_of_the_time_in_which_all_workers_are_warm_and_busy() -> None:
    first = [stamp for began_s in (0, 10, 20, 30) for stamp in trial(1, began_s)]
    # Its second trial begins at 15 s, and it has run out of trials at 35 s.
    second = [stamp for began_s in (5, 15, 25) for stamp in trial(2, began_s)]
    found = steady_images_per_s([*first, *second], 2)
    inside = 100 * 3 / 8 + 100 + 100 * 5 / 8 + 200
    assert found == pytest.approx(inside / 20)
    with pytest.raises(ValueError, match="two trials each at least, not 4, 1"):
        steady_images_per_s([*first, *trial(2, 3)], 2)
    with pytest.raises(ValueError, match="3 workers should"):
        steady_images_per_s([*first, *second], 3)
    with pytest.raises(ValueError, match="a worker had run out"):
        steady_images_per_s([*trial(1, 0), *trial(1, 10), *trial(2, 10), *trial(2, 30)], 2)


def test_a_command_that_never_came_somewhere_is_told(tmp_path: Path) -> None:
    assert read_stamps(tmp_path / "none") == []
    with pytest.raises(RuntimeError, match="no process of the command came to 'step'"):
        times_of([], "step")


def test_processes_that_a_command_starts_stamp_as_well(tmp_path: Path) -> None:
    # Stands before torch: what is measured is the import, whatever is imported.
    (tmp_path / "torch.py").write_text("import time\ntime.sleep(0.01)\n")
    inner = "import torch"
    outer = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {inner!r}], check=True)"
    env = environment(None, tmp_path / "cache", tmp_path)
    done = run_measured([sys.executable, "-c", outer], tmp_path / "run", env)
    assert [one.event for one in done.stamps] == [
        *("python", "python", "import torch", "imported torch")
    ]
    assert len({one.pid for one in done.stamps}) == 2
    assert done.began_s < done.stamps[0].at_s < done.stamps[-1].at_s < done.ended_s


def test_without_a_file_nothing_is_wrapped() -> None:
    env = {name: value for name, value in os.environ.items() if name != STAMPS_VARIABLE}
    env["PYTHONPATH"] = os.pathsep.join([str(HOOK), env["PYTHONPATH"]])
    code = "import sys; print([type(one).__name__ for one in sys.meta_path])"
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True
    )
    assert "_Hooks" not in done.stdout
    assert done.stderr == ""


def test_steps_and_epochs_are_stamped_and_the_trainer_is_served_as_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(STAMPS_VARIABLE, str(tmp_path / "stamps"))
    monkeypatch.setattr(stamping, "_wait_for_gpu", lambda: None)
    asked: list[int] = []
    told: list[tuple[int, object]] = []
    row = {"seconds": 0.5, "images_per_s": 64.0}

    class Trainer:
        def fit(self, reporter, raise_if_stopped):
            for number in (1, 2):
                for _ in range(3):
                    raise_if_stopped()
                reporter.report(number, row)
            return "result"

    module = SimpleNamespace(Trainer=Trainer)
    stamping._wrap_loop(module)
    reporter = SimpleNamespace(report=lambda *values: told.append(values))
    assert Trainer().fit(reporter, lambda: asked.append(1)) == "result"
    assert len(asked) == 6
    assert told == [(1, row), (2, row)]
    stamps = read_stamps(tmp_path / "stamps")
    assert [one.event for one in stamps] == ["fit", "step", "stepped", "epoch", "epoch", "ended"]
    first, second = epochs_of(stamps)
    assert (first.num_images, second.num_images) == (32, 32)
    assert stamps[1].at_s == pytest.approx(first.began_s, abs=0.1)
    assert first.began_s < second.began_s


def test_a_start_ends_after_its_first_step(tmp_path: Path) -> None:
    script = (
        "import sys, types\n"
        "from benchmarks import stamping\n"
        "sys.modules['torch'] = types.SimpleNamespace(\n"
        "    cuda=types.SimpleNamespace(is_initialized=lambda: False))\n"
        "watch = stamping._FitWatch(None, lambda: print('step', flush=True))\n"
        "for _ in range(5):\n"
        "    watch.raise_if_stopped()\n"
    )
    env = {**os.environ, STAMPS_VARIABLE: str(tmp_path / "stamps"), ONE_STEP_VARIABLE: "1"}
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["step", "step"]
    assert [one.event for one in read_stamps(tmp_path / "stamps")] == ["step", "stepped"]
