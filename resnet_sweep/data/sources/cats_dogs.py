"""Kaggle's cats and dogs, in every layout that people have."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from resnet_sweep.data.config import CatsDogsConfig, root_fault
from resnet_sweep.data.sources._base import Sample, Source
from resnet_sweep.data.sources._folders import FolderTree, visible
from resnet_sweep.data.sources._trees import Entry, Tree, shown
from resnet_sweep.data.sources._zips import ZipTree
from resnet_sweep.faults import DataError, Fault

if TYPE_CHECKING:
    from PIL import Image

CLASSES = ("cat", "dog")
_LABELS = {"cat": 0, "cats": 0, "dog": 1, "dogs": 1}
_FLAT_NAME = re.compile(r"(cat|dog)\.(.+)", re.IGNORECASE | re.DOTALL)
# Images without labels.
_IGNORED = frozenset({"test", "test1"})
_LAYOUTS = (
    "train/cat.0.jpg, PetImages/Cat/0.jpg, class folders such as cats/ and dogs/, "
    "or a zip file of one of these"
)


class CatsDogs(Source):
    """25,000 cats and dogs: flat, as PetImages, in class folders, or a zip of any of them."""

    def __init__(self, config: CatsDogsConfig) -> None:
        self._tree, found = _find(config)
        self._found = _one_base(self._tree, found)
        names = Counter(image.name for image in self._found)
        self._samples = [
            Sample(
                image.label,
                # Two files that differ in their suffix alone keep it.
                image.name if names[image.name] == 1 else image.name + image.suffix,
                image.entry.identity,
                self._tree.location(image.entry.path),
                num_bytes=image.entry.num_bytes,
            )
            for image in self._found
        ]

    @property
    def classes(self) -> tuple[str, ...]:
        """Cat and dog."""
        return CLASSES

    def samples(self) -> Sequence[Sample]:
        """Every labelled image, under names like cat.123."""
        return self._samples

    def open(self, index: int) -> Image.Image:
        """Opens one file or zip member."""
        return self._tree.open(self._found[index].entry.path)


@dataclass(frozen=True, slots=True)
class _Labelled:
    entry: Entry
    label: int
    name: str
    suffix: str
    base: str  # the folder that the layout starts in


def _label(entry: Entry) -> _Labelled | None:
    """Class and canonical name by the folder, else by the file's own name."""
    *folders, file = entry.path.split("/")
    stem, _, suffix = file.rpartition(".")
    match = _FLAT_NAME.fullmatch(stem)
    label = _LABELS.get(folders[-1].lower()) if folders else None
    if label is not None:
        own = match is not None and _LABELS[match[1].lower()] == label
        rest = match[2] if match is not None and own else stem
        base = "/".join(folders[:-1])
    elif match is not None:
        label, rest, base = _LABELS[match[1].lower()], match[2], "/".join(folders)
    else:
        return None
    return _Labelled(entry, label, f"{CLASSES[label]}.{rest}", f".{suffix}", base)


def _find(config: CatsDogsConfig) -> tuple[Tree, list[_Labelled]]:
    if config.root is None:
        raise DataError(
            [Fault("data.root", None, "must be set", fix="type data.root=FOLDER of the images")]
        )
    fault = root_fault("data.root", config.root)
    if fault is not None:
        raise DataError([fault])
    root = Path(config.root).expanduser()
    if root.is_file():
        return _find_in_zip(root)
    tree = FolderTree(root)
    entries = tree.entries(ignored=_IGNORED)
    found = [image for image in map(_label, entries) if image is not None]
    if found:
        return tree, found
    zips = sorted(
        Path(entry.path)
        for entry in visible(root, "data.root")
        if (name := entry.name.lower()).endswith(".zip")
        and name.removesuffix(".zip") not in _IGNORED
        and entry.is_file()
    )
    if len(zips) == 1:
        return _find_in_zip(zips[0])
    what = (
        f"holds several zip files ({', '.join(shown(path.name) for path in zips)})" if zips else ""
    )
    raise DataError([_not_recognised(root, what or f"holds {len(entries)} images without a class")])


def _find_in_zip(path: Path) -> tuple[Tree, list[_Labelled]]:
    tree = ZipTree(path)
    entries = tree.entries(ignored=_IGNORED)
    found = [image for image in map(_label, entries) if image is not None]
    if found:
        return tree, found
    if inner := tree.zips_inside:
        # Reading a compressed zip inside a zip would unpack all before each image again.
        raise DataError(
            [
                Fault(
                    "data.root",
                    shown(path),
                    f"holds no images but other zip files ({', '.join(map(shown, inner))})",
                    fix="unzip this outer file once and set data.root to the folder",
                )
            ]
        )
    raise DataError([_not_recognised(path, f"holds {len(entries)} images without a class")])


def _one_base(tree: Tree, found: list[_Labelled]) -> list[_Labelled]:
    """Refuses two copies side by side: the same picture would train and validate."""
    bases = Counter(image.base for image in found)
    if len(bases) == 1:
        return found
    choices = tuple(f"{tree.location(base)} ({num} images)" for base, num in sorted(bases.items()))
    raise DataError(
        [Fault("data.root", shown(tree.root), "has cats and dogs in several folders", choices)]
    )


def _not_recognised(root: Path, found: str) -> Fault:
    return Fault(
        "data.root",
        shown(root),
        f"is in no layout of cats and dogs: it {found}",
        fix=f"it may hold {_LAYOUTS}",
    )
