"""Where a study is kept: checks of ``hydra.sweeper.storage``, opening it, and its claim lock."""

from __future__ import annotations

import re
import threading
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary, WeakValueDictionary

from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, InMemoryStorage, RDBStorage
from optuna.storages._cached_storage import _CachedStorage

from resnet_sweep.faults import ConfigError, Fault
from resnet_sweep.study.folder import StudyFolder
from resnet_sweep.study.locks import FileLock
from resnet_sweep.study.storages.journal import open_journal

# SQLAlchemy takes a tenth of a second to import, and most studies are kept in a journal: it is
# imported where a study is in a database.

KEY = "hydra.sweeper.storage"
CHOICES = (
    "null (a journal file in the study's folder)",
    "memory",
    "journal:///FILE",
    "sqlite:///FILE",
    "postgresql://USER:PASSWORD@HOST/DATABASE",
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
    if url is None:
        return []
    if _is_memory(url):
        return _memory_faults(url, num_workers, in_this_process)
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
    return _masked(absolute_url(url))


def open_storage(url: str | None, folder: StudyFolder) -> BaseStorage:
    """Opens the storage, which is made when it is not there; safe in many processes at once.

    Every process opens its own. In memory there is one for each folder and process, which
    lasts as long as somebody holds it.

    Args:
        url: ``hydra.sweeper.storage``.
        folder: The study's.

    Raises:
        ConfigError: It cannot be opened.
    """
    if url is not None and _is_memory(url):
        with _opening:
            storage = _in_memory.get(folder.path) or InMemoryStorage()
            _in_memory[folder.path] = storage
            return storage
    if faults := check_storage(url, num_workers=1, in_this_process=True):
        raise ConfigError(faults)
    if url is not None and not url.startswith("journal:"):
        return _open_database(absolute_url(url), folder)
    file = folder.journal if url is None else Path(absolute_url(url).removeprefix("journal://"))
    try:
        return open_journal(file)
    except OSError as error:
        raise _cannot_open(url, folder, error) from error


def _open_database(url: str, folder: StudyFolder) -> BaseStorage:
    from sqlalchemy.exc import SQLAlchemyError

    from resnet_sweep.study.storages.relational import open_relational, parsed

    try:
        return open_relational(parsed(url), folder.claim_lock)
    except (OSError, RuntimeError, SQLAlchemyError, StorageInternalError) as error:
        raise _cannot_open(url, folder, error) from error


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
        from resnet_sweep.study.storages.relational import AdvisoryLock

        return AdvisoryLock(storage.engine, f"claim/{study_name}")
    return FileLock(folder.claim_lock)


def _own(storage: BaseStorage) -> BaseStorage:
    """What open_storage returned: a study wraps a database in a cache."""
    return storage._backend if isinstance(storage, _CachedStorage) else storage


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

    shown = _masked(url)
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
    return Fault(KEY, _masked(url), f"needs a driver that is not installed ({error})", fix=fix)


def _cannot_open(url: str | None, folder: StudyFolder, error: Exception) -> ConfigError:
    # Optuna's own errors only hint; the driver's, below them, says what is wrong.
    cause = error.__cause__ if isinstance(error, StorageInternalError) else error
    reason = str(getattr(cause, "orig", None) or cause).strip()
    if url is not None:
        reason = _without_password(reason, url)
    rule = f"cannot be opened: {' '.join(reason.split())}"
    return ConfigError([Fault(KEY, describe(url, folder), rule)])


def _masked(url: str) -> str:
    url = re.sub(r"(://[^:/@?]*):.*@", r"\1:***@", url)
    return re.sub(r"([?&]password=)[^&]*", r"\1***", url)


def _without_password(text: str, url: str) -> str:
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        password = make_url(url).password
    except ArgumentError:
        return text
    return text.replace(password, "***") if password else text
