"""Which sweeps work on a study now: a file each, held by the sweep and looked at by its workers.

Any number of sweeps may work on one study at once. The workers of a sweep take trials as long
as its file is there. A sweep that begins removes the files of sweeps that are dead, so that
workers which these have left behind end; it leaves those whose workers are to outlive it.
"""

from __future__ import annotations

import secrets
from pathlib import Path

from resnet_sweep.study.folder import StudyFolder
from resnet_sweep.study.locks import FileLock, is_held

# What a session's file says when its workers go on without their sweep.
_OUTLIVES = "workers outlive the sweep\n"


class Session:
    """One sweep at work on a study, from ``begin`` to ``end``.

    Attributes:
        id: Part of the names of its workers.
    """

    def __init__(self, folder: StudyFolder, name: str, lock: FileLock) -> None:
        self.id = name
        self._folder = folder
        self._lock = lock

    @classmethod
    def begin(cls, folder: StudyFolder, *, workers_outlive: bool) -> Session:
        """Enters a sweep; to be called while the study's sweep lock is held.

        Args:
            folder: The study's.
            workers_outlive: Its workers go on when the sweep's own process is gone, in jobs of
                a cluster for instance.
        """
        for other in names(folder):
            if not _is_alive(folder, other) and not _outlives(folder, other):
                folder.session(other).unlink(missing_ok=True)
        name = secrets.token_hex(4)
        lock = FileLock(folder.session(name))
        lock.acquire()
        if workers_outlive:
            folder.session(name).write_text(_OUTLIVES)
        return cls(folder, name, lock)

    def withdraw(self) -> None:
        """No worker of this sweep takes another trial, nor one that a dead sweep has left."""
        self._folder.session(self.id).unlink(missing_ok=True)
        beginning = FileLock(self._folder.sweep_lock)
        if not beginning.try_acquire():
            # Who begins removes the dead ones, and for a moment does not seem to live itself.
            return
        for other in names(self._folder):
            if not _is_alive(self._folder, other):
                self._folder.session(other).unlink(missing_ok=True)
        beginning.release()

    def end(self) -> None:
        """Leaves the study to others."""
        self._folder.session(self.id).unlink(missing_ok=True)
        self._lock.release()

    def has_company(self) -> bool:
        """Whether another sweep is at work on the study."""
        others = (name for name in names(self._folder) if name != self.id)
        return any(_is_alive(self._folder, name) for name in others)

    def num_inherited(self) -> int:
        """Living workers of sweeps that are gone, which go on by themselves."""
        gone = [
            name
            for name in names(self._folder)
            if name != self.id and not _is_alive(self._folder, name)
        ]
        return sum(
            is_held(lock)
            for name in gone
            for lock in self._folder.workers.glob(f"{name}[-.]*.lock")
        )


def names(folder: StudyFolder) -> list[str]:
    """Sessions whose workers may take trials."""
    return sorted(path.name for path in _files(folder))


def is_current(folder: StudyFolder, name: str) -> bool:
    """Whether the workers of a session may take trials."""
    return folder.session(name).exists()


def has_sweep(folder: StudyFolder, *, beside_lock: bool = False) -> bool:
    """Whether a living sweep works on a study.

    Args:
        folder: The study's.
        beside_lock: The caller has the sweep lock; else who holds that counts as well, being
            about to begin.
    """
    begins = not beside_lock and is_held(folder.sweep_lock)
    return begins or any(is_held(path) for path in _files(folder))


def is_at_work(folder: StudyFolder) -> bool:
    """Whether a living sweep works on a study, or a worker that has outlived its own."""
    return has_sweep(folder) or any(map(is_held, folder.workers.glob("*.lock")))


def has_begun(folder: StudyFolder) -> bool:
    """Whether a sweep has ever worked in a folder."""
    return folder.sessions.is_dir()


def _files(folder: StudyFolder) -> list[Path]:
    return list(folder.sessions.iterdir()) if folder.sessions.is_dir() else []


def _is_alive(folder: StudyFolder, name: str) -> bool:
    return is_held(folder.session(name))


def _outlives(folder: StudyFolder, name: str) -> bool:
    try:
        return folder.session(name).read_text() == _OUTLIVES
    except FileNotFoundError:
        return False
