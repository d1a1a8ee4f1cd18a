"""A clock that is set back between two sweeps, or while two work together."""

import pytest
from clocks import set_back
from fault_sweeps import (
    LOCAL,
    ROOT,
    Sweep,
    check_whole,
    kill_all,
    starts,
    studies,
    sweep,
    trials_of,
    until,
)
from needs import skip_or_fail

from resnet_sweep.report.files import read_csv
from resnet_sweep.study.reading import read_study

COMMAND = (*LOCAL, "x=range(6)", "sleep=0.3")


@pytest.fixture
def an_hour_back(tmp_path_factory) -> dict[str, str]:
    env = set_back(tmp_path_factory.mktemp("clock"), 3600)
    if env is None:
        skip_or_fail("cc", "a clock is set back by a library of C, and there is no compiler")
    return env


def _killed(cwd, *overrides, num=3, **more) -> None:
    wanted = len(starts(cwd)) + num
    running = Sweep(cwd, *overrides, **more)
    until(lambda: len(starts(cwd)) >= wanted, "a trial")
    kill_all(running)
    running.process.wait()


@pytest.mark.slow
def test_a_sweep_whose_clock_is_an_hour_back_goes_on_with_the_study(tmp_path, an_hour_back):
    _killed(tmp_path, *COMMAND)
    again = sweep(tmp_path, *COMMAND, env=an_hour_back)
    assert again.process.returncode == 0, again.text
    (folder,) = studies(tmp_path)
    check_whole(tmp_path, folder, 6)
    table = read_csv(folder / "results.csv")
    assert (table["seconds"] >= 0).all()
    assert (table["seconds"] < 60).all()
    assert all(t.user_attrs["seconds"] >= 0 for t in trials_of(folder))
    assert "-" not in again.text.partition("(")[2].partition(" s)")[0]
    # It is done, whatever the files' times say: a study that begins now has a name of its own,
    # an hour older, and is the one that is gone on with.
    _killed(tmp_path, *COMMAND, env=an_hour_back)
    older = min(studies(tmp_path))
    assert older != folder
    last = sweep(tmp_path, *COMMAND)
    assert last.process.returncode == 0, last.text
    assert f"goes on with the study in {ROOT}/{older.name}" in last.text
    check_whole_of(older)


def check_whole_of(folder) -> None:
    counts = read_study(folder).counts
    assert counts["COMPLETE"] == counts.total() == 6


@pytest.mark.slow
def test_sweeps_whose_clocks_differ_work_together(tmp_path, an_hour_back):
    command = (*COMMAND, "hydra.sweeper.study_name=named")
    first = Sweep(tmp_path, *command)
    until(lambda: starts(tmp_path), "a trial")
    second = Sweep(tmp_path, *command, env=an_hour_back)
    assert [first.wait(), second.wait()] == [0, 0], second.text
    check_whole(tmp_path, tmp_path / ROOT / "named", 6)
    assert "Traceback" not in first.text + second.text
