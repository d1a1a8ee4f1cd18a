"""Every exit code that docs/errors.md names, by a command that ends with it."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import pytest
from commands import ROOT
from fault_sweeps import Sweep, starts, until

from resnet_sweep.outcome import ExitCode

DOCUMENTED = {
    int(code) for code in re.findall(r"^\| (\d+) \|", (ROOT / "docs/errors.md").read_text(), re.M)
}


def test_all_codes_are_documented():
    signals = {128 + one for one in (signal.SIGINT, signal.SIGTERM)}
    assert {int(code) for code in ExitCode} | signals == DOCUMENTED


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["x=1,2"], 0),
        (["x=interval(2,1)", "hydra.sweeper.n_trials=2"], 2),
        (["x=1,2", "do=exception", "when=[1]"], 3),
        (["x=1,2", "do=exception"], 4),
    ],
)
def test_an_exit_code(arguments: list[str], code: int, tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, *arguments)
    assert sweep.wait() == code
    assert "Traceback" not in sweep.text
    if code == 2:
        assert [path.name for path in tmp_path.iterdir()] == [sweep.output.name]


@pytest.mark.slow
@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_exit_code_of_a_signal(signum: signal.Signals, code: int, tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, "x=1,2", "do=sleep")
    until(lambda: starts(tmp_path), "a trial")
    sweep.send(signum)
    assert sweep.wait() == code
    assert "Traceback" not in sweep.text
