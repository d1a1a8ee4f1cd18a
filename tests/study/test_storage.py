from __future__ import annotations

import random
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import optuna
import pytest
import study_workers as workers
from optuna.storages import BaseStorage, RDBStorage
from study_workers import STUDY

from resnet_sweep.faults import ConfigError
from resnet_sweep.study.folder import StudyFolder
from resnet_sweep.study.storage import (
    absolute_url,
    check_storage,
    claim_lock,
    close_storage,
    describe,
    open_storage,
)

# The server takes seconds to start and to stop.
POSTGRESQL = pytest.param("postgresql", marks=pytest.mark.slow)
PERSISTENT = ("null", "journal", "sqlite", POSTGRESQL)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    yield
    optuna.logging.set_verbosity(level)


@pytest.fixture
def folder(tmp_path: Path) -> StudyFolder:
    return StudyFolder(tmp_path / "study")


def _url(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> str | None:
    if kind == "postgresql":
        return str(request.getfixturevalue("empty_postgresql_url"))
    urls = {"null": None, "memory": "memory"}
    return urls.get(kind, f"{kind}:///{tmp_path}/elsewhere/study.db")


@pytest.fixture(params=PERSISTENT)
def persistent(request: pytest.FixtureRequest, tmp_path: Path) -> str | None:
    """URL of every storage that several processes can share."""
    return _url(request.param, tmp_path, request)


@pytest.fixture(params=("memory", *PERSISTENT))
def any_url(request: pytest.FixtureRequest, tmp_path: Path) -> str | None:
    return _url(request.param, tmp_path, request)


@pytest.fixture
def opened(any_url: str | None, folder: StudyFolder) -> Iterator[BaseStorage]:
    storage = open_storage(any_url, folder)
    yield storage
    close_storage(storage)


def _create(url: str | None, folder: StudyFolder, num_planned: int = 0) -> BaseStorage:
    storage = open_storage(url, folder)
    study = optuna.create_study(study_name=STUDY, storage=storage, direction="maximize")
    for ticket in range(num_planned):
        study.enqueue_trial({"x": 0.5}, user_attrs={"ticket": ticket})
    return storage


# The contract of every storage


def test_a_study_is_made_and_its_trials_are_asked_and_told(opened: BaseStorage) -> None:
    study = optuna.create_study(study_name=STUDY, storage=opened, direction="maximize")
    trial = study.ask()
    value = trial.suggest_float("x", 0, 1)
    trial.set_user_attr("ticket", 7)
    trial.report(0.25, 1)
    study.tell(trial, value)
    (told,) = study.get_trials()
    assert (told.params, told.value, told.user_attrs) == ({"x": value}, value, {"ticket": 7})
    assert told.intermediate_values == {1: 0.25}


def test_another_process_sees_everything(persistent: str | None, folder: StudyFolder) -> None:
    storage = _create(persistent, folder)
    study = optuna.load_study(study_name=STUDY, storage=storage)
    study.set_user_attr("plan", {"tickets": [{"optimizer.lr": 0.1}], "n_trials": None})
    trial = study.ask({"optimizer.lr": optuna.distributions.FloatDistribution(0, 1)})
    trial.set_user_attr("repeat_values", [0.5, 0.25])
    trial.report(0.125, 1)
    study.tell(trial, 0.75)
    close_storage(storage)
    assert workers.in_processes(1, workers.read_back, persistent, folder.path) == [
        {
            "plan": {"tickets": [{"optimizer.lr": 0.1}], "n_trials": None},
            "attrs": {"repeat_values": [0.5, 0.25]},
            "params": trial.params,
            "value": 0.75,
            "steps": {1: 0.125},
            "direction": "MAXIMIZE",
        }
    ]


def _assert_exact_budget(url: str | None, folder: StudyFolder, budget: int) -> None:
    num_planned = budget // 3
    storage = _create(url, folder, num_planned)
    run = workers.in_threads if url == "memory" else workers.in_processes
    claims = run(8, workers.claim_all, url, folder.path, budget)
    assert sorted(chain.from_iterable(claims)) == [(number, number) for number in range(budget)]
    trials = optuna.load_study(study_name=STUDY, storage=storage).get_trials(deepcopy=False)
    assert {trial.state.name for trial in trials} == {"COMPLETE"}
    close_storage(storage)


def test_eight_workers_share_a_budget_exactly(any_url: str | None, folder: StudyFolder) -> None:
    _assert_exact_budget(any_url, folder, 60)


def test_eight_processes_make_the_same_storage_at_once(
    persistent: str | None, folder: StudyFolder
) -> None:
    seen = workers.in_processes(8, workers.open_and_create, persistent, folder.path)
    assert seen == [[STUDY]] * 8


def test_tpe_and_pruning_work_over_processes(persistent: str | None, folder: StudyFolder) -> None:
    storage = _create(persistent, folder)
    pruned = workers.in_processes(3, workers.search, persistent, folder.path, 8)
    trials = optuna.load_study(study_name=STUDY, storage=storage).get_trials(deepcopy=False)
    assert [trial.number for trial in trials] == list(range(24))
    states = [trial.state.name for trial in trials]
    assert states.count("PRUNED") == sum(pruned) > 0
    assert states.count("COMPLETE") == 24 - sum(pruned) > 0
    close_storage(storage)


def test_a_killed_worker_lets_its_claim_go(persistent: str | None, folder: StudyFolder) -> None:
    storage = _create(persistent, folder)
    lock = claim_lock(storage, persistent, folder, STUDY)
    process = workers.PROCESSES.Process(
        target=workers.die_holding_claim, args=(0, persistent, folder.path)
    )
    process.start()
    process.join()
    assert process.exitcode == -9
    for _ in range(3):
        with lock:
            pass
    close_storage(storage)


def test_what_was_written_survives_a_kill(
    persistent: str | None, folder: StudyFolder, tmp_path: Path
) -> None:
    storage = _create(persistent, folder)
    study = optuna.load_study(study_name=STUDY, storage=storage)
    for attempt in range(4):
        done = tmp_path / f"done-{attempt}"
        process = workers.PROCESSES.Process(
            target=workers.write_until_killed, args=(0, persistent, folder.path, done)
        )
        process.start()
        while not done.exists():
            time.sleep(0.002)
        time.sleep(random.uniform(0, 0.02))
        process.kill()
        process.join()
        # The kill may have left the note empty.
        noted = int(done.read_text() or 0)
        written = study.user_attrs["number"]
        assert written >= noted
        study.set_user_attr("number", written + 1)
    close_storage(storage)


# In memory


def test_a_process_has_one_storage_in_memory_for_a_folder(
    folder: StudyFolder, tmp_path: Path
) -> None:
    storage = open_storage("memory", folder)
    assert open_storage("sqlite:///:memory:", StudyFolder(folder.path)) is storage
    assert open_storage("memory", StudyFolder(tmp_path / "other")) is not storage


# SQLite


def test_sqlite_begins_with_the_write_lock(folder: StudyFolder, tmp_path: Path) -> None:
    storage = open_storage(f"sqlite:///{tmp_path}/study.db?timeout=0.01", folder)
    assert isinstance(storage, RDBStorage)
    with storage.engine.begin() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 1
        other = sqlite3.connect(tmp_path / "study.db", timeout=0, isolation_level=None)
        with pytest.raises(sqlite3.OperationalError, match="database is locked"):
            other.execute("BEGIN IMMEDIATE")
        other.close()
    close_storage(storage)


def test_sqlite_waits_for_a_minute(folder: StudyFolder, tmp_path: Path) -> None:
    storage = open_storage(f"sqlite:///{tmp_path}/study.db", folder)
    assert isinstance(storage, RDBStorage)
    with storage.engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar() == 60_000
    close_storage(storage)


def test_odd_names_of_files(folder: StudyFolder, tmp_path: Path) -> None:
    for scheme in ("sqlite", "journal"):
        file = tmp_path / "a {b} c" / f"d{{0}}.{scheme}"
        close_storage(open_storage(f"{scheme}:///{file}", folder))
        assert file.exists()


# PostgreSQL


@pytest.mark.slow
def test_studies_of_one_server_do_not_wait_for_one_another(
    postgresql_url: str, folder: StudyFolder
) -> None:
    storage = open_storage(postgresql_url, folder)
    with (
        claim_lock(storage, postgresql_url, folder, "one"),
        claim_lock(storage, postgresql_url, folder, "two"),
    ):
        pass
    close_storage(storage)


@pytest.mark.slow
def test_a_claim_survives_the_loss_of_its_connection(
    postgresql_url: str, folder: StudyFolder, caplog: pytest.LogCaptureFixture
) -> None:
    storage = open_storage(postgresql_url, folder)
    assert isinstance(storage, RDBStorage)
    kill_holders = (
        "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND database ="
        " (SELECT oid FROM pg_database WHERE datname = current_database())"
    )
    lock = claim_lock(storage, postgresql_url, folder, STUDY)
    with lock, storage.engine.connect() as connection:
        connection.exec_driver_sql(kill_holders)
    assert "the connection was lost while a lock was held" in caplog.text
    with lock:
        pass
    close_storage(storage)


# URLs


def test_relative_files_become_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert absolute_url("sqlite:///a/b.db?timeout=5") == f"sqlite:///{tmp_path}/a/b.db?timeout=5"
    assert absolute_url("journal:///b.log") == f"journal:///{tmp_path}/b.log"


@pytest.mark.parametrize(
    "url", ["memory", "sqlite:////a/b.db", "sqlite://", "sqlite:///:memory:", "postgresql://h/d"]
)
def test_other_urls_stay(url: str) -> None:
    assert absolute_url(url) == url


def test_a_relative_file_is_opened_where_the_process_is(
    folder: StudyFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    storage = _create("sqlite:///deep/study.db", folder)
    monkeypatch.chdir("/")
    assert optuna.load_study(study_name=STUDY, storage=storage).trials == []
    assert (tmp_path / "deep" / "study.db").exists()
    close_storage(storage)


def test_descriptions_hide_the_password(folder: StudyFolder) -> None:
    assert describe(None, folder) == str(folder.journal)
    assert describe("memory", folder) == "memory"
    shown = describe("postgresql://me:my:pass@word@host:5/db?password=secret&x=1", folder)
    assert shown == "postgresql://me:***@host:5/db?password=***&x=1"


# What a user can get wrong


@pytest.mark.parametrize(
    "url",
    [
        None,
        "memory",
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite:///a.db",
        "journal:///a",
        "postgresql://u@h/d",
    ],
)
def test_one_worker_here_takes_any_storage(url: str | None) -> None:
    assert check_storage(url, num_workers=1, in_this_process=True) == []


@pytest.mark.parametrize("url", ["memory", "sqlite://", "sqlite:///:memory:", "sqlite:///"])
@pytest.mark.parametrize(
    ("num_workers", "in_this_process", "rule"),
    [(8, False, "the sweep has 8 workers"), (1, False, "the launcher starts another")],
)
def test_memory_is_for_one_worker_here(
    url: str, num_workers: int, in_this_process: bool, rule: str
) -> None:
    (fault,) = check_storage(url, num_workers, in_this_process)
    assert fault.key == "hydra.sweeper.storage"
    assert rule in str(fault)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("study.db", "is not known; choose one of: null"),
        ("", "is not known"),
        ("postgres://h/d", "is not known"),
        ("redis://h", "is not known"),
        ("postgresql://h:port/d", "is not known"),
        ("journal://", "must name a file"),
        ("journal:///", "must name a file"),
        ("sqlite:///file:a.db?uri=true", "must name a file by its path"),
        ("sqlite+aiosqlite:///a.db", "has a driver for asyncio"),
        ("mssql://h/d", "needs a driver that is not installed"),
        ("postgresql+pg8000://me@h/d", r"pip install 'resnet-sweep\[postgresql\]'"),
    ],
)
def test_what_cannot_be_a_storage_is_refused(url: str, said: str, folder: StudyFolder) -> None:
    assert len(check_storage(url, num_workers=8, in_this_process=False)) == 1
    with pytest.raises(ConfigError, match=said):
        open_storage(url, folder)


def test_an_unreachable_server_is_named_without_its_password(folder: StudyFolder) -> None:
    with pytest.raises(ConfigError, match=r"hydra\.sweeper\.storage=postgresql://me:\*\*\*@") as e:
        open_storage("postgresql://me:secret@127.0.0.1:1/db", folder)
    assert "refused" in str(e.value)
    assert "secret" not in str(e.value)


@pytest.mark.parametrize("scheme", ["sqlite", "journal"])
def test_a_file_that_cannot_be_made_is_named(
    scheme: str, folder: StudyFolder, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"hydra\.sweeper\.storage=\w+:///.*cannot be opened"):
        open_storage(f"{scheme}:///{tmp_path}/file/study", folder)


def test_a_file_that_is_no_database_is_named(folder: StudyFolder, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("not a database " * 100)
    with pytest.raises(ConfigError, match="cannot be opened: file is not a database"):
        open_storage(f"sqlite:///{tmp_path}/text", folder)


LOADED = """
import sys
from pathlib import Path
from optuna import create_study
from resnet_sweep.study.folder import StudyFolder
from resnet_sweep.study.storage import check_storage, claim_lock, close_storage, open_storage
folder = StudyFolder(Path(sys.argv[1]))
for url in (None, "memory", f"journal:///{folder.path}/study.log", f"sqlite:///{folder.path}/x.db"):
    assert not check_storage(url, num_workers=1, in_this_process=True)
    storage = open_storage(url, folder)
    study = create_study(storage=storage)
    with claim_lock(storage, url, folder, study.study_name):
        study.tell(study.ask(), 1.0)
    close_storage(storage)
    print("sqlalchemy" in sys.modules)
"""


def test_what_a_database_needs_is_loaded_for_a_database_only(tmp_path: Path) -> None:
    command = [sys.executable, "-c", LOADED, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout.split() == ["False", "False", "False", "True"], done.stderr
