"""Sweeps through Hydra's stock sweepers and launchers, ending in one table all the same."""

import pandas as pd
import pytest
from commands import SMALL, Command, only_sweep

from resnet_sweep import load_history, load_results

BASIC = ("hydra/sweeper=basic", "hydra/launcher=basic")
GRID = ("optimizer.lr=1e-2,1e-3", "model=resnet18,plain18")


@pytest.mark.slow
def test_joblib_runs_every_combination_of_a_stock_sweep(command: Command, tmp_path):
    jobs = ["hydra/sweeper=basic", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
    done = command("-m", *SMALL[1:], "trainer.epochs=1", *GRID, *jobs)
    assert done.returncode == 0, done.stderr
    table = load_results(only_sweep(tmp_path) / "results.csv")
    assert len(set(zip(table["optimizer.lr"], table["model"], strict=True))) == 4
    assert set(table["state"]) == {"COMPLETE"}


@pytest.mark.slow
def test_a_failed_trial_of_a_stock_sweep_costs_one_trial(command: Command, tmp_path):
    done = command("-m", *BASIC, *SMALL, "trainer.epochs=1", "optimizer.lr=1e38,1e-3")
    assert done.returncode == 3
    table = load_results(only_sweep(tmp_path) / "results.csv").set_index("number")
    assert table["state"].to_dict() == {0: "FAIL", 1: "COMPLETE"}
    assert table.loc[0, "error_kind"] == "non_finite"
    assert "Traceback" not in done.stdout + done.stderr


def test_a_sweep_does_not_overwrite_another(command: Command, tmp_path):
    sweep = ["-m", *BASIC, *SMALL, "trainer.epochs=1", "hydra.sweep.dir=mine"]
    assert command(*sweep).returncode == 0
    before = (tmp_path / "mine" / "results.csv").read_text()
    done = command(*sweep)
    assert done.returncode == 2
    assert "hydra.sweep.dir=mine: holds a sweep already" in done.stderr
    assert (tmp_path / "mine" / "results.csv").read_text() == before


def test_a_refused_sweep_leaves_an_existing_folder_as_it_is(command: Command, tmp_path):
    (tmp_path / "mine").mkdir()
    bad = ["-m", *BASIC, *SMALL, "trainer.epochs=1", "hydra.sweep.dir=mine", "optimizer.lr=-1,1e-3"]
    assert command(*bad).returncode == 2
    assert list((tmp_path / "mine").iterdir()) == []


@pytest.mark.slow
def test_the_stock_optuna_sweeper_draws_from_an_interval(command: Command, tmp_path):
    done = command(
        "-m",
        "hydra/sweeper=optuna",
        "hydra/launcher=basic",
        "hydra.sweeper.n_trials=3",
        "optimizer.lr=tag(log,interval(1e-4,1e-2))",
        *SMALL,
        "trainer.epochs=1",
    )
    assert done.returncode == 0, done.stderr
    folder = only_sweep(tmp_path)
    table = load_results(folder / "results.csv")
    assert table["optimizer.lr"].between(1e-4, 1e-2).all()
    assert table["optimizer.lr"].nunique() == 3
    # It is read from the trials' folders as well, to the same table.
    pd.testing.assert_frame_equal(load_results(folder), table)
    assert load_history(folder)["epoch"].tolist() == [1, 1, 1]
    best = (folder / "optimization_results.yaml").read_text()
    # The direction is ours: more accuracy is better.
    assert f"best_value: {table['objective'].max()}" in best


@pytest.mark.slow
def test_optuna_looks_for_the_smallest_loss(command: Command, tmp_path):
    done = command(
        "-m",
        "hydra/sweeper=optuna",
        "hydra/launcher=basic",
        "hydra.sweeper.n_trials=3",
        "objective.metric=val_loss",
        "optimizer.lr=interval(1e-4,1e-2)",
        *SMALL,
        "trainer.epochs=1",
    )
    assert done.returncode == 0, done.stderr
    folder = only_sweep(tmp_path)
    losses = load_results(folder / "results.csv")["objective"]
    assert losses.is_monotonic_increasing
    assert f"best_value: {losses.min()}" in (folder / "optimization_results.yaml").read_text()


@pytest.mark.slow
def test_what_a_launcher_refuses_is_told(command: Command):
    done = command(
        "-m", *SMALL, "hydra/sweeper=basic", "hydra/launcher=joblib", "hydra.launcher.n_jobs=0"
    )
    assert done.returncode == 2
    assert "n_jobs" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_crashed_trial_gives_its_memory_back(command: Command, tmp_path):
    (tmp_path / "mine.py").write_text(
        "import gc\n"
        "from torch import nn\n"
        "class Net(nn.Linear):\n"
        "    def __init__(self, num_classes, crashes):\n"
        "        super().__init__(3072, num_classes)\n"
        "        self.crashes = crashes\n"
        "        gc.collect()\n"
        "        print('NETWORKS', sum(type(x) is Net for x in gc.get_objects()))\n"
        "    def forward(self, x):\n"
        "        if self.crashes and len(x) == 32:\n"
        "            raise KeyError('no such thing')\n"
        "        return super().forward(x.flatten(1))\n"
    )
    done = command(
        "-m",
        *BASIC,
        *SMALL[1:],
        "model._target_=mine.Net",
        "+model.kwargs.crashes=true",
        "optimizer.lr=0.1,0.2,0.3",
        "--allow=mine",
    )
    assert done.returncode == 4, done.stderr
    assert [line for line in done.stdout.splitlines() if line.startswith("NETWORKS")] == [
        "NETWORKS 1"
    ] * 3
