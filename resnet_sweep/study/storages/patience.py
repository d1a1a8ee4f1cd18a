"""Waiting for a storage that cannot be reached or written just now.

Light to import: a study in a journal needs no database's modules.
"""

from __future__ import annotations

import errno
import logging
import math
import os
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from resnet_sweep.faults import ConfigError, Fault, StorageError
from resnet_sweep.files import mended_by

log = logging.getLogger(__name__)

KEY = "hydra.sweeper.storage"
# Seconds that a process waits for a storage before it gives up; 0 does not wait.
WAIT_VARIABLE = "RESNET_SWEEP_STORAGE_WAIT_S"
_WAIT_S = 300.0
# Nobody but the user makes room on a disk, and the sweep's end is what tells him.
_WAIT_FOR_ROOM_S = 30.0
# Who is asked to stop waits no longer than this.
_STOPPING_S = 3.0
_MIN_PAUSE_S, _MAX_PAUSE_S = 0.05, 2.0
# A shorter trouble is not worth a word.
_QUIET_S = 1.0

FULL = "the disk is full"
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})
_PASSING = frozenset({errno.EAGAIN, errno.EINTR, errno.ESTALE, errno.ETIMEDOUT, errno.ENOLCK})

# Set while this process is being stopped.
_stopping = threading.Event()
# When a storage was last found to be in such a trouble, over all that has it open in a thread
# (a view that only reads may be through while whoever writes is not): (storage, for room,
# thread) -> begin.
_since: dict[tuple[str, bool, int], float] = {}

T = TypeVar("T")


@dataclass(frozen=True)
class Trouble:
    """Why an operation on a storage has failed, where the storage is to blame.

    Attributes:
        reason: What is wrong, as a rule of a Fault.
        passes: It may be over soon: worth waiting for.
        for_room: There is no room on the disk.
        fix: What the user can do.
    """

    reason: str
    passes: bool = False
    for_room: bool = False
    fix: str = "the same command goes on with the study"


class Patience:
    """Tries an operation again while its storage is in a trouble that may pass.

    Args:
        shown: The storage, as messages show it.
        trouble_of: What an error says of the storage; None when it is about something else.
    """

    def __init__(self, shown: str, trouble_of: Callable[[Exception], Trouble | None]) -> None:
        self._shown, self._trouble_of = shown, trouble_of

    def call(self, operation: Callable[[], T], *, writes: bool = True) -> T:
        """Calls the operation until it is through.

        Args:
            operation: Either does nothing when it raises, or knows that it was tried before.
            writes: When it is through, there is room again.

        Raises:
            StorageError: The storage is in a trouble that does not pass, or has not in time.
        """
        pause_s, told = _MIN_PAUSE_S, False
        while True:
            try:
                result = operation()
            except ConfigError:
                raise
            except Exception as error:
                trouble = self._trouble_of(error)
                if trouble is None:
                    raise
                if not trouble.passes or self._is_over(trouble):
                    raise self._error(trouble) from error
                told = self._tell(trouble, told)
            else:
                self._note_success(writes, told)
                return result
            # Many wait for the same server: not all come back at once.
            time.sleep(pause_s * random.uniform(0.5, 1.0))  # noqa: S311
            pause_s = min(2 * pause_s, _MAX_PAUSE_S)

    def _is_over(self, trouble: Trouble) -> bool:
        now = time.monotonic()
        begin = _since.setdefault(self._key(trouble.for_room), now)
        return now - begin >= _patience_s(trouble)

    def _tell(self, trouble: Trouble, told: bool) -> bool:
        begin = _since[self._key(trouble.for_room)]
        if told or time.monotonic() - begin < _QUIET_S:
            return told
        limit_s = _patience_s(trouble)
        log.warning("%s=%s %s; waits up to %g s", KEY, self._shown, trouble.reason, limit_s)
        return True

    def _note_success(self, writes: bool, told: bool) -> None:
        if not _since:
            return
        begin = _since.pop(self._key(for_room=False), None)
        if writes:
            begin = _since.pop(self._key(for_room=True), begin)
        if told and begin is not None:
            log.warning("the storage works again after %.0f s", time.monotonic() - begin)

    def _key(self, for_room: bool) -> tuple[str, bool, int]:
        return self._shown, for_room, threading.get_ident()

    def _error(self, trouble: Trouble) -> StorageError:
        return StorageError([Fault(KEY, self._shown, trouble.reason, fix=trouble.fix)])


def check_wait() -> list[Fault]:
    """Faults of the variable that says how long is waited."""
    text = os.environ.get(WAIT_VARIABLE, "0")
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    rule = "must be a number of seconds, 0 or more"
    return [] if 0 <= seconds < math.inf else [Fault(WAIT_VARIABLE, text, rule)]


def be_brief(is_stopping: bool) -> None:
    """Says that this process is being stopped, so that nothing is waited for any more."""
    (_stopping.set if is_stopping else _stopping.clear)()


def no_room(error: BaseException) -> bool:
    """Whether an error of the system says that a disk, or the user's share of it, is full."""
    return isinstance(error, OSError) and error.errno in _NO_ROOM


def has_room(file: Path) -> bool:
    """Whether the file system of a file has any room for this user."""
    try:
        state = os.statvfs(file if file.exists() else file.parent)
    except OSError:
        return True
    # A file system that does not count its inodes has none in all.
    return state.f_bavail > 0 and (state.f_favail > 0 or state.f_files == 0)


def trouble_of_file(error: OSError) -> Trouble:
    """What an error of the system says of a storage that is a file."""
    remedy = mended_by(error)
    fix = "the same command goes on with the study"
    fix = f"{remedy}; then {fix}" if remedy else fix
    if no_room(error):
        return Trouble(f"cannot be written: {FULL}", passes=True, for_room=True, fix=fix)
    reason = f"cannot be used: {error.strerror or error}"
    return Trouble(reason, passes=error.errno in _PASSING, fix=fix)


def _patience_s(trouble: Trouble) -> float:
    wait_s = float(os.environ.get(WAIT_VARIABLE, _WAIT_S)) if not check_wait() else _WAIT_S
    if trouble.for_room:
        wait_s = min(wait_s, _WAIT_FOR_ROOM_S)
    return min(wait_s, _STOPPING_S) if _stopping.is_set() else wait_s
