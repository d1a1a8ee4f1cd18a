"""Where a sweep's study is: a folder that is given, found again, or made for it alone."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig, OmegaConf, read_write

from resnet_sweep.faults import ConfigError, Fault
from resnet_sweep.study.folder import StudyFolder
from resnet_sweep.study.locks import FileLock
from resnet_sweep.study.sessions import has_begun, has_sweep
from resnet_sweep.sweep.config import Options
from resnet_sweep.sweep.frozen import holds_other_conf, thaw

log = logging.getLogger(__name__)

_KEY = "hydra.sweep.dir"


@dataclass
class Place:
    """A study's folder, held while a sweep begins there.

    Attributes:
        lock: Held; let go of it when the study is open.
        is_new: No study has been started in it.
        is_made: The folder was not there before.
    """

    folder: StudyFolder
    lock: FileLock
    is_new: bool
    is_made: bool = False

    def leave(self, *, unused: bool = False) -> None:
        """Lets others begin on the study; nothing when that was done before.

        Args:
            unused: Nothing was begun: a folder that was made for it goes as well.
        """
        if unused and self.is_new:
            # While it is held: afterwards it may be somebody else's.
            thaw(self.folder)
            self.folder.sweep_lock.unlink(missing_ok=True)
        self.lock.release()
        if unused and self.is_made:
            # Folders above may have been made for it, too; what is not empty stays.
            with suppress(OSError):
                self.folder.path.rmdir()
                self.folder.path.parent.rmdir()


def find_place(
    options: Options,
    config: DictConfig,
    digest: str,
    is_unfinished: Callable[[StudyFolder], bool],
    home: Path | None = None,
) -> Place:
    """Finds the study of a command, or makes a folder for it.

    Args:
        options: The sweeper's settings.
        config: The sweep's configuration.
        digest: Hash of the command.
        is_unfinished: Whether a study that was found is to be gone on with.
        home: Where the study lives that a drop-in names in a storage, if it is there.

    Raises:
        ConfigError: The folder that is given holds something else.
    """
    base = Path(config.hydra.runtime.cwd)
    raw = str(OmegaConf.to_container(config.hydra.sweep, resolve=False)["dir"])  # type: ignore[index,call-overload]
    if "${now" in raw and home is not None:
        return _given(home, options)
    if "${now" not in raw or options.is_drop_in:
        return _given(base / str(config.hydra.sweep.dir), options)
    # Hydra's pattern would name a folder for each second; a study has one for all its sweeps.
    root = base / _above_now(config, raw)
    if options.study_name is not None:
        return _given(root / options.study_name, options)
    if options.resume == "auto":
        for path in sorted(root.glob(f"*-{digest}*"), reverse=True):
            place = _try(path)
            if place is not None:
                if not place.is_new and is_unfinished(place.folder):
                    return place
                place.leave()
    return _make(root, f"{time.strftime('%Y-%m-%d_%H-%M-%S')}-{digest}")


def _above_now(config: DictConfig, raw: str) -> str:
    """The folders of Hydra's pattern before the first that has the time in its name."""
    above = raw.partition("${now")[0]
    cuts = [i for i, letter in enumerate(above) if letter == "/"]
    # A slash inside ${...} parts no folders.
    whole = [i for i in cuts if above.count("{", 0, i) == above.count("}", 0, i)]
    copy = config.copy()
    with read_write(copy.hydra):
        copy.hydra.sweep.dir = above[: whole[-1] + 1] if whole else ""
    return str(copy.hydra.sweep.dir)


def _try(path: Path) -> Place | None:
    folder = StudyFolder(path)
    if not folder.multirun_yaml.exists():
        return None
    lock = FileLock(folder.sweep_lock)
    if not lock.try_acquire():
        return None
    if has_sweep(folder, beside_lock=True):
        lock.release()
        fix = f"to join it, type hydra.sweep.dir={path}"
        log.info("another sweep of the same overrides is at work in %s; %s", path, fix)
        return None
    return Place(folder, lock, is_new=False)


def _given(path: Path, options: Options) -> Place:
    folder = StudyFolder(path)
    has_study = _holds_study(folder)
    key = _KEY if options.study_name is None else "hydra.sweeper.study_name"
    if not has_study and (folder.multirun_yaml.exists() or folder.results_csv.exists()):
        rule = "holds a sweep of another sweeper already"
        fix = "choose another folder"
        if folder.journal.exists() and not folder.multirun_yaml.exists():
            rule = f"holds a study that has lost its {folder.multirun_yaml.name}"
            fix = f"put it back, or {fix}"
        raise ConfigError([Fault(key, path, rule, fix=fix)])
    if not has_study and holds_other_conf(folder):
        rule = (
            f"holds a {folder.conf.name} of its own, where a study keeps the copies of its config"
        )
        raise ConfigError([Fault(key, path, rule, fix="choose another folder")])
    if has_study and options.resume == "never":
        rule = "holds a study already, and hydra.sweeper.resume=never starts a new one"
        raise ConfigError([Fault(key, path, rule, fix="choose another name, or resume=auto")])
    is_made = not path.exists()
    _make_folder(path, key)
    lock = FileLock(folder.sweep_lock)
    if not lock.try_acquire():
        log.info("waits for another sweep, which begins in %s", path)
        lock.acquire()
    # Asked again: another sweep may have begun it since.
    return Place(folder, lock, is_new=not _holds_study(folder), is_made=is_made)


def _holds_study(folder: StudyFolder) -> bool:
    return folder.multirun_yaml.exists() and has_begun(folder)


def _make_folder(path: Path, key: str) -> None:
    """Makes a folder, with those above it.

    Raises:
        ConfigError: It cannot be made, or nothing can be written into it.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        rule = f"cannot be made: {reason}"
        raise ConfigError([Fault(key, path, rule, fix="choose another folder")]) from error
    if not os.access(path, os.W_OK | os.X_OK):
        rule = "may not be written into"
        raise ConfigError([Fault(key, path, rule, fix="choose another folder")])


def _make(root: Path, stem: str) -> Place:
    _make_folder(root, _KEY)
    number = 1
    while True:
        path = root / (stem if number == 1 else f"{stem}-{number}")
        try:
            path.mkdir()
        except FileExistsError:
            number += 1
            continue
        folder = StudyFolder(path)
        lock = FileLock(folder.sweep_lock)
        # Somebody may look for unfinished studies just now, and hold it for a moment.
        lock.acquire()
        return Place(folder, lock, is_new=True, is_made=True)
