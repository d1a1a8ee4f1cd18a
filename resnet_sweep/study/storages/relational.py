"""A study in a database: SQLite, PostgreSQL, and others as Optuna leaves them."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any

import sqlalchemy
from optuna.storages import RDBStorage
from sqlalchemy import event
from sqlalchemy.pool import NullPool

from resnet_sweep.study.locks import FileLock

log = logging.getLogger(__name__)

SQLITE_BUSY_TIMEOUT_S = 60.0
CONNECT_TIMEOUT_S = 10


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


def open_relational(url: sqlalchemy.URL, lock_file: Path) -> RDBStorage:
    """The storage in a database, whose tables are made when they are not there.

    Args:
        url: Where it is; of SQLite with an absolute path.
        lock_file: Held while tables are made in a database that has no better lock for it.

    Raises:
        ImportError: The driver is not installed.
        Exception: The database refuses; which error it is depends on the driver.
    """
    backend = url.get_backend_name()
    if backend == "sqlite":
        return _open_sqlite(url)
    if backend == "postgresql":
        return _open_postgresql(url)
    with FileLock(lock_file):
        return _storage(url, {"pool_pre_ping": True})


def _storage(url: sqlalchemy.URL, engine_kwargs: dict[str, Any]) -> RDBStorage:
    text = url.render_as_string(hide_password=False)
    # Optuna takes braces for a place to put its schema's version.
    return RDBStorage(text.replace("{", "{{").replace("}", "}}"), engine_kwargs=engine_kwargs)


def _open_sqlite(url: sqlalchemy.URL) -> RDBStorage:
    file = Path(url.database or "")
    file.parent.mkdir(parents=True, exist_ok=True)
    # No BEGIN by the driver, which would let two transactions read before either writes.
    arguments: dict[str, Any] = {"isolation_level": None}
    if "timeout" not in url.query:
        arguments["timeout"] = SQLITE_BUSY_TIMEOUT_S
    # Not on the database itself: SQLite loses its locks when another handle is closed.
    with FileLock(file.with_name(file.name + ".lock")):
        storage = _storage(url, {"connect_args": arguments})
        # Optuna has connected already: those connections go, their successors are prepared.
        storage.engine.dispose()
        event.listen(storage.engine, "connect", _prepare_sqlite)
        event.listen(storage.engine, "begin", _begin_immediate)
        with storage.engine.connect():
            pass
    return storage


def _prepare_sqlite(connection: Any, record: object) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.close()


def _begin_immediate(connection: sqlalchemy.Connection) -> None:
    # Takes the write lock before anything is read; there is no SELECT ... FOR UPDATE.
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _open_postgresql(url: sqlalchemy.URL) -> RDBStorage:
    kwargs: dict[str, Any] = {"pool_pre_ping": True}
    if url.get_driver_name().startswith("psycopg") and "connect_timeout" not in url.query:
        kwargs["connect_args"] = {"connect_timeout": CONNECT_TIMEOUT_S}
    engine = sqlalchemy.create_engine(url, poolclass=NullPool, **kwargs)
    with AdvisoryLock(engine, "tables"):
        return _storage(url, kwargs)


class AdvisoryLock(AbstractContextManager["AdvisoryLock"]):
    """An exclusive lock in a PostgreSQL database, between processes on any hosts.

    Held by a connection of its own, so that the server frees it when the process dies or its
    host is gone. Not re-entrant. Does not work through a pooler that shares connections
    between transactions.

    Args:
        engine: Connects to the database; its pool keeps the connection between two uses.
        name: What is locked.
    """

    def __init__(self, engine: sqlalchemy.Engine, name: str) -> None:
        self._engine = engine
        digest = hashlib.sha256(f"resnet_sweep/{name}".encode()).digest()
        self._key = int.from_bytes(digest[:8], "big", signed=True)
        self._held: sqlalchemy.Connection | None = None

    def acquire(self) -> None:
        """Waits for the lock and takes it.

        Raises:
            sqlalchemy.exc.DBAPIError: The server cannot be reached.
        """
        # Without a transaction, which would stay open while the lock is held.
        connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        with _closed_on_error(connection):
            connection.execute(sqlalchemy.select(sqlalchemy.func.pg_advisory_lock(self._key)))
        self._held = connection

    def release(self) -> None:
        """Lets the lock go; nothing when it is not held."""
        connection, self._held = self._held, None
        if connection is None:
            return
        with connection:
            try:
                query = sqlalchemy.select(sqlalchemy.func.pg_advisory_unlock(self._key))
                connection.execute(query)
            except sqlalchemy.exc.DBAPIError as error:
                # The server has freed it together with the connection.
                connection.invalidate()
                log.warning("the connection was lost while a lock was held: %s", error.orig)

    def __enter__(self) -> AdvisoryLock:
        self.acquire()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()


@contextmanager
def _closed_on_error(connection: sqlalchemy.Connection) -> Iterator[None]:
    try:
        yield
    except BaseException:
        # Not back into the pool: it may have the lock, or be about to get it.
        connection.invalidate()
        connection.close()
        raise
