"""Sweeps on a real Ray cluster of two nodes: workers, a node and the sweep itself are killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import needs
import pytest
from faults.fault_sweeps import (
    Sweep,
    attempts_of,
    check_whole,
    kinds,
    only_study,
    starts,
    sweep,
    trials_of,
    until,
)
from processes import is_running

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

# One CPU a node, so that a worker asks for a whole node; the second has a GPU, as it says.
CLUSTER = """
import sys
from ray.cluster_utils import Cluster

ONE = {"num_cpus": 1, "object_store_memory": 80 * 2**20, "include_dashboard": False}
cluster = Cluster(initialize_head=True, head_node_args=ONE)
second = cluster.add_node(num_gpus=1, **ONE)
print(cluster.address, flush=True)
for line in sys.stdin:
    if line == "kill\\n":
        cluster.remove_node(second, allow_graceful=False)
    else:
        second = cluster.add_node(num_gpus=1, **ONE)
    print("done", flush=True)
cluster.shutdown()
"""


class Cluster:
    """Two nodes on this machine; the second can be killed and comes back."""

    def __init__(self, folder: Path) -> None:
        self._log = (folder / "cluster.log").open("wb")
        self._process = subprocess.Popen(
            [sys.executable, "-c", CLUSTER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env={**os.environ, "RAY_USAGE_STATS_ENABLED": "0"},
        )
        self.address = self._line()
        assert self.address, (folder / "cluster.log").read_text()

    def _line(self) -> str:
        assert self._process.stdout is not None
        # The nodes' processes print as well.
        return next(
            (line.strip() for line in self._process.stdout if line[0].isdigit() or "done" in line),
            "",
        )

    def tell(self, word: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{word}\n")
        self._process.stdin.flush()
        assert self._line() == "done"

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(60)
        finally:
            self._process.kill()
            self._process.wait()
            assert self._process.stdout is not None
            self._process.stdout.close()
            self._log.close()

    @property
    def overrides(self) -> tuple[str, ...]:
        return ("hydra/launcher=ray", f"hydra.launcher.ray.init.address='{self.address}'")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    if find_spec("ray") is None:
        needs.skip_or_fail("ray", "Ray is not installed: pip install hydra-ray-launcher")
    made = Cluster(tmp_path_factory.mktemp("ray"))
    yield made
    made.close()


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def pids(cwd: Path) -> list[int]:
    return [pid for *_, pid in starts(cwd)]


def test_two_hundred_trials_outlive_a_worker_and_a_node(tmp_path: Path, cluster: Cluster) -> None:
    """As many workers as the cluster has room for, without being told how many."""
    running = Sweep(tmp_path, *cluster.overrides, "x=range(0,200)", "sleep=0.02")
    for num_begun in (20, 40):
        until(lambda least=num_begun: len(starts(tmp_path)) > least, f"trial {num_begun}")
        os.kill(pids(tmp_path)[-1], signal.SIGKILL)
    until(lambda: len(set(pids(tmp_path)[-10:])) == 2 and len(starts(tmp_path)) > 80, "trial 80")
    cluster.tell("kill")
    assert running.wait() == 0, running.text
    cluster.tell("add")
    folder = only_study(tmp_path)
    check_whole(tmp_path, folder, 200)
    # A worker that is killed between two trials has lost none.
    assert Counter(kinds(folder))["lost"] <= 3
    assert "has died and is started again" in running.text
    assert len(set(pids(tmp_path))) >= 4
    # Each life has a name of its own and what it prints a file.
    names = {trial.user_attrs["worker"] for trial in trials_of(folder)}
    assert {path.stem for path in (folder / "workers").glob("*.log")} >= names
    assert len(names) == len(set(pids(tmp_path)))


def test_a_stopped_sweep_and_a_killed_one_go_on(tmp_path: Path, cluster: Cluster) -> None:
    lines = (*cluster.overrides, "x=range(0,4)", "do=once_sleep", "when=[1,2]", "sleep=2")
    stopped = Sweep(tmp_path, *lines)
    until(lambda: len(starts(tmp_path)) >= 3, "the sleep of two workers")
    stopped.send(signal.SIGTERM)
    assert stopped.wait() == 143, stopped.text
    assert "to go on: " in stopped.text
    folder = only_study(tmp_path)
    # Both were told; who is stopped between two words cannot always say so itself.
    assert Counter(kinds(folder)) == {"COMPLETE": 1, "interrupted": 2}
    errors = {t.user_attrs["error"] for t in trials_of(folder) if t.state.name == "FAIL"}
    assert "the sweep was stopped" in errors
    assert errors <= {"the sweep was stopped", "interrupted: the sweep was stopped"}
    (tmp_path / "starts").rename(tmp_path / "starts-before")
    killed = Sweep(tmp_path, *lines)
    until(lambda: len(starts(tmp_path)) >= 2, "the second start")
    killed.process.kill()
    killed.process.wait()
    # Ray ends the tasks of a driver that is gone.
    until(lambda: not any(map(is_running, pids(tmp_path))), "the workers' end")
    last = sweep(tmp_path, *lines)
    assert last.process.returncode == 0, last.text
    assert only_study(tmp_path) == folder
    assert sorted(attempts_of(folder)) == list(range(4))
    for attempts in attempts_of(folder).values():
        assert [one.state.name for one in attempts][-1] == "COMPLETE"
        assert {one.user_attrs["failure"] for one in attempts[:-1]} <= {"interrupted"}


def test_workers_share_a_gpu_and_what_no_node_has_is_refused(
    tmp_path: Path, cluster: Cluster
) -> None:
    half = ("+hydra.launcher.ray.remote.num_gpus=0.5", "+hydra.launcher.ray.remote.num_cpus=0.5")
    done = sweep(tmp_path, *cluster.overrides, *half, "x=range(0,6)", "do=together")
    assert done.process.returncode == 0, done.text
    trials = trials_of(only_study(tmp_path))
    assert len({trial.user_attrs["worker"] for trial in trials}) == 2
    (slot,) = {trial.user_attrs["slot"] for trial in trials}
    assert slot.endswith("-gpu0")
    refused = sweep(tmp_path, *cluster.overrides, "+hydra.launcher.ray.remote.num_gpus=2", "x=1,2")
    assert refused.process.returncode == 2
    assert "a worker asks for 1 CPU, 2 GPU, and no node has that" in refused.text
    assert "Traceback" not in refused.text
