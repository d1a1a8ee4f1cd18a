"""Hydra's own contract for launchers."""

import pytest
from hydra.core.plugins import Plugins
from hydra.test_utils.launcher_common_tests import (
    BatchedSweeperTestSuite,
    IntegrationTestSuite,
    LauncherTestSuite,
)

# Registers all configurations: the suites put back what they have found.
Plugins.instance()

pytestmark = pytest.mark.slow

FLAGS = ["-m", "hydra/launcher=local", "hydra.launcher.workers=2"]


@pytest.mark.parametrize(("launcher_name", "overrides"), [("local", ["hydra.launcher.workers=2"])])
class TestLocalLauncher(LauncherTestSuite):
    pass


@pytest.mark.parametrize(
    ("launcher_name", "overrides"), [("local", ["hydra.sweeper.max_batch_size=2"])]
)
class TestLocalLauncherInBatches(BatchedSweeperTestSuite):
    pass


@pytest.mark.parametrize(("task_launcher_cfg", "extra_flags"), [({}, FLAGS)])
class TestLocalLauncherIntegration(IntegrationTestSuite):
    pass
