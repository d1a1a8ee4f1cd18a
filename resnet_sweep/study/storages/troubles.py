"""What the errors of a database say: which pass by themselves, and what the user can do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import sqlalchemy
from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import DBAPIError, OperationalError

from resnet_sweep.study.storages.patience import FULL, Trouble, has_room, trouble_of_file
from resnet_sweep.study.storages.secrets import without_passwords

# Classes and codes of PostgreSQL's appendix A that pass: lost connections, a server that is
# shutting down, starting or has too many clients, transactions that got in each other's way.
_PASSING_CLASSES = ("08", "53")
_PASSING_CODES = frozenset({"57P01", "57P02", "57P03", "57P05", "40001", "40P01", "25006", "55P03"})
_NO_ROOM_CODE = "53100"
# libpq gives no code to what it is told while it connects; these do not pass.
_REFUSALS = (
    "password authentication failed",
    "no password supplied",
    "does not exist",
    "no pg_hba.conf entry",
    "not permitted",
)
_HOW_TO_LOG_IN = (
    "set PGPASSWORD or a line in ~/.pgpass (PGPASSFILE) where the workers run; then the same"
    " command goes on with the study"
)
_ROOM_FIX = "make room; then the same command goes on with the study"


def database_troubles(url: sqlalchemy.URL) -> Callable[[Exception], Trouble | None]:
    """What tells whether an error of a database is about the storage, and what it means.

    Args:
        url: Of the database.
    """
    backend = url.get_backend_name()
    file = Path(url.database or "") if backend == "sqlite" else None
    written = url.render_as_string(hide_password=False)

    def trouble_of(error: Exception) -> Trouble | None:
        cause = error.__cause__ if isinstance(error, StorageInternalError) else error
        if isinstance(cause, OSError):
            return trouble_of_file(cause)
        if not isinstance(cause, DBAPIError):
            return None
        text = without_passwords(" ".join(str(cause.orig or cause).split()), written)
        if file is not None:
            return _of_sqlite(cause, file, text)
        if backend == "postgresql":
            return _of_postgresql(cause, text)
        return Trouble(f"cannot be used: {text}", passes=cause.connection_invalidated)

    return trouble_of


def _of_sqlite(error: DBAPIError, file: Path, text: str) -> Trouble:
    name = getattr(error.orig, "sqlite_errorname", "") or ""
    # A full disk shows in many ways: no room for the journal, or for its index.
    is_file_error = name.startswith(("SQLITE_IOERR", "SQLITE_CANTOPEN"))
    if name == "SQLITE_FULL" or (is_file_error and not has_room(file)):
        return Trouble(f"cannot be written: {FULL}", passes=True, for_room=True, fix=_ROOM_FIX)
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        fix = "end the program that has it locked; then the same command goes on with the study"
        return Trouble("is locked by another program", passes=True, fix=fix)
    if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
        fix = "put back a copy of the file that is whole"
        return Trouble(f"is damaged: {text}", fix=fix)
    return Trouble(f"cannot be used: {text}", passes=error.connection_invalidated)


def _of_postgresql(error: DBAPIError, text: str) -> Trouble:
    code = getattr(error.orig, "sqlstate", None) or getattr(error.orig, "pgcode", None)
    if code == _NO_ROOM_CODE:
        reason = f"cannot be written: the server says that {FULL}"
        return Trouble(reason, passes=True, for_room=True, fix=_ROOM_FIX)
    if code is not None and not error.connection_invalidated:
        passes = code.startswith(_PASSING_CLASSES) or code in _PASSING_CODES
        return Trouble(f"cannot be used: {text}", passes=passes)
    if any(refusal in text for refusal in _REFUSALS):
        if "password" in text:
            return Trouble(f"cannot be reached: {text}", fix=_HOW_TO_LOG_IN)
        return Trouble(f"cannot be reached: {text}")
    passes = error.connection_invalidated or isinstance(error, OperationalError)
    return Trouble(f"cannot be reached: {text}", passes=passes)
