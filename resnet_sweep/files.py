"""Files that are written whole or not at all."""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_SUFFIX = ".tmp"
_MENDED_BY = {
    errno.ENOSPC: "make room",
    errno.EDQUOT: "make room",
    errno.EROFS: "make it writable",
    errno.EACCES: "make it writable",
    errno.EPERM: "make it writable",
    errno.ENOTDIR: "choose another folder",
    errno.EIO: "look at the disk",
}


def mended_by(error: OSError) -> str | None:
    """What the user can do about a file that cannot be written; None of any other error.

    Args:
        error: Of the file system.
    """
    return _MENDED_BY.get(error.errno or 0)


def is_disk_full(error: OSError) -> bool:
    """Whether nothing more can be written to a disk, whoever tries; not of a broken one."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Gives a temporary name beside ``path`` and moves it into place when all went well.

    A reader sees the old file or the new one, never half of one, also when the process
    is killed in between.

    Raises:
        OSError: With the file's name, also where the system has only told of a failed write.
    """
    temporary, number = _begun(path)
    try:
        yield temporary
        temporary.replace(path)
    except OSError as error:
        if error.filename is None or str(error.filename) == str(temporary):
            error.filename = str(path)
        raise
    finally:
        os.close(number)
        temporary.unlink(missing_ok=True)


def _begun(path: Path) -> tuple[Path, int]:
    """A temporary file beside ``path``, locked as long as somebody is writing it."""
    while True:
        # Not tempfile's, which would make the file private to the user for good.
        temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}{_SUFFIX}")
        try:
            number = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        except OSError as error:
            error.filename = str(path)
            raise
        # A file system without locks has no other processes either, or they do not tidy there.
        with suppress(OSError):
            fcntl.flock(number, fcntl.LOCK_EX)
        if temporary.exists():
            return temporary, number
        # Somebody who tidied was quicker than the lock.
        os.close(number)


def remove_left(folder: Path, *, deep: bool = False) -> None:
    """Removes temporary files whose writers were killed; those that are being written stay.

    Args:
        folder: Where ``replacing`` wrote.
        deep: In all folders below as well.
    """
    pattern = f".*{_SUFFIX}"
    for path in folder.rglob(pattern) if deep else folder.glob(pattern):
        try:
            number = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink(missing_ok=True)
        except BlockingIOError:
            continue
        finally:
            os.close(number)
