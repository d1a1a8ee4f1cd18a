"""Files that are written whole or not at all."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Gives a temporary name beside ``path`` and moves it into place when all went well.

    A reader sees the old file or the new one, never half of one, also when the process
    is killed in between.

    Raises:
        OSError: With the file's name, also where the system has only told of a failed write.
    """
    # Not tempfile's, which would make the file private to the user for good.
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        yield temporary
        temporary.replace(path)
    except OSError as error:
        if error.filename is None or str(error.filename) == str(temporary):
            error.filename = str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)
