"""Workers that an earlier sweep has left behind: they end soon and disturb nobody."""

import pytest
from fault_sweeps import (
    LOCAL,
    Sweep,
    attempts_of,
    kinds,
    only_study,
    starts,
    trials_of,
    until,
)

from resnet_sweep.study.folder import StudyFolder
from resnet_sweep.study.queue import Budget, Queue
from resnet_sweep.study.reading import open_study
from resnet_sweep.study.sessions import names
from resnet_sweep.study.storage import claim_lock


def test_a_worker_of_an_older_sweep_ends_and_its_late_result_is_left_out(tmp_path):
    running = Sweep(tmp_path, "x=1,2,3", "do=held", "steps=1")
    until(lambda: len(starts(tmp_path)) == 1, "the first trial")
    folder = StudyFolder(only_study(tmp_path))
    study = open_study(folder.path)
    lock = claim_lock(study._storage, None, folder, study.study_name)
    # A newer sweep has begun, and holds the worker for dead.
    (session,) = names(folder)
    folder.session(session).unlink()
    assert Queue(study, Budget((), 3), folder, lock).fail(0, "lost", "lost: its worker is gone")
    (tmp_path / "go").write_text("9")
    running.wait()
    assert kinds(folder.path) == ["lost"]
    assert trials_of(folder.path)[0].user_attrs["error"] == "lost: its worker is gone"
    assert len(starts(tmp_path)) == 1
    assert "trial 0 was given up by another worker; its result is left out" in running.text
    assert "its sweep is over; this worker ends" in running.text
    assert "Traceback" not in running.text


@pytest.mark.slow
@pytest.mark.parametrize(
    "task", [("do=soak", "steps=4", "sleep=0.4"), ("do=held",)], ids=["report", "tell"]
)
def test_a_worker_that_was_stalled_is_refused_and_goes_on_with_the_next(tmp_path, task):
    running = Sweep(tmp_path, *LOCAL[:1], "hydra.launcher.workers=1", "x=1,2", *task)
    until(lambda: len(starts(tmp_path)) == 1, "the first trial")
    (worker,) = running.workers()
    worker.suspend()
    folder = StudyFolder(only_study(tmp_path))
    study = open_study(folder.path)
    lock = claim_lock(study._storage, None, folder, study.study_name)
    assert Queue(study, Budget((), 2), folder, lock).fail(0, "lost", "lost: nothing heard of it")
    (tmp_path / "go").write_text("9")
    worker.resume()
    assert running.wait() == 0, running.text
    ends = {
        ticket: [t.user_attrs.get("failure", t.state.name) for t in trials]
        for ticket, trials in attempts_of(folder.path).items()
    }
    assert ends == {0: ["lost", "COMPLETE"], 1: ["COMPLETE"]}
    assert trials_of(folder.path)[0].user_attrs["error"] == "lost: nothing heard of it"
    # In the same process, and nobody was told of an error that is none of the trial's.
    assert len({pid for *_, pid in starts(tmp_path)}) == 1
    log = (folder.workers / "cpu0.log").read_text()
    assert "trial 0 was given up by another worker" in log
    assert "Traceback" not in log + (folder.path / "0" / "app.log").read_text()
