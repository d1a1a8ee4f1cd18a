"""What a stage does to a disk: commands for the shell."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

# Shadows a folder with itself: whoever has a file open keeps it, as on a disk that fails.
READ_ONLY = "mount --bind {0} {0} && mount -o remount,bind,ro {0}"
FULL = "head -c 1G /dev/zero > {0}/ballast 2> /dev/null"


@contextmanager
def read_only(path: Path) -> Iterator[None]:
    """While entered nothing in a folder can be written, also by root; needs root."""
    path.mkdir(exist_ok=True)
    made = subprocess.run(["sh", "-c", READ_ONLY.format(path)], capture_output=True)
    if made.returncode:
        pytest.skip("only root can make a file system read-only")
    try:
        yield
    finally:
        writable_again(path)


def writable_again(path: Path) -> None:
    """Undoes READ_ONLY."""
    subprocess.run(["umount", "--lazy", str(path)], check=True)
