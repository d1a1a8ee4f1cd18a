"""Trees of image files: folders, and zip files that are read without unpacking."""

from __future__ import annotations

import io
import os
import zipfile
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from resnet_sweep.faults import DataError, Fault

if TYPE_CHECKING:
    from PIL import Image

IMAGE_SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".jfif", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
)
# Left by macOS and Jupyter beside the images, with images' suffixes.
_HIDDEN = (".", "__MACOSX")


@dataclass(frozen=True, slots=True)
class Entry:
    """One image file of a tree: its path below the root, with slashes, and its identity."""

    path: str
    identity: str


class Tree(ABC):
    """Image files below a root. Hidden files and other suffixes are not seen."""

    def __init__(self, root: Path, *, key: str = "data.root") -> None:
        self.root = root
        self.key = key

    @abstractmethod
    def entries(self, *, ignored: frozenset[str] = frozenset()) -> list[Entry]:
        """All image files, sorted by path, without those below folders of an ignored name."""

    @abstractmethod
    def open(self, path: str) -> Image.Image:
        """Opens one entry's image; called by many threads at once."""

    def location(self, path: str) -> str:
        """Where a user finds an entry."""
        return f"{self.root}/{path}"

    def _unreadable(self, error: Exception) -> DataError:
        return DataError([Fault(self.key, str(self.root), f"cannot be read: {error}")])


class FolderTree(Tree):
    """A folder; symbolic links are followed."""

    def entries(self, *, ignored: frozenset[str] = frozenset()) -> list[Entry]:
        """All image files, sorted by path; only their folders are read, and their status."""
        found: list[Entry] = []
        seen: set[tuple[int, int]] = set()
        try:
            self._scan(self.root, "", ignored, found, seen)
        except OSError as error:
            raise self._unreadable(error) from error
        return sorted(found, key=lambda entry: entry.path)

    def open(self, path: str) -> Image.Image:
        """Opens one file."""
        from PIL import Image

        return Image.open(self.root / path)

    def _scan(
        self,
        folder: str | os.PathLike[str],
        prefix: str,
        ignored: frozenset[str],
        found: list[Entry],
        seen: set[tuple[int, int]],
    ) -> None:
        status = os.stat(folder)
        place = (status.st_dev, status.st_ino)
        if place in seen:  # a link to a folder above
            return
        seen.add(place)
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith(_HIDDEN):
                    continue
                if entry.is_dir():
                    if entry.name.lower() not in ignored:
                        self._scan(entry.path, f"{prefix}{entry.name}/", ignored, found, seen)
                elif is_image_name(entry.name) and entry.is_file():
                    file = entry.stat()
                    identity = f"{file.st_size}-{file.st_mtime_ns}"
                    found.append(Entry(prefix + entry.name, identity))


class ZipTree(Tree):
    """A zip file; members are read in memory, so no path in it can escape to the disk."""

    def __init__(self, root: Path, *, key: str = "data.root") -> None:
        super().__init__(root, key=key)
        try:
            self._zip = zipfile.ZipFile(root)
        except (OSError, zipfile.BadZipFile) as error:
            raise self._unreadable(error) from error

    def entries(self, *, ignored: frozenset[str] = frozenset()) -> list[Entry]:
        """All image members, sorted by path; only the zip's table of contents is read."""
        found = {}
        for info in self._zip.infolist():
            *folders, name = info.filename.split("/")
            hidden = any(part.startswith(_HIDDEN) for part in (*folders, name))
            unwanted = any(folder.lower() in ignored for folder in folders)
            if is_image_name(name) and not hidden and not unwanted:
                identity = f"{info.file_size}-{info.CRC:08x}"
                found[info.filename] = Entry(info.filename, identity)
        return [found[path] for path in sorted(found)]

    def open(self, path: str) -> Image.Image:
        """Opens one member's image."""
        from PIL import Image

        return Image.open(io.BytesIO(self._zip.read(path)))

    def zips_inside(self) -> list[str]:
        """Names of the zip files in this zip file."""
        return [name for name in self._zip.namelist() if name.lower().endswith(".zip")]


def is_image_name(name: str) -> bool:
    """Whether a file name has the suffix of an image."""
    return os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES
