"""The image files of a folder and of all folders below it."""

from __future__ import annotations

import logging
import os
import stat
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from resnet_sweep.data.sources._trees import HIDDEN, Entry, Tree, is_image_name, shown
from resnet_sweep.faults import DataError, Fault

if TYPE_CHECKING:
    from PIL import Image

log = logging.getLogger(__name__)

# Somebody who has typed the root of a whole disk should see why nothing begins.
_PROGRESS_EVERY_S = 5.0
_NUM_NAMED = 10


class FolderTree(Tree):
    """A folder; symbolic links are followed, wherever they lead.

    What has the name of an image and is none that can be read (a link to nothing, a pipe, a
    device) is an entry: a broken image, which the user is told of.
    """

    def entries(self, *, ignored: frozenset[str] = frozenset()) -> list[Entry]:
        """All image files, sorted by path; only their folders are read, and their status."""
        scan = _Scan(self.root, ignored)
        scan.run()
        if scan.problems:
            raise DataError(self._unreadable_folders(scan.problems))
        return sorted(scan.found, key=lambda entry: entry.path)

    def open(self, path: str) -> Image.Image:
        """Opens one file."""
        from resnet_sweep.data.decode import open_image

        # A pipe would be waited for until somebody writes into it.
        kind = _kind_of(os.stat(self.root / path).st_mode)
        if kind != _FILE:
            raise ValueError(f"not a file but {kind}")
        return open_image(str(self.root / path))

    def _unreadable_folders(self, problems: list[tuple[str, OSError]]) -> list[Fault]:
        faults = [
            Fault(self.key, self.location(path) if path else shown(self.root), _cannot(error))
            for path, error in problems[:_NUM_NAMED]
        ]
        if len(problems) > _NUM_NAMED:
            rule = f"has {len(problems) - _NUM_NAMED} more folders that cannot be read"
            faults.append(Fault(self.key, shown(self.root), rule))
        return faults


def subfolders(folder: Path, key: str) -> set[str]:
    """Names of the folders in a folder that are not hidden, links to folders included.

    Raises:
        DataError: The folder cannot be read.
    """
    return {entry.name for entry in visible(folder, key) if _is_folder(entry)}


def visible(folder: Path, key: str) -> Iterator[os.DirEntry[str]]:
    """What is in a folder and not hidden.

    Raises:
        DataError: The folder cannot be read.
    """
    try:
        with os.scandir(folder) as entries:
            yield from (entry for entry in entries if not entry.name.startswith(HIDDEN))
    except OSError as error:
        raise DataError([Fault(key, shown(folder), _cannot(error))]) from error


_FILE = "a file"
_KINDS = (
    (stat.S_ISREG, _FILE),
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
)


def _kind_of(mode: int) -> str:
    return next((kind for is_kind, kind in _KINDS if is_kind(mode)), "a device")


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # A link to itself, for instance.
        return False


def _cannot(error: OSError) -> str:
    return f"cannot be read: {error.strerror or error}"


@dataclass(frozen=True, slots=True)
class _Folder:
    place: str  # on disk
    prefix: str  # below the root, with slashes


class _Scan:
    """One look at all folders below a root."""

    def __init__(self, root: Path, ignored: frozenset[str]) -> None:
        self.found: list[Entry] = []
        self.problems: list[tuple[str, OSError]] = []
        self._ignored = ignored
        # Not by recursion: folders can be nested deeper than Python's stack.
        self._open = deque([_Folder(str(root), "")])
        # Last: what is really here is not read through a link.
        self._links: deque[_Folder] = deque()
        self._seen: set[tuple[int, int]] = set()
        self._told_s = time.monotonic()

    def run(self) -> None:
        while self._open or self._links:
            folder = (self._open or self._links).popleft()
            try:
                self._look_into(folder)
            except OSError as error:
                self.problems.append((folder.prefix.rstrip("/"), error))
            self._log_progress()

    def _look_into(self, folder: _Folder) -> None:
        status = os.stat(folder.place)
        place = (status.st_dev, status.st_ino)
        if place in self._seen:
            # A link to a folder above, or the second of two that lead to the same place.
            log.warning("left out %s: its images are read elsewhere", shown(folder.place))
            return
        self._seen.add(place)
        with os.scandir(folder.place) as entries:
            # In one order on every machine: of two links to one folder the same is left out.
            children = sorted(entries, key=lambda entry: entry.name)
        for entry in children:
            if entry.name.startswith(HIDDEN):
                continue
            if _is_folder(entry):
                if entry.name.lower() not in self._ignored:
                    queue = self._links if entry.is_symlink() else self._open
                    queue.append(_Folder(entry.path, f"{folder.prefix}{entry.name}/"))
            elif is_image_name(entry.name):
                self.found.append(_entry_of(entry, folder.prefix + entry.name))

    def _log_progress(self) -> None:
        now_s = time.monotonic()
        if now_s - self._told_s >= _PROGRESS_EVERY_S:
            self._told_s = now_s
            log.info("looks for images: %d so far", len(self.found))


def _entry_of(entry: os.DirEntry[str], path: str) -> Entry:
    try:
        file = entry.stat()
    except OSError as error:
        return Entry(path, f"error {error.errno}", 0)
    kind = _kind_of(file.st_mode)
    if kind != _FILE:
        return Entry(path, kind, 0)
    return Entry(path, f"{file.st_size}-{file.st_mtime_ns}", file.st_size)
