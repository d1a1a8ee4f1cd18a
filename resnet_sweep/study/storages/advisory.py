"""Locks that a PostgreSQL server keeps for processes on any hosts."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from types import TracebackType

import sqlalchemy
from sqlalchemy.orm import Session, scoped_session

from resnet_sweep.study.storages.patience import Patience

log = logging.getLogger(__name__)

Sessions = scoped_session[Session]


class AdvisoryLock(AbstractContextManager["AdvisoryLock"]):
    """An exclusive lock in a PostgreSQL database, between processes on any hosts.

    Held by a connection, so that the server frees it when the process dies or its host is
    gone. It frees it as well when the connection is lost, unknown to the holder: what must not
    happen twice needs a check of its own where it is written, as ``PatientStorage`` has for new
    trials. Not re-entrant. Does not work through a pooler that shares connections between
    transactions.

    Args:
        engine: Connects to the database; its pool keeps the connection between two uses.
        name: What is locked.
        patience: Waits for a server that cannot be reached; None raises at once.
        sessions: What the holding thread does in these goes through the lock's connection, so
            that a worker needs one only: a server takes a hundred, unless it is told to take
            more.
    """

    def __init__(
        self,
        engine: sqlalchemy.Engine,
        name: str,
        patience: Patience | None = None,
        sessions: Sessions | None = None,
    ) -> None:
        self._engine, self._patience, self._sessions = engine, patience, sessions
        digest = hashlib.sha256(f"resnet_sweep/{name}".encode()).digest()
        self._key = int.from_bytes(digest[:8], "big", signed=True)
        self._held: sqlalchemy.Connection | None = None

    def acquire(self) -> None:
        """Waits for the lock and takes it.

        Raises:
            StorageError: The server cannot be reached, and was waited for.
            sqlalchemy.exc.DBAPIError: The same without patience.
        """
        if self._patience is None:
            self._acquire()
        else:
            self._patience.call(self._acquire)

    def _acquire(self) -> None:
        connection = self._engine.connect()
        with _closed_on_error(connection):
            connection.execute(sqlalchemy.select(sqlalchemy.func.pg_advisory_lock(self._key)))
            # The lock is the session's, and outlives the transaction, which nobody should see.
            connection.commit()
        self._held = connection
        if self._sessions is not None:
            self._sessions().bind = connection

    def release(self) -> None:
        """Lets the lock go; nothing when it is not held."""
        connection, self._held = self._held, None
        if connection is None:
            return
        if self._sessions is not None:
            self._sessions().bind = self._engine
        with connection:
            try:
                query = sqlalchemy.select(sqlalchemy.func.pg_advisory_unlock(self._key))
                connection.execute(query)
                connection.commit()
            except sqlalchemy.exc.DBAPIError as error:
                # The server has freed it together with the connection.
                connection.invalidate()
                reason = " ".join(str(error.orig).split())
                log.warning("the connection was lost while a lock was held: %s", reason)

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
