"""Oxford-IIIT Pets as cats and dogs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from resnet_sweep.data.config import OxfordPetsConfig
from resnet_sweep.data.sources._base import Sample, Source
from resnet_sweep.data.sources._downloads import obtain
from resnet_sweep.data.sources._folders import FolderTree
from resnet_sweep.data.sources._trees import shown
from resnet_sweep.faults import DataError, Fault

if TYPE_CHECKING:
    from PIL import Image

_FOLDER = "oxford-iiit-pet"
_PARTS: tuple[tuple[str, Literal["train", "val"]], ...] = (("trainval", "train"), ("test", "val"))


class OxfordPets(Source):
    """Cat against dog; trainval.txt trains, test.txt validates."""

    def __init__(self, config: OxfordPetsConfig) -> None:
        self._folder = obtain(config, _load, "800 MB")
        self._tree = FolderTree(self._folder / "images")
        entries = {entry.path: entry for entry in self._tree.entries()}
        self._samples: list[Sample] = []
        missing: list[str] = []
        for part, split in _PARTS:
            for name, label in _read_list(self._folder / "annotations" / f"{part}.txt"):
                path = f"{name}.jpg"
                if path not in entries:
                    missing.append(path)
                    continue
                location = self._tree.location(path)
                identity, num_bytes = entries[path].identity, entries[path].num_bytes
                self._samples.append(Sample(label, name, identity, location, split, num_bytes))
        if missing:
            raise DataError([self._incomplete(missing)])

    @property
    def classes(self) -> tuple[str, ...]:
        """Cat and dog."""
        return ("cat", "dog")

    def samples(self) -> Sequence[Sample]:
        """Every image in the two lists, with its species as the class."""
        return self._samples

    def open(self, index: int) -> Image.Image:
        """Opens one file."""
        return self._tree.open(f"{self._samples[index].name}.jpg")

    def _incomplete(self, missing: Sequence[str]) -> Fault:
        return Fault(
            "data.root",
            shown(self._tree.root),
            f"lacks {len(missing)} images of its lists, the first is {shown(missing[0])}",
            fix=f"remove {shown(self._folder)} and type data.download=true to fetch it again",
        )


def _load(root: Path, download: bool) -> Path:
    """The data's folder, without torchvision (and torch) where nothing must be fetched."""
    folder = root / _FOLDER
    complete = (folder / "images").is_dir() and all(
        (folder / "annotations" / f"{part}.txt").is_file() for part, _ in _PARTS
    )
    if not complete:
        if not download:
            raise RuntimeError(f"{folder} has no images/ or annotations/")
        from torchvision.datasets import OxfordIIITPet

        OxfordIIITPet(root, download=True)
    return folder


def _read_list(path: Path) -> list[tuple[str, int]]:
    """Names and labels of lines such as "Abyssinian_1 1 1 1": name, breed, species, number."""
    samples = []
    for number, line in enumerate(_lines_of(path), start=1):
        fields = line.split()
        if not fields or fields[0].startswith("#"):
            continue
        if len(fields) < 3 or fields[2] not in ("1", "2"):
            rule = f"must say name, breed, species (1 or 2), number in line {number}: {line!r}"
            raise DataError([Fault("data.root", shown(path), rule)])
        samples.append((fields[0], int(fields[2]) - 1))
    return samples


def _lines_of(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        rule = f"cannot be read: {error}"
        raise DataError([Fault("data.root", shown(path), rule)]) from error
