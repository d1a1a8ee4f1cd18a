"""Data sets that torchvision fetches."""

from __future__ import annotations

import logging
import tarfile
import warnings
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from resnet_sweep.data.config import Cifar10Config, OxfordPetsConfig, cache_dir
from resnet_sweep.data.locks import locked
from resnet_sweep.faults import DataError, Fault

log = logging.getLogger(__name__)
T = TypeVar("T")

# What torchvision and what it unpacks with raise for files that are missing, cut short or others.
_UNUSABLE = (RuntimeError, OSError, EOFError, tarfile.TarError, zipfile.BadZipFile, zlib.error)


def download_root(config: OxfordPetsConfig | Cifar10Config) -> Path:
    """Folder that torchvision keeps its files in."""
    if config.root is not None:
        return Path(config.root).expanduser()
    return cache_dir(config) / "downloads"


def obtain(
    config: OxfordPetsConfig | Cifar10Config, load: Callable[[Path, bool], T], size: str
) -> T:
    """Loads a data set by torchvision, fetching it first where that is allowed.

    Args:
        config: Root, and whether to download.
        load: Called with root and download; raises RuntimeError where files are missing.
        size: How much there is to fetch, for the log: "170 MB".

    Returns:
        What ``load`` returns.

    Raises:
        DataError: Files are missing and must not be fetched, or cannot be.
    """
    root = download_root(config)
    with warnings.catch_warnings():
        # Arrays pickled by an old numpy make a new one complain.
        warnings.simplefilter("ignore")
        try:
            return load(root, False)
        except _UNUSABLE as error:
            if not config.download:
                rule = f"does not hold {config.name} complete ({error})"
                fix = f"type data.download=true to fetch {size}, or point data.root to it"
                raise DataError([Fault("data.root", str(root), rule, fix=fix)]) from error
        try:
            root.mkdir(parents=True, exist_ok=True)
            with locked(root / f"{config.name}.lock", "downloads"):
                log.info("downloading %s (%s) into %s", config.name, size, root)
                return load(root, True)
        except _UNUSABLE as error:
            rule = f"cannot be filled with {config.name}: {error}"
            fix = (
                "check the network and remove what is there in part, or point data.root to a copy "
                "with data.download=false"
            )
            raise DataError([Fault("data.root", str(root), rule, fix=fix)]) from error
