"""Many workers at once, and many trials in one."""

import pytest
from fault_sweeps import ROOT, check_whole, kinds, only_study, starts, sweep, trials_of

NAMED = "hydra.sweeper.study_name=named"


@pytest.mark.slow
def test_thirty_two_workers_that_start_at_once(tmp_path):
    # What others lose workers and trials on; a journal is no harder.
    many = (
        "hydra/launcher=local",
        "hydra.launcher.workers=32",
        "hydra.sweeper.storage=sqlite:///study.db",
    )
    done = sweep(tmp_path, *many, NAMED, "x=range(64)", "sleep=0.2")
    assert done.process.returncode == 0, done.text
    folder = tmp_path / ROOT / "named"
    check_whole(tmp_path, folder, 64)
    assert kinds(folder) == ["COMPLETE"] * 64
    assert sorted(trial.value for trial in trials_of(folder)) == list(range(64))
    logs = "".join(path.read_text() for path in (folder / "workers").glob("*.log"))
    assert "Traceback" not in done.text + logs


@pytest.mark.slow
def test_a_hundred_trials_in_one_worker(tmp_path):
    one = ("hydra/launcher=local", "hydra.launcher.workers=1")
    done = sweep(tmp_path, *one, "x=range(100)", "do=once_exception", "hydra.sweeper.n_trials=null")
    folder = only_study(tmp_path)
    assert done.process.returncode == 4, done.text
    assert kinds(folder) == ["exception"] * 100
    assert len({pid for *_, pid in starts(tmp_path)}) == 1
