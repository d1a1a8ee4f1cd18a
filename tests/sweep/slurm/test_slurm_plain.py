"""hydra/launcher=slurm under Hydra's own sweeper, with any task function."""

import re
import subprocess
import sys

import pytest
from faults.fault_sweeps import until
from slurm_jobs import SLURM, jobs_of, kill_job

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("slurm")]

APP = """
import os, signal, stat, time
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig


@hydra.main(config_path=None)
def main(cfg):
    num = HydraConfig.get().job.num
    print("prints", cfg.x, "as", num)
    (kept,) = Path(HydraConfig.get().sweep.dir).glob(".slurm")
    assert stat.S_IMODE(kept.stat().st_mode) == 0o700
    if cfg.x == "fails":
        raise ValueError("it does")
    if cfg.x == "dies":
        os._exit(7)
    if cfg.x == "waits":
        Path("waits").touch()
        while not Path("enough").exists():
            time.sleep(0.1)
    Path(f"done-{cfg.x}").touch()
    return cfg.x


if __name__ == "__main__":
    main()
"""


def start(cwd, *overrides):
    (cwd / "app.py").write_text(APP)
    return subprocess.Popen(
        [sys.executable, "app.py", "-m", *SLURM, "hydra.sweep.dir=sweep", *overrides],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_jobs_share_an_array_and_one_that_fails_or_dies_says_so(tmp_path):
    several = ("hydra.launcher.workers=4", "hydra.launcher.workers_per_job=2")
    running = start(tmp_path, *several, "hydra.launcher.max_restarts=1", "+x=a,dies,b,c,fails")
    said, _ = running.communicate(timeout=120)
    assert running.returncode == 1, said
    assert {path.name for path in tmp_path.glob("done-*")} == {"done-a", "done-b", "done-c"}
    # Which node it is is Slurm's choice: jobs of other tests may fill one.
    died = "job 1 on slot [ab]-task0-cpu1 died: exit code 7, and so did the 1 before it"
    assert re.search(died, said), said
    printed = "".join(path.read_text() for path in (tmp_path / "sweep" / "workers").iterdir())
    assert {"prints a as 0", "prints c as 3", "prints fails as 4"} < set(printed.splitlines())
    assert (tmp_path / "sweep" / "3" / ".hydra" / "config.yaml").exists()
    # Pickles are removed, even of a launch that failed.
    assert not (tmp_path / "sweep" / ".slurm").exists()


def test_a_job_that_slurm_loses_runs_again_and_one_that_is_cancelled_is_named(tmp_path):
    running = start(tmp_path, "hydra.launcher.workers=2", "+x=waits,a")
    until((tmp_path / "waits").exists, "a start")
    (job,) = [one for one in jobs_of(tmp_path) if one.endswith("_0")]
    (tmp_path / "waits").unlink()
    kill_job(job)
    until((tmp_path / "waits").exists, "another start")
    subprocess.run(["scancel", job], check=True)
    said, _ = running.communicate(timeout=120)
    assert running.returncode == 1, said
    put_back = f"job {job} of Slurm ended in state FAILED on node [ab], and is put back"
    assert re.search(put_back, said), said
    cancelled = f"SlurmJobError: job {job} of Slurm was cancelled on node [ab]; see "
    assert re.search(cancelled, said), said
    assert (tmp_path / "done-a").exists()
    assert not (tmp_path / "done-waits").exists()
