"""Where images come from: one file a source, chosen by the class of its configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING

from resnet_sweep.data.config import (
    CatsDogsConfig,
    Cifar10Config,
    DataConfig,
    DigitsConfig,
    ImageFolderConfig,
    OxfordPetsConfig,
)
from resnet_sweep.faults import DataError

if TYPE_CHECKING:
    from resnet_sweep.data.sources._base import Source


def build_source(config: DataConfig) -> Source:
    """The source of a configuration; nothing is decoded yet.

    Raises:
        DataError: The images are not there or not in a layout that the source knows.
    """
    # Each import is where it is needed: scikit-learn alone takes a second.
    match config:
        case DigitsConfig():
            from resnet_sweep.data.sources.digits import Digits

            return Digits()
        case CatsDogsConfig():
            from resnet_sweep.data.sources.cats_dogs import CatsDogs

            return CatsDogs(config)
        case ImageFolderConfig():
            from resnet_sweep.data.sources.image_folder import ImageFolder

            return ImageFolder(config)
        case OxfordPetsConfig():
            from resnet_sweep.data.sources.oxford_pets import OxfordPets

            return OxfordPets(config)
        case Cifar10Config():
            from resnet_sweep.data.sources.cifar10 import Cifar10

            return Cifar10(config)
    raise TypeError(f"no source for {type(config).__name__}")


def num_classes_of(config: DataConfig) -> int | None:
    """Number of classes without opening an image; None where the images are not there to tell."""
    match config:
        case DigitsConfig() | Cifar10Config():
            return 10
        case CatsDogsConfig() | OxfordPetsConfig():
            return 2
        case ImageFolderConfig():
            from resnet_sweep.data.sources.image_folder import find_folders

            try:
                return len(find_folders(config).classes)
            except DataError:
                return None
    return None
