"""What tests of every room share: small real data, and the real command."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import needs
import pytest
from commands import ROOT, Command

# Two torch processes with all cores each slow one another several times.
os.environ["OMP_NUM_THREADS"] = "1"
# Commands that are measured take all cores all the same; threads that wait must not spin.
os.environ["OMP_WAIT_POLICY"] = "passive"


def pytest_configure(config: pytest.Config) -> None:
    """Refuses a CI_REQUIRE that asks for something unknown before anything runs."""
    try:
        needs.required()
    except ValueError as error:
        raise pytest.UsageError(str(error)) from error


@pytest.fixture(scope="session")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One decoded cache for the whole session."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def _private_environment(monkeypatch: pytest.MonkeyPatch, cache_dir: Path) -> None:
    monkeypatch.setenv("RESNET_SWEEP_CACHE", str(cache_dir))
    monkeypatch.setenv("RESNET_SWEEP_ALLOW", "")
    monkeypatch.setattr("resnet_sweep.models.config._Allowed.names", ())
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    # The package of this checkout, also from another working directory.
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


@pytest.fixture
def command(tmp_path: Path) -> Command:
    """Runs ``python -m resnet_sweep ...`` in an empty folder and returns what it said."""

    def run(*arguments: str, module: str = "resnet_sweep") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", module, *arguments],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=240,
        )

    return run
