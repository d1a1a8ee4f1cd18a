"""Which sweeps work on a study: those that live, and those whose workers outlive them."""

from pathlib import Path

import pytest

from resnet_sweep.study.folder import StudyFolder
from resnet_sweep.study.locks import FileLock
from resnet_sweep.study.sessions import Session, has_begun, has_sweep, is_at_work, is_current, names


@pytest.fixture
def folder(tmp_path: Path) -> StudyFolder:
    return StudyFolder(tmp_path)


def begin(folder: StudyFolder, *, workers_outlive: bool = False) -> Session:
    return Session.begin(folder, workers_outlive=workers_outlive)


def die(session: Session) -> None:
    """What a kill does: its lock is free, and its file is still there."""
    session._lock.release()


def test_sweeps_that_live_work_together(folder: StudyFolder) -> None:
    assert not has_begun(folder)
    first, second = begin(folder), begin(folder)
    assert names(folder) == sorted([first.id, second.id])
    assert first.has_company()
    second.end()
    assert not first.has_company()
    assert has_sweep(folder)
    first.end()
    assert not has_sweep(folder)
    assert names(folder) == []
    assert has_begun(folder)


@pytest.mark.parametrize("outlives", [False, True])
def test_workers_of_a_dead_sweep_end_when_another_begins_unless_they_outlive(
    folder: StudyFolder, outlives: bool
) -> None:
    dead = begin(folder, workers_outlive=outlives)
    die(dead)
    # Until then they go on.
    assert is_current(folder, dead.id)
    with FileLock(folder.worker_lock(f"{dead.id}-0")), FileLock(folder.worker_lock("other-0")):
        assert is_at_work(folder)
        new = begin(folder)
        assert is_current(folder, dead.id) == outlives
        assert new.num_inherited() == int(outlives)
    assert new.num_inherited() == 0
    assert not new.has_company()


def test_a_worker_that_a_cluster_has_started_again_is_inherited_too(folder: StudyFolder) -> None:
    dead = begin(folder, workers_outlive=True)
    die(dead)
    with FileLock(folder.worker_lock(f"{dead.id}.2-0")):
        assert begin(folder).num_inherited() == 1


def test_a_sweep_that_stops_ends_its_workers_and_those_of_the_dead(folder: StudyFolder) -> None:
    dead = begin(folder, workers_outlive=True)
    die(dead)
    friend, stopping = begin(folder), begin(folder)
    stopping.withdraw()
    assert names(folder) == [friend.id]
    # It is still at work until it ends.
    stopping.end()
    assert has_sweep(folder)


def test_who_is_about_to_begin_counts_unless_it_is_the_caller(folder: StudyFolder) -> None:
    with FileLock(folder.sweep_lock):
        assert has_sweep(folder)
        assert not has_sweep(folder, beside_lock=True)
