"""A study in a database: SQLite, PostgreSQL, and others as Optuna leaves them."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import sqlalchemy
from sqlalchemy import event
from sqlalchemy.pool import NullPool

from resnet_sweep.faults import ConfigError, Fault, StorageError
from resnet_sweep.study.locks import FileLock
from resnet_sweep.study.storages.advisory import AdvisoryLock
from resnet_sweep.study.storages.patience import KEY, Patience
from resnet_sweep.study.storages.patient import PatientStorage
from resnet_sweep.study.storages.troubles import database_troubles

SQLITE_BUSY_TIMEOUT_S = 60.0
CONNECT_TIMEOUT_S = 10
# When a host is gone without a word its peer closes the connection after about a minute:
# otherwise the server would keep the locks of a dead client for hours.
_KEEPALIVES = {"idle": 30, "interval": 10, "count": 3}
_UNANSWERED_MS = 60_000


def parsed(text: str) -> sqlalchemy.URL:
    """The URL, with a driver that is installed where ``postgresql://`` leaves it open.

    Raises:
        sqlalchemy.exc.ArgumentError: The text is not a URL.
    """
    url = sqlalchemy.make_url(text)
    if url.drivername != "postgresql":
        return url
    # SQLAlchemy's own choice depends on its version, not on what is there.
    only_psycopg2 = find_spec("psycopg") is None and find_spec("psycopg2") is not None
    return url.set(drivername="postgresql+psycopg2" if only_psycopg2 else "postgresql+psycopg")


def open_relational(
    url: sqlalchemy.URL, shown: str, lock_file: Path, *, creates: bool = True
) -> PatientStorage:
    """The storage in a database, whose tables are made when they are not there.

    Args:
        url: Where it is; of SQLite with an absolute path.
        shown: The same for messages.
        lock_file: Held while tables are made in a database that has no better lock for it.
        creates: What is missing is made; who only reads makes nothing.

    Raises:
        ImportError: The driver is not installed.
        ConfigError: The database belongs to something else.
        Exception: The database refuses; which error it is depends on the driver.
    """
    backend = url.get_backend_name()
    patience = Patience(shown, database_troubles(url))
    if backend == "sqlite":
        return _open_sqlite(url, Path(url.database or ""), patience, creates)
    if backend == "postgresql":
        return _open_postgresql(url, patience, creates)
    if not creates:
        return _storage(url, {"pool_pre_ping": True}, patience, creates)
    with FileLock(lock_file):
        return _storage(url, {"pool_pre_ping": True}, patience, creates)


def _storage(
    url: sqlalchemy.URL, engine_kwargs: dict[str, Any], patience: Patience, creates: bool
) -> PatientStorage:
    text = url.render_as_string(hide_password=False)
    if not creates:
        _refuse_if_not_optunas(url, engine_kwargs)
    # Optuna takes braces for a place to put its schema's version.
    text = text.replace("{", "{{").replace("}", "}}")
    return PatientStorage(text, engine_kwargs, patience, skip_table_creation=not creates)


def _tables(url: sqlalchemy.URL, engine_kwargs: dict[str, Any]) -> set[str]:
    engine = sqlalchemy.create_engine(url, **{**engine_kwargs, "poolclass": NullPool})
    return set(sqlalchemy.inspect(engine).get_table_names())


def _refuse_if_not_optunas(url: sqlalchemy.URL, engine_kwargs: dict[str, Any]) -> None:
    if not {"studies", "trials"} <= _tables(url, engine_kwargs):
        shown = url.render_as_string()
        raise ConfigError([Fault(KEY, shown, "is a database without studies in it")])


def _open_sqlite(
    url: sqlalchemy.URL, file: Path, patience: Patience, creates: bool
) -> PatientStorage:
    # No BEGIN by the driver, which would let two transactions read before either writes.
    arguments: dict[str, Any] = {"isolation_level": None}
    if "timeout" not in url.query:
        arguments["timeout"] = SQLITE_BUSY_TIMEOUT_S
    kwargs = {"connect_args": arguments}
    if not creates:
        return _guarded(_storage(url, kwargs, patience, creates), file)
    file.parent.mkdir(parents=True, exist_ok=True)
    # Not on the database itself: SQLite loses its locks when another handle is closed.
    with FileLock(file.with_name(file.name + ".lock")):
        _refuse_strangers(url, file, kwargs)
        storage = _storage(url, kwargs, patience, creates)
        # Optuna has connected already: those connections go, their successors are prepared.
        storage.engine.dispose()
        event.listen(storage.engine, "connect", _prepare_sqlite)
        event.listen(storage.engine, "begin", _begin_immediate)
        with storage.engine.connect():
            pass
    return _guarded(storage, file)


def _refuse_strangers(url: sqlalchemy.URL, file: Path, kwargs: dict[str, Any]) -> None:
    """Optuna would make its tables in any database."""
    tables = _tables(url, kwargs) if file.is_file() and file.stat().st_size else set()
    if tables and "studies" not in tables:
        rule = f"is a database of another program, with the tables {', '.join(sorted(tables))}"
        raise ConfigError([Fault(KEY, f"sqlite:///{file}", rule, fix="name another file")])


def _guarded(storage: PatientStorage, file: Path) -> PatientStorage:
    """A file that is gone still takes what is written to it, and loses it."""
    opened = file.stat()

    def refuse_if_replaced(connection: sqlalchemy.Connection) -> None:
        rule = ""
        try:
            if not os.path.samestat(file.stat(), opened):
                rule = "was replaced while it was in use"
        except FileNotFoundError:
            rule = "is gone: the file was removed or renamed"
        if rule:
            fix = "put it back; then the same command goes on with the study"
            raise StorageError([Fault(KEY, f"sqlite:///{file}", rule, fix=fix)])

    # First of all: the next listener has SQLite write.
    event.listen(storage.engine, "begin", refuse_if_replaced, insert=True)
    return storage


def _prepare_sqlite(connection: Any, record: object) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.close()


def _begin_immediate(connection: sqlalchemy.Connection) -> None:
    # Takes the write lock before anything is read; there is no SELECT ... FOR UPDATE.
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _open_postgresql(url: sqlalchemy.URL, patience: Patience, creates: bool) -> PatientStorage:
    kwargs: dict[str, Any] = {"pool_pre_ping": True}
    if url.get_driver_name().startswith("psycopg"):
        kwargs["connect_args"] = _libpq_arguments(url)
    if not creates:
        return _storage(url, kwargs, patience, creates)
    engine = sqlalchemy.create_engine(url, poolclass=NullPool, **kwargs)
    # A server that cannot be reached is told at once, and not waited for.
    with AdvisoryLock(engine, "tables", patience=None):
        storage = _storage(url, kwargs, patience, creates)
    # Optuna has connected already: those connections go, their successors are prepared.
    storage.engine.dispose()
    event.listen(storage.engine, "connect", _prepare_postgresql)
    return storage


def _libpq_arguments(url: sqlalchemy.URL) -> dict[str, Any]:
    ours = {
        "connect_timeout": CONNECT_TIMEOUT_S,
        "tcp_user_timeout": _UNANSWERED_MS,
        **{f"keepalives_{name}": value for name, value in _KEEPALIVES.items()},
    }
    return {name: value for name, value in ours.items() if name not in url.query}


def _prepare_postgresql(connection: Any, record: object) -> None:
    """Has the server look after its end of the connection as we do after ours."""
    cursor = connection.cursor()
    for name, value in _KEEPALIVES.items():
        cursor.execute(f"SET tcp_keepalives_{name} = {value}")
    cursor.close()
    connection.commit()
