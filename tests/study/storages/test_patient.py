"""Databases that are away for a while, or answer with nothing but an error."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from itertools import chain
from pathlib import Path
from typing import Any

import optuna
import pytest
import sqlalchemy
from optuna.storages import BaseStorage, RDBStorage
from optuna.trial import TrialState, create_trial
from postgresql_servers import Server
from study_workers import STUDY

from resnet_sweep.faults import ConfigError, StorageError
from resnet_sweep.study.folder import StudyFolder
from resnet_sweep.study.locks import FileLock, LockLostError
from resnet_sweep.study.queue import Budget, Queue
from resnet_sweep.study.storage import claim_lock, close_storage, open_storage
from resnet_sweep.study.storages import patience
from resnet_sweep.study.storages.patience import WAIT_VARIABLE


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    monkeypatch.setenv(WAIT_VARIABLE, "20")
    yield
    patience._since.clear()
    optuna.logging.set_verbosity(level)


@pytest.fixture
def folder(tmp_path: Path) -> StudyFolder:
    return StudyFolder(tmp_path / "study")


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgresql":
        return str(request.getfixturevalue("empty_postgresql_url"))
    return f"sqlite:///{tmp_path}/study.db"


@pytest.fixture
def storage(url: str, folder: StudyFolder) -> Iterator[RDBStorage]:
    opened = open_storage(url, folder)
    assert isinstance(opened, RDBStorage)
    yield opened
    close_storage(opened)


@pytest.fixture
def study(storage: RDBStorage) -> optuna.Study:
    return optuna.create_study(study_name=STUDY, storage=storage)


class BrokenCommits:
    """The connection breaks at the next commits: before it is done, or before it is told."""

    def __init__(self, storage: RDBStorage) -> None:
        self.left: list[str] = []
        real: Callable[[Any], None] = storage.engine.dialect.do_commit

        def commit(connection: Any) -> None:
            when = self.left.pop(0) if self.left else "never"
            if when == "before":
                connection.driver_connection.close()
            real(connection)
            if when == "after":
                connection.driver_connection.close()
                connection.driver_connection.cursor()

        storage.engine.dialect.do_commit = commit  # type: ignore[method-assign]


BREAKS = [["before"], ["after"], ["after", "before"], ["before", "after"]]


@pytest.mark.slow
@pytest.mark.parametrize("breaks", BREAKS)
def test_what_may_have_been_committed_is_done_once(
    empty_postgresql_url: str, folder: StudyFolder, breaks: list[str]
) -> None:
    storage = open_storage(empty_postgresql_url, folder)
    assert isinstance(storage, RDBStorage)
    study = optuna.create_study(study_name=STUDY, storage=storage)
    commits = BrokenCommits(storage)
    cached = study._storage

    def broken(action: Callable[[], Any]) -> Any:
        commits.left = list(breaks)
        try:
            return action()
        finally:
            assert not commits.left

    template = create_trial(state=TrialState.RUNNING, user_attrs={"ticket": 0, "attempt": 0})
    template.number = 0
    trial_id = broken(lambda: cached.create_new_trial(study._study_id, template))
    trial = optuna.Trial(study, trial_id)
    broken(lambda: trial.suggest_float("x", 0, 1))
    broken(lambda: trial.report(0.5, 1))
    broken(lambda: trial.set_user_attr("a", 1))
    broken(lambda: study.set_user_attr("b", 2))
    broken(lambda: study.tell(0, 0.25))
    (told,) = study.get_trials()
    assert (told.number, told.state, told.value) == (0, TrialState.COMPLETE, 0.25)
    assert (told.user_attrs["a"], told.intermediate_values) == (1, {1: 0.5})
    study.enqueue_trial({"x": 0.5})
    waiting = study.get_trials()[1]._trial_id
    assert broken(lambda: cached.set_trial_state_values(waiting, TrialState.RUNNING)) is True
    assert cached.set_trial_state_values(waiting, TrialState.RUNNING) is False
    close_storage(storage)


def test_a_trial_is_made_with_the_number_that_was_seen_free_or_not_at_all(
    study: optuna.Study,
) -> None:
    def make() -> int:
        template = create_trial(state=TrialState.RUNNING)
        template.number = 0
        return study._storage.create_new_trial(study._study_id, template)

    make()
    with pytest.raises(LockLostError, match="trial 0 was made by somebody else"):
        make()
    assert len(study.get_trials()) == 1


def test_without_any_lock_no_ticket_is_run_twice(
    study: optuna.Study, url: str, folder: StudyFolder
) -> None:
    def work(name: str) -> list[int]:
        storage = open_storage(url, folder)
        mine = optuna.load_study(study_name=STUDY, storage=storage)
        queue = Queue(mine, Budget((), num_tickets=9, num_workers=3), folder, nullcontext())
        tickets = []
        with FileLock(folder.worker_lock(name)):
            while (claim := queue.claim(name, name)) is not None:
                tickets.append(claim.ticket)
                mine.tell(claim.trial, 0.0)
        close_storage(storage)
        return tickets

    with ThreadPoolExecutor(3) as pool:
        claimed = list(pool.map(work, ("s-0", "s-1", "s-2")))
    assert sorted(chain.from_iterable(claimed)) == list(range(9))
    assert len(study.get_trials()) == 9


@pytest.mark.slow
def test_a_server_that_is_killed_is_waited_for(
    postgresql_server: Server, folder: StudyFolder, caplog: pytest.LogCaptureFixture
) -> None:
    url = postgresql_server.url(postgresql_server.new_database())
    storage = open_storage(url, folder)
    study = optuna.create_study(study_name=STUDY, storage=storage)
    lock = claim_lock(storage, url, folder, STUDY)
    with lock:
        trial = study.ask()
        postgresql_server.kill()
        again = threading.Timer(2.5, postgresql_server.start)
        again.start()
        # The lock is lost, and it does not matter here.
        trial.report(0.5, 1)
    again.join()
    assert "cannot be reached: " in caplog.text
    assert "waits up to 20 s" in caplog.text
    assert "works again after" in caplog.text
    postgresql_server.kill()
    again = threading.Timer(0.5, postgresql_server.start)
    again.start()
    with lock:
        study.tell(trial, 0.25)
    again.join()
    (told,) = study.get_trials()
    assert (told.value, told.intermediate_values) == (0.25, {1: 0.5})
    close_storage(storage)


@pytest.mark.slow
def test_a_server_that_stays_away_is_told(
    postgresql_server: Server, folder: StudyFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(WAIT_VARIABLE, "1")
    url = postgresql_server.url(postgresql_server.new_database())
    study = optuna.create_study(study_name=STUDY, storage=open_storage(url, folder))
    postgresql_server.kill()
    try:
        said = r"hydra\.sweeper\.storage=postgresql.*: cannot be reached: .*same command goes on"
        with pytest.raises(StorageError, match=said):
            study.set_user_attr("a", 1)
        begin = time.monotonic()
        with pytest.raises(StorageError, match=said):
            study.set_user_attr("a", 1)
        assert time.monotonic() - begin < 15  # It has waited already.
        with pytest.raises(ConfigError, match=r"cannot be opened: .*refused"):
            open_storage(url, folder)
        with pytest.raises(StorageError, match=said):
            open_storage(url, folder, waits=True)
    finally:
        postgresql_server.start()
    study.set_user_attr("a", 1)
    close_storage(study._storage)


# SQLite


def _open(tmp_path: Path, folder: StudyFolder, query: str = "") -> tuple[BaseStorage, optuna.Study]:
    storage = open_storage(f"sqlite:///{tmp_path}/study.db{query}", folder)
    return storage, optuna.create_study(study_name=STUDY, storage=storage)


def test_a_database_that_another_program_locks_is_waited_for(
    tmp_path: Path, folder: StudyFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage, study = _open(tmp_path, folder, "?timeout=0.05")
    other = sqlite3.connect(
        tmp_path / "study.db", isolation_level=None, timeout=0, check_same_thread=False
    )
    other.execute("BEGIN IMMEDIATE")
    threading.Timer(0.3, other.rollback).start()
    study.set_user_attr("a", 1)
    assert study.user_attrs == {"a": 1}
    other.execute("BEGIN IMMEDIATE")
    monkeypatch.setenv(WAIT_VARIABLE, "0")
    with pytest.raises(StorageError, match="is locked by another program; end the program"):
        study.set_user_attr("a", 2)
    other.close()
    close_storage(storage)


def test_a_database_that_is_gone_or_replaced_takes_nothing(
    tmp_path: Path, folder: StudyFolder
) -> None:
    storage, study = _open(tmp_path, folder)
    file = tmp_path / "study.db"
    file.rename(tmp_path / "moved")
    with pytest.raises(StorageError, match=r"study\.db: is gone: the file was removed"):
        study.set_user_attr("a", 1)
    assert not file.exists()
    file.write_bytes((tmp_path / "moved").read_bytes())
    with pytest.raises(StorageError, match="was replaced while it was in use"):
        study.set_user_attr("a", 1)
    (tmp_path / "moved").replace(file)
    study.set_user_attr("a", 1)
    close_storage(storage)


def test_a_database_of_another_program_is_left_alone(tmp_path: Path, folder: StudyFolder) -> None:
    connection = sqlite3.connect(tmp_path / "study.db")
    connection.execute("CREATE TABLE songs (title TEXT)")
    connection.close()
    for creates, said in ((True, "of another program, with the tables songs"), (False, "without")):
        with pytest.raises(ConfigError, match=f"is a database {said}"):
            open_storage(f"sqlite:///{tmp_path}/study.db", folder, creates=creates)


def test_who_only_reads_makes_nothing(tmp_path: Path, folder: StudyFolder) -> None:
    file = tmp_path / "study.db"
    file.touch()
    with pytest.raises(ConfigError, match="is a database without studies in it"):
        open_storage(f"sqlite:///{file}", folder, creates=False)
    assert file.stat().st_size == 0


def test_a_database_of_a_newer_optuna_is_told(url: str, folder: StudyFolder) -> None:
    storage = open_storage(url, folder)
    assert isinstance(storage, RDBStorage)
    with storage.engine.begin() as connection:
        connection.execute(sqlalchemy.text("UPDATE alembic_version SET version_num = 'v9.0.0.a'"))
    close_storage(storage)
    for creates in (True, False):
        with pytest.raises(ConfigError, match=r"cannot be opened: .*pip install -U optuna"):
            open_storage(url, folder, creates=creates)


def test_a_database_that_is_cut_short_is_told(tmp_path: Path, folder: StudyFolder) -> None:
    storage, study = _open(tmp_path, folder)
    study.set_user_attr("a", "x" * 20_000)
    assert isinstance(storage, RDBStorage)
    with storage.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.connection.driver_connection.execute("PRAGMA wal_checkpoint")
    close_storage(storage)
    file = tmp_path / "study.db"
    file.write_bytes(file.read_bytes()[:20_000])
    with pytest.raises(ConfigError, match="cannot be opened: database disk image is malformed"):
        open_storage(f"sqlite:///{file}", folder)
