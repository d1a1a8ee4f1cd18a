"""A lock between processes that share a folder."""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

log = logging.getLogger(__name__)


@contextmanager
def locked(path: Path, purpose: str) -> Iterator[bool]:
    """Holds an exclusive lock on a file until the block ends; the system frees it on a crash.

    The file stays: removing it would let two processes lock two files of one name.

    Args:
        path: The lock file; its folder must exist.
        purpose: What the holder does, for the log: "decodes the images".

    Yields:
        Whether the lock is held; False where the file system has no locks, so that whatever
        is done inside must be correct, if wasteful, without.
    """
    # Not through a link: in a cache that is shared anybody may have laid one.
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    with open(handle, "r+b") as file:
        held = True
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.info("waiting while another process %s (%s)", purpose, path)
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as error:
            log.debug("no lock on %s: %s", path, error)
            held = False
        yield held
