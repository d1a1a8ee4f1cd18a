"""Notices when a finished cache is no longer what was written: bits that flipped, pages lost."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

# Sums of pages tell one damaged page from another, and where it lies; a hash is made of the
# sums alone, so that all of it is as fast as reading the file.
_PAGE_BYTES = 4096
_CHUNK_BYTES = 2**20


def checksum_of(meta: Mapping[str, Any], files: Sequence[Path]) -> str:
    """Checksum of a cache: of what its meta data say and of every byte of its files.

    It finds damage, not forgery: whoever may write a cache may write its checksum as well.

    Args:
        meta: JSON-serialisable.
        files: In a fixed order.

    Raises:
        OSError: A file cannot be read.
    """
    digest = hashlib.blake2b(digest_size=16)
    digest.update(json.dumps(meta, sort_keys=True).encode())
    for path in files:
        digest.update(_digest_of(path))
    return digest.hexdigest()


def _digest_of(path: Path) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    buffer, num_bytes = bytearray(_CHUNK_BYTES), 0
    with path.open("rb") as file:
        # A buffered file fills the buffer up to the end of the file, whatever a disk hands over.
        while num := file.readinto(buffer):
            num_bytes += num
            whole = num - num % _PAGE_BYTES
            words = np.frombuffer(buffer, "<u8", whole // 8)
            digest.update(words.reshape(-1, _PAGE_BYTES // 8).sum(axis=1).tobytes())
            digest.update(buffer[whole:num])
    digest.update(num_bytes.to_bytes(8, "little"))
    return digest.digest()
