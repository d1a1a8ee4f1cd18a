"""A study in one file that grows by a line for each change, and survives a kill at any byte."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from optuna import __version__
from optuna.storages import JournalStorage
from optuna.storages.journal import BaseJournalBackend
from optuna.storages.journal._storage import JournalOperation

from resnet_sweep.faults import Fault, StorageError, UserError
from resnet_sweep.study.locks import FileLock, is_held
from resnet_sweep.study.storages.patience import KEY, Patience, Trouble, trouble_of_file

log = logging.getLogger(__name__)

# What is written is safe from a kill at once; from a power cut within about this time. One
# sync for each line would cost a trial some ten of them.
SYNC_EVERY_S = 1.0
_BLOCK_BYTES = 65536
# So many bytes before the place that is read next must be what they were.
_MARK_BYTES = 64
_KNOWN = frozenset(int(operation) for operation in JournalOperation)


def open_journal(path: Path, *, creates: bool = True) -> JournalStorage:
    """The storage in a journal file, which is made when it is not there.

    Args:
        path: The file. It can be read by Optuna's own JournalFileBackend as well.
        creates: A missing file is made; who only reads makes none.

    Raises:
        OSError: The file cannot be opened.
        StorageError: A line within the file is damaged, or means nothing to this Optuna.
    """
    path = path.absolute()
    if creates and not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.open("ab").close()
    return _CheckedStorage(JournalFile(path))


def torn_copy(path: Path) -> Path:
    """The file that keeps what is cut off from a journal."""
    return path.with_name(f"{path.name}.torn")


@dataclass(frozen=True)
class TornEnd:
    """Bytes behind the last whole record of a journal.

    Attributes:
        path: The journal.
        start: Offset of the first of them.
        num_bytes: How many.
    """

    path: Path
    start: int
    num_bytes: int

    def __str__(self) -> str:
        count = "1 byte" if self.num_bytes == 1 else f"{self.num_bytes} bytes"
        return (
            f"{self.path}: the last {count}, from byte {self.start} on, are no whole record:"
            " whoever wrote them was killed, or the power failed"
        )


class JournalFile(BaseJournalBackend):
    """The lines of a journal, each one record in JSON.

    A last line that is not whole was being written when its writer was killed. Readers do
    not count it; the next writer cuts it off, so that no record is ever glued to it, keeps it
    in a file beside and says so. The file is its own lock file: unlike the lock of Optuna's
    backend nothing is left behind.

    Args:
        path: The file; it must exist before it is read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        # Offset of the record that was read last, and the record.
        self.last_read: tuple[int, dict[str, Any]] = (0, {})
        self.patience = Patience(str(path), _trouble_of)
        self._lock = FileLock(path)
        # Number and offset of the record that is read next.
        self._position = (0, 0)
        self._mark = b""
        self._synced_at = 0.0

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
        """Records from a number on, without a last one that is not whole.

        Args:
            log_number_from: Number of the first record wanted, counted from 0.

        Raises:
            StorageError: A line before the last is not a record; the file is gone, or is not
                the one that was read before.
        """
        if log_number_from < self._position[0]:
            self._position, self._mark = (0, 0), b""
        number, offset = self._position
        for line in self._lines(offset):
            record = _decoded(line)
            if record is None:
                self._refuse_if_damaged(offset)
                return
            # Moved on before the record is handed out: its reader may raise over it, and
            # counts it all the same.
            self.last_read = (offset, record)
            number, offset = number + 1, offset + len(line)
            self._position = (number, offset)
            self._mark = (self._mark + line)[-_MARK_BYTES:]
            if number > log_number_from:
                yield record

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Writes records behind the last whole one, all or none of them.

        Args:
            logs: Records, each of values that JSON has.

        Raises:
            StorageError: The file cannot be written, for instance because the disk is full.
        """
        lines = [json.dumps(log, separators=(",", ":")) + "\n" for log in logs]
        data = "".join(lines).encode()
        self.patience.call(lambda: self._append(data))

    def torn_end(self) -> TornEnd | None:
        """What nobody is writing, and is no whole record at the end; nothing is changed."""
        found = self._torn_end()
        # A writer at work holds the lock until its line is whole.
        if found is None or is_held(self.path) or self._torn_end() != found:
            return None
        return found

    def repair(self) -> TornEnd | None:
        """Cuts off what is no whole record at the end, keeps it beside the journal, says so.

        Returns:
            What was cut; None where the journal was whole.

        Raises:
            StorageError: The file cannot be written.
        """

        def cut() -> TornEnd | None:
            with self._lock:
                number = os.open(self.path, os.O_RDWR)
                try:
                    return self._cut_torn_end(number)
                finally:
                    os.close(number)

        return self.patience.call(cut)

    def _append(self, data: bytes) -> None:
        if not self.path.exists():
            # To take the lock would make an empty one.
            raise StorageError([_is_gone(self.path)])
        with self._lock:
            number = os.open(self.path, os.O_RDWR | os.O_APPEND)
            try:
                self._refuse_if_replaced(number)
                self._cut_torn_end(number)
                end = os.fstat(number).st_size
                try:
                    _write_all(number, data)
                    self._sync(number)
                except BaseException:
                    # Nobody has read it yet, and it is not to be left half.
                    os.ftruncate(number, end)
                    raise
            finally:
                os.close(number)

    def _lines(self, offset: int) -> Iterator[bytes]:
        """Lines that end, as far as the file reached at the start."""
        try:
            file: IO[bytes] = self.path.open("rb")
        except FileNotFoundError:
            raise StorageError([_is_gone(self.path)]) from None
        with file:
            num_left = os.fstat(file.fileno()).st_size - offset
            self._refuse_if_replaced(file.fileno())
            file.seek(offset)
            for line in file:
                num_left -= len(line)
                if num_left < 0 or not line.endswith(b"\n"):
                    return
                yield line

    def _refuse_if_replaced(self, number: int) -> None:
        """Whether the open file still begins with what was read from it."""
        start = self._position[1] - len(self._mark)
        if os.pread(number, len(self._mark), start) != self._mark:
            rule = (
                f"was cut short, replaced or changed before byte {self._position[1]} while it was"
                " in use"
            )
            fix = "put the journal back as it was; then the same command goes on with the study"
            raise StorageError([Fault(KEY, str(self.path), rule, fix=fix)])

    def _refuse_if_damaged(self, offset: int) -> None:
        try:
            # Under the lock nobody is just cutting and writing there.
            with self._lock:
                records = [_decoded(line) for line in self._lines(offset)]
        except PermissionError:
            # Who may only read cannot lock.
            records = [_decoded(line) for line in self._lines(offset)]
        if any(records) and records[0] is None:
            rule = (
                f"the line at byte {offset} is not a record; another program has written to the"
                " file, or the disk has damaged it"
            )
            fix = "remove that line, which loses what it held"
            raise StorageError([Fault(KEY, str(self.path), rule, fix=fix)])

    def _torn_end(self) -> TornEnd | None:
        number = os.open(self.path, os.O_RDONLY)
        try:
            size, end = os.fstat(number).st_size, _end_of_records(number)
        finally:
            os.close(number)
        return TornEnd(self.path, end, size - end) if end < size else None

    def _cut_torn_end(self, number: int) -> TornEnd | None:
        """Shortens the open file, whose lock is held, to the end of its last whole record."""
        size, end = os.fstat(number).st_size, _end_of_records(number)
        if end == size:
            return None
        torn, copy = TornEnd(self.path, end, size - end), torn_copy(self.path)
        when = time.strftime("%Y-%m-%d %H:%M:%S")
        with copy.open("ab") as kept:
            kept.write(f"# {when}: from byte {end} on, {size - end} bytes\n".encode())
            for start in range(end, size, _BLOCK_BYTES):
                kept.write(os.pread(number, min(_BLOCK_BYTES, size - start), start))
            kept.write(b"\n")
            kept.flush()
            os.fsync(kept.fileno())
        os.ftruncate(number, end)
        log.warning("%s; cut off, and kept in %s", torn, copy)
        return torn

    def _sync(self, number: int) -> None:
        now = time.monotonic()
        if now - self._synced_at >= SYNC_EVERY_S:
            os.fdatasync(number)
            self._synced_at = now


class _CheckedStorage(JournalStorage):
    """Tells of records that Optuna cannot take in, where they stand in the file."""

    _backend: JournalFile

    def _sync_with_backend(self) -> None:
        # Goes on behind the last record that it has taken in.
        self._backend.patience.call(self._take_in, writes=False)

    def _take_in(self) -> None:
        try:
            super()._sync_with_backend()
        except (UserError, OSError):
            raise
        except Exception as error:
            offset, record = self._backend.last_read
            if record.get("worker_id") == self._replay_result.worker_id:
                # What Optuna says of what this process has just asked for.
                raise
            raise StorageError([_not_understood(self._backend.path, offset, record)]) from error


def _trouble_of(error: Exception) -> Trouble | None:
    return trouble_of_file(error) if isinstance(error, OSError) else None


def _not_understood(path: Path, offset: int, record: Mapping[str, Any]) -> Fault:
    operation = record.get("op_code")
    if isinstance(operation, int) and operation not in _KNOWN:
        rule = (
            f"the record at byte {offset} is of a kind ({operation}) that Optuna {__version__} does"
            " not know: a newer Optuna has written it"
        )
        return Fault(KEY, str(path), rule, fix="pip install -U optuna")
    rule = f"the record at byte {offset} is not one of Optuna's: it was edited, or damaged"
    return Fault(KEY, str(path), rule, fix="remove that line, which loses what it held")


def _is_gone(path: Path) -> Fault:
    fix = "put it back; then the same command goes on with the study"
    return Fault(KEY, str(path), "is gone: the file was removed or renamed", fix=fix)


def _decoded(line: bytes) -> dict[str, Any] | None:
    """The record of a line; None when the line is none."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def _end_of_records(number: int) -> int:
    """Where the last whole record of the open file ends."""
    end = os.fstat(number).st_size
    while end:
        start = _start_of_last_line(number, end)
        line = os.pread(number, end - start, start)
        if line.endswith(b"\n") and _decoded(line) is not None:
            break
        end = start
    return end


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
