"""What the trials of a study agree on: the first value stays, in every storage."""

from pathlib import Path

import optuna
import pytest
from study_workers import STUDY, in_processes

from resnet_sweep.study.folder import StudyFolder
from resnet_sweep.study.queue import Budget, Queue
from resnet_sweep.study.standing import PLACE_FAILURES
from resnet_sweep.study.storage import claim_lock, close_storage, open_storage


def open_queue(url: str | None, folder: Path) -> Queue:
    files = StudyFolder(folder)
    storage = open_storage(url, files)
    study = optuna.create_study(study_name=STUDY, storage=storage, load_if_exists=True)
    return Queue(study, Budget((), 3), files, claim_lock(storage, url, files, STUDY))


def agree(worker: int, url: str | None, folder: Path) -> list[dict[str, int]]:
    """What a worker is told, for each of five keys."""
    queue = open_queue(url, folder)
    told = [queue.agree(f"key {number}", {"worker": worker}) for number in range(5)]
    close_storage(queue.study._storage)
    return told


def test_the_first_value_stays(tmp_path):
    assert agree(0, None, tmp_path) == [{"worker": 0}] * 5
    assert agree(1, None, tmp_path) == [{"worker": 0}] * 5
    queue = open_queue(None, tmp_path)
    assert queue.agree("another key", None) is None
    assert queue.agree("another key", "text") == "text"
    assert queue.agree("another key", "other") == "text"


@pytest.mark.slow
@pytest.mark.parametrize("storage", ["journal", "sqlite", "postgresql"])
def test_all_who_ask_at_once_are_told_the_same(tmp_path, request, storage):
    url = {"journal": None, "sqlite": f"sqlite:///{tmp_path}/study.db"}.get(storage, "")
    if url == "":
        url = request.getfixturevalue("empty_postgresql_url")
    close_storage(open_queue(url, tmp_path).study._storage)
    first, *others = in_processes(4, agree, url, tmp_path)
    assert all(told == first for told in others)


@pytest.mark.parametrize("kind", sorted(PLACE_FAILURES))
def test_who_had_other_data_or_no_room_takes_no_more_and_the_ticket_stays_open(tmp_path, kind):
    queue = open_queue("memory", tmp_path)
    claim = queue.claim("s-0", "0")
    assert claim is not None
    queue.fail(claim.trial.number, kind, "what it said")
    queue.refresh()
    assert queue.num_open() == 3
    assert queue.ledger.num_failed() == 0
    assert queue.ledger.refused == {"s": (kind, "what it said")}
    assert queue.claim("s-0", "0") is None
    other = Queue(queue.study, queue.budget, queue._folder, queue._lock)
    again = other.claim("s-1", "1")
    assert again is not None
    assert (again.ticket, again.previous) == (0, (0,))
