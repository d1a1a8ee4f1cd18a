"""Sweeps of our application: our sweeper, over several launchers, ending in one table."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from commands import SMALL, Command, only_sweep

from resnet_sweep import load_results

GRID = ("optimizer.lr=1e-2,1e-3", "model=resnet18,plain18")


@pytest.mark.parametrize(
    "launcher",
    ["local", *(pytest.param(one, marks=pytest.mark.slow) for one in ("joblib", "basic"))],
)
def test_every_combination_runs_once_and_the_table_has_a_row_each(
    command: Command, tmp_path, launcher
):
    jobs = [f"hydra/launcher={launcher}"]
    jobs += ["hydra.launcher.n_jobs=2"] if launcher == "joblib" else []
    done = command("-m", *SMALL[1:], "trainer.epochs=1", *GRID, *jobs)
    assert done.returncode == 0, done.stderr
    folder = only_sweep(tmp_path)
    table = load_results(folder / "results.csv")
    assert sorted(zip(table["optimizer.lr"], table["model"], strict=True)) == [
        (0.001, "plain18"),
        (0.001, "resnet18"),
        (0.01, "plain18"),
        (0.01, "resnet18"),
    ]
    assert set(table["state"]) == {"COMPLETE"}
    assert table["objective"].is_monotonic_decreasing
    for row in table.itertuples():
        result = json.loads((Path(row.folder) / "result.json").read_text())
        assert result["objective"] == row.objective
    # The table is what a person sees last.
    lines = done.stdout.splitlines()
    files = lines[-5:-1]
    assert [Path(file).name for file in files] == [
        *("results.csv", "history.csv", "report.html", "best.yaml")
    ]
    assert lines[-1].startswith("the best again: python -m resnet_sweep --config-dir ")
    header = next(line for line in lines if "optimizer.lr" in line and "objective" in line)
    shown = lines[lines.index(header) + 1 : lines.index(header) + 5]
    assert [line.split()[0] for line in shown] == [str(trial) for trial in table["number"]]


def test_a_failed_trial_costs_one_trial(command: Command, tmp_path):
    done = command("-m", *SMALL, "trainer.epochs=1", "optimizer.lr=1e38,1e-3,1e-2")
    assert done.returncode == 3
    table = load_results(only_sweep(tmp_path) / "results.csv").set_index("number")
    assert table["state"].to_dict() == {0: "FAIL", 1: "COMPLETE", 2: "COMPLETE"}
    assert table.loc[0, "error_kind"] == "non_finite"
    assert "Traceback" not in done.stdout + done.stderr


def test_a_crash_in_the_network_costs_one_trial_and_is_in_its_log(command: Command, tmp_path):
    (tmp_path / "mine.py").write_text(
        "from torch import nn\n"
        "class Net(nn.Module):\n"
        "    def __init__(self, num_classes: int, crashes: bool) -> None:\n"
        "        super().__init__()\n"
        "        self.layer, self.crashes = nn.Linear(3072, num_classes), crashes\n"
        "    def forward(self, x):\n"
        "        if self.crashes and x.device.type == 'cpu':\n"
        "            raise KeyError('no such thing')\n"
        "        return self.layer(x.flatten(1))\n"
    )
    done = command(
        "-m",
        *SMALL[1:],
        "model._target_=mine.Net",
        "+model.kwargs.crashes=true,false",
        "--allow=mine",
        "hydra/launcher=basic",
    )
    assert done.returncode == 3, done.stderr
    folder = only_sweep(tmp_path)
    table = load_results(folder / "results.csv").set_index("number")
    assert table["state"].to_dict() == {0: "FAIL", 1: "COMPLETE"}
    assert "no such thing" in table.loc[0, "error"]
    assert "KeyError" in (folder / "trials" / "0" / "train.log").read_text()


def test_data_that_cannot_be_used_are_told_in_the_table(command: Command, tmp_path):
    unusable = ("data.num_val=100000", "trainer.epochs=1", "hydra/launcher=basic")
    done = command("-m", "model=resnet18,plain18", *unusable)
    assert done.returncode == 2
    assert "data.num_val=100000: needs" in done.stderr
    # The next trial would fail with it, too, and has not begun.
    table = load_results(only_sweep(tmp_path) / "results.csv")
    assert table["state"].tolist() == ["WAITING", "WAITING"]
    assert "data.num_val=100000: needs" in table["error"].iloc[0]
    assert table["error"].isna().tolist() == [False, True]
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.slow
def test_nothing_completed_is_told_by_the_exit_code(command: Command):
    lost = ("optimizer.lr=1e37,1e38", "hydra/launcher=basic")
    assert command("-m", *SMALL, *lost).returncode == 4


@pytest.mark.slow
def test_two_sweeps_that_start_together_get_two_folders(tmp_path):
    arguments = [sys.executable, "-m", "resnet_sweep", "-m", *SMALL, "trainer.epochs=1"]
    arguments.append("hydra/launcher=basic")
    processes = [
        subprocess.Popen(arguments, cwd=tmp_path, stdout=subprocess.DEVNULL) for _ in range(2)
    ]
    assert [process.wait(timeout=240) for process in processes] == [0, 0]
    folders = list((tmp_path / "outputs").iterdir())
    assert len(folders) == 2
    for folder in folders:
        assert load_results(folder / "results.csv")["state"].tolist() == ["COMPLETE"]
