"""What tests of every room share: small real data, and the real command."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from pathlib import Path

import needs
import pytest
from commands import ROOT, Command
from hypothesis import HealthCheck, settings

# Two torch processes with all cores each slow one another several times.
os.environ["OMP_NUM_THREADS"] = "1"
# Commands that are measured take all cores all the same; threads that wait must not spin.
os.environ["OMP_WAIT_POLICY"] = "passive"
# How long an example takes says how busy the machine is. The rest is as Hypothesis has it, which
# where CI is set draws the same examples each time.
settings.register_profile(
    "busy", settings.default, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("busy")


def pytest_configure(config: pytest.Config) -> None:
    """Refuses a CI_REQUIRE that asks for something unknown before anything runs."""
    try:
        needs.required()
    except ValueError as error:
        raise pytest.UsageError(str(error)) from error


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begins with the files that ask for more time, so that none of them is left for the end.

    At first each process of xdist has a share of the list, from its beginning to its end.
    """
    num_shares = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    long = {item.path for item in items if item.get_closest_marker("timeout")}
    shares: list[list[pytest.Item]] = [[] for _ in range(num_shares)]
    for number, path in enumerate(sorted(long)):
        shares[number % num_shares] += [item for item in items if item.path == path]
    rest = iter([item for item in items if item.path not in long])
    for number, share in enumerate(shares, start=1):
        size = len(items) * number // num_shares - len(items) * (number - 1) // num_shares
        share += itertools.islice(rest, max(0, size - len(share)))
    items[:] = [*itertools.chain(*shares), *rest]


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
