"""The image files of a zip file, which is never unpacked."""

from __future__ import annotations

import io
import stat
import zipfile
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from resnet_sweep.data.sources._trees import HIDDEN, Entry, Tree, is_image_name, shown
from resnet_sweep.faults import DataError, Fault

if TYPE_CHECKING:
    from PIL import Image

# Most bytes that one image of a zip file may have when it is unpacked, in memory.
MAX_IMAGE_BYTES = 256 * 2**20
# Images hardly shrink, so that a zip file of so many times its size is no collection of them.
MAX_RATIO = 100
_METHODS = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})
_CHUNK_BYTES = 2**20
_ENCRYPTED = 0x1
_FIRST_BYTES = b"PK\x03\x04"


class ZipTree(Tree):
    """A zip file; members are read in memory, so no name in it can escape to the disk."""

    def __init__(self, root: Path, *, key: str = "data.root") -> None:
        """Reads the table of contents.

        Args:
            root: The zip file.
            key: Of the configuration, for messages.

        Raises:
            DataError: It is no zip file, or one that cannot be read, or that unpacks to far
                more than images would.
        """
        super().__init__(root, key=key)
        try:
            with root.open("rb") as file:
                first = file.read(len(_FIRST_BYTES))
            if not zipfile.is_zipfile(root):
                raise DataError([self._no_zip(first)])
            self._zip = zipfile.ZipFile(root)
        except DataError:
            raise
        except Exception as error:  # of many types, for what is wrong in a table of contents
            rule = f"cannot be read: {error or type(error).__name__}"
            raise DataError([Fault(key, shown(root), rule)]) from error
        self._members = {
            _plain(info.filename): info for info in self._zip.infolist() if not info.is_dir()
        }

    def entries(self, *, ignored: frozenset[str] = frozenset()) -> list[Entry]:
        """All image members, sorted by path; only the zip's table of contents is read."""
        found, num_bytes = [], 0
        for path, info in self._members.items():
            *folders, name = path.split("/")
            hidden = any(part.startswith(HIDDEN) for part in (*folders, name))
            unwanted = any(folder.lower() in ignored for folder in folders)
            if is_image_name(name) and not hidden and not unwanted:
                identity = f"{info.file_size}-{info.CRC:08x}"
                found.append(Entry(path, identity, info.file_size))
                num_bytes += info.file_size
        most = MAX_RATIO * max(self.root.stat().st_size, _CHUNK_BYTES)
        if num_bytes > most:
            rule = (
                f"would unpack to {num_bytes / 1e9:.1f} GB, more than {MAX_RATIO} times its own "
                "size: it is no collection of images"
            )
            raise DataError([Fault(self.key, shown(self.root), rule)])
        return sorted(found, key=lambda entry: entry.path)

    def open(self, path: str) -> Image.Image:
        """Opens one member's image."""
        from resnet_sweep.data.decode import open_image

        return open_image(io.BytesIO(self._read(self._members[path])))

    @cached_property
    def zips_inside(self) -> list[str]:
        """Names of the zip files in this zip file."""
        return [path for path in self._members if path.lower().endswith(".zip")]

    def _read(self, info: zipfile.ZipInfo) -> bytes:
        if info.flag_bits & _ENCRYPTED:
            raise ValueError("encrypted; unzip it and set data.root to the folder")
        if info.compress_type not in _METHODS:
            method = info.compress_type
            raise ValueError(f"compressed by method {method} of zip files; only 0 and 8 are read")
        if stat.S_ISLNK(info.external_attr >> 16):
            raise ValueError("not a file but a symbolic link")
        if info.file_size > MAX_IMAGE_BYTES:
            size, most = info.file_size / 1e9, MAX_IMAGE_BYTES / 1e9
            raise ValueError(f"too large: it unpacks to {size:.1f} GB, at most {most:.2f} are read")
        # In pieces: asked for all at once, it would unpack more than is declared, and cut it.
        with self._zip.open(info) as member:
            return b"".join(iter(lambda: member.read(_CHUNK_BYTES), b""))

    def _no_zip(self, first: bytes) -> Fault:
        if first == _FIRST_BYTES:
            rule = "is a zip file that was cut short: the table of contents at its end is missing"
            fix = "copy or download it again"
            return Fault(self.key, shown(self.root), rule, fix=fix)
        return Fault(self.key, shown(self.root), "is neither a folder nor a zip file")


def _plain(name: str) -> str:
    """A member's name with slashes alone: programs of Windows have written backslashes."""
    return "/".join(part for part in name.replace("\\", "/").split("/") if part != ".")
