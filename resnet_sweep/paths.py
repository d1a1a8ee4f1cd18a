"""Where the package's own files are."""

from __future__ import annotations

from pathlib import Path


def config_dir() -> Path:
    """Absolute path of conf/: inside the installed package, else beside it in a checkout."""
    package = Path(__file__).resolve().parent
    installed = package / "conf"
    return installed if installed.is_dir() else package.parent / "conf"
