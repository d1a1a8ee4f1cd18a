"""What a worker does around its trials."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import pytest
from in_process import NATIVE, App
from omegaconf import DictConfig

from resnet_sweep.sweep import current_trial
from resnet_sweep.sweep.task import FunctionTask


class Keeper(FunctionTask):
    """Writes down what has been discarded before each trial."""

    seen: ClassVar[list[list[str]]] = []

    def __init__(self) -> None:
        super().__init__(self.run)
        self.discarded: list[str] = []
        self.seen.clear()

    def run(self, cfg: DictConfig) -> float:
        self.seen.append(list(self.discarded))
        return float(cfg.x)

    def discard(self, folder: Path) -> None:
        self.discarded.append(folder.name)


def test_what_is_large_goes_as_soon_as_a_trial_is_not_among_the_best(tmp_path: Path) -> None:
    values = [3, 1, 4, 0, 5, 2, 6]
    settings = (
        "hydra/launcher=basic",
        f"hydra.sweep.dir={tmp_path / 'out'}",
        "hydra.sweeper.storage=memory",
        "hydra.sweeper.task=test_runner.Keeper",
        "hydra.sweeper.keep_checkpoints=2",
        f"x={','.join(map(str, values))}",
    )
    App(tmp_path).sweep(*NATIVE, *settings, whitelist=("test_runner.*",))
    for i, discarded in enumerate(Keeper.seen):
        best = sorted(range(i), key=lambda number: values[number])[:2]
        assert sorted(discarded) == [str(number) for number in range(i) if number not in best]


def test_a_value_that_is_reused_takes_no_place_among_the_best(tmp_path: Path) -> None:
    settings = (
        "hydra/launcher=basic",
        f"hydra.sweep.dir={tmp_path / 'out'}",
        "hydra.sweeper.task=test_runner.Keeper",
        "hydra.sweeper.keep_checkpoints=2",
        "hydra.sweeper.trials=[{x:0},{x:0},{x:1},{x:2},{x:3}]",
    )
    App(tmp_path).sweep(*NATIVE, *settings, whitelist=("test_runner.*",))
    # Of 0, 1, 2 and 3: the first two are kept.
    assert Keeper.seen == [[], [], [], ["3"]]


class Stumbler(Keeper):
    """Fails once, in the second run of its first trial."""

    def run(self, cfg: DictConfig) -> float:
        super().run(cfg)
        if len(self.seen) == 2:
            raise RuntimeError
        return float(cfg.x)


def test_what_is_large_goes_in_earlier_attempts_too(tmp_path: Path) -> None:
    settings = (
        "hydra/launcher=basic",
        f"hydra.sweep.dir={tmp_path / 'out'}",
        "hydra.sweeper.task=test_runner.Stumbler",
        "hydra.sweeper.keep_checkpoints=1",
        "hydra.sweeper.repeats=2",
        "hydra.sweeper.seed_key=y",
        "hydra.sweeper.retry.exception=1",
        "x=2,1,0",
    )
    App(tmp_path).sweep(*NATIVE, *settings, whitelist=("test_runner.*",))
    # Number 1 goes on from 0, whose first run counts; 2 is better than both.
    assert sorted(Keeper.seen[-1]) == ["0", "1"]


def test_a_probe_that_has_seen_enough_is_no_failure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    steps: list[int] = []

    def reports(cfg: DictConfig) -> None:
        for step in range(5):
            steps.append(step)
            current_trial().report(0.0, step)

    App(tmp_path, reports).sweep(*NATIVE, "hydra.sweeper.plan=probe", "x=1,2")
    said = capsys.readouterr()
    assert steps == [0, 1]
    assert "one run takes at least" in said.out
    assert "Error" not in said.err
