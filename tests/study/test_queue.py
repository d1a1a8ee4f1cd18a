"""The queue of a study: exact budgets between processes, and who gets which ticket when."""

import itertools
import multiprocessing
import os
import signal
import time
from collections import Counter
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState
from study_workers import PROCESSES, STUDY, in_processes

from resnet_sweep.study.folder import StudyFolder
from resnet_sweep.study.locks import FileLock
from resnet_sweep.study.queue import Budget, Claim, Queue
from resnet_sweep.study.standing import INTERRUPTED
from resnet_sweep.study.storage import claim_lock, close_storage, open_storage
from resnet_sweep.study.tickets import BURNT, LOST


def open_queue(url: str | None, folder: Path, budget: Budget) -> Queue:
    files = StudyFolder(folder)
    storage = open_storage(url, files)
    study = optuna.create_study(study_name=STUDY, storage=storage, load_if_exists=True)
    return Queue(study, budget, files, claim_lock(storage, url, files, STUDY))


def work(worker: int, url: str | None, folder: Path, budget: Budget) -> list[tuple[int, int]]:
    """Claims and ends trials until there are none; number and ticket of each."""
    queue = open_queue(url, folder, budget)
    claimed = []
    with FileLock(StudyFolder(folder).worker_lock(f"s-{worker}")):
        while (claim := queue.claim(f"s-{worker}", str(worker))) is not None:
            value = claim.trial.suggest_float("x", 0, 1)
            queue.study.tell(claim.trial.number, value)
            claimed.append((claim.trial.number, claim.ticket))
    close_storage(queue.study._storage)
    return claimed


def check_exact(num_workers: int, num_tickets: int, url: str | None, folder: Path) -> None:
    budget = Budget(({"x": 0.25}, {"x": 0.75}), num_tickets, num_workers=num_workers)
    close_storage(open_queue(url, folder, budget).study._storage)
    claimed = list(itertools.chain(*in_processes(num_workers, work, url, folder, budget)))
    assert sorted(ticket for _, ticket in claimed) == list(range(num_tickets))
    assert sorted(number for number, _ in claimed) == list(range(num_tickets))
    queue = open_queue(url, folder, budget)
    trials = queue.study.get_trials()
    assert Counter(trial.state for trial in trials) == {TrialState.COMPLETE: num_tickets}
    planned = {trial.user_attrs["ticket"]: trial.params["x"] for trial in trials}
    assert (planned[0], planned[1]) == (0.25, 0.75)
    close_storage(queue.study._storage)


def test_four_processes_claim_forty_tickets(tmp_path):
    check_exact(4, 40, None, tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("storage", ["journal", "sqlite", "postgresql"])
def test_eight_processes_claim_many_tickets(tmp_path, request, storage):
    url = {"journal": None, "sqlite": f"sqlite:///{tmp_path}/study.db"}.get(storage, "")
    if url == "":
        url = request.getfixturevalue("empty_postgresql_url")
    check_exact(8, 80, url, tmp_path)


@pytest.fixture
def queue(tmp_path):
    """A queue over a study of its own, made with whatever budget a test wants."""
    made = []

    def make(num: int = 3, **rules: object) -> Queue:
        made.append(open_queue("memory", tmp_path, Budget((), num, **rules)))
        return made[-1]

    return make


def claim(queue: Queue, worker: str = "s-0", slot: str = "0") -> Claim:
    found = queue.claim(worker, slot)
    assert found is not None
    found.trial.suggest_float("x", 0, 1)
    return found


def alive(queue: Queue, *workers: str) -> list[FileLock]:
    """Holds the locks of workers in this process."""
    locks = [FileLock(queue._folder.worker_lock(worker)) for worker in workers]
    for lock in locks:
        lock.acquire()
    return locks


def test_a_lost_ticket_is_tried_again_with_the_same_values_as_often_as_is_said(queue):
    one = queue(1, retry={LOST: 2})
    values = []
    for attempt in range(3):
        found = claim(one)
        # As its runner does once all values are drawn.
        found.trial.set_user_attr("folder", str(attempt))
        values.append(found.trial.params["x"])
        assert found.ticket == 0
        assert found.trial.user_attrs["attempt"] == attempt
        assert found.previous == tuple(reversed(range(attempt)))
    # Nobody holds the lock of s-0, so each claim gives up the one before.
    assert one.claim("s-0", "0") is None
    assert len(set(values)) == 1
    assert [t.user_attrs["failure"] for t in one.study.trials] == [LOST] * 3


def test_a_ticket_whose_worker_died_before_it_had_drawn_keeps_the_values_of_the_attempt_before(
    queue,
):
    one = queue(1, retry={LOST: 9})
    first = claim(one)
    first.trial.set_user_attr("folder", "0")
    value = first.trial.params["x"]
    assert one.claim("s-0", "0").trial.params == {}
    third = claim(one)
    assert third.previous == (1, 0)
    assert third.trial.params == {"x": value}


def test_a_trial_of_a_living_worker_is_left_alone_and_of_an_earlier_life_is_given_up(queue):
    one = queue(1, retry={LOST: 1})
    held = alive(one, "s-0", "s-1")
    first = claim(one)
    assert one.claim("s-1", "1") is None
    assert one.num_open() == 1
    assert one.running_elsewhere("t") == [0]
    assert one.running_elsewhere("s") == []
    one.reap_own("s-0")
    assert claim(one, "s-1", "1").previous == (first.trial.number,)
    for lock in held:
        lock.release()


def test_a_late_end_changes_nothing(queue):
    one = queue(1)
    found = claim(one)
    assert one.fail(found.trial.number, LOST, "lost: gone")
    assert not one.fail(found.trial.number, "exception", "ValueError: late", "trace")
    with pytest.raises(RuntimeError):
        found.trial.report(1.0, 1)
    (trial,) = one.study.trials
    assert trial.user_attrs["error"] == "lost: gone"


def test_what_a_stopped_sweep_interrupts_is_always_taken_up(queue):
    one = queue(1)
    for session in range(4):
        found = claim(one, f"{session}-0")
        assert found.trial.user_attrs["attempt"] == session
        one.reap(INTERRUPTED)
    assert one.num_open() == 1


def test_who_interrupts_himself_again_and_again_is_lost(queue):
    one = queue(1, retry={LOST: 1})
    kinds = []
    while (found := one.claim("s-0", "0")) is not None:
        one.fail(found.trial.number, INTERRUPTED, "Interrupted: stopped by SIGTERM")
        kinds.append(one.study.trials[-1].user_attrs["failure"])
    assert kinds == [INTERRUPTED, LOST] * 2


def test_what_a_storage_that_is_away_interrupts_is_not_called_lost(queue):
    one = queue(1, retry={LOST: 0})
    for _ in range(3):
        away = "the study's storage could not be used"
        one.fail(claim(one).trial.number, INTERRUPTED, away, is_excused=True)
    # Nor is what the user stops after that, for the first time.
    one.fail(claim(one).trial.number, INTERRUPTED, "the sweep was stopped")
    assert {trial.user_attrs["failure"] for trial in one.study.get_trials()} == {INTERRUPTED}
    assert one.num_open() == 1


def test_who_is_told_to_stop_again_and_again_is_taken_up_again_and_again(queue, tmp_path):
    one = queue(1)
    StudyFolder(tmp_path).worker_told("s-0").parent.mkdir(exist_ok=True)
    StudyFolder(tmp_path).worker_told("s-0").touch()
    for _ in range(7):
        one.fail(claim(one).trial.number, INTERRUPTED, "Interrupted: stopped by SIGTERM")
    assert {trial.user_attrs["failure"] for trial in one.study.get_trials()} == {INTERRUPTED}
    assert claim(one).ticket == 0


def test_a_trial_cut_off_before_it_had_values_is_no_configuration_tried(queue):
    one = queue(9, num_configurations=2)
    for category in ("a", "b"):
        found = one.claim("s-0", "0")
        # Killed here: it has no values.
        one.fail(found.trial.number, LOST, "lost: gone")
        found = one.claim("s-0", "0")
        found.trial.suggest_categorical("c", ["a", "b"])
        assert not one.is_used_up()
        one.study.tell(found.trial.number, 1.0)
        if found.trial.params["c"] == category:
            continue
    one.refresh()
    tried = {trial.params["c"] for trial in one.study.trials if trial.params}
    assert one.is_used_up() == (len(tried) == 2)


def test_a_bad_slot_is_closed_and_its_tickets_go_to_another_one_last(queue):
    one = queue(6, close_slot_after=2, num_workers=2)
    held = alive(one, "s-0", "s-1")
    for ticket in (0, 1):
        found = claim(one, "s-1", "gpu1")
        assert found.ticket == ticket
        one.fail(found.trial.number, "exception", "OSError: bad device", seconds=0.1)
    assert one.claim("s-1", "gpu1") is None
    assert one.closed_slots("s") == ["gpu1"]
    assert one.study.user_attrs[BURNT] == [0, 1]
    tickets = []
    # The other worker's queue, which has not closed the slot itself.
    two = queue(6, close_slot_after=2, num_workers=2)
    while (found := two.claim("s-0", "gpu0")) is not None:
        tickets.append(found.ticket)
        two.study.tell(found.trial.number, 1.0)
    assert tickets == [2, 3, 4, 5, 0, 1]
    two.refresh()
    assert two.num_open() == 0
    for lock in held:
        lock.release()


def test_burnt_tickets_are_tried_once_and_a_new_sweep_opens_its_slots(queue):
    one = queue(3, close_slot_after=2, num_workers=2)
    for _ in range(2):
        one.fail(claim(one, "s-1", "gpu1").trial.number, "exception", "E: e", seconds=0.1)
    assert one.claim("s-1", "gpu1") is None
    # Another sweep, with a queue that has seen nothing of it.
    two = queue(3, close_slot_after=2, num_workers=2)
    tickets = []
    while (found := two.claim("t-1", "gpu1")) is not None:
        tickets.append(found.ticket)
        two.fail(found.trial.number, "exception", "E: e", seconds=60.0)
    assert tickets == [2, 0, 1]
    two.refresh()
    assert two.num_open() == 0


def test_burnt_tickets_do_not_count_as_failed(queue):
    one = queue(10, close_slot_after=2, num_workers=2, max_failure_rate=0.2)
    for seconds in (0.1, 0.1):
        one.fail(claim(one, "s-1", "gpu1").trial.number, "exception", "E: e", seconds=seconds)
    assert one.claim("s-1", "gpu1") is None
    two = queue(10, close_slot_after=2, num_workers=2, max_failure_rate=0.2)
    for num_failed in range(3):
        assert not two.has_failed_too_often(), num_failed
        two.fail(claim(two, "s-0", "gpu0").trial.number, "exception", "E: e", seconds=60.0)
    two.refresh()
    assert two.has_failed_too_often()
    assert two.claim("s-0", "gpu0") is None


def test_the_last_open_slot_stays_open(queue):
    one = queue(9, close_slot_after=2, num_workers=2)
    for worker, slot in (("s-0", "a"), ("s-1", "b")) * 2:
        one.fail(claim(one, worker, slot).trial.number, "exception", "E: e", seconds=0.1)
    one.refresh()
    assert one.closed_slots("s") == []
    assert claim(one, "s-0", "a").ticket == 4


def test_a_process_that_had_to_be_killed_for_its_time_says_so(queue, monkeypatch):
    one = queue(1, retry={LOST: 2}, killed_after_s=0.05)
    claim(one)
    time.sleep(0.1)
    assert one.claim("s-0", "0") is None
    assert one.study.trials[0].user_attrs["failure"] == "timeout"


def test_a_trial_that_somebody_has_enqueued_is_run_as_a_drawn_ticket(queue):
    one = queue(2)
    one.study.enqueue_trial({"x": 0.125})
    first, second = claim(one), claim(one)
    assert (first.ticket, first.trial.params["x"]) == (0, 0.125)
    assert second.ticket == 1
    assert one.claim("s-0", "0") is None


def _claim_and_die(worker: int, folder: Path, budget: Budget) -> None:
    queue = open_queue(None, folder, budget)
    FileLock(StudyFolder(folder).worker_lock("s-0")).acquire()
    queue.claim("s-0", "0")
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_killed_workers_ticket_is_free_at_the_next_claim(tmp_path):
    budget = Budget((), 1, retry={LOST: 1})
    process: multiprocessing.Process = PROCESSES.Process(
        target=_claim_and_die, args=(0, tmp_path, budget)
    )
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    found = claim(open_queue(None, tmp_path, budget), "s-1", "1")
    assert (found.ticket, found.previous) == (0, (0,))


def test_the_lock_of_a_claim_is_the_same_from_the_study_as_from_its_storage(
    tmp_path, empty_postgresql_url
):
    storage = open_storage(empty_postgresql_url, StudyFolder(tmp_path))
    study = optuna.create_study(study_name=STUDY, storage=storage)
    for one in (storage, study._storage):
        lock = claim_lock(one, empty_postgresql_url, StudyFolder(tmp_path), STUDY)
        assert type(lock).__name__ == "AdvisoryLock"
    close_storage(study._storage)
    assert storage.engine.pool.checkedin() == 0
