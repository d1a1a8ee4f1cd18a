"""The benchmarks of whole commands: their arithmetic, what they refuse, and that they run."""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from benchmarks import nine, options, sharing, startup, study, sweep
from benchmarks.measured import Finished, environment, in_turn, run_measured
from benchmarks.nine import (
    PLAIN_TRAINING,
    POINTS,
    Trial,
    differences,
    ours_name,
    read_trials,
    ways,
)
from benchmarks.stamps import Stamp
from resnet_sweep.sweep.local.gpus import Gpu

Main = Callable[[list[str]], int]
MAINS = [sweep.main, startup.main, study.main, sharing.main]


def stamps(*pairs: tuple[str, float]) -> list[Stamp]:
    return [Stamp(1, event, at_s, {}) for event, at_s in pairs]


def finished(began_s: float, ended_s: float, found: list[Stamp]) -> Finished:
    return Finished(began_s, ended_s, 3.0, None, found, "")


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    """A folder of 160 images of noise, half of them cats."""
    folder = tmp_path / "pets"
    folder.mkdir()
    pixels = np.random.default_rng(0)
    for i in range(160):
        image = Image.fromarray(pixels.integers(0, 256, (40, 48, 3), dtype=np.uint8))
        image.save(folder / f"{('cat', 'dog')[i % 2]}.{i}.jpg")
    return folder


def test_each_round_begins_with_another_way() -> None:
    assert [in_turn("abc", i) for i in range(4)] == [
        *(["a", "b", "c"], ["b", "c", "a"], ["c", "a", "b"], ["a", "b", "c"])
    ]


def test_processes_that_a_command_leaves_behind_are_counted(tmp_path: Path) -> None:
    burn = "import time\nwhile time.process_time() < 0.3: pass"
    command = ["sh", "-c", f"{sys.executable} -c '{burn}' & exit 0"]
    done = run_measured(command, tmp_path / "run", environment(None, tmp_path))
    assert done.cpu_s >= 0.3
    assert done.gpu_busy is None


def test_processes_whose_end_is_ignored_are_counted(tmp_path: Path) -> None:
    burn = "import time\nwhile time.process_time() < 1.5: pass"
    script = (
        "import signal, subprocess, sys\n"
        "signal.signal(signal.SIGCHLD, signal.SIG_IGN)\n"
        f"subprocess.Popen([sys.executable, '-c', {burn!r}]).wait()\n"
    )
    command = [sys.executable, "-c", script]
    done = run_measured(command, tmp_path / "run", environment(None, tmp_path))
    # It burns 1.5 s; looked at twice a second.
    assert done.cpu_s >= 0.5


def test_a_command_that_fails_is_told_with_what_it_printed(tmp_path: Path) -> None:
    env = environment(None, tmp_path)
    with pytest.raises(RuntimeError, match=r"(?s)exit code 3 of sh -c.*no good"):
        run_measured(["sh", "-c", "echo no good; exit 3"], tmp_path / "run", env)
    done = run_measured(["sh", "-c", "exit 3"], tmp_path / "again", env, codes=(0, 3))
    assert done.stamps == []


def test_commands_have_their_own_threads_and_see_no_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    env = environment(None, tmp_path / "cache", tmp_path)
    assert "OMP_NUM_THREADS" not in env
    assert env["CUDA_VISIBLE_DEVICES"] == "-1"
    assert env["RESNET_SWEEP_CACHE"] == str(tmp_path / "cache")
    assert env["PYTHONPATH"].startswith(str(tmp_path))


def test_a_gpu_is_watched_while_a_command_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # No test machine has one: the driver's answers are made up, all else is real.
    driver = SimpleNamespace(
        nvmlInit=lambda: None,
        nvmlShutdown=lambda: None,
        nvmlDeviceGetHandleByUUID=lambda uuid: uuid,
        nvmlDeviceGetUtilizationRates=lambda handle: SimpleNamespace(gpu={"GPU-7": 40}[handle]),
        nvmlDeviceGetName=lambda handle: f"name of {handle}",
    )
    monkeypatch.setitem(sys.modules, "pynvml", driver)
    gpu = Gpu("gpu3", "3", "GPU-7")
    env = environment(gpu, tmp_path)
    assert env["CUDA_VISIBLE_DEVICES"] == "3"
    done = run_measured(["sleep", "0.3"], tmp_path / "run", env, gpu)
    assert done.gpu_busy == pytest.approx(0.4)
    facts = options.facts_of(options.Images("pets", 32, 64, 12), gpu)
    assert "name of GPU-7" in options.header("title", facts)


def test_equal_settings_and_threads_must_have_equal_numbers() -> None:
    one = Trial(POINTS[0], "COMPLETE", 1, (0.5, 0.7, 0.6))
    other_threads = Trial(POINTS[0], "COMPLETE", 2, (0.5, 0.71, 0.6))
    found = {"shell loop": [other_threads], "ours": [one], "joblib": [one]}
    assert differences(found) == []
    found["ray tune"] = [Trial(POINTS[0], "COMPLETE", 1, (0.5, 0.72, 0.6))]
    (line,) = differences(found)
    assert line.startswith("optimizer.lr=0.01 optimizer.momentum=0.0, 1 threads: ")
    assert "by joblib, ours" in line
    assert "by ray tune" in line
    args = argparse.Namespace(device="cpu")
    assert sweep.equality(args, sweep.Measured({}, found)) == (
        False,
        f"  equal settings and threads, other numbers:\n{line}",
    )


def test_numbers_of_plain_training_are_not_compared() -> None:
    threads = {"optuna, joblib 2": [Trial(POINTS[0], "COMPLETE", 1, (0.5, 0.7, 0.6))]}
    threads[f"shell loop{PLAIN_TRAINING}"] = [Trial(POINTS[0], "COMPLETE", 1, (0.4, 0.8, 0.9))]
    threads[f"optuna, joblib 2{PLAIN_TRAINING}"] = [Trial(POINTS[0], "COMPLETE", 2, (0.6, 1, 2))]
    is_equal, line = sweep.equality(argparse.Namespace(device="cpu"), sweep.Measured({}, threads))
    assert is_equal
    assert line.startswith("  3 trials, all complete; by our trainer, ")
    assert "equal threads (1)" in line


def test_plain_training_is_of_the_same_points() -> None:
    found = {way.name: way for way in ways(False, 2, [1])}
    name = "optuna, joblib 2"
    mine, plain = (found[one].command(["model=x"]) for one in (name, f"{name}{PLAIN_TRAINING}"))
    assert set(plain) - set(mine) == {
        *("benchmarks.plain_app", "hydra.sweep.subdir=trials/${hydra.job.num}"),
        "hydra.sweeper.direction=maximize",
    }


def test_nine_complete_trials_are_wanted(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="0 of 9 trials are complete"):
        read_trials(tmp_path)


def test_ours_shares_the_gpu_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.nine.has_ray_tune", lambda: False)
    names = [way.name for way in ways(True, 2, [1, 4])]
    assert names == [
        *("shell loop", "shell loop, plain training", "optuna, basic", "optuna, joblib 2"),
        *("optuna, joblib 2, threads=1", "optuna, joblib 2, plain training"),
        *("ours, 1 worker", "ours, 4 workers"),
    ]
    ours = ways(True, 2, [4])[-1].command(["trainer.epochs=1"])
    assert "hydra.launcher.workers_per_gpu=4" in ours
    assert not any("per_gpu" in word for word in ways(False, 2, [4])[-1].command([]))


def test_ratios_are_of_the_same_round() -> None:
    def result(wall_s: float) -> sweep.Result:
        return sweep.Result(wall_s, 1.0, 2.0, 0.5, None, 0.25)

    joblib, mine = sweep.JOBLIB, ours_name(2)
    plain = f"{joblib}{PLAIN_TRAINING}"
    results = {
        **{joblib: [result(10), result(12)], plain: [result(20), result(21)]},
        mine: [result(5), result(3)],
    }
    measured = sweep.Measured(results, {name: [] for name in results})
    # What the engine brings, and what it brings with the trainer: both have a goal.
    assert measured.ratios() == [
        (f"{mine}, against {joblib}", 2.0, [2, 4]),
        (f"{mine}, against {plain}", 2.0, [4, 7]),
    ]
    text = sweep.table(argparse.Namespace(device="cpu"), measured)
    assert "3.00 (2.00 - 4.00)" in text
    assert all(line.endswith(" 2.00") for line in text.splitlines()[-2:])


def test_the_parts_of_a_start_make_it_up() -> None:
    found = stamps(
        *(("python", 10.1), ("composed", 10.6), ("import torch", 10.7), ("imported torch", 12.7)),
        *(("opening", 12.8), ("opened", 12.9), ("fit", 13.5), ("step", 13.6), ("stepped", 14.0)),
    )
    start = startup.Start.of(finished(10, 14.2, found))
    assert start.total_s == pytest.approx(4)
    expected = [0.1, 0.5, 2, 0.1, 0.6, 0.1, 0.4, 0.2]
    assert [start.parts_s[part] for part in startup.PARTS] == pytest.approx(expected)
    bare = startup.Start.of(finished(10, 12.8, [found[0], *found[2:4]]))
    assert bare.total_s == pytest.approx(2.7)
    assert set(bare.parts_s) == {"python", "torch", "other"}


def test_the_parts_of_a_study_make_it_up() -> None:
    epoch = Stamp(1, "epoch", 11.0, {"began_s": 5.0, "seconds": 6.0, "images": 64})
    step, ended = stamps(("step", 5.0), ("ended", 12.0))
    found = study.Study.of(finished(1, 15, [step, epoch, ended]), [])
    assert (found.wall_s, found.start_s, found.trials_s, found.end_s) == (14, 4, 7, 3)
    assert (found.busy_s, found.training_s) == (7, 6)
    small = argparse.Namespace(size=64, epochs=20, images=320)
    assert study.changes(small) == (
        "SMALLER than the study: 64 pixels in place of 224, 320 training images in place of 3,000"
    )
    assert study.changes(argparse.Namespace(**study.RECIPE)) == "the recipe is the study's"


def test_workers_are_recommended_where_they_bring_something() -> None:
    alone, two, two_mps, four_mps = (sharing.Way(*of) for of in [(1, 0), (2, 0), (2, 1), (4, 1)])
    rates = {alone: [100, 100], two: [90, 90], two_mps: [196, 200], four_mps: [202, 204]}
    assert sharing.ratios(rates)[two] == [0.9, 0.9]
    assert sharing.recommended(rates) == (two_mps, 1.98)
    flat = {alone: [100], two: [104], two_mps: [103], four_mps: [90]}
    assert sharing.recommended(flat) == (alone, 1.0)
    assert sharing.recommendation({32: rates, 224: flat}, gpu=True) == (
        "  recommended: 32 pixels: hydra.launcher.workers_per_gpu=2 with MPS (1.98x); "
        "224 pixels: hydra.launcher.workers_per_gpu=1 (1.00x)"
    )


def test_mps_is_tried_where_several_share_a_gpu() -> None:
    def names(*of: object) -> list[str]:
        return [way.name for way in sharing.ways(*of)]  # type: ignore[arg-type]

    assert names([1, 2], True, True) == ["1 worker", "2 workers", "2 workers, MPS"]
    assert names([2], True, False) == names([2], False, True) == ["1 worker", "2 workers"]


@pytest.mark.parametrize("main", MAINS, ids=lambda main: main.__module__)
def test_wrong_arguments_of_whole_commands_are_refused(
    main: Main, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(*arguments: str) -> str:
        with pytest.raises(SystemExit, match=r"^2$"):
            main([*arguments])
        return capsys.readouterr().err.splitlines()[-1]

    monkeypatch.setattr(options, "the_gpu", lambda: None)
    root = ["--root", str(tmp_path)]
    assert "is not a folder" in refused("--root", str(tmp_path / "none"))
    assert "its folder does not exist" in refused(*root, "--json", "/nowhere/raw.json")
    assert "there is no such device here" in refused(*root, "--device", "cuda")
    assert "must be at least one batch of 32" in refused(*root, "--images", "16")
    assert "is not a whole number from 1 on" in refused(*root, "--rounds", "0")
    assert "--root" in refused(*root, "--quick")  # It is empty.


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("main", MAINS, ids=lambda main: main.__module__)
def test_whole_commands_are_measured(
    main: Main,
    pets: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Nine trials of every way take minutes.
    kinds = ("optuna, joblib 2", "ours, 1 worker")
    few: dict[str, tuple[float, ...]] = {
        "optimizer.lr": (0.01, 0.001),
        "optimizer.momentum": (0.5,),
    }
    points = list(itertools.product(*few.values()))
    monkeypatch.setattr(nine, "PARAMETERS", few)
    for module in (nine, sweep):
        monkeypatch.setattr(module, "POINTS", points)
    monkeypatch.setattr(
        sweep, "ways", lambda *given: [way for way in ways(*given) if way.name in kinds]
    )
    raw = tmp_path / "raw.json"
    assert main(["--root", str(pets), "--quick", "--json", str(raw)]) == 0
    result = json.loads(raw.read_text())
    assert result["machine"]["gpu"] is None
    shown = capsys.readouterr().out
    if main is sweep.main:
        assert list(result["ways"]) == list(kinds)
        for name, way in result["ways"].items():
            assert name in shown
            (one,) = way["rounds"]
            assert 0 < one["first_step_s"] + one["end_s"] < one["wall_s"]
            assert 0 < one["training"] < 1
            assert len(way["trials"]) == 2
        assert result["differences"] == []
    elif main is startup.main:
        for starts in result["starts"].values():
            (one,) = starts
            assert sum(one["parts_s"].values()) == pytest.approx(one["total_s"])
        assert result["starts"]["ours, cold"][0]["parts_s"]["opening"] > 0
    elif main is study.main:
        (one,) = result["rounds"]
        assert [row["number"] for row in one["rows"]] == [str(i) for i in range(6)]
        assert one["start_s"] + one["trials_s"] + one["end_s"] == pytest.approx(one["wall_s"])
    else:
        (one,) = result["sizes"]
        assert list(one["images_per_s"]) == ["1 worker", "2 workers"]
        assert one["ratios"]["1 worker"] == [1]
        assert "recommended: 32 pixels" in shown
