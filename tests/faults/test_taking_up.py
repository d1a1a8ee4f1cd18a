"""The same command goes on with its study; what is no longer the same study is refused."""

import shutil
import signal

import pytest
from fault_sweeps import (
    APP,
    LOCAL,
    ROOT,
    Stage,
    Sweep,
    attempts_of,
    check_whole,
    kinds,
    only_study,
    starts,
    studies,
    sweep,
    trials_of,
    until,
)

TASK = "hydra.sweeper.task=fault_task.FaultTask"
NAMED = "hydra.sweeper.study_name=named"


def _stopped(cwd, *overrides, app=APP, num=1):
    """A study whose sweep was killed in its run of that number."""
    in_it = Stage("parent", "fault_task:_do", nth=num)
    killed = sweep(cwd, *overrides, app=app, stages=[in_it])
    assert killed.process.returncode == -signal.SIGKILL, killed.text


def _own_app(tmp_path):
    """A copy of the application, whose config can be edited."""
    shutil.copytree(APP.parent, tmp_path / "app", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path / "app" / APP.name


def test_a_changed_source_is_named_and_not_used(tmp_path):
    app = _own_app(tmp_path)
    _stopped(tmp_path, "x=1,2", app=app, num=2)
    (app.parent / "conf" / "model" / "small.yaml").write_text("width: 100\n")
    again = sweep(tmp_path, "x=1,2", app=app)
    assert again.process.returncode == 0, again.text
    assert "changed since the study was started, and not used by it: model/small.yaml" in again.text
    assert [trial.value for trial in trials_of(only_study(tmp_path))] == [1.0, None, 2.0]


@pytest.mark.slow
def test_never_starts_anew_and_a_raised_total_extends(tmp_path):
    space = "x=interval(0,1)"
    assert sweep(tmp_path, space, "hydra.sweeper.n_trials=2").process.returncode == 0
    raised = sweep(tmp_path, space, "hydra.sweeper.n_trials=4")
    assert "goes on with the study" in raised.text
    check_whole(tmp_path, only_study(tmp_path), 4)
    # It is done, so the same command begins another.
    _stopped(tmp_path, space, "hydra.sweeper.n_trials=4")
    never = "hydra.sweeper.resume=never"
    sweep(tmp_path, space, "hydra.sweeper.n_trials=1", never)
    assert [len(attempts_of(folder)) for folder in studies(tmp_path)] == [4, 1, 1]


@pytest.mark.slow
def test_a_named_study_is_extended_and_found_with_free_keys_changed(tmp_path):
    task = (NAMED, TASK, "x=interval(0,1)")
    assert sweep(tmp_path, *task, "hydra.sweeper.n_trials=2").process.returncode == 0
    free = ("device=gpu", "logging.level=debug", *LOCAL, "hydra.job_logging.root.level=ERROR")
    more = sweep(tmp_path, *task, "hydra.sweeper.n_trials=4", *free)
    assert more.process.returncode == 0, more.text
    check_whole(tmp_path, tmp_path / ROOT / "named", 4)
    refused = sweep(tmp_path, *task, "hydra.sweeper.n_trials=4", "hydra.sweeper.resume=never")
    assert refused.process.returncode == 2
    assert "holds a study already" in refused.text


@pytest.mark.slow
def test_free_keys_do_not_change_which_study_a_command_finds(tmp_path):
    _stopped(tmp_path, TASK, "x=1,2", num=2)
    again = sweep(tmp_path, TASK, "x=1,2", "device=gpu", "logging.level=debug", *LOCAL)
    assert again.process.returncode == 0, again.text
    check_whole(tmp_path, only_study(tmp_path), 2)


def test_all_that_differs_from_a_named_study_is_refused_at_once(tmp_path):
    assert sweep(tmp_path, NAMED, "x=1,2").process.returncode == 0
    before = trials_of(tmp_path / ROOT / "named")
    other = ("x=1,2,3", "y=1,2", "model=large", "sleep=0.01", "hydra.sweeper.repeats=2")
    refused = sweep(tmp_path, NAMED, *other)
    assert refused.process.returncode == 2, refused.text
    assert "(5 faults)" in refused.text
    for key in ("  x=", "  y=", "  model.width=9", "  sleep=0.01", "  hydra.sweeper.repeats=2"):
        assert key in refused.text
    assert "Traceback" not in refused.text
    direction = sweep(tmp_path, NAMED, "x=1,2", "model=large", "hydra.sweeper.direction=maximize")
    assert direction.process.returncode == 2
    assert "hydra.sweeper.direction=maximize: the study has minimize" in direction.text
    assert "  model.width=9" in direction.text
    assert trials_of(tmp_path / ROOT / "named") == before


@pytest.mark.slow
def test_two_sweeps_of_one_second_get_two_folders(tmp_path):
    both = [Sweep(tmp_path, "x=1,2", "sleep=0.5") for _ in range(2)]
    assert [one.wait() for one in both] == [0, 0]
    assert [kinds(folder) for folder in studies(tmp_path)] == [["COMPLETE"] * 2] * 2


@pytest.mark.slow
def test_repeats_go_on_at_the_first_unfinished_run(tmp_path):
    command = ("x=1,2", "hydra.sweeper.repeats=3", "steps=2")
    # The fifth run is the second of the second trial.
    _stopped(tmp_path, *command, num=5)
    again = sweep(tmp_path, *command)
    assert again.process.returncode == 0, again.text
    folder = only_study(tmp_path)
    trials = trials_of(folder)
    assert [t.value for t in trials] == [2.0, None, 3.0]
    assert [t.user_attrs["repeat_values"] for t in trials] == [[1, 2, 3], [2], [2, 3, 4]]
    assert trials[2].intermediate_values == {1: 2.0, 2: 2.0}
    last = folder / trials[2].user_attrs["folder"]
    assert sorted(path.name for path in last.iterdir()) == ["1", "2"]
    cut = folder / trials[1].user_attrs["folder"] / "1"
    assert (last / "1" / "previous").read_text().split() == [str(cut)]


@pytest.mark.slow
def test_pruning_looks_at_the_first_run_only(tmp_path):
    pruner = ("hydra/sweeper/pruner=threshold", "hydra.sweeper.pruner.upper=3.5")
    done = sweep(tmp_path, *pruner, "x=2,4", "hydra.sweeper.repeats=3", "steps=1")
    assert done.process.returncode == 0, done.text
    # The third run of the first trial reports 4, too.
    assert kinds(only_study(tmp_path)) == ["COMPLETE", "PRUNED"]


@pytest.mark.slow
@pytest.mark.parametrize("launcher", [(), LOCAL], ids=["basic", "local"])
def test_a_space_that_is_used_up_ends_the_sweep(tmp_path, launcher):
    sampler = ("hydra/sweeper/sampler=random", "hydra.sweeper.sampler.seed=1")
    command = (*launcher, *sampler, "x=1,2,3", "y=1,2,3", "hydra.sweeper.n_trials=200")
    done = sweep(tmp_path, *command)
    assert done.process.returncode == 0, done.text
    assert "every configuration of the space has been tried" in done.text
    trials = trials_of(only_study(tmp_path))
    fresh = [trial for trial in trials if "duplicate_of" not in trial.user_attrs]
    assert len({str(sorted(trial.params.items())) for trial in trials}) == 9
    assert len(fresh) <= 10  # two workers may draw the same at the same time
    assert len(trials) < 200
    for trial in trials:
        if "duplicate_of" in trial.user_attrs:
            first = trials[trial.user_attrs["duplicate_of"]]
            assert (first.params, first.value) == (trial.params, trial.value)


@pytest.mark.slow
def test_what_a_left_behind_worker_runs_is_neither_lost_nor_run_twice(tmp_path):
    joblib = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "hydra.sweeper.n_jobs=2")
    command = (*joblib, "x=range(6)", "sleep=2")
    first = Sweep(tmp_path, *command)
    until(lambda: len(starts(tmp_path)) >= 2, "two trials at a time")
    zombies = {pid for *_, pid in starts(tmp_path)}
    first.process.kill()
    first.process.wait()
    again = sweep(tmp_path, "x=range(6)", "sleep=2")
    assert again.process.returncode == 0, again.text
    check_whole(tmp_path, only_study(tmp_path), 6)
    # Each has ended its trial, which counts, and has taken no other.
    assert sum(pid in zombies for *_, pid in starts(tmp_path)) <= 4
    assert kinds(only_study(tmp_path)) == ["COMPLETE"] * 6


@pytest.mark.slow
def test_files_that_are_edited_deleted_and_added_while_a_sweep_runs_are_not_used(tmp_path):
    app = _own_app(tmp_path)
    command = (*LOCAL[:1], "hydra.launcher.workers=1", "model=small,large", "x=1,2", "sleep=0.5")
    running = Sweep(tmp_path, *command, app=app)
    until(lambda: starts(tmp_path), "the first trial")
    models = app.parent / "conf" / "model"
    (models / "small.yaml").write_text("width: 100\n")
    (models / "large.yaml").unlink()
    (app.parent / "conf" / "optimizer").mkdir()
    (app.parent / "conf" / "optimizer" / "sgd.yaml").write_text("lr: 1\n")
    (app.parent / "conf" / "config.yaml").write_text("what: is this\n")
    assert running.wait() == 0, running.text
    assert [trial.value for trial in trials_of(only_study(tmp_path))] == [1.0, 2.0, 9.0, 18.0]
