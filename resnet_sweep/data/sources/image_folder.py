"""Any folder of class folders."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from resnet_sweep.data.config import ImageFolderConfig, folder_fault
from resnet_sweep.data.sources._base import Sample, Source
from resnet_sweep.data.sources._folders import FolderTree, subfolders, visible
from resnet_sweep.data.sources._trees import is_image_name, shown
from resnet_sweep.faults import DataError, Fault

if TYPE_CHECKING:
    from PIL import Image

_VAL_NAMES = ("val", "valid", "validation")
# A root that has only these is divided already; anything else in it is a class.
_SPLIT_NAMES = frozenset({"train", *_VAL_NAMES, "test"})
# Of many classes a message names so many.
_NUM_NAMED = 12


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
    names = subfolders(root, "data.root")
    if "train" in names and names <= _SPLIT_NAMES:
        train = root / "train"
        inside = [root / name for name in _VAL_NAMES if name in names]
        val = val or (inside[0] if inside else None)
    classes = tuple(sorted(subfolders(train, "data.root")))
    if not classes:
        raise DataError([_no_classes(train)])
    unknown = sorted(subfolders(val, "data.val_root") - set(classes)) if val else []
    if val is not None and unknown:
        raise DataError(
            [
                Fault(
                    "data.val_root",
                    shown(val),
                    f"has classes that {shown(train)} has not: {_listed(unknown)}",
                    tuple(map(shown, classes[:_NUM_NAMED])),
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
        tree = FolderTree(folder, key="data.root" if split != "val" else "data.val_root")
        labels = {name: label for label, name in enumerate(self._classes)}
        for entry in tree.entries():
            top, slash, _ = entry.path.partition("/")
            if slash:  # else an image beside the class folders, which has no class
                prefix = "" if split != "val" else "val:"
                # macOS spells letters with accents differently from Linux.
                name = prefix + unicodedata.normalize("NFC", entry.path)
                location = tree.location(entry.path)
                self._samples.append(
                    Sample(labels[top], name, entry.identity, location, split, entry.num_bytes)
                )
                self._files.append((tree, entry.path))


def _existing(key: str, value: str | None) -> Path:
    if value is None:
        raise DataError([Fault(key, None, "must be set", fix=f"type {key}=FOLDER of the images")])
    fault = folder_fault(key, value)
    if fault is not None:
        raise DataError([fault])
    return Path(value).expanduser()


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NUM_NAMED} more" if len(names) > _NUM_NAMED else ""
    return ", ".join(map(shown, names[:_NUM_NAMED])) + more


def _no_classes(folder: Path) -> Fault:
    num_images = sum(is_image_name(entry.name) for entry in visible(folder, "data.root"))
    return Fault(
        "data.root",
        shown(folder),
        f"must hold one folder for each class, but holds no folder and {num_images} images",
        fix="put the images of each class into a folder of its own",
    )
