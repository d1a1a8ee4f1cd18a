"""The best trials of an earlier study, run again as they were."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

import pytest
from in_process import NATIVE, App

CONFIG = """
defaults:
  - net: small
  - schedule: linear
  - study: null
  - _self_
x: 1
y: 0
root: null
threads: null
device: auto
seed: 0
steps: 10
twice: ${x}
extra: {}
"""
FILES = {
    "net/small.yaml": "width: 1\nbias: false\n",
    "net/large.yaml": "width: 8\nheads: 4\n",
    "schedule/linear.yaml": "kind: linear\nwarmup: 0.0\n",
    "schedule/cosine.yaml": "kind: cosine\nfloor: 0.1\n",
    "study/search.yaml": (
        "# @package _global_\n"
        "defaults:\n  - override /schedule: cosine\n"
        "steps: 3\n"
        "hydra:\n  sweeper:\n    direction: maximize\n    params: {x: '1,2,3'}\n"
    ),
    "study/again.yaml": (
        "# @package _global_\n"
        "seed: 1000\n"
        "hydra:\n  sweeper:\n    trials: {study: ???, best: 1}\n    repeats: 2\n"
    ),
    # Sets what is the default anyway.
    "study/longer.yaml": "# @package _global_\ndefaults: [again]\nsteps: 10\n",
}
BEST = "hydra.sweeper.trials={study:out,best:2}"
AGAIN = ("study=again", "hydra.sweeper.trials.study=out")


class Task:
    """What the application tells of itself."""


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> App:
    monkeypatch.chdir(tmp_path)
    made = App(tmp_path, lambda cfg: float(cfg.x))
    made.write("config.yaml", CONFIG)
    for name, text in FILES.items():
        made.write(name, text)
    return made


def sweep(app: App, *overrides: str, to: str = "out") -> int:
    code = 0
    try:
        app.sweep(*NATIVE, "hydra/launcher=basic", f"hydra.sweep.dir={to}", *overrides)
    except SystemExit as left:
        code = int(left.code or 0)
    return code


def seen(app: App, *but: str) -> list[dict[str, Any]]:
    """Configurations of the runs, in order, without some keys."""
    return [{key: value for key, value in one.items() if key not in but} for one in app.seen]


def test_the_best_run_again_as_they_were(app: App, caplog: pytest.LogCaptureFixture) -> None:
    typed = ("study=search", "net=large", "y=7", "net.width=9", "+extra.more=[1,{a:b}]", "seed=3")
    assert sweep(app, *typed) == 0
    first = {one["x"]: one for one in seen(app, "seed")}
    with caplog.at_level(logging.INFO):
        assert sweep(app, BEST, to="again") == 0
    assert seen(app, "seed") == [first[3], first[2]]
    assert {one["seed"] for one in app.seen} == {0}
    (told,) = [one.message for one in caplog.records if one.message.startswith("as in out: ")]
    print(told)
