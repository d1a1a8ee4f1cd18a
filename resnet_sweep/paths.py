"""Where the package's own files are, and those that it makes again when they are gone."""

from __future__ import annotations

import atexit
import grp
import logging
import os
import pwd
import shutil
import stat
import tempfile
from pathlib import Path

log = logging.getLogger(__name__)

CACHE_VARIABLE = "RESNET_SWEEP_CACHE"


def config_dir() -> Path:
    """Absolute path of conf/: inside the installed package, else beside it in a checkout."""
    package = Path(__file__).resolve().parent
    installed = package / "conf"
    return installed if installed.is_dir() else package.parent / "conf"


def user_cache() -> Path:
    """Folder of decoded images and compiled networks: the environment's, or the user's cache."""
    if os.environ.get(CACHE_VARIABLE):
        return Path(os.environ[CACHE_VARIABLE]).expanduser()
    return _own_cache()


def code_cache() -> Path:
    """Folder of compiled networks, which nobody else can write: what is in it is run.

    In user_cache(), unless others could write there, then in the user's own cache, and where
    they could even there, in a folder that goes when the process ends.
    """
    wanted = user_cache() / "compiled"
    for folder in (wanted, _own_cache() / "compiled"):
        if _made_private(folder):
            if folder != wanted:
                log.warning(
                    "others can write %s, so compiled networks are kept in %s", wanted, folder
                )
            return folder
    log.warning("others can write %s, so compiled networks are not kept", wanted)
    passing = tempfile.mkdtemp(prefix="resnet-sweep-")
    atexit.register(shutil.rmtree, passing, ignore_errors=True)
    return Path(passing)


def _own_cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "resnet_sweep"


def _made_private(folder: Path) -> bool:
    """Makes a folder; whether only its user can write it, or put another in its place."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        real = folder.resolve()
        if real.stat().st_uid != os.geteuid():
            return False
        # One of an earlier version has what the umask had left.
        real.chmod(0o700)
        return not any(_is_open_to_others(path) for path in real.parents)
    except OSError:
        return False


def _is_open_to_others(folder: Path) -> bool:
    """Whether somebody else than the user and root could move what is in a folder."""
    found = folder.stat()
    if found.st_uid not in (0, os.geteuid()):
        return True
    if found.st_mode & stat.S_ISVTX:
        # As in /tmp: everybody moves only what is his own.
        return False
    is_open_to_group = found.st_mode & stat.S_IWGRP and not _is_own_group(found.st_gid)
    return bool(found.st_mode & stat.S_IWOTH or is_open_to_group)


def _is_own_group(gid: int) -> bool:
    """Whether a group is the user's own, as many systems make one for each user."""
    try:
        return grp.getgrgid(gid).gr_name == pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return False
