"""Decodes the selected images of a source once, into a cache folder."""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import shutil
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from resnet_sweep.data.checksum import checksum_of
from resnet_sweep.data.config import DataConfig, cache_dir
from resnet_sweep.data.decode import decode, quiet_pillow, reason_of
from resnet_sweep.data.sources._base import Sample, Source
from resnet_sweep.data.splits import Selection, select
from resnet_sweep.faults import DataError, Fault

log = logging.getLogger(__name__)

FORMAT_VERSION = 2
IMAGES_FILE = "images.npy"
LABELS_FILE = "labels.npy"
META_FILE = "meta.json"
# In meta.json, of all else in it and of both array files.
CHECKSUM = "checksum"
# Of many broken images a message names so many.
_NUM_NAMED = 10
_CHUNK = 16  # images a thread decodes before it asks for more
_PROGRESS_EVERY_S = 5.0

Pixels = NDArray[np.uint8]


def cache_folder(config: DataConfig, key: str) -> Path:
    """Where the finished cache of a key is."""
    return cache_dir(config) / f"{config.name}-{key}"


def build_cache(source: Source, config: DataConfig, folder: Path, key: str) -> None:
    """Writes images, labels and meta data of every selected image into an empty folder.

    Args:
        source: Where the images come from.
        config: Size, colours, split, what to do with broken images.
        folder: An existing, empty folder.
        key: Hash that names the cache.

    Raises:
        DataError: Too few images, broken images with ``on_corrupt="error"``, or no space.
    """
    samples = source.samples()
    num = len(select(samples, source.classes, config).order)
    log.info("decoding %d images into %s", num, cache_folder(config, key))
    selection, broken = _decode_selection(source, samples, config, folder)
    chosen = [samples[index] for index in selection.order]
    np.save(folder / LABELS_FILE, np.array([sample.label for sample in chosen], dtype=np.int64))
    images = np.load(folder / IMAGES_FILE, mmap_mode="r")
    mean, std = _mean_and_std(images[: len(selection.train)])
    meta = {
        "version": FORMAT_VERSION,
        "key": key,
        "content": _content_of(images, chosen),
        "source": config.name,
        "classes": list(source.classes),
        "num_train": len(selection.train),
        "num_val": len(selection.val),
        "num_test": len(selection.test),
        "mean": mean,
        "std": std,
        "skipped": [[samples[index].location, reason] for index, reason in broken.items()],
        "names": [sample.name for sample in chosen],
    }
    del images
    meta[CHECKSUM] = checksum_of(meta, array_files(folder))
    (folder / META_FILE).write_text(json.dumps(meta, indent=1))


def array_files(folder: Path) -> tuple[Path, Path]:
    """Files of a cache beside its meta data."""
    return folder / IMAGES_FILE, folder / LABELS_FILE


def broken_error(skipped: Sequence[Sequence[str]]) -> DataError:
    """One error that names the first broken images and counts them all.

    Args:
        skipped: Location and reason of each.
    """
    rules = [(where, f"is broken: {reason}") for where, reason in skipped[:_NUM_NAMED]]
    if len(skipped) > _NUM_NAMED:
        rules.append((f"{len(skipped) - _NUM_NAMED} more images", "are broken as well"))
    fix = "replace or remove these files, or type data.on_corrupt=skip to leave them out"
    fixes = [""] * (len(rules) - 1) + [fix]
    return DataError(
        Fault("data.root", where, rule, fix=fix)
        for (where, rule), fix in zip(rules, fixes, strict=True)
    )


def _decode_selection(
    source: Source, samples: Sequence[Sample], config: DataConfig, folder: Path
) -> tuple[Selection, dict[int, str]]:
    """Decodes until every selected image is sound; returns the splits and the broken images."""
    broken: dict[int, str] = {}
    rows: dict[int, int] = {}  # where a former round has put the images that it could decode
    former: Pixels | None = None
    former_path: Path | None = None
    for attempt in count():
        selection = select(samples, source.classes, config, broken)
        path = folder / f"round-{attempt}.npy"
        images = _allocate(path, len(selection.order), config)
        missing: list[tuple[int, int]] = []
        for row, index in enumerate(selection.order):
            if former is not None and index in rows:
                images[row] = former[rows[index]]
            else:
                missing.append((row, index))
        failed = _decode_rows(source, missing, images, config)
        if former_path is not None:
            former_path.unlink()
        if not failed:
            path.rename(folder / IMAGES_FILE)
            return selection, broken
        if config.on_corrupt == "error":
            raise broken_error([(samples[i].location, reason) for i, reason in failed.items()])
        for index, reason in failed.items():
            log.warning("left out %s: %s", samples[index].location, reason)
        broken |= failed
        rows = {i: row for row, i in enumerate(selection.order) if i not in failed}
        former, former_path = images, path
    raise AssertionError("every round makes the list of sound images shorter")


def _allocate(path: Path, num: int, config: DataConfig) -> Pixels:
    shape = (num, config.image_size, config.image_size, config.channels)
    images: Pixels = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
    size_bytes = path.stat().st_size
    try:
        # Writing a mapped page that the disk has no room for kills the process.
        _reserve(path, size_bytes)
    except OSError as error:
        rule = f"has no room for {size_bytes / 1e9:.2f} GB of decoded images: {error.strerror}"
        fix = "type data.cache_dir=FOLDER on a disk with more room"
        raise DataError(
            [Fault("data.cache_dir", str(path.parent.parent), rule, fix=fix)]
        ) from error
    return images


def _reserve(path: Path, size_bytes: int) -> None:
    """Takes the disk space of a sparse file; OSError where there is not enough."""
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, size_bytes)
    elif shutil.disk_usage(path.parent).free < size_bytes:
        # macOS can only be asked, not told.
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _decode_rows(
    source: Source, missing: Sequence[tuple[int, int]], images: Pixels, config: DataConfig
) -> dict[int, str]:
    """Decodes samples into rows of ``images`` in threads; returns the broken ones' reasons."""

    def decode_chunk(chunk: Sequence[tuple[int, int]]) -> dict[int, str]:
        broken = {}
        for row, index in chunk:
            try:
                with source.open(index) as image:
                    images[row] = decode(
                        image,
                        size=config.image_size,
                        channels=config.channels,
                        resize=config.resize,
                    )
            except Exception as error:  # what a broken file makes Pillow raise is not documented
                broken[index] = reason_of(error)
        return broken

    broken: dict[int, str] = {}
    chunks = [missing[start : start + _CHUNK] for start in range(0, len(missing), _CHUNK)]
    started_s = time.monotonic()
    with quiet_pillow(), ThreadPoolExecutor(num_cores()) as pool:
        pending = {pool.submit(decode_chunk, chunk): len(chunk) for chunk in chunks}
        num_done = 0
        try:
            while pending:
                done, _ = wait(pending, _PROGRESS_EVERY_S, FIRST_COMPLETED)
                for future in done:
                    broken |= future.result()
                    num_done += pending.pop(future)
                started_s = _log_progress(started_s, num_done, len(missing))
        except BaseException:  # Ctrl-C must not wait for what is queued
            pool.shutdown(cancel_futures=True)
            raise
    # Threads end in any order; the log and the error should not.
    return dict(sorted(broken.items()))


def _log_progress(last_s: float, num_done: int, num_all: int) -> float:
    now_s = time.monotonic()
    if now_s - last_s < _PROGRESS_EVERY_S:
        return last_s
    log.info("decoded %d of %d images", num_done, num_all)
    return now_s


def num_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _content_of(images: Pixels, chosen: Sequence[Sample]) -> str:
    """Hash of pixels, labels and names: the same wherever and whenever they were decoded."""
    digest = hashlib.blake2b(digest_size=16)
    for sample, image in zip(chosen, images, strict=True):
        digest.update(f"{sample.label}\0{sample.name}\0".encode(errors="surrogateescape"))
        digest.update(image.tobytes())
    return digest.hexdigest()


def _mean_and_std(images: Pixels) -> tuple[list[float], list[float]]:
    """Mean and deviation a channel on the scale 0..1, from exact histograms."""
    num_channels = images.shape[-1]
    counts = np.zeros(num_channels * 256, dtype=np.int64)
    for image in images:
        pixels = image if num_channels > 1 else image[..., 0]
        counts += np.array(Image.fromarray(np.asarray(pixels)).histogram())
    shares: NDArray[np.float64] = counts.reshape(num_channels, 256) / (counts.sum() / num_channels)
    values = np.arange(256) / 255
    mean = shares @ values
    std = np.sqrt((shares * (values - mean[:, None]) ** 2).sum(axis=1))
    std[std == 0] = 1.0  # one single colour: there is nothing to scale, and dividing by 0 is NaN
    result: tuple[Any, Any] = mean.tolist(), std.tolist()
    return result
