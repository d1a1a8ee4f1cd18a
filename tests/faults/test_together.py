"""Several sweeps on one study at once: both work on it, and nothing is run twice."""

import pytest
from fault_sweeps import (
    LOCAL,
    ROOT,
    Sweep,
    check_whole,
    kill_all,
    kinds,
    only_study,
    starts,
    sweep,
    trials_of,
    until,
)

NAMED = "hydra.sweeper.study_name=named"


@pytest.mark.slow
def test_the_same_sweep_twice_at_once_works_on_one_study(tmp_path):
    # Each has two workers, so that the third is the other's.
    command = (NAMED, *LOCAL, "x=range(12)", "do=together", "num_together=3")
    both = [Sweep(tmp_path, *command) for _ in range(2)]
    assert [one.wait() for one in both] == [0, 0], [one.text for one in both]
    folder = tmp_path / ROOT / "named"
    check_whole(tmp_path, folder, 12)
    assert kinds(folder) == ["COMPLETE"] * 12
    # Each has run some, and each shows all.
    sessions = {trial.user_attrs["worker"].rpartition("-")[0] for trial in trials_of(folder)}
    assert len(sessions) == 2
    assert sum("works together with another sweep" in one.text for one in both) == 1
    assert all("12 complete" in one.text for one in both), [one.text for one in both]


@pytest.mark.slow
@pytest.mark.parametrize("stopping", ["killed", "interrupted"])
def test_what_one_of_two_sweeps_leaves_the_other_runs(tmp_path, stopping):
    command = (NAMED, "x=range(12)", "do=held")
    first = Sweep(tmp_path, *command)
    until(lambda: len(starts(tmp_path)) >= 1, "a trial")
    second = Sweep(tmp_path, *command)
    until(lambda: len({pid for *_, pid in starts(tmp_path)}) == 2, "a trial of the second")
    if stopping == "killed":
        kill_all(first)
        assert first.wait() == -9
    else:
        first.process.terminate()
        assert first.wait() == 143
    (tmp_path / "go").write_text("12")
    assert second.wait() == 0, second.text
    folder = tmp_path / ROOT / "named"
    check_whole(tmp_path, folder, 12)


@pytest.mark.slow
def test_an_unnamed_study_can_be_joined_by_its_folder(tmp_path):
    command = ("x=range(10)", "do=together")
    first = Sweep(tmp_path, *command)
    until(lambda: len(starts(tmp_path)) >= 1, "a trial")
    folder = only_study(tmp_path)
    joined = sweep(tmp_path, *command, f"hydra.sweep.dir={folder}")
    assert joined.process.returncode == 0, joined.text
    assert first.wait() == 0, first.text
    check_whole(tmp_path, folder, 10)
    assert len({pid for *_, pid in starts(tmp_path)}) == 2


@pytest.mark.slow
def test_a_sweep_that_differs_cannot_join(tmp_path):
    running = Sweep(tmp_path, NAMED, "x=1,2", "sleep=1")
    until(lambda: len(starts(tmp_path)) >= 1, "a trial")
    other = sweep(tmp_path, NAMED, "x=1,3", "sleep=1")
    assert other.process.returncode == 2, other.text
    assert "the study has" in other.text
    assert "Traceback" not in other.text
    assert running.wait() == 0
