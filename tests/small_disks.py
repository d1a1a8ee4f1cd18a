"""File systems that are full soon."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_BLOCK_BYTES = 4096


@contextmanager
def small_disk(path: Path, size_kib: int) -> Iterator[Path]:
    """A file system in memory at a path, for as long as the block runs; needs root."""
    path.mkdir(exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size_kib}k,mode=0777", "tmpfs", str(path)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("only root can mount a small file system")
    try:
        yield path
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


def fill(disk: Path, num_left: int = 0) -> Path:
    """Fills a disk but for so many blocks of 4 KiB; the file to remove to make room again."""
    filler = disk / "filler"
    block = b"\1" * _BLOCK_BYTES
    with filler.open("wb", buffering=0) as file:
        try:
            while file.write(block) == _BLOCK_BYTES:
                pass
        except OSError:
            pass
        file.truncate(max(0, file.tell() // _BLOCK_BYTES - num_left) * _BLOCK_BYTES)
    return filler
