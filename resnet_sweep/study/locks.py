"""Locks between processes that the system frees when their holder dies, however it dies."""

from __future__ import annotations

import fcntl
import os
import threading
import time
from pathlib import Path
from types import TracebackType

# A probe by is_held shares the lock for some microseconds; try_acquire outlasts it.
_PROBE_S = 0.1
_PAUSE_S = 0.002


class LockLostError(RuntimeError):
    """What a lock keeps for its holder was changed by somebody else: the lock was lost."""


class _Handle:
    """An open lock file; what it has locked is free once it is closed in every process."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _opening:
            # Not through a link, which a study of a stranger may have.
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW
            self._number: int | None = os.open(path, flags, 0o666)
            _open_handles.add(self)

    def flock(self, how: int) -> bool:
        """Locks; False where that would have to wait and ``how`` says not to."""
        assert self._number is not None
        try:
            fcntl.flock(self._number, how)
        except BlockingIOError:
            return False
        return True

    def is_at(self, path: Path) -> bool:
        """Whether the file is still the one of that name."""
        assert self._number is not None
        try:
            return os.path.samestat(os.fstat(self._number), path.stat())
        except FileNotFoundError:
            return False

    def close(self) -> None:
        """Frees the lock; nothing in a forked child, where it is closed already."""
        with _opening:
            if self._number is not None:
                os.close(self._number)
                self._number = None
                _open_handles.discard(self)


_open_handles: set[_Handle] = set()
# Not held while waiting for a lock, so that a fork is never kept waiting by one.
_opening = threading.RLock()


def _close_in_child() -> None:
    # A lock lasts as long as any copy of its handle: a child's would outlive a dead parent.
    for handle in tuple(_open_handles):
        handle.close()
    _opening.release()


os.register_at_fork(
    before=_opening.acquire, after_in_parent=_opening.release, after_in_child=_close_in_child
)


class FileLock:
    """An exclusive lock on a file, between processes, threads and other locks on that file.

    Held until it is released or the process dies, also when the object is forgotten. Not held
    by children that are forked. Not re-entrant: whoever holds it and asks again waits for
    himself. The file stays when the lock is released; removing it would let two processes
    lock two files of one name.

    Args:
        path: The lock file; its folder is made when it is not there.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path).absolute()
        self._held: _Handle | None = None

    def acquire(self) -> None:
        """Waits for the lock and takes it.

        Raises:
            OSError: The file cannot be opened, or its file system has no locks.
        """
        self._lock(fcntl.LOCK_EX)

    def try_acquire(self) -> bool:
        """Takes the lock if nobody holds it.

        Returns:
            Whether it is taken.

        Raises:
            OSError: The file cannot be opened, or its file system has no locks.
        """
        end = time.monotonic() + _PROBE_S
        while not self._lock(fcntl.LOCK_EX | fcntl.LOCK_NB):
            if time.monotonic() > end:
                return False
            time.sleep(_PAUSE_S)
        return True

    def release(self) -> None:
        """Lets the lock go; nothing when it is not held, as in a forked child."""
        # Emptied before it is closed: a waiting thread fills it the moment it is free.
        handle, self._held = self._held, None
        if handle is not None:
            handle.close()

    def _lock(self, how: int) -> bool:
        while True:
            handle = _Handle(self.path)
            try:
                if not handle.flock(how):
                    handle.close()
                    return False
                if handle.is_at(self.path):
                    self._held = handle
                    return True
            except BaseException:
                handle.close()
                raise
            # Somebody removed the file while we waited: lock the one that has its name now.
            handle.close()

    def __enter__(self) -> FileLock:
        self.acquire()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()


def is_held(path: str | os.PathLike[str]) -> bool:
    """Whether a living process, this one included, holds the FileLock on a file.

    Args:
        path: The lock file; one that is not there is not held.

    Raises:
        OSError: The file cannot be read, or its file system has no locks.
    """
    try:
        number = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        return _is_locked(number)
    finally:
        os.close(number)


def is_claimed(folder: Path) -> bool:
    """Whether a living process has claimed a run's folder, as RunFolder.claimed does.

    Args:
        folder: Of a run; one that is not there, or that may not be read, is not claimed.

    Returns:
        False as well where the file system has no locks.
    """
    try:
        number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return False
    try:
        return _is_locked(number)
    except OSError:
        return False
    finally:
        os.close(number)


def _is_locked(number: int) -> bool:
    """Whether somebody else has locked an open file.

    Raises:
        OSError: Its file system has no locks.
    """
    try:
        # Shared, so that two probes do not take one another for a holder.
        fcntl.flock(number, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    # Closing it is not enough where a child was forked meanwhile, which has a copy.
    fcntl.flock(number, fcntl.LOCK_UN)
    return False
