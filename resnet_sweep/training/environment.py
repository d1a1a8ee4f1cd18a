"""Where a run ran: what result.json needs for somebody to repeat it."""

from __future__ import annotations

import platform
import subprocess
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import resnet_sweep

# Whose release can change a number.
_PACKAGES = ("torch", "torchvision", "numpy", "pillow", "hydra-core", "optuna")


def repeatable(seed: int) -> dict[str, Any]:
    """What somebody needs to repeat a run, beside its configuration."""
    return {"seed": seed, "versions": versions(), "git_commit": git_commit()}


@cache
def versions() -> dict[str, str]:
    """Versions of this package, of Python and of packages whose release can change a number."""
    return {
        "resnet_sweep": resnet_sweep.__version__,
        "python": platform.python_version(),
        **{name: version(name) for name in _PACKAGES},
    }


@cache
def git_commit() -> str | None:
    """Commit of the checkout that the package runs from, "+" behind it when it was changed.

    None for an installed package or a machine without git.
    """
    checkout = Path(resnet_sweep.__file__).resolve().parents[1]
    if not (checkout / ".git").exists():
        return None
    try:
        commit = _git(checkout, "rev-parse", "HEAD")
        changed = _git(checkout, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return None
    return commit + ("+" if changed else "")


def _git(checkout: Path, *arguments: str) -> str:
    done = subprocess.run(  # noqa: S603 - a fixed command on our own folder
        ["git", "-C", str(checkout), *arguments],  # noqa: S607 - git is wherever PATH has it
        capture_output=True,
        text=True,
        check=True,
        timeout=10,
    )
    return done.stdout.strip()
