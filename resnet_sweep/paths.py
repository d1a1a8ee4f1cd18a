"""Where the package's own files are, and those that it makes again when they are gone."""

from __future__ import annotations

import os
from pathlib import Path

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
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "resnet_sweep"
