"""A study in one file that grows by a line for each change, and survives a kill at any byte."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from optuna.storages import JournalStorage
from optuna.storages.journal import BaseJournalBackend

from resnet_sweep.faults import ConfigError, Fault
from resnet_sweep.study.locks import FileLock

# What is written is safe from a kill at once; from a power cut within about this time. One
# sync for each line would cost a trial some ten of them.
SYNC_EVERY_S = 1.0
_BLOCK_BYTES = 65536


def open_journal(path: Path) -> JournalStorage:
    """The storage in a journal file, which is made when it is not there.

    Args:
        path: The file. It can be read by Optuna's own JournalFileBackend as well.

    Raises:
        OSError: The file cannot be opened.
        ConfigError: A line within the file is damaged.
    """
    path = path.absolute()
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.open("ab").close()
    return JournalStorage(JournalFile(path))


class JournalFile(BaseJournalBackend):
    """The lines of a journal, each one record in JSON.

    A last line that is not whole was being written when its writer was killed. Readers do
    not count it; the next writer cuts it off, so that no record is ever glued to it. The
    file is its own lock file: unlike the lock of Optuna's backend nothing is left behind.

    Args:
        path: The file; it must exist before it is read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = FileLock(path)
        # Number and offset of the record that is read next.
        self._position = (0, 0)
        self._synced_at = 0.0

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
        """Records from a number on, without a last one that is not whole.

        Args:
            log_number_from: Number of the first record wanted, counted from 0.

        Raises:
            ConfigError: A line before the last is not a record.
        """
        if log_number_from < self._position[0]:
            self._position = (0, 0)
        number, offset = self._position
        for line in self._lines(offset):
            record = _decoded(line)
            if record is None:
                self._refuse_if_damaged(offset)
                return
            # Moved on before the record is handed out: its reader may raise over it, and
            # counts it all the same.
            number, offset = number + 1, offset + len(line)
            self._position = (number, offset)
            if number > log_number_from:
                yield record

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Writes records behind the last whole one.

        Args:
            logs: Records, each of values that JSON has.

        Raises:
            OSError: The file cannot be written, for instance because the disk is full.
        """
        lines = [json.dumps(log, separators=(",", ":")) + "\n" for log in logs]
        with self._lock:
            number = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666)
            try:
                _cut_torn_end(number)
                _write_all(number, "".join(lines).encode())
                self._sync(number)
            finally:
                os.close(number)

    def _lines(self, offset: int) -> Iterator[bytes]:
        """Lines that end, as far as the file reached at the start."""
        with self.path.open("rb") as file:
            num_left = os.fstat(file.fileno()).st_size - offset
            file.seek(offset)
            for line in file:
                num_left -= len(line)
                if num_left < 0 or not line.endswith(b"\n"):
                    return
                yield line

    def _refuse_if_damaged(self, offset: int) -> None:
        # Under the lock nobody is just cutting and writing there.
        with self._lock:
            records = [_decoded(line) for line in self._lines(offset)]
        if any(records) and records[0] is None:
            rule = (
                f"the line at byte {offset} is not a record; another program has written to the"
                " file, or the disk has damaged it"
            )
            fix = "remove that line, which loses what it held"
            raise ConfigError([Fault("hydra.sweeper.storage", str(self.path), rule, fix=fix)])

    def _sync(self, number: int) -> None:
        now = time.monotonic()
        if now - self._synced_at >= SYNC_EVERY_S:
            os.fdatasync(number)
            self._synced_at = now


def _decoded(line: bytes) -> dict[str, Any] | None:
    """The record of a line; None when the line is none."""
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) else None


def _cut_torn_end(number: int) -> None:
    """Shortens the open file to the end of its last whole record."""
    size = end = os.fstat(number).st_size
    while end:
        start = _start_of_last_line(number, end)
        line = os.pread(number, end - start, start)
        if line.endswith(b"\n") and _decoded(line) is not None:
            break
        end = start
    if end < size:
        os.ftruncate(number, end)


def _start_of_last_line(number: int, end: int) -> int:
    # The line's own newline, if it has one, is its last byte.
    searched = end - 1
    while searched > 0:
        start = max(0, searched - _BLOCK_BYTES)
        found = os.pread(number, searched - start, start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        searched = start
    return 0


def _write_all(number: int, data: bytes) -> None:
    while data:
        data = data[os.write(number, data) :]
