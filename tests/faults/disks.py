"""What a stage does to a disk: commands for the shell."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

FULL = "head -c 1G /dev/zero > {0}/ballast 2> /dev/null"


@contextmanager
def turning_read_only(path: Path) -> Iterator[str]:
    """The command after which nothing in a folder can be written, also by root; needs root.

    It shadows the folder with a view of itself that was made read-only before: whoever has a file
    open keeps it, as on a disk that fails. Shadowed first and made read-only then, somebody may
    open a file to write between the two, and the second is refused.
    """
    path.mkdir(exist_ok=True)
    view = path.with_name(f"{path.name}.read_only")
    view.mkdir()
    mount = f"mount --bind {path} {view} && mount -o remount,bind,ro {view}"
    if subprocess.run(["sh", "-c", mount], capture_output=True).returncode:
        pytest.skip("only root can make a file system read-only")
    try:
        yield f"mount --bind {view} {path}"
    finally:
        if os.statvfs(path).f_flag & os.ST_RDONLY:
            writable_again(path)
        subprocess.run(["umount", "--lazy", str(view)], check=True)


@contextmanager
def read_only(path: Path) -> Iterator[None]:
    """While entered nothing in a folder can be written, also by root; needs root."""
    with turning_read_only(path) as command:
        subprocess.run(command.split(), check=True)
        yield


def writable_again(path: Path) -> None:
    """Undoes what the command of ``turning_read_only`` did."""
    subprocess.run(["umount", "--lazy", str(path)], check=True)
