"""The decoded cache: every selected image as uint8 on disk, made once, shared by all processes."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import secrets
import shutil
import socket
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resnet_sweep.data.build import (
    CHECKSUM,
    FORMAT_VERSION,
    META_FILE,
    array_files,
    broken_error,
    build_cache,
    cache_folder,
)
from resnet_sweep.data.checksum import checksum_of
from resnet_sweep.data.config import SETTINGS, DataConfig
from resnet_sweep.data.dataset import ImageData, Split
from resnet_sweep.data.locks import locked
from resnet_sweep.data.sources import build_source
from resnet_sweep.data.sources._base import Source
from resnet_sweep.faults import DataError, Fault
from resnet_sweep.wording import counted

log = logging.getLogger(__name__)


def open_data(config: DataConfig) -> ImageData:
    """The splits of a configuration, from the cache; decodes the images where it is not there.

    Any number of processes may call this at once: one decodes, the others wait.

    Args:
        config: The data group, already checked.

    Returns:
        Splits whose images are memory maps, copy-on-write.

    Raises:
        DataError: The images are missing, too few, broken, in no known layout or not those that
            ``content`` names, or the cache cannot be written.
    """
    source = build_source(config)
    key = _key(source, config)
    folder = cache_folder(config, key)
    data = _open_cache(folder, source, key, config, tells=True)
    if data is None:
        data = _make_cache(source, config, folder, key)
    if config.content not in (None, data.content):
        rule = f"the images are others: they hash to {data.content}"
        fix = "bring the old images back, or type data.content=null to take these"
        raise DataError([Fault("data.content", config.content, rule, fix=fix)])
    return data


def _key(source: Source, config: DataConfig) -> str:
    settings = {name: getattr(config, name) for name in SETTINGS}
    text = json.dumps([FORMAT_VERSION, config.name, source.fingerprint(), settings], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _make_cache(source: Source, config: DataConfig, folder: Path, key: str) -> ImageData:
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with locked(folder.parent / f"{folder.name}.lock", "decodes the same images") as held:
            data = _open_cache(folder, source, key, config)
            if data is None:
                if held:
                    _remove_stale(folder)
                _build_and_publish(source, config, folder, key)
                data = _open_cache(folder, source, key, config)
    except OSError as error:
        fix = "type data.cache_dir=FOLDER that can be written"
        rule = f"cannot be used for the decoded images: {error}"
        raise DataError([Fault("data.cache_dir", str(folder.parent), rule, fix=fix)]) from error
    assert data is not None, f"{folder} cannot be opened just after it was written"
    return data


def _build_and_publish(source: Source, config: DataConfig, folder: Path, key: str) -> None:
    """Decodes into a folder of our own and moves it into place, so that none sees half a cache."""
    own = _temporary(folder)
    own.mkdir()
    started_s = time.monotonic()
    try:
        build_cache(source, config, own, key)
        if _key(build_source(config), config) != key:
            raise DataError([_changed_meanwhile(config)])
        while not _rename(own, folder):
            # Without locks another process may have been faster.
            if _open_cache(folder, source, key, config) is not None:
                return
            _move_away(folder)
    finally:
        shutil.rmtree(own, ignore_errors=True)
    log.info("the cache %s took %.1f s", folder, time.monotonic() - started_s)


def _changed_meanwhile(config: DataConfig) -> Fault:
    # What was decoded is neither what was there before nor what is there now.
    rule = "changed while its images were decoded"
    fix = "start again when nothing is written there any more"
    return Fault("data.root", getattr(config, "root", config.name), rule, fix=fix)


def _rename(own: Path, folder: Path) -> bool:
    try:
        own.rename(folder)
    except OSError:
        if folder.exists():
            return False
        raise
    return True


def _move_away(folder: Path) -> None:
    """Removes a torn cache; the move is atomic where removing is not."""
    torn = _temporary(folder)
    try:
        folder.rename(torn)
    except FileNotFoundError:
        return
    if torn.is_dir():
        shutil.rmtree(torn, ignore_errors=True)
    else:
        torn.unlink()


def _temporary(folder: Path) -> Path:
    unique = f"{socket.gethostname()}.{os.getpid()}-{secrets.token_hex(4)}"
    return folder.parent / f".{folder.name}.{unique}.tmp"


def _remove_stale(folder: Path) -> None:
    """Removes what killed builders left; only this host's, whose lock the caller holds."""
    for path in folder.parent.glob(f".{folder.name}.{socket.gethostname()}.*.tmp"):
        shutil.rmtree(path, ignore_errors=True)


def _open_cache(
    folder: Path, source: Source, key: str, config: DataConfig, *, tells: bool = False
) -> ImageData | None:
    """Opens a cache; None where it is missing or torn, which the log is told once."""
    if not folder.exists():
        return None
    try:
        meta = json.loads((folder / META_FILE).read_text())
        data = _read(folder, meta, key, config, source.listing())
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        if tells:
            reason = str(error) or type(error).__name__
            log.warning("the cache %s is damaged and will be made again: %s", folder, reason)
        return None
    skipped = meta["skipped"]
    if skipped and config.on_corrupt == "error":
        raise broken_error(skipped)
    if skipped:
        images = counted(len(skipped), "broken image is", "broken images are")
        log.warning("%s left out; %s names them", images, folder / META_FILE)
    return data


def _read(folder: Path, meta: Any, key: str, config: DataConfig, listing: str) -> ImageData:
    if (meta["version"], meta["key"]) != (FORMAT_VERSION, key):
        raise ValueError(f"it is version {meta['version']} for key {meta['key']}")
    # Before anything in it is believed.
    wanted = meta.pop(CHECKSUM)
    if checksum_of(meta, array_files(folder)) != wanted:
        raise ValueError("its bytes are not those that were written")
    names = meta["names"]
    images_path, labels_path = array_files(folder)
    images, labels = map_array(images_path), np.array(map_array(labels_path))
    expected = (len(names), config.image_size, config.image_size, config.channels)
    if images.shape != expected or labels.shape != expected[:1]:
        raise ValueError(f"images {images.shape}, labels {labels.shape}, expected {expected}")
    if images.dtype != np.uint8 or labels.dtype != np.int64:
        raise ValueError(f"images of {images.dtype}, labels of {labels.dtype}")
    ends = np.cumsum([meta["num_train"], meta["num_val"], meta["num_test"]]).tolist()
    if ends[-1] != len(names):
        raise ValueError(f"{len(names)} names for splits that end at {ends}")

    def split(start: int, end: int) -> Split:
        return Split(images[start:end], labels[start:end], tuple(names[start:end]))

    return ImageData(
        train=split(0, ends[0]),
        val=split(ends[0], ends[1]),
        test=split(ends[1], ends[2]) if ends[2] > ends[1] else None,
        classes=tuple(meta["classes"]),
        mean=np.array(meta["mean"], dtype=np.float32),
        std=np.array(meta["std"], dtype=np.float32),
        key=key,
        content=meta["content"],
        num_skipped=len(meta["skipped"]),
        listing=listing,
    )


def map_array(path: Path) -> NDArray[Any]:
    """Maps an array file copy-on-write, so that torch takes it without a copy or a warning.

    Linux refuses a writable private map that is larger than all memory; such a file is mapped
    read-only, which it does not count. Not np.load, which takes pickles and zip files for
    arrays as well.
    """
    try:
        return np.lib.format.open_memmap(path, mode="c")
    except OSError:
        return np.lib.format.open_memmap(path, mode="r")
