"""Small data sets of every kind, written by the tests themselves."""

from __future__ import annotations

import hashlib
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from resnet_sweep.data.config import (
    CatsDogsConfig,
    Cifar10Config,
    DataConfig,
    DigitsConfig,
    ImageFolderConfig,
    OxfordPetsConfig,
)

NUM_A_CLASS = 10


def write_image(path: Path, seed: int = 0, size: tuple[int, int] = (20, 16)) -> None:
    """A picture of smooth noise, different for each seed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    Image.fromarray(coarse).resize(size).save(path)


def _fill(folder: Path, name: Callable[[int, int], str]) -> None:
    for label in range(2):
        for number in range(NUM_A_CLASS):
            write_image(folder / name(label, number), seed=100 * label + number)


def _flat(label: int, number: int) -> str:
    return f"train/{('cat', 'dog')[label]}.{number}.jpg"


def _pet_images(label: int, number: int) -> str:
    return f"PetImages/{('Cat', 'Dog')[label]}/{number}.jpg"


def _class_folders(label: int, number: int) -> str:
    return f"train/{('cats', 'dogs')[label]}/{number}.jpg"


def _zipped(folder: Path, archive: Path) -> Path:
    archive.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted(folder.rglob("*")):
            file.write(path, path.relative_to(folder).as_posix())
    return archive


def _cats_dogs(
    name: Callable[[int, int], str], inner: str = "", zip_name: str = "", zip_root: bool = False
) -> Callable[[Path, pytest.MonkeyPatch], DataConfig]:
    def make(folder: Path, monkeypatch: pytest.MonkeyPatch) -> DataConfig:
        _fill(folder / "files", name)
        root = folder / "files" / inner
        if zip_name:
            archive = _zipped(folder / "files", folder / "zips" / zip_name)
            root = archive if zip_root else archive.parent
        return CatsDogsConfig(root=str(root))

    return make


CATS_DOGS = {
    "flat": _cats_dogs(_flat),
    "flat_inside": _cats_dogs(_flat, "train"),
    "pet_images": _cats_dogs(_pet_images),
    "pet_images_inside": _cats_dogs(_pet_images, "PetImages"),
    "class_folders": _cats_dogs(_class_folders),
    "class_folders_inside": _cats_dogs(_class_folders, "train"),
    "flat_zip": _cats_dogs(_flat, zip_name="train.zip", zip_root=True),
    "flat_zip_in_folder": _cats_dogs(_flat, zip_name="train.zip"),
    "pet_images_zip": _cats_dogs(_pet_images, zip_name="kagglecatsanddogs.zip"),
    "class_folders_zip": _cats_dogs(_class_folders, zip_name="my.zip", zip_root=True),
}


def _digits(folder: Path, monkeypatch: pytest.MonkeyPatch) -> DataConfig:
    return DigitsConfig()


def _image_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> DataConfig:
    _fill(folder, lambda label, number: f"{'ab'[label]}/deep/{number}.png")
    return ImageFolderConfig(root=str(folder))


def _divided_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> DataConfig:
    _fill(folder / "train", lambda label, number: f"{'ab'[label]}/{number}.png")
    _fill(folder / "val", lambda label, number: f"{'ab'[label]}/{number}.png")
    return ImageFolderConfig(root=str(folder))


def _oxford_pets(folder: Path, monkeypatch: pytest.MonkeyPatch) -> DataConfig:
    base = folder / "oxford-iiit-pet"
    lines: dict[str, list[str]] = {"trainval": [], "test": []}
    for species, breed in enumerate(("Abyssinian", "beagle"), start=1):
        for number in range(2 * NUM_A_CLASS):
            name = f"{breed}_{number}"
            write_image(base / "images" / f"{name}.jpg", seed=100 * species + number)
            part = "trainval" if number < NUM_A_CLASS else "test"
            lines[part].append(f"{name} {species} {species} {number}")
    (base / "annotations").mkdir()
    for part, text in lines.items():
        (base / "annotations" / f"{part}.txt").write_text("\n".join(text) + "\n")
    return OxfordPetsConfig(root=str(folder), download=False)


def _cifar10(folder: Path, monkeypatch: pytest.MonkeyPatch) -> DataConfig:
    """Files in CIFAR's format; torchvision's checksums become those of these files."""
    from torchvision.datasets import CIFAR10

    base = folder / "cifar-10-batches-py"
    base.mkdir(parents=True)
    generator = np.random.default_rng(0)

    def write(name: str, content: object) -> str:
        data = pickle.dumps(content)
        (base / name).write_bytes(data)
        return hashlib.md5(data).hexdigest()

    def write_batch(name: str) -> list[str]:
        pixels = generator.integers(0, 256, (20, 3 * 32 * 32), dtype=np.uint8)
        return [name, write(name, {"data": pixels, "labels": [i % 10 for i in range(20)]})]

    train = [write_batch(f"data_batch_{number}") for number in range(1, 6)]
    meta_md5 = write("batches.meta", {"label_names": list("abcdefghij")})
    monkeypatch.setattr(CIFAR10, "train_list", train)
    monkeypatch.setattr(CIFAR10, "test_list", [write_batch("test_batch")])
    monkeypatch.setattr(CIFAR10, "meta", {**CIFAR10.meta, "md5": meta_md5})
    return Cifar10Config(root=str(folder), download=False)


SOURCES = {
    "digits": _digits,
    "image_folder": _image_folder,
    "divided_folder": _divided_folder,
    "oxford_pets": _oxford_pets,
    "cifar10": _cifar10,
    **{f"cats_dogs_{layout}": make for layout, make in CATS_DOGS.items()},
}


def small(config: DataConfig, tmp_path: Path) -> DataConfig:
    """The configuration with small images and a cache of the test's own."""
    config.image_size = 16
    config.cache_dir = str(tmp_path / "cache")
    return config


@pytest.fixture(params=sorted(SOURCES))
def any_config(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> DataConfig:
    """A configuration of every source, in each of its layouts."""
    return small(SOURCES[request.param](tmp_path / "data", monkeypatch), tmp_path)


@pytest.fixture
def make_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], DataConfig]:
    """Makes one named data set and its configuration."""
    return lambda name: small(SOURCES[name](tmp_path / "data" / name, monkeypatch), tmp_path)


@pytest.fixture
def write() -> Callable[..., None]:
    """Writes one small image: write(path, seed, size)."""
    return write_image


@pytest.fixture
def layouts() -> list[str]:
    """Names of all layouts of cats and dogs."""
    return [f"cats_dogs_{layout}" for layout in CATS_DOGS]
