"""Where a study is kept: checks of ``hydra.sweeper.storage``, opening it, and its claim lock."""

from __future__ import annotations

import logging
import re
import threading
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary, WeakValueDictionary

from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, InMemoryStorage, JournalStorage, RDBStorage
from optuna.storages._cached_storage import _CachedStorage

from resnet_sweep.faults import ConfigError, Fault
from resnet_sweep.study.folder import StudyFolder
from resnet_sweep.study.locks import FileLock
from resnet_sweep.study.storages.journal import JournalFile, TornEnd, open_journal, torn_copy
from resnet_sweep.study.storages.patience import KEY, Patience, check_wait
from resnet_sweep.study.storages.secrets import (
    masked,
    password_faults,
    resolved_url,
    without_passwords,
)

log = logging.getLogger(__name__)

# SQLAlchemy takes a tenth of a second to import, and most studies are kept in a journal: it is
# imported where a study is in a database.

CHOICES = (
    "null (a journal file in the study's folder)",
    "memory",
    "journal:///FILE",
    "sqlite:///FILE",
    "postgresql://USER@HOST/DATABASE (the password in PGPASSWORD or ~/.pgpass)",
    "${oc.env:VARIABLE} (the whole URL)",
)

_FILE_URL = re.compile(r"(?P<scheme>journal|sqlite(\+\w+)?):///(?P<file>[^?]*)(?P<query>\?.*)?")
_SQLITE_IN_MEMORY = re.compile(
    r"sqlite(\+\w+)?://(/?(\?.*)?|/:memory:.*|/file::memory:.*|/file:.*[?&]mode=memory.*)"
)

# One storage a folder in this process: its sweeper and its worker must share it.
_in_memory: WeakValueDictionary[Path, InMemoryStorage] = WeakValueDictionary()
_memory_locks: WeakKeyDictionary[BaseStorage, threading.Lock] = WeakKeyDictionary()
_opening = threading.Lock()


def check_storage(url: str | None, num_workers: int, in_this_process: bool) -> list[Fault]:
    """Faults of ``hydra.sweeper.storage``, found without connecting to it.

    Args:
        url: The key's value; None is the journal in the study's folder.
        num_workers: How many processes will work on the study.
        in_this_process: Whether the worker is this process itself.
    """
    faults = check_wait()
    if url is None:
        return faults
    try:
        meant = resolved_url(url)
    except ConfigError as error:
        return [*faults, *error.faults]
    if _is_memory(meant):
        return faults + _memory_faults(meant, num_workers, in_this_process)
    return faults + password_faults(url) + _url_faults(meant)


def _url_faults(url: str) -> list[Fault]:
    match = _FILE_URL.fullmatch(url)
    if url.startswith("journal:"):
        named = match is not None and match["file"] and not match["query"]
        fault = Fault(KEY, url, "must name a file", fix="type journal:///FILE")
        return [] if named else [fault]
    if match is not None and match["file"].startswith("file:"):
        return [Fault(KEY, url, "must name a file by its path", fix="type sqlite:///FILE")]
    return _relational_faults(url)


def absolute_url(url: str) -> str:
    """The URL of the same storage from any working directory.

    Args:
        url: A file's path in it that starts without a slash is relative to the current
            directory: ``sqlite:///studies.db``, but ``sqlite:////data/studies.db``.
    """
    match = _FILE_URL.fullmatch(url)
    if match is None or _is_memory(url) or match["file"].startswith("/"):
        return url
    return f"{match['scheme']}:///{Path(match['file']).absolute()}{match['query'] or ''}"


def describe(url: str | None, folder: StudyFolder) -> str:
    """The storage as a message shows it: a file or the URL without its password."""
    if url is None:
        return str(folder.journal)
    try:
        return masked(absolute_url(resolved_url(url)))
    except ConfigError:
        return masked(url)


def open_storage(
    url: str | None, folder: StudyFolder, *, waits: bool = False, creates: bool = True
) -> BaseStorage:
    """Opens the storage, which is made when it is not there; safe in many processes at once.

    Every process opens its own. In memory there is one for each folder and process, which
    lasts as long as somebody holds it. What is asked of a storage later waits while it cannot
    be reached or written, and raises StorageError when that lasts.

    Args:
        url: ``hydra.sweeper.storage``; ``${oc.env:...}`` in it is resolved here.
        folder: The study's.
        waits: Waits for a database that cannot be reached already to open it.
        creates: Makes what is not there. Who only reads makes and changes nothing.

    Raises:
        ConfigError: It cannot be opened.
        StorageError: It could not in all the time that was waited.
    """
    meant = None if url is None else resolved_url(url)
    if meant is not None and _is_memory(meant):
        with _opening:
            storage = _in_memory.get(folder.path) or InMemoryStorage()
            _in_memory[folder.path] = storage
            return storage
    if meant is not None and (faults := _url_faults(meant)):
        raise ConfigError(faults)
    if meant is not None and not meant.startswith("journal:"):
        return _open_database(absolute_url(meant), folder, waits=waits, creates=creates)
    path = None if meant is None else absolute_url(meant).removeprefix("journal:///")
    file = folder.journal if path is None else Path(path)
    try:
        return open_journal(file, creates=creates)
    except OSError as error:
        raise _cannot_open(meant, folder, error) from error


def _open_database(url: str, folder: StudyFolder, *, waits: bool, creates: bool) -> BaseStorage:
    from sqlalchemy.exc import SQLAlchemyError

    from resnet_sweep.study.storages.relational import open_relational, parsed
    from resnet_sweep.study.storages.troubles import database_troubles

    shown, meant = masked(url), parsed(url)

    def opened() -> BaseStorage:
        return open_relational(meant, shown, folder.claim_lock, creates=creates)

    try:
        if not waits:
            return opened()
        return Patience(shown, database_troubles(meant)).call(opened)
    except (OSError, RuntimeError, SQLAlchemyError, StorageInternalError) as error:
        raise _cannot_open(url, folder, error) from error


def repair(storage: BaseStorage) -> TornEnd | None:
    """Cuts off what a killed writer has left at the end of a journal; a warning tells of it.

    For whoever goes on with a study. What is cut is kept in a file beside the journal.

    Args:
        storage: What open_storage returned; nothing is done to one that is no journal.

    Returns:
        What was cut; None where all was well.

    Raises:
        StorageError: The journal cannot be written.
    """
    file = _journal_file(storage)
    return None if file is None else file.repair()


def tell_torn_end(storage: BaseStorage) -> None:
    """Warns of what a reader leaves out at the end of a journal, which nobody is writing."""
    file = _journal_file(storage)
    torn = None if file is None else file.torn_end()
    if torn is not None:
        copy = torn_copy(torn.path)
        log.warning("%s; left out here. A sweep that goes on keeps them in %s", torn, copy)


def _journal_file(storage: BaseStorage) -> JournalFile | None:
    backend = storage._backend if isinstance(storage, JournalStorage) else None
    return backend if isinstance(backend, JournalFile) else None


def close_storage(storage: BaseStorage) -> None:
    """Closes a storage's connections; it must not be used any more."""
    storage = _own(storage)
    if isinstance(storage, RDBStorage):
        storage.remove_session()
        storage.engine.dispose()


def claim_lock(
    storage: BaseStorage, url: str | None, folder: StudyFolder, study_name: str
) -> AbstractContextManager[Any]:
    """The lock to hold while a ticket is claimed; cheap to enter, as often as needed.

    Between all that work on the study: in one process in memory, on any hosts on PostgreSQL,
    on hosts that share the study's folder otherwise. Not re-entrant. A process that dies lets
    it go.

    Args:
        storage: What open_storage returned, or a study's own.
        url: ``hydra.sweeper.storage``.
        folder: The study's.
        study_name: Studies of one database do not wait for one another.
    """
    storage = _own(storage)
    if isinstance(storage, InMemoryStorage):
        with _opening:
            return _memory_locks.setdefault(storage, threading.Lock())
    if isinstance(storage, RDBStorage) and storage.engine.dialect.name == "postgresql":
        from resnet_sweep.study.storages.advisory import AdvisoryLock
        from resnet_sweep.study.storages.patient import PatientStorage

        patience = storage.patience if isinstance(storage, PatientStorage) else None
        name = f"claim/{study_name}"
        return AdvisoryLock(storage.engine, name, patience, storage.scoped_session)
    return FileLock(folder.claim_lock)


def _own(storage: BaseStorage) -> BaseStorage:
    """What open_storage returned: a study wraps a database in a cache."""
    return storage._backend if isinstance(storage, _CachedStorage) else storage


def is_in_memory(url: str | None) -> bool:
    """Whether a study of this ``hydra.sweeper.storage`` ends with its process."""
    return url is not None and _is_memory(url)


def _is_memory(url: str) -> bool:
    return url == "memory" or _SQLITE_IN_MEMORY.fullmatch(url) is not None


def _memory_faults(url: str, num_workers: int, in_this_process: bool) -> list[Fault]:
    if num_workers > 1:
        rule = f"is seen by one process only, and the sweep has {num_workers} workers"
    elif not in_this_process:
        rule = "is seen by this process only, and the launcher starts another"
    else:
        return []
    fix = "set it to null, or one worker in this process: hydra/launcher=basic"
    return [Fault(KEY, url, rule, fix=fix)]


def _relational_faults(url: str) -> list[Fault]:
    from sqlalchemy.exc import ArgumentError

    from resnet_sweep.study.storages.relational import parsed

    shown = masked(url)
    try:
        dialect = parsed(url).get_dialect()
    except ImportError as error:
        return [_missing_driver(url, error)]
    except (ArgumentError, ValueError):
        return [Fault(KEY, shown, "is not known", CHOICES)]
    if dialect.is_async:
        return [Fault(KEY, shown, f"has a driver for asyncio: {dialect.driver}", CHOICES)]
    try:
        dialect.import_dbapi()
    except ImportError as error:
        return [_missing_driver(url, error)]
    return []


def _missing_driver(url: str, error: ImportError) -> Fault:
    if url.startswith("postgresql"):
        fix = "pip install 'resnet-sweep[postgresql]'"
    else:
        fix = "install the driver that SQLAlchemy's documentation names for this URL"
    return Fault(KEY, masked(url), f"needs a driver that is not installed ({error})", fix=fix)


def _cannot_open(url: str | None, folder: StudyFolder, error: Exception) -> ConfigError:
    # Optuna's own errors only hint; the driver's, below them, says what is wrong.
    cause = error.__cause__ if isinstance(error, StorageInternalError) else error
    reason = _reason(cause) if isinstance(cause, OSError) else str(getattr(cause, "orig", cause))
    if url is not None:
        reason = without_passwords(reason, url)
    rule = f"cannot be opened: {' '.join(reason.split())}"
    return ConfigError([Fault(KEY, describe(url, folder), rule)])


def _reason(error: OSError) -> str:
    if isinstance(error, FileExistsError | NotADirectoryError):
        # Of a folder that was to be made.
        return f"{error.filename} is no folder"
    named = f"{error.filename}: " if error.filename else ""
    return f"{named}{error.strerror or error}"
