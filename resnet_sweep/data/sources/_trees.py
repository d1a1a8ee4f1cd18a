"""Trees of image files, on disk as a folder or inside a zip file."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image

IMAGE_SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".jfif", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
)
# Left by macOS and Jupyter beside the images, with images' suffixes.
HIDDEN = (".", "__MACOSX")


@dataclass(frozen=True, slots=True)
class Entry:
    """One image file of a tree: its path below the root, with slashes, and what it is known by."""

    path: str
    identity: str
    num_bytes: int


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
        """Where a user finds an entry, for messages."""
        return shown(f"{self.root}/{path}")


def shown(path: str | Path) -> str:
    """A path in one line of letters that every terminal and file takes.

    Line breaks and the like in names, and bytes that are no text, become escapes.
    """
    text = str(path)
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _escape(char) for char in text)


def _escape(char: str) -> str:
    raw = char.encode(errors="surrogateescape")
    if len(raw) == 1:
        return char.encode("unicode_escape").decode() if char < "\x80" else f"\\x{raw[0]:02x}"
    return char.encode("unicode_escape").decode()


def is_image_name(name: str) -> bool:
    """Whether a file name has the suffix of an image."""
    return os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES
