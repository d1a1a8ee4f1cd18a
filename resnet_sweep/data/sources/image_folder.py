"""Any folder of class folders."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from resnet_sweep.data.config import ImageFolderConfig
from resnet_sweep.data.sources._base import Sample, Source
from resnet_sweep.data.sources._trees import FolderTree, is_image_name
from resnet_sweep.faults import DataError, Fault

if TYPE_CHECKING:
    from PIL import Image

_VAL_NAMES = ("val", "valid", "validation")
# A root that has only these is divided already; anything else in it is a class.
_SPLIT_NAMES = frozenset({"train", *_VAL_NAMES, "test"})


@dataclass(frozen=True)
class Folders:
    """Where the class folders are.

    Attributes:
        train: Folder of the training side's class folders.
        val: Folder of the validation images' class folders, or None.
        classes: Names of the training side's class folders, sorted.
    """

    train: Path
    val: Path | None
    classes: tuple[str, ...]


def find_folders(config: ImageFolderConfig) -> Folders:
    """Finds the class folders without looking into them.

    Raises:
        DataError: There are none, or validation has classes that training has not.
    """
    root = _existing("data.root", config.root)
    val = None if config.val_root is None else _existing("data.val_root", config.val_root)
    train = root
    names = _subfolders(root)
    if "train" in names and names <= _SPLIT_NAMES:
        train = root / "train"
        inside = [root / name for name in _VAL_NAMES if name in names]
        val = val or (inside[0] if inside else None)
    classes = tuple(sorted(_subfolders(train)))
    if not classes:
        raise DataError([_no_classes(train)])
    unknown = sorted(_subfolders(val) - set(classes)) if val else []
    if unknown:
        raise DataError(
            [
                Fault(
                    "data.val_root",
                    str(val),
                    f"has classes that {train} has not: {', '.join(unknown)}",
                    classes,
                )
            ]
        )
    return Folders(train, val, classes)


class ImageFolder(Source):
    """A folder with one folder a class, and another like it for validation where there is one."""

    def __init__(self, config: ImageFolderConfig) -> None:
        folders = find_folders(config)
        self._classes = folders.classes
        self._samples: list[Sample] = []
        self._files: list[tuple[FolderTree, str]] = []
        self._add(folders.train, None if folders.val is None else "train")
        if folders.val is not None:
            self._add(folders.val, "val")

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the class folders, sorted."""
        return self._classes

    def samples(self) -> Sequence[Sample]:
        """Every image below a class folder, however deep."""
        return self._samples

    def open(self, index: int) -> Image.Image:
        """Opens one file."""
        tree, path = self._files[index]
        return tree.open(path)

    def _add(self, folder: Path, split: Literal["train", "val"] | None) -> None:
        tree = FolderTree(folder)
        labels = {name: label for label, name in enumerate(self._classes)}
        for entry in tree.entries():
            top, slash, _ = entry.path.partition("/")
            if slash:  # else an image beside the class folders, which has no class
                prefix = "" if split != "val" else "val:"
                # macOS spells letters with accents differently from Linux.
                name = prefix + unicodedata.normalize("NFC", entry.path)
                location = tree.location(entry.path)
                self._samples.append(Sample(labels[top], name, entry.identity, location, split))
                self._files.append((tree, entry.path))


def _existing(key: str, value: str | None) -> Path:
    if value is None:
        raise DataError([Fault(key, None, "must be set", fix=f"type {key}=FOLDER of the images")])
    path = Path(value).expanduser()
    if not path.is_dir():
        rule = "is not a folder" if path.exists() else "does not exist"
        raise DataError([Fault(key, value, rule)])
    return path


def _subfolders(folder: Path) -> set[str]:
    return {entry.name for entry in _visible(folder) if entry.is_dir()}


def _visible(folder: Path) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            yield from (entry for entry in entries if not entry.name.startswith((".", "__MACOSX")))
    except OSError as error:
        raise DataError([Fault("data.root", str(folder), f"cannot be read: {error}")]) from error


def _no_classes(folder: Path) -> Fault:
    num_images = sum(is_image_name(entry.name) for entry in _visible(folder))
    return Fault(
        "data.root",
        str(folder),
        f"must hold one folder for each class, but holds no folder and {num_images} images",
        fix="put the images of each class into a folder of its own",
    )
