"""A real Slurm of this machine for the tests of hydra/launcher=slurm."""

from __future__ import annotations

import fcntl
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import ROOT
from needs import skip_or_fail

_UP = ROOT / "tests" / "slurm" / "up"


@pytest.fixture(scope="session")
def slurm_conf() -> Iterator[str]:
    """The file that says where the Slurm is, which the tests of all processes share."""
    home = Path(tempfile.gettempdir()) / f"slurm-for-tests-{os.getuid()}"
    home.mkdir(exist_ok=True)
    with (home / "users").open("w") as users:
        fcntl.flock(users, fcntl.LOCK_SH)
        done = subprocess.run([_UP, home], capture_output=True, text=True, check=False)
        if done.returncode:
            skip_or_fail("slurm", done.stderr.strip().splitlines()[0])
        yield done.stdout.strip()
        try:
            fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            # The tests of another process still use it, and it is the last one's to end it.
            return
        subprocess.run([_UP, "--down", home], check=True, capture_output=True)


@pytest.fixture
def slurm(slurm_conf: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Slurm's commands work."""
    monkeypatch.setenv("SLURM_CONF", slurm_conf)
