"""Hydra's own contract for launchers, on a real Slurm."""

import pytest
from hydra.core.plugins import Plugins
from hydra.test_utils.launcher_common_tests import LauncherTestSuite

# Registers all configurations: the suite puts back what it has found.
Plugins.instance()

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("slurm")]


@pytest.mark.parametrize(("launcher_name", "overrides"), [("slurm", [])])
class TestSlurmLauncher(LauncherTestSuite):
    pass
