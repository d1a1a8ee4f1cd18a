"""The local launcher in applications that are not ours, with Hydra's stock sweepers."""

import json
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

# The task, the class that it returns and what its config names all live in __main__, or in a
# module that only the parent's sys.path knows.
MAIN = """
import os, sys
import hydra
from hydra.utils import instantiate

class Answer:
    def __init__(self, value):
        self.value = value
    def __float__(self):
        return float(self.value)

@hydra.main(config_path="conf", config_name="config", execution_whitelist=["parts.*"])
def main(cfg):
    part = instantiate(cfg.part, cfg.x)
    # At once: two workers write to the same pipe.
    print(f"RAN {part} {cfg.x}\\n", end="")
    return float(Answer(part))

if __name__ == "__main__":
    sys.path.append("parts dir")
    main()
"""


@pytest.fixture
def package(tmp_path) -> Path:
    folder = tmp_path / "a folder"
    (folder / "app" / "conf").mkdir(parents=True)
    (folder / "parts dir").mkdir()
    (folder / "app" / "__init__.py").touch()
    (folder / "app" / "conf" / "__init__.py").touch()
    (folder / "app" / "__main__.py").write_text(MAIN)
    (folder / "app" / "conf" / "config.yaml").write_text(
        "x: 1\npart:\n  _target_: parts.double\nhydra:\n  job:\n    name: app\n"
    )
    (folder / "parts dir" / "parts.py").write_text("def double(x):\n    return 2 * x\n")
    (folder / "parts dir" / "other.py").write_text("def double(x):\n    return 2 * x\n")
    return folder


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command, "hydra/launcher=local", "hydra.launcher.workers=2"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_package_with_an_execution_whitelist(package):
    done = run(package, "-m", "app", "-m", "x=1,2,3")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    ran = sorted(line for line in done.stdout.splitlines() if line.startswith("RAN"))
    assert ran == ["RAN 2 1", "RAN 4 2", "RAN 6 3"]


@pytest.mark.slow
def test_what_the_whitelist_forbids_is_forbidden_in_the_processes_too(package):
    done = run(package, "-m", "app", "-m", "part._target_=other.double")
    assert done.returncode == 1
    assert "other.double" in done.stderr
    assert "RAN" not in done.stdout


@pytest.mark.slow
def test_a_script_with_the_stock_optuna_sweeper(package):
    sweeper = ["hydra/sweeper=optuna", "hydra.sweeper.n_trials=4", "hydra.sweeper.n_jobs=2"]
    done = run(package, "app/__main__.py", "-m", *sweeper, "x=interval(0,1)", "hydra.sweep.dir=o")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("RAN") == 4
    assert "best_value" in (package / "o" / "optimization_results.yaml").read_text()


def test_without_the_kernel_s_help_a_closed_pipe_ends_the_whole_group(tmp_path):
    # The parent lives on, so that only the pipe can tell.
    script = (
        "import json, os, subprocess, sys, time\n"
        "from resnet_sweep.sweep.local.guard import end_with_parent\n"
        "end_with_parent(os.getppid(), int(sys.argv[1]))\n"
        "child = subprocess.Popen(['sleep', '1000'])\n"
        "print(json.dumps([os.getpid(), child.pid]), flush=True)\n"
        "time.sleep(1000)\n"
    )
    read, write = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(read)],
        stdout=subprocess.PIPE,
        pass_fds=(read,),
        start_new_session=True,
    )
    os.close(read)
    with process:
        pid, grandchild = json.loads(process.stdout.readline())
        assert pid == process.pid
        grandchild = psutil.Process(grandchild)
        os.close(write)
        assert process.wait(20) == -9
        grandchild.wait(20)
