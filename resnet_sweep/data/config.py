"""Settings of the data group, without torch."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

from resnet_sweep.faults import Fault, in_range, one_of
from resnet_sweep.paths import user_cache

# What changes the decoded images or their order. Not on_corrupt: what holds no broken images
# serves both of its values, and what holds some names them.
SETTINGS = (
    "image_size",
    "channels",
    "resize",
    "num_train",
    "num_val",
    "num_test",
    "split_seed",
)
RESIZE = ("crop", "stretch")
ON_CORRUPT = ("error", "skip")
# Pixels; a typing mistake more likely than a picture.
MAX_IMAGE_SIZE = 8192


@dataclass
class AugmentConfig:
    """Random changes of a training batch, made on the device that the batch is on."""

    # Mirror each image with probability one half.
    horizontal_flip: bool = False
    # Crop at a random place after padding every side with this many zero pixels; 0 is off.
    random_crop: int = 0
    # Smallest share of the area that a random resized crop keeps (0.08 on ImageNet,
    # aspect ratio 3/4 to 4/3); null is off.
    random_resized_crop: float | None = None


@dataclass
class DataConfig:
    """What every data set has: size, split, cache, augmentation."""

    name: str = "???"
    # Height and width of the images in pixels.
    image_size: int = 224
    # 3 for colour (grey values are repeated), 1 for grey.
    channels: int = 3
    # How an image becomes square: crop (shorter side to image_size, then the centre) or stretch.
    resize: str = "crop"
    # Training images, balanced over the classes; null takes all that are left.
    num_train: int | None = None
    # Validation images, balanced; null takes the data's own validation split, else a fifth.
    num_val: int | None = None
    # Test images, balanced, touched once at the end of a run.
    num_test: int = 0
    # Chooses the images of the splits; the same on every machine.
    split_seed: int = 0
    # What a broken image is: an error, or skip: left out, counted and named in the log.
    on_corrupt: str = "error"
    # What the decoded images must hash to, as data_hash in result.json; null takes any.
    content: str | None = None
    # Folder of the decoded images; null is $RESNET_SWEEP_CACHE or ~/.cache/resnet_sweep.
    cache_dir: str | None = None
    augment: AugmentConfig = field(default_factory=AugmentConfig)


@dataclass
class DigitsConfig(DataConfig):
    """scikit-learn's 1,797 handwritten digits of 8x8 pixels; nothing is downloaded."""

    name: str = "digits"


@dataclass
class CatsDogsConfig(DataConfig):
    """Kaggle's 25,000 cats and dogs in any layout, unpacked or inside a zip."""

    name: str = "cats_dogs"
    # Folder or zip file of the images.
    root: str | None = None


@dataclass
class ImageFolderConfig(DataConfig):
    """Any folder of class folders."""

    name: str = "image_folder"
    # Folder with one folder a class, or with train/ and val/ that hold them.
    root: str | None = None
    # Folder of the validation images, with the same class folders; null looks for root/val.
    val_root: str | None = None


@dataclass
class OxfordPetsConfig(DataConfig):
    """Oxford-IIIT Pets (7,349 images), cat against dog, by torchvision."""

    name: str = "oxford_pets"
    # Where torchvision keeps or puts the files; null is downloads/ in the cache folder.
    root: str | None = None
    # Fetch what is missing (about 800 MB).
    download: bool = True


@dataclass
class Cifar10Config(DataConfig):
    """CIFAR-10 (60,000 images of 32x32 pixels), by torchvision."""

    name: str = "cifar10"
    # Where torchvision keeps or puts the files; null is downloads/ in the cache folder.
    root: str | None = None
    # Fetch what is missing (about 170 MB).
    download: bool = True


DATA_CONFIGS: tuple[type[DataConfig], ...] = (
    DigitsConfig,
    CatsDogsConfig,
    ImageFolderConfig,
    OxfordPetsConfig,
    Cifar10Config,
)


def cache_dir(config: DataConfig) -> Path:
    """Folder of the decoded images: the config's, the environment's, or the user's cache."""
    if config.cache_dir is not None:
        return Path(config.cache_dir).expanduser()
    return user_cache()


def check_data(config: DataConfig) -> list[Fault]:
    """Everything that is wrong with the data group by itself, without reading an image."""
    faults = in_range("data.image_size", config.image_size, at_least=1, at_most=MAX_IMAGE_SIZE)
    if config.channels not in (1, 3):
        faults.append(Fault("data.channels", config.channels, "is not known", ("1", "3")))
    faults += one_of("data.resize", config.resize, RESIZE)
    faults += in_range("data.num_train", config.num_train, at_least=1)
    faults += in_range("data.num_val", config.num_val, at_least=1)
    faults += in_range("data.num_test", config.num_test, at_least=0)
    faults += in_range("data.split_seed", config.split_seed, at_least=0)
    faults += one_of("data.on_corrupt", config.on_corrupt, ON_CORRUPT)
    # A crop that may miss the image altogether would train on nothing.
    crop, size = config.augment.random_crop, max(1, config.image_size)
    faults += in_range("data.augment.random_crop", crop, at_least=0, below=size)
    area = config.augment.random_resized_crop
    faults += in_range("data.augment.random_resized_crop", area, above=0, at_most=1)
    if area is not None and config.augment.random_crop:
        faults.append(
            Fault(
                "data.augment.random_crop",
                config.augment.random_crop,
                "cannot be combined with data.augment.random_resized_crop",
                fix="set one of the two: random_crop=0 or random_resized_crop=null",
            )
        )
    return faults + _check_root(config)


def _check_root(config: DataConfig) -> list[Fault]:
    faults: list[Fault | None] = []
    if isinstance(config, CatsDogsConfig | ImageFolderConfig) and not config.root:
        fix = "type data.root=FOLDER of the images"
        faults.append(Fault("data.root", None, "must be set", fix=fix))
    elif isinstance(config, CatsDogsConfig):
        faults.append(root_fault("data.root", config.root or ""))
    elif isinstance(config, ImageFolderConfig):
        faults.append(folder_fault("data.root", config.root or ""))
    if isinstance(config, ImageFolderConfig) and config.val_root is not None:
        faults.append(folder_fault("data.val_root", config.val_root))
    return [fault for fault in faults if fault is not None]


def root_fault(key: str, value: str) -> Fault | None:
    """What is wrong with a path that must be a folder or a file, before anything is read."""
    return _path_fault(key, value, takes_files=True)


def folder_fault(key: str, value: str) -> Fault | None:
    """What is wrong with a path that must be a folder, before anything is read."""
    return _path_fault(key, value, takes_files=False)


def _path_fault(key: str, value: str, *, takes_files: bool) -> Fault | None:
    try:
        mode = os.stat(Path(value).expanduser()).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return Fault(key, value, "does not exist")
    except (OSError, ValueError, RuntimeError) as error:
        # Unreadable folders above, names that are too long, ~ of a user who is not known.
        reason = error.strerror if isinstance(error, OSError) else str(error)
        return Fault(key, value, f"cannot be looked at: {reason}")
    if stat.S_ISDIR(mode) or (takes_files and stat.S_ISREG(mode)):
        return None
    rule = "is neither a folder nor a zip file" if takes_files else "is not a folder"
    return Fault(key, value, rule)
